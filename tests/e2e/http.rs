//! Pools of `protocol = "http"`: what passes through, and what is tried again.

use crate::support::{Answer, Client, Conf, Endpoint, Origin, Proxy, Response, wait_until};

const HOSTED: &str = "host: proxy\r\n";

fn conf<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Conf {
    Conf::of(origins).set("protocol", "'http'")
}

fn ask(client: &mut Client, line: &str, headers: &str, body: &str) -> Response {
    client.send(format!("{line} HTTP/1.1\r\n{HOSTED}{headers}\r\n{body}"));
    client.read()
}

fn put(client: &mut Client, body: &str) -> Response {
    ask(client, "PUT /x", &format!("content-length: {}\r\n", body.len()), body)
}

/// Two origins, the first of which gives this answer.
fn first_fails(answer: Answer) -> (Origin, Origin, Proxy) {
    let (bad, good) = (Origin::always("bad", answer), Origin::always("good", Answer::body("fine")));
    let proxy = Proxy::start(&conf([&bad, &good]));
    (bad, good, proxy)
}

#[test]
fn a_request_and_its_response_pass_through() {
    let answer = Answer::body("<p>").with_status(418).header("content-type", "text/html").header("x-own", "1");
    let origin = Origin::always("a", answer);
    let proxy = Proxy::start(&conf([&origin]));
    let mut client = proxy.client();
    let response = ask(&mut client, "GET /a/./b%2Ec?q=%20#", "x-mine: 2\r\n", "");
    assert_eq!(response.status, 400, "a fragment is for the client only");
    let mut client = proxy.client();
    let response = ask(&mut client, "GET /a/b?q=%20", "x-mine: 2\r\nconnection: x-hop\r\nx-hop: 3\r\n", "");
    assert_eq!((response.status, response.text()), (418, "<p>".to_owned()));
    assert_eq!(response.head.get("content-type"), Some("text/html"));
    assert_eq!(response.head.get("x-own"), Some("1"));
    let request = origin.last();
    assert_eq!(request.head.first_line, "GET /a/b?q=%20 HTTP/1.1");
    assert_eq!((request.head.get("x-mine"), request.head.get("x-hop")), (Some("2"), None));
    assert_eq!(request.head.get("host"), Some(&*origin.address().to_string()));
    assert_eq!(put(&mut client, "abc").status, 418, "the connection is kept");
    assert_eq!((origin.last().text(), origin.connections()), ("abc".to_owned(), 1));
}

#[test]
fn the_path_of_an_endpoint_comes_before_the_requests() {
    let origin = Origin::start("a");
    let endpoint = Endpoint::new(&format!("http://{}/base/", origin.address()), "a").set("headers", "{ x-key = 'k' }");
    let proxy = Proxy::start(&Conf::of([]).set("protocol", "'http'").and(endpoint));
    assert_eq!(ask(&mut proxy.client(), "GET /x?y", "x-key: mine\r\n", "").status, 200);
    assert_eq!(origin.last().head.first_line, "GET /base/x?y HTTP/1.1");
    assert_eq!(origin.last().head.get("x-key"), Some("k"));
}

#[test]
fn what_another_endpoint_may_answer_is_tried_there() {
    for status in [502, 503, 504, 429] {
        let (bad, good, proxy) = first_fails(Answer::status(status));
        let response = ask(&mut proxy.client(), "GET /x", "", "");
        assert_eq!((response.status, response.text()), (200, "fine".to_owned()), "{status}");
        assert_eq!((bad.hits(), good.hits()), (1, 1));
    }
    for end in [Answer::reset(), Answer::close()] {
        let (bad, good, proxy) = first_fails(end);
        assert_eq!(put(&mut proxy.client(), "abc").text(), "fine");
        assert_eq!((bad.hits(), good.last().text()), (1, "abc".to_owned()));
    }
}

