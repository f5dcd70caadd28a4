//! Problems of upstreams and endpoints, with their places.

use std::path::Path;

use super::super::{CanaryConf, ShadowConf};
use super::{MINIMAL, accepted, assert_problems, read, refused};
use crate::model::Rails;

#[test]
fn all_of_a_small_pool_are_candidates() {
    for (size, candidates) in [(1, 64), (64, 64), (65, 32)] {
        let endpoints: String = (0..size).map(|n| format!("{{ url = 'http://h{n}' }},")).collect();
        let conf = read(&format!("[upstreams.e]\nendpoints = [{endpoints}]")).unwrap();
        assert_eq!(conf.upstreams["e"].candidates, candidates, "{size}");
    }
}

#[test]
fn upstreams_are_checked() {
    let upstream = |keys: &str| format!("[upstreams.eth]\n{keys}\n[[upstreams.eth.endpoints]]\nurl = 'http://h'\n");
    for (keys, expected) in [
        ("protocol = «'grpc'", "protocol: must be \"json-rpc\" or \"http\""),
        ("protocol = 'http'\nchain_id = «1", "chain_id: is for protocol = \"json-rpc\""),
        ("protocol = 'http'\nread_methods = [«'a']", "read_methods: is for protocol = \"json-rpc\""),
        (
            "protocol = 'http'\nhealth_check = «{ method = 'a' }",
            "health_check: needs path or grpc for protocol = \"http\"",
        ),
        ("http2 = «true", "http2: needs protocol = \"http\""),
        ("compression_level = «1", "compression_level: needs protocol = \"http\""),
        ("protocol = 'http'\ncompression_level = «10", "compression_level: must be at most 9"),
        ("protocol = 'http'\nhealth_check = «{ grpc = '' }", "health_check.grpc: needs http2 = true"),
        (
            "protocol = 'http'\nhttp2 = true\nhealth_check = { grpc = «'a b' }",
            "health_check.grpc: must be the full name of a service",
        ),
        ("tls = «{ ca = 'a' }", "tls: needs an endpoint with an https:// URL"),
        ("client.stream_timeout = «'0s'", "client.stream_timeout: must be at least 1ms"),
        ("replay_buffer = «'65KiB'", "replay_buffer: must be at most 65536 B"),
        ("candidates = «1", "candidates: must be at least 2"),
        ("candidates = «10001", "candidates: must be at most 10000"),
        ("max_attempts = «0", "max_attempts: must be at least 1"),
        ("max_attempts = «17", "max_attempts: must be at most 16"),
        ("deadline = «'0s'", "deadline: must be at least 1ms"),
        ("deadline = «'2d'", "deadline: must be at most 1day"),
        ("max_batch_size = «0", "max_batch_size: must be at least 1"),
        ("max_batch_size = «10001", "max_batch_size: must be at most 10000"),
        ("max_concurrency = «0", "max_concurrency: must be at least 1"),
        ("max_concurrency = «1000001", "max_concurrency: must be at most 1000000"),
        ("latency_smoothing_factor = «0", "latency_smoothing_factor: must be above 0 and at most 1"),
        ("latency_smoothing_factor = «1.01", "latency_smoothing_factor: must be above 0 and at most 1"),
        ("latency_smoothing_factor = «nan", "latency_smoothing_factor: must be above 0 and at most 1"),
        ("client.connect_timeout = «'0s'", "client.connect_timeout: must be at least 1ms"),
        ("client.timeout = «'soon'", "client.timeout: must be a duration"),
        ("client.pool_idle_timeout = «'0ms'", "client.pool_idle_timeout: must be at least 1ms"),
        ("client.pool_max_idle_per_host = «-1", "client.pool_max_idle_per_host: must be at least 0"),
        ("client.pool_max_idle_per_host = «10001", "client.pool_max_idle_per_host: must be at most 10000"),
        ("cooldown.base = «'0s'", "cooldown.base: must be at least 1ms"),
        ("cooldown.max = «'2d'", "cooldown.max: must be at most 1day"),
        ("cooldown.jitter = «1.1", "cooldown.jitter: must be a number from 0"),
        ("cooldown.jitter = «nan", "cooldown.jitter: must be a number from 0"),
        ("chain = «'bitcoin'", "chain: must be \"ethereum\" or \"solana\""),
        ("queue_timeout = «'25h'", "queue_timeout: must be at most 1day"),
        ("policy_time_budget = «'0ms'", "policy_time_budget: must be at least 1ms"),
        ("policy_time_budget = «'2s'", "policy_time_budget: must be at most 1s"),
        ("retry_budget.share = «10.1", "retry_budget.share: must be a number from 0 to 10"),
        ("retry_budget.share = «-0.1", "retry_budget.share: must be a number from 0 to 10"),
        ("retry_budget.share = «nan", "retry_budget.share: must be a number from 0 to 10"),
        ("retry_budget.floor_per_sec = «100001", "retry_budget.floor_per_sec: must be at most 100000"),
        ("read_methods = ['a', «'']", "read_methods[1]: must be 1 to 64 characters of visible ASCII"),
        ("read_methods = [«'*']", "read_methods[0]: must be 1 to 64 characters of visible ASCII"),
        ("read_methods = [«'a**']", "read_methods[0]: must be 1 to 64 characters of visible ASCII"),
        ("read_methods = [«'a*b']", "read_methods[0]: must be 1 to 64 characters of visible ASCII"),
        ("read_methods = [«'a b']", "read_methods[0]: must be 1 to 64 characters of visible ASCII"),
        ("read_methods = [«'é']", "read_methods[0]: must be 1 to 64 characters of visible ASCII"),
        ("cooldown = { base = «'9s', max = '8s' }", "cooldown.base: must be at most cooldown.max, which is 8s"),
        ("cooldown.max = «'2s'", "cooldown.base: must be at most cooldown.max, which is 2s"),
        ("cooldown.base = «'2m'", "cooldown.base: must be at most cooldown.max, which is 1m"),
    ] {
        assert_problems(&upstream(keys), &[&format!("upstreams.eth.{expected}")]);
    }
    // The deadline ends an attempt before its own timeout.
    assert!(read(&upstream("deadline = '1s'")).is_ok());
}

