//! `pointsman status`: the status as a table.

use super::client::AdminClient;
use super::{put, put_json};
use crate::admin::{ArmStatus, CanaryStatus, EndpointStatus, PolicyStatus, Status};
use crate::text;

pub(super) fn show(client: &AdminClient, json: bool) -> anyhow::Result<()> {
    let status = client.status()?;
    if json { put_json(&status) } else { put(&text::lines(&table(&status))) }
}

fn table(status: &Status) -> String {
    let mut lines = vec![format!(
        "generation {} ({}), up {}",
        status.generation,
        status.cause,
        humantime::format_duration(std::time::Duration::from_secs(status.uptime_seconds))
    )];
    for (name, upstream) in &status.upstreams {
        lines.push(format!(
            "\nupstream {name}: scoring {}, retry {}, {} requests under way",
            upstream.scoring, upstream.retry, upstream.in_flight
        ));
        lines.extend(upstream.canary.as_ref().map(canary));
        lines.push(format!(
            "  {:<28} {:>6} {:>9} {:>9} {:>9} {:>8} {:>9}  {}",
            "endpoint", "weight", "ewma ms", "p99 ms", "penalty", "success", "attempts", "state"
        ));
        lines.extend(upstream.endpoints.iter().map(row));
    }
    if !status.policies.is_empty() {
        lines.push(String::new());
    }
    for (name, policy) in &status.policies {
        let faults: u64 = policy.faults.values().sum();
        lines.push(format!(
            "policy {name}: {} {} ({}), {} calls, {faults} faults{}",
            policy.plugin,
            policy.version,
            &policy.sha256[..12.min(policy.sha256.len())],
            policy.calls,
            quarantine(policy)
        ));
    }
    lines.join("\n") + "\n"
}

fn canary(canary: &CanaryStatus) -> String {
    let CanaryStatus { policy, version, state, reason, percent, requests, .. } = canary;
    let state = match (state.as_str(), reason) {
        ("running", _) => format!("decides {percent} % of the requests, {requests} so far"),
        ("promoted", _) => "promoted, decides all requests".to_owned(),
        (_, reason) => format!("taken out: {}", reason.as_deref().unwrap_or("no reason is known")),
    };
    format!("  canary {policy} {version}: {state}; {}; {}", arm("live", &canary.live), arm("canary", &canary.canary))
}

fn arm(name: &str, arm: &ArmStatus) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!(
        "{name} {} failed, {} attempts, p99 {} ms",
        or_dash(arm.error_rate.map(|rate| format!("{:.2} %", rate * 100.0))),
        or_dash(arm.mean_attempts.map(|mean| format!("{mean:.2}"))),
        or_dash(arm.latency_p99_ms.map(|p99| format!("{p99:.1}")))
    )
}

fn quarantine(policy: &PolicyStatus) -> String {
    match policy.quarantined {
        true => format!("; in quarantine for {:.1} s, the native policy answers", policy.quarantined_seconds),
        false => String::new(),
    }
}

fn row(endpoint: &EndpointStatus) -> String {
    let p99 = endpoint.latency_p99_ms.map_or("-".to_owned(), |p99| format!("{p99:.1}"));
    let attempts: u64 = endpoint.attempts.values().sum();
    let state = match &endpoint.excluded {
        None => "available".to_owned(),
        Some(why) if why == "lagging" => endpoint.health_detail.as_ref().map_or(why.clone(), |d| format!("{why}: {d}")),
        Some(why) if why == "cooling" => format!("{why} for {:.1} s", endpoint.cooldown_seconds),
        Some(why) => why.clone(),
    };
    format!(
        "  {:<28} {:>6} {:>9.1} {p99:>9} {:>9.0} {:>7.0}% {attempts:>9}  {state}",
        endpoint.name,
        endpoint.weight,
        endpoint.latency_ms,
        endpoint.penalty_ms,
        endpoint.success_rate * 100.0
    )
}
