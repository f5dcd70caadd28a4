//! Minor versions of the ABI: the blocks that modules of each get, and tags by name.

use std::sync::Arc;

use bytemuck::Zeroable;
use pointsman::model::{HttpFacts, HttpMethod, Protocol};
use pointsman::policy::abi::{AttemptBlock, EndpointRow, RequestBlock, request_flags};
use pointsman::policy::{Limits, Policy, PolicyRuntime, Setup};
use serde_json::{Value, json as value};

use crate::support::{Answer, Conf, Guest, Origin, Proxy, json, wait_until};

fn direct(guest: &Guest) -> Arc<Policy> {
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
    runtime.load(guest.name(), Arc::new(runtime.compile(&guest.wasm()).unwrap()), &Setup::plain(2)).unwrap()
}

/// The sum of the request block's size, its flags, and the word behind the block of version 1.1.
const REQUEST: &str = "(f64.convert_i32_u (i32.add (i32.load (local.get $request))
    (i32.add (i32.load offset=32 (local.get $request)) (i32.load offset=128 (local.get $request)))))";

#[test]
fn a_module_gets_the_blocks_of_its_version() {
    let mut request = RequestBlock { flags: request_flags::BATCH, ..RequestBlock::new() };
    request.set_http(&HttpFacts::new(Protocol::WebSocket, HttpMethod::Get), true);
    let attempt = AttemptBlock { outcome: 2, grpc_status: 14, ..AttemptBlock::new() };
    // The flag `resendable` is 16, the protocol 4.
    for (minor, request_sum, attempt_size) in
        [(0, 128 + 2, 256), (1, 128 + 2, 256), (2, 320 + 2 + 16 + 4, 264), (3, 320 + 2 + 16 + 4, 264)]
    {
        // Returns the attempt block's size as the penalty.
        let penalty = "(f32.store offset=20 (local.get $decision)
            (f32.convert_i32_u (i32.load (local.get $attempt))))";
        let guest = Guest::new("guest", "1.0.0").abi(1, minor).score_each(REQUEST).retry(penalty);
        let (policy, mut scores) = (direct(&guest), Vec::new());
        policy.score(&request, &[EndpointRow::zeroed()], &mut scores).unwrap();
        assert_eq!(scores, [f64::from(request_sum)], "1.{minor}");
        assert_eq!(policy.retry(&request, &attempt).unwrap().penalty_ms, attempt_size as f32, "1.{minor}");
    }
}

#[test]
fn a_policy_sees_that_a_request_is_json_rpc() {
    let [a, b] = ["a", "b"].map(Origin::start);
    // Protocol and HTTP method as two digits, for the first endpoint only and if the path is `/`.
    let digits = "(i32.add (i32.mul (i32.load offset=128 (local.get $request)) (i32.const 10))
        (i32.load offset=132 (local.get $request)))";
    let is_root = "(i64.eq (i64.load offset=136 (local.get $request)) (i64.const 0xaf63a24c860189fe))";
    let is_first = "(i32.eqz (i32.load (local.get $row)))";
    let score = format!("(f64.convert_i32_u (i32.mul {digits} (i32.and {is_root} {is_first})))");
    let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&Guest::new("looks", "1.0.0").abi(1, 2).score_each(&score)));
    assert_eq!(proxy.admin("GET", "/explain").json()["endpoints"][0]["score"], 13.0);
    // The scores would be equal otherwise, and the seed would decide.
    for _ in 0..10 {
        assert_eq!(proxy.post(json::READ).result(), "a");
    }
}

