//! Every key, its default, and its resolved value.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::*;
use super::{MINIMAL, accepted};
use crate::chain::{Chain, ChainId};
use crate::model::Rails;

#[test]
fn the_least_conf_gets_every_default() {
    let config = accepted(MINIMAL);
    assert_eq!(config.server.listen, ["127.0.0.1:8549".parse().unwrap()]);
    assert_eq!(config.server.threads, std::thread::available_parallelism().unwrap().get());
    assert_eq!(config.server.max_body, 10 << 20);
    assert_eq!(config.server.shutdown_grace, Duration::from_secs(30));
    assert_eq!(config.server.max_connections, machine::connections(machine::open_files()));
    assert_eq!(config.server.max_connections_per_address, config.server.max_connections);
    assert_eq!(config.server.max_buffered, (machine::memory() / 4).max(10 << 20));
    assert_eq!(config.server.client_key, None);
    assert_eq!(config.admin, Admin { listen: "127.0.0.1:8550".parse().unwrap(), token: None, hosts: Vec::new() });
    assert_eq!(
        config.plugins,
        Plugins {
            dir: "conf/plugins".into(),
            cache_dir: None,
            trusted_keys: None,
            watch: false,
            max_instances: 2_000,
            rollback_grace: None
        }
    );
    assert!(config.policies.is_empty());
    assert_eq!(config.server.trusted_proxies, []);
    assert_eq!(config.server.client_key_source, ClientKeySource::Address);
    let route = Route {
        hosts: Vec::new(),
        path_prefix: "/".into(),
        target: RouteTarget::Upstream {
            name: "eth".into(),
            accept_any_content_type: false,
            replace_prefix: None,
            request_headers: HeaderEdits::default(),
        },
        response_headers: HeaderEdits::default(),
        cors: None,
    };
    assert_eq!(config.routes, [route]);
    let upstream = &config.upstreams["eth"];
    let expected = UpstreamConf {
        name: "eth".into(),
        protocol: Protocol::JsonRpc,
        replay_buffer: 64 << 10,
        chain: Chain::default(),
        chain_id: None,
        read_methods: Vec::new(),
        scoring: None,
        retry: None,
        shadow: None,
        canary: None,
        candidates: 64,
        max_attempts: 3,
        deadline: Duration::from_secs(10),
        max_batch_size: 100,
        max_concurrency: 1_000,
        queue_timeout: Duration::from_secs(1),
        policy_time_budget: Duration::from_millis(5),
        exclude_outliers: true,
        retry_budget: RetryBudget { share: 0.2, floor_per_sec: 10 },
        latency_smoothing_factor: 0.1,
        client: Client {
            connect_timeout: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            stream_timeout: Duration::from_secs(300),
            pool_idle_timeout: Duration::from_secs(20),
            pool_max_idle_per_host: 50,
        },
        cooldown: Cooldown { base: Duration::from_secs(3), max: Duration::from_secs(60), jitter: 1.0 },
        health_check: Some(HealthCheck {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            probe: ProbeKind::Method("eth_blockNumber".into()),
            implied: true,
            unhealthy_threshold: 2,
            healthy_threshold: 1,
            max_head_lag: None,
        }),
        http2: false,
        compression_level: None,
        tls: UpstreamTls::default(),
        websocket: WebSocket {
            max_connections: 1_000,
            max_per_client: 100,
            idle_timeout: Duration::from_secs(600),
            ping_interval: Duration::from_secs(30),
        },
        endpoints: vec![EndpointConf {
            url: EndpointUrl::parse("http://127.0.0.1:8545").unwrap(),
            ws_url: None,
            name: "001_127.0.0.1".into(),
            weight: 20,
            rate_limit: None,
            max_batch_size: None,
            max_block_range: None,
            tags: Vec::new(),
            price: None,
            headers: Vec::new(),
        }],
    };
    assert_eq!(upstream, &expected);
}

const FULL: &str = r#"
[server]
listen = ["0.0.0.0:80", "[::1]:81"]
threads = 4
max_body = "64KiB"
shutdown_grace = "0s"
max_connections = 500
max_connections_per_address = 50
max_buffered = "1MiB"
trusted_proxies = ["10.0.0.0/8", "::1"]
client_key = "header:X-Api-Key"
client_key_secret = "sixteen bytes..."
express_lane = false

