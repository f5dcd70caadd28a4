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
use super::{HealthCheck, ProbeKind};
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
/// The default status of a good answer.
const OK: u16 = 200;

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
        implied: file.method.is_none() && file.path.is_none(),
        interval: report.duration(key.name("interval"), &file.interval, INTERVAL),
        timeout: report.duration(key.name("timeout"), &file.timeout, SHORTEST..=LONGEST),
        unhealthy_threshold: report.whole(key.name("unhealthy_threshold"), &file.unhealthy_threshold, THRESHOLD),
        healthy_threshold: report.whole(key.name("healthy_threshold"), &file.healthy_threshold, THRESHOLD),
        max_head_lag: max_head_lag(key.name("max_head_lag"), file, &probe, report),
        probe,
    }
}

fn probe(key: Key<'_>, file: &file::HealthCheck, chain: Chain, report: &mut Report<'_>) -> ProbeKind {
    if let Some(path) = &file.path {
        if let Some(method) = &file.method {
            let message = "contradicts health_check.path, which asks with GET; remove one of them";
            report.add(key.name("method"), method.span(), message);
        }
        return ProbeKind::Path {
            path: checked_path(key.name("path"), path, report),
            status: file.status.as_ref().map_or(OK, |status| report.whole(key.name("status"), status, STATUS)),
        };
    }
    if let Some(status) = &file.status {
        report.add(key.name("status"), status.span(), "needs path, whose answer has that status");
    }
    let Some(method) = &file.method else { return ProbeKind::Method(chain.head_method().to_owned()) };
    if !is_method(method.get_ref()) {
        let message = "must be a method: 1 to 64 characters of visible ASCII without *";
        report.add(key.name("method"), method.span(), message);
    }
    ProbeKind::Method(method.get_ref().clone())
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
