//! The endpoints of an upstream.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use http::{HeaderName, header};

use super::check::required;
use super::file::{self, Table};
use super::header_edits::header_value;
use super::report::{Key, Report};
use super::secret::{Secret, Sources};
use super::spanned::Spanned;
use super::upstream::MAX_BATCH_SIZE;
use super::url::EndpointUrl;
use super::{EndpointConf, RateLimit};

/// Distinct tags of one upstream: policies see them as the bits of a `u64` (sdk/ABI.md, section 4).
const MAX_TAGS: usize = 64;
/// The longest name of an endpoint or a tag: names become labels of metrics.
const MAX_NAME: usize = 64;
/// Requests per second, and burst. Above a million a limiter only adds cost.
const RATE: RangeInclusive<u32> = 1..=1_000_000;
/// Headers of the connection, of the body's framing and of routing, which the proxy sets itself.
const OWN_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The endpoints in the order of the file, without those that have no valid URL.
pub(super) fn endpoints(
    upstream: Key<'_>,
    file: &Table<file::Upstream>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Vec<EndpointConf> {
    let key = upstream.name("endpoints");
    if file.endpoints.is_empty() {
        report.add(key, file.span(), "must hold at least one endpoint: add [[upstreams.NAME.endpoints]] with a url");
    } else if file.endpoints.iter().all(|endpoint| *endpoint.weight.get_ref() == 0) {
        let span = file.endpoints.first().map_or(file.span(), |first| first.weight.span());
        report.add(key, span, "are all of weight 0, so none would serve; give one a weight of 1 or more");
    }
    let mut resolved = Vec::with_capacity(file.endpoints.len());
    let mut seen = Seen::default();
    for (index, table) in file.endpoints.iter().enumerate() {
        let key = key.item(index);
        if let Some(endpoint) = endpoint(key, index, table, report, sources) {
            seen.check(key, index, table, &endpoint, report);
            resolved.push(endpoint);
        }
    }
    resolved
}

/// Values that must be unique, or few, among the endpoints of an upstream.
#[derive(Default)]
struct Seen {
    urls: HashMap<EndpointUrl, usize>,
    names: HashMap<String, usize>,
    tags: HashSet<String>,
}

impl Seen {
    fn check(
        &mut self,
        key: Key<'_>,
        index: usize,
        file: &Table<file::Endpoint>,
        endpoint: &EndpointConf,
        report: &mut Report<'_>,
    ) {
        let url_span = file.url.as_ref().map_or(file.span(), Spanned::span);
        if let Some(first) = self.urls.insert(endpoint.url.clone(), index) {
            let message = format!("is the same URL as that of endpoints[{first}]; remove one of them");
            report.add(key.name("url"), url_span.clone(), message);
        }
        if let Some(first) = self.names.insert(endpoint.name.clone(), index) {
            let span = file.name.as_ref().map_or(url_span, Spanned::span);
            let message = format!("is the same name as that of endpoints[{first}]; give each its own");
            report.add(key.name("name"), span, message);
        }
        for (index, tag) in file.tags.iter().enumerate() {
            if self.tags.insert(tag.get_ref().clone()) && self.tags.len() == MAX_TAGS + 1 {
                let message = "is one tag too many: an upstream may have 64 different tags";
                report.add(key.name("tags").item(index), tag.span(), message);
            }
        }
    }
}

fn endpoint(
    key: Key<'_>,
    index: usize,
    file: &Table<file::Endpoint>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Option<EndpointConf> {
    let url = url(key, file, report, sources);
    let ws_url = file.ws_url.as_ref().and_then(|text| ws_url(key.name("ws_url"), text, report, sources));
    let written_name = file.name.as_ref().map(|name| {
        check_label(key.name("name"), name, report);
        name.get_ref().clone()
    });
    let weight = report.whole(key.name("weight"), &file.weight, 0..=u16::MAX);
    let rate_limit = rate_limit(key, file, report);
    let max_batch_size = file.max_batch_size.as_ref();
    let max_batch_size = max_batch_size.map(|size| report.whole(key.name("max_batch_size"), size, MAX_BATCH_SIZE));
    let max_block_range = file.max_block_range.as_ref();
    let max_block_range = max_block_range.map(|range| report.whole(key.name("max_block_range"), range, 1..=u64::MAX));
    let tags = tags(key.name("tags"), file, report);
    let price = price(key.name("price"), file, report);
    let headers = headers(key.name("headers"), file, url.as_ref(), report, sources);
    let url = url?;
    let name = written_name.unwrap_or_else(|| default_name(index, url.host()));
    Some(EndpointConf { url, ws_url, name, weight, rate_limit, max_batch_size, max_block_range, tags, price, headers })
}

fn url(
    key: Key<'_>,
    file: &Table<file::Endpoint>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Option<EndpointUrl> {
    let text = required(key, "url", "https://rpc.example.com", file.url.as_ref(), file.span(), report)?;
    let resolved = sources.resolve(text.get_ref()).map_err(|error| error.to_string());
    match resolved.and_then(|url| EndpointUrl::parse(&url).map_err(|error| error.to_string())) {
        Ok(url) => Some(url),
        Err(message) => {
            report.add(key.name("url"), text.span(), message);
            None
        }
    }
}

fn ws_url(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>, sources: &Sources<'_>) -> Option<EndpointUrl> {
    let resolved = sources.resolve(text.get_ref()).map_err(|error| error.to_string());
    match resolved.and_then(|url| EndpointUrl::parse_websocket(&url).map_err(|error| error.to_string())) {
        Ok(url) => Some(url),
        Err(message) => {
            report.add(key, text.span(), message);
            None
        }
    }
}

/// Position from 1 and host, as in `002_rpc.example.com`, truncated to the longest name.
fn default_name(index: usize, host: &str) -> String {
    let position = index + 1;
    format!("{position:03}_{host}").chars().take(MAX_NAME).collect()
}

/// Names and tags appear everywhere, so they must be printable, and not a URL by mistake.
fn check_label(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) {
    let label = text.get_ref();
    if !is_label(label) {
        report.add(key, text.span(), "must be 1 to 64 characters without spaces, quotes or control characters");
    } else if label.contains("://") {
        report.add(key, text.span(), "must not be a URL, since it is shown in logs and metrics");
    }
}

/// Whether `text` has the form of a name or tag: 1 to 64 printable characters.
pub fn is_label(text: &str) -> bool {
    let unfit = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    !text.is_empty() && text.chars().count() <= MAX_NAME && !text.contains(unfit)
}

fn rate_limit(key: Key<'_>, file: &file::Endpoint, report: &mut Report<'_>) -> Option<RateLimit> {
    let (rate_key, burst_key) = (key.name("rate_limit_per_sec"), key.name("burst_size"));
    let burst = file.burst_size.as_ref();
    let Some(rate) = &file.rate_limit_per_sec else {
        if let Some(burst) = burst {
            report.add(burst_key, burst.span(), "needs rate_limit_per_sec, which says how fast the burst refills");
        }
        return None;
    };
    let per_sec = whole_rate(rate_key, rate, report);
    let burst = burst.map_or(per_sec, |burst| whole_rate(burst_key, burst, report));
    Some(RateLimit { per_sec, burst })
}

fn whole_rate(key: Key<'_>, value: &Spanned<i64>, report: &mut Report<'_>) -> NonZeroU32 {
    // The range begins at 1, so the fallback is never used.
    NonZeroU32::new(report.whole(key, value, RATE)).unwrap_or(NonZeroU32::MIN)
}

fn tags(key: Key<'_>, file: &file::Endpoint, report: &mut Report<'_>) -> Vec<String> {
    let mut tags: Vec<String> = Vec::with_capacity(file.tags.len());
    for (index, tag) in file.tags.iter().enumerate() {
        check_label(key.item(index), tag, report);
        if tags.contains(tag.get_ref()) {
            report.add(key.item(index), tag.span(), "is there twice; remove one");
        }
        tags.push(tag.get_ref().clone());
    }
    tags
}

fn price(key: Key<'_>, file: &file::Endpoint, report: &mut Report<'_>) -> Option<f32> {
    let price = file.price.as_ref()?;
    let number = *price.get_ref();
    if !number.is_finite() || number < 0.0 {
        report.add(key, price.span(), "must be a number from 0 up");
    }
    Some(number)
}

fn headers(
    key: Key<'_>,
    file: &file::Endpoint,
    url: Option<&EndpointUrl>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Vec<(HeaderName, Secret)> {
    let has_userinfo = url.is_some_and(|url| url.userinfo().is_some());
    let mut headers: Vec<(HeaderName, Secret)> = Vec::with_capacity(file.headers.len());
    for (name, value) in &file.headers {
        let key = key.name(name.get_ref());
        match HeaderName::from_bytes(name.get_ref().as_bytes()) {
            Err(_) => report.add(key, name.span(), "isn't the name of a header"),
            Ok(known) if OWN_HEADERS.contains(&known) => {
                report.add(key, name.span(), "is a header that the proxy writes itself; remove it");
            }
            Ok(known) if headers.iter().any(|(other, _)| *other == known) => {
                report.add(key, name.span(), "is there twice, in different case; remove one");
            }
            Ok(known) if has_userinfo && known == header::AUTHORIZATION => {
                let message = "contradicts the user in the url, which is sent in the same header; remove one of them";
                report.add(key, name.span(), message);
            }
            Ok(known) => headers.extend(header_value(key, value, report, sources).map(|value| (known, value))),
        }
    }
    headers
}