[admin]
listen = "0.0.0.0:8551"
token = "env:TOKEN"

[plugins]
dir = "/opt/plugins"
cache_dir = "../cache"
trusted_keys = ["RWQAAQIDBAUGBwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]
max_instances = 16
watch = true
rollback_grace = "90s"

[policies.mine]
plugin = "peak-ewma"
version = "^1.2"
fuel = 250000
sha256 = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
[policies.mine.config]
number = 1
fraction = 0.5
flag = true
since = 2024-05-27
list = [1, "two", { three = 3 }]

[policies.other]
plugin = "tiers"

[upstreams.arb]
protocol = "json-rpc"
scoring = "mine"
shadow = { policy = "other", share = 1 }
retry = "native"
candidates = 2
max_attempts = 16
deadline = "1m 30s"
max_batch_size = 1
max_concurrency = 7
latency_smoothing_factor = 1
client = { connect_timeout = "1ms", timeout = "2s", pool_idle_timeout = "3s", pool_max_idle_per_host = 0 }
cooldown = { base = "4s", max = "4s", jitter = 0 }
chain = "ethereum"
chain_id = 42161
read_methods = ["custom_*", "foo_bar"]
retry_budget = { share = 1, floor_per_sec = 0 }
queue_timeout = "0s"
policy_time_budget = "20ms"
exclude_outliers = false

[upstreams.arb.canary]
policy = "other"
percent = 0.5
min_requests = 20
max_faults = 0
max_error_rate_increase = 0
max_attempts_increase = 16
max_p99_ratio = 1
promote_after = "1h"

[upstreams.arb.health_check]
interval = "100ms"
timeout = "1s"
method = "getBlockHeight"
unhealthy_threshold = 3
healthy_threshold = 4
max_head_lag = 0

[[upstreams.arb.endpoints]]
url = "env:URL"
weight = 0

[[upstreams.arb.endpoints]]
url = "https://User:p%40ss@RPC.Example.com:443/v1?key=k"
name = "mine"
weight = 65535
rate_limit_per_sec = 200
burst_size = 300
max_batch_size = 10
max_block_range = 2000
tags = ["archive", "eu"]
price = 0.25
headers = { X-Api-Key = "env:TOKEN", accept = "application/json" }

[[upstreams.arb.endpoints]]
url = "http://[::1]:9000"
rate_limit_per_sec = 5
price = 1

[upstreams.eth]
endpoints = [{ url = "http://eth.example.com" }]

[[routes]]
path_prefix = "/"
upstream = "eth"
[[routes]]
path_prefix = "/arb/one/"
upstream = "arb"
[[routes]]
path_prefix = "/eth"
upstream = "eth"
[[routes]]
path_prefix = "/arb"
upstream = "arb"
"#;

#[test]
fn server_admin_and_plugins_take_what_is_written() {
    let config = accepted(FULL);
    let expected = Server {
        listen: vec!["0.0.0.0:80".parse().unwrap(), "[::1]:81".parse().unwrap()],
        listeners: Vec::new(),
        threads: 4,
        max_body: 64 << 10,
        shutdown_grace: Duration::ZERO,
        max_connections: 500,
        max_connections_per_address: 50,
        max_buffered: 1 << 20,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        client_key_source: ClientKeySource::Header("x-api-key".parse().unwrap()),
        client_key: Some(ClientKey::derived("sixteen bytes...")),
        express_lane: false,
    };
    assert_eq!(config.server, expected);
    assert_eq!(config.admin.listen, "0.0.0.0:8551".parse().unwrap());
    assert_eq!(config.admin.token.unwrap().expose(), "token-from-env");
    let plugins = Plugins {
        dir: "/opt/plugins".into(),
        cache_dir: Some("conf/../cache".into()),
        trusted_keys: Some(vec!["RWQAAQIDBAUGBwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f".parse().unwrap()]),
        watch: true,
        max_instances: 16,
        rollback_grace: Some(Duration::from_secs(90)),
    };
    assert_eq!(config.plugins, plugins);
}

#[test]
fn a_policy_takes_what_is_written() {
    let config = accepted(FULL);
    let policy = &config.policies["mine"];
    assert_eq!(policy.plugin, "peak-ewma");
    assert_eq!(policy.fuel, 250_000);
    assert_eq!(policy.version, semver::VersionReq::parse("^1.2").unwrap());
    let half = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    assert_eq!(policy.sha256.unwrap(), [half, half].concat()[..]);
    let expected = serde_json::json!({
        "number": 1, "fraction": 0.5, "flag": true, "since": "2024-05-27", "list": [1, "two", { "three": 3 }],
    });
    assert_eq!(policy.config, expected);
    assert_eq!(policy.place, Location { line: 27, column: 11 });
    let least = accepted(&format!("{MINIMAL}[policies.p]\nplugin = 'p'"));
    assert_eq!(least.policies["p"].version, semver::VersionReq::STAR);
    assert_eq!(least.policies["p"].sha256, None);
    assert_eq!(least.policies["p"].fuel, crate::policy::Limits::DEFAULT.fuel, "sdk/ABI.md, section 5");
    assert_eq!(least.policies["p"].config, serde_json::json!({}));
}

#[test]
fn an_upstream_takes_what_is_written() {
    let config = accepted(FULL);
    let upstream = &config.upstreams["arb"];
    assert_eq!((upstream.scoring.as_deref(), upstream.retry.as_deref()), (Some("mine"), None));
    assert_eq!(upstream.shadow, Some(ShadowConf { policy: "other".into(), share: 1.0 }));
    let rails = Rails {
        min_requests: 20,
        max_faults: 0,
        max_error_rate_increase: 0.0,
        max_attempts_increase: 16.0,
        max_p99_ratio: 1.0,
    };
    let promote_after = Some(Duration::from_secs(3_600));
    assert_eq!(upstream.canary, Some(CanaryConf { policy: "other".into(), percent: 0.5, rails, promote_after }));
    assert_eq!((upstream.candidates, upstream.max_attempts), (2, 16));
    assert_eq!(upstream.deadline, Duration::from_secs(90));
    assert_eq!((upstream.max_batch_size, upstream.max_concurrency), (1, 7));
    assert_eq!(upstream.latency_smoothing_factor, 1.0);
    let client = Client {
        connect_timeout: Duration::from_millis(1),
        timeout: Duration::from_secs(2),
        stream_timeout: Duration::from_secs(300),
        pool_idle_timeout: Duration::from_secs(3),
        pool_max_idle_per_host: 0,
    };
    assert_eq!(upstream.client, client);
    let four = Duration::from_secs(4);
    assert_eq!(upstream.cooldown, Cooldown { base: four, max: four, jitter: 0.0 });
    assert_eq!((upstream.chain, &upstream.chain_id), (Chain::default(), &Some(ChainId::Number(42_161))));
    assert_eq!(upstream.read_methods, ["custom_*", "foo_bar"]);
    assert_eq!(upstream.retry_budget, RetryBudget { share: 1.0, floor_per_sec: 0 });
    assert_eq!(upstream.queue_timeout, Duration::ZERO);
    assert_eq!(upstream.policy_time_budget, Duration::from_millis(20));
    assert!(!upstream.exclude_outliers);
    let health_check = HealthCheck {
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
        probe: ProbeKind::Method("getBlockHeight".into()),
        implied: false,
        unhealthy_threshold: 3,
        healthy_threshold: 4,
        max_head_lag: Some(0),
    };
    assert_eq!(upstream.health_check, Some(health_check));
}

#[test]
fn a_health_check_gets_its_defaults() {
    let health = |keys: &str| {
        let config = accepted(&format!("[upstreams.eth]\n{keys}\n{MINIMAL}"));
        config.upstreams["eth"].health_check.clone().unwrap()
    };
    let expected = HealthCheck {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        probe: ProbeKind::Method("eth_blockNumber".into()),
        implied: true,
        unhealthy_threshold: 2,
        healthy_threshold: 1,
        max_head_lag: None,
    };
    assert_eq!(health("health_check = {}"), expected);
    // The operator didn't ask for a health check, so it is infrequent.
    assert_eq!(health(""), HealthCheck { interval: Duration::from_secs(60), ..expected });
    assert_eq!(
        accepted(&format!("[upstreams.eth]\nhealth_check = 'off'\n{MINIMAL}")).upstreams["eth"].health_check,
        None
    );
    let solana = "chain = 'solana'\nchain_id = '5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d'\nhealth_check = {}";
    assert_eq!(health(solana).probe, ProbeKind::Method("getSlot".into()));
    let path = |status| ProbeKind::Path { path: "/health?deep=1".into(), status };
    assert_eq!(health("health_check = { path = '/health?deep=1' }").probe, path(200));
    assert_eq!(health("health_check = { path = '/health?deep=1', status = 204 }").probe, path(204));
}

#[test]
fn an_endpoint_takes_what_is_written() {
    let config = accepted(FULL);
    let [from_env, full, v6] = &config.upstreams["arb"].endpoints[..] else { panic!("three endpoints") };
    assert_eq!(from_env.url.canonical(), "https://env.example.com/key-from-env");
    assert_eq!((from_env.name.as_str(), from_env.weight), ("001_env.example.com", 0));
    assert_eq!(full.url.canonical(), "https://User:p%40ss@rpc.example.com/v1?key=k");
    assert_eq!((full.name.as_str(), full.weight), ("mine", 65_535));
    let limit = |per_sec, burst| RateLimit {
        per_sec: NonZeroU32::new(per_sec).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    };
    assert_eq!(full.rate_limit, Some(limit(200, 300)));
    assert_eq!((full.max_batch_size, full.max_block_range), (Some(10), Some(2_000)));
    assert_eq!(full.tags, ["archive", "eu"]);
    assert_eq!(full.price, Some(0.25));
    let headers: Vec<_> = full.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("x-api-key", "token-from-env"), ("accept", "application/json")]);
    assert_eq!((v6.name.as_str(), v6.rate_limit, v6.price), ("003_::1", Some(limit(5, 5)), Some(1.0)));
}

