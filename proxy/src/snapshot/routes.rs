//! The route of a request, by its host and its path.
//!
//! Of the routes that match both, those of the most specific host win: the exact one, then the
//! longest wildcard, then no host. Of these the longest prefix wins. So a route without hosts
//! serves what no other route of a host serves.
//!
//! Invariant: if no route names a host, the host of a request isn't looked at.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::header_edits::HeaderEdits;
use crate::config::{self, Cors, FixedAnswer, HostPattern, RouteTarget};
use crate::upstream::Upstream;

/// The place of a route in its generation, for those who can't hold a reference to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId(usize);

/// The target of hosts and a path prefix.
pub struct Route {
    /// Its place.
    pub id: RouteId,
    /// Without a trailing slash; `/` is empty.
    prefix: String,
    /// The side that answers.
    pub target: Target,
    /// Changes to the headers that clients get.
    pub response_headers: HeaderEdits,
    /// Which pages of other sites may use the route.
    pub cors: Option<Cors>,
}

/// The side that answers the requests of a route.
pub enum Target {
    /// An endpoint.
    Upstream(UpstreamTarget),
    /// The proxy itself, always alike.
    Fixed(FixedAnswer),
    /// The proxy itself, with the state of the upstreams.
    Health,
}

/// A route's way to endpoints.
pub struct UpstreamTarget {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Whether bodies of any content type are read as JSON.
    pub accept_any_content_type: bool,
    /// Changes to the headers that endpoints get.
    pub request_headers: HeaderEdits,
    /// Replaces the prefix, if it is changed. Without a trailing slash; `/` is empty.
    replacement: Option<String>,
}

impl Route {
    /// The path for endpoints of protocol `http`, from a request's normalized path.
    pub fn upstream_path<'p>(&self, path: &'p str) -> Cow<'p, str> {
        let Target::Upstream(UpstreamTarget { replacement: Some(replacement), .. }) = &self.target else {
            return Cow::Borrowed(path);
        };
        let rest = path.strip_prefix(self.prefix.as_str()).unwrap_or(path);
        match (replacement.as_str(), rest) {
            ("", "") => Cow::Borrowed("/"),
            ("", rest) => Cow::Borrowed(rest),
            (replacement, rest) => Cow::Owned(format!("{replacement}{rest}")),
        }
    }

    fn matches(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// All routes. A list of routes is in the order in which they win.
pub(super) struct Routes {
    all: Vec<Route>,
    of_every_host: Vec<usize>,
    by_host: Option<ByHost>,
}

#[derive(Default)]
struct ByHost {
    exact: HashMap<String, Vec<usize>>,
    below: HashMap<String, Vec<usize>>,
}

impl Routes {
    /// The routes of a conf, which has sorted them, longest prefix first.
    pub(super) fn build(conf: &[config::Route], upstream: impl Fn(&str) -> Option<Arc<Upstream>>) -> Self {
        let mut routes = Routes { all: Vec::new(), of_every_host: Vec::new(), by_host: None };
        for conf in conf {
            // The conf refers to declared upstreams only.
            let Some(target) = target(&conf.target, &upstream) else { continue };
            let index = routes.all.len();
            if conf.hosts.is_empty() {
                routes.of_every_host.push(index);
            } else {
                let by_host = routes.by_host.get_or_insert_default();
                conf.hosts.iter().for_each(|host| by_host.insert(host, index));
            }
            routes.all.push(Route {
                id: RouteId(index),
                prefix: conf.path_prefix.trim_end_matches('/').to_owned(),
                target,
                response_headers: HeaderEdits::of(&conf.response_headers),
                cors: conf.cors.clone(),
            });
        }
        routes
    }

    #[cfg(test)]
    pub(super) fn into_first(self) -> Option<Route> {
        self.all.into_iter().next()
    }

    pub(super) fn find(&self, host: Option<&[u8]>, path: &str) -> Option<&Route> {
        let of_host = self.by_host.as_ref().and_then(|by_host| self.find_by_host(by_host, host?, path));
        of_host.or_else(|| self.first(&self.of_every_host, path))
    }

    pub(super) fn by_id(&self, id: RouteId) -> Option<&Route> {
        self.all.get(id.0)
    }

    fn find_by_host(&self, by_host: &ByHost, host: &[u8], path: &str) -> Option<&Route> {
        let host = host_name(host)?;
        let of = |table: &HashMap<String, Vec<usize>>, name: &str| self.first(table.get(name)?, path);
        let mut bases = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
        of(&by_host.exact, &host).or_else(|| bases.find_map(|base| of(&by_host.below, base)))
    }

    fn first(&self, indexes: &[usize], path: &str) -> Option<&Route> {
        indexes.iter().filter_map(|index| self.all.get(*index)).find(|route| route.matches(path))
    }
}

impl ByHost {
    fn insert(&mut self, host: &HostPattern, index: usize) {
        let (table, name) = match host {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Below(base) => (&mut self.below, base),
        };
        table.entry(name.clone()).or_default().push(index);
    }
}

fn target(conf: &RouteTarget, upstream: impl Fn(&str) -> Option<Arc<Upstream>>) -> Option<Target> {
    Some(match conf {
        RouteTarget::Upstream { name, accept_any_content_type, replace_prefix, request_headers } => {
            Target::Upstream(UpstreamTarget {
                upstream: upstream(name)?,
                accept_any_content_type: *accept_any_content_type,
                request_headers: HeaderEdits::of(request_headers),
                replacement: replace_prefix.clone(),
            })
        }
        RouteTarget::Fixed(answer) => Target::Fixed(answer.clone()),
        RouteTarget::Health => Target::Health,
    })
}

/// The longest host with the dot of its root (RFC 1035). Looking up a longer one would only cost.
const LONGEST_HOST: usize = 254;

/// The name in a `Host` header: in lower case, without a port and without the dot of the root.
fn host_name(host: &[u8]) -> Option<Cow<'_, str>> {
    let end = match host.first() {
        Some(b'[') => host.iter().position(|byte| *byte == b']')? + 1,
        _ => host.iter().position(|byte| *byte == b':').unwrap_or(host.len()),
    };
    let name = std::str::from_utf8(&host[..end]).ok().filter(|name| name.len() <= LONGEST_HOST)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    Some(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    })
}

#[cfg(test)]
mod tests;