#[test]
fn a_write_whose_bytes_were_sent_is_not_sent_again() {
    let post = |proxy: &Proxy, headers: &str| {
        ask(&mut proxy.client(), "POST /x", &format!("content-length: 2\r\n{headers}"), "ab")
    };
    let (bad, good, proxy) = first_fails(Answer::body("busy").with_status(503));
    let response = post(&proxy, "");
    assert_eq!((response.status, response.text()), (503, "busy".to_owned()), "the endpoint's own answer");
    assert_eq!((bad.hits(), good.hits()), (1, 0));

    let (_bad, good, proxy) = first_fails(Answer::status(503));
    assert_eq!(post(&proxy, "idempotency-key: 1\r\n").text(), "fine");
    assert_eq!(good.last().text(), "ab");

    let (bad, good, proxy) = first_fails(Answer::status(503));
    bad.stop();
    assert_eq!(post(&proxy, "").text(), "fine", "nothing was sent to an endpoint that refuses connections");
    assert_eq!(good.last().text(), "ab");
}

#[test]
fn a_body_beyond_the_replay_buffer_is_sent_once_and_whole() {
    let (bad, good) = (Origin::always("bad", Answer::status(503)), Origin::always("good", Answer::body("fine")));
    let proxy = Proxy::start(&conf([&bad, &good]).set("replay_buffer", "'4KiB'"));
    let body = |size| "x".repeat(size);
    assert_eq!(put(&mut proxy.client(), &body((4 << 10) + 1)).status, 503);
    assert_eq!(bad.last().body.len(), (4 << 10) + 1, "none of it is missing");
    assert_eq!(good.hits(), 0);
    assert_eq!(put(&mut proxy.client(), &body(4 << 10)).text(), "fine");
    assert_eq!(good.last().body.len(), 4 << 10);
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    let large = "0123456789abcdef".repeat(512 << 10);
    let origin = Origin::always("a", Answer::body(large.clone()));
    let proxy = Proxy::start(&conf([&origin]).server("max_body", "'64KiB'"));
    let mut client = proxy.client();
    let response = put(&mut client, &large);
    assert_eq!((response.status, response.body.len()), (200, large.len()));
    assert!(response.text() == large && origin.last().text() == large);
    let chunks = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let response = ask(&mut client, "PUT /x", "transfer-encoding: chunked\r\n", &chunks);
    assert!(response.text() == large && origin.last().text() == large);
}

#[test]
fn chunks_outside_the_grammar_end_the_request() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&conf([&origin]));
    for chunks in ["3\r\nabc\n0\r\n\r\n", "3;\n\r\nabc\r\n0\r\n\r\n", "\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n"]
    {
        let mut client = proxy.client();
        client.send(format!("PUT /x HTTP/1.1\r\n{HOSTED}transfer-encoding: chunked\r\n\r\n{chunks}"));
        let response = client.try_read();
        assert!(response.is_err() || response.is_ok_and(|response| response.status == 400), "{chunks:?}");
        assert!(client.is_closed_by_server());
    }
    assert_eq!(origin.hits(), 0, "no endpoint has a whole request");
}

#[test]
fn a_response_without_a_body_has_none() {
    let origin = Origin::always("a", Answer::body("four"));
    let proxy = Proxy::start(&conf([&origin]));
    let mut client = proxy.client();
    client.send(format!("HEAD /x HTTP/1.1\r\n{HOSTED}\r\n"));
    let head = client.read_head().unwrap();
    assert_eq!((head.content_length(), origin.hits()), (Some(4), 1));
    assert_eq!(put(&mut client, "").text(), "four", "the next response follows at once");
    origin.answer(Answer::raw("HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n"));
    client.send(format!("GET /x HTTP/1.1\r\n{HOSTED}\r\n"));
    let head = client.read_head().unwrap();
    assert!(head.first_line.contains("304") && head.get("etag") == Some("x"));
}

