//! The admin interface: health, status, metrics, the token, and secrets, which must not appear
//! anywhere.

use std::process::Stdio;

use crate::support::{Answer, Conf, Endpoint, Origin, Proxy, json, wait_until};

/// Metrics with stable names, without the prefix, that exist after one request.
const NAMES: [&str; 19] = [
    "requests_total",
    "attempts_total",
    "attempt_duration_seconds_bucket",
    "request_duration_seconds_bucket",
    "endpoint_available",
    "endpoint_cooldown_seconds",
    "endpoint_cooldowns_total",
    "endpoint_rate_limit_deferred_total",
    "endpoints_total",
    "endpoints_healthy",
    "endpoint_head_lag_blocks",
    "endpoint_wrong_chain",
    "health_check_failures_total",
    "policy_calls_total",
    "policy_call_duration_seconds_bucket",
    "generation",
    "generations_live",
    "reloads_total",
    "attempt_duration_seconds_count",
];

#[test]
fn health_follows_the_endpoints() {
    let bad = Origin::always("bad", Answer::status(500));
    let proxy = Proxy::start(&Conf::of([&bad]));
    assert_eq!(proxy.admin("GET", "/health").status, 200);
    proxy.post(json::READ);
    let health = proxy.admin("GET", "/health");
    assert_eq!((health.status, health.json()["degraded"][0].as_str()), (200, Some("main")));
    assert_eq!(proxy.metrics().sum("endpoint_available", &[("endpoint", "bad")]), 0.0);
    assert!(proxy.metrics().sum("endpoint_cooldown_seconds", &[("endpoint", "bad")]) > 0.0);
}

#[test]
fn metrics_have_their_fixed_names_and_count_what_happens() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]).with_shipped_policies());
    proxy.post(json::READ);
    proxy.post(json::request("1", "made_up_by_a_client"));
    // A request is counted when its answer has been sent.
    wait_until("both are counted", || proxy.metrics().sum("requests_total", &[]) == 2.0);
    let metrics = proxy.metrics();
    for name in NAMES {
        assert!(metrics.has(name, &[]), "{name}");
    }
    let requests = |method: &str| metrics.sum("requests_total", &[("method", method), ("status", "200")]);
    assert_eq!((requests("eth_blockNumber"), requests("other")), (1.0, 1.0));
    assert_eq!(metrics.attempts("a", "success"), 2.0);
    assert_eq!(metrics.sum("endpoints_total", &[("upstream", "main")]), 1.0);
}

#[test]
fn each_request_leaves_one_line_in_the_access_log() {
    let bad = Origin::always("bad", Answer::status(500));
    let good = Origin::start("good");
    let proxy = Proxy::start(&Conf::of([&bad, &good]));
    proxy.post(json::READ);
    // A line is logged after its answer, and another thread may take the next request.
    wait_until("a line", || access_lines(&proxy).len() == 1);
    proxy.post("rubbish");
    wait_until("two lines", || access_lines(&proxy).len() == 2);
    let lines = access_lines(&proxy);
    for part in
        ["method=\"eth_blockNumber\"", "endpoint=\"good\"", "attempts=2", "outcome=\"success\"", "status=200", "ms="]
    {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
    assert!(lines[1].contains("outcome=\"not_json\" status=400"), "{}", lines[1]);
}

fn access_lines(proxy: &Proxy) -> Vec<String> {
    proxy.log().lines().filter(|line| line.contains("pointsman::access")).map(str::to_owned).collect()
}

#[test]
fn a_token_guards_all_but_health() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]).admin("token", "'open-sesame'"));
    for (method, path) in [("GET", "/status"), ("GET", "/metrics"), ("POST", "/reload"), ("GET", "/nothing")] {
        assert_eq!(proxy.admin(method, path).status, 401, "{path}");
    }
    assert_eq!(proxy.admin("GET", "/health").status, 200);
    let with = |token: &str| proxy.admin_client().post_with("/reload", &[("authorization", token)], "").status;
    assert_eq!(with("Bearer open-sesame"), 200);
    assert_eq!((with("Bearer open-sesamE"), with("open-sesame"), with("Bearer ")), (401, 401, 401));
}

