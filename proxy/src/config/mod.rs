//! The conf: read once, validated as a whole, and resolved into what the program uses.
//!
//! `file` mirrors the TOML and holds the defaults; all other modules use this one. Every value here
//! is in range, every reference exists, and an `Option` is a value that may really be absent.
//! Secrets are in `Secret` and `EndpointUrl`, whose printed forms hide them.
//!
//! All problems are reported at once, with line, column and key: first syntax, unknown keys and
//! types, and once those are right, everything else.
//!
//! Durations are text with a unit (`"250ms"`, `"10s"`, `"1m 30s"`), at most a day. A value that is
//! documented as a secret may be `env:NAME` or `file:PATH` (relative to the conf), which is read
//! when the conf is loaded.

mod canary;
mod check;
mod client_identity;
mod cors;
mod endpoint;
mod error;
mod file;
mod file_endpoint;
mod file_listener;
mod file_route;
mod file_upstream;
mod header_edits;
mod health;
mod host_pattern;
mod listeners;
mod machine;
mod planned;
mod plugins;
mod policy;
mod report;
mod resolved;
mod resolved_route;
mod respond;
mod route_path;
mod routes;
#[cfg(test)]
mod schema;
mod secret;
mod shadow;
mod spanned;
mod structure;
mod suggest;
#[cfg(test)]
mod tests;
mod units;
mod upstream;
mod upstream_tls;
mod url;
mod validate;

use std::path::Path;

pub use self::endpoint::is_label;
pub use self::error::{ConfigError, Location, Problem};
pub use self::health::{HealthCheck, ProbeKind};
pub use self::listeners::{CertificateFiles, Listener, ListenerTls, TlsVersion};
pub use self::policy::NATIVE;
pub use self::resolved::{
    Admin, CanaryConf, Client, ClientKeySource, Config, Cooldown, EndpointConf, Plugins, PolicyConf, Protocol,
    RateLimit, RetryBudget, Server, ShadowConf, UpstreamConf, WebSocket,
};
pub use self::resolved_route::{
    Cors, CorsHeaders, FixedAnswer, HeaderEdits, HostPattern, OriginPattern, Origins, Route, RouteTarget,
};
pub use self::secret::{ClientKey, Secret};
pub use self::upstream_tls::UpstreamTls;
pub use self::url::{EndpointUrl, UrlError};
use crate::files;

/// The largest conf in bytes. One of 100,000 endpoints, the maximum, has about 10 MiB.
const CONF_BYTES: usize = 16 << 20;

/// Reads, validates and resolves the conf at `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path)?;
    parse(&text, path, &|name| std::env::var(name).ok())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    files::read_text(path, CONF_BYTES).map_err(|reason| ConfigError::Read { path: path.to_owned(), reason })
}

/// Reads `[admin]` of the conf at `path`, whatever else is wrong there. Problems of its token count
/// only `with_token`.
pub fn load_admin(path: &Path, with_token: bool) -> Result<Admin, ConfigError> {
    let text = read(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let env = |name: &str| std::env::var(name).ok();
    let sources = secret::Sources { folder: path.parent().unwrap_or(Path::new("")), env: &env };
    let mut report = report::Report::new(text);
    let admin =
        structure::read_admin(text, &mut report).map(|file| validate::admin(&file.admin, &mut report, &sources));
    let counts = |problem: &Problem| match problem.key.as_str() {
        "admin.token" => with_token,
        key => admin.is_none() || key == "admin" || key.starts_with("admin."),
    };
    let problems: Vec<Problem> = report.into_problems().into_iter().filter(counts).collect();
    match admin {
        Some(admin) if problems.is_empty() => Ok(admin),
        _ => Err(ConfigError::Invalid { path: path.to_owned(), problems }),
    }
}

/// Validates and resolves a conf that was read from `path`, with `env` in place of the environment.
pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    // A byte order mark doesn't count as a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let sources = secret::Sources { folder: path.parent().unwrap_or(Path::new("")), env };
    let mut report = report::Report::new(text);
    let config = structure::read(text, &mut report).map(|file| validate::config(&file, &mut report, &sources));
    match config {
        Some(config) if report.is_empty() => Ok(config),
        _ => Err(ConfigError::Invalid { path: path.to_owned(), problems: report.into_problems() }),
    }
}