#[test]
fn a_url_has_one_canonical_form() {
    for (text, canonical, host, port, authority, path) in [
        ("HTTP://Example.COM", "http://example.com/", "example.com", 80, "example.com", "/"),
        ("http://example.com:80/a", "http://example.com/a", "example.com", 80, "example.com", "/a"),
        ("https://example.com:443", "https://example.com/", "example.com", 443, "example.com", "/"),
        (
            "https://example.com:80/a/?q=1",
            "https://example.com:80/a/?q=1",
            "example.com",
            80,
            "example.com:80",
            "/a/?q=1",
        ),
        ("http://[0:0::1]:8545", "http://[::1]:8545/", "::1", 8545, "[::1]:8545", "/"),
        ("https://u@h/", "https://u@h/", "h", 443, "h", "/"),
    ] {
        let url = EndpointUrl::parse(text).unwrap();
        assert_eq!((url.canonical(), url.host(), url.port()), (canonical, host, port), "{text}");
        assert_eq!((url.authority(), url.path_and_query()), (authority, path), "{text}");
        assert_eq!(url.is_tls(), canonical.starts_with("https"), "{text}");
    }
    assert_eq!(EndpointUrl::parse("HTTP://A:80").unwrap(), EndpointUrl::parse("http://a/").unwrap());
    assert_ne!(EndpointUrl::parse("http://a/x").unwrap(), EndpointUrl::parse("http://a/x/").unwrap());
}

#[test]
fn userinfo_is_decoded() {
    for (text, expected) in [
        ("http://h/", None),
        ("http://u@h/", Some(("u", ""))),
        ("http://u:p%40s%3a@h/", Some(("u", "p@s:"))),
        ("http://:p%@h/", Some(("", "p%"))),
    ] {
        assert_eq!(EndpointUrl::parse(text).unwrap().userinfo(), expected, "{text}");
    }
}

#[test]
fn a_long_host_is_cut_in_the_default_name() {
    let host = "a.".repeat(60);
    let config = accepted(&format!("[[upstreams.eth.endpoints]]\nurl = 'http://{host}example.com'\n"));
    let name = &config.upstreams["eth"].endpoints[0].name;
    assert!(name.starts_with("001_a.a.") && name.len() == 64, "{name}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_conf() {
    assert_eq!(accepted(&format!("\u{feff}{MINIMAL}")), accepted(MINIMAL));
}
