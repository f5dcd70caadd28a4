//! The conf's reference and its JSON Schema, generated from the types of `file`.
//!
//! Compiled for tests only: the shipped binary needs neither the descriptions nor the crate that
//! collects them, since both generated files are in the repository. `make reference` regenerates
//! them, and a test fails when they are stale. The schema is draft 7 without references, which
//! Taplo supports best.

mod accepts;
mod markdown;
mod tests;

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::file::{self, File};
use super::health::HealthText;
use super::respond::RespondText;
use super::shadow::ShadowText;
use super::spanned::{Spanned, Table};
use super::units::{ChainIdText, DurationText, SizeText};

/// The schema of a complete conf.
pub(super) fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    tidy(&mut schema);
    schema["title"] = json!("The conf of Pointsman");
    schema
}

/// Removes null, which TOML lacks, and formats such as `int64`, which operators don't need.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            let is_schema = object.contains_key("type") || object.contains_key("anyOf");
            if is_schema {
                without_null(object);
            }
            object.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn without_null(schema: &mut Map<String, Value>) {
    schema.retain(|key, value| !(key == "format" || key == "default" && value.is_null()));
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        forms.retain(|form| form["type"] != "null");
        if let [Value::Object(only)] = forms.as_mut_slice() {
            let only = std::mem::take(only);
            schema.remove("anyOf");
            // A key's own description takes precedence over its type's.
            for (key, value) in only {
                schema.entry(key).or_insert(value);
            }
        }
    }
    // A number that was an `f32` is printed as one.
    if let Some(number) = schema.get("default").and_then(Value::as_f64) {
        #[expect(clippy::cast_possible_truncation, reason = "it is compared with the number")]
        let short = number as f32;
        if f64::from(short) == number && number.fract() != 0.0 {
            let number: f64 = short.to_string().parse().expect("a printed number is a number");
            schema.insert("default".into(), json!(number));
        }
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get_ref().serialize(serializer)
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl Serialize for SizeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// Implements the schema of a type whose conf form differs from its Rust form.
macro_rules! written_as {
    ($type:ty, $name:literal, |$generator:ident| $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

written_as!(DurationText, "Duration", |_generator| json_schema!({ "type": "string", "pattern": DURATION }));
written_as!(SizeText, "Size", |_generator| json_schema!({
    "anyOf": [{ "type": "string", "pattern": SIZE }, { "type": "integer", "minimum": 0 }]
}));
written_as!(ChainIdText, "ChainId", |_generator| json_schema!({
    "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string" }]
}));
written_as!(HealthText, "HealthCheck", |generator| json_schema!({
    "anyOf": [file::HealthCheck::json_schema(generator), { "type": "string", "enum": ["off"] }]
}));
written_as!(RespondText, "Respond", |generator| json_schema!({
    "anyOf": [file::Respond::json_schema(generator), { "type": "string", "enum": ["health"] }]
}));
written_as!(ShadowText, "Shadow", |generator| json_schema!({
    "anyOf": [file::Shadow::json_schema(generator), { "type": "string" }]
}));

/// Numbers with units. The proxy accepts more units than an editor needs to know.
const DURATION: &str = r"^([0-9]+ *[a-zA-Z]+ *)+$";
const SIZE: &str = r"^[0-9]+ *(GiB|MiB|KiB|B)?$";
