//! The response of `GET /explain`: for each endpoint, the policy's inputs for the next request, and
//! its rank.

use serde::{Deserialize, Serialize};

use super::status::{exclusion_text, policy_name};
use crate::model::{MethodClass, RequestFacts, Tick};
use crate::policy::abi::{EndpointRow, row_flags};
use crate::snapshot::Snapshot;
use crate::upstream::{Exclusion, Explained, Upstream};

/// The largest `batch` of a query, as in the conf.
const MAX_BATCH: u32 = 10_000;

/// The scoring of one imagined request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The serving generation.
    pub generation: u64,
    /// The upstream.
    pub upstream: String,
    /// The scoring policy, `native` for the built-in one.
    pub scoring: String,
    /// The imagined request.
    pub request: ImaginedRequest,
    /// Every endpoint was excluded, and the least bad ones are candidates all the same.
    pub panic: bool,
    /// The first choice, as far as rate limiters admit it.
    pub first: Option<String>,
    /// In the order of the conf.
    pub endpoints: Vec<ExplainedEndpoint>,
}

/// The imagined request.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImaginedRequest {
    /// Its method.
    pub method: String,
    /// Batch size.
    pub batch: u32,
    /// It counts as a write.
    pub write: bool,
    /// It is a write that may be sent more than once.
    pub idempotent: bool,
}

/// An endpoint as the scoring policy sees it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExplainedEndpoint {
    /// Its name.
    pub name: String,
    /// The policy's score; absent for an endpoint that isn't scored or that the policy leaves out.
    pub score: Option<f64>,
    /// Why it isn't a candidate.
    pub excluded: Option<String>,
    /// The policy's inputs.
    pub inputs: Inputs,
}

/// A row of the policy ABI. Unknown numbers are absent.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "sdk/ABI.md documents every field")]
pub struct Inputs {
    pub weight: u32,
    pub in_flight: u32,
    pub consecutive_failures: u16,
    pub cooldown_attempts: u16,
    pub cooling: bool,
    pub unhealthy: bool,
    pub banned: bool,
    pub latency_ms: Option<f32>,
    pub latency_peak_ms: Option<f32>,
    pub latency_p99_ms: Option<f32>,
    pub penalty_ms: Option<f32>,
    pub success_rate: Option<f32>,
    pub limiter_headroom: Option<f32>,
    pub head_lag_blocks: Option<f32>,
    pub price: Option<f32>,
    pub idle_ms: Option<f32>,
    pub tags: u64,
}

/// The query of the URL.
#[derive(Debug, Default)]
pub(super) struct ExplainQuery {
    upstream: Option<String>,
    method: Option<String>,
    batch: Option<u32>,
}

impl ExplainQuery {
    /// Parses a query.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut question = ExplainQuery::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "upstream" => question.upstream = Some(value.into_owned()),
                "method" => question.method = Some(value.into_owned()),
                "batch" => {
                    let batch = value.parse().ok().filter(|batch| (1..=MAX_BATCH).contains(batch));
                    question.batch =
                        Some(batch.ok_or_else(|| format!("batch must be a number from 1 to {MAX_BATCH}"))?);
                }
                _ => return Err("the keys are upstream, method and batch".to_owned()),
            }
        }
        Ok(question)
    }

    /// The upstream that the query names. It may be omitted if there is only one.
    fn upstream<'s>(&self, snapshot: &'s Snapshot) -> Result<&'s Upstream, String> {
        let names = || snapshot.upstreams().map(|upstream| &**upstream.name()).collect::<Vec<_>>().join(", ");
        let mut upstreams = snapshot.upstreams();
        let found = match &self.upstream {
            Some(name) => upstreams.find(|upstream| **upstream.name() == **name).ok_or("there is no such upstream"),
            None => upstreams.next().filter(|_| upstreams.next().is_none()).ok_or("upstream is missing"),
        };
        found.map(|upstream| &**upstream).map_err(|why| format!("{why}; there are: {}", names()))
    }

    /// Scores the imagined request.
    pub(super) fn answer(&self, snapshot: &Snapshot, now: Tick) -> Result<Explanation, String> {
        let upstream = self.upstream(snapshot)?;
        let method = self.method.as_deref().unwrap_or(upstream.settings().methods.chain().head_method());
        let request = upstream.imagine(method, self.batch.unwrap_or(1), fastrand::u64(..), now);
        let explained = upstream.explain(&request, now);
        Ok(Explanation::of(snapshot.generation, upstream, &request, &explained))
    }
}

impl Explanation {
    fn of(generation: u64, upstream: &Upstream, request: &RequestFacts, explained: &[Explained<'_>]) -> Self {
        let score = |e: &Explained<'_>| e.score.filter(|score| !score.is_nan()).unwrap_or(f64::NEG_INFINITY);
        let first = explained.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
        Explanation {
            generation,
            upstream: upstream.name().to_string(),
            scoring: policy_name(upstream.policies()[0]),
            request: ImaginedRequest {
                method: request.shape.method.clone(),
                batch: request.shape.size(),
                write: request.shape.is_write(),
                idempotent: request.shape.class == MethodClass::IdempotentWrite,
            },
            panic: is_panic(explained),
            first: first.filter(|e| score(e) > f64::NEG_INFINITY).map(|e| e.endpoint.name().to_string()),
            endpoints: explained.iter().map(ExplainedEndpoint::of).collect(),
        }
    }
}

impl ExplainedEndpoint {
    fn of(explained: &Explained<'_>) -> Self {
        let left_out = explained.score.is_some_and(|score| score.is_nan() || score == f64::NEG_INFINITY);
        let excluded = match &explained.excluded {
            Some(why) => Some(exclusion_text(*why)),
            None if explained.banned => Some("method not supported".to_owned()),
            None if explained.score.is_none() => Some("not drawn".to_owned()),
            None if left_out => Some("left out by the policy".to_owned()),
            None => None,
        };
        ExplainedEndpoint {
            name: explained.endpoint.name().to_string(),
            score: explained.score.filter(|score| score.is_finite()),
            excluded,
            inputs: Inputs::of(&explained.row),
        }
    }
}

impl Inputs {
    pub(super) fn of(row: &EndpointRow) -> Self {
        let known = |number: f32| Some(number).filter(|number| number.is_finite());
        let has = |flag| row.flags & flag != 0;
        Inputs {
            weight: row.weight,
            in_flight: row.in_flight,
            consecutive_failures: row.consecutive_failures,
            cooldown_attempts: row.cooldown_attempts,
            cooling: has(row_flags::COOLING),
            unhealthy: has(row_flags::UNHEALTHY),
            banned: has(row_flags::BANNED),
            latency_ms: known(row.latency_ms),
            latency_peak_ms: known(row.latency_peak_ms),
            latency_p99_ms: known(row.latency_p99_ms),
            penalty_ms: known(row.penalty_ms),
            success_rate: known(row.success_rate),
            limiter_headroom: known(row.limiter_headroom),
            head_lag_blocks: known(row.head_lag_blocks),
            price: known(row.price),
            idle_ms: known(row.idle_ms),
            tags: row.tags,
        }
    }
}

/// Whether no endpoint is fit, so that the least bad ones are candidates. A half-open endpoint may
/// be a candidate beside fit ones.
fn is_panic(explained: &[Explained<'_>]) -> bool {
    let is_fit = |e: &&Explained<'_>| !e.banned && matches!(e.excluded, None | Some(Exclusion::HalfOpen(_)));
    let mut candidates = explained.iter().filter(|e| e.score.is_some()).peekable();
    candidates.peek().is_some() && candidates.find(is_fit).is_none()
}
