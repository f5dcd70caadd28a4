//! Secrets appear in nothing that is printed.

use super::{accepted, read};

/// A word in every place that may hold a secret.
const SECRET: &str = "s3cr3t";

#[track_caller]
fn assert_silent(printed: &str) {
    assert!(!printed.contains(SECRET), "{printed}");
}

#[test]
fn a_config_prints_without_its_secrets() {
    let config = accepted(
        "[[upstreams.eth.endpoints]]\n\
         url = 'https://s3cr3t:s3cr3t@rpc.example.com/v1/s3cr3t?key=s3cr3t'\n\
         headers = { x-api-key = 's3cr3t' }\n\
         [admin]\ntoken = 's3cr3t'\n\
         [[routes]]\npath_prefix = '/'\nupstream = 'eth'\n\
         request_headers = { set = { x-key = 's3cr3t' } }\nresponse_headers = { set = { x-key = 's3cr3t' } }\n",
    );
    for printed in [format!("{config:?}"), format!("{config:#?}")] {
        assert_silent(&printed);
        assert!(printed.contains("https://rpc.example.com"), "{printed}");
        assert!(printed.contains("<redacted>"), "{printed}");
    }
    let url = &config.upstreams["eth"].endpoints[0].url;
    assert_eq!(url.to_string(), "https://rpc.example.com");
    assert_eq!(format!("{url:?}"), "https://rpc.example.com");
}

#[test]
fn an_error_prints_without_the_values() {
    for conf in [
        // Syntax.
        "url = https://h/s3cr3t",
        "url = 'https://h/s3cr3t",
        "url = \"https://h/s3cr3t\\q\"",
        "url = 'https://h/s3cr3t' 's3cr3t'",
        "a = 's3cr3t'\na = 's3cr3t'",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h/s3cr3t'\nurl = 'http://h/s3cr3t'",
        "[[routes]]\npath_prefix = '/'\nrespond = 's3cr3t'",
        "[[routes]]\npath_prefix = '/'\nrespond = { location = 'https://h/s3cr3t x' }",
        "[[routes]]\npath_prefix = '/'\nrespond = {}\nresponse_headers = { set = { a = \"s3cr3t\\n\" } }",
        "[[routes]]\npath_prefix = '/'\nrespond = {}\nresponse_headers = { set = { 'https://h/s3cr3t' = 'x' } }",
        "[[routes]]\npath_prefix = '/'\nrespond = {}\nresponse_headers = { set = { host = 's3cr3t' } }",
        "[[routes]]\npath_prefix = '/'\nrespond = {}\nresponse_headers = { set = { 's3cr3t-name-0' = [] } }",
        "[[routes]]\npath_prefix = '/'\nrespond = {}\nresponse_headers = { remove = ['s3cr3t s3cr3t'] }",
        "[[routes]]\npath_prefix = '/'\nhosts = ['https://h/s3cr3t']\nrespond = {}",
        // Types and keys.
        "upstreams = 'https://h/s3cr3t'",
        "'https://h/s3cr3t' = 1",
        "[upstreams.eth]\nendpoints = 'https://h/s3cr3t'",
        "[upstreams.eth]\nendpoints = ['https://h/s3cr3t']",
        "[upstreams.eth]\nmax_attempts = 'https://h/s3cr3t'",
        "[upstreams.eth]\nmax_attempts = ', expected s3cr3t'",
        "[upstreams.eth]\n'https://h/s3cr3t' = 1",
        "[upstreams.eth]\n'` `https://h/s3cr3t' = 1",
        "[upstreams.eth]\n', expected `s3cr3t`' = 1",
        "[[upstreams.eth.endpoints]]\nurl = ['https://h/s3cr3t']",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nheaders = ['s3cr3t']",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nheaders = 's3cr3t'",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nheaders = { a = ['s3cr3t'] }",
        "[admin]\ntoken = ['s3cr3t']",
        // Values.
        "[[upstreams.eth.endpoints]]\nurl = 'ftp://s3cr3t@h/s3cr3t'",
        "[[upstreams.eth.endpoints]]\nurl = 's3cr3t'",
        "[[upstreams.eth.endpoints]]\nurl = 'http://s3cr3t%3a:x@h'",
        "[[upstreams.eth.endpoints]]\nurl = 'https://h/s3cr3t#'",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h/s3cr3t'\n[[upstreams.eth.endpoints]]\nurl = 'http://h/s3cr3t'",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nname = 'http://h/s3cr3t'",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nheaders = { host = 's3cr3t' }",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nheaders = { a = \"s3cr3t\\n\" }",
        "[[upstreams.eth.endpoints]]\nurl = 'http://h'\nheaders = { 'https://h/s3cr3t' = 'x' }",
        "[[upstreams.eth.endpoints]]\nurl = 'env:BROKEN s3cr3t'",
        "[[upstreams.'https://h/s3cr3t'.endpoints]]\nurl = 'http://h'",
        "[upstreams.eth]\nscoring = 'https://h/s3cr3t'\nendpoints = [{ url = 'http://h' }]",
        "[upstreams.eth]\ndeadline = 'https://h/s3cr3t'\nendpoints = [{ url = 'http://h' }]",
        "[admin]\ntoken = 's3cr3t s3cr3t'",
        "[admin]\nlisten = 'https://h/s3cr3t'",
    ] {
        let error = read(conf).expect_err(conf);
        assert_silent(&error.to_string());
        assert_silent(&format!("{error:?}"));
    }
}

#[test]
fn the_value_of_a_variable_is_not_printed_either() {
    let error = read("[[upstreams.eth.endpoints]]\nurl = 'env:BROKEN'").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("sk-broken"), "{error}");
}
