//! Routes from paths to upstreams.

use std::collections::HashMap;

use super::Route;
use super::check::required;
use super::file::{self, File};
use super::report::{Key, Report};
use super::spanned::Spanned;

/// The longest prefix. Longer paths exist, but not for routing.
const MAX_PREFIX: usize = 256;

/// The routes, longest prefix first. With one upstream and no `[[routes]]`, all paths lead to it.
pub(super) fn routes(file: &File, report: &mut Report<'_>) -> Vec<Route> {
    let key = Key::Root.name("routes");
    if file.routes.is_empty() {
        return default_routes(key, file, report);
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut routes = Vec::new();
    for (index, table) in file.routes.iter().enumerate() {
        let key = key.item(index);
        let prefix = path_prefix(key, table, report);
        let upstream = upstream(key, table, file, report);
        let (Some((path_prefix, span)), Some(upstream)) = (prefix, upstream) else { continue };
        if let Some(first) = seen.get(&path_prefix) {
            let message = format!("is the same as routes[{first}].path_prefix; remove one of them");
            report.add(key.name("path_prefix"), span, message);
        } else {
            seen.insert(path_prefix.clone(), index);
            let accept_any_content_type =
                table.accept_any_content_type.unwrap_or_else(|| accepts_any_content_type(&upstream, file));
            routes.push(Route { path_prefix, upstream, accept_any_content_type });
        }
    }
    routes.sort_by(|a, b| {
        let longest_first = b.path_prefix.len().cmp(&a.path_prefix.len());
        longest_first.then_with(|| a.path_prefix.cmp(&b.path_prefix))
    });
    routes
}

fn default_routes(key: Key<'_>, file: &File, report: &mut Report<'_>) -> Vec<Route> {
    let mut names = file.upstreams.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => {
            let upstream = only.get_ref().clone();
            let accept_any_content_type = accepts_any_content_type(&upstream, file);
            vec![Route { path_prefix: "/".to_owned(), upstream, accept_any_content_type }]
        }
        (Some(_), Some(second)) => {
            let message = "must say which path leads to which upstream, since there are several: \
                           add [[routes]] with path_prefix and upstream";
            report.add(key, second.span(), message);
            Vec::new()
        }
        // The missing upstream is reported elsewhere.
        _ => Vec::new(),
    }
}

fn accepts_any_content_type(upstream: &str, file: &File) -> bool {
    file.upstreams.iter().any(|(name, table)| name.get_ref() == upstream && table.accept_any_content_type)
}

fn upstream(key: Key<'_>, table: &file::Table<file::Route>, file: &File, report: &mut Report<'_>) -> Option<String> {
    let name = required(key, "upstream", "NAME", table.upstream.as_ref(), table.span(), report)?;
    let known = file.upstreams.keys().map(|name| name.get_ref().as_str());
    report.reference(key.name("upstream"), name, "upstreams", known).then(|| name.get_ref().clone())
}

/// A prefix matches whole segments, so a trailing slash has no meaning and is dropped.
fn path_prefix(
    key: Key<'_>,
    table: &file::Table<file::Route>,
    report: &mut Report<'_>,
) -> Option<(String, std::ops::Range<usize>)> {
    let text: &Spanned<String> = required(key, "path_prefix", "/", table.path_prefix.as_ref(), table.span(), report)?;
    let path = text.get_ref();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte);
    let message = if !path.starts_with('/') {
        "must begin with /"
    } else if path.len() > MAX_PREFIX {
        "must be at most 256 characters long"
    } else if !path.bytes().all(plain) {
        "must be a plain path: ASCII without spaces, quotes, ?, #, % or \\"
    } else if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        "must not hold //, /./ or /../"
    } else {
        let trimmed = path.trim_end_matches('/');
        let kept = if trimmed.is_empty() { "/" } else { trimmed };
        return Some((kept.to_owned(), text.span()));
    };
    report.add(key.name("path_prefix"), text.span(), message);
    None
}
