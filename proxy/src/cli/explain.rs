//! `pointsman explain`: the endpoint for the next request, and why not the others.

use super::client::AdminClient;
use super::{put, put_json};
use crate::admin::{ExplainedEndpoint, Explanation};
use crate::text;

/// What is asked about.
#[derive(clap::Args)]
pub(super) struct ExplainOptions {
    /// The upstream; the only one need not be named.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// The method [default: eth_blockNumber, or getSlot]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Members of a batch.
    #[arg(long, value_name = "NUMBER")]
    batch: Option<u32>,
}

pub(super) fn show(client: &AdminClient, question: &ExplainOptions, json: bool) -> anyhow::Result<()> {
    let explanation = client.explain(&question.query())?;
    if json { put_json(&explanation) } else { put(&text::lines(&table(&explanation))) }
}

impl ExplainOptions {
    fn query(&self) -> String {
        let batch = self.batch.map(|batch| batch.to_string());
        let pairs = [("upstream", &self.upstream), ("method", &self.method), ("batch", &batch)];
        let given = pairs.into_iter().filter_map(|(key, value)| value.as_ref().map(|value| (key, value)));
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
    }
}

fn table(explanation: &Explanation) -> String {
    let request = &explanation.request;
    let class = match (request.write, request.idempotent) {
        (false, _) => "a read",
        (true, true) => "a write that may be sent twice",
        (true, false) => "a write",
    };
    let mut lines = vec![
        format!(
            "{} ({class}), batch of {}, upstream {}, scoring {}, generation {}",
            request.method, request.batch, explanation.upstream, explanation.scoring, explanation.generation
        ),
        match &explanation.first {
            Some(name) if explanation.panic => format!("first: {name} (a panic: every endpoint is excluded)"),
            Some(name) => format!("first: {name}"),
            None => "first: nobody".to_owned(),
        },
        format!(
            "  {:<28} {:>12} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8} {:>6}  {}",
            "endpoint", "score", "weight", "in use", "ewma ms", "penalty", "success", "limiter", "lag", "excluded"
        ),
    ];
    lines.extend(explanation.endpoints.iter().map(row));
    lines.join("\n") + "\n"
}

fn row(endpoint: &ExplainedEndpoint) -> String {
    let inputs = &endpoint.inputs;
    let shown = |number: Option<f32>| number.map_or("-".to_owned(), |number| format!("{number:.1}"));
    let share = |number: Option<f32>| number.map_or("-".to_owned(), |number| format!("{:.0}%", number * 100.0));
    format!(
        "  {:<28} {:>12} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8} {:>6}  {}",
        endpoint.name,
        endpoint.score.map_or("-".to_owned(), score),
        inputs.weight,
        inputs.in_flight,
        shown(inputs.latency_ms),
        shown(inputs.penalty_ms),
        share(inputs.success_rate),
        share(inputs.limiter_headroom),
        inputs.head_lag_blocks.map_or("-".to_owned(), |lag| format!("{lag:.0}")),
        endpoint.excluded.as_deref().unwrap_or("")
    )
}

/// Formats a score of any scale, since policies choose their own.
fn score(score: f64) -> String {
    if score.abs() < 1e6 { format!("{score:.4}") } else { format!("{score:.6e}") }
}
