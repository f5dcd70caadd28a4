//! Raw bytes of an endpoint and their effect: one table, which can test another reader of answers.
//!
//! Each row states the client's answer and whether the endpoint's connection is reused; the next
//! client must get its own answer.

mod cases;

use crate::nonsense::{answer_to, patient, read};
use crate::support::{Answer, Conf, Origin, Proxy, Request};

/// A row of the table.
struct Case {
    name: &'static str,
    /// The client's answer.
    gets: Gets,
    /// Whether the connection is reused for the next request.
    kept: bool,
    /// The endpoint's bytes, given the right answer, whose result is "mine".
    sends: fn(&str) -> Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// The answer.
    Mine,
    /// An error: the endpoint failed.
    Failed,
    /// An error: the endpoint timed out.
    Late,
}

/// A good answer. Its other fields may be nested deeply.
#[derive(serde::Deserialize)]
struct Answered {
    id: String,
    result: String,
}

/// The client's result for this case, and whether the connection was reused for another request.
fn try_one(proxy: &Proxy, origin: &Origin, name: &str) -> (Gets, bool) {
    let response = proxy.client().post(read(name));
    let gets = match response.status {
        200..300 => {
            let answer: Answered = serde_json::from_slice(&response.body).expect("a good answer");
            assert_eq!((answer.result.as_str(), answer.id.as_str()), ("mine", name), "{name}");
            Gets::Mine
        }
        status => {
            assert_eq!((response.error_code(), &response.json()["id"]), (-32000, &name.into()), "{name}");
            assert!(!response.text().contains("mine"), "{name}: {}", response.text());
            if status == 504 { Gets::Late } else { Gets::Failed }
        }
    };
    let before = origin.last().connection;
    assert_eq!(proxy.client().post(read("next")).result(), "fine", "after {name}");
    (gets, origin.last().connection == before)
}

/// A proxy with one thread, so that an idle connection is reused.
fn pair(sends: impl Fn(&str) -> Answer + Send + Sync + 'static) -> (Origin, Proxy) {
    let origin = Origin::scripted("bad", move |request: &Request| match request.text().contains("\"next\"") {
        true => Answer::body(answer_to(request, "fine")),
        false => sends(&answer_to(request, "mine")),
    });
    let proxy = Proxy::start(&patient(Conf::of([&origin])).server("threads", "1"));
    (origin, proxy)
}

fn check(cases: &'static [Case]) {
    let find = move |good: &str| cases.iter().find(|case| good.contains(&format!("\"{}\"", case.name)));
    let (origin, proxy) = pair(move |good| (find(good).expect("a row of this name").sends)(good));
    let wrong = cases.iter().filter_map(|case| {
        let (gets, kept) = try_one(&proxy, &origin, case.name);
        let as_expected = (gets, kept) == (case.gets, case.kept);
        (!as_expected).then(|| format!("{}: {gets:?}, kept: {kept}", case.name))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(!proxy.log().contains("panicked"));
}

#[test]
fn heads() {
    check(cases::HEADS);
}

#[test]
fn framing() {
    check(cases::FRAMING);
}

#[test]
fn bodies() {
    check(cases::BODIES);
}

#[test]
fn the_table_is_as_large_as_it_should_be() {
    let mut names: Vec<&str> = [cases::HEADS, cases::FRAMING, cases::BODIES]
        .iter()
        .flat_map(|cases| cases.iter().map(|case| case.name))
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "two rows of one name");
    assert!(all >= 100, "{all} rows");
}

/// A truncated answer is invalid, and none of its bytes reach the next client.
#[test]
fn an_answer_that_ends_at_any_byte_is_none() {
    let whole = |good: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{good}", good.len());
    let chunked = |good: &str| {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{good}\r\n0\r\n\r\n", good.len())
    };
    type Make = fn(&str) -> String;
    let forms: [(&str, Make); 2] = [("length", whole), ("chunks", chunked)];
    for (form, make) in forms {
        for reset in [false, true] {
            let (origin, proxy) = pair(move |good| {
                let id = good.split('"').skip_while(|part| *part != "id").nth(2).unwrap_or_default();
                let end: usize = id.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
                let begin = Answer::raw(&make(good).as_bytes()[..end]);
                if reset { begin.then_reset() } else { begin.then_close() }
            });
            let length = make(&format!(r#"{{"jsonrpc":"2.0","id":"{form} 100","result":"mine"}}"#)).len();
            for end in 0..length {
                // Padded, so that all ids have the same length.
                let (gets, kept) = try_one(&proxy, &origin, &format!("{form} {end:03}"));
                assert_eq!((gets, kept), (Gets::Failed, false), "{form}, {end} of {length} bytes, reset: {reset}");
            }
        }
    }
}
