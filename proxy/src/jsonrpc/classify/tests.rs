use super::super::answer::MAX_MESSAGE;
use super::super::batch::MemberRequest;
use super::super::id::Id;
use super::*;
use crate::model::MethodClass;

fn batch(ids: &[&'static str]) -> Expected {
    let member = |id: &&'static str| MemberRequest {
        id: Some(Id::as_is(Bytes::from_static(id.as_bytes()))),
        raw: Bytes::new(),
        class: MethodClass::Read,
    };
    Expected::Batch(ids.iter().map(member).collect())
}

fn single() -> Expected {
    Expected::Single(Id::as_is(Bytes::from_static(b"1")))
}

fn answered(status: u16, body: &str, expected: &Expected) -> (Outcome, Option<i64>) {
    let status = StatusCode::from_u16(status).unwrap();
    let classified = classify(status, false, &Bytes::copy_from_slice(body.as_bytes()), expected);
    (classified.outcome, classified.rpc_error.map(|e| e.code))
}

fn of(status: u16, body: &str) -> (Outcome, Option<i64>) {
    answered(status, body, &single())
}

fn slots(body: &str, ids: &[&'static str]) -> (Outcome, Option<String>) {
    let classified = classify(StatusCode::OK, false, &Bytes::copy_from_slice(body.as_bytes()), &batch(ids));
    let letter = |slot: &MemberAnswer| match slot {
        MemberAnswer::Answered(raw) => String::from_utf8_lossy(raw).into_owned(),
        MemberAnswer::Failed(_, error) => format!("!{}", error.code),
        MemberAnswer::Open => "?".to_owned(),
        MemberAnswer::Notified => "-".to_owned(),
    };
    (classified.outcome, classified.members.map(|slots| slots.iter().map(letter).collect::<Vec<_>>().join(" ")))
}

#[test]
fn a_notification_may_be_answered_with_nothing() {
    for body in ["", " \n", "{\"id\":null,\"result\":1}", "[{\"id\":7,\"result\":1}]"] {
        assert_eq!(answered(200, body, &Expected::Nothing), (Outcome::Success, None), "{body}");
    }
    assert_eq!(answered(204, "", &Expected::Nothing), (Outcome::Success, None));
    assert_eq!(answered(200, "<html>", &Expected::Nothing), (Outcome::BadResponse, None));
    assert_eq!(answered(500, "", &Expected::Nothing), (Outcome::HttpError, None));
}

#[test]
fn answers_are_successes() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#,
        r#"{"id":1,"result":null}"#,
        r#"{"id":1.0,"result":1,"error":null}"#,
    ] {
        assert_eq!(of(200, body), (Outcome::Success, None), "{body}");
    }
}

