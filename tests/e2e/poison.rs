//! One client's requests must not affect the pool for others. Penalties need evidence beyond the
//! request itself.

use std::thread::scope;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use crate::support::{Answer, Conf, Origin, Proxy, Request, json, wait_until};

/// A method that endpoints answer with `poisoned`; all others they answer well.
const POISON: &str = "debug_traceCall";
/// A retry budget that no test exhausts.
const PLENTY: &str = "{ share = 10, floor_per_sec = 1000 }";
/// The proxy's minimum duration of the strikes before a method ban.
const STRIKE_TIME: Duration = Duration::from_secs(1);

fn pool(poisoned: Answer) -> Vec<Origin> {
    let script = move |request: &Request| match request.method() == POISON {
        true => poisoned.clone(),
        false => Answer::result("0x7"),
    };
    ["a", "b", "c"].into_iter().map(|name| Origin::scripted(name, script.clone())).collect()
}

fn probed(origins: &[Origin]) -> Conf {
    Conf::of(origins).with_shipped_policies().health("interval", "'60s'")
}

fn poisons() -> Vec<Answer> {
    let quoted = |words: &str| Answer::rpc_error(-32603, &format!("tracer: unexpected token in a {words} b"));
    let mut poisons: Vec<Answer> = [400, 401, 402, 403, 404, 413, 431, 500, 503].map(Answer::status).into();
    poisons.extend([-32000, -32003, -32004, -32005, -32603, -32700].map(|code| Answer::rpc_error(code, "no")));
    poisons.extend(["monthly capacity", "invalid api key", "rate limit"].map(quoted));
    poisons.extend([Answer::reset(), Answer::close(), Answer::body("<html>"), Answer::status(200)]);
    poisons
}

fn excluded(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let endpoints = status["upstreams"]["main"]["endpoints"].as_array().unwrap().clone();
    let name = |endpoint: &Value| format!("{} {}", endpoint["name"], endpoint["excluded"]);
    endpoints.iter().filter(|endpoint| endpoint["available"] == false).map(name).collect()
}

/// Pools that are tested concurrently: the number of proxies that a small machine can start.
const TOGETHER: usize = 4;

/// Random poison and a client with other requests: no endpoint is excluded, no method is banned,
/// and all requests are answered.
#[test]
fn no_request_excludes_an_endpoint_that_a_probe_finds_good() {
    let poisons: Vec<(usize, Answer)> = poisons().into_iter().enumerate().collect();
    for some in poisons.chunks(TOGETHER) {
        scope(|scope| {
            for (number, poison) in some {
                scope.spawn(|| expect_no_exclusion(*number, poison.clone()));
            }
        });
    }
}

fn expect_no_exclusion(number: usize, poison: Answer) {
    let origins = pool(poison);
    let proxy = Proxy::start(&probed(&origins));
    wait_until("probed", || origins.iter().all(|origin| origin.hits() > 0));
    let mut rng = Rng::with_seed(number as u64);
    for _ in 0..60 {
        let method = if rng.bool() { POISON } else { "eth_getBalance" };
        let response = proxy.post(json::request("1", method));
        assert!(method == POISON || response.status == 200, "poison {number}: {}", response.text());
        assert_eq!(excluded(&proxy), Vec::<String>::new(), "poison {number}");
    }
    assert_eq!(proxy.admin("GET", "/health").json()["status"], "ok", "poison {number}");
}

/// One client's slow requests exclude an endpoint until its next probe, not longer.
#[test]
fn requests_that_hang_everywhere_cool_no_endpoint_that_answers_probes() {
    let origins = pool(Answer::hang());
    let proxy = Proxy::start(&probed(&origins).client("timeout", "'1s'").set("deadline", "'4s'"));
    wait_until("probed", || origins.iter().all(|origin| origin.hits() > 0));
    scope(|scope| {
        let slow: Vec<_> = (0..6).map(|_| scope.spawn(|| proxy.post(json::request("1", POISON)).status)).collect();
        while slow.iter().any(|request| !request.is_finished()) {
            assert_eq!(["a", "b", "c"].map(|name| proxy.cooldown(name)), [0.0; 3]);
            assert_eq!(proxy.post(json::request("1", "eth_getBalance")).status, 200);
        }
        assert!(slow.into_iter().all(|request| request.join().unwrap() == 504));
    });
    assert_eq!(["a", "b", "c"].map(|name| proxy.cooldown(name)), [0.0; 3]);
}

