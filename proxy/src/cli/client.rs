//! Client of a running proxy's admin address.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

use crate::admin::{Explanation, Status};
use crate::report::ReloadReport;

/// The HTTP statuses of a refused reload or rollback, whose body is still a report.
const REFUSED: [u16; 3] = [409, 422, 503];
/// A reload that compiles many plugins takes a while.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct AdminClient {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
}

impl AdminClient {
    pub(super) fn new(address: &str, token: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        AdminClient {
            agent: config.into(),
            base: format!("http://{}", address.trim_start_matches("http://").trim_end_matches('/')),
            authorization: token.map(|token| format!("Bearer {token}")),
        }
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        self.get("/status")
    }

    pub(super) fn explain(&self, query: &str) -> anyhow::Result<Explanation> {
        self.get(&format!("/explain?{query}"))
    }

    pub(super) fn reload(&self) -> anyhow::Result<ReloadReport> {
        self.post("/reload")
    }

    pub(super) fn rollback(&self) -> anyhow::Result<ReloadReport> {
        self.post("/rollback")
    }

    fn post(&self, path: &str) -> anyhow::Result<ReloadReport> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.read(request.send_empty(), &REFUSED)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.read(request.call(), &[])
    }

    /// Parses the JSON of a response whose status is a success or one of `also`.
    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        also: &[u16],
    ) -> anyhow::Result<T> {
        let mut answer =
            answer.with_context(|| format!("no proxy answers at {} (see --admin and --config)", self.base))?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().with_context(|| format!("{} broke off", self.base))?;
        if also.contains(&status.as_u16())
            && let Ok(report) = serde_json::from_str(&text)
        {
            return Ok(report);
        }
        if !status.is_success() {
            bail!("{} answered {status}: {}", self.base, text.trim());
        }
        serde_json::from_str(&text).with_context(|| format!("{} is no Pointsman admin address", self.base))
    }
}
