//! The normal form of a path, by which a request is routed.
//!
//! Access rules on paths, before this proxy or in it, must see the path that routing uses. So dot
//! segments are resolved, doubled slashes are merged, and percent-encoded characters that mean the
//! same unencoded are decoded (RFC 3986, section 6.2.2), once. Forms that readers interpret
//! differently are refused: an encoded slash, a backslash, control characters, a `%` that encodes
//! nothing.
//!
//! Invariant: a normal path stays as it is, so routing a path and routing its normal form lead to
//! the same upstream.

use std::borrow::Cow;

use crate::jsonrpc::Refusal;

/// The normal form of a path.
///
/// # Errors
/// When readers would interpret it differently.
pub(super) fn normalise(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    Ok(Cow::Owned(resolve(&decode(path)?)))
}

/// A plain path is scanned once, without an allocation.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        match byte {
            b'%' | b'\\' | 0..=b' ' | 0x7f => return false,
            b'/' | b'.' if before == b'/' => return false,
            _ => before = byte,
        }
    }
    true
}

/// Decodes unreserved characters, and refuses ambiguous ones. The digits of other encodings become
/// upper case.
fn decode(path: &str) -> Result<String, Refusal> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(is_suspect) {
        decoded.push_str(&rest[..at]);
        let code = rest.get(at..at + 3).filter(|_| rest.as_bytes()[at] == b'%').ok_or_else(unclear)?;
        let byte = u8::from_str_radix(&code[1..], 16).map_err(|_| unclear())?;
        match byte {
            // The number parser would accept a sign.
            _ if code.as_bytes()[1] == b'+' => return Err(unclear()),
            0..=b' ' | 0x7f | b'/' | b'\\' => return Err(unclear()),
            b'-' | b'.' | b'_' | b'~' => decoded.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => decoded.push(byte.into()),
            _ => decoded.push_str(&code.to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

fn is_suspect(character: char) -> bool {
    matches!(character, '%' | '\\' | '\0'..=' ' | '\u{7f}')
}

fn unclear() -> Refusal {
    Refusal::Invalid("the path has a coded slash, a backslash, a control character or a % without two digits".into())
}

/// Resolves dot segments and joins slashes. A path never leads above its root.
fn resolve(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in &segments {
        resolved.push('/');
        resolved.push_str(segment);
    }
    // A path that ends with a slash or in dots names a folder.
    if segments.is_empty() || matches!(path.rsplit('/').next(), Some("" | "." | "..")) {
        resolved.push('/');
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        normalise(path).unwrap_or_else(|why| panic!("{path}: {why}")).into_owned()
    }

    #[test]
    fn a_path_has_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("/only", "/only"),
            ("/only/", "/only/"),
            ("/only/../nowhere", "/nowhere"),
            ("/only/./x", "/only/x"),
            ("/only/..", "/"),
            ("/only/.", "/only/"),
            ("/../../only", "/only"),
            ("//only", "/only"),
            ("/only///x", "/only/x"),
            ("/%6fnly", "/only"),
            ("/%6Fnly", "/only"),
            ("/only/%2e%2E/nowhere", "/nowhere"),
            ("/only/.%2e/nowhere", "/nowhere"),
            ("/only/%2e/x", "/only/x"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%c3%a9", "/%C3%A9"),
            ("/only/...", "/only/..."),
            ("/only/..x", "/only/..x"),
            ("/only/.x", "/only/.x"),
            ("/only/x..", "/only/x.."),
            ("/only/..;/x", "/only/..;/x"),
            ("/é/..", "/"),
        ] {
            assert_eq!(normal(path), form, "{path}");
        }
    }

    #[test]
    fn what_readers_differ_about_is_refused() {
        for path in [
            "/only%2fx",
            "/only%2F..",
            "/only\\x",
            "/only%5cx",
            "/only%00",
            "/only%0d%0a",
            "/only%20x",
            "/only%7f",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/%-1",
            "/a%",
            "/%é",
        ] {
            assert!(normalise(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        for path in ["/", "/eth", "/eth/mainnet/", "/v1/0123-_~.x/a.b", "/é"] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    /// Compared with the WHATWG's rules, which resolve encoded dots too, and keep empty segments.
    #[test]
    fn random_paths_are_normal_once_and_read_as_a_browser_reads_them() {
        let pieces = ["/", "/", "/", ".", "..", "%2e", "%2E", "only", "%6f", "x", "%41", "%25", "%3b", ";", "é"];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let length = random.usize(0..10);
            let path: String = (0..length).fold("/".to_owned(), |path, _| path + pieces[random.usize(..pieces.len())]);
            let once = normal(&path);
            assert_eq!(normal(&once), once, "{path}");
            assert!(!once.contains("//") && !once.split('/').any(|s| s == "." || s == ".."), "{path}: {once}");
            if !path.contains("//") {
                let url = url::Url::parse(&format!("http://h{}", path.replace('é', "e"))).unwrap();
                let read = normal(url.path());
                assert_eq!(once.replace('é', "e"), read, "{path}");
            }
        }
    }
}
