//! What the next request would see, and how each endpoint would do: the answer of `GET /explain`.

use super::{Endpoint, Exclusion, Selection, Upstream};
use crate::model::{PolicyTime, RequestFacts, RequestShape, Tick};
use crate::policy::abi::EndpointRow;

/// An endpoint in the eyes of a request.
pub struct Explained<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// What the scoring policy sees.
    pub row: EndpointRow,
    /// The host's reason for leaving it out.
    pub excluded: Option<Exclusion>,
    /// It said that it doesn't support the method.
    pub banned: bool,
    /// What the policy makes of it; `None` when it isn't asked.
    pub score: Option<f64>,
}

impl Upstream {
    /// A request for `method`, or a batch of `batch_size` of them, as it would arrive now.
    pub fn imagine(&self, method: &str, batch_size: u32, seed: u64, now: Tick) -> RequestFacts {
        let class = self.settings.methods.classify(method);
        let batch = (batch_size > 1).then_some(batch_size);
        RequestFacts {
            shape: RequestShape { batch, ..RequestShape::single(method.to_owned(), class) },
            body_bytes: 0,
            client_key: 0,
            seed,
            deadline: now.after(self.settings.deadline),
            policy_time: PolicyTime::default(),
        }
    }

    /// Every endpoint, in the order of the conf, as the first attempt of `request` would see it.
    /// Nothing is taken from a rate limiter.
    pub fn explain(&self, request: &RequestFacts, now: Tick) -> Vec<Explained<'_>> {
        let selection = Selection::first(request, now);
        let (mut rows, mut scores) = (Vec::new(), Vec::new());
        self.candidates(&selection, &mut rows, &mut Vec::new());
        if !rows.is_empty() {
            self.live_scores(&selection, &rows, &mut scores);
        }
        let score = |index| rows.iter().zip(&scores).find(|(row, _)| row.index == index).map(|(_, score)| *score);
        let explain = |endpoint| Explained::of(endpoint, request, score(endpoint.index), now);
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
