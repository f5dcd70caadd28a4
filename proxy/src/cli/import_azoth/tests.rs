//! Tests of the importer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on must fail")]

use std::time::Duration;

use super::*;
use crate::config::{Config, ProbeKind};

const FIXTURE: &str = include_str!("../../../../tests/fixtures/azoth-balancer.toml");

fn loaded(imported: &Imported) -> Config {
    config::parse(&imported.conf, Path::new("imported.toml"), &|_| None).unwrap()
}

#[test]
fn every_key_is_carried_over() {
    let imported = convert(FIXTURE).unwrap();
    let config = loaded(&imported);
    assert_eq!(config.server.listen, ["0.0.0.0:8549".parse().unwrap()]);
    assert_eq!(config.policies["tiers"].plugin, "tiers");
    assert_eq!(config.policies["json-rpc-retry"].plugin, "json-rpc-retry");
    let upstream = &config.upstreams["ethereum"];
    assert_eq!((upstream.scoring.as_deref(), upstream.retry.as_deref()), (Some("tiers"), Some("json-rpc-retry")));
    assert_eq!((upstream.max_batch_size, upstream.max_concurrency), (200, 150));
    assert_eq!(upstream.latency_smoothing_factor, 0.2);
    assert_eq!(upstream.client.connect_timeout, Duration::from_millis(300));
    assert_eq!(upstream.client.timeout, Duration::from_secs(4));
    assert_eq!(upstream.client.pool_idle_timeout, Duration::from_secs(25));
    assert_eq!(upstream.client.pool_max_idle_per_host, 80);
    assert_eq!((upstream.cooldown.base, upstream.cooldown.max), (Duration::from_secs(2), Duration::from_secs(45)));
    let health_check = upstream.health_check.as_ref().unwrap();
    assert_eq!((health_check.interval, health_check.timeout), (Duration::from_secs(12), Duration::from_secs(3)));
    assert_eq!(health_check.probe, ProbeKind::Method("eth_blockNumber".to_owned()));
    let endpoints: Vec<_> = upstream
        .endpoints
        .iter()
        .map(|endpoint| {
            let limit = endpoint.rate_limit.unwrap();
            let url = endpoint.url.canonical();
            (url, endpoint.name.as_str(), endpoint.weight, limit.per_sec.get(), limit.burst.get())
        })
        .collect();
    let expected = [
        ("http://127.0.0.1:8547/", "001_127.0.0.1", 100, 10_000, 10_000),
        ("https://paid.example.com/v1/not-a-real-key", "paid", 60, 200, 300),
        ("https://public.example.org/", "003_public.example.org", 20, 20, 25),
    ];
    assert_eq!(endpoints, expected);
}

#[test]
fn what_cannot_be_carried_over_is_said() {
    let imported = convert(FIXTURE).unwrap();
    let expected = [
        "status, health, reload and metrics are no longer on the port for requests, but on 127.0.0.1:8550",
        "deadline is new: a request now ends after 10s, all of its attempts together",
    ];
    assert_eq!(imported.notes, expected);
}

#[test]
fn what_the_old_conf_left_out_gets_its_default() {
    let imported = convert("[[balancer.endpoints]]\nurl = 'http://h'\nrate_limit_per_sec = 1\n").unwrap();
    let config = loaded(&imported);
    assert_eq!(config.server.listen, ["0.0.0.0:8549".parse().unwrap()]);
    assert_eq!(config.upstreams["ethereum"].max_concurrency, 50);
    assert!(imported.notes[0].starts_with("server.bind_addr was not set"), "{:?}", imported.notes);
}

