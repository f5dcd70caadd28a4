//! Reads the old conf key by key, so that unread keys can be reported.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::ImportError;

/// A table of the old conf. Keys that aren't taken are unknown.
pub(super) struct Keys {
    pub(super) path: String,
    pub(super) table: Table,
}

impl Keys {
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.table.remove(name)
    }

    pub(super) fn table(&mut self, name: &str) -> Result<Keys, ImportError> {
        let table = match self.take(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => return Err(self.wrong(name, "must be a table")),
        };
        Ok(Keys { path: self.key(name), table })
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ImportError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        default: i64,
        allowed: RangeInclusive<i64>,
    ) -> Result<i64, ImportError> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Integer(number)) if allowed.contains(&number) => Ok(number),
            Some(Value::Integer(_)) => {
                Err(self.wrong(name, &format!("must be from {} to {}", allowed.start(), allowed.end())))
            }
            Some(_) => Err(self.wrong(name, "must be a whole number")),
        }
    }

    pub(super) fn wrong(&self, name: &str, message: &str) -> ImportError {
        ImportError::Value { key: self.key(name), message: message.to_owned() }
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn note_unknown(self, notes: &mut Vec<String>) {
        for name in self.table.keys() {
            // A key that isn't a plain word could be anything, even a URL.
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
            let shown = if plain { self.key(name) } else { self.key("\"…\"") };
            notes.push(format!("{shown} is left out: azoth-balancer has no such key that we know"));
        }
    }
}
