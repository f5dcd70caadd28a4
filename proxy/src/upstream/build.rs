//! Building an upstream from the conf and from the previous generation's state of its endpoints.
//!
//! An endpoint's identity is its URL. As long as it stays, its statistics, health, cooldown, banned
//! methods and metrics stay. Its limiter stays unless rate or burst changed, its connections stay
//! unless a client setting or one of its headers changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderName, HeaderValue, header};

use super::candidates::{ARCHIVE_TAG, Draw};
use super::deciders::Deciders;
use super::endpoint::Details;
use super::{Canary, CanaryState, Doubts, Endpoint, GuardedPolicy, Limiter, Settings, Shadow, ShadowQueue, Upstream};
use crate::client::target::Destination;
use crate::client::{ClientSettings, Target, Transport};
use crate::config::{EndpointConf, EndpointUrl, UpstreamConf};
use crate::metrics::Metrics;
use crate::model::{BucketRate, EndpointHealth, EndpointStats, HealthRules};
use crate::policy::tag_bits;
use crate::tls::EndpointTls;

/// The resources of the process that upstreams are built with.
#[derive(Clone)]
pub struct Resources {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The connector for endpoints.
    pub transport: Arc<Transport>,
    /// The queue of the shadow policies' thread.
    pub shadows: ShadowQueue,
    /// The queue of endpoints to be probed because requests failed there.
    pub doubts: Arc<Doubts>,
}

/// The policies of an upstream, as far as the conf names them.
#[derive(Default)]
pub struct Policies {
    /// The scoring policy.
    pub scoring: Option<GuardedPolicy>,
    /// The retry policy.
    pub retry: Option<GuardedPolicy>,
    /// The policy that scores without effect.
    pub shadow: Option<GuardedPolicy>,
    /// The policy that decides a share of the requests.
    pub canary: Option<CanarySpec>,
}

/// The specification of a canary.
pub struct CanarySpec {
    /// The policy.
    pub policy: GuardedPolicy,
    /// A new state; `None` to keep the present one.
    pub decision: Option<CanaryState>,
}

impl Upstream {
    /// Builds the upstream of a new generation. `before` is the upstream of the same name in the
    /// serving generation.
    pub fn build(
        conf: &UpstreamConf,
        before: Option<&Upstream>,
        policies: Policies,
        tls: &Arc<EndpointTls>,
        resources: &Resources,
    ) -> Self {
        let settings = ClientSettings::of(conf, tls);
        let endpoints = build_endpoints(conf, before, &settings, resources);
        let weights: Vec<u16> = endpoints.iter().map(Endpoint::weight).collect();
        Upstream {
            name: conf.name.as_str().into(),
            draw: Draw::new(&weights, conf.candidates),
            settings: Settings::of(conf),
            deciders: build_deciders(conf, before, policies, &endpoints, resources),
            endpoints,
            doubts: Arc::clone(&resources.doubts),
            live: before.map_or_else(Arc::default, |u| Arc::clone(&u.live)),
            series: resources.metrics.upstream(&conf.name),
        }
    }
}

fn build_deciders(
    conf: &UpstreamConf,
    before: Option<&Upstream>,
    policies: Policies,
    endpoints: &[Endpoint],
    resources: &Resources,
) -> Deciders {
    let Policies { scoring, retry, shadow, canary } = policies;
    let own = |policy: GuardedPolicy| policy.of_upstream(&conf.endpoints);
    let live = [scoring.map(own), retry.map(own)];
    let canary = conf.canary.as_ref().zip(canary).map(|(canary, CanarySpec { policy, decision })| {
        Canary::build(&conf.name, canary, own(policy), live.clone(), before, decision, resources)
    });
    let [scoring, retry] = match &canary {
        Some(canary) => canary.or_promoted(live),
        None => live,
    };
    let shadow = conf.shadow.as_ref().zip(shadow.map(own));
    let shadow = shadow.map(|(shadow, bound)| Shadow::build(&conf.name, shadow, bound, endpoints, before, resources));
    let deciders = Deciders { scoring, retry, shadow, canary, reads_http: false, time_budget: conf.policy_time_budget };
    let reads_http = deciders.all().any(|policy| policy.policy.reads_http());
    Deciders { reads_http, ..deciders }
}