#[test]
fn health_checks_are_checked() {
    let health = |keys: &str| format!("[upstreams.eth]\n{keys}\n[[upstreams.eth.endpoints]]\nurl = 'http://h'\n");
    for (keys, expected) in [
        ("interval = «'99ms'", "interval: must be at least 100ms"),
        ("interval = «'25h'", "interval: must be at most 1day"),
        ("timeout = «'0s'", "timeout: must be at least 1ms"),
        ("method = «''", "method: must be a method"),
        ("method = «'eth_*'", "method: must be a method"),
        ("path = «'health'", "path: must begin with /"),
        ("path = «'/a b'", "path: must be at most 256 characters"),
        ("path = «'/a#b'", "path: must be at most 256 characters"),
        ("method = «'getHealth', path = '/'", "method: contradicts health_check.path"),
        ("path = '/', grpc = «''", "grpc: contradicts health_check.path"),
        ("status = «200", "status: needs path"),
        ("path = '/', status = «99", "status: must be at least 100"),
        ("path = '/', status = «600", "status: must be at most 599"),
        ("unhealthy_threshold = «0", "unhealthy_threshold: must be at least 1"),
        ("healthy_threshold = «101", "healthy_threshold: must be at most 100"),
        ("max_head_lag = «-1", "max_head_lag: must be at least 0"),
        ("path = '/', max_head_lag = «1", "max_head_lag: needs a method that tells the head"),
        ("method = 'eth_syncing', max_head_lag = «1", "max_head_lag: needs a method that tells the head"),
    ] {
        let conf = health(&format!("health_check = {{ {keys} }}"));
        assert_problems(&conf, &[&format!("upstreams.eth.health_check.{expected}")]);
    }
    for (keys, expected) in [
        ("health_check = 'off'\nchain_id = «1", "needs health_check, which verifies it"),
        ("health_check = {}\nchain_id = «0", "must be at least 1"),
        ("health_check = {}\nchain_id = «'1'", "must be a whole number, as eth_chainId tells it"),
        ("health_check = {}\nchain = 'solana'\nchain_id = «1", "must be the genesis hash"),
        ("health_check = {}\nchain = 'solana'\nchain_id = «'5eykt'", "must be the genesis hash"),
    ] {
        assert_problems(&health(keys), &[&format!("upstreams.eth.chain_id: {expected}")]);
    }
}

