//! `explain`: the endpoint of the next request, and the reasons against the others.

use serde_json::{Value, json as value};

use crate::support::{Answer, Conf, Endpoint, Origin, Proxy, json, wait_until};

#[track_caller]
fn explain(proxy: &Proxy, query: &str) -> Value {
    let response = proxy.admin("GET", &format!("/explain{query}"));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// The admin address's error for an invalid query.
#[track_caller]
fn refused(proxy: &Proxy, query: &str) -> String {
    let response = proxy.admin("GET", &format!("/explain{query}"));
    assert_eq!(response.status, 400, "{query}: {}", response.text());
    response.json()["error"].as_str().expect("a text").to_owned()
}

fn excluded(explanation: &Value) -> Vec<Value> {
    explanation["endpoints"].as_array().expect("a list").iter().map(|e| e["excluded"].clone()).collect()
}

#[test]
fn each_endpoint_is_shown_with_its_score_and_what_it_follows_from() {
    let (first, second) = (Origin::start("first"), Origin::start("second"));
    let conf = Conf::of([&first, &second]).endpoint(1, |endpoint| endpoint.set("price", "0.5"));
    let proxy = Proxy::start(&conf.with_shipped_policies());
    proxy.post(json::READ);
    let explanation = explain(&proxy, "");
    assert_eq!(explanation["upstream"], "main");
    assert_eq!((&explanation["scoring"], &explanation["generation"]), (&value!("tiers"), &value!(1)));
    assert_eq!((&explanation["first"], &explanation["panic"]), (&value!("first"), &value!(false)));
    let request = value!({ "method": "eth_blockNumber", "batch": 1, "write": false, "idempotent": false });
    assert_eq!(explanation["request"], request);

    let [one, two] = [&explanation["endpoints"][0], &explanation["endpoints"][1]];
    assert_eq!((&one["name"], &two["name"]), (&value!("first"), &value!("second")));
    assert!(one["score"].as_f64() > two["score"].as_f64(), "{explanation:#}");
    let input = |endpoint: &Value, name: &str| endpoint["inputs"][name].clone();
    assert_eq!((input(one, "weight"), input(two, "weight")), (value!(100), value!(90)));
    assert!(input(one, "latency_ms").as_f64() > Some(0.0) && input(one, "idle_ms").is_number(), "{explanation:#}");
    assert_eq!((input(one, "success_rate"), input(two, "price")), (value!(1.0), value!(0.5)));
    assert_eq!(input(one, "head_lag_blocks"), value!(null), "what isn't known is absent");

    let write = explain(&proxy, "?method=eth_sendRawTransaction&batch=3&upstream=main")["request"].clone();
    let expected = value!({ "method": "eth_sendRawTransaction", "batch": 3, "write": true, "idempotent": true });
    assert_eq!(write, expected);
    assert_eq!((first.hits(), second.hits()), (1, 0), "nobody is asked");
}

#[test]
fn it_is_told_why_an_endpoint_is_left_out() {
    let [off, broken, lacking, good] = ["off", "broken", "lacking", "good"].map(Origin::start);
    broken.answer(Answer::status(503));
    lacking.answer(Answer::rpc_error(-32601, "the method does not exist"));
    let conf = Conf::of([&off, &broken, &lacking, &good]).endpoint(0, |endpoint| endpoint.weight(0));
    let proxy = Proxy::start(&conf.with_shipped_policies());
    assert_eq!(proxy.post(json::READ).result(), "good");

    let explanation = explain(&proxy, "?method=eth_blockNumber");
    assert_eq!(
        excluded(&explanation),
        [value!("weight 0"), value!("cooling"), value!("method not supported"), value!(null)]
    );
    assert_eq!((&explanation["first"], &explanation["panic"]), (&value!("good"), &value!(false)));
    let flags = |n: usize| ["cooling", "banned"].map(|flag| explanation["endpoints"][n]["inputs"][flag] == true);
    assert_eq!([0, 1, 2, 3].map(flags), [[false, false], [true, false], [false, true], [false, false]]);
    for n in 0..3 {
        assert_eq!(explanation["endpoints"][n]["score"], value!(null), "endpoint {n} is no candidate");
    }
    let other = explain(&proxy, "?method=eth_call");
    assert_eq!(excluded(&other)[2], value!(null), "it is about one method");
    assert_eq!(other["first"], "lacking");
}

#[test]
fn an_unhealthy_endpoint_is_shown_as_the_policy_sees_it() {
    let sick = Origin::always("sick", Answer::status(503));
    let conf = Conf::of([&sick]).health("interval", "'100ms'").health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&conf);
    wait_until("it is found out", || excluded(&explain(&proxy, ""))[0] == "unhealthy: HTTP status 503");
    let explanation = explain(&proxy, "");
    let endpoint = &explanation["endpoints"][0];
    assert_eq!((&endpoint["inputs"]["unhealthy"], &explanation["panic"]), (&value!(true), &value!(true)));
    assert!(endpoint["score"].is_number(), "the least bad one is asked all the same");
}