/// Builds the endpoints of the conf. Those that existed before keep their state.
fn build_endpoints(
    conf: &UpstreamConf,
    before: Option<&Upstream>,
    settings: &ClientSettings,
    resources: &Resources,
) -> Vec<Endpoint> {
    let known: HashMap<&EndpointUrl, &Endpoint> =
        before.map(|u| u.endpoints.iter().map(|e| (&e.details.url, e)).collect()).unwrap_or_default();
    let same_chain = before.is_some_and(|u| u.settings.chain_id == conf.chain_id);
    let tags: BTreeSet<&str> = conf.endpoints.iter().flat_map(|e| &e.tags).map(String::as_str).collect();
    let (was_probed, is_probed) = (before.is_some_and(|u| u.settings.probed), conf.health_check.is_some());
    // Shared by all endpoints without probes.
    let unprobed = Arc::default();
    let build = |(index, endpoint): (u32, &EndpointConf)| {
        let before = known.get(&endpoint.url).copied();
        let probed = before.filter(|_| was_probed).map(|before| &before.health);
        let health = if is_probed { health(probed, same_chain) } else { Arc::clone(&unprobed) };
        build_endpoint(conf, index, endpoint, &tags, (before, health), settings, resources)
    };
    (0..).zip(&conf.endpoints).map(build).collect()
}

fn build_endpoint(
    upstream: &UpstreamConf,
    index: u32,
    conf: &EndpointConf,
    tags: &BTreeSet<&str>,
    (before, health): (Option<&Endpoint>, Arc<EndpointHealth>),
    settings: &ClientSettings,
    resources: &Resources,
) -> Endpoint {
    let stats = before.map_or_else(|| Arc::new(EndpointStats::new(settings.timeout)), |e| Arc::clone(&e.stats));
    let limiter = conf.rate_limit.map(|limit| {
        let kept = before.and_then(|e| e.details.limiter.as_ref()).filter(|limiter| limiter.limit() == limit);
        kept.map_or_else(|| Arc::new(Limiter::new(limit)), Arc::clone)
    });
    Endpoint {
        stats,
        health,
        health_rules: HealthRules {
            verify_chain: upstream.chain_id.is_some(),
            max_head_lag: upstream.health_check.as_ref().and_then(|check| check.max_head_lag),
        },
        index,
        weight: conf.weight,
        tags: tag_bits(tags, &conf.tags),
        price: conf.price.unwrap_or(f32::NAN),
        archive: conf.tags.iter().any(|tag| tag == ARCHIVE_TAG),
        limited: limiter.is_some(),
        bucket_rate: conf.rate_limit.map(|limit| BucketRate::new(limit.per_sec, limit.burst)).unwrap_or_default(),
        details: Box::new(Details {
            name: conf.name.as_str().into(),
            url: conf.url.clone(),
            max_batch_size: conf.max_batch_size,
            max_block_range: conf.max_block_range,
            limiter,
            ws_target: conf.ws_url.as_ref().map(|url| {
                let before = before.and_then(|before| before.details.ws_target.as_ref());
                target(destination(url, conf), settings.clone(), before, resources)
            }),
            target: target(destination(&conf.url, conf), settings.clone(), before.map(Endpoint::target), resources),
            series: resources.metrics.endpoint(&upstream.name, &conf.name),
        }),
    }
}

/// The health of an endpoint. It is kept while the endpoint is probed, the chain check only while
/// the chain is the same.
fn health(before: Option<&Arc<EndpointHealth>>, same_chain: bool) -> Arc<EndpointHealth> {
    match before {
        Some(before) if same_chain => Arc::clone(before),
        Some(before) => Arc::new(before.for_another_chain()),
        None => Arc::default(),
    }
}

fn target(
    destination: Destination,
    settings: ClientSettings,
    before: Option<&Arc<Target>>,
    resources: &Resources,
) -> Arc<Target> {
    if let Some(target) = before {
        if target.destination == destination && target.settings == settings {
            return Arc::clone(target);
        }
        let target_now = Target::new(destination, settings, Arc::clone(&resources.transport));
        if target_now.needs_dns() {
            target_now.set_addresses(target.addresses());
        }
        return Arc::new(target_now);
    }
    Arc::new(Target::new(destination, settings, Arc::clone(&resources.transport)))
}

impl ClientSettings {
    fn of(conf: &UpstreamConf, tls: &Arc<EndpointTls>) -> Self {
        let client = &conf.client;
        ClientSettings {
            connect_timeout: client.connect_timeout,
            timeout: client.timeout,
            stream_timeout: client.stream_timeout,
            idle_timeout: client.pool_idle_timeout,
            max_idle: client.pool_max_idle_per_host,
            http2: conf.http2,
            tls: Arc::clone(tls),
        }
    }
}

fn destination(url: &EndpointUrl, conf: &EndpointConf) -> Destination {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    if let Some((user, password)) = url.userinfo() {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        headers.extend(sensitive(header::AUTHORIZATION, &format!("Basic {credentials}")));
    }
    headers.extend(conf.headers.iter().filter_map(|(name, value)| sensitive(name.clone(), value.expose())));
    Destination {
        tls: url.is_tls(),
        host: url.host().to_owned(),
        port: url.port(),
        path: url.path_and_query().to_owned(),
        // The conf accepts only hosts that are valid in a header.
        authority: HeaderValue::from_str(url.authority()).unwrap_or(HeaderValue::from_static("")),
        headers,
    }
}

fn sensitive(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
