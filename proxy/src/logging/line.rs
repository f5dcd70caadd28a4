//! The format of an access log line.
//!
//! Formatted by hand, because every request pays for it.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The fields of an access log line.
pub struct AccessLine<'a> {
    /// The client's address.
    pub client: Option<&'a SocketAddr>,
    /// The upstream's name.
    pub upstream: &'a str,
    /// The method; empty if there was none.
    pub method: &'a str,
    /// Batch size; 1 for a single request, 0 if there was none.
    pub batch: u32,
    /// The endpoint of the last attempt.
    pub endpoint: Option<&'a str>,
    /// Number of attempts.
    pub attempts: u32,
    /// The outcome of the last attempt, or why there was none.
    pub outcome: &'a str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// From the head of the request to the end of the answer.
    pub latency: Duration,
    /// The generation that the request began with.
    pub generation: u64,
}

impl AccessLine<'_> {
    /// Appends the line to `text`.
    pub(super) fn put(&self, text: &mut Vec<u8>) {
        if let Some(client) = self.client {
            text.extend_from_slice(b"client=");
            put_address(text, client);
            text.push(b' ');
        }
        text.extend_from_slice(b"upstream=");
        put_quoted(text, self.upstream);
        text.extend_from_slice(b" method=");
        put_quoted(text, self.method);
        put_number(text, b" batch=", self.batch);
        if let Some(endpoint) = self.endpoint {
            text.extend_from_slice(b" endpoint=");
            put_quoted(text, endpoint);
        }
        put_number(text, b" attempts=", self.attempts);
        text.extend_from_slice(b" outcome=");
        put_quoted(text, self.outcome);
        put_number(text, b" status=", self.status);
        put_number(text, b" ms=", self.latency.as_millis());
        text.push(b'.');
        put_digits::<3>(text, self.latency.subsec_micros());
        put_number(text, b" generation=", self.generation);
    }
}

/// Formats times as the log's other lines have them, and caches the text up to the second.
#[derive(Default)]
pub(super) struct Stamp {
    second: u64,
    /// The time up to the second; empty before the first use.
    text: String,
}

impl Stamp {
    /// Appends `now` to `text`.
    pub(super) fn put(&mut self, text: &mut Vec<u8>, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.text.is_empty() {
            self.second = since.as_secs();
            self.text = humantime::format_rfc3339_seconds(now).to_string();
            // The `Z` comes after the fraction.
            self.text.pop();
        }
        text.extend_from_slice(self.text.as_bytes());
        text.push(b'.');
        put_digits::<6>(text, since.subsec_micros());
        text.push(b'Z');
    }
}

fn put_number(text: &mut Vec<u8>, key: &[u8], number: impl itoa::Integer) {
    text.extend_from_slice(key);
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the last `N` digits.
fn put_digits<const N: usize>(text: &mut Vec<u8>, mut number: u32) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    text.extend_from_slice(&digits);
}

/// Appends `value` in quotes, with escapes: a client's method can't end a line.
fn put_quoted(text: &mut Vec<u8>, value: &str) {
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        text.push(b'"');
        text.extend_from_slice(value.as_bytes());
        text.push(b'"');
    } else {
        // Writing to a buffer in memory never fails.
        let _ = write!(text, "{value:?}");
    }
}

/// Port 0 is left out: it isn't known.
fn put_address(text: &mut Vec<u8>, address: &SocketAddr) {
    if address.port() == 0 {
        let _ = write!(text, "{}", address.ip());
        return;
    }
    let SocketAddr::V4(v4) = address else {
        let _ = write!(text, "{address}");
        return;
    };
    for (octet, end) in v4.ip().octets().into_iter().zip(*b"...:") {
        text.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
        text.push(end);
    }
    text.extend_from_slice(itoa::Buffer::new().format(v4.port()).as_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn line(method: &str) -> AccessLine<'_> {
        AccessLine {
            client: None,
            upstream: "u",
            method,
            batch: 1,
            endpoint: Some("e"),
            attempts: 2,
            outcome: "success",
            status: 200,
            latency: Duration::from_micros(1_050),
            generation: 7,
        }
    }

    fn text_of(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        put(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_line_is_told_in_one_piece_whatever_the_client_calls_its_method() {
        assert_eq!(
            text_of(|text| line("a\"\n b").put(text)),
            r#"upstream="u" method="a\"\n b" batch=1 endpoint="e" attempts=2 outcome="success" status=200 ms=1.050 generation=7"#
        );
    }

    #[test]
    fn texts_are_quoted_as_they_are_elsewhere() {
        for value in ["", "eth_call", "a b", "\"", "\\", "\n", "\x1b[31m", "\x7f", "é", "\u{202e}"] {
            assert_eq!(text_of(|text| put_quoted(text, value)), format!("{value:?}"));
        }
    }

    #[test]
    fn addresses_and_durations_are_whole() {
        for client in ["127.0.0.1:80", "255.10.0.9:65535", "[::1]:8080"] {
            let address: SocketAddr = client.parse().unwrap();
            let told = text_of(|text| AccessLine { client: Some(&address), endpoint: None, ..line("m") }.put(text));
            assert!(told.starts_with(&format!("client={client} upstream=")) && !told.contains("endpoint"), "{told}");
        }
        for (micros, ms) in [(0, "0.000"), (999, "0.999"), (60_000_001, "60000.001")] {
            let latency = Duration::from_micros(micros);
            let told = text_of(|text| AccessLine { latency, ..line("m") }.put(text));
            assert!(told.contains(&format!(" ms={ms} ")), "{told}");
        }
    }

    #[test]
    fn times_are_as_in_other_lines() {
        let mut stamp = Stamp::default();
        for micros in [0, 1, 999_999, 1_000_000, 1_800_000_000_000_007, 1_800_000_000_500_000, 1_799_999_999_000_000] {
            let now = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(text_of(|text| stamp.put(text, now)), humantime::format_rfc3339_micros(now).to_string());
        }
    }
}