#[test]
fn there_are_at_most_200_read_methods() {
    let conf = |count: usize| {
        let methods: String = (0..count).map(|n| format!("'m{n}', ")).collect();
        format!("[upstreams.eth]\nread_methods = «[{methods}]\n[[upstreams.eth.endpoints]]\nurl = 'http://h'\n")
    };
    assert!(read(&conf(200).replace('«', "")).is_ok());
    assert_problems(&conf(201), &["upstreams.eth.read_methods: must hold at most 200 methods"]);
}

#[test]
fn unknown_references_come_with_a_suggestion() {
    let text = "[upstreams.eth]\nscoring = «'teirs'\nretry = «'other'\nendpoints = [{ url = 'http://h' }]\n\
                [policies.tiers]\nplugin = 'tiers'\n[[routes]]\npath_prefix = '/'\nupstream = «'eht'\n";
    assert_problems(
        text,
        &[
            "upstreams.eth.scoring: isn't in [policies]; did you mean \"tiers\"?",
            "upstreams.eth.retry: isn't in [policies]; declare it as [policies.NAME], or name one that is declared",
            "routes[0].upstream: isn't in [upstreams]; did you mean \"eth\"?",
        ],
    );
}

/// An upstream with these keys, and two policies.
fn beside_policies(keys: &str) -> String {
    format!(
        "[policies.new]\nplugin = 'p'\n[policies.old]\nplugin = 'p'\n\
         [upstreams.eth]\n{keys}\nendpoints = [{{ url = 'http://h' }}]\n"
    )
}

#[test]
fn a_shadow_is_a_name_or_a_table() {
    for (keys, share) in [
        ("shadow = 'new'", 0.1),
        ("shadow = { policy = 'new' }", 0.1),
        ("scoring = 'old'\nshadow = { share = 0.25, policy = 'new' }", 0.25),
        ("scoring = 'native'\nshadow = { policy = 'new', share = 1 }", 1.0),
    ] {
        let conf = accepted(&beside_policies(keys));
        let expected = ShadowConf { policy: "new".into(), share };
        assert_eq!(conf.upstreams["eth"].shadow, Some(expected), "{keys}");
    }
}

#[test]
fn a_shadow_is_another_declared_policy_and_its_share_is_one() {
    for (keys, key, expected) in [
        ("shadow = «'nwe'", "shadow", "isn't in [policies]; did you mean \"new\"?"),
        ("shadow = { policy = «'elsewhere' }", "shadow.policy", "isn't in [policies]; declare it"),
        ("shadow = «'native'", "shadow", "must be a declared policy; the built-in one can't be a shadow"),
        ("scoring = 'new'\nshadow = «'new'", "shadow", "is the upstream's scoring policy; a shadow must be another"),
        ("shadow = { policy = «'old' }\nscoring = 'old'", "shadow.policy", "is the upstream's scoring policy"),
        ("shadow = «{ share = 0.5 }", "shadow.policy", "is missing; add policy = \"NAME\""),
        (
            "shadow = «1",
            "shadow",
            "must be the name of a policy, or a table such as { policy = \"NAME\", share = 0.1 }",
        ),
        ("shadow = «['new']", "shadow", "must be the name of a policy, or a table such as"),
        ("shadow = { policy = 'new', «shar = 1 }", "shadow.shar", "isn't a known key; did you mean \"share\"?"),
        ("shadow = { policy = 'new', share = «'all' }", "shadow.share", "must be a number, not a string"),
        ("shadow = { policy = 'new', share = «0 }", "shadow.share", "must be above 0 and at most 1"),
        ("shadow = { policy = 'new', share = «-0.1 }", "shadow.share", "must be above 0 and at most 1"),
        ("shadow = { policy = 'new', share = «1.01 }", "shadow.share", "must be above 0 and at most 1"),
        ("shadow = { policy = 'new', share = «nan }", "shadow.share", "must be above 0 and at most 1"),
    ] {
        assert_problems(&beside_policies(keys), &[&format!("upstreams.eth.{key}: {expected}")]);
    }
}

