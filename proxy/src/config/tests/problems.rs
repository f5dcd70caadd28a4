//! Problems of a conf as a whole, and of `[server]`, `[admin]`, `[plugins]` and `[policies]`, with
//! their places.

use super::super::*;
use super::{MINIMAL, assert_added, assert_problems, read, refused};

#[test]
fn problems_print_with_file_line_column_and_key() {
    let text = "[[upstreams.ethereum.endpoints]]\nurl = 'http://h'\nrate_limit_per_sec = 0\n";
    let expected = "conf/pointsman.toml:3:22: upstreams.ethereum.endpoints[0].rate_limit_per_sec: must be at least 1";
    assert_eq!(read(text).unwrap_err().to_string(), expected);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Path::new("/nonexistent/pointsman.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/pointsman.toml: can't be read: "), "{error}");
    assert!(error.problems().is_empty());
}

#[test]
fn syntax_errors_have_their_place_and_no_key() {
    for (text, message) in [
        ("[server]\nthreads = «https://x", ": isn't TOML: string values must be quoted"),
        ("[server]\nthreads = 1\n«threads = 2", ": isn't TOML: duplicate key"),
        ("[server\n", ": isn't TOML: unclosed table"),
    ] {
        if text.contains('«') {
            assert_problems(text, &[message]);
        } else {
            assert!(refused(text)[0].to_string().contains(message), "{:?}", refused(text));
        }
    }
}

#[test]
fn all_unknown_keys_and_wrong_types_are_named_at_once() {
    assert_problems(
        r#"
«color = 1
[server]
«treads = 4
listen = [«8549, "127.0.0.1:1"]
max_body = «true
[admin]
listen = «8550
[plugins]
dir = "p"
watch = «"yes"
[upstreams.eth]
max_attempts = «"three"
deadline = «10
latency_smoothing_factor = «"slow"
«mirror = { share = 0.1 }
chain_id = «["1"]
client = «["1s"]
[[upstreams.eth.endpoints]]
url = «5
price = «"cheap"
headers = { authorization = «7 }
tags = «"archive"
[[upstreams.eth.endpoints]]
url = "http://h"
weight = «99999999999999999999
«weigth = 1
"#,
        &[
            "color: isn't a known key; the keys here are server, admin, plugins, policies, upstreams, routes",
            "server.treads: isn't a known key; did you mean \"threads\"?",
            "server.listen[0]: must be a string, not a whole number",
            "server.max_body: must be a size such as \"64KiB\" or \"10MiB\", or a whole number of bytes, not true or false",
            "admin.listen: must be a string, not a whole number",
            "plugins.watch: must be true or false, not a string",
            "upstreams.eth.max_attempts: must be a whole number, not a string",
            "upstreams.eth.deadline: must be a duration such as \"250ms\", \"10s\" or \"1m 30s\", not a whole number",
            "upstreams.eth.latency_smoothing_factor: must be a number, not a string",
            "upstreams.eth.mirror: isn't a known key; the keys here are protocol, replay_buffer, chain",
            "upstreams.eth.chain_id: must be a whole number, or a genesis hash with chain = \"solana\", not an array",
            "upstreams.eth.client: must be a table, not an array",
            "upstreams.eth.endpoints[0].url: must be a string, not a whole number",
            "upstreams.eth.endpoints[0].price: must be a number, not a string",
            "upstreams.eth.endpoints[0].headers.authorization: must be a string, not a whole number",
            "upstreams.eth.endpoints[0].tags: must be an array, not a string",
            "upstreams.eth.endpoints[1].weight: is too large a number",
            "upstreams.eth.endpoints[1].weigth: isn't a known key; did you mean \"weight\"?",
        ],
    );
}

#[test]
fn tables_of_the_wrong_shape_are_refused() {
    assert_added(&[("«[[server]]\nthreads = 1\n", &["server: must be a table, not an array"])]);
    assert_problems("upstreams = «3", &["upstreams: must be a table, not a whole number"]);
    assert_problems("«[[upstreams.eth]]\nendpoints = []", &["upstreams.eth: must be a table, not an array"]);
    assert_problems(
        "[upstreams.eth]\nendpoints = [«'u', 'v']",
        &["upstreams.eth.endpoints[0]: must be a table, not a string"],
    );
    assert_added(&[("«[server.listen]\na = 1", &["server.listen: must be an array, not a table"])]);
}