/// Without probes, an error of a request that no other endpoint got causes at most a backoff.
#[test]
fn without_probes_one_request_excludes_nobody_for_long() {
    let origins = pool(Answer::result("0x7"));
    let proxy = Proxy::start(&Conf::of(&origins).with_shipped_policies());
    // An unknown method is a write, which isn't sent twice.
    origins.iter().for_each(|origin| origin.answer(Answer::status(402)));
    for _ in 0..3 {
        assert_eq!(proxy.post(json::request("1", "foo_bar")).status, 502);
    }
    for name in ["a", "b", "c"] {
        let cooling = proxy.cooldown(name);
        assert!(cooling <= 60.0, "{name}: {cooling} s");
    }
}

/// Evidence beyond the request excludes the endpoint: the probe fails, too.
#[test]
fn an_endpoint_whose_probe_fails_too_cools_at_once() {
    for answer in [Answer::status(503), Answer::rpc_error(-32603, "no"), Answer::reset(), Answer::status(401)] {
        let origins = [Origin::start("bad"), Origin::start("good")];
        origins.iter().for_each(|origin| origin.answer(Answer::result("0x7")));
        let proxy = Proxy::start(&probed(&origins));
        wait_until("probed", || origins.iter().all(|origin| origin.hits() > 0));
        origins[0].answer(answer);
        assert_eq!(proxy.post(json::READ).result(), "0x7");
        wait_until("it cools", || proxy.cooldown("bad") > 0.0);
    }
}

/// A method that only one endpoint fails goes elsewhere after a while; other methods stay.
#[test]
fn a_method_that_another_endpoint_answers_is_banned_after_three_strikes() {
    let origins = pool(Answer::rpc_error(-32004, "not supported"));
    origins[1].answer(Answer::result("0x7"));
    let proxy = Proxy::start(&probed(&origins).set("retry_budget", PLENTY));
    let banned = || proxy.endpoint("a")["banned_methods"].as_array().map_or(0, Vec::len);
    assert_eq!(proxy.post(json::request("1", POISON)).result(), "0x7");
    assert_eq!(banned(), 0, "one is no chance");
    wait_until("banned", || {
        assert_eq!(proxy.post(json::request("1", POISON)).result(), "0x7");
        banned() == 1
    });
    assert_eq!(proxy.endpoint("a")["available"], true);
}

/// Runs longer than the strikes of a method ban.
#[test]
fn a_method_that_works_in_between_is_never_banned() {
    let origins = pool(Answer::result("0x7"));
    let flaky = |request: &Request| match request.number.is_multiple_of(3) {
        true => Answer::result("0x7"),
        false => Answer::rpc_error(-32004, "not supported"),
    };
    origins[0].script(flaky);
    let proxy = Proxy::start(&Conf::of(&origins).with_shipped_policies().set("retry_budget", PLENTY));
    let began = Instant::now();
    wait_until("three times as long as strikes take", || {
        assert_eq!(proxy.post(json::READ).result(), "0x7");
        began.elapsed() > 3 * STRIKE_TIME
    });
    assert!(origins[0].hits() > 9, "strikes were seen");
    assert_eq!(proxy.endpoint("a")["banned_methods"].as_array().map_or(0, Vec::len), 0);
}

/// With probes, the probes are the evidence, not another endpoint's occasional answers.
#[test]
fn what_another_endpoint_answers_now_and_then_excludes_nobody_whose_probe_is_good() {
    let origins = pool(Answer::status(503));
    origins[1].answer(Answer::result("0x7"));
    let proxy = Proxy::start(&probed(&origins).set("retry_budget", PLENTY));
    wait_until("probed", || origins.iter().all(|origin| origin.hits() > 0));
    for _ in 0..20 {
        for _ in 0..6 {
            assert_eq!(proxy.post(json::READ).result(), "0x7");
        }
        assert_eq!(proxy.post(json::request("1", POISON)).result(), "0x7");
        assert_eq!(excluded(&proxy), Vec::<String>::new());
    }
    assert!(origins[0].requests().iter().any(|request| request.method() == POISON));
}

/// Without probes, another endpoint's answer is the evidence; a request that all fail has none.
#[test]
fn without_probes_a_request_that_fails_everywhere_excludes_nobody() {
    let origins = pool(Answer::status(503));
    let proxy = Proxy::start(&Conf::of(&origins).with_shipped_policies().set("retry_budget", PLENTY));
    for _ in 0..5 {
        assert_eq!(proxy.post(json::request("1", POISON)).status, 502);
        assert_eq!(excluded(&proxy), Vec::<String>::new());
    }
    assert!(origins.iter().all(|origin| origin.hits() == 5), "each was asked each time");
}