#[test]
fn a_canary_has_defaults_for_all_but_its_policy() {
    let conf = accepted(&beside_policies("scoring = 'old'\ncanary = { policy = 'new' }"));
    let rails = Rails {
        min_requests: 200,
        max_faults: 5,
        max_error_rate_increase: 0.01,
        max_attempts_increase: 0.1,
        max_p99_ratio: 1.5,
    };
    let expected = CanaryConf { policy: "new".into(), percent: 5.0, rails, promote_after: None };
    assert_eq!(conf.upstreams["eth"].canary, Some(expected));
}

#[test]
fn a_canary_is_another_declared_policy_and_its_rails_are_in_range() {
    for (keys, key, expected) in [
        ("canary = { policy = «'nwe' }", "canary.policy", "isn't in [policies]; did you mean \"new\"?"),
        ("canary = { policy = «'native' }", "canary.policy", "must be a declared policy; the built-in one can't be a"),
        (
            "scoring = 'new'\ncanary = { policy = «'new' }",
            "canary.policy",
            "is the upstream's scoring policy; a canary",
        ),
        ("retry = 'new'\ncanary = { policy = «'new' }", "canary.policy", "is the upstream's retry policy; a canary"),
        ("canary = «{ percent = 5 }", "canary.policy", "is missing; add policy = \"NAME\""),
        ("canary = «'new'", "canary", "must be a table, not a string"),
        ("canary = { policy = 'new', percent = «0 }", "canary.percent", "must be above 0 and at most 50"),
        ("canary = { policy = 'new', percent = «51 }", "canary.percent", "must be above 0 and at most 50"),
        ("canary = { policy = 'new', percent = «nan }", "canary.percent", "must be above 0 and at most 50"),
        ("canary = { policy = 'new', min_requests = «19 }", "canary.min_requests", "must be at least 20"),
        ("canary = { policy = 'new', max_faults = «-1 }", "canary.max_faults", "must be at least 0"),
        (
            "canary = { policy = 'new', max_error_rate_increase = «1.1 }",
            "canary.max_error_rate_increase",
            "must be a number from 0 to 1",
        ),
        (
            "canary = { policy = 'new', max_attempts_increase = «nan }",
            "canary.max_attempts_increase",
            "must be a number from 0 to 16",
        ),
        (
            "canary = { policy = 'new', max_p99_ratio = «0.9 }",
            "canary.max_p99_ratio",
            "must be a number from 1 to 1000",
        ),
        ("canary = { policy = 'new', promote_after = «'0s' }", "canary.promote_after", "must be at least 1ms"),
        (
            "canary = { policy = 'new', «percents = 5 }",
            "canary.percents",
            "isn't a known key; did you mean \"percent\"?",
        ),
    ] {
        assert_problems(&beside_policies(keys), &[&format!("upstreams.eth.{key}: {expected}")]);
    }
}

