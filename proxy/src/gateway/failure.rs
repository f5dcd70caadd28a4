//! Results of attempts by Pingora's errors.

use pingora::{Error, ErrorType, RetryType};

use crate::client::NO_HTTP2;
use crate::model::{AttemptResult, Outcome};

/// The endpoint answered a connection that was to speak HTTP/2 with HTTP/1.
const HTTP1: ErrorType = ErrorType::Custom("no HTTP/2");

/// The error of an attempt whose connection speaks HTTP/1 against the conf.
pub(super) fn no_http2() -> Box<Error> {
    Error::new(HTTP1).into_up()
}

/// The result of an attempt whose connection or stream broke.
pub(super) fn broken(error: &Error) -> AttemptResult {
    use ErrorType as E;
    match error.etype() {
        E::ReadTimedout | E::WriteTimedout => AttemptResult::failed(Outcome::Timeout, true, "timed out"),
        E::InvalidHTTPHeader | E::InvalidH2 | E::H2Downgrade => {
            AttemptResult::failed(Outcome::BadResponse, true, "the response is not well-formed HTTP")
        }
        etype if *etype == HTTP1 => AttemptResult::failed(Outcome::ConnectFailed, false, NO_HTTP2),
        _ if is_unprocessed(error) => AttemptResult::failed(Outcome::Reset, false, "the endpoint took no more streams"),
        _ => AttemptResult::failed(Outcome::Reset, true, "the connection broke"),
    }
}

/// Whether the endpoint said that it did nothing with the request: by `REFUSED_STREAM`, or by a
/// `GOAWAY` that doesn't count the stream (RFC 9113, section 8.7).
fn is_unprocessed(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && matches!(error.retry, RetryType::Decided(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(etype: ErrorType, retry: bool) -> (Outcome, bool) {
        let mut error = Error::new(etype);
        error.set_retry(retry);
        let result = broken(&error);
        (result.outcome, result.bytes_sent)
    }

    #[test]
    fn only_what_the_endpoint_disclaims_was_not_sent() {
        use ErrorType as E;
        for (etype, retry, expected) in [
            (E::ReadTimedout, true, (Outcome::Timeout, true)),
            (E::InvalidH2, true, (Outcome::BadResponse, true)),
            (E::H2Downgrade, false, (Outcome::BadResponse, true)),
            (E::H2Error, true, (Outcome::Reset, false)),
            (E::H2Error, false, (Outcome::Reset, true)),
            (E::ReadError, true, (Outcome::Reset, true)),
            (E::ConnectionClosed, true, (Outcome::Reset, true)),
            (HTTP1, false, (Outcome::ConnectFailed, false)),
        ] {
            let text = format!("{etype:?}");
            assert_eq!(said(etype, retry), expected, "{text}");
        }
    }
}