#[test]
fn a_panic_is_told() {
    let bad = Origin::always("bad", Answer::status(503));
    let proxy = Proxy::start(&Conf::of([&bad]).with_shipped_policies());
    assert_eq!(explain(&proxy, "")["panic"], false);
    proxy.post(json::READ);
    let explanation = explain(&proxy, "");
    assert_eq!((&explanation["panic"], &explanation["first"]), (&value!(true), &value!("bad")));
    assert_eq!(excluded(&explanation), ["cooling"]);
    assert!(explanation["endpoints"][0]["score"].is_number());
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    let (a, b) = (Origin::start("a"), Origin::start("b"));
    let proxy = Proxy::start(&Conf::of([&a]));
    assert!(refused(&proxy, "?upstream=mian").contains("there are: main"));
    for batch in ["0", "10001", "-1", "many", ""] {
        assert!(refused(&proxy, &format!("?batch={batch}")).contains("1 to 10000"), "{batch}");
    }
    assert!(refused(&proxy, "?methods=eth_call").contains("upstream, method and batch"));
    assert_eq!(explain(&proxy, "?batch=10000")["request"]["batch"], 10_000);

    let second = format!(
        "[upstreams.second]\n[[upstreams.second.endpoints]]\nurl = '{}'\nname = 'b'\n\
         [[routes]]\npath_prefix = '/second'\nupstream = 'second'\n[[routes]]\npath_prefix = '/'\nupstream = 'main'",
        b.url()
    );
    let proxy = Proxy::start(&Conf::of([&a]).extra(&second));
    let why = refused(&proxy, "");
    assert!(why.contains("main") && why.contains("second"), "{why}");
    assert_eq!(explain(&proxy, "?upstream=second")["first"], "b");
}

#[test]
fn the_command_prints_a_table() {
    let bad = Origin::always("bad", Answer::status(503));
    let good = Origin::start("good");
    let conf = Conf::of([&bad, &good]).and(Endpoint::new("http://127.0.0.1:1", "off").weight(0));
    let proxy = Proxy::start(&conf.with_shipped_policies());
    proxy.post(json::READ);
    let admin = proxy.admin_address().to_string();
    let run = |arguments: &[&str]| proxy.site().run(&[&["explain", "--admin", &admin], arguments].concat());

    let table = run(&["--method", "eth_sendTransaction", "--batch", "2"]);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    let line = |name: &str| table.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
    for (name, part) in [
        ("eth_sendTransaction (a write)", "batch of 2, upstream main, scoring tiers, generation 1"),
        ("first:", "good"),
        ("endpoint", "excluded"),
        ("bad", "cooling"),
        ("good", " 90 "),
        ("off", "weight 0"),
    ] {
        assert!(line(name).contains(part), "no {part} in the line of {name}:\n{}", table.stdout);
    }
    let json: Value = serde_json::from_str(&run(&["--json"]).stdout).expect("JSON");
    assert_eq!(json["first"], "good");
    let unknown = run(&["--upstream", "mian"]);
    assert_eq!((unknown.code, unknown.stderr.contains("there are: main")), (Some(1), true), "{}", unknown.stderr);
}

#[test]
fn the_token_is_asked_for() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]).admin("token", "'open-sesame'"));
    assert_eq!(proxy.admin("GET", "/explain").status, 401);
    let admin = proxy.admin_address().to_string();
    let run = |token: &str| proxy.site().run(&["explain", "--admin", &admin, "--token", token]);
    assert_eq!(run("wrong").code, Some(1));
    let allowed = run("open-sesame");
    assert_eq!((allowed.code, allowed.stdout.contains("first: a")), (Some(0), true), "{}", allowed.stderr);
}
