//! From text to [`File`]: syntax, unknown keys and wrong types.
//!
//! Serde stops at its first error. To report all of them, each wrong entry is removed from the
//! table and the rest is parsed again. Serde's own messages quote the value, which may be a secret:
//! messages are built from the expected and found types and from key names instead.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::file::File;
use super::health::HEALTH_FORM;
use super::planned::PLANNED;
use super::report::{Key, Report, shown_below};
use super::respond::RESPOND_FORM;
use super::shadow::SHADOW_FORM;
use super::suggest::did_you_mean;
use super::units::{CHAIN_ID_FORM, DURATION_FORM, SIZE_FORM};

/// The most wrong entries that one run reports: each costs another pass over the file.
const MAX_ROUNDS: usize = 50;

/// Parses the file without its wrong entries, which are reported. Returns `None` if the text isn't
/// TOML, or has more wrong entries than one run reports.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Option<File> {
    match DeTable::parse(text) {
        Ok(table) => read_table(table, report),
        Err(error) => {
            no_toml(&error, report);
            None
        }
    }
}

/// Like [`read`], but tolerates syntax errors if the text names the admin address.
pub(super) fn read_admin(text: &str, report: &mut Report<'_>) -> Option<File> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let admin = table.get_ref().get("admin").and_then(|admin| admin.get_ref().as_table());
    match errors.first() {
        Some(error) if admin.is_none_or(|admin| !admin.contains_key("listen")) => {
            no_toml(error, report);
            None
        }
        _ => read_table(table, report),
    }
}

fn no_toml(error: &Error, report: &mut Report<'_>) {
    report.add(Key::Root, error.span().unwrap_or(0..0), format!("isn't TOML: {}", error.message()));
}

fn read_table(mut table: Spanned<DeTable<'_>>, report: &mut Report<'_>) -> Option<File> {
    for _ in 0..MAX_ROUNDS {
        let error = match File::deserialize(Deserializer::from(table.clone())) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let target = Target::of(&error);
        let Some(path) = find(table.get_ref(), &target) else {
            report.add(Key::Root, target.span, "isn't a conf");
            return None;
        };
        let key = rendered(&path);
        report.add_at(key.clone(), target.span, message(&error, &path, found(table.get_ref(), &path)));
        if let Some(meant) = unknown_key(&error).and_then(|unknown| unknown.meant(&path))
            && found(table.get_ref(), &meant).is_none()
        {
            report.take_out(rendered(&meant));
        }
        report.take_out(key);
        take_out(table.get_mut(), &path);
    }
    None
}

/// A step from a table or an array to one of its entries.
#[derive(Clone)]
enum PathStep {
    Name(String),
    Item(usize),
}

/// The subject of an error: the place of a key or a value, and whether the value is an array, since
/// for `[[a]]` the array and its first table have the same place.
struct Target {
    span: Range<usize>,
    array: bool,
}

impl Target {
    fn of(error: &Error) -> Self {
        let array = error.message().starts_with("invalid type: sequence");
        Self { span: error.span().unwrap_or(0..0), array }
    }

    fn is(&self, value: &Spanned<DeValue<'_>>) -> bool {
        value.span() == self.span && value.get_ref().is_array() == self.array
    }
}

/// The path to the target: by its key, or else to the deepest value at its place.
fn find(table: &DeTable<'_>, target: &Target) -> Option<Vec<PathStep>> {
    table.iter().find_map(|(key, value)| {
        let here = || (key.span() == target.span || target.is(value)).then(Vec::new);
        let mut path = find_below(value, target).or_else(here)?;
        path.insert(0, PathStep::Name(key.get_ref().to_string()));
        Some(path)
    })
}

fn find_below(value: &Spanned<DeValue<'_>>, target: &Target) -> Option<Vec<PathStep>> {
    match value.get_ref() {
        DeValue::Table(table) => find(table, target),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, item)| {
            let here = || target.is(item).then(Vec::new);
            let mut path = find_below(item, target).or_else(here)?;
            path.insert(0, PathStep::Item(index));
            Some(path)
        }),
        _ => None,
    }
}

/// Whether a later version will support this key in this place.
fn is_planned(path: &[PathStep]) -> bool {
    let mut names =
        path.iter().filter_map(|step| if let PathStep::Name(name) = step { Some(name.as_str()) } else { None });
    let Some(key) = names.next_back() else { return false };
    // The names of upstreams are the operator's own, so the table's path omits them.
    let table: Vec<&str> = names.enumerate().filter(|(at, _)| *at != 1).map(|(_, name)| name).collect();
    PLANNED.iter().any(|(place, keys)| *place == table.join(".") && keys.contains(&key))
}

