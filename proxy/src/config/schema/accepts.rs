//! Validates a value against the part of JSON Schema that the conf's schema uses.

use serde_json::Value;

/// The reasons why the schema refuses the value, one line per place. Empty if it accepts the value.
pub(super) fn refusals(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(forms) = schema["anyOf"].as_array() {
        let each: Vec<_> = forms.iter().map(|form| refusals(form, value, at)).collect();
        let accepted = each.iter().any(Vec::is_empty);
        return if accepted { Vec::new() } else { each.concat() };
    }
    let wanted = schema["type"].as_str().unwrap_or_else(|| panic!("{at}: a schema without a type"));
    if !is_of_type(wanted, value) {
        return vec![format!("{at}: must be of type {wanted}")];
    }
    match value {
        Value::Object(_) => of_table(schema, value, at),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.flat_map(|(index, item)| refusals(&schema["items"], item, &format!("{at}[{index}]"))).collect()
        }
        _ if is_within(schema, value) => Vec::new(),
        _ => vec![format!("{at}: {value} is not one of the allowed values")],
    }
}

fn is_of_type(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        other => panic!("the check doesn't know the type {other}"),
    }
}

fn of_table(schema: &Value, table: &Value, at: &str) -> Vec<String> {
    let empty = serde_json::Map::new();
    let entries = table.as_object().unwrap_or(&empty);
    let missing = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = missing.filter(|key| !entries.contains_key(*key)).map(|key| format!("{at}.{key}: is missing"));
    let entries = entries.iter().flat_map(|(key, value)| {
        let at = format!("{at}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => vec![format!("{at}: isn't a known key")],
            (Value::Null, Value::Object(other)) => refusals(&Value::Object(other.clone()), value, &at),
            (Value::Null, _) => Vec::new(),
            (known, _) => refusals(known, value, &at),
        }
    });
    missing.chain(entries).collect()
}

fn is_within(schema: &Value, value: &Value) -> bool {
    let number = value.as_f64();
    let bound = |key: &str, holds: fn(f64, f64) -> bool| match (schema[key].as_f64(), number) {
        (Some(bound), Some(number)) => holds(number, bound),
        _ => true,
    };
    schema["enum"].as_array().is_none_or(|allowed| allowed.contains(value))
        && bound("minimum", |number, bound| number >= bound)
        && bound("exclusiveMinimum", |number, bound| number > bound)
        && bound("maximum", |number, bound| number <= bound)
}
