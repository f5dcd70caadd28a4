//! Changes to the headers of a request or an answer.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config;

/// The headers of a message, in whichever form its writer has them.
pub trait Headers {
    /// Replaces all values of a header by one.
    fn set(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Adds a value.
    fn append(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Removes all values of a header.
    fn remove(&mut self, name: &HeaderName);
}

/// Headers to set and to remove. Values may be secrets, and print as `Sensitive` then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// The headers to set. Applied last, so they win.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// The headers to remove.
    pub remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// The edits that the conf asks for.
    pub fn of(conf: &config::HeaderEdits) -> Self {
        let set = conf.set.iter().filter_map(|(name, secret)| {
            // The conf admits printable ASCII only.
            let mut value = HeaderValue::from_str(secret.expose()).ok()?;
            value.set_sensitive(true);
            Some((name.clone(), value))
        });
        HeaderEdits { set: set.collect(), remove: conf.remove.clone() }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Applies the edits to the headers of a message.
    pub fn apply(&self, headers: &mut impl Headers) {
        self.remove.iter().for_each(|name| headers.remove(name));
        self.set.iter().for_each(|(name, value)| headers.set(name, value));
    }
}

impl Headers for HeaderMap {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.insert(name, value.clone());
    }

    fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        HeaderMap::append(self, name, value.clone());
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}

/// A few headers in order, such as those that an endpoint gets from a JSON-RPC client.
impl Headers for Vec<(HeaderName, HeaderValue)> {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        Headers::remove(self, name);
        self.push((name.clone(), value.clone()));
    }

    fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.push((name.clone(), value.clone()));
    }

    fn remove(&mut self, name: &HeaderName) {
        self.retain(|(other, _)| other != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    fn edits() -> HeaderEdits {
        HeaderEdits { set: vec![pair("x-a", "new"), pair("x-b", "b")], remove: vec![HeaderName::from_static("x-c")] }
    }

    #[test]
    fn headers_are_replaced_added_and_removed_in_every_form() {
        let before = [pair("x-a", "1"), pair("x-c", "2"), pair("x-d", "3"), pair("x-a", "4"), pair("x-c", "5")];
        let after = [pair("x-a", "new"), pair("x-b", "b"), pair("x-d", "3")];

        let mut list = before.to_vec();
        edits().apply(&mut list);
        list.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        assert_eq!(list, after);

        let mut map = HeaderMap::new();
        for (name, value) in &before {
            Headers::append(&mut map, name, value);
        }
        edits().apply(&mut map);
        assert_eq!(map, after.into_iter().collect::<HeaderMap>());
    }

    #[test]
    fn a_value_of_the_conf_is_not_printed() {
        let conf = config::HeaderEdits {
            set: vec![(HeaderName::from_static("x-key"), config::Secret::new("s3cr3t".into()))],
            remove: Vec::new(),
        };
        let edits = HeaderEdits::of(&conf);
        assert_eq!(edits.set, [pair("x-key", "s3cr3t")]);
        assert!(!format!("{conf:?} {edits:?}").contains("s3cr3t"));
    }
}