#[test]
fn an_endpoint_that_breaks_off_is_held_to_it_and_its_client_sees_it() {
    let origin = Origin::always("a", Answer::body("0123456789").cut_after(100).then_close());
    let proxy = Proxy::start(&conf([&origin]));
    origin.answer(Answer::body("0123456789").announcing(20).then_close());
    let mut client = proxy.client();
    client.send(format!("GET /x HTTP/1.1\r\n{HOSTED}\r\n"));
    assert!(client.try_read().is_err(), "no end is made up");
    let resets = || proxy.metrics().sum("attempts_total", &[("outcome", "reset")]);
    wait_until("the attempt is settled", || resets() == 1.0);
}

#[test]
fn an_upstream_without_a_good_endpoint_refuses_in_plain_text() {
    let origin = Origin::refusing("a");
    let proxy = Proxy::start(&conf([&origin]));
    let response = ask(&mut proxy.client(), "GET /x", "", "");
    assert_eq!(response.status, 502);
    assert_eq!(response.head.get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.text(), "the endpoints that were tried failed\n");
    wait_until("it is logged", || proxy.lines("method=\"GET\" ") == 1);
}

/// An endpoint may close an idle connection at any time: that is no failure.
#[test]
fn a_used_connection_that_breaks_is_replaced_within_the_attempt() {
    let origin = Origin::scripted("a", |request| if request.nth == 2 { Answer::reset() } else { Answer::body("fine") });
    let proxy = Proxy::start(&conf([&origin]).server("threads", "1"));
    for _ in 0..2 {
        assert_eq!(ask(&mut proxy.client(), "GET /x", "", "").text(), "fine");
    }
    assert_eq!((origin.hits(), origin.connections()), (3, 2));
    wait_until("both are settled", || proxy.metrics().sum("attempts_total", &[("outcome", "success")]) == 2.0);
    assert_eq!(proxy.metrics().sum("attempts_total", &[("outcome", "reset")]), 0.0);
    // A write may have been carried out.
    let write = || ask(&mut proxy.client(), "POST /x", "content-length: 2\r\n", "ab").status;
    assert_eq!((write(), origin.hits()), (502, 4));
}

#[test]
fn a_client_that_goes_away_ends_the_attempt_and_harms_nobody() {
    let origin = Origin::always("a", Answer::hang());
    let proxy = Proxy::start(&conf([&origin]).set("max_concurrency", "1"));
    let mut client = proxy.client();
    client.send(format!("GET /x HTTP/1.1\r\n{HOSTED}\r\n"));
    wait_until("the endpoint is asked", || origin.hits() == 1);
    drop(client);
    wait_until("the endpoint is left", || origin.abandoned() == 1);
    origin.answer(Answer::body("fine"));
    assert_eq!(ask(&mut proxy.client(), "GET /x", "", "").text(), "fine");
    assert_eq!(proxy.metrics().sum("attempts_total", &[("outcome", "canceled")]), 1.0);
    assert_eq!(proxy.cooldown("a"), 0.0);
}

/// A response that switches protocols unasked, and one of HTTP/1.0 in chunks, whose end isn't clear.
#[test]
fn responses_that_no_client_may_get_are_tried_elsewhere() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let chunked = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for raw in [switching, chunked] {
        let (bad, _good, proxy) = first_fails(Answer::raw(raw));
        let mut client = proxy.client();
        let response = ask(&mut client, "GET /", "", "");
        assert_eq!((response.status, response.text()), (200, "fine".to_owned()), "{raw}");
        assert_eq!(ask(&mut client, "GET /", "", "").text(), "fine", "the connection goes on");
        assert_eq!((bad.hits(), proxy.metrics().attempts("bad", "bad_response")), (1, 1.0), "{raw}");
        let (_bad, _good, proxy) = first_fails(Answer::raw(raw));
        let response = ask(&mut proxy.client(), "POST /", "content-length: 1\r\n", "x");
        assert_eq!(response.status, 502, "{raw}");
    }
}
