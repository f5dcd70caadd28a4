//! `pointsman import-azoth`: converts an azoth-balancer conf to ours.
//!
//! Every number is written out, even where the old conf used a default, because the two programs'
//! defaults differ. Everything that can't be converted is reported in a note; nothing is dropped
//! silently. The new conf contains the endpoints' URLs; notes and errors don't.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use toml::{Table, Value};

use self::keys::Keys;
use crate::config::{self, ConfigError, EndpointUrl, UrlError};

/// A day in seconds and in milliseconds: our conf's longest duration.
const DAY_SECS: i64 = 24 * 60 * 60;
const DAY_MS: i64 = DAY_SECS * 1_000;
/// Our default for a whole request, which azoth-balancer has no key for.
const DEADLINE_SECS: i64 = 10;
/// The admin port: the first one that the old conf doesn't use for requests.
const ADMIN_PORTS: [u16; 2] = [8550, 8551];

/// A conf in our format, and notes for the operator.
#[derive(Clone, PartialEq, Eq)]
pub struct Imported {
    /// The conf as TOML. It holds the endpoints' URLs.
    pub conf: String,
    /// Notes on changes, omissions and open points, one sentence each. They hold no URL.
    pub notes: Vec<String>,
}

/// Why a conf can't be imported. No message holds a URL.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is not TOML.
    #[error("line {line}: isn't TOML: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A value has the wrong type or is out of range.
    #[error("{key}: {message}")]
    Value {
        /// The key in the azoth-balancer conf.
        key: String,
        /// The problem.
        message: String,
    },
    /// An endpoint's URL can't be used.
    #[error("balancer.endpoints[{index}].url: {reason}")]
    Url {
        /// The endpoint's position, from 0.
        index: usize,
        /// The problem with the URL.
        reason: UrlError,
    },
    /// The conf names no endpoint.
    #[error(
        "balancer.endpoints: is empty, and azoth-balancer's built-in public endpoints are not taken over; name some"
    )]
    NoEndpoints,
    /// The result violates a rule of ours; the places are those of the new conf.
    #[error("the conf can't be carried over: {0}")]
    Refused(ConfigError),
}

/// Converts an azoth-balancer conf. The result has passed our own validation.
pub fn convert(text: &str) -> Result<Imported, ImportError> {
    let table = text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ImportError::Syntax { line: before.matches('\n').count() + 1, message: error.message().to_owned() }
    })?;
    let mut notes = Vec::new();
    let mut root = Keys { path: String::new(), table };
    let mut server = root.table("server")?;
    let mut balancer = root.table("balancer")?;
    let mut conf = String::from(HEAD);
    convert_server(&mut server, &mut conf, &mut notes)?;
    conf.push_str(POLICIES);
    let endpoints = balancer.take("endpoints");
    convert_balancer(&mut balancer, &mut conf, &mut notes)?;
    convert_endpoints(endpoints, &mut conf, &mut notes)?;
    for keys in [root, server, balancer] {
        keys.note_unknown(&mut notes);
    }
    // No value is an `env:` or `file:` reference, so no lookup occurs.
    config::parse(&conf, Path::new("imported.toml"), &|_| None).map_err(ImportError::Refused)?;
    Ok(Imported { conf, notes })
}

const HEAD: &str = "\
# Converted from an azoth-balancer conf. It holds the endpoints' URLs, and so any keys in them:
# \"env:NAME\" and \"file:PATH\" may stand in their place.
";

const POLICIES: &str = "
# The plugins are looked for in this folder, relative to this file.
[plugins]
dir = \"plugins\"

# azoth-balancer's choice of endpoints: weight 100 and up first, then 50 to 99, then the rest.
[policies.tiers]
plugin = \"tiers\"

[policies.json-rpc-retry]
plugin = \"json-rpc-retry\"
";