#[test]
fn errors_keep_their_code_whatever_the_status() {
    let body = r#"{"id":1,"error":{"code":-32005,"message":"slow down"}}"#;
    assert_eq!(of(200, body), (Outcome::RpcError, Some(-32_005)));
    assert_eq!(answered(200, body, &batch(&["1", "2"])), (Outcome::RpcError, Some(-32_005)));
    assert_eq!(of(500, body), (Outcome::HttpError, Some(-32_005)));
    assert_eq!(of(200, r#"{"id":null,"error":{"code":-32700}}"#), (Outcome::RpcError, Some(-32_700)));
}

#[test]
fn an_error_without_a_code_is_a_gateways_word_and_no_answer() {
    for (error, text) in [
        (r#""Unauthorized""#, "Unauthorized"),
        (r#"{"message":"slow down"}"#, "slow down"),
        (r#"{"code":"-1","message":"m"}"#, "m"),
        (r#"{"code":1.5}"#, ""),
        ("[]", ""),
        ("7", ""),
    ] {
        for id in ["", r#""id":null,"#, r#""id":1,"#] {
            let body = format!(r#"{{{id}"error":{error}}}"#);
            for expected in [single(), batch(&["1", "2"])] {
                let classified = classify(StatusCode::OK, false, &body.clone().into(), &expected);
                assert_eq!((classified.outcome, classified.rpc_error), (Outcome::BadResponse, None), "{body}");
                assert_eq!(classified.text, text, "{body}");
            }
            assert_eq!(of(401, &body), (Outcome::HttpError, None), "{body}");
        }
    }
    assert_eq!(of(200, r#"{"id":2,"error":"text"}"#), (Outcome::BadResponse, None));
    let one = r#"{"id":1,"result":"x"}"#;
    let uncoded = format!(r#"[{one},{{"id":2,"error":"text"}}]"#);
    assert_eq!(slots(&uncoded, &["1", "2"]), (Outcome::BadResponse, Some(format!("{one} ?"))));
}

#[test]
fn anything_else_is_a_bad_response_or_a_status() {
    for body in ["", "<html>", "{}", "[]", "7", r#"{"id":1}"#, r#"{"result":1"#, r#"{"error":null}"#] {
        assert_eq!(of(200, body), (Outcome::BadResponse, None), "{body}");
    }
    for body in ["[]", "[7]", r#"{"id":1,"result":1}"#, r#"[{"id":3,"result":1}]"#] {
        assert_eq!(answered(200, body, &batch(&["1"])), (Outcome::BadResponse, None), "{body}");
    }
    assert_eq!(of(503, "<html>"), (Outcome::HttpError, None));
    assert_eq!(of(301, ""), (Outcome::HttpError, None));
    let gzip = classify(StatusCode::OK, true, &Bytes::from_static(br#"{"id":1,"result":1}"#), &single());
    assert_eq!(gzip.outcome, Outcome::BadResponse);
}

#[test]
fn an_answer_to_another_id_is_none() {
    for body in [r#"{"id":2,"result":1}"#, r#"{"id":"1","result":1}"#, r#"{"result":1}"#, r#"{"id":null,"result":1}"#] {
        assert_eq!(of(200, body), (Outcome::BadResponse, None), "{body}");
    }
    assert_eq!(of(200, r#"{"id":2,"error":{"code":3}}"#), (Outcome::BadResponse, None));
}

#[test]
fn the_text_of_an_http_error_is_kept_when_it_is_no_json_rpc() {
    let text = |body: &'static str| {
        classify(StatusCode::FORBIDDEN, false, &Bytes::from_static(body.as_bytes()), &single()).text
    };
    assert_eq!(text("monthly capacity exceeded"), "monthly capacity exceeded");
    assert_eq!(text(r#"{"id":1,"error":{"code":1,"message":"m"}}"#), "");
}

#[test]
fn a_batch_in_order_is_passed_on_as_it_is() {
    let body = r#"[{"id":1,"result":1},{"id":"b","result":null}]"#;
    assert_eq!(slots(body, &["1", "\"b\""]), (Outcome::Success, None));
}

#[test]
fn answers_are_found_by_their_ids() {
    let one = r#"{"id":1,"result":"x"}"#;
    let two = r#"{"id":2,"result":"y"}"#;
    let three = r#"{"id":3,"error":{"code":5}}"#;
    let (success, bad, error) = (Outcome::Success, Outcome::BadResponse, Outcome::RpcError);
    for (body, expected) in [
        (format!("[{two},{one}]"), (success, Some(format!("{one} {two}")))),
        (format!("[{one},{two},{three}]"), (success, Some(format!("{one} {two}")))),
        (format!("[{one},{one},{two}]"), (success, Some(format!("{one} {two}")))),
        (format!("[{one}]"), (bad, Some(format!("{one} ?")))),
        (format!("[{two}]"), (bad, Some(format!("? {two}")))),
        (format!("[{one},{two},{}]", r#"{"id":1,"result":"z"}"#), (bad, Some(format!("? {two}")))),
        (format!("[{one},7,{two}]"), (success, Some(format!("{one} {two}")))),
        (format!("[{one},{}]", r#"{"id":2}"#), (bad, Some(format!("{one} ?")))),
        (format!("[{one},{}]", r#"{"id":2,"error":{"code":5}}"#), (error, Some(format!("{one} !5")))),
    ] {
        assert_eq!(slots(&body, &["1", "2"]), expected, "{body}");
    }
}

#[test]
fn members_of_one_id_are_told_apart_by_their_order() {
    let [first, second] = ["x", "y"].map(|result| format!(r#"{{"id":1,"result":"{result}"}}"#));
    assert_eq!(slots(&format!("[{first},{second}]"), &["1", "1"]), (Outcome::Success, None));
    assert_eq!(slots(&format!("[{first}]"), &["1", "1"]), (Outcome::BadResponse, Some(format!("{first} ?"))));
}

#[test]
fn an_error_without_an_id_is_about_the_whole_batch() {
    let body = r#"[{"id":null,"error":{"code":-32005}}]"#;
    assert_eq!(answered(200, body, &batch(&["1", "2"])), (Outcome::RpcError, Some(-32_005)));
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let body = format!(r#"{{"error":{{"code":1,"message":"{}"}}}}"#, "é".repeat(2_000));
    let error = classify(StatusCode::OK, false, &body.into(), &single()).rpc_error.unwrap();
    assert_eq!(error.message.len(), MAX_MESSAGE);
}

#[test]
fn only_an_object_is_an_answer() {
    for body in [r#"[1,"0x1",null]"#, r#" [1,"0x1"]"#, r#"[{"id":1,"result":1}]"#] {
        assert_eq!(of(200, body), (Outcome::BadResponse, None), "{body}");
    }
    let members = r#"[[1,"0x1",null],{"id":2,"result":2}]"#;
    assert_eq!(slots(members, &["1", "2"]), (Outcome::BadResponse, Some(r#"? {"id":2,"result":2}"#.to_owned())));
}

#[test]
fn an_answer_is_utf_8_everywhere() {
    for body in [&b"{\"id\":1,\"result\":\"\xff\"}"[..], b"{\"x\":\"\xff\",\"id\":1,\"result\":1}"] {
        let classified = classify(StatusCode::OK, false, &Bytes::copy_from_slice(body), &single());
        assert_eq!(classified.outcome, Outcome::BadResponse);
    }
}

#[test]
fn a_status_that_says_nothing_about_a_request_is_no_http_error() {
    for (status, outcome) in [
        (101, Outcome::BadResponse),
        (301, Outcome::HttpError),
        (599, Outcome::HttpError),
        (600, Outcome::BadResponse),
        (999, Outcome::BadResponse),
    ] {
        assert_eq!(of(status, "{}"), (outcome, None), "{status}");
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(classify_long(status, false, b"{", &single()).outcome, outcome, "{status}");
    }
}

#[test]
fn a_long_answer_is_judged_by_its_beginning() {
    let long = |beginning: &str, expected: &Expected, encoded| {
        classify_long(StatusCode::OK, encoded, beginning.as_bytes(), expected).outcome == Outcome::Success
    };
    let batch = batch(&["1"]);
    assert!(long("{\"id\"", &single(), false) && long(" \r\n[", &batch, false));
    assert!(long("[", &Expected::Nothing, false) && long("{", &Expected::Nothing, false));
    for beginning in ["<html>", "", "  ", "\u{feff}{", "7"] {
        assert!(![&single(), &batch, &Expected::Nothing].iter().any(|e| long(beginning, e, false)), "{beginning}");
    }
    assert!(!long("[", &single(), false) && !long("{", &batch, false) && !long("{", &single(), true));
}

#[test]
fn the_id_of_a_long_answer_counts_if_it_comes_first() {
    for (beginning, outcome) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":"0x"#, Outcome::Success),
        (r#"{"x":{"id":7},"id":1.0,"result":[{"id":7}"#, Outcome::Success),
        (r#"{"result":[{"id":7}"#, Outcome::Success),
        (r#"{"jsonrpc":"2.0","id":7,"result":"0x"#, Outcome::BadResponse),
        (r#" {"id":"1","result":"0x"#, Outcome::BadResponse),
        (r#"{"\u0069d":null,"result":"0x"#, Outcome::BadResponse),
    ] {
        assert_eq!(
            classify_long(StatusCode::OK, false, beginning.as_bytes(), &single()).outcome,
            outcome,
            "{beginning}"
        );
    }
}