#[test]
fn an_upstream_needs_a_name_and_an_endpoint_that_serves() {
    assert_problems("«", &["upstreams: must hold at least one upstream"]);
    assert_problems(
        "«[upstreams.eth]\nmax_attempts = 1",
        &["upstreams.eth.endpoints: must hold at least one endpoint"],
    );
    assert_problems("[upstreams.«Main]\nendpoints = [{ url = 'http://h' }]", &["upstreams.Main: isn't a name"]);
    assert_problems("[upstreams.«'']\nendpoints = [{ url = 'http://h' }]", &["upstreams.\"…\": isn't a name"]);
    assert_problems(
        "[[upstreams.e.endpoints]]\nurl = 'http://a'\nweight = «0\n[[upstreams.e.endpoints]]\nurl = 'http://b'\nweight = 0",
        &["upstreams.e.endpoints: are all of weight 0"],
    );
    let long = "u".repeat(65);
    assert_eq!(refused(&format!("[upstreams.{long}]\nendpoints = [{{ url = 'http://h' }}]")).len(), 1);
}

#[test]
fn endpoint_keys_are_checked() {
    for (keys, expected) in [
        ("name = «''", "name: must be 1 to 64 characters"),
        ("name = «'a b'", "name: must be 1 to 64 characters"),
        ("name = «'a\"b'", "name: must be 1 to 64 characters"),
        ("name = «\"a\\u0007b\"", "name: must be 1 to 64 characters"),
        ("name = «'http://h'", "name: must not be a URL"),
        ("weight = «-1", "weight: must be at least 0"),
        ("weight = «65536", "weight: must be at most 65535"),
        ("rate_limit_per_sec = «0", "rate_limit_per_sec: must be at least 1"),
        ("rate_limit_per_sec = «1000001", "rate_limit_per_sec: must be at most 1000000"),
        ("rate_limit_per_sec = 1\nburst_size = «0", "burst_size: must be at least 1"),
        ("burst_size = «5", "burst_size: needs rate_limit_per_sec"),
        ("max_batch_size = «0", "max_batch_size: must be at least 1"),
        ("max_batch_size = «10001", "max_batch_size: must be at most 10000"),
        ("max_block_range = «0", "max_block_range: must be at least 1"),
        ("tags = ['a', «'a']", "tags[1]: is there twice"),
        ("tags = [«'a b']", "tags[0]: must be 1 to 64 characters"),
        ("price = «-0.1", "price: must be a number from 0 up"),
        ("price = «inf", "price: must be a number from 0 up"),
        ("headers = { «'a b' = 'x' }", "headers.\"…\": isn't the name of a header"),
        ("headers = { «Host = 'x' }", "headers.Host: is a header that the proxy writes itself"),
        ("headers = { «content-length = '1' }", "headers.content-length: is a header that the proxy writes itself"),
        ("headers = { X-A = 'x', «x-a = 'y' }", "headers.x-a: is there twice"),
        ("headers = { x-a = «'' }", "headers.x-a: must not be empty"),
        ("headers = { x-a = «\"a\\nb\" }", "headers.x-a: must be printable ASCII"),
    ] {
        assert_problems(&format!("{MINIMAL}{keys}"), &[&format!("upstreams.eth.endpoints[0].{expected}")]);
    }
}