#[test]
fn server_and_admin_are_checked() {
    assert_added(&[
        ("[server]\nlisten = «[]", &["server.listen: must hold at least one address"]),
        ("[server]\nlisten = [«'localhost:1']", &["server.listen[0]: must be an IP address and a port"]),
        ("[server]\nlisten = ['1.1.1.1:1', «'1.1.1.1:1']", &["server.listen[1]: overlaps server.listen[0]"]),
        ("[server]\nlisten = ['0.0.0.0:1', «'1.1.1.1:1']", &["server.listen[1]: overlaps server.listen[0]"]),
        ("[server]\nlisten = «['127.0.0.1:8550']", &["admin.listen: overlaps server.listen"]),
        ("[admin]\nlisten = «'127.0.0.1:8549'", &["admin.listen: overlaps server.listen"]),
        ("[plugins]\nrollback_grace = «'0s'", &["plugins.rollback_grace: must be at least 1ms"]),
        ("[server]\nthreads = «0", &["server.threads: must be at least 1"]),
        ("[server]\nthreads = «1025", &["server.threads: must be at most 1024"]),
        ("[server]\nthreads = «-9", &["server.threads: must be at least 1"]),
        ("[server]\nmax_body = «'10MB'", &["server.max_body: must be a size such as"]),
        ("[server]\nmax_body = «0", &["server.max_body: must be at least 1 B"]),
        ("[server]\nmax_body = «'2GiB'", &["server.max_body: must be at most 1073741824 B"]),
        ("[server]\nmax_connections = «0", &["server.max_connections: must be at least 1"]),
        (
            "[server]\nmax_connections_per_address = «2_000_000",
            &["server.max_connections_per_address: must be at most 1000000"],
        ),
        ("[server]\nmax_buffered = «'9MiB'", &["server.max_buffered: must be at least 10485760 B"]),
        ("[server]\ntrusted_proxies = ['::1', «'a']", &["server.trusted_proxies[1]: must be an address or a network"]),
        ("[server]\ntrusted_proxies = [«'10.0.0.1/8']", &["server.trusted_proxies[0]: has address bits behind"]),
        ("[server]\nclient_key = «'ip'", &["server.client_key: must be \"address\""]),
        ("[server]\nclient_key = «'header:'", &["server.client_key: must name a header after header:"]),
        ("[server]\nclient_key = «'header:a b'", &["server.client_key: must name a header after header:"]),
        ("[server]\nclient_key = «'header:Host'", &["server.client_key: must not be a header that says nothing"]),
        ("[server]\nclient_key_secret = «'short'", &["server.client_key_secret: must be at least 16 bytes"]),
        (
            "[server]\nclient_key_secret = «'env:UNSET'",
            &["server.client_key_secret: the environment variable UNSET isn't set"],
        ),
        ("[server]\nshutdown_grace = «'30'", &["server.shutdown_grace: must be a duration such as"]),
        ("[server]\nshutdown_grace = «'25h'", &["server.shutdown_grace: must be at most 1day"]),
        ("[admin]\nlisten = «'0.0.0.0:1'", &["admin.listen: needs admin.token"]),
        ("[admin]\nlisten = «'[::]:1'", &["admin.listen: needs admin.token"]),
        ("[admin]\nlisten = «'here'", &["admin.listen: must be an IP address"]),
        ("[admin]\ntoken = «''", &["admin.token: must not be empty"]),
        ("[admin]\ntoken = «'a b'", &["admin.token: must be ASCII without spaces"]),
        ("[plugins]\ndir = «''", &["plugins.dir: must be the path of a folder"]),
        ("[plugins]\ncache_dir = «''", &["plugins.cache_dir: must be the path of a folder"]),
        ("[plugins]\nmax_instances = «15", &["plugins.max_instances: must be at least 16"]),
    ]);
    assert!(read(&format!("{MINIMAL}[server]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']")).is_ok());
    assert!(read(&format!("{MINIMAL}[admin]\nlisten = '[::ffff:127.0.0.1]:1'")).is_ok());
}

#[test]
fn trusted_keys_are_checked_and_an_empty_list_is_no_way_to_trust_everybody() {
    let key = "RWQAAQIDBAUGBwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let broken = format!("[plugins]\ntrusted_keys = ['{key}', «'{}', «'minisign.pub']", &key[..55]);
    assert_added(&[
        ("[plugins]\ntrusted_keys = «[]", &["plugins.trusted_keys: must hold at least one key"]),
        ("[plugins]\ntrusted_keys = «'RW'", &["plugins.trusted_keys: must be an array, not a string"]),
        ("[plugins]\ntrusted_keys = [«1]", &["plugins.trusted_keys[0]: must be a string, not a whole number"]),
        (
            &broken,
            &[
                "plugins.trusted_keys[1]: must be a minisign public key",
                "plugins.trusted_keys[2]: must be a minisign public key",
            ],
        ),
    ]);
    assert!(read(&format!("{MINIMAL}[plugins]\ntrusted_keys = ['{key}']")).is_ok());
}

