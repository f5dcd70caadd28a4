//! The tables of `[[routes]]` as they are written. The rules of [`file`](super::file) hold here,
//! too.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::{duration, or, text};
use super::respond::RespondText;
use super::spanned::{Spanned, Table};
use super::units::DurationText;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Route {
    /// Hosts of requests, without a port: a name or an address, or `*.example.com` for all names
    /// below `example.com`.
    ///
    /// Default: every host.
    pub(super) hosts: Option<Spanned<Vec<Spanned<String>>>>,
    /// The prefix, in whole segments: `/eth` is also the prefix of `/eth/x`.
    ///
    /// Default: `/` with `hosts`; without them it is required.
    pub(super) path_prefix: Option<Spanned<String>>,
    /// The name of the upstream. Required, unless `respond` answers.
    pub(super) upstream: Option<Spanned<String>>,
    /// The upstream's key of this name, for this route.
    ///
    /// Default: as the upstream.
    pub(super) accept_any_content_type: Option<Spanned<bool>>,
    /// Whether endpoints get the path without `path_prefix`. Only with `protocol = "http"`.
    ///
    /// Default: `false`.
    pub(super) strip_prefix: Option<Spanned<bool>>,
    /// The path that endpoints get in place of `path_prefix`. Only with `protocol = "http"`.
    ///
    /// Default: the path stays.
    pub(super) replace_prefix: Option<Spanned<String>>,
    /// Changes to the headers that endpoints get.
    ///
    /// Default: none.
    pub(super) request_headers: Option<Table<HeaderEdits>>,
    /// Changes to the headers that clients get.
    ///
    /// Default: none.
    pub(super) response_headers: Option<Table<HeaderEdits>>,
    /// An answer without an endpoint: a table, or `"health"` for 200 while requests get endpoints
    /// and 503 when those of some upstream don't.
    ///
    /// Default: none.
    pub(super) respond: Option<Spanned<RespondText>>,
    /// Which pages of other sites may use the route from a browser.
    ///
    /// Default: none.
    pub(super) cors: Option<Table<Cors>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct HeaderEdits {
    /// Headers that replace those of the same name; the values may be `env:NAME` or `file:PATH`.
    pub(super) set: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Names of headers that are dropped.
    pub(super) remove: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Respond {
    /// The HTTP status.
    ///
    /// Default: 200, or 307 with `location`.
    #[cfg_attr(test, schemars(range(min = 200, max = 599)))]
    pub(super) status: Option<Spanned<i64>>,
    /// The body, at most 64 KiB.
    ///
    /// Default: empty.
    pub(super) body: Option<Spanned<String>>,
    /// The type of the body.
    ///
    /// Default: `text/plain; charset=utf-8`, with a body.
    pub(super) content_type: Option<Spanned<String>>,
    /// The target of a redirect: an http or https URL, or a path.
    ///
    /// Default: none.
    pub(super) location: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["origins"])))]
pub(super) struct Cors {
    /// Origins of pages, such as `https://app.example.com`, `https://*.example.com`, or `*` for
    /// all.
    pub(super) origins: Option<Spanned<Vec<Spanned<String>>>>,
    /// Request headers that pages may set; `*` for all.
    pub(super) headers: Spanned<Vec<Spanned<String>>>,
    /// How long a browser may remember the answer to its question before a request.
    pub(super) max_age: Spanned<DurationText>,
    /// Whether browsers send cookies and stored credentials along. Excludes the origin `*`.
    pub(super) credentials: Spanned<bool>,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: None,
            headers: or(vec![text("content-type")]),
            max_age: duration("10m"),
            credentials: or(false),
        }
    }
}