#[test]
fn urls_are_checked() {
    for (url, expected) in [
        ("", "must not be empty"),
        ("example.com", "must be a URL"),
        ("http://", "must be a URL"),
        ("wss://h", "must begin with http:// or https://"),
        ("ftp://h", "must begin with http:// or https://"),
        (" http://h", "must not contain spaces"),
        ("http://h/#part", "must not have a part after #"),
        ("http://h:0", "must not have port 0"),
        ("http://h:99999", "must be a URL"),
        ("http://a%3Ab:c@h", "must have a user without a colon"),
        ("http://a:%ff@h", "must have a user without a colon"),
    ] {
        let conf = format!("[[upstreams.eth.endpoints]]\nurl = «'{url}'");
        assert_problems(&conf, &[&format!("upstreams.eth.endpoints[0].url: {expected}")]);
    }
    let long = format!("http://h/{}", "p".repeat(8 << 10));
    assert_problems(
        &format!("[[upstreams.e.endpoints]]\nurl = «'{long}'"),
        &["upstreams.e.endpoints[0].url: must be at most 8 KiB"],
    );
    assert_problems("«[[upstreams.e.endpoints]]\nweight = 1", &["upstreams.e.endpoints[0].url: is missing"]);
    assert_problems(
        "[[upstreams.e.endpoints]]\nurl = 'http://u:p@h'\nheaders = { «Authorization = 'x' }",
        &["upstreams.e.endpoints[0].headers.Authorization: contradicts the user in the url"],
    );
}

#[test]
fn endpoints_of_an_upstream_must_differ() {
    assert_problems(
        "[[upstreams.e.endpoints]]\nurl = 'http://h'\nname = 'a'\n[[upstreams.e.endpoints]]\nurl = «'HTTP://H:80/'\nname = «'a'",
        &[
            "upstreams.e.endpoints[1].url: is the same URL as that of endpoints[0]",
            "upstreams.e.endpoints[1].name: is the same name as that of endpoints[0]",
        ],
    );
    assert_problems(
        "[[upstreams.e.endpoints]]\nurl = 'http://a'\nname = '002_b'\n[[upstreams.e.endpoints]]\nurl = «'http://b'",
        &["upstreams.e.endpoints[1].name: is the same name as that of endpoints[0]"],
    );
    // Another upstream may have the same endpoint.
    let two = "[[upstreams.a.endpoints]]\nurl = 'http://h'\n[[upstreams.b.endpoints]]\nurl = 'http://h'\n";
    assert!(read(&format!("{two}[[routes]]\npath_prefix = '/'\nupstream = 'a'")).is_ok());
}

#[test]
fn an_upstream_has_at_most_64_different_tags() {
    let tags = |from: usize, to: usize| (from..to).map(|tag| format!("'t{tag}', ")).collect::<String>();
    let conf = |last: &str| {
        let first = format!("[[upstreams.e.endpoints]]\nurl = 'http://a'\ntags = [{}]\n", tags(0, 60));
        format!("{first}[[upstreams.e.endpoints]]\nurl = 'http://b'\ntags = [{}{last}]\n", tags(50, 64))
    };
    assert!(read(&conf("")).is_ok());
    assert_problems(&conf("«'one-more', 'and-more'"), &["upstreams.e.endpoints[1].tags[14]: is one tag too many"]);
}

#[test]
fn tls_to_endpoints_is_checked() {
    let upstream = |tls: &str| format!("[upstreams.e]\ntls = {tls}\nendpoints = [{{ url = 'https://h' }}]");
    for (tls, expected) in [
        ("{ server_name = «'' }", "server_name: must be a host name or an IP address"),
        ("{ server_name = «'*.example.com' }", "server_name: must be a host name or an IP address"),
        ("{ server_name = «'a b' }", "server_name: must be a host name or an IP address"),
        ("{ ca = «'' }", "ca: must be the path of a file"),
        ("{ certificate = «{ chain = 'a' } }", "certificate.key: is missing"),
        ("{ «verify = false }", "verify: isn't a known key"),
    ] {
        assert_problems(&upstream(tls), &[&format!("upstreams.e.tls.{expected}")]);
    }
    let conf =
        read(&upstream("{ ca = 'a', server_name = '10.0.0.1', certificate = { chain = 'b', key = 'c' } }")).unwrap();
    let tls = &conf.upstreams["e"].tls;
    assert_eq!((tls.ca.as_deref(), tls.server_name.as_deref()), (Some(Path::new("conf/a")), Some("10.0.0.1")));
    assert_eq!(tls.certificate.as_ref().map(|files| &*files.key), Some(Path::new("conf/c")));
}
