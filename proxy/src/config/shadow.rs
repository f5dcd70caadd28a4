//! The shadow policy of an upstream.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::ShadowConf;
use super::check::required;
use super::file::{self, Named};
use super::policy::candidate;
use super::report::{Key, Report};
use super::spanned::Spanned;

/// The accepted forms of `shadow`, for messages.
pub(super) const SHADOW_FORM: &str = "the name of a policy, or a table such as { policy = \"NAME\", share = 0.1 }";

/// A policy's name, or a table.
pub(super) enum ShadowText {
    Name(String),
    Table(file::Shadow),
}

impl<'de> Deserialize<'de> for ShadowText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = ShadowText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SHADOW_FORM)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ShadowText, E> {
                Ok(ShadowText::Name(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ShadowText, A::Error> {
                file::Shadow::deserialize(MapAccessDeserializer::new(map)).map(ShadowText::Table)
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

pub(super) fn shadow(
    key: Key<'_>,
    upstream: &file::Upstream,
    policies: &Named<file::Policy>,
    report: &mut Report<'_>,
) -> Option<ShadowConf> {
    let shadow = upstream.shadow.as_ref()?;
    let live = [("scoring", upstream.scoring.as_ref())];
    let (policy, share) = match shadow.get_ref() {
        ShadowText::Name(name) => {
            let name = Spanned::new(shadow.span(), name.clone());
            (candidate(key, &name, "shadow", &live, policies, report)?, *file::Shadow::default().share.get_ref())
        }
        ShadowText::Table(table) => {
            let share = share(key.name("share"), &table.share, report);
            let name = required(key, "policy", "NAME", table.policy.as_ref(), shadow.span(), report)?;
            (candidate(key.name("policy"), name, "shadow", &live, policies, report)?, share)
        }
    };
    Some(ShadowConf { policy, share })
}

fn share(key: Key<'_>, share: &Spanned<f64>, report: &mut Report<'_>) -> f64 {
    let number = *share.get_ref();
    // NaN fails both comparisons.
    if !(number > 0.0 && number <= 1.0) {
        report.add(key, share.span(), "must be above 0 and at most 1, which is every request");
    }
    number
}
