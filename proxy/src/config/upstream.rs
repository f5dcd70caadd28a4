//! One upstream: its policies, limits and timeouts.

use std::num::NonZeroU32;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::check::{LONGEST, SHORTEST};
use super::file::{self, Named, Table};
use super::policy::NATIVE;
use super::report::{Key, Report};
use super::secret::Sources;
use super::spanned::Spanned;
use super::{
    Client, Cooldown, HealthCheck, ProbeKind, Protocol, RetryBudget, UpstreamConf, WebSocket, canary, endpoint, health,
    shadow, upstream_tls,
};
use crate::chain::Chain;

/// Candidates per decision. One leaves no choice; the maximum costs more than a decision should.
const CANDIDATES: RangeInclusive<usize> = 2..=10_000;
/// Up to this size, all endpoints of a pool are candidates by default.
const SMALL_POOL: usize = 64;
/// The default number of candidates of a larger pool.
const CANDIDATES_OF_LARGE_POOL: usize = 32;
/// Attempts of one request. More would only hammer a pool that is down.
const MAX_ATTEMPTS: RangeInclusive<u32> = 1..=16;
/// The longest time for the policies of one request. More would block the worker's other requests.
const LONGEST_POLICY_TIME: Duration = Duration::from_secs(1);
/// WebSocket connections.
const TUNNELS: RangeInclusive<usize> = 0..=1_000_000;
/// Bytes of a body that Pingora keeps for a retry.
const MAX_REPLAY: usize = 64 << 10;
/// Members of a JSON-RPC batch.
pub(super) const MAX_BATCH_SIZE: RangeInclusive<usize> = 1..=10_000;
/// Requests in flight.
const MAX_CONCURRENCY: RangeInclusive<usize> = 1..=1_000_000;
/// Idle connections per endpoint; 0 closes each connection after its request.
const MAX_IDLE: RangeInclusive<usize> = 0..=10_000;
/// Patterns of methods: each unknown method of a request is matched against all of them.
const MAX_READ_METHODS: usize = 200;
/// The longest method. The policy ABI has no room for more.
const MAX_METHOD: usize = 64;
/// Retries per request. Above it they are limited by `max_attempts`, if at all.
const MAX_RETRY_SHARE: f32 = 10.0;
/// Retries per second that are always allowed.
const RETRY_FLOOR: RangeInclusive<u32> = 0..=100_000;

