use super::*;

/// The method that a parser finds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    Method(&'static str),
    /// The parser finds no method.
    Nothing,
    /// The parser refuses the text.
    Refused,
}

use Read::{Method, Nothing, Refused};

/// A text; the readings of Go (`encoding/json` into a struct), Python (`json.loads`), JavaScript
/// (`JSON.parse`) and serde (`serde_json::Value`); and whether it is accepted here.
type Row = (&'static str, Read, Read, Read, Read, bool);

const A: Read = Method("a");
const B: Read = Method("b");

/// Sources. Go: the documentation of `json.Unmarshal` ("preferring exact matches but also accepting
/// case-insensitive matches", `foldName` folds by `unicode.SimpleFold`; keys are set in their
/// order, so the last one stays; invalid UTF-8 and lone surrogates become U+FFFD). Python: the
/// documentation of `json`, "Repeated Names Within an Object" (the last one), and "Infinite and NaN
/// Number Values" (taken). JavaScript: ECMA-262, `JSON.parse`: the last one. serde:
/// `serde_json::Map` keeps the last.
const READINGS: &[Row] = &[
    (r#"{"method":"a"}"#, A, A, A, A, true),
    // Duplicate keys.
    (r#"{"method":"a","method":"b"}"#, B, B, B, B, false),
    (r#"{"method":"a","method":"a"}"#, A, A, A, A, false),
    (r#"{"method":"a","params":[],"params":[]}"#, A, A, A, A, false),
    (r#"{"method":"a","id":1,"id":1}"#, A, A, A, A, false),
    (r#"{"method":"a","jsonrpc":"2.0","jsonrpc":"1.0"}"#, A, A, A, A, false),
    (r#"{"a":1,"a":2,"method":"a"}"#, A, A, A, A, true),
    (r#"{"A":1,"a":2,"method":"a"}"#, A, A, A, A, true),
    // Case.
    (r#"{"method":"a","Method":"b"}"#, B, A, A, A, false),
    (r#"{"Method":"b","method":"a"}"#, A, A, A, A, false),
    (r#"{"METHOD":"a"}"#, A, Nothing, Nothing, Nothing, false),
    (r#"{"method":"a","mEthod":"b"}"#, B, A, A, A, false),
    (r#"{"method":"a","params":[],"Params":[1]}"#, A, A, A, A, false),
    (r#"{"method":"a","id":1,"ID":2}"#, A, A, A, A, false),
    (r#"{"method":"a","JSONRPC":"1.0"}"#, A, A, A, A, false),
    // Folding beyond ASCII: ſ folds to s for Go; no parser folds the dotless i, but case mappings
    // differ.
    ("{\"method\":\"a\",\"param\u{17f}\":[1]}", A, A, A, A, false),
    (r#"{"method":"a","param\u017f":[1]}"#, A, A, A, A, false),
    (r#"{"method":"a","j\u017Fonrpc":"1.0"}"#, A, A, A, A, false),
    ("{\"method\":\"a\",\"\u{131}d\":2}", A, A, A, A, false),
    ("{\"method\":\"a\",\"\u{130}D\":2}", A, A, A, A, false),
    // The Kelvin sign folds to k, which no key contains.
    ("{\"method\":\"a\",\"\u{212a}\":2}", A, A, A, A, true),
    // All parsers decode escapes in keys.
    (r#"{"m\u0065thod":"a"}"#, A, A, A, A, true),
    (r#"{"\u006d\u0065\u0074\u0068\u006f\u0064":"a"}"#, A, A, A, A, true),
    (r#"{"method":"a","m\u0065thod":"b"}"#, B, B, B, B, false),
    (r#"{"method":"a","m\u0045thod":"b"}"#, B, A, A, A, false),
    (r#"{"method":"a","\u004Dethod":"b"}"#, B, A, A, A, false),
    (r#"{"method":"a","method\u0000":"b"}"#, A, A, A, A, true),
    (r#"{"method":"a","method ":"b"}"#, A, A, A, A, true),
    (r#"{"method":"a","\tmethod":"b"}"#, A, A, A, A, true),
    (r#"{"method":"a","methods":"b"}"#, A, A, A, A, true),
    (r#"{"method":"a","metho":"b"}"#, A, A, A, A, true),
    (r#"{"method":"a","":"b"}"#, A, A, A, A, true),
    // Escapes in values.
    (r#"{"method":"\u0061"}"#, A, A, A, A, true),
    // Lone surrogates in keys: Go replaces them by U+FFFD, Python and JavaScript keep them, serde
    // refuses.
    (r#"{"method":"a","\ud800":1}"#, A, A, A, Refused, false),
    (r#"{"method":"a","method\udc00":"b"}"#, A, A, A, Refused, false),
    // A byte order mark: refused by all (Python: "Unexpected UTF-8 BOM").
    ("\u{feff}{\"method\":\"a\"}", Refused, Refused, Refused, Refused, false),
    // Not JSON, but accepted by Python.
    (r#"{"method":"a","id":NaN}"#, Refused, A, Refused, Refused, false),
    (r#"{"method":"a","params":[Infinity]}"#, Refused, A, Refused, Refused, false),
    (r#"{"method":"a","x":-Infinity}"#, Refused, A, Refused, Refused, false),
    // Comments, quotes, commas, control characters.
    (r#"{'method':'a'}"#, Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a",}"#, Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a"/*,"method":"b"*/}"#, Refused, Refused, Refused, Refused, false),
    ("{\"method\":\"a\",\"x\":\"\t\"}", Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a","x":"\x41"}"#, Refused, Refused, Refused, Refused, false),
    (r#"{method:"a"}"#, Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a"}{"method":"b"}"#, Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a"} x"#, Refused, Refused, Refused, Refused, false),
    // Big and odd numbers: all parsers read them, and they change no key.
    (r#"{"method":"a","x":123456789012345678901234567890}"#, A, A, A, A, true),
    (r#"{"method":"a","id":9007199254740993}"#, A, A, A, A, true),
    (r#"{"method":"a","id":-0}"#, A, A, A, A, true),
    (r#"{"method":"a","x":01}"#, Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a","x":+1}"#, Refused, Refused, Refused, Refused, false),
    (r#"{"method":"a","x":.5}"#, Refused, Refused, Refused, Refused, false),
    // Nesting: keys below the top level belong to params.
    (r#"{"method":"a","params":{"method":"b","Method":"c","method":"d"}}"#, A, A, A, A, true),
    (r#"{"params":[{"method":"b"}],"method":"a"}"#, A, A, A, A, true),
    (r#"{"x":{"method":"b"}}"#, Nothing, Nothing, Nothing, Nothing, false),
    // Types: Go refuses a number for a string; the others find no string.
    (r#"{"method":7}"#, Refused, Nothing, Nothing, Nothing, false),
    (r#"{"method":["a"]}"#, Refused, Nothing, Nothing, Nothing, false),
    // null leaves Go's string empty.
    (r#"{"method":null}"#, Nothing, Nothing, Nothing, Nothing, false),
    (r#"{"method":"a","Method":null}"#, A, A, A, A, false),
];

fn ours(text: &str) -> Option<String> {
    serde_json::from_str::<Member<'_>>(text).ok().map(|member| member.method.into_owned())
}

#[test]
fn what_is_taken_has_one_reading() {
    for &(text, go, python, javascript, serde, taken) in READINGS {
        let method = ours(text);
        assert_eq!(method.is_some(), taken, "{text}");
        let Some(method) = method else { continue };
        for (reader, read) in [("Go", go), ("Python", python), ("JavaScript", javascript), ("serde", serde)] {
            match read {
                Method(theirs) => assert_eq!(theirs, method, "{reader} reads {text} otherwise"),
                Nothing | Refused => panic!("{reader} doesn't take {text}"),
            }
        }
    }
}

/// The column of serde is checked against the real parser.
#[test]
fn serde_reads_as_the_table_says() {
    for &(text, _, _, _, expected, _) in READINGS {
        let read = serde_json::from_str::<serde_json::Value>(text);
        let method = read.as_ref().map(|value| value["method"].as_str());
        match expected {
            Method(name) => assert_eq!(method.unwrap(), Some(name), "{text}"),
            Nothing => assert_eq!(method.unwrap(), None, "{text}"),
            Refused => assert!(method.is_err(), "{text}"),
        }
    }
}

/// Random objects against an implementation of Go's rules (`encoding/json`, `foldName` and the
/// order of keys): an accepted object has the same method and number of params for both.
#[test]
fn random_objects_that_are_taken_mean_the_same_to_a_reader_without_case() {
    let keys = [
        "method",
        "Method",
        "METHOD",
        "m\\u0065thod",
        "params",
        "Params",
        "param\u{17f}",
        "param\\u017f",
        "id",
        "iD",
        "x",
        "methods",
    ];
    let mut random = fastrand::Rng::with_seed(3);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let members: Vec<(&str, u8)> =
            (0..random.usize(1..5)).map(|_| (keys[random.usize(..keys.len())], random.u8(..3))).collect();
        let fields: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
        let text = format!("{{{}}}", fields.join(","));
        let unescaped = |key: &str| key.replace("\\u0065", "e").replace("\\u017f", "\u{17f}");
        let folded = |key: &str| unescaped(key).replace('\u{17f}', "s").to_lowercase();
        let gos = members.iter().rev().find(|(key, _)| folded(key) == "method").map(|(_, value)| value.to_string());
        match ours(&text) {
            Some(method) => {
                taken += 1;
                assert_eq!(Some(method), gos, "{text}");
                assert!(members.iter().filter(|(key, _)| folded(key) == "params").count() < 2, "{text}");
            }
            None => refused += 1,
        }
    }
    assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
}

#[test]
fn the_refusal_names_the_key() {
    let error = |text| serde_json::from_str::<Member<'_>>(text).err().map(|error| error.to_string()).unwrap();
    assert!(error(r#"{"method":"a","Method":"b"}"#).contains(r#"the key "Method" can be read as "method""#));
    assert!(error(r#"{"method":"a","method":"b"}"#).contains("duplicate field `method`"));
    assert!(error("[1]").contains("a request object"));
}
