#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::parse;
use super::accepts::refusals;
use super::{markdown, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Fails when a generated file is stale, or rewrites it under `make reference`.
#[test]
fn the_reference_and_the_schema_are_those_of_the_types() {
    let schema = schema();
    let files = [
        ("docs/reference.md", markdown::page(&schema)),
        ("docs/pointsman.schema.json", serde_json::to_string_pretty(&schema).unwrap() + "\n"),
    ];
    for (name, made) in files {
        let path = root().join(name);
        if std::env::var_os("POINTSMAN_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap_or_default() == made, "{name} is stale: run `make reference`");
    }
}

#[test]
fn every_key_has_a_meaning() {
    fn check(schema: &Value, at: &str) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            assert!(value["description"].is_string(), "{at}.{key} has no description");
            check(value, &format!("{at}.{key}"));
        }
        let below = [&schema["items"], &schema["additionalProperties"]].into_iter();
        let below = below.chain(schema["anyOf"].as_array().into_iter().flatten());
        below.filter(|schema| schema.is_object()).for_each(|schema| check(schema, at));
    }
    check(&schema(), "");
}

/// The samples in conf/ and the documentation's code blocks of conf.
#[test]
fn samples_and_documents_fit_the_schema() {
    let schema = schema();
    let mut checked = 0;
    for sample in files(&root().join("conf"), "toml") {
        checked += fits(&schema, &std::fs::read_to_string(&sample).unwrap(), &sample);
    }
    for page in files(&root().join("docs"), "md").into_iter().chain([root().join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            checked += fits(&schema, block.split("\n```").next().unwrap(), &page);
        }
    }
    assert!(checked >= 8, "only {checked} samples were found");
}

/// A code block may show part of a table, so a missing key is not an error there.
fn fits(schema: &Value, text: &str, file: &Path) -> usize {
    let conf: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", file.display()));
    if conf.get("package").is_some() {
        return 0;
    }
    let mut refused = refusals(schema, &conf, "");
    if file.extension().is_some_and(|kind| kind == "md") {
        refused.retain(|line| !line.ends_with("is missing"));
    }
    assert!(refused.is_empty(), "{}: {refused:#?}\n{text}", file.display());
    1
}

fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == kind)).collect()
}

/// Each bound of the schema matches the proxy's: it accepts the bound, and refuses the next number
/// beyond it.
#[test]
fn bounds_are_those_that_the_proxy_checks() {
    let mut bounded = Vec::new();
    collect(&schema(), &mut Vec::new(), &mut bounded);
    assert!(bounded.len() > 25, "only {} bounds were found", bounded.len());
    for (path, schema) in bounded {
        let step = if schema["type"] == "integer" { 1.0 } else { 0.001 };
        let bounds = [("minimum", -step), ("maximum", step)];
        for (bound, step) in bounds {
            let Some(number) = schema[bound].as_f64() else { continue };
            assert!(!is_refused(&path, &schema, number), "{path:?} may be {number}");
            assert!(is_refused(&path, &schema, number + step), "{path:?} must not be {}", number + step);
        }
        if let Some(number) = schema["exclusiveMinimum"].as_f64() {
            assert!(is_refused(&path, &schema, number), "{path:?} must not be {number}");
            assert!(!is_refused(&path, &schema, number + 0.001), "{path:?} may be {}", number + 0.001);
        }
    }
}

/// The path of each key with a bound. A step `[]` is the first item of a list, `x` any name.
fn collect(schema: &Value, path: &mut Vec<String>, bounded: &mut Vec<(Vec<String>, Value)>) {
    if ["minimum", "maximum", "exclusiveMinimum"].iter().any(|key| schema[*key].is_number()) {
        bounded.push((path.clone(), schema.clone()));
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        path.push(key.clone());
        collect(value, path, bounded);
        path.pop();
    }
    for (below, step) in [(&schema["items"], "[]"), (&schema["additionalProperties"], "x")] {
        if below.is_object() {
            path.push(step.to_owned());
            collect(below, path, bounded);
            path.pop();
        }
    }
    for form in schema["anyOf"].as_array().into_iter().flatten().filter(|form| form["type"] == "object") {
        collect(form, path, bounded);
    }
}

/// Keys that require another key beside them, and that key's value.
const NEEDED: [(&str, &str, &str); 3] = [
    ("endpoints.[].burst_size", "rate_limit_per_sec", "1"),
    ("health_check.status", "path", "'/'"),
    ("compression_level", "protocol", "'http'"),
];

/// Whether the proxy reports a problem with this very key.
fn is_refused(path: &[String], schema: &Value, number: f64) -> bool {
    let whole = schema["type"] == "integer";
    #[expect(clippy::cast_possible_truncation, reason = "bounds of whole numbers are whole")]
    let number = if whole { json!(number as i64) } else { json!(number) };
    let (last, parents) = path.split_last().unwrap();
    let mut entry = json!({ last.as_str(): number });
    if let Some((_, needed, value)) = NEEDED.iter().find(|(key, ..)| path.join(".").ends_with(key)) {
        entry[needed] = toml::from_str::<Value>(&format!("v = {value}")).unwrap()["v"].clone();
    }
    let value = parents.iter().rev().fold(entry, |value, step| match step.as_str() {
        "[]" => json!([value]),
        key => json!({ key: value }),
    });
    let text = toml::to_string(&value).unwrap();
    let key = path.join(".").replace(".[]", "[0]");
    match parse(&text, Path::new("pointsman.toml"), &|_| None) {
        Ok(_) => false,
        Err(error) => error.problems().iter().any(|problem| problem.key == key),
    }
}
