use super::*;
use crate::jsonrpc::Id;
use crate::model::{MethodClass, RpcError};

fn members(ids: &[Option<&'static str>]) -> Arc<[MemberRequest]> {
    let member = |id: &Option<&'static str>| MemberRequest {
        id: id.map(|id| Id::as_is(Bytes::from_static(id.as_bytes()))),
        raw: Bytes::from(format!("<{}>", id.unwrap_or("-"))),
        class: MethodClass::Read,
    };
    ids.iter().map(member).collect()
}

fn answered(text: &'static str) -> MemberAnswer {
    MemberAnswer::Answered(Bytes::from_static(text.as_bytes()))
}

fn failed(text: &'static str) -> MemberAnswer {
    MemberAnswer::Failed(Bytes::from_static(text.as_bytes()), RpcError { code: 1, message: String::new() })
}

fn refuse(id: &[u8]) -> Bytes {
    Bytes::from([b"refused ", id].concat())
}

fn text(response: &BatchResponse) -> Option<String> {
    response.finish(refuse).map(|body| String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn the_answers_of_several_attempts_keep_the_clients_order() {
    let mut response = BatchResponse::new(members(&[Some("1"), None, Some("2"), Some("3"), Some("4")]));
    let first = vec![answered("a1"), MemberAnswer::Notified, failed("e2"), MemberAnswer::Open, failed("e4")];
    let rest = response.take(first, &[false, false, true, true, false]);
    assert_eq!(rest.iter().map(|r| r.raw.clone()).collect::<Vec<_>>(), ["<2>", "<3>"]);
    // Until then an endpoint's own error is better than the proxy's.
    assert_eq!(text(&response).unwrap(), "[a1,e2,refused 3,e4]");
    let rest = response.take(vec![MemberAnswer::Open, answered("a3")], &[true, false]);
    assert_eq!(rest.len(), 1);
    let rest = response.take(vec![answered("a2")], &[false]);
    assert!(rest.is_empty());
    assert_eq!(text(&response).unwrap(), "[a1,a2,a3,e4]");
}

#[test]
fn without_a_word_of_an_endpoint_there_is_no_answer() {
    let mut response = BatchResponse::new(members(&[Some("1"), None]));
    assert_eq!(text(&response), None);
    response.take(vec![MemberAnswer::Open, MemberAnswer::Notified], &[true, false]);
    assert_eq!(text(&response), None);
}
