//! One run reports every mistake, whatever the others are, and nothing that is only a consequence.

use fastrand::Rng;

use super::{MINIMAL, assert_added, assert_problems, refused};

/// Possible mistakes by table: alternative lines for one key each, of which a conf has one at most.
const MISTAKES: &[(&str, &[&[&str]])] = &[
    (
        "[server]",
        &[
            &["threads = 0", "threads = 'two'"],
            &["max_body = 0", "max_body = true"],
            &["shutdown_grace = '30'", "shutdown_grace = 5"],
            &[
                "listen = []",
                "listen = 'here'",
                "listen = ['there']",
                "listeners = [{ address = 'x' }]",
                "listeners = 1",
            ],
            &["treads = 4", "trusted_proxies = true"],
        ],
    ),
    (
        "[admin]",
        &[&["listen = 'here'", "listen = 8550"], &["token = ''", "token = 'a b'", "token = '${T}'", "token = 1"]],
    ),
    (
        "[plugins]",
        &[
            &["max_instances = 1", "max_instances = 'many'"],
            &["watch = 'yes'"],
            &["rollback_grace = '0s'", "rollback_grace = 3"],
            &["verify = true", "folder = 'p'"],
        ],
    ),
    (
        "[policies.p]\nplugin = 'tiers'",
        &[
            &["version = 'one'", "version = 3"],
            &["sha256 = 'z'", "sha256 = 1"],
            &["fuel = 1", "fuel = 'much'"],
            &["confg = 1"],
        ],
    ),
    (
        "[upstreams.eth]",
        &[
            &["max_attempts = 0", "max_attempts = 'three'"],
            &["deadline = '0s'", "deadline = 5"],
            &["queue_timeout = '99h'", "queue_timeout = 1"],
            &["latency_smoothing_factor = 7", "latency_smoothing_factor = 'slow'"],
            &["scoring = 'q'", "scoring = 5"],
            &["retry_budget = { share = -1 }", "retry_budget = 'some'"],
            &["client = { timeout = '0s' }", "client = ['1s']", "client = { timeot = '1s' }"],
            &["cooldown = { jitter = 2 }", "cooldown = { base = true }"],
            &["chain_id = true"],
            &["protocol = 'htp'", "protocol = 1"],
            &["learn_limits = true", "colour = 1"],
        ],
    ),
    (
        "[[upstreams.eth.endpoints]]\nurl = 'http://a'",
        &[
            &["weight = -1", "weight = 'heavy'"],
            &["price = -1", "price = 'cheap'"],
            &["tags = ['']", "tags = 'archive'"],
            &["name = ''", "name = 5"],
            &["headers = { 'a b' = 'c' }", "headers = { a = '$KEY' }", "headers = 'x'"],
            &["rate_limit_per_sec = 0", "rate_limit_per_sec = 'fast'"],
        ],
    ),
    (
        "[[upstreams.eth.endpoints]]",
        &[
            &["url = 'ftp://h'", "url = 5", "url = 'wss://h'", "url = 'http://h/${KEY}'", "ulr = 'http://h'"],
            &["weigth = 1"],
        ],
    ),
    (
        "[[routes]]\nupstream = 'eth'",
        &[
            &["path_prefix = 'x'", "path_prefix = 5"],
            &["hosts = ['a b']", "hosts = []", "hosts = 'a'"],
            &["response_headers = { remove = ['host'] }", "response_headers = ['a']"],
            &["cors = { origins = ['null'] }", "cors = {}", "cors = { origins = ['*'], max_age = 5 }"],
        ],
    ),
];

#[test]
fn a_conf_with_so_many_mistakes_has_so_many_problems_each_at_its_line() {
    let mut rng = Rng::with_seed(6);
    let mut both_kinds = 0;
    for run in 0..3_000 {
        // Few mistakes or many.
        let share = rng.f32();
        let (mut text, mut lines, mut last) = (String::new(), Vec::new(), 0);
        for (table, keys) in MISTAKES {
            text += &format!("{table}\n");
            for values in *keys {
                // A missing URL would be one more mistake.
                let needed = values[0].starts_with("url");
                if rng.f32() < share || needed {
                    last = rng.usize(..values.len());
                    text += &format!("{}\n", values[last]);
                    lines.push(text.lines().count());
                }
            }
        }
        if text.lines().last() == Some("upstream = 'eth'") {
            text += "path_prefix = '/'\n";
        }
        if !text.contains("path_prefix") {
            text += "path_prefix = '/'\n";
        }
        both_kinds += usize::from(last > 0);
        let problems = refused(&text);
        let places: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(places, lines, "run {run}: {problems:#?}\nof\n{text}");
    }
    assert!(both_kinds > 100);
}

