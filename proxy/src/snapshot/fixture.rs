//! Routes for tests: made from a conf.
#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::path::Path;

use super::Route;
use super::routes::Routes;
use crate::config;
use crate::upstream::fixture;

/// The routes of a conf's `[[routes]]`. Its only upstream is `u`.
pub(super) fn routes(tables: &str) -> Routes {
    let conf = format!("[[upstreams.u.endpoints]]\nurl = 'http://h'\n{tables}");
    let conf = config::parse(&conf, Path::new("conf.toml"), &|_| None).unwrap_or_else(|error| panic!("{error}"));
    Routes::build(&conf.routes, |_| Some(fixture::upstream("", &[1])))
}

/// The route `/` with these keys.
pub(crate) fn only_route(keys: &str) -> Route {
    routes(&format!("[[routes]]\npath_prefix = '/'\n{keys}")).into_first().unwrap()
}
