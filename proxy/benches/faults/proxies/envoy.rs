//! Envoy: least request, retries on another host, outlier detection.

use serde_json::{Value, json};

use super::{Setting, peers};

const PREVIOUS_HOSTS: &str = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

pub fn conf(setting: &Setting<'_>) -> String {
    let route = json!({ "cluster": "origins", "timeout": "10s", "retry_policy": retry_policy() });
    peers::envoy::conf(setting.site.listen(), &route, &cluster(setting))
}

fn retry_policy() -> Value {
    let previous_hosts = json!({ "name": "previous_hosts", "typed_config": { "@type": PREVIOUS_HOSTS } });
    json!({
        "retry_on": "5xx,reset,connect-failure,refused-stream,retriable-4xx,retriable-status-codes",
        "retriable_status_codes": [429],
        "num_retries": 3,
        "per_try_timeout": "1s",
        "retry_host_predicate": [previous_hosts],
        "host_selection_retry_max_attempts": 5,
        // A retry on another host needs no backoff.
        "retry_back_off": { "base_interval": "0.001s", "max_interval": "0.002s" },
    })
}

fn cluster(setting: &Setting<'_>) -> Value {
    json!({
        "name": "origins",
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": peers::envoy::assignment(setting.origins),
        "outlier_detection": {
            "consecutive_5xx": 3,
            "interval": "1s",
            "base_ejection_time": "2s",
            "max_ejection_time": "10s",
            // One host always remains.
            "max_ejection_percent": 80,
        },
        "common_lb_config": { "healthy_panic_threshold": { "value": 10.0 } },
        // The default of three concurrent retries is low for this rate.
        "circuit_breakers": { "thresholds": [{ "max_retries": 1000, "max_connections": 4096,
            "max_pending_requests": 4096, "max_requests": 4096 }] },
    })
}
