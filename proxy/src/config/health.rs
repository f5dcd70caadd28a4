//! Health checks, and the chain's identity, which they verify.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::check::{LONGEST, SHORTEST};
use super::file;
use super::report::{Key, Report};
use super::spanned::Spanned;
use super::units::ChainIdText;
use super::upstream::{any_of, is_method};
use crate::chain::{Chain, ChainId, IdForm};

/// A shorter interval would be a load of its own.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=LONGEST;
/// The interval without `health_check`: 1,440 calls a day for each endpoint, a few percent of a
/// provider's free tier.
const UNWRITTEN_INTERVAL: Duration = Duration::from_secs(60);
/// Consecutive probes.
const THRESHOLD: RangeInclusive<u32> = 1..=100;
/// HTTP statuses.
const STATUS: RangeInclusive<u16> = 100..=599;
/// The longest path of a probe. No health page needs a longer one.
const MAX_PATH: usize = 256;
/// The longest name of a gRPC service: its length is one byte of the probe.
const MAX_SERVICE: usize = 127;
/// The default status of a good answer.
const OK: u16 = 200;

/// Periodic probes of whether each endpoint is fit to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// `interval`: from the start of one round to the start of the next; `"100ms"` to a day.
    /// Default `"30s"`.
    pub interval: Duration,
    /// `timeout`: for one probe, including the connect; `"1ms"` to a day. Default `"5s"`.
    pub timeout: Duration,
    /// `method`, or `path` and `status`, or `grpc`.
    pub probe: ProbeKind,
    /// The conf names none of them: an endpoint that lacks the default method passes.
    pub implied: bool,
    /// `unhealthy_threshold`: consecutive failed probes that make an endpoint unhealthy; 1 to 100.
    /// Default 2.
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`: consecutive good probes that make it healthy again; 1 to 100. Default
    /// 1.
    pub healthy_threshold: u32,
    /// `max_head_lag`: the most blocks that a healthy endpoint may be behind the best one. Needs a
    /// method that returns the head. Default: no limit.
    pub max_head_lag: Option<u32>,
}

/// The request of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// `method`: a JSON-RPC method without parameters, 1 to 64 characters of visible ASCII. Default
    /// `"eth_blockNumber"`, or `"getSlot"` with `chain = "solana"`.
    Method(String),
    /// A GET request.
    Path {
        /// `path`: with its query, if any: up to 256 characters of visible ASCII, the first a `/`.
        path: String,
        /// `status`: the status of a good answer; 100 to 599. Default 200.
        status: u16,
    },
    /// `grpc`: the service of gRPC's health protocol: up to 127 characters of visible ASCII, none
    /// of them for the server itself.
    Grpc(String),
}

/// The accepted forms of `health_check`, for messages.
pub(super) const HEALTH_FORM: &str = "a table such as { interval = \"30s\" }, or \"off\"";

/// `"off"`, or a table.
pub(super) enum HealthText {
    Off,
    Table(Box<file::HealthCheck>),
}

impl<'de> Deserialize<'de> for HealthText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = HealthText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(HEALTH_FORM)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<HealthText, E> {
                match text {
                    "off" => Ok(HealthText::Off),
                    _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HealthText, A::Error> {
                let table = file::HealthCheck::deserialize(MapAccessDeserializer::new(map))?;
                Ok(HealthText::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// Returns `None` for `"off"`.
pub(super) fn health_check(
    key: Key<'_>,
    file: Option<&Spanned<HealthText>>,
    chain: Chain,
    report: &mut Report<'_>,
) -> Option<HealthCheck> {
    let unwritten = file::HealthCheck::default();
    let file = match file.map(Spanned::get_ref) {
        Some(HealthText::Off) => return None,
        Some(HealthText::Table(file)) => &**file,
        None => {
            let check = health_check_of(key, &unwritten, chain, report);
            return Some(HealthCheck { interval: UNWRITTEN_INTERVAL, ..check });
        }
    };
    Some(health_check_of(key, file, chain, report))
}

fn health_check_of(key: Key<'_>, file: &file::HealthCheck, chain: Chain, report: &mut Report<'_>) -> HealthCheck {
    let probe = probe(key, file, chain, report);
    HealthCheck {
        implied: file.method.is_none() && file.path.is_none() && file.grpc.is_none(),
        interval: report.duration(key.name("interval"), &file.interval, INTERVAL),
        timeout: report.duration(key.name("timeout"), &file.timeout, SHORTEST..=LONGEST),
        unhealthy_threshold: report.whole(key.name("unhealthy_threshold"), &file.unhealthy_threshold, THRESHOLD),
        healthy_threshold: report.whole(key.name("healthy_threshold"), &file.healthy_threshold, THRESHOLD),
        max_head_lag: max_head_lag(key.name("max_head_lag"), file, &probe, report),
        probe,
    }
}

fn probe(key: Key<'_>, file: &file::HealthCheck, chain: Chain, report: &mut Report<'_>) -> ProbeKind {
    let named = [("path", &file.path), ("grpc", &file.grpc), ("method", &file.method)];
    let mut named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let chosen = named.next();
    for (name, text) in named {
        let other = chosen.map_or("", |(name, _)| name);
        report.add(key.name(name), text.span(), format!("contradicts health_check.{other}; remove one of them"));
    }
    if let Some(status) = file.status.as_ref().filter(|_| file.path.is_none()) {
        report.add(key.name("status"), status.span(), "needs path, whose answer has that status");
    }
    match chosen {
        Some(("path", path)) => ProbeKind::Path {
            path: checked_path(key.name("path"), path, report),
            status: file.status.as_ref().map_or(OK, |status| report.whole(key.name("status"), status, STATUS)),
        },
        Some(("grpc", service)) => {
            if service.get_ref().len() > MAX_SERVICE || !service.get_ref().bytes().all(|byte| byte.is_ascii_graphic()) {
                let message = "must be the full name of a service, such as \"package.Service\", or \"\" for the server";
                report.add(key.name("grpc"), service.span(), message);
            }
            ProbeKind::Grpc(service.get_ref().clone())
        }
        Some((_, method)) => {
            if !is_method(method.get_ref()) {
                let message = "must be a method: 1 to 64 characters of visible ASCII without *";
                report.add(key.name("method"), method.span(), message);
            }
            ProbeKind::Method(method.get_ref().clone())
        }
        None => ProbeKind::Method(chain.head_method().to_owned()),
    }
}

fn checked_path(key: Key<'_>, path: &Spanned<String>, report: &mut Report<'_>) -> String {
    let text = path.get_ref();
    // Nothing behind # would be sent.
    let fit = |byte: u8| byte.is_ascii_graphic() && !b"#\\\"".contains(&byte);
    if !text.starts_with('/') {
        report.add(key, path.span(), "must begin with /");
    } else if text.len() > MAX_PATH || !text.bytes().all(fit) {
        let message = "must be at most 256 characters of ASCII without spaces, quotes, # or \\";
        report.add(key, path.span(), message);
    }
    text.clone()
}

fn max_head_lag(key: Key<'_>, file: &file::HealthCheck, probe: &ProbeKind, report: &mut Report<'_>) -> Option<u32> {
    let lag = file.max_head_lag.as_ref()?;
    if !matches!(probe, ProbeKind::Method(method) if is_head(method)) {
        let heads = any_of(Chain::head_methods());
        report.add(key, lag.span(), format!("needs a method that tells the head: {heads}"));
    }
    Some(report.whole(key, lag, 0..=u32::MAX))
}

pub(super) fn chain_id(
    upstream: Key<'_>,
    file: &file::Upstream,
    chain: Chain,
    report: &mut Report<'_>,
) -> Option<ChainId> {
    let id = file.chain_id.as_ref()?;
    let key = upstream.name("chain_id");
    if matches!(file.health_check.as_ref().map(Spanned::get_ref), Some(HealthText::Off)) {
        report.add(key, id.span(), "needs health_check, which verifies it and is \"off\"");
    }
    match (id.get_ref(), chain.id_form()) {
        (ChainIdText::Number(number), IdForm::Number) => {
            let number = Spanned::new(id.span(), *number);
            return Some(ChainId::Number(report.whole(key, &number, 1..=u64::MAX)));
        }
        (ChainIdText::Text(text), IdForm::Text(is_id)) if is_id(text) => return Some(ChainId::Text(text.clone())),
        _ => report.add(key, id.span(), chain.id_words()),
    }
    None
}

/// Whether `method` returns a node's head, on any chain.
fn is_head(method: &str) -> bool {
    Chain::head_methods().contains(&method)
}