#[test]
fn other_paths_and_methods_are_told_what_there_is() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]));
    assert_eq!(proxy.admin("GET", "/reload").status, 405);
    assert_eq!(proxy.admin("POST", "/status").status, 405);
    assert_eq!(proxy.admin("GET", "/nothing").status, 404);
}

#[test]
fn the_command_line_shows_and_reloads() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]).with_shipped_policies());
    let admin = proxy.admin_address().to_string();
    let status = proxy.site().run(&["status", "--admin", &admin]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert!(status.stdout.contains("policy tiers: tiers 1."), "{}", status.stdout);
    let reload = proxy.site().run(&["reload", "--admin", &admin]);
    assert_eq!((reload.code, reload.stdout.contains("\"generation\": 2")), (Some(0), true), "{}", reload.stdout);
    proxy.site().write_text("nonsense");
    let refused = proxy.site().run(&["reload", "--admin", &admin]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("pointsman.toml:1:"), "{}", refused.stderr);
    let nobody = proxy.site().run(&["status", "--admin", "127.0.0.1:1"]);
    assert_eq!((nobody.code, nobody.stderr.contains("no proxy answers")), (Some(1), true), "{}", nobody.stderr);
}

#[test]
fn the_command_line_speaks_to_the_proxy_of_its_conf_and_to_no_other() {
    let a = Origin::start("a");
    let other = Proxy::start(&Conf::of([&a]));
    let ours = Proxy::start(&Conf::of([&a]).admin("token", "'open-sesame'"));
    let conf = ours.site().conf().display().to_string();
    // In the other's folder, with the other's token in the environment.
    let run = |arguments: &[&str]| {
        let output = other.site().run(arguments);
        (output.code, format!("{}{}", output.stdout, output.stderr))
    };
    let generations = || {
        [&other, &ours].map(|proxy| {
            let mut client = proxy.admin_client();
            client.send("GET /status HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer open-sesame\r\n\r\n");
            client.read().json()["generation"].as_u64().unwrap()
        })
    };
    assert_eq!(generations(), [1, 1]);
    ours.rewrite_conf(&Conf::of([&a]).admin("token", "'open-sesame'").set("max_attempts", "2"));
    let (code, said) = run(&["reload", "-c", &conf]);
    assert_eq!((code, said.contains("\"generation\": 2")), (Some(0), true), "{said}");
    assert_eq!(generations(), [1, 2]);
    for command in ["status", "explain", "rollback"] {
        let (code, said) = run(&[command, "--config", &conf]);
        assert_eq!(code, Some(0), "{command}: {said}");
    }
    assert_eq!(generations(), [1, 3]);
    // An explicit address takes precedence, without the conf's token.
    let (admin, theirs) = (other.admin_address().to_string(), ours.admin_address().to_string());
    assert_eq!(run(&["reload", "-c", &conf, "--admin", &admin]).0, Some(0));
    assert_eq!(generations(), [2, 3]);
    let (code, said) = run(&["status", "-c", &conf, "--admin", &theirs]);
    assert_eq!((code, said.contains("401")), (Some(1), true), "{said}");
    assert_eq!(run(&["status", "-c", &conf, "--token", "wrong"]).0, Some(1));
    // Other errors of the conf are left to the proxy; without an admin address no request is sent.
    let text = ours.site().text();
    ours.site().write_text(&format!("{text}\ncolour = 1\n"));
    assert_eq!(run(&["status", "-c", &conf]).0, Some(0));
    ours.site().write_text(&format!("{text}\n[[[\nlisten = "));
    assert_eq!(run(&["status", "-c", &conf]).0, Some(0));
    for (broken, expected) in [
        ("[admin]\nlisten = 8550\n", "admin.listen: must be a string"),
        ("[admin]\nlisten = '127.0.0.1:0'\n", "port 0"),
        ("[admin]\ntoken = 'env:NOBODY_SETS_IT'\n", "NOBODY_SETS_IT isn't set"),
        ("nonsense", "isn't TOML"),
    ] {
        ours.site().write_text(broken);
        let (code, said) = run(&["reload", "-c", &conf]);
        assert_eq!((code, said.contains(expected)), (Some(1), true), "{said}");
    }
    assert_eq!(generations(), [2, 3]);
}

