//! Compression of responses.

use std::process::Command;

use crate::support::{Answer, Conf, Origin, Proxy};

const TEXT: &str = "the same words again and again, ";

/// The head and the body as `curl` gets them; `--compressed` decodes the body.
fn curl(proxy: &Proxy, arguments: &[&str]) -> (String, String) {
    let url = format!("http://{}/", proxy.address());
    let output = Command::new("curl").args(["-sSi", "--max-time", "20", &url]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn start(answer: Answer) -> (Origin, Proxy) {
    let origin = Origin::always("a", answer.header("content-type", "text/plain"));
    let proxy = Proxy::start(&Conf::of([&origin]).set("protocol", "'http'").set("compression_level", "6"));
    (origin, proxy)
}

#[test]
fn a_client_that_accepts_it_gets_a_compressed_response() {
    let text = TEXT.repeat(1_000);
    let (_origin, proxy) = start(Answer::body(text.as_str()).header("etag", "\"1\""));
    for coding in ["gzip", "br", "zstd"] {
        let (head, body) = curl(&proxy, &["-H", &format!("accept-encoding: {coding}")]);
        assert!(head.contains(&format!("content-encoding: {coding}")), "{head}");
        assert!(head.contains("vary: accept-encoding") && head.contains("etag: w/\"1\""), "{head}");
        assert!(body.len() < text.len() / 10, "{}", body.len());
    }
    assert_eq!(curl(&proxy, &["--compressed"]).1, text);
    for accepted in ["", "gzip;q=0, identity"] {
        let (head, body) = curl(&proxy, &["-H", &format!("accept-encoding: {accepted}")]);
        assert!(!head.contains("content-encoding") && body == text, "{head}");
    }
}

#[test]
fn it_is_off_without_the_key() {
    let origin = Origin::always("a", Answer::body(TEXT.repeat(1_000)).header("content-type", "text/plain"));
    let proxy = Proxy::start(&Conf::of([&origin]).set("protocol", "'http'"));
    let (head, _) = curl(&proxy, &["-H", "accept-encoding: gzip"]);
    assert!(!head.contains("content-encoding") && !head.contains("vary"), "{head}");
}

#[test]
fn what_it_would_break_is_left_alone() {
    let text = TEXT.repeat(1_000);
    for answer in [
        Answer::body(text.as_str()).header("cache-control", "no-transform"),
        Answer::body(text.as_str()).header("content-encoding", "identity"),
        Answer::body(text.as_str()).with_status(206).header("content-range", "bytes 0-31999/90000"),
        Answer::body(text.as_str()).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ] {
        let (_origin, proxy) = start(answer);
        let (head, body) = curl(&proxy, &["-H", "accept-encoding: gzip"]);
        assert!(!head.contains("content-encoding: gzip") && body == text, "{head}");
        let (head, _) = curl(&proxy, &["-I", "-H", "accept-encoding: gzip"]);
        assert!(!head.contains("content-encoding: gzip"), "{head}");
    }
}