#[test]
fn what_only_follows_from_another_mistake_is_not_named() {
    assert_added(&[
        (
            "rate_limit_per_sec = «'fast'\nburst_size = 5",
            &["upstreams.eth.endpoints[0].rate_limit_per_sec: must be a whole"],
        ),
        ("[upstreams.eth]\nscoring = 'p'\n[policies]\np = «5", &["policies.p: must be a table"]),
        (
            "[upstreams.eth]\nscoring = 'p'\n[«policie.p]\nplugin = 'tiers'",
            &["policie: isn't a known key; did you mean"],
        ),
        ("[admin]\nlisten = '0.0.0.0:1'\ntoken = «5", &["admin.token: must be a string"]),
        ("[server]\nlisten = «5\n[admin]\nlisten = '127.0.0.1:8549'", &["server.listen: must be an array"]),
        ("[upstreams.eth.cooldown]\nbase = '90s'\nmax = «true", &["upstreams.eth.cooldown.max: must be a duration"]),
        ("[upstreams.eth]\nchain_id = 1\nhealth_check = «true", &["upstreams.eth.health_check: must be a table"]),
        (
            "[upstreams.eth]\nchain_id = '5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp'\nchain = «5\nhealth_check = {}",
            &["upstreams.eth.chain: must be"],
        ),
    ]);
    assert_problems(
        "[[upstreams.eth.endpoints]]\n«ulr = 'http://h'",
        &["upstreams.eth.endpoints[0].ulr: isn't a known key; did"],
    );
    assert_problems("[[upstreams.eth.endpoints]]\nurl = «5", &["upstreams.eth.endpoints[0].url: must be a string"]);
    assert_problems("[upstreams.eth]\nendpoints = «5", &["upstreams.eth.endpoints: must be an array"]);
    assert_problems("[upstreams]\neth = «5", &["upstreams.eth: must be a table"]);
    // A typo beside the right key doesn't hide that key's problem.
    assert_added(&[(
        "[server]\nthreads = «0\n«treads = 4",
        &["server.threads: must be at least 1", "server.treads: isn't a known key; did you mean \"threads\"?"],
    )]);
}

#[test]
fn what_is_still_to_come_is_called_so_in_its_place_only() {
    for (added, key) in [
        ("«clients = []", "clients"),
        ("[server]\n«state_file = 'x'", "server.state_file"),
        ("[admin]\n«tls = true", "admin.tls"),
        ("[plugins]\n«verify = true", "plugins.verify"),
        ("[upstreams.eth]\n«broadcast = true", "upstreams.eth.broadcast"),
    ] {
        let conf = if key == "clients" { format!("{added}\n{MINIMAL}") } else { format!("{MINIMAL}{added}") };
        assert_problems(&conf, &[&format!("{key}: is not supported yet")]);
    }
    assert_added(&[
        ("[plugins]\n«strip_prefix = true", &["plugins.strip_prefix: isn't a known key"]),
        ("«learn_limits = true", &["upstreams.eth.endpoints[0].learn_limits: isn't a known key"]),
    ]);
    for url in ["ws://h", "wss://h/key"] {
        let conf = format!("[[upstreams.eth.endpoints]]\nurl = «'{url}'");
        let problem =
            "upstreams.eth.endpoints[0].url: must begin with http:// or https://; a ws:// or wss:// URL is for ws_url";
        assert_problems(&conf, &[problem]);
    }
}

#[test]
fn a_placeholder_that_nobody_fills_in_is_refused_wherever_a_secret_stands() {
    for text in
        ["http://h/${KEY}", "http://h/$RPC_KEY", "http://h/v1?k=$KEY&x", "http://{{ host }}/", "$(cat key)", "$KEY"]
    {
        let problem =
            "holds a placeholder, and none is filled in; put the whole value into a variable and write \"env:NAME\"";
        assert_problems(
            &format!("[[upstreams.eth.endpoints]]\nurl = «'{text}'"),
            &[&format!("upstreams.eth.endpoints[0].url: {problem}")],
        );
        assert_added(&[(
            &format!("headers = {{ a = «'{text}' }}"),
            &[&format!("upstreams.eth.endpoints[0].headers.a: {problem}")],
        )]);
        assert_added(&[(&format!("[admin]\ntoken = «'{text}'"), &[&format!("admin.token: {problem}")])]);
    }
    for text in
        ["http://h/a$b", "http://h/?$filter=a", "http://h/pa$SWORD", "http://h/$", "http://h/$1", "http://h/{a}"]
    {
        super::accepted(&format!("[[upstreams.eth.endpoints]]\nurl = '{text}'"));
    }
}

#[test]
fn a_reference_behind_other_text_is_refused_since_nothing_is_filled_in_there() {
    for text in ["Bearer env:KEY", "http://h/v1/env:RPC_KEY", "http://h/env:key", "Bearer file:keys/rpc"] {
        let problem = "holds env: or file: behind other text, where nothing is filled in; put the whole value into a variable or a file, and write \"env:NAME\" or \"file:PATH\"";
        assert_added(&[(
            &format!("headers = {{ a = «'{text}' }}"),
            &[&format!("upstreams.eth.endpoints[0].headers.a: {problem}")],
        )]);
    }
    for text in ["http://h/penv:KEY", "http://h/env:", "http://h/file:x"] {
        super::accepted(&format!("[[upstreams.eth.endpoints]]\nurl = '{text}'"));
    }
}

/// A secret in place of the name of a variable or a file.
#[test]
fn what_is_pasted_behind_env_or_file_is_not_shown() {
    for (text, problem) in [
        (
            "env:sk1live2abc3",
            "the environment variable that env: names (its name isn't shown) isn't set; set it before the start, or write file:PATH",
        ),
        (
            "file:https://h/v1/sk1live2",
            "file: must be followed by a path, and is followed by a URL; without file: it is the value itself",
        ),
    ] {
        let url = format!("[[upstreams.eth.endpoints]]\nurl = «'{text}'");
        assert_problems(&url, &[&format!("upstreams.eth.endpoints[0].url: {problem}")]);
    }
}
