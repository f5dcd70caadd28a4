//! Pages of other sites: the browser's question, and the permission in answers.

use crate::support::{Client, Conf, Origin, Proxy, Response, json};

const APP: (&str, &str) = ("origin", "https://app.example.com");
const EVIL: (&str, &str) = ("origin", "https://evil.org");

fn start(cors: &str) -> (Origin, Proxy) {
    let origin = Origin::start("a");
    let route = format!("[[routes]]\npath_prefix = '/'\nupstream = 'main'\n{cors}\n");
    let proxy = Proxy::start(&Conf::of([&origin]).extra(&route));
    (origin, proxy)
}

/// A browser's question before a request of JSON.
fn ask(client: &mut Client, origin: (&str, &str)) -> Response {
    client.send(format!(
        "OPTIONS / HTTP/1.1\r\nhost: proxy\r\n{}: {}\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: content-type\r\n\r\n",
        origin.0, origin.1
    ));
    client.read()
}

fn allowed(answer: &Response) -> Option<&str> {
    answer.head.get("access-control-allow-origin")
}

#[test]
fn a_browser_asks_and_is_answered_without_an_endpoint() {
    let (origin, proxy) = start("cors = { origins = ['https://*.example.com'], max_age = '5m' }");
    let mut client = proxy.client();
    let answer = ask(&mut client, APP);
    assert_eq!((answer.status, allowed(&answer)), (204, Some(APP.1)));
    assert_eq!(answer.head.get("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.head.get("access-control-allow-headers"), Some("content-type"));
    assert_eq!(answer.head.get("access-control-max-age"), Some("300"));
    let refused = ask(&mut client, EVIL);
    assert_eq!((refused.status, allowed(&refused)), (204, None));
    assert_eq!(refused.head.get("access-control-allow-methods"), None);
    assert_eq!(origin.hits(), 0);
    // The question may be remembered; the request comes on the same connection.
    let answer = client.post_with("/", &[APP], json::READ);
    assert_eq!((answer.result().as_str(), allowed(&answer)), ("a", Some(APP.1)));
    assert_eq!(answer.head.get("vary"), Some("origin"));
}

#[test]
fn answers_to_other_pages_and_to_programs_carry_no_permission() {
    let (_origin, proxy) = start("cors = { origins = ['https://app.example.com'] }");
    for headers in [vec![EVIL], vec![], vec![APP, APP]] {
        let answer = proxy.client().post_with("/", &headers, json::READ);
        assert_eq!((answer.result().as_str(), allowed(&answer)), ("a", None), "{headers:?}");
        assert_eq!(answer.head.get("vary"), Some("origin"));
    }
}

/// A page can send these bytes without asking, so they are refused with `cors`, too; the page that
/// is allowed may read why.
#[test]
fn a_body_that_needs_no_question_is_refused_all_the_same() {
    let (origin, proxy) = start("cors = { origins = ['https://app.example.com'], credentials = true }");
    for (from, expected) in [(APP, Some(APP.1)), (EVIL, None)] {
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: proxy\r\n{}: {}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{}",
            from.0,
            from.1,
            json::READ.len(),
            json::READ
        ));
        let answer = client.read();
        assert_eq!((answer.status, allowed(&answer)), (415, expected));
        assert_eq!(answer.head.get("access-control-allow-credentials"), expected.map(|_| "true"));
    }
    assert_eq!(origin.hits(), 0);
}

#[test]
fn without_cors_a_browsers_question_is_no_post() {
    let (origin, proxy) = start("");
    let answer = ask(&mut proxy.client(), APP);
    assert_eq!((answer.status, allowed(&answer)), (405, None));
    let answer = proxy.client().post_with("/", &[APP], json::READ);
    assert_eq!((answer.result().as_str(), allowed(&answer), answer.head.get("vary")), ("a", None, None));
    assert_eq!(origin.hits(), 1);
}
