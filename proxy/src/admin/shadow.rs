//! The response of `GET /shadow`: how often shadow policies agree with the live ones, and the
//! latest disagreements.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::explain::Inputs;
use super::status::policy_name;
use crate::snapshot::Snapshot;
use crate::upstream::{self, ShadowStats, Upstream};

/// All upstreams that have a shadow.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shadows {
    /// The serving generation.
    pub generation: u64,
    /// By name.
    pub upstreams: BTreeMap<String, ShadowStatus>,
}

/// Results of an upstream's shadow since it became one. Unknown numbers are absent.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// The live scoring policy, `native` for the built-in one.
    pub scoring: String,
    /// The policy's name in the conf.
    pub policy: String,
    /// The plugin's own name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The module's digest.
    pub sha256: String,
    /// The share of requests that it scores, above 0, up to 1.
    pub share: f64,
    /// Requests that both policies scored.
    pub compared: u64,
    /// Requests for which both put the same endpoint first.
    pub agreed: u64,
    /// `agreed` as a share of `compared`, 0 to 1.
    pub agreement_rate: Option<f64>,
    /// Mean of Spearman's rank correlations, -1 to 1.
    pub mean_correlation: Option<f64>,
    /// Faulted calls of the shadow.
    pub faults: u64,
    /// Sampled requests that never reached the shadow.
    pub dropped: u64,
    /// The latest 16, newest first.
    pub disagreements: Vec<Disagreement>,
}

/// A request for which the policies put different endpoints first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Disagreement {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The request's method, of a batch the first one.
    pub method: String,
    /// Batch size.
    pub batch: u32,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The live policy's first choice; absent if it left out all endpoints.
    pub live: Option<String>,
    /// The shadow's first choice.
    pub shadow: Option<String>,
    /// The candidates.
    pub endpoints: Vec<ScoredEndpoint>,
}

/// An endpoint that both policies scored. A policy that leaves it out gives no score.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScoredEndpoint {
    /// Its name.
    pub name: String,
    /// The live policy's score.
    pub live_score: Option<f64>,
    /// The shadow's score.
    pub shadow_score: Option<f64>,
    /// The inputs of both policies.
    pub inputs: Inputs,
}

impl Shadows {
    /// The response to a query: all upstreams, or the one that it names.
    pub(super) fn answer(query: &str, snapshot: &Snapshot) -> Result<Self, String> {
        let mut wanted = None;
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "upstream" => wanted = Some(value.into_owned()),
                _ => return Err("the key is upstream".to_owned()),
            }
        }
        let is_wanted = |upstream: &&Upstream| wanted.as_ref().is_none_or(|wanted| **upstream.name() == **wanted);
        let upstreams: Vec<&Upstream> = snapshot.upstreams().map(|u| &**u).filter(is_wanted).collect();
        if upstreams.is_empty() {
            let names: Vec<&str> = snapshot.upstreams().map(|upstream| &**upstream.name()).collect();
            return Err(format!("there is no such upstream; there are: {}", names.join(", ")));
        }
        let shadows = upstreams.into_iter().filter_map(ShadowStatus::of).collect();
        Ok(Shadows { generation: snapshot.generation, upstreams: shadows })
    }
}

impl ShadowStatus {
    /// An upstream's name and the results of its shadow, if it has one.
    fn of(upstream: &Upstream) -> Option<(String, Self)> {
        let shadow = upstream.shadow()?;
        let (policy, stats) = (&shadow.policy().policy, shadow.stats());
        let identity = policy.identity();
        let status = ShadowStatus {
            scoring: policy_name(upstream.policies()[0]),
            policy: policy.name().to_owned(),
            plugin: identity.plugin.clone(),
            version: identity.version.to_string(),
            sha256: identity.digest.to_string(),
            share: shadow.share(),
            compared: stats.compared,
            agreed: stats.agreed,
            agreement_rate: stats.agreement_rate(),
            mean_correlation: stats.mean_correlation(),
            faults: stats.faults,
            dropped: stats.dropped,
            disagreements: disagreements(&stats),
        };
        Some((upstream.name().to_string(), status))
    }
}

fn disagreements(stats: &ShadowStats) -> Vec<Disagreement> {
    stats.disagreements.iter().rev().map(|disagreement| Disagreement::of(disagreement)).collect()
}

impl Disagreement {
    fn of(disagreement: &upstream::Disagreement) -> Self {
        let pair = &disagreement.pair;
        let name = |position| pair.endpoint(position).to_owned();
        let finite = |score: &f64| Some(*score).filter(|score| score.is_finite());
        let scored = pair.rows.iter().zip(pair.live.iter().zip(&pair.shadow)).enumerate();
        let endpoints = scored.map(|(position, (row, (live, shadow)))| ScoredEndpoint {
            name: name(position),
            live_score: finite(live),
            shadow_score: finite(shadow),
            inputs: Inputs::of(row),
        });
        Disagreement {
            unix_ms: pair.request.unix_ms,
            method: pair.method(),
            batch: pair.request.batch_size,
            attempt: pair.request.attempt,
            live: disagreement.live_choice.map(name),
            shadow: disagreement.shadow_choice.map(name),
            endpoints: endpoints.collect(),
        }
    }
}
