//! Outcomes of attempts: heads and trailers of responses, failures, ends.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::{Forwarded, Kind};
use crate::client::retry_after;
use crate::engine::{Trace, classify, classify_grpc};
use crate::gateway::bounds::Bounds;
use crate::gateway::{failure, grpc};
use crate::jsonrpc::Refusal;
use crate::model::{AttemptResult, Outcome, grpc_status};
use crate::upstream::Upstream;

impl Forwarded {
    /// Judges the head of a response, before any of it is passed on.
    ///
    /// # Errors
    /// When another endpoint is tried instead.
    pub(in crate::gateway) fn judge(
        &mut self,
        head: &ResponseHeader,
        replayable: bool,
        trace: &mut Trace,
    ) -> Result<()> {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let result = self.result_of(head);
        if result.outcome == Outcome::Success {
            self.awaits_status = matches!(self.kind, Kind::Call { .. }) && result.grpc_status.is_none();
            self.relay.begin_answer(result, trace);
            return Ok(());
        }
        let is_retried = self.relay.fail(result, replayable && self.is_replayable(), trace);
        if is_retried || self.is_unfit(head) {
            return Err(
                Error::explain(ErrorType::HTTPStatus(head.status.as_u16()), "the response is not used").into_up()
            );
        }
        Ok(())
    }

    /// Whether no client may get the response: it switches protocols unasked, or its end isn't clear
    /// (RFC 9112, section 6.1).
    fn is_unfit(&self, head: &ResponseHeader) -> bool {
        let is_unasked = head.status == StatusCode::SWITCHING_PROTOCOLS && !matches!(self.kind, Kind::WebSocket { .. });
        let is_ambiguous = head.version == Version::HTTP_10 && head.headers.contains_key(header::TRANSFER_ENCODING);
        is_unasked || is_ambiguous
    }

    /// The result that the head of a response stands for.
    fn result_of(&self, head: &ResponseHeader) -> AttemptResult {
        let after = head.headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value.as_bytes()));
        let by_http = classify(head.status.as_u16(), after);
        if self.is_unfit(head) {
            return AttemptResult::failed(Outcome::BadResponse, true, "the response is not well-formed HTTP");
        }
        if !matches!(self.kind, Kind::Call { .. }) || head.status != StatusCode::OK {
            return by_http;
        }
        match grpc_status(&head.headers) {
            Some(status) => AttemptResult { retry_after: after, ..classify_grpc(status) },
            None if grpc::has_grpc_content_type(&head.headers) => by_http,
            None => AttemptResult {
                http_status: by_http.http_status,
                ..AttemptResult::failed(Outcome::BadResponse, true, "the response is not gRPC")
            },
        }
    }

    /// Judges the trailers of a response, which say how a gRPC call ended.
    pub(in crate::gateway) fn judge_trailers(&mut self, trailers: &HeaderMap, trace: &mut Trace) {
        let Some(status) = grpc_status(trailers).filter(|_| self.awaits_status) else { return };
        self.awaits_status = false;
        let result = classify_grpc(status);
        if result.outcome != Outcome::Success {
            self.relay.fail(result, false, trace);
        }
    }

    /// The connection that a response of 101 opens, if it answers a handshake.
    pub(in crate::gateway) fn opens(&self, head: &ResponseHeader) -> Option<(Arc<Upstream>, u32)> {
        let is_open = head.status == StatusCode::SWITCHING_PROTOCOLS && matches!(self.kind, Kind::WebSocket { .. });
        is_open.then(|| self.relay.endpoint()).flatten()
    }

    /// Whether the body, as far as it was read, fits into the replay buffer.
    fn is_replayable(&self) -> bool {
        self.body.bytes <= self.replay_buffer
    }

    /// Ends an attempt that couldn't connect.
    pub(in crate::gateway) fn fail_to_connect(&mut self, error: &Error, trace: &mut Trace) -> bool {
        let Some(target) = &self.target else { return false };
        // A kept connection of HTTP/2 ended just as it was reused.
        if *error.etype() == ErrorType::H2Error && !self.renewed {
            (self.renewed, self.again) = (true, true);
            return true;
        }
        let result = AttemptResult::failed(Outcome::ConnectFailed, false, target.fail_to_connect(error));
        self.relay.fail(result, self.is_replayable(), trace)
    }

    /// Ends an attempt that broke. Returns whether another one follows.
    pub(in crate::gateway) fn fail(
        &mut self,
        session: &mut Session,
        bounds: Option<&Bounds>,
        (error, reused): (&Error, bool),
        trace: &mut Trace,
    ) -> bool {
        if self.relay.is_retrying() {
            return true;
        }
        if bounds.is_some_and(Bounds::is_handshake_late) {
            let late = AttemptResult::failed(Outcome::Timeout, true, "timed out in the handshake");
            return self.relay.fail(late, true, trace);
        }
        if let Some(refusal) = self.clients_fault(session, error) {
            self.refusal.get_or_insert(refusal);
            self.relay.cancel(trace);
            return false;
        }
        let result = failure::broken(error);
        let replayable = self.is_replayable() && !session.as_ref().retry_buffer_truncated();
        if session.response_written().is_some_and(|head| !head.status.is_informational()) {
            self.relay.break_off(result, trace);
            return false;
        }
        // The endpoint closed the connection just as it was reused, or did nothing with the stream.
        let is_stale = !result.bytes_sent || (reused && self.relay.is_resendable());
        if is_stale && result.outcome == Outcome::Reset && replayable && !self.renewed {
            (self.renewed, self.again) = (true, true);
            return true;
        }
        self.relay.fail(result, replayable, trace)
    }

    /// The refusal, if the client ended the attempt: it is gone, too slow, or gave the call less time
    /// than an attempt has.
    fn clients_fault(&self, session: &mut Session, error: &Error) -> Option<Refusal> {
        let is_late = *error.etype() == ErrorType::ReadTimedout;
        let is_downstream = *error.esource() == ErrorSource::Downstream;
        match self.kind {
            _ if self.refusal.is_some() => self.refusal.clone(),
            // Pingora itself can't write this head.
            _ if *error.etype() == ErrorType::InvalidHTTPHeader && *error.esource() == ErrorSource::Internal => {
                Some(Refusal::Malformed("it can't be passed on"))
            }
            Kind::Call { timeout: Some(timeout) } if is_late && self.is_impatient(timeout) => Some(Refusal::TimedOut),
            // Both sides of a call may be open for any time.
            Kind::Call { .. } => is_downstream.then_some(Refusal::BrokenBody),
            _ if is_late && (is_downstream || !session.as_mut().is_body_done()) => Some(Refusal::Stalled),
            _ => is_downstream.then_some(Refusal::BrokenBody),
        }
    }

    /// Whether this is less time than an attempt has.
    fn is_impatient(&self, timeout: Duration) -> bool {
        self.target.as_ref().is_some_and(|target| timeout < target.settings.timeout)
    }

    /// Ends the request.
    pub(in crate::gateway) fn end(&mut self, error: Option<&Error>, trace: &mut Trace) {
        match error {
            None if self.awaits_status => {
                let result = AttemptResult::failed(Outcome::BadResponse, true, "the call has no status");
                self.relay.fail(result, false, trace);
            }
            None => self.relay.finish(),
            Some(_) => self.relay.cancel(trace),
        }
        self.relay.end(trace);
    }

    /// The refusal for the client, after `error` ended the request without a response.
    pub(in crate::gateway) fn refusal(&self) -> Refusal {
        self.refusal.clone().unwrap_or_else(|| self.relay.refusal())
    }
}