#[test]
fn every_change_and_unknown_key_is_noted() {
    let imported = convert(
        "top = 1\n[server]\nbind_addr = '127.0.0.1:8550'\nworkers = 2\n\
         [balancer]\nlatency_smoothing_factor = 3\nbase_cooldown_secs = 9\nmax_cooldown_secs = 8\ntimeout_secs = 20\n\
         'https://h/s3cr3t' = 1\n\
         [[balancer.endpoints]]\nurl = ' HTTP://h/s3cr3t/ '\nrate_limit_per_sec = 1\nweight = 70000\ncolor = 1\n\
         [[balancer.endpoints]]\nurl = 'http://h/s3cr3t'\nrate_limit_per_sec = 1\n",
    )
    .unwrap();
    let expected = [
        "status, health, reload and metrics are no longer on the port for requests, but on 127.0.0.1:8551",
        "balancer.base_cooldown_secs was above max_cooldown_secs; it is written as 8s",
        "deadline is new: a request now ends after 20s, all of its attempts together",
        "balancer.latency_smoothing_factor must be above 0 and at most 1; it is written as 1.0",
        "balancer.endpoints[0].weight was above 65535, which it is written as",
        "balancer.endpoints[0].color is left out: azoth-balancer has no such key that we know",
        "balancer.endpoints[1] has the URL of endpoints[0] and is left out",
        "top is left out: azoth-balancer has no such key that we know",
        "server.workers is left out: azoth-balancer has no such key that we know",
        "balancer.\"…\" is left out: azoth-balancer has no such key that we know",
    ];
    assert_eq!(imported.notes, expected);
    let config = loaded(&imported);
    assert_eq!(config.admin.listen, "127.0.0.1:8551".parse().unwrap());
    assert_eq!(config.upstreams["ethereum"].endpoints.len(), 1);
    assert_eq!(config.upstreams["ethereum"].endpoints[0].url.canonical(), "http://h/s3cr3t");
}

#[test]
fn text_is_quoted_as_toml() {
    let text = "[[balancer.endpoints]]\nurl = \"http://h/a'b\\\\c\"\nname = 'é#\\n'\nrate_limit_per_sec = 1\n";
    let config = loaded(&convert(text).unwrap());
    let endpoint = &config.upstreams["ethereum"].endpoints[0];
    assert_eq!((endpoint.url.path_and_query(), endpoint.name.as_str()), ("/a'b/c", "é#\\n"));
}

#[test]
fn what_is_wrong_is_named_without_the_url() {
    let endpoint = |keys: &str| format!("[[balancer.endpoints]]\nurl = 'http://h/s3cr3t'\n{keys}");
    for (text, expected) in [
        ("[server]\nbind_addr = https://h/s3cr3t".to_owned(), "line 2: isn't TOML: string values must be quoted"),
        ("server = 's3cr3t'".to_owned(), "server: must be a table"),
        ("[server]\nbind_addr = 's3cr3t'".to_owned(), "server.bind_addr: must be an IP address and a port"),
        ("[server]".to_owned(), "balancer.endpoints: is empty"),
        ("balancer.endpoints = []".to_owned(), "balancer.endpoints: is empty"),
        ("balancer.endpoints = 's3cr3t'".to_owned(), "balancer.endpoints: must be an array"),
        ("balancer.endpoints = ['s3cr3t']".to_owned(), "balancer.endpoints[0]: must be a table"),
        ("[balancer]\ntimeout_secs = 0".to_owned(), "balancer.timeout_secs: must be from 1 to 86400"),
        ("[balancer]\ntimeout_secs = 's3cr3t'".to_owned(), "balancer.timeout_secs: must be a whole number"),
        ("[balancer]\nlatency_smoothing_factor = 's3cr3t'".to_owned(), "balancer.latency_smoothing_factor: must be a"),
        ("[[balancer.endpoints]]\nrate_limit_per_sec = 1".to_owned(), "balancer.endpoints[0].url: is missing"),
        ("[[balancer.endpoints]]\nurl = 's3cr3t'".to_owned(), "balancer.endpoints[0].url: must be a URL"),
        ("[[balancer.endpoints]]\nurl = 'env:s3cr3t'".to_owned(), "balancer.endpoints[0].url: must begin with http://"),
        (endpoint(""), "balancer.endpoints[0].rate_limit_per_sec: is missing"),
        (endpoint("rate_limit_per_sec = 0"), "balancer.endpoints[0].rate_limit_per_sec: must be from 1 to 1000000"),
        (endpoint("rate_limit_per_sec = 1\nweight = 's3cr3t'"), "balancer.endpoints[0].weight: must be a whole number"),
        (
            endpoint("rate_limit_per_sec = 1\nname = 's3cr3t s3cr3t'"),
            "the conf can't be carried over: imported.toml:47:8: upstreams.ethereum.endpoints[0].name: must be 1 to 64",
        ),
    ] {
        let Err(error) = convert(&text) else { panic!("accepted: {text}") };
        assert!(error.to_string().starts_with(expected), "{error}\nexpected {expected}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }
}
