//! The budget of all policy calls for one request.

use super::{OTHERS, load, proxy_with};
use crate::support::{Answer, Conf, Origin, Proxy, hostile, json, post, wait_until};

/// The endpoint answers each member of a batch with an error of its own.
fn different_errors(name: &str) -> Origin {
    Origin::scripted(name, |request| {
        let Ok(members) = serde_json::from_str::<Vec<serde_json::Value>>(&request.text()) else {
            return Answer::result("a");
        };
        let answers = members.iter().map(|member| {
            let id = member["id"].as_i64().unwrap();
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{},"message":"error {id}"}}}}"#, -33_000 - id)
        });
        Answer::body(format!("[{}]", answers.collect::<Vec<_>>().join(",")))
    })
}

/// Each call is within its fuel, but a hundred exceed the budget: the native policy decides the
/// rest and returns these errors as answers.
#[test]
fn a_batch_of_different_errors_calls_a_slow_policy_only_so_often() {
    let [a, b] = ["a", "b"].map(different_errors);
    let proxy = proxy_with("retry", Conf::of([&a, &b]).set("policy_time_budget", "'1ms'"));
    load(&proxy, OTHERS[1]);
    let mut answers = 0;
    for _ in 0..6 {
        let response = proxy.post(json::batch(100));
        assert_eq!(response.status, 200);
        answers += response.json().as_array().unwrap().len();
    }
    assert_eq!(answers, 600, "every member has an answer");
    let calls = proxy.status()["policies"]["hostile"]["calls"].as_u64().unwrap();
    assert!((6..=6 * 30).contains(&calls), "{calls} calls of some 60,000 units within a budget of 1,000,000 each");
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("policy_budget_exhausted_total", &[("policy", "hostile")]), 6.0);
    assert_eq!(metrics.sum("policy_faults_total", &[]), 0.0, "the client's batch is no fault of the policy");
    let warning = "used up its policy_time_budget";
    wait_until("the log warns", || proxy.lines(warning) > 0);
    assert_eq!(proxy.lines(warning), 1, "once");
}

/// One worker. Without yielding, the other client would wait for the whole batch and get one answer
/// at most.
#[test]
fn while_a_batch_is_judged_for_long_other_clients_are_answered() {
    const SIZE: usize = 500;
    let origin = different_errors("a");
    let conf = Conf::of([&origin]).server("threads", "1").set("policy_time_budget", "'1s'").set("max_attempts", "1");
    let conf = conf.set("max_batch_size", &SIZE.to_string());
    let proxy = Proxy::start(&conf);
    proxy.site().add_plugin("hostile", &hostile(OTHERS[2]));
    let policy = "[policies.hostile]\nplugin = 'hostile'\nfuel = 2000000";
    proxy.rewrite_conf(&conf.extra(policy).set("retry", "'hostile'"));
    assert_eq!(proxy.post_reload().status, 200);
    let calls = || proxy.status()["policies"]["hostile"]["calls"].as_u64().unwrap();

    let [mut batch, mut other] = [proxy.client(), proxy.client()];
    batch.send(post("/", &[], json::batch(SIZE)));
    wait_until("it is judged", || calls() > 0);
    let mut answers = 0;
    while !batch.has_answer() {
        assert_eq!(other.post(json::READ).result(), "a");
        answers += 1;
    }
    assert_eq!(batch.read().json().as_array().unwrap().len(), SIZE);
    assert_eq!(calls(), SIZE as u64);
    assert!(answers > 2, "{answers} answers");
}
