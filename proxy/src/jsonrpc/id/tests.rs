use serde_json::Value;

use super::*;
use crate::chain::Methods;
use crate::jsonrpc::batch::Expected;
use crate::jsonrpc::classify::classify;
use crate::jsonrpc::inspect;

/// The form in which Go writes a raw value: with `<`, `>` and `&` escaped.
fn go(id: &str) -> Option<String> {
    Some(id.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

/// The form in which JavaScript writes a parsed value: numbers as doubles, strings with the fewest
/// escapes.
fn javascript(id: &str) -> Option<String> {
    match id.parse::<f64>() {
        Ok(number) if number.is_infinite() => Some("null".to_owned()),
        Ok(0.0) => Some("0".to_owned()),
        Ok(number) if number.abs() < 1e21 => Some(format!("{number}")),
        Ok(number) => Some(format!("{number:e}")),
        Err(_) => serde(id),
    }
}

/// The form in which Python writes a parsed value: strings in ASCII, floats as floats.
fn python(id: &str) -> Option<String> {
    if id == "-0" {
        return Some("0".to_owned());
    }
    if id.starts_with('"') {
        let text: String = serde_json::from_str(id).ok()?;
        let escaped = |c: char| match c {
            ' '..='~' => serde_json::to_string(&c).unwrap().trim_matches('"').to_owned(),
            c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        };
        return Some(format!("\"{}\"", text.chars().map(escaped).collect::<String>()));
    }
    let is_float = id.contains(['.', 'e', 'E']);
    Some(if is_float { format!("{:?}", id.parse::<f64>().ok()?) } else { id.to_owned() })
}

/// The form in which PHP and Gson write strings.
fn cautious(id: &str) -> Option<String> {
    Some(id.replace('/', "\\/").replace('=', "\\u003d").replace('\'', "\\u0027"))
}

fn serde(id: &str) -> Option<String> {
    serde_json::from_str::<Value>(id).ok().map(|value| value.to_string())
}

const LIBRARIES: [fn(&str) -> Option<String>; 5] = [go, javascript, python, cautious, serde];

/// Ids of every form, and random ones.
fn ids() -> Vec<String> {
    let known = [
        "0",
        "1",
        "42",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551616",
        "-0",
        "-1",
        "0.0",
        "1.0",
        "1.50",
        "1e2",
        "1E+2",
        "1e400",
        "-1e400",
        "1e-400",
        "123456789012345678901234567890",
        "null",
        r#""""#,
        r#""a""#,
        r#""req-1_2.3:4""#,
        r#""1""#,
        r#""\uD800""#,
        r#""\ud83d\ude00""#,
        r#""\u0061""#,
        r#""\/""#,
        r#""a/b""#,
        r#""<&>""#,
        r#""x=y'""#,
        r#""\"\\""#,
        r#""\n""#,
        "\"é\"",
        "\"\u{2028}\"",
        "\"\u{7f}\"",
        "\"😀\"",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let pieces = ["a", "Z", "0", " ", "-", "\\u0041", "\\n", "é", "<", "/", "=", "\\\"", "}", ",", "\\ud800", "😀"];
    let mut ids: Vec<String> = known.iter().map(|id| (*id).to_owned()).collect();
    for _ in 0..2_000 {
        ids.push(match random.u8(..4) {
            0 => format!("{}{}", if random.bool() { "-" } else { "" }, random.u128(..) >> random.u8(..128)),
            1 => format!("{}.{}", random.u16(..), random.u16(..)),
            2 => format!("{}e{}", random.u8(..), random.i16(-500..500)),
            _ => {
                let text: String = (0..random.usize(..90)).map(|_| pieces[random.usize(..pieces.len())]).collect();
                format!("\"{text}\"")
            }
        });
    }
    ids
}

fn read(body: &str) -> (Expected, Bytes) {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let read = inspect(&body, 100, &Methods::default()).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    (read.expected, read.renumbered.unwrap_or(body))
}

#[derive(serde::Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: &'a serde_json::value::RawValue,
}

/// The id that an endpoint reads, as its library writes it.
fn written(request: &[u8], library: fn(&str) -> Option<String>) -> String {
    let asked: Asked<'_> = serde_json::from_slice(request).unwrap();
    library(asked.id.get()).unwrap_or_else(|| panic!("no library reads {}", asked.id))
}

#[test]
fn the_client_gets_its_own_id_however_an_endpoint_writes_it() {
    for id in ids() {
        let (expected, sent) =
            read(&format!(r#"{{"jsonrpc":"2.0", "id" : {id} ,"method":"eth_call","params":[{{"id":7}}]}}"#));
        let Expected::Single(known) = &expected else { panic!("{id}") };
        for library in LIBRARIES {
            let given = written(&sent, library);
            for (before, after) in
                [(r#"{"result":1, "id": "#, " }"), ("{\"id\":", r#","error":{"code":3,"message":"x"}}"#)]
            {
                let answer = Bytes::from(format!("{before}{given}{after}"));
                let classified = classify(http::StatusCode::OK, false, &answer, &expected);
                assert_ne!(classified.outcome, crate::model::Outcome::BadResponse, "{id}: {answer:?}");
                assert_eq!(known.restore(answer), format!("{before}{id}{after}"), "{id}");
            }
        }
    }
}

#[test]
fn plain_ids_are_sent_as_they_are_and_written_alike_by_all() {
    let (mut plain, mut others) = (0, 0);
    for id in ids() {
        let body = format!(r#"{{"id":{id},"method":"eth_call"}}"#);
        let (_, sent) = read(&body);
        assert_eq!(sent == body, is_plain(id.as_bytes()), "{id}");
        if !is_plain(id.as_bytes()) {
            others += 1;
            continue;
        }
        plain += 1;
        for library in LIBRARIES {
            assert_eq!(library(&id).as_deref(), Some(id.as_str()));
        }
    }
    assert!(plain > 50 && others > 1_000, "{plain} {others}");
}

#[test]
fn a_batch_has_its_own_ids_or_ours_alone() {
    let member = |id: &str| format!(r#"{{"id":{id},"method":"eth_call"}}"#);
    let batch = |ids: &[&str]| format!("[{}]", ids.iter().map(|id| member(id)).collect::<Vec<_>>().join(","));
    for ids in [&["1", "2", "10"][..], &["3", "2", "1"], &["\"a\"", "1", "\"b\""], &["1", "\"1\""]] {
        assert_eq!(read(&batch(ids)).1, batch(ids));
    }
    for ids in [&["1", "1"][..], &["2", "1", "2"], &["1", "-0"], &["null", "7"], &["\"a\"", "\"a\""]] {
        let (expected, sent) = read(&batch(ids));
        let ours: Vec<String> = (1..=ids.len()).map(|n| n.to_string()).collect();
        assert_eq!(sent, batch(&ours.iter().map(String::as_str).collect::<Vec<_>>()));
        // In another order.
        let answers: Vec<String> = ours.iter().rev().map(|n| format!(r#"{{"id":{n},"result":{n}}}"#)).collect();
        let answer = Bytes::from(format!("[{}]", answers.join(",")));
        let members = classify(http::StatusCode::OK, false, &answer, &expected).members.unwrap();
        for ((slot, id), n) in members.iter().zip(ids).zip(&ours) {
            let own = Bytes::from(format!(r#"{{"id":{id},"result":{n}}}"#));
            assert_eq!(*slot, crate::jsonrpc::batch::MemberAnswer::Answered(own));
        }
    }
}

#[test]
fn a_notification_keeps_having_no_id() {
    let (_, sent) = read(r#"[{"method":"a"},{"id":-0,"method":"b"}]"#);
    assert_eq!(sent, r#"[{"method":"a"},{"id":2,"method":"b"}]"#);
}

#[test]
fn what_answers_another_id_stays_as_it_is() {
    let id = Id::replaced(b"-0", 0);
    for answer in [r#"{"id":2,"result":1}"#, r#"{"id":null,"error":{}}"#, "nonsense", "", r#"{"result":1}"#] {
        assert_eq!(id.restore(Bytes::from(answer)), answer);
    }
    assert!(!id.is(b"-0") && !id.is(b"0") && id.is(b"1") && id.is(b"1.0"));
}