fn convert_server(server: &mut Keys, conf: &mut String, notes: &mut Vec<String>) -> Result<(), ImportError> {
    let text = server.text("bind_addr")?.unwrap_or_else(|| {
        notes.push("server.bind_addr was not set; azoth-balancer's default, 0.0.0.0:8549, is written out".to_owned());
        "0.0.0.0:8549".to_owned()
    });
    let listen: SocketAddr = text.parse().map_err(|_| server.wrong("bind_addr", "must be an IP address and a port"))?;
    let admin = ADMIN_PORTS.into_iter().find(|&port| port != listen.port()).unwrap_or(0);
    notes.push(format!(
        "status, health, reload and metrics are no longer on the port for requests, but on 127.0.0.1:{admin}"
    ));
    let _ = write!(
        conf,
        "
[server]
listen = [\"{listen}\"]

# Status, health, metrics and reload. Listening on anything but loopback needs a token.
[admin]
listen = \"127.0.0.1:{admin}\"
"
    );
    Ok(())
}

fn convert_balancer(balancer: &mut Keys, conf: &mut String, notes: &mut Vec<String>) -> Result<(), ImportError> {
    let max = balancer.number("max_cooldown_secs", 60, 1..=DAY_SECS)?;
    let mut base = balancer.number("base_cooldown_secs", 3, 1..=DAY_SECS)?;
    if base > max {
        notes.push(format!("balancer.base_cooldown_secs was above max_cooldown_secs; it is written as {max}s"));
        base = max;
    }
    let timeout = balancer.number("timeout_secs", 5, 1..=DAY_SECS)?;
    let deadline = timeout.max(DEADLINE_SECS);
    notes.push(format!("deadline is new: a request now ends after {deadline}s, all of its attempts together"));
    let _ = write!(
        conf,
        "
[upstreams.ethereum]
scoring = \"tiers\"
retry = \"json-rpc-retry\"
deadline = \"{deadline}s\"  # for a request with all of its attempts
max_batch_size = {batch}
max_concurrency = {concurrency}
latency_smoothing_factor = {smoothing:?}

[upstreams.ethereum.client]
connect_timeout = \"{connect}ms\"
timeout = \"{timeout}s\"  # for one attempt
pool_idle_timeout = \"{idle}s\"
pool_max_idle_per_host = {max_idle}

[upstreams.ethereum.cooldown]
base = \"{base}s\"
max = \"{max}s\"

[upstreams.ethereum.health_check]
interval = \"{health_interval}s\"
timeout = \"{health_timeout}s\"
method = \"eth_blockNumber\"
",
        batch = balancer.number("max_batch_size", 100, 1..=10_000)?,
        concurrency = balancer.number("max_concurrency", 50, 1..=1_000_000)?,
        smoothing = smoothing(balancer, notes)?,
        connect = balancer.number("connect_timeout_ms", 500, 1..=DAY_MS)?,
        idle = balancer.number("pool_idle_timeout_secs", 20, 1..=DAY_SECS)?,
        max_idle = balancer.number("pool_max_idle_per_host", 50, 0..=10_000)?,
        health_interval = balancer.number("health_check_interval_secs", 30, 1..=DAY_SECS)?,
        health_timeout = balancer.number("health_check_timeout_secs", 5, 1..=DAY_SECS)?,
    );
    Ok(())
}

/// azoth-balancer clamps to 0..=1. A factor of 0 never learns, so our conf excludes it.
fn smoothing(balancer: &mut Keys, notes: &mut Vec<String>) -> Result<f64, ImportError> {
    const KEY: &str = "latency_smoothing_factor";
    const DEFAULT: f64 = 0.1;
    let factor = match balancer.take(KEY) {
        None => DEFAULT,
        Some(Value::Float(number)) => number,
        Some(Value::Integer(number)) => number as f64,
        Some(_) => return Err(balancer.wrong(KEY, "must be a number")),
    };
    let kept = if factor > 0.0 { factor.min(1.0) } else { DEFAULT };
    if kept != factor {
        notes.push(format!("balancer.{KEY} must be above 0 and at most 1; it is written as {kept:?}"));
    }
    Ok(kept)
}

fn convert_endpoints(endpoints: Option<Value>, conf: &mut String, notes: &mut Vec<String>) -> Result<(), ImportError> {
    let key = "balancer.endpoints".to_owned();
    let endpoints = match endpoints {
        Some(Value::Array(endpoints)) if !endpoints.is_empty() => endpoints,
        None | Some(Value::Array(_)) => return Err(ImportError::NoEndpoints),
        Some(_) => return Err(ImportError::Value { key, message: "must be an array of tables".to_owned() }),
    };
    let mut seen: HashMap<EndpointUrl, usize> = HashMap::new();
    for (index, value) in endpoints.into_iter().enumerate() {
        let path = format!("{key}[{index}]");
        let Value::Table(table) = value else {
            return Err(ImportError::Value { key: path, message: "must be a table".to_owned() });
        };
        let mut keys = Keys { path, table };
        let (text, url) = endpoint_url(&mut keys, index)?;
        if let Some(first) = seen.get(&url) {
            notes.push(format!("balancer.endpoints[{index}] has the URL of endpoints[{first}] and is left out"));
            continue;
        }
        seen.insert(url, index);
        convert_endpoint(&mut keys, &text, conf, notes)?;
        keys.note_unknown(notes);
    }
    Ok(())
}

/// The URL as azoth-balancer uses it: without surrounding space or trailing slashes.
fn endpoint_url(keys: &mut Keys, index: usize) -> Result<(String, EndpointUrl), ImportError> {
    let text = keys.text("url")?.ok_or_else(|| keys.wrong("url", "is missing"))?;
    let text = text.trim().trim_end_matches('/').to_owned();
    let url = EndpointUrl::parse(&text).map_err(|reason| ImportError::Url { index, reason })?;
    Ok((text, url))
}

fn convert_endpoint(keys: &mut Keys, url: &str, conf: &mut String, notes: &mut Vec<String>) -> Result<(), ImportError> {
    const LARGEST_WEIGHT: i64 = 65_535;
    const LARGEST_RATE: i64 = 1_000_000;
    let name = keys.text("name")?;
    let mut weight = keys.number("weight", 20, 0..=i64::MAX)?;
    if weight > LARGEST_WEIGHT {
        notes.push(format!("{}.weight was above {LARGEST_WEIGHT}, which it is written as", keys.path));
        weight = LARGEST_WEIGHT;
    }
    if !keys.table.contains_key("rate_limit_per_sec") {
        return Err(keys.wrong("rate_limit_per_sec", "is missing"));
    }
    let rate = keys.number("rate_limit_per_sec", 1, 1..=LARGEST_RATE)?;
    let burst = keys.number("burst_size", 25, 1..=LARGEST_RATE)?;
    let _ = writeln!(conf, "\n[[upstreams.ethereum.endpoints]]\nurl = {}", quoted(url));
    if let Some(name) = name {
        let _ = writeln!(conf, "name = {}", quoted(&name));
    }
    let _ = writeln!(conf, "weight = {weight}\nrate_limit_per_sec = {rate}\nburst_size = {burst}");
    Ok(())
}

/// The text as a TOML string.
fn quoted(text: &str) -> Value {
    Value::from(text)
}