/// A scoring policy of this version whose score is the row's tags.
fn tagged(name: &str, minor: u32, tags: &str) -> Guest {
    let describe = format!(r#"{{"name":"{name}","version":"1.0.0","kinds":["scoring"]{tags}}}"#);
    let score = "(f64.convert_i64_u (i64.load offset=24 (local.get $row)))";
    Guest::new(name, "1.0.0").abi(1, minor).score_each(score).describe(&describe)
}

fn listing(name: &str) -> Guest {
    tagged(name, 2, r#","tags":["eu","archive"]"#)
}

/// An endpoint with the tag `archive`, then one with `eu` and these.
fn pool(a: &Origin, b: &Origin, more: &str) -> Conf {
    let conf = Conf::of([a, b]).endpoint(0, |e| e.set("tags", "['archive']"));
    conf.endpoint(1, |e| e.set("tags", &format!("['eu'{more}]")))
}

/// Scores and shown tags of both endpoints.
fn explained(proxy: &Proxy) -> Value {
    let endpoints = proxy.admin("GET", "/explain").json()["endpoints"].clone();
    let shown = |n: usize| [endpoints[n]["score"].clone(), endpoints[n]["inputs"]["tags"].clone()];
    value!([shown(0), shown(1)])
}

#[test]
fn a_new_tag_in_the_conf_moves_no_bit_under_a_policy_that_lists_its_tags() {
    let [a, b] = ["a", "b"].map(Origin::start);
    for (guest, before, after) in [
        (listing("listing"), value!([[2.0, 2], [1.0, 1]]), value!([[2.0, 2], [1.0, 1]])),
        // In alphabetical order: archive, eu; then aaa, archive, eu.
        (tagged("plain", 2, ""), value!([[1.0, 1], [2.0, 2]]), value!([[2.0, 2], [5.0, 5]])),
        (tagged("older", 1, r#","tags":["eu","archive"]"#), value!([[1.0, 1], [2.0, 2]]), value!([[2.0, 2], [5.0, 5]])),
        (tagged("other", 2, r#","tags":["us","eu"]"#), value!([[0.0, 0], [2.0, 2]]), value!([[0.0, 0], [2.0, 2]])),
        (tagged("none", 2, r#","tags":[]"#), value!([[0.0, 0], [0.0, 0]]), value!([[0.0, 0], [0.0, 0]])),
    ] {
        let proxy = Proxy::start(&pool(&a, &b, "").scored_by(&guest));
        assert_eq!(explained(&proxy), before, "{}", guest.name());
        proxy.rewrite_conf(&pool(&a, &b, ", 'aaa'").scored_by(&guest));
        assert_eq!(proxy.post_reload().status, 200);
        assert_eq!(explained(&proxy), after, "{}", guest.name());
        assert_eq!(proxy.post(json::READ).status, 200);
        assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0);
    }
}

#[test]
fn each_of_several_policies_sees_its_own_bits() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let (live, shadow) = (tagged("live", 2, ""), listing("shadow"));
    let conf = pool(&a, &b, "").scored_by(&live).guest(&shadow).set("shadow", "{ policy = 'shadow', share = 1 }");
    let proxy = Proxy::start(&conf);
    assert_eq!(proxy.post(json::READ).result(), "b");
    let result = || proxy.admin("GET", "/shadow").json()["upstreams"]["main"].clone();
    wait_until("the shadow has scored", || result()["compared"] == 1);
    let endpoints = result()["disagreements"][0]["endpoints"].clone();
    let scores = |n: usize| value!([endpoints[n]["live_score"], endpoints[n]["shadow_score"]]);
    assert_eq!(value!([scores(0), scores(1)]), value!([[1.0, 2.0], [2.0, 1.0]]));

    let live = tagged("live", 2, r#","tags":["archive","eu"]"#);
    let conf = pool(&a, &b, "").scored_by(&live).guest(&listing("next"));
    let proxy = Proxy::start(&conf.set("canary", "{ policy = 'next', percent = 50 }"));
    let (mut client, hits) = (proxy.client(), [a.hits(), b.hits()]);
    (0..100).for_each(|_| assert_eq!(client.post(json::READ).status, 200));
    let decided = proxy.status()["upstreams"]["main"]["canary"]["requests"].as_u64().unwrap();
    assert_eq!([a.hits() - hits[0], b.hits() - hits[1]].map(|hits| hits as u64), [decided, 100 - decided]);
    assert!(decided > 10, "{decided}");
}

#[test]
fn a_plan_sees_the_bits_of_its_policy() {
    let [a, b] = ["a", "b"].map(Origin::start);
    // Allows as many attempts as the tags of the first endpoint say: 1 for `eu`, 2 for `archive`.
    // The probe's rows have none.
    let plan = r#"(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
        (i32.store offset=4 (local.get $plan) (select (i32.load offset=24 (local.get $row)) (i32.const 1)
          (i32.load offset=24 (local.get $row)))))"#;
    let describe = r#"{"name":"planner","version":"1.0.0","kinds":["retry"],"tags":["eu","archive"]}"#;
    let guest = Guest::new("planner", "1.0.0").abi(1, 2).always_retries().extra(plan).describe(describe);
    b.answer(Answer::status(503));
    a.answer(Answer::status(503));
    let proxy = Proxy::start(&pool(&a, &b, "").retried_by(&guest));
    assert_eq!(proxy.post(json::READ).status, 502);
    assert_eq!((a.hits(), b.hits()), (1, 1), "the first endpoint is a, whose tag allows two attempts");
}

#[test]
fn a_list_of_tags_is_checked() {
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
    let many = |count: usize| (0..count).map(|n| format!("\"t{n}\"")).collect::<Vec<_>>().join(",");
    let load = |minor, tags: &str| runtime.compile(&tagged("guest", minor, &format!(",\"tags\":{tags}")).wasm());
    for (tags, part) in [
        (format!("[{}]", many(65)), "it lists 65 tags; an endpoint row has room for 64"),
        (r#"["eu","eu"]"#.into(), "it lists the tag \"eu\" twice"),
        (r#"["eu",""]"#.into(), "its tag \"\" must be 1 to 64 characters"),
        (r#"["a b"]"#.into(), "its tag \"a b\" must be"),
        (r#"["\u001b[2J"]"#.into(), "its tag \"\\u{1b}[2J\" must be"),
        (format!("[\"{}\"]", "x".repeat(65)), "must be 1 to 64 characters"),
        (r#""eu""#.into(), "its tags must be a list of texts: invalid type"),
        ("[1]".into(), "its tags must be a list of texts: invalid type"),
    ] {
        let error = load(2, &tags).map(drop).unwrap_err().to_string();
        assert!(error.contains("describe") && error.contains(part), "{part:?} isn't in {error:?}");
        assert!(load(1, &tags).is_ok(), "version 1.1 doesn't know the key: {tags}");
    }
    let plugin = load(2, &format!("[{}]", many(64))).unwrap();
    assert_eq!(plugin.tags().map(<[String]>::len), Some(64));
    assert!(load(2, "null").unwrap().tags().is_none());
}