fn rendered(path: &[PathStep]) -> String {
    let mut sum = String::new();
    let mut parent = "";
    for step in path {
        match step {
            PathStep::Name(name) => {
                sum += if sum.is_empty() { "" } else { "." };
                sum += shown_below(parent, name);
                parent = name;
            }
            PathStep::Item(index) => sum += &format!("[{index}]"),
        }
    }
    sum
}

fn found<'t, 'i>(table: &'t DeTable<'i>, path: &[PathStep]) -> Option<&'t DeValue<'i>> {
    let (PathStep::Name(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(table.get(first.as_str())?.get_ref(), |value, step| match step {
        PathStep::Name(name) => value.as_table()?.get(name.as_str()).map(Spanned::get_ref),
        PathStep::Item(index) => value.as_array()?.get(*index).map(Spanned::get_ref),
    })
}

/// Removes the entry at `path`. In an array it removes the whole array, so that no other item
/// changes its index.
fn take_out(table: &mut DeTable<'_>, path: &[PathStep]) {
    let Some((PathStep::Name(name), rest)) = path.split_first() else { return };
    if !rest.iter().any(|step| matches!(step, PathStep::Name(_))) {
        table.remove(name.as_str());
    } else if let Some(value) = table.get_mut(name.as_str()) {
        take_out_below(value.get_mut(), rest);
    }
}

fn take_out_below(value: &mut DeValue<'_>, path: &[PathStep]) {
    match (value, path.split_first()) {
        (DeValue::Table(table), _) => take_out(table, path),
        (DeValue::Array(array), Some((PathStep::Item(index), rest))) => {
            if let Some(item) = array.get_mut(*index) {
                take_out_below(item.get_mut(), rest);
            }
        }
        _ => {}
    }
}

/// Describes the error without quoting the value.
fn message(error: &Error, path: &[PathStep], found: Option<&DeValue<'_>>) -> String {
    if let Some(unknown) = unknown_key(error) {
        return unknown.message(path);
    }
    // The expectation comes last. The text before it quotes the value.
    let expected =
        error.message().rsplit_once(", expected ").map_or("something else", |(_, expected)| worded(expected));
    match found {
        Some(DeValue::Integer(_)) if expected == WHOLE => "is too large a number".to_owned(),
        Some(value) => format!("must be {expected}, not {}", kind(value)),
        None => format!("must be {expected}"),
    }
}

/// An unknown key, and the known keys of its table.
struct UnknownKey<'e> {
    word: &'e str,
    known: Vec<&'e str>,
}

/// Parses Serde's "unknown field `key`, expected `a` or `b`".
fn unknown_key(error: &Error) -> Option<UnknownKey<'_>> {
    let said = error.message().strip_prefix("unknown field ")?;
    // Every other part between backticks is a name: first the unknown key, then the known ones.
    let mut names = said.rsplit_once(", expected ").map_or("", |(_, list)| list).split('`');
    let known = std::iter::from_fn(|| names.nth(1)).collect();
    let word = said.strip_prefix('`').and_then(|rest| rest.split('`').next()).unwrap_or_default();
    Some(UnknownKey { word, known })
}

impl UnknownKey<'_> {
    /// The path of the known key that `path` probably means.
    fn meant(&self, path: &[PathStep]) -> Option<Vec<PathStep>> {
        let (_, parent) = path.split_last()?;
        Some([parent, &[PathStep::Name(self.near()?.to_owned())]].concat())
    }

    fn near(&self) -> Option<&str> {
        did_you_mean(self.word, self.known.iter().copied())
    }

    fn message(&self, path: &[PathStep]) -> String {
        if is_planned(path) {
            return "is not supported yet; leave it out".to_owned();
        }
        match self.near() {
            Some(near) => format!("isn't a known key; did you mean \"{near}\"?"),
            None => format!("isn't a known key; the keys here are {}", self.known.join(", ")),
        }
    }
}

const WHOLE: &str = "a whole number";

fn worded(expected: &str) -> &str {
    match expected {
        "i64" => WHOLE,
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "a table",
        // These are static texts, ours or Serde's. Any other text could contain a part of the
        // value.
        "a string" | "a table" | DURATION_FORM | SIZE_FORM | CHAIN_ID_FORM | SHADOW_FORM | HEALTH_FORM
        | RESPOND_FORM => expected,
        _ => "of another type",
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