/// Like `pointsman status | head -1`.
#[test]
fn a_command_whose_output_nobody_reads_to_its_end_is_done() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]));
    let (admin, conf) = (proxy.admin_address().to_string(), proxy.site().conf().display().to_string());
    let commands: [&[&str]; 4] = [
        &["status", "--admin", &admin],
        &["explain", "--admin", &admin],
        &["reload", "--admin", &admin],
        &["check", "-c", &conf],
    ];
    for command in commands {
        let mut child = proxy.site().command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), said.contains("panicked")), (Some(0), false), "{command:?}: {said}");
    }
}

#[test]
fn commands_refuse_a_conf_that_they_do_not_use() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]));
    let conf = proxy.site().conf().display().to_string();
    for arguments in [&["demo", "-c", &conf][..], &["import-azoth", "-c", &conf, &conf]] {
        let output = proxy.site().run(arguments);
        assert_eq!((output.code, output.stderr.contains("takes no --config")), (Some(2), true), "{}", output.stderr);
    }
}

/// All kinds of failures, good and bad reloads, all pages: the key in the path, the password, the
/// header and the token appear nowhere.
#[test]
fn no_secret_shows_anywhere() {
    let secrets = ["path-key-1", "query-key-2", "user-3", "pass-word-4", "header-value-5", "admin-token-6"];
    let a = Origin::always("a", Answer::status(500));
    let url = |origin: &Origin| format!("http://user-3:pass-word-4@{}/v1/path-key-1?k=query-key-2", origin.address());
    let gone = Origin::refusing("gone");
    let endpoints = [
        Endpoint::new(&url(&a), "a").set("headers", "{ x-api-key = 'env:API_KEY' }"),
        Endpoint::new(&url(&gone), "gone"),
        Endpoint::new("https://nothing.invalid/path-key-1?k=query-key-2", "unknown"),
    ];
    let conf = Conf::with(endpoints).environment("API_KEY", "header-value-5").environment("RUST_LOG", "trace");
    let conf = conf.set("chain_id", "1").health("interval", "'100ms'").health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&conf.admin("token", "'admin-token-6'"));
    wait_until("probes have failed, too", || proxy.log().contains("endpoint is unhealthy"));
    let mut shown = proxy.post(json::READ).text();
    let sent = a.last().head.headers;
    assert!(sent.contains(&("x-api-key".into(), "header-value-5".into())), "the endpoint does get it: {sent:?}");

    let authorized = [("authorization", "Bearer admin-token-6")];
    let text = proxy.site().text();
    proxy
        .site()
        .write_text(&text.replace("weight", "wait").replace("http://user", "htp://user").replace("name = ", "nam = "));
    shown += &proxy.admin_client().post_with("/reload", &authorized, "").text();
    proxy.site().write_text(&text.replace("url = 'https", "url = 'ftp"));
    shown += &proxy.admin_client().post_with("/reload", &authorized, "").text();
    proxy.site().write_text(&text);
    shown += &proxy.admin_client().post_with("/reload", &authorized, "").text();
    for path in ["/status", "/metrics", "/health", "/nothing"] {
        let mut client = proxy.admin_client();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer admin-token-6\r\n\r\n"));
        shown += &client.read().text();
    }
    assert!(shown.contains("\"generation\""), "the pages were read");
    assert!(proxy.log().contains("libraries log nothing below level info"), "the filter's limit is told");
    shown += &proxy.log();
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} shows:\n{shown}");
    }
}
