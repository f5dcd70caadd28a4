//! Envoy.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Setting;
use crate::authority::NAMES;
use crate::peers::envoy::{arguments, assignment, conf};

pub const FEATURES: &str = "round robin, statistics, which can't be turned off; no checks, access log, limits or look into \
                            bodies";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
/// Above all demand: the defaults protect a service.
const LIMIT: u32 = 1_000_000;

pub fn set_up(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    let route = json!({ "cluster": "origins", "timeout": "30s" });
    // Envoy detects the format from the name.
    let file = setting.site.write("conf.json", conf(setting.site.listen(), &route, &cluster(setting)))?;
    command.args(arguments(setting.settings.threads)).arg(file);
    Ok(())
}

fn cluster(setting: &Setting<'_>) -> Value {
    let limits = json!({ "max_connections": LIMIT, "max_pending_requests": LIMIT, "max_requests": LIMIT });
    let mut cluster = json!({
        "name": "origins",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": assignment(&setting.origins),
        "circuit_breakers": { "thresholds": [limits] },
    });
    if let Some(file) = &setting.authority {
        cluster["transport_socket"] = tls(file);
    }
    cluster
}

fn tls(authority: &Path) -> Value {
    let name = json!({ "san_type": "DNS", "matcher": { "exact": NAMES[0] } });
    let validation = json!({ "trusted_ca": { "filename": authority.display().to_string() }, "match_typed_subject_alt_names": [name] });
    let common =
        json!({ "tls_params": { "tls_maximum_protocol_version": "TLSv1_3" }, "validation_context": validation });
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": { "@type": TLS, "sni": NAMES[0], "common_tls_context": common },
    })
}
