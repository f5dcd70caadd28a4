//! Endpoints that accept requests and never answer, and their recovery after a cooldown.

use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::support::{Answer, Conf, Origin, Proxy, json, wait_until};

const RATE: u32 = 40;

/// The latencies of `count` reads at [`RATE`], each by its own client. All must be answered.
fn reads(proxy: &Proxy, count: u32) -> Vec<Duration> {
    let latencies = Mutex::new(Vec::new());
    let began = Instant::now();
    scope(|scope| {
        for n in 0..count {
            sleep((began + Duration::from_secs(1) * n / RATE).saturating_duration_since(Instant::now()));
            scope.spawn(|| {
                let began = Instant::now();
                let response = proxy.post(json::READ);
                latencies.lock().unwrap().push(began.elapsed());
                assert_eq!(response.status, 200, "{}", response.text());
            });
        }
    });
    latencies.into_inner().unwrap()
}

fn shipped(origins: &[Origin]) -> Conf {
    Conf::of(origins).with_shipped_policies()
}

/// The defaults of a conf.
fn defaults(conf: Conf) -> Conf {
    let conf = conf.cooldown("base", "'3s'").cooldown("jitter", "1.0");
    conf.client("timeout", "'5s'").client("connect_timeout", "'500ms'").set("deadline", "'10s'")
}

fn hanging(count: usize) -> Vec<Origin> {
    let names = ["heaviest", "second", "lightest"];
    let answer = |n| if n < count { Answer::hang() } else { Answer::result("good").after(Duration::from_millis(5)) };
    names.into_iter().enumerate().map(|(n, name)| Origin::always(name, answer(n))).collect()
}

/// No read waits for the timeout, for any policy and number of hanging endpoints, with and without
/// probes.
#[test]
fn reads_are_answered_while_the_heaviest_endpoints_hang() {
    let conf: [fn(&[Origin]) -> Conf; 3] = [
        shipped,
        |origins| Conf::of(origins),
        |origins| shipped(origins).health("interval", "'60s'").health("method", "'eth_chainId'"),
    ];
    scope(|scope| {
        for (number, conf) in conf.into_iter().enumerate() {
            for count in [1, 2] {
                scope.spawn(move || {
                    let origins = hanging(count);
                    let proxy = Proxy::start(&defaults(conf(&origins)));
                    let mut latencies = reads(&proxy, 200);
                    latencies.sort_unstable();
                    let late = latencies.iter().filter(|latency| **latency > Duration::from_secs(2)).count();
                    // The timeout is 5 s: earlier answers come from another endpoint.
                    assert_eq!(late, 0, "conf {number}, {count} hang: {latencies:?}");
                });
            }
        }
    });
}

#[test]
fn an_endpoint_that_hangs_is_excluded_before_its_first_timeout() {
    let origins = hanging(1);
    let proxy = Proxy::start(&shipped(&origins).client("timeout", "'60s'").set("deadline", "'60s'"));
    reads(&proxy, 40);
    let endpoint = proxy.endpoint("heaviest");
    assert!(endpoint["cooldown_seconds"].as_f64() > Some(0.0), "{endpoint}");
    assert!(origins[0].hits() < 30, "{} of 40 requests went there", origins[0].hits());
}

/// Three endpoints with probes, the heaviest of which answers every second read with `fault`.
fn every_second(fault: &Answer) -> (Vec<Origin>, Proxy) {
    let origins = hanging(0);
    let fault = fault.clone();
    origins[0].script(move |request| match request.method().as_str() {
        "eth_chainId" => Answer::result("0x1"),
        _ if request.number.is_multiple_of(2) => fault.clone(),
        _ => Answer::result("good"),
    });
    let conf = defaults(shipped(&origins)).cooldown("jitter", "0.0");
    let proxy = Proxy::start(&conf.health("interval", "'60s'").health("method", "'eth_chainId'"));
    (origins, proxy)
}

/// Its probes and its other answers are good, but the retry budget must not pay for its failures.
#[test]
fn an_endpoint_that_fails_every_second_read_is_left_out() {
    for fault in [Answer::status(500), Answer::rpc_error(-32603, "database"), Answer::reset(), Answer::body("{}")] {
        let (origins, proxy) = every_second(&fault);
        for _ in 0..100 {
            assert_eq!(proxy.post(json::READ).result(), "good");
        }
        assert!(proxy.cooldown("heaviest") > 0.0, "{fault:?}");
        assert!(origins[0].hits() < 40, "{fault:?}: {} of 100 requests went there", origins[0].hits());
    }
}

