//! JSON-RPC bodies.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A read with id 1.
pub const READ: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
/// A write that must not be sent twice.
pub const WRITE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{}]}"#;
/// A write that may be sent twice.
pub const RAW_WRITE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x00"]}"#;

/// A request for `method` with this id, as JSON text.
pub fn request(id: &str, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":[]}}"#)
}

/// A batch of `size` reads with the ids from 1.
pub fn batch(size: usize) -> String {
    let members: Vec<String> = (1..=size).map(|id| request(&id.to_string(), "eth_blockNumber")).collect();
    format!("[{}]", members.join(","))
}

/// An answer to id 1 of exactly `size` bytes.
pub fn long_answer(size: usize) -> Vec<u8> {
    let (begin, end) = (r#"{"jsonrpc":"2.0","id":1,"result":""#, "\"}");
    format!("{begin}{}{end}", "7".repeat(size - begin.len() - end.len())).into_bytes()
}

#[derive(Deserialize)]
struct WithId<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// The answer to `request`: `field` (`"result":1` or `"error":{…}`) under each of its ids.
pub fn answer(request: &[u8], field: &str) -> Vec<u8> {
    let one = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},{field}}}"#);
    if let Ok(members) = serde_json::from_slice::<Vec<WithId<'_>>>(request) {
        let members: Vec<String> = members.iter().filter_map(|m| m.id).map(|id| one(id.get())).collect();
        return format!("[{}]", members.join(",")).into_bytes();
    }
    let id = serde_json::from_slice::<WithId<'_>>(request).ok().and_then(|m| m.id);
    one(id.map_or("null", RawValue::get)).into_bytes()
}
