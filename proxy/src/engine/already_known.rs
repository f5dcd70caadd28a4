//! The answer to an `eth_sendRawTransaction` whose transaction an endpoint already knows.
//!
//! A transaction is known by the Keccak-256 hash of its bytes (Ethereum Yellow Paper, section 4.3), which is also what a node
//! answers when it takes it. After a first attempt that broke off, "already known" means that it has landed.

use bytes::Bytes;
use serde::Deserialize;
use sha3::{Digest, Keccak256};

use crate::model::SEND_RAW_TRANSACTION;

#[derive(Deserialize)]
struct Transaction<'a> {
    method: &'a str,
    #[serde(borrow)]
    params: Vec<&'a str>,
}

/// The result that an endpoint would have given to `request`, under `id`. `None` for any other request.
pub(super) fn answer(request: &[u8], id: &[u8]) -> Option<Bytes> {
    let transaction: Transaction<'_> = serde_json::from_slice(request).ok()?;
    let [raw, ..] = transaction.params.as_slice() else { return None };
    let bytes = unhex(raw.strip_prefix("0x")?).filter(|_| transaction.method == SEND_RAW_TRANSACTION)?;
    let hash: String = Keccak256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let id = std::str::from_utf8(id).ok()?;
    Some(Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x{hash}"}}"#)))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| d.try_into().ok())).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, params: &str) -> Option<String> {
        let request = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        answer(request.as_bytes(), b"7").map(|answer| String::from_utf8(answer.to_vec()).unwrap())
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        // Keccak-256 of nothing and of "abc", from the Keccak team's test vectors.
        let empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        let abc = "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45";
        for (raw, hash) in [("0x", empty), ("0x616263", abc)] {
            let answer = of("eth_sendRawTransaction", &format!("[\"{raw}\"]")).unwrap();
            assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":7,"result":"0x{hash}"}}"#));
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        assert_eq!(of("eth_sendTransaction", r#"["0x00"]"#), None);
        for params in ["[]", r#"["00"]"#, r#"["0x0"]"#, r#"["0xzz"]"#, "[{}]", r#"["0xé"]"#] {
            assert_eq!(of("eth_sendRawTransaction", params), None, "{params}");
        }
    }
}