#[test]
fn secrets_that_cannot_be_had_are_named() {
    assert_added(&[
        ("[admin]\ntoken = «'env:NOPE'", &["admin.token: the environment variable NOPE isn't set"]),
        ("[admin]\ntoken = «'env:EMPTY'", &["admin.token: the environment variable EMPTY is empty"]),
        ("[admin]\ntoken = «'env:'", &["admin.token: env: must be followed by the name"]),
        ("[admin]\ntoken = «'env:A-B'", &["admin.token: env: must be followed by the name"]),
        ("[admin]\ntoken = «'file:'", &["admin.token: file: must be followed by a path"]),
        ("[admin]\ntoken = «'file:no/such'", &["admin.token: the file conf/no/such can't be read: "]),
        ("[admin]\ntoken = «'file:/dev/null'", &["admin.token: the file /dev/null is not a file but a device"]),
        (
            "headers = { x-key = «'env:NOPE' }",
            &["upstreams.eth.endpoints[0].headers.x-key: the environment variable NOPE"],
        ),
    ]);
    assert_problems("[[upstreams.e.endpoints]]\nurl = «'env:NOPE'", &["upstreams.e.endpoints[0].url: the environment"]);
    assert_problems(
        "[[upstreams.e.endpoints]]\nurl = «'env:BROKEN'",
        &["upstreams.e.endpoints[0].url: must not contain spaces"],
    );
}

#[test]
fn policies_are_checked() {
    assert_added(&[
        ("«[policies.p]", &["policies.p.plugin: is missing; add plugin = \"NAME\""]),
        ("[policies.«native]\nplugin = 'x'", &["policies.native: is the name of the built-in policy"]),
        ("[policies.«Big]\nplugin = 'x'", &["policies.Big: isn't a name"]),
        ("[policies.p]\nplugin = «'tiers.wasm'", &["policies.p.plugin: must be a plugin's name"]),
        ("[policies.p]\nplugin = «''", &["policies.p.plugin: must be a plugin's name"]),
        ("[policies.p]\nplugin = 'x'\nversion = «'new'", &["policies.p.version: must be a version requirement"]),
        ("[policies.p]\nplugin = 'x'\nsha256 = «'ab'", &["policies.p.sha256: must be 64 hexadecimal digits"]),
        ("[policies.p]\nplugin = 'x'\nconfig = «{ a = [nan] }", &["policies.p.config.a[0]: must be a finite number"]),
        ("[policies.p]\nplugin = 'x'\nfuel = «999", &["policies.p.fuel: must be at least 1000"]),
        ("[policies.p]\nplugin = 'x'\nfuel = «100000001", &["policies.p.fuel: must be at most 100000000"]),
        ("[policies.p]\nplugin = 'x'\nconfig = «3", &["policies.p.config: must be a table, not a whole number"]),
    ]);
}

#[test]
fn the_number_of_endpoints_is_bounded() {
    let endpoints = |count: usize| {
        let all: String = (0..count).map(|n| format!("{{ url = 'http://h{n}' }},")).collect();
        format!("[upstreams.e]\nendpoints = [{all}]")
    };
    assert_eq!(read(&endpoints(100_000)).unwrap().upstreams["e"].endpoints.len(), 100_000);
    let problems = refused(&endpoints(100_001));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("100001 endpoints"), "{}", problems[0]);
}

#[test]
fn a_long_list_of_problems_is_cut_when_printed() {
    let endpoints: String = (0..150).map(|n| format!("[[upstreams.e.endpoints]]\nurl = 'x{n}'\n")).collect();
    let error = read(&endpoints).unwrap_err();
    assert_eq!(error.problems().len(), 150);
    let printed = error.to_string();
    assert_eq!(printed.lines().count(), 101);
    assert!(printed.ends_with("conf/pointsman.toml: and 50 more"), "{printed}");
}

#[test]
fn columns_count_characters_and_lines_may_end_in_crlf() {
    assert_problems(
        "[[upstreams.e.endpoints]]\r\nurl = 'http://h'\r\ntags = ['é→', «'b b']\r\nweight = «-1\r\n",
        &["upstreams.e.endpoints[0].tags[1]: must be 1 to 64", "upstreams.e.endpoints[0].weight: must be at least 0"],
    );
}
