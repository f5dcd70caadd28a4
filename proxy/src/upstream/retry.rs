//! The retry policy's decision about an attempt that failed.
//!
//! Invariant: a request's own words blame no endpoint. A decision that blames one is followed only
//! as far as the policy makes it without the message's words that come from the request, too
//! (`jsonrpc::quoted`).

use super::{Case, Endpoint, Selection, Upstream};
use crate::client::Outgoing;
use crate::jsonrpc::unquoted;
use crate::model::{AttemptResult, CooldownWish, Decision, millis_f32};
use crate::policy::abi::{AttemptBlock, MESSAGE_BYTES, NO_GRPC_STATUS, NO_RETRY_AFTER, attempt_flags, flag};
use crate::policy::{Policy, native};

/// The estimated time to search a byte of a request.
const SEARCH_NANOS: u64 = 8;

impl Upstream {
    /// Asks the retry policy, or the native one if there is none or it faults.
    pub(super) fn decide(&self, endpoint: &Endpoint, selection: &Selection<'_>, case: &Case<'_>) -> Decision {
        if let Some(decision) = self.ask_retry(endpoint, selection, case) {
            return decision;
        }
        let decision = native::retry(case.request, case.result);
        match decision.cooldown {
            // A plugin may accept a longer time from an endpoint than the upstream's maximum; the
            // native policy has no settings for that.
            CooldownWish::Fixed(asked) => {
                Decision { cooldown: CooldownWish::Fixed(asked.min(self.settings.backoff.max)), ..decision }
            }
            CooldownWish::None | CooldownWish::Backoff => decision,
        }
    }

    /// The decision of the first policy that answers.
    fn ask_retry(&self, endpoint: &Endpoint, selection: &Selection<'_>, case: &Case<'_>) -> Option<Decision> {
        let mut deciders = self.deciders.retry(case.request.seed).peekable();
        deciders.peek()?;
        let (turn, time) = (self.deciders.turn(selection.request), &selection.request.policy_time);
        let selection = Selection { request: case.request, ..*selection };
        let request_block = self.request_block(&selection);
        let mut block = attempt_block(endpoint, case);
        block.candidates_left = self.candidates_left(&selection);
        block.timeout_ms = millis_f32(self.settings.timeout);
        let decide = |policy: &Policy| {
            let decision = policy.retry(&request_block, &block)?;
            let sent = case.sent.filter(|_| decision.blames());
            time.work(sent.map_or(0, |sent| sent.body.len() as u64 * SEARCH_NANOS));
            match sent.and_then(|sent| unquoted_block(&block, sent, case)) {
                Some(unquoted) => Ok(decision.despite(policy.retry(&request_block, &unquoted)?)),
                None => Ok(decision),
            }
        };
        deciders.find_map(|decider| decider.ask(turn, decide))
    }
}

/// The attempt block without the request's own words, if the message contains any.
fn unquoted_block(block: &AttemptBlock, sent: &Outgoing, case: &Case<'_>) -> Option<AttemptBlock> {
    let message = message_of(case.result);
    let seen = &message[..message.floor_char_boundary(MESSAGE_BYTES)];
    let message = unquoted(seen, case.request, sent.text())?;
    let mut block = AttemptBlock { message_len: 0, message: [0; MESSAGE_BYTES], ..*block };
    block.set_message(&message);
    Some(block)
}

/// The endpoint's message: a JSON-RPC error's, or the beginning of another error's body.
fn message_of(result: &AttemptResult) -> &str {
    result.rpc_error.as_ref().map_or(&result.text, |error| &error.message)
}

fn attempt_block(endpoint: &Endpoint, case: &Case<'_>) -> AttemptBlock {
    let result = case.result;
    let retry_after = result
        .retry_after
        .map_or(NO_RETRY_AFTER, |after| u32::try_from(after.as_millis()).unwrap_or(NO_RETRY_AFTER - 1));
    let mut block = AttemptBlock {
        endpoint: endpoint.index,
        outcome: result.outcome.code(),
        flags: flag(result.bytes_sent, attempt_flags::BYTES_SENT)
            | flag(result.rpc_error.is_some(), attempt_flags::HAS_RPC_CODE)
            | flag(case.may_retry, attempt_flags::MAY_RETRY)
            | flag(case.member, attempt_flags::MEMBER),
        rpc_code: result.rpc_error.as_ref().map_or(0, |e| e.code),
        http_status: u32::from(result.http_status.unwrap_or(0)),
        retry_after_ms: retry_after,
        latency_ms: millis_f32(result.latency),
        consecutive_failures: endpoint.stats.consecutive_failures(),
        cooldown_attempts: endpoint.stats.cooldown.attempts(),
        grpc_status: result.grpc_status.map_or(NO_GRPC_STATUS, |status| i32::try_from(status).unwrap_or(i32::MAX)),
        ..AttemptBlock::new()
    };
    block.set_message(message_of(result));
    block
}
