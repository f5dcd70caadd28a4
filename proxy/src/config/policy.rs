//! The declared policies: their plugins and their configs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use semver::VersionReq;
use serde_json::Value;

use super::PolicyConf;
use super::check::{check_name, required};
use super::file::{self, Named};
use super::report::{Key, Report};
use super::spanned::Spanned;
use crate::hex;

/// The name of the built-in policy, which is always there and never declared.
pub const NATIVE: &str = "native";

/// Fuel of one call. A call with less than the minimum can't do anything; one with the maximum
/// outlasts the epoch deadline.
const FUEL: RangeInclusive<u64> = 1_000..=100_000_000;
/// The longest name of a plugin (sdk/ABI.md, section 3).
const MAX_PLUGIN_NAME: usize = 64;

pub(super) fn policies(file: &Named<file::Policy>, report: &mut Report<'_>) -> BTreeMap<String, PolicyConf> {
    let key = Key::Root.name("policies");
    let mut resolved = BTreeMap::new();
    for (name, table) in file {
        check_name(key, name, report);
        if name.get_ref() == NATIVE {
            let message = "is the name of the built-in policy, which needs no declaration; choose another name";
            report.add(key.name(NATIVE), name.span(), message);
        }
        let conf = policy(key.name(name.get_ref()), name, table, report);
        resolved.insert(name.get_ref().clone(), conf);
    }
    resolved
}

/// A declared policy to be tried as a `what`, such as a canary, beside the upstream's `live`
/// policies, each with the name of its kind.
pub(super) fn candidate(
    key: Key<'_>,
    name: &Spanned<String>,
    what: &str,
    live: &[(&str, Option<&Spanned<String>>)],
    policies: &Named<file::Policy>,
    report: &mut Report<'_>,
) -> Option<String> {
    if name.get_ref() == NATIVE {
        report.add(key, name.span(), format!("must be a declared policy; the built-in one can't be a {what}"));
        return None;
    }
    let known = policies.keys().map(|name| name.get_ref().as_str());
    if !report.reference(key, name, "policies", known) {
        return None;
    }
    for (kind, live) in live {
        if live.is_some_and(|live| live.get_ref() == name.get_ref()) {
            report.add(key, name.span(), format!("is the upstream's {kind} policy; a {what} must be another one"));
            return None;
        }
    }
    Some(name.get_ref().clone())
}

fn policy(
    key: Key<'_>,
    name: &Spanned<String>,
    file: &file::Table<file::Policy>,
    report: &mut Report<'_>,
) -> PolicyConf {
    let version = VersionReq::parse(file.version.get_ref()).unwrap_or_else(|_| {
        let message = "must be a version requirement such as \"^1\", \"=1.2.3\" or \">=1.1, <2\"";
        report.add(key.name("version"), file.version.span(), message);
        VersionReq::STAR
    });
    let mut config = serde_json::Map::new();
    for (name, value) in file.config.get_ref() {
        let key = key.name("config");
        if let Some(value) = json(key.name(name), value, file.config.span(), report) {
            config.insert(name.clone(), value);
        }
    }
    PolicyConf {
        plugin: plugin(key, file, report),
        version,
        fuel: report.whole(key.name("fuel"), &file.fuel, FUEL),
        sha256: file.sha256.as_ref().and_then(|text| sha256(key.name("sha256"), text, report)),
        config: Value::Object(config),
        place: report.place(name.span().start),
    }
}

fn plugin(key: Key<'_>, file: &file::Table<file::Policy>, report: &mut Report<'_>) -> String {
    let Some(text) = required(key, "plugin", "NAME", file.plugin.as_ref(), file.span(), report) else {
        return String::new();
    };
    let name = text.get_ref();
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || name.len() > MAX_PLUGIN_NAME || !name.bytes().all(fit) {
        let message =
            "must be a plugin's name, not a file: 1 to 64 characters of a-z, 0-9 and -, beginning with a letter";
        report.add(key.name("plugin"), text.span(), message);
    }
    name.clone()
}

fn sha256(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> Option<[u8; 32]> {
    let digest = hex::read(text.get_ref().as_bytes()).and_then(|bytes| bytes.try_into().ok());
    if digest.is_none() {
        report.add(key, text.span(), "must be 64 hexadecimal digits, as sha256sum prints them");
    }
    digest
}

/// The same value as JSON. Dates become text; infinity and NaN have no JSON form.
fn json(key: Key<'_>, value: &toml::Value, table: std::ops::Range<usize>, report: &mut Report<'_>) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Float(number) => {
            let number = serde_json::Number::from_f64(*number).map(Value::Number);
            if number.is_none() {
                report.add(key, table, "must be a finite number, since plugins are handed JSON");
            }
            number?
        }
        toml::Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| json(key.item(index), item, table.clone(), report));
            Value::Array(items.collect::<Option<_>>()?)
        }
        toml::Value::Table(entries) => {
            let entries = entries.iter().map(|(name, value)| {
                json(key.name(name), value, table.clone(), report).map(|value| (name.clone(), value))
            });
            Value::Object(entries.collect::<Option<_>>()?)
        }
    })
}
