//! Health checks of a node's chain and head: wrong chain, lag, false heads.

use serde_json::{Value, json as value};

use crate::support::{
    Answer, CALL, CHAIN_1, Gate, Node, Proxy, Request, health, json_result, probed, wait_health, wait_until,
};

const GENESIS: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";

#[test]
fn an_endpoint_of_the_wrong_chain_is_never_used() {
    let [wrong, right] = [Node::new("wrong", 9_000_000), Node::new("right", 7)];
    wrong.answer("eth_chainId", json_result(r#""0xaa36a7""#));
    let proxy = Proxy::start(&probed([&wrong, &right]).set("chain_id", "1").health("max_head_lag", "5"));
    wait_health(&proxy, "wrong", "wrong_chain");
    wait_health(&proxy, "right", "healthy");
    let endpoint = proxy.endpoint("wrong");
    assert_eq!((&endpoint["excluded"], &endpoint["available"]), (&value!("wrong chain"), &value!(false)));
    assert_eq!(endpoint["health_detail"], "of another chain than chain_id says");
    let metrics = proxy.metrics();
    let is_wrong = |name| metrics.sum("endpoint_wrong_chain", &[("endpoint", name)]);
    assert_eq!((is_wrong("wrong"), is_wrong("right")), (1.0, 0.0));
    assert_eq!(metrics.sum("endpoints_healthy", &[]), 1.0);
    assert!(metrics.sum("health_check_failures_total", &[("endpoint", "wrong")]) >= 1.0);
    let alarm = || proxy.lines("ERROR pointsman::health::round: endpoint is of the wrong chain");
    wait_until("the alarm is logged", || alarm() == 1);
    assert_eq!(proxy.endpoint("right")["head_lag_blocks"], 0, "another chain's head says nothing");

    // Not even without another endpoint.
    right.origin.stop();
    wait_health(&proxy, "right", "unhealthy");
    for _ in 0..3 {
        assert_ne!(proxy.post(CALL).status, 200);
    }
    assert_eq!((wrong.asked("eth_call"), alarm()), (0, 1), "and the alarm is given once");

    wrong.answer("eth_chainId", json_result(CHAIN_1));
    wait_health(&proxy, "wrong", "healthy");
    assert_eq!(proxy.post(CALL).result(), "wrong");
}

#[test]
fn an_endpoint_whose_chain_is_not_verified_yet_is_used_only_when_no_other_is_there() {
    let [silent, good] = [Node::new("silent", 7), Node::new("good", 7)];
    let gate = Gate::new();
    for node in [&silent, &good] {
        node.answer("eth_chainId", json_result(CHAIN_1).held_by(&gate));
    }
    let conf = probed([&silent, &good]).set("chain_id", "1").health("timeout", "'20s'");
    let proxy = Proxy::start(&conf);
    assert_eq!(health(&proxy, "silent"), "unverified");
    assert_eq!(proxy.endpoint("silent")["excluded"], "unhealthy: its chain is not verified yet");
    assert_eq!(proxy.post(CALL).result(), "silent", "a panic: none is verified");
    good.answer("eth_chainId", json_result(CHAIN_1));
    gate.open();
    wait_health(&proxy, "good", "healthy");
    wait_health(&proxy, "silent", "healthy");

    // Another chain id is verified again, at once.
    proxy.rewrite_conf(&conf.clone().set("chain_id", "2").health("interval", "'1h'"));
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "good", "wrong_chain");
    proxy.rewrite_conf(&conf.set("chain_id", "1"));
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "good", "healthy");
}

#[test]
fn a_verified_chain_is_verified_again() {
    let node = Node::new("node", 7);
    let proxy = Proxy::start(&probed([&node]).set("chain_id", "1"));
    wait_health(&proxy, "node", "healthy");
    node.answer("eth_chainId", json_result(r#""0x2""#));
    wait_health(&proxy, "node", "wrong_chain");
    let asked: Vec<String> = node.origin.requests().iter().map(Request::method).collect();
    let heads = asked.iter().skip(1).take_while(|method| *method == "eth_blockNumber").count();
    assert_eq!((asked[0].as_str(), heads), ("eth_chainId", 9), "with the tenth probe");
}

#[test]
fn an_endpoint_that_lags_is_left_out() {
    let [late, best] = [Node::new("late", 94), Node::new("best", 100)];
    let both = probed([&late, &best]);
    let proxy = Proxy::start(&both.clone().health("max_head_lag", "5"));
    wait_health(&proxy, "late", "lagging");
    wait_health(&proxy, "best", "healthy");
    let endpoint = proxy.endpoint("late");
    assert_eq!((&endpoint["head"], &endpoint["head_lag_blocks"]), (&value!(94), &value!(6)));
    assert_eq!((&endpoint["excluded"], &endpoint["health_detail"]), (&value!("lagging"), &value!("6 blocks behind")));
    assert_eq!(proxy.endpoint("best")["head_lag_blocks"], 0);
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("endpoint_head_lag_blocks", &[("endpoint", "late")]), 6.0);
    assert_eq!(metrics.sum("endpoints_healthy", &[]), 1.0);
    assert_eq!(proxy.post(CALL).result(), "best");
    let logged = || proxy.lines("endpoint lags behind");
    wait_until("it is logged", || logged() == 1);

    late.head(95);
    wait_health(&proxy, "late", "healthy");
    assert_eq!(proxy.post(CALL).result(), "late");

    // Without a limit any lag is acceptable.
    late.head(1);
    wait_health(&proxy, "late", "lagging");
    proxy.rewrite_conf(&both);
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(CALL).result(), "late");
    assert_eq!(proxy.endpoint("late")["head_lag_blocks"], 99);
}

#[test]
fn a_head_that_is_a_lie_makes_nobody_late() {
    let nodes = [Node::new("liar", 90_000_000), Node::new("b", 99), Node::new("c", 100)];
    let proxy = Proxy::start(&probed(&nodes).health("max_head_lag", "5"));
    wait_health(&proxy, "liar", "unhealthy");
    assert_eq!(proxy.endpoint("liar")["health_detail"], "implausible head");
    assert_eq!(proxy.endpoint("liar")["head_lag_blocks"], Value::Null);
    assert_eq!((health(&proxy, "b"), proxy.endpoint("b")["head_lag_blocks"].clone()), (value!("healthy"), value!(1)));
    assert_eq!(proxy.post(CALL).result(), "b");
}

#[test]
fn solana_is_asked_for_its_slot_and_its_genesis() {
    let [late, best] = [Node::new("late", 0), Node::new("best", 0)];
    for (node, slot) in [(&late, "250000000"), (&best, "250000150")] {
        node.answer("getSlot", json_result(slot));
        node.answer("getGenesisHash", Answer::result(GENESIS));
    }
    let conf = probed([&late, &best]).set("chain", "'solana'").set("chain_id", &format!("'{GENESIS}'"));
    let proxy = Proxy::start(&conf.health("max_head_lag", "150"));
    wait_health(&proxy, "late", "healthy");
    wait_until("they are compared", || proxy.endpoint("late")["head_lag_blocks"] == 150);
    late.answer("getSlot", json_result("249999999"));
    wait_health(&proxy, "late", "lagging");
    best.answer("getGenesisHash", Answer::result("EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"));
    wait_health(&proxy, "best", "wrong_chain");
}