#[test]
fn an_endpoint_that_hangs_on_every_second_read_is_left_out() {
    let (origins, proxy) = every_second(&Answer::hang());
    let late = reads(&proxy, 200).into_iter().filter(|latency| *latency > Duration::from_secs(2)).count();
    assert!(late <= 5, "{late} of 200 took more than 2 s");
    assert!(proxy.metrics().sum("endpoint_cooldowns_total", &[("endpoint", "heaviest")]) > 0.0);
    assert!(origins[0].hits() < 150, "{} of 200 requests went there", origins[0].hits());
}

/// After a cooldown one request goes there at a time, and none of them waits for the endpoint's
/// timeout.
#[test]
fn a_half_open_endpoint_is_tried_by_one_request_at_a_time() {
    let origins = [Origin::always("first", Answer::status(500)), Origin::start("second")];
    let conf = shipped(&origins).cooldown("base", "'100ms'").cooldown("max", "'200ms'").client("timeout", "'60s'");
    let proxy = Proxy::start(&conf.set("deadline", "'60s'"));
    // Enough for the policy's hedge delay, which is far shorter than the limit for a silent
    // endpoint.
    for _ in 0..20 {
        assert_eq!(proxy.post(json::READ).result(), "second");
    }
    assert!(proxy.cooldown("first") > 0.0);
    origins[0].answer(Answer::hang());
    wait_until("its cooldown is over", || proxy.cooldown("first") == 0.0);
    assert_eq!(proxy.endpoint("first")["excluded"], "half-open: one request or probe at a time tries it");
    let before = origins[0].hits();
    let began = Instant::now();
    scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(proxy.post(json::READ).result(), "second"));
        }
    });
    assert!(began.elapsed() < Duration::from_secs(30), "none waited for the timeout");
    assert_eq!(origins[0].hits() - before, 1);
    // A half-open attempt that loses to its hedge starts the next cooldown.
    assert!(proxy.metrics().sum("endpoint_cooldowns_total", &[("endpoint", "first")]) >= 2.0);
}

/// A request that the proxy sent to a half-open endpoint can always go to another one.
#[test]
fn the_retry_of_a_trial_costs_no_budget() {
    let origins = [Origin::always("first", Answer::status(500)), Origin::start("second")];
    let conf = shipped(&origins).cooldown("base", "'100ms'").cooldown("max", "'200ms'");
    let proxy = Proxy::start(&conf.set("retry_budget", "{ share = 0, floor_per_sec = 0 }"));
    assert_eq!(proxy.post(json::READ).status, 502, "there is no budget");
    let half_open = "half-open: one request or probe at a time tries it";
    wait_until("its cooldown is over", || proxy.endpoint("first")["excluded"] == half_open);
    assert_eq!(proxy.post(json::READ).result(), "second");
    assert_eq!((origins[0].hits(), proxy.metrics().sum("retry_budget_excused_total", &[])), (2, 1.0));
}

#[test]
fn traffic_returns_by_a_ramp() {
    let origins = [Origin::always("first", Answer::status(500)), Origin::start("second")];
    let proxy = Proxy::start(&shipped(&origins).cooldown("base", "'4s'").cooldown("max", "'8s'"));
    assert_eq!(proxy.post(json::READ).result(), "second");
    origins[0].answer(Answer::result("first"));
    wait_until("the trial succeeds", || proxy.post(json::READ).result() == "first");
    let firsts = (0..100).filter(|_| proxy.post(json::READ).result() == "first").count();
    assert!((1..60).contains(&firsts), "{firsts} of 100 at the beginning");
    wait_until("all of it is back", || (0..20).all(|_| proxy.post(json::READ).result() == "first"));
}

/// With health checks a probe goes first: no request waits for a hanging endpoint.
#[test]
fn a_probe_tries_a_half_open_endpoint_before_any_request() {
    let first = Origin::scripted("first", |request| match request.method().as_str() {
        "eth_chainId" => Answer::result("0x1"),
        _ => Answer::status(429),
    });
    let origins = [first, Origin::start("second")];
    let conf = shipped(&origins).cooldown("base", "'300ms'").cooldown("max", "'300ms'");
    let proxy = Proxy::start(&conf.health("interval", "'60s'").health("method", "'eth_chainId'"));
    wait_until("both are probed", || origins.iter().all(|origin| origin.hits() > 0));
    assert_eq!(proxy.post(json::READ).result(), "second");
    let before = origins[0].hits();
    wait_until("it is asked again", || {
        assert_eq!(proxy.post(json::READ).result(), "second");
        origins[0].hits() > before
    });
    assert_eq!(origins[0].requests()[before].method(), "eth_chainId", "a probe comes before any request");
    wait_until("it is on its ramp", || proxy.endpoint("first")["excluded"].is_null());
}
