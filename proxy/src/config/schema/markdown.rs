//! The schema as a Markdown page: one heading per table, one line per key.

use std::fmt::Write as _;

use serde_json::Value;

/// The order of the conf's tables. JSON keys are sorted.
const TOP: [&str; 6] = ["server", "admin", "plugins", "policies", "upstreams", "routes"];

const HEAD: &str = "# Reference of the conf

<!-- Made of proxy/src/config/file.rs, file_upstream.rs and file_route.rs by `make reference`: change the comments there. -->

Every table and key. [Configuration](configuration.md) explains how they work together. A *duration* is text with a
unit, such as `\"250ms\"`, `\"10s\"` or `\"1m 30s\"`, of at most a day; a *size* is text such as `\"64KiB\"` or `\"10MiB\"`, or a number of bytes.

";

pub(super) fn page(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    let tables = schema["properties"].as_object().expect("the conf is a table");
    assert_eq!(TOP.len(), tables.len(), "the page's order names every table of the conf");
    for name in TOP {
        let table = &tables[name];
        let (shown, inner) = match (&table["items"], &table["additionalProperties"]) {
            (Value::Object(_), _) => (format!("[[{name}]]"), &table["items"]),
            (_, Value::Object(_)) => (format!("[{name}.NAME]"), &table["additionalProperties"]),
            _ => (format!("[{name}]"), table),
        };
        section(&mut page, &shown, table, inner);
    }
    page
}

/// A table's keys, and after them the tables within it.
fn section(page: &mut String, shown: &str, described: &Value, table: &Value) {
    let (meaning, default) = described_as(described);
    let _ = write!(page, "## `{shown}`\n\n{meaning}\n\n");
    if let Some(default) = default {
        let _ = write!(page, "Default: {default}\n\n");
    }
    page.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    let keys = table["properties"].as_object().expect("a table has keys");
    let path = shown.trim_matches(['[', ']']);
    let mut inner = Vec::new();
    for (key, schema) in keys {
        let required = table["required"].as_array().is_some_and(|keys| keys.contains(&Value::from(key.as_str())));
        if let Some(table) = table_of(schema) {
            let list = if schema["type"] == "array" { ("[[", "]]") } else { ("[", "]") };
            inner.push((format!("{}{path}.{key}{}", list.0, list.1), schema, table));
        }
        line(page, key, schema, required);
    }
    page.push('\n');
    for (shown, described, table) in inner {
        section(page, &shown, described, table);
    }
}

fn line(page: &mut String, key: &str, schema: &Value, required: bool) {
    let (meaning, words) = described_as(schema);
    let default = match (&schema["default"], words) {
        (_, Some(words)) => words,
        _ if required => "**required**".to_owned(),
        (Value::Null, None) if table_of(schema).is_some() => "the table's".to_owned(),
        (Value::Null, None) => "empty".to_owned(),
        (Value::Object(_), None) => "empty".to_owned(),
        (value, None) => format!("`{value}`"),
    };
    let _ = writeln!(page, "| `{key}` | {} | {default} | {meaning} |", kind(schema));
}

/// The description, and the default's own words if it has any.
fn described_as(schema: &Value) -> (String, Option<String>) {
    let text = schema["description"].as_str().unwrap_or_default().replace('|', "\\|");
    let (meaning, default) = match text.split_once("\n\nDefault: ") {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches('.').replace('\n', " "))),
        None => (text, None),
    };
    (meaning.replace('\n', " "), default)
}

/// The table with keys of its own that this is, or may be, or lists.
fn table_of(schema: &Value) -> Option<&Value> {
    if schema["properties"].is_object() {
        return Some(schema);
    }
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    forms.chain(schema.get("items")).find(|form| form["properties"].is_object())
}

fn kind(schema: &Value) -> String {
    if let Some(forms) = schema["anyOf"].as_array() {
        let forms: Vec<String> = forms.iter().map(kind).collect();
        return if forms[0] == "size" { "size".to_owned() } else { forms.join(" or ") };
    }
    if let Some(allowed) = schema["enum"].as_array() {
        let allowed: Vec<String> = allowed.iter().map(|value| format!("`{value}`")).collect();
        return allowed.join(" or ");
    }
    match schema["type"].as_str() {
        Some("integer") => format!("whole number{}", bounds(schema)),
        Some("number") => format!("number{}", bounds(schema)),
        Some("boolean") => "true or false".to_owned(),
        Some("array") if table_of(schema).is_some() => "tables".to_owned(),
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") => "table".to_owned(),
        _ => match schema["pattern"].as_str() {
            Some(super::DURATION) => "duration".to_owned(),
            Some(super::SIZE) => "size".to_owned(),
            _ => "text".to_owned(),
        },
    }
}

fn bounds(schema: &Value) -> String {
    let least = match (&schema["minimum"], &schema["exclusiveMinimum"]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, bound) => format!(", above {bound}"),
        (bound, _) => format!(", from {bound}"),
    };
    let most = if schema["maximum"].is_null() { String::new() } else { format!(" to {}", schema["maximum"]) };
    least + &most
}
