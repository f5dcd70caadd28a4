//! Tags by name.

/// Maximum number of listed tags: the bits of [`Endpoint::tags`](crate::Endpoint::tags).
const MAX_TAGS: usize = 64;
/// Maximum length of a tag in bytes (ABI.md, section 3, has it in characters).
const MAX_TAG_BYTES: usize = 64;

/// Returns the number of `tag` in a policy's [`TAGS`](crate::Policy::TAGS), for
/// [`Endpoint::has_tag`](crate::Endpoint::has_tag).
///
/// ```
/// use pointsman_sdk::{Endpoint, tag_number};
/// const TAGS: &[&str] = &["eu", "archive"];
/// const ARCHIVE: u32 = tag_number(TAGS, "archive");
/// assert!(Endpoint { tags: 0b10, ..Endpoint::default() }.has_tag(ARCHIVE));
/// ```
///
/// # Panics
/// Panics if the list doesn't contain `tag`; in a constant, compilation fails.
pub const fn tag_number(tags: &[&str], tag: &str) -> u32 {
    let mut number = 0;
    while number < tags.len() {
        if is_same(tags[number], tag) {
            #[expect(clippy::cast_possible_truncation, reason = "a list has at most 64 tags")]
            return number as u32;
        }
        number += 1;
    }
    panic!("TAGS doesn't contain this tag")
}

/// Returns `true` if a policy may list these tags: at most 64 different ones of 1 to 64 characters,
/// none of which is a space, a quote, a control character or beyond ASCII.
pub(crate) const fn are_tags(tags: &[&str]) -> bool {
    let mut at = 0;
    while at < tags.len() {
        if !is_tag(tags[at]) || tag_number(tags, tags[at]) as usize != at {
            return false;
        }
        at += 1;
    }
    tags.len() <= MAX_TAGS
}

/// The backslash is excluded because the list is written as JSON.
const fn is_tag(tag: &str) -> bool {
    let tag = tag.as_bytes();
    let mut at = 0;
    while at < tag.len() {
        if !tag[at].is_ascii_graphic() || matches!(tag[at], b'"' | b'\'' | b'`' | b'\\') {
            return false;
        }
        at += 1;
    }
    at > 0 && at <= MAX_TAG_BYTES
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tags_number_is_its_place_in_the_list() {
        let tags = ["eu", "e", "eu-west"];
        assert_eq!(tags.map(|tag| tag_number(&tags, tag)), [0, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "doesn't contain")]
    fn a_tag_outside_of_the_list_has_no_number() {
        tag_number(&["eu-west"], "eu");
    }

    #[test]
    fn lists_are_checked() {
        let long = "x".repeat(65);
        let names: Vec<String> = (0..65).map(|n| format!("t{n}")).collect();
        let many: Vec<&str> = names.iter().map(String::as_str).collect();
        for good in [&[][..], &["archive"], &["a", "b.c/d", "A"], &[&long[..64]], &many[..64]] {
            assert!(are_tags(good), "{good:?}");
        }
        for bad in [&[""][..], &["a", "a"], &["a b"], &["a\"b"], &["a\\b"], &["ü"], &[&long], &many] {
            assert!(!are_tags(bad), "{bad:?}");
        }
    }
}
