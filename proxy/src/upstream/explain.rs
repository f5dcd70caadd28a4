//! A simulation of the next request's selection: the response of `GET /explain`.

use super::{Endpoint, Exclusion, Selection, Upstream};
use crate::model::{HttpFacts, PolicyTime, RequestFacts, RequestShape, Tick};
use crate::policy::abi::EndpointRow;

/// An endpoint as a request would see it.
pub struct Explained<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The row as the live scoring policy sees it.
    pub row: EndpointRow,
    /// The host's reason to exclude it.
    pub excluded: Option<Exclusion>,
    /// The endpoint doesn't support the method.
    pub banned: bool,
    /// The policy's score; `None` when the policy isn't asked.
    pub score: Option<f64>,
}

impl Upstream {
    /// The facts of a request for `method`, or of a batch of `batch_size`, that arrives at `now`.
    pub fn imagine(&self, method: &str, batch_size: u32, seed: u64, now: Tick) -> RequestFacts {
        let class = self.settings.methods.classify(method);
        let batch = (batch_size > 1).then_some(batch_size);
        RequestFacts {
            shape: RequestShape { batch, ..RequestShape::single(method.to_owned(), class) },
            http: HttpFacts::json_rpc(),
            body_bytes: 0,
            client_key: 0,
            seed,
            deadline: now.after(self.settings.deadline),
            policy_time: PolicyTime::default(),
        }
    }

    /// All endpoints in the order of the conf, as the first attempt of `request` would see them.
    /// Takes nothing from rate limiters.
    pub fn explain(&self, request: &RequestFacts, now: Tick) -> Vec<Explained<'_>> {
        let selection = Selection::first(request, now);
        let (mut rows, mut scores) = (Vec::new(), Vec::new());
        self.candidates(&selection, &mut rows, &mut Vec::new());
        if !rows.is_empty() {
            self.live_scores(&selection, &rows, &mut scores);
        }
        let score = |index| rows.iter().zip(&scores).find(|(row, _)| row.index == index).map(|(_, score)| *score);
        let explain = |endpoint| {
            let explained = Explained::of(endpoint, request, score(endpoint.index), now);
            let row = self.deciders.scoring.as_ref().map_or(explained.row, |live| live.row(explained.row));
            Explained { row, ..explained }
        };
        self.endpoints.iter().map(explain).collect()
    }
}

impl<'a> Explained<'a> {
    fn of(endpoint: &'a Endpoint, request: &RequestFacts, score: Option<f64>, now: Tick) -> Self {
        Explained {
            endpoint,
            row: endpoint.row(endpoint.row_flags(request, now), now),
            excluded: endpoint.exclusion(now),
            banned: endpoint.is_banned(request, now),
            score,
        }
    }
}