pub(super) fn upstream(
    name: &Spanned<String>,
    file: &Table<file::Upstream>,
    policies: &Named<file::Policy>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> UpstreamConf {
    let parent = Key::Root.name("upstreams");
    let key = parent.name(name.get_ref());
    let protocol = protocol(key, file, report);
    let chain = chain(key.name("chain"), &file.chain, report);
    let endpoints = endpoint::endpoints(key, file, report, sources);
    UpstreamConf {
        name: name.get_ref().clone(),
        protocol,
        replay_buffer: report.size(key.name("replay_buffer"), &file.replay_buffer, 0..=MAX_REPLAY),
        chain,
        chain_id: health::chain_id(key, file, chain, report),
        read_methods: read_methods(key.name("read_methods"), &file.read_methods, report),
        scoring: policy(key.name("scoring"), file.scoring.as_ref(), policies, report),
        shadow: shadow::shadow(key.name("shadow"), file, policies, report),
        canary: canary::canary(key.name("canary"), file, policies, report),
        retry: policy(key.name("retry"), file.retry.as_ref(), policies, report),
        candidates: candidates(key.name("candidates"), file, report),
        max_attempts: report.whole(key.name("max_attempts"), &file.max_attempts, MAX_ATTEMPTS),
        deadline: report.duration(key.name("deadline"), &file.deadline, SHORTEST..=LONGEST),
        max_batch_size: report.whole(key.name("max_batch_size"), &file.max_batch_size, MAX_BATCH_SIZE),
        max_concurrency: report.whole(key.name("max_concurrency"), &file.max_concurrency, MAX_CONCURRENCY),
        queue_timeout: report.duration(key.name("queue_timeout"), &file.queue_timeout, Duration::ZERO..=LONGEST),
        policy_time_budget: report.duration(
            key.name("policy_time_budget"),
            &file.policy_time_budget,
            SHORTEST..=LONGEST_POLICY_TIME,
        ),
        exclude_outliers: file.exclude_outliers,
        retry_budget: retry_budget(key.name("retry_budget"), &file.retry_budget, report),
        latency_smoothing_factor: smoothing(key, &file.latency_smoothing_factor, report),
        client: client(key.name("client"), &file.client, report),
        cooldown: cooldown(key.name("cooldown"), &file.cooldown, report),
        health_check: health_check(key.name("health_check"), file, protocol, chain, report),
        websocket: websocket(key.name("websocket"), &file.websocket, report),
        http2: http2(key, file, report),
        compression_level: compression_level(key.name("compression_level"), file, report),
        tls: upstream_tls::tls(key.name("tls"), file, &endpoints, report, sources),
        endpoints,
    }
}

fn protocol(key: Key<'_>, file: &file::Upstream, report: &mut Report<'_>) -> Protocol {
    let protocol = match file.protocol.get_ref().as_str() {
        "json-rpc" => return Protocol::JsonRpc,
        "http" => Protocol::Http,
        _ => {
            report.add(key.name("protocol"), file.protocol.span(), "must be \"json-rpc\" or \"http\"");
            return Protocol::JsonRpc;
        }
    };
    let message = "is for protocol = \"json-rpc\"; remove it";
    if let Some(id) = &file.chain_id {
        report.add(key.name("chain_id"), id.span(), message);
    }
    if let Some(method) = file.read_methods.get_ref().first() {
        report.add(key.name("read_methods"), method.span(), message);
    }
    protocol
}

/// An HTTP pool is probed where the conf names a path: there is none that every server answers.
fn health_check(
    key: Key<'_>,
    file: &file::Upstream,
    protocol: Protocol,
    chain: Chain,
    report: &mut Report<'_>,
) -> Option<HealthCheck> {
    let check = health::health_check(key, file.health_check.as_ref(), chain, report)?;
    match (&check.probe, &file.health_check) {
        (ProbeKind::Path { .. }, _) => Some(check),
        (ProbeKind::Grpc(_), Some(written)) if !*file.http2.get_ref() => {
            report.add(key.name("grpc"), written.span(), "needs http2 = true in the upstream");
            None
        }
        (ProbeKind::Grpc(_), _) => Some(check),
        _ if protocol == Protocol::JsonRpc => Some(check),
        (_, None) => None,
        (ProbeKind::Method(_), Some(written)) => {
            let message = "needs path or grpc for protocol = \"http\", such as { path = \"/health\" }, and no method";
            report.add(key, written.span(), message);
            None
        }
    }
}

fn compression_level(key: Key<'_>, file: &file::Upstream, report: &mut Report<'_>) -> Option<NonZeroU32> {
    let level = NonZeroU32::new(report.whole(key, &file.compression_level, 0..=9));
    if level.is_some() {
        needs_http(key, file, file.compression_level.span(), report);
    }
    level
}

/// `http2`, and whether what needs it has it.
fn http2(upstream: Key<'_>, file: &file::Upstream, report: &mut Report<'_>) -> bool {
    let is_on = *file.http2.get_ref();
    if is_on {
        needs_http(upstream.name("http2"), file, file.http2.span(), report);
    }
    is_on
}

/// Reports a key that JSON-RPC has no use for.
fn needs_http(key: Key<'_>, file: &file::Upstream, place: Range<usize>, report: &mut Report<'_>) {
    // An unknown protocol is a problem of its own.
    if file.protocol.get_ref() == "json-rpc" {
        report.add(key, place, "needs protocol = \"http\"");
    }
}

fn websocket(key: Key<'_>, file: &file::WebSocket, report: &mut Report<'_>) -> WebSocket {
    let times = SHORTEST..=LONGEST;
    WebSocket {
        max_connections: report.whole(key.name("max_connections"), &file.max_connections, TUNNELS),
        max_per_client: report.whole(key.name("max_per_client"), &file.max_per_client, TUNNELS),
        idle_timeout: report.duration(key.name("idle_timeout"), &file.idle_timeout, times.clone()),
        ping_interval: report.duration(key.name("ping_interval"), &file.ping_interval, times),
    }
}

fn candidates(key: Key<'_>, file: &file::Upstream, report: &mut Report<'_>) -> usize {
    match &file.candidates {
        Some(candidates) => report.whole(key, candidates, CANDIDATES),
        None if file.endpoints.len() <= SMALL_POOL => SMALL_POOL,
        None => CANDIDATES_OF_LARGE_POOL,
    }
}

fn chain(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> Chain {
    Chain::named(text.get_ref()).unwrap_or_else(|| {
        let names = any_of(Chain::all().map(|chain| format!("\"{}\"", chain.name())));
        report.add(key, text.span(), format!("must be {names}"));
        Chain::default()
    })
}

/// `a, b or c`.
pub(super) fn any_of(names: impl IntoIterator<Item = impl Into<String>>) -> String {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last } else { format!("{} or {last}", names.join(", ")) }
}

fn read_methods(key: Key<'_>, file: &Spanned<Vec<Spanned<String>>>, report: &mut Report<'_>) -> Vec<String> {
    if file.get_ref().len() > MAX_READ_METHODS {
        report.add(key, file.span(), format!("must hold at most {MAX_READ_METHODS} methods; use * at the end of one"));
    }
    let mut methods = Vec::with_capacity(file.get_ref().len());
    for (index, text) in file.get_ref().iter().enumerate() {
        let method = text.get_ref();
        let name = method.strip_suffix('*').unwrap_or(method);
        if method.len() > MAX_METHOD || !is_method(name) {
            let message = "must be 1 to 64 characters of visible ASCII, with a * only at the end and not alone";
            report.add(key.item(index), text.span(), message);
        }
        methods.push(method.clone());
    }
    methods
}

/// Whether this is a valid method name. The `*` of a pattern isn't part of the name.
pub(super) fn is_method(name: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_graphic() && byte != b'*';
    (1..=MAX_METHOD).contains(&name.len()) && name.bytes().all(fit)
}

fn retry_budget(key: Key<'_>, file: &file::RetryBudget, report: &mut Report<'_>) -> RetryBudget {
    let share = *file.share.get_ref();
    // No range contains NaN.
    if !(0.0..=MAX_RETRY_SHARE).contains(&share) {
        report.add(key.name("share"), file.share.span(), "must be a number from 0 to 10");
    }
    let floor_per_sec = report.whole(key.name("floor_per_sec"), &file.floor_per_sec, RETRY_FLOOR);
    RetryBudget { share, floor_per_sec }
}

/// The name of a declared policy; `None` is the built-in one, also written as "native".
fn policy(
    key: Key<'_>,
    name: Option<&Spanned<String>>,
    policies: &Named<file::Policy>,
    report: &mut Report<'_>,
) -> Option<String> {
    let name = name.filter(|name| name.get_ref() != NATIVE)?;
    let known = policies.keys().map(|name| name.get_ref().as_str());
    report.reference(key, name, "policies", known).then(|| name.get_ref().clone())
}

fn smoothing(key: Key<'_>, factor: &Spanned<f64>, report: &mut Report<'_>) -> f64 {
    let number = *factor.get_ref();
    // NaN fails both comparisons.
    if !(number > 0.0 && number <= 1.0) {
        let message = "must be above 0 and at most 1; smaller is smoother, and 0.1 is usual";
        report.add(key.name("latency_smoothing_factor"), factor.span(), message);
    }
    number
}

fn client(key: Key<'_>, file: &file::Client, report: &mut Report<'_>) -> Client {
    let positive = SHORTEST..=LONGEST;
    let (connect, idle) = (key.name("connect_timeout"), key.name("pool_idle_timeout"));
    Client {
        connect_timeout: report.duration(connect, &file.connect_timeout, positive.clone()),
        timeout: report.duration(key.name("timeout"), &file.timeout, positive.clone()),
        stream_timeout: report.duration(key.name("stream_timeout"), &file.stream_timeout, positive.clone()),
        pool_idle_timeout: report.duration(idle, &file.pool_idle_timeout, positive),
        pool_max_idle_per_host: report.whole(
            key.name("pool_max_idle_per_host"),
            &file.pool_max_idle_per_host,
            MAX_IDLE,
        ),
    }
}

fn cooldown(key: Key<'_>, file: &file::Cooldown, report: &mut Report<'_>) -> Cooldown {
    let base = report.duration(key.name("base"), &file.base, SHORTEST..=LONGEST);
    let max = report.duration(key.name("max"), &file.max, SHORTEST..=LONGEST);
    // Compares only if both were parsed: a stand-in value must not cause a problem.
    if let (Some(written_base), Some(written_max)) = (file.base.get_ref().parse(), file.max.get_ref().parse())
        && written_base > written_max
    {
        let message = format!("must be at most cooldown.max, which is {}", humantime::format_duration(written_max));
        // A default `base` has no place in the file.
        let given = if file.base.span().is_empty() { file.max.span() } else { file.base.span() };
        report.add(key.name("base"), given, message);
    }
    let jitter = *file.jitter.get_ref();
    if !(0.0..=1.0).contains(&jitter) {
        report.add(key.name("jitter"), file.jitter.span(), "must be a number from 0, which is exact, to 1");
    }
    Cooldown { base, max, jitter }
}
