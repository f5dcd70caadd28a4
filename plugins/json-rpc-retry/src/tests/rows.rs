//! A test for each row of the table, with real messages of nodes and providers.

use super::*;
use crate::signal::When;

fn rpc(code: i64, message: &str) -> Attempt {
    Attempt::rpc_error(code, message)
}

/// Each of the texts as an error message, with a code that no row matches.
fn said<const N: usize>(texts: [&str; N]) -> [Attempt; N] {
    texts.map(|text| rpc(-32_099, text))
}

/// Asserts that each attempt matches the row, and that the decisions for a read, a write and a raw
/// transaction are `held` of a retry or a return.
fn is_decided(row: u8, attempts: &[Attempt], retried: [bool; 3], held: fn(Decision) -> Decision) {
    for attempt in attempts {
        for (request, retried) in [read(), write(), raw_transaction()].iter().zip(retried) {
            let what = format!("{} {attempt:?} {}", request.method(), attempt.message_lossy());
            let action = if retried { Decision::retry() } else { Decision::return_() };
            assert_eq!(row_of(request, *attempt), row, "{what}");
            assert_eq!(decide(request, *attempt), held(action), "{what}");
        }
    }
}

/// No request may go to another endpoint.
const NONE: [bool; 3] = [false, false, false];
/// Reads.
const READS: [bool; 3] = [true, false, false];
/// All but a write that was sent.
const SAFE: [bool; 3] = [true, false, true];

#[test]
fn row_1_a_failed_connect_goes_elsewhere_writes_too() {
    let attempt = Attempt::new(Outcome::ConnectFailed);
    is_decided(1, &[attempt], [true; 3], |d| d.cooldown(BACKOFF).penalty_ms(20_000.0));
}

#[test]
fn row_2_a_range_that_is_too_large_goes_where_a_larger_one_is_allowed() {
    is_decided(2, &said(["range too large", "returned more than", "is too big", "max block range"]), SAFE, |d| {
        d.larger_range()
    });
    let attempts = [
        rpc(-32_005, "query returned more than 10000 results"),
        rpc(-32_602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range"),
        rpc(-32_600, "You can make eth_getLogs requests with up to a 10 block range."),
        rpc(-32_614, "eth_getLogs is limited to a 10,000 range"),
        rpc(-32_701, "exceed maximum block range: 5000"),
        rpc(-32_000, "block range is too wide"),
        rpc(-32_602, "query exceeds max results 20000, retry with the range 12345-12399"),
    ];
    is_decided(2, &attempts, SAFE, |d| d.larger_range());
}

#[test]
fn row_3_a_limited_sender_is_told_so() {
    is_decided(3, &[rpc(-32_005, "sender is over rate limit"), rpc(-32_000, "Sender is over rate limit")], NONE, |d| d);
}

#[test]
fn row_4_a_quota_that_is_used_up_cools_for_long() {
    let attempts = [
        Attempt::http_error(402),
        Attempt::http_error_with_body(402, "<html><h1>402 Payment Required</h1>"),
        rpc(429, "Monthly capacity limit exceeded. Visit https://dashboard.example.com/settings/billing to upgrade"),
        rpc(-32_099, "see https://example.com/billing"),
        Attempt { retry_after_ms: 1_000, ..Attempt::http_error_with_body(429, "monthly capacity reached") },
    ];
    is_decided(4, &attempts, SAFE, |d| d.cooldown(fixed_ms(3_600_000)));
}

#[test]
fn row_5_a_rate_limit_goes_elsewhere_and_cools_by_backoff() {
    let attempts = [
        Attempt::http_error(429),
        Attempt { retry_after_ms: 0, ..Attempt::http_error(429) },
        rpc(-32_005, "daily request count exceeded, request rate limited"),
        rpc(-32_005, "limit exceeded"),
        rpc(429, "Your app has exceeded its compute units per second capacity."),
        rpc(-32_007, "50/second request limit reached - reduce calls per second or upgrade your account"),
        rpc(-32_099, "rate limit"),
        rpc(-32_099, "Too Many Requests"),
        Attempt::http_error_with_body(503, "Rate limit exceeded"),
    ];
    is_decided(5, &attempts, SAFE, |d| d.cooldown(BACKOFF));
}

#[test]
fn row_5_a_rate_limit_cools_as_long_as_it_asks_up_to_five_minutes() {
    for (asked, cools) in [(1_500, 1_500), (300_000, 300_000), (300_001, 300_000), (u32::MAX - 1, 300_000)] {
        for attempt in [Attempt::http_error(429), rpc(-32_005, "")] {
            let decision = decide(&read(), Attempt { retry_after_ms: asked, ..attempt });
            assert_eq!(decision, Decision::retry().cooldown(fixed_ms(cools)));
        }
    }
}

#[test]
fn row_6_a_known_transaction_has_landed() {
    let texts = [
        "already known",
        "AlreadyKnown",
        "already imported",
        "Transaction with the same hash was already imported.",
        "known transaction: 0x1f9840a85d5af5bf1d1762f925bdaddc4201f984",
        "Known transaction",
    ];
    for text in texts {
        for attempt in [rpc(-32_000, text), rpc(-32_603, text)] {
            assert_eq!(row_of(&raw_transaction(), attempt), 6, "{text}");
            assert_eq!(decide(&raw_transaction(), attempt), Decision::return_().landed(), "{text}");
            assert_ne!(row_of(&read(), attempt), 6, "{text}");
        }
    }
    assert_eq!(row_of(&raw_transaction(), rpc(-32_000, "unknown transaction type")), 9);
}

#[test]
fn row_7_a_nonce_too_low_after_another_attempt_is_returned_as_it_is() {
    let mut again = raw_transaction();
    again.flags |= Request::PRIOR_SENT;
    for text in ["nonce too low", "nonce too low: next nonce 8, tx nonce 7", "Nonce too low", "OldNonce"] {
        assert_eq!(row_of(&again, rpc(-32_000, text)), 7);
        assert_eq!(decide(&again, rpc(-32_000, text)), Decision::return_().as_success());
        assert_eq!(row_of(&raw_transaction(), rpc(-32_000, text)), 11, "without another attempt the client is wrong");
    }
}

#[test]
fn row_8_a_missing_block_or_state_goes_where_there_is_more_history() {
    let attempts = [
        rpc(-32_000, "header not found"),
        rpc(-32_000, "missing trie node 5a0dc4 (path ) state 0x5a0dc4 is not available, not found"),
        rpc(-39_001, "Unknown block"),
        rpc(-32_000, "historical state 5a0dc4 is not available"),
        rpc(-32_000, "World state unavailable"),
        rpc(-32_000, "No state available for block 0x10"),
        rpc(-32_603, "state at block #17000000 is pruned"),
        rpc(-32_602, "block number 99 is greater than latest 98"),
        rpc(-32_000, "block range extends beyond current head block"),
    ];
    is_decided(8, &attempts, SAFE, |d| d.prefer_history());
}

#[test]
fn row_8_a_solana_node_that_is_behind_is_no_rate_limit() {
    let solana = Request { chain: Chain::Solana as u32, ..Request::for_method("getBlock") };
    let attempts = [
        rpc(-32_005, "Node is behind by 42 slots"),
        rpc(-32_004, "Block not available for slot 1234"),
        rpc(-32_001, "Block 1234 cleaned up, does not exist on node. First available block: 2000"),
        rpc(-32_014, "Block status not yet available for slot 1234"),
        rpc(-32_016, "Minimum context slot has not been reached"),
    ];
    for attempt in attempts {
        assert_eq!(row_of(&solana, attempt), 8);
        assert_eq!(decide(&solana, attempt), Decision::retry().prefer_history());
        assert_ne!(row_of(&read(), attempt), 8);
    }
    assert_eq!(row_of(&solana, Attempt::http_error(429)), 5);
}

#[test]
fn row_9_a_tag_or_type_that_one_endpoint_lacks_another_may_have() {
    let attempts = [
        rpc(-32_000, "safe block not found"),
        rpc(-32_000, "finalized block not found"),
        rpc(-32_000, "pending block is not available"),
        rpc(-32_602, "block tag 'safe' is unsupported"),
        rpc(-32_602, "block tag \"finalized\" is not supported"),
        rpc(-32_602, "unsupported block tag: pending"),
        rpc(-32_000, "transaction type not supported"),
        rpc(-32_000, "unsupported transaction type"),
    ];
    is_decided(9, &attempts, SAFE, |d| d);
}

#[test]
fn row_10_a_verdict_of_the_evm_is_an_answer() {
    let attempts = [
        rpc(3, "execution reverted: ERC20: transfer amount exceeds balance"),
        rpc(-32_000, "execution reverted"),
        rpc(-32_603, "Execution reverted"),
        rpc(-32_015, "Reverted 0x08c379a0"),
        rpc(-32_603, "VM Exception while processing transaction: invalid opcode"),
        rpc(-32_003, "EVM error: OpcodeNotFound"),
        rpc(-32_000, "out of gas"),
        rpc(-32_000, "gas required exceeds allowance (50000000)"),
        rpc(-32_000, "invalid opcode: INVALID"),
        Attempt { http_status: 500, outcome: 4, ..rpc(3, "execution reverted") },
    ];
    is_decided(10, &attempts, NONE, |d| d.as_success());
}

#[test]
fn row_11_a_transaction_that_is_not_valid_is_an_answer() {
    let texts = [
        "insufficient funds for gas * price + value: balance 0, tx cost 21000, overshot 21000",
        "intrinsic gas too low: gas 20000, minimum needed 21000",
        "nonce too high",
        "nonce too low",
        "rlp: value size exceeds available input length",
        "Invalid RLP.",
        "exceeds block gas limit",
        "max fee per gas less than block base fee",
    ];
    for code in [-32_000, -32_003, -32_010] {
        is_decided(11, &texts.map(|text| rpc(code, text)), NONE, |d| d.as_success());
    }
    for method in ["trace_call", "debug_traceCall"] {
        let decision = decide(&Request::for_method(method), rpc(-32_000, "insufficient funds for transfer"));
        assert_eq!(decision, Decision::retry().as_success(), "{method}");
    }
}

#[test]
fn row_12_a_transaction_that_pays_too_little_is_an_answer() {
    let attempts =
        said(["replacement transaction underpriced", "transaction underpriced: tip needed 1, tip permitted 0"]);
    is_decided(12, &attempts, NONE, |d| d.as_success());
}

#[test]
fn row_13_a_rejected_transaction_has_one_more_try() {
    let attempts = [rpc(-32_003, "transaction rejected"), rpc(-32_000, "txpool is full")];
    is_decided(13, &attempts, [false, false, true], |d| d);
    let second = Request { attempt: 2, ..raw_transaction() };
    assert_eq!(attempts.map(|attempt| decide(&second, attempt)), [Decision::return_(); 2]);
}

#[test]
fn row_14_a_missing_method_goes_elsewhere_and_is_remembered() {
    let attempts = [
        rpc(-32_601, "the method trace_block does not exist/is not available"),
        rpc(-32_601, "Method not found"),
        rpc(-32_004, "This method is not supported"),
        Attempt::http_error(405),
        Attempt::http_error(415),
        rpc(-32_000, "method trace_filter is not available on your plan"),
        rpc(-32_604, "Method not enabled"),
        rpc(-32_000, "debug_traceCall is disabled"),
        rpc(-32_001, "rpc method is not whitelisted"),
    ];
    is_decided(14, &attempts, SAFE, |d| d.ban_method(Duration::from_secs(600)));
    assert_ne!(row_of(&read(), rpc(-32_000, "data not available")), 14, "not a word of the method");
}

#[test]
fn row_15_refused_credentials_cool_for_long() {
    let attempts = [
        Attempt::http_error(401),
        Attempt::http_error(403),
        Attempt::http_error_with_body(400, "{\"message\":\"Invalid API key\"}"),
        Attempt { http_status: 401, outcome: 4, ..rpc(-32_600, "Must be authenticated!") },
        rpc(-32_000, "invalid api key"),
    ];
    is_decided(15, &attempts, READS, |d| d.cooldown(fixed_ms(600_000)).penalty_ms(5_000.0));
}

#[test]
fn row_16_a_request_that_is_not_valid_is_answered() {
    let attempts = [
        rpc(-32_602, "invalid argument 0: hex string has length 38, want 40 for common.Address"),
        rpc(-32_600, "invalid request"),
        rpc(-32_000, "filter not found"),
    ];
    is_decided(16, &attempts, NONE, |d| d.as_success());
}

#[test]
fn row_17_a_server_error_goes_elsewhere_for_reads() {
    let [lowest, usual, highest] = [500, 503, 599].map(Attempt::http_error);
    let attempts = [lowest, usual, highest, rpc(-32_603, "Internal error")];
    is_decided(17, &attempts, READS, |d| d.cooldown(BACKOFF).penalty_ms(15_000.0));
}

#[test]
fn row_17_what_the_request_may_have_caused_cools_from_the_third_time_on() {
    let attempts = [
        rpc(-32_000, "execution timeout"),
        rpc(-32_000, "execution aborted (timeout = 5s)"),
        rpc(-32_603, "execution timeout"),
        rpc(-32_000, "something else"),
        rpc(-32_700, "parse error"),
        Attempt::new(Outcome::BadResponse),
    ];
    let after = |consecutive_failures| attempts.map(|attempt| Attempt { consecutive_failures, ..attempt });
    is_decided(17, &after(1), READS, |d| d.penalty_ms(15_000.0));
    is_decided(17, &after(2), READS, |d| d.cooldown(BACKOFF).penalty_ms(15_000.0));
}

#[test]
fn row_18_a_timeout_or_reset_goes_elsewhere_unless_a_write_may_have_landed() {
    is_decided(18, &[Attempt::new(Outcome::Timeout)], SAFE, |d| d.cooldown(BACKOFF).penalty_ms(30_000.0));
    is_decided(18, &[Attempt::new(Outcome::Reset)], SAFE, |d| d.cooldown(BACKOFF).penalty_ms(20_000.0));
    let filter = Request { flags: Request::WRITE, ..Request::for_method("eth_newFilter") };
    assert!(!decide(&filter, Attempt::new(Outcome::Timeout)).is_retry());
    let unsent = Attempt { flags: Attempt::MAY_RETRY, ..Attempt::new(Outcome::Reset) };
    assert!(decide(&filter, unsent).is_retry());
}

#[test]
fn the_rest_another_refusal_goes_elsewhere_for_reads_without_a_cooldown() {
    let attempts = [301, 308, 400, 404, 413, 428, 430, 499].map(Attempt::http_error);
    is_decided(0, &attempts, READS, |d| d.penalty_ms(5_000.0));
}

#[test]
fn the_rest_any_other_json_rpc_error_is_an_answer() {
    let attempts = [rpc(-32_002, "preflight failure"), rpc(1, ""), Attempt::new(Outcome::RpcError)];
    is_decided(0, &attempts, NONE, |d| d.as_success());
}

/// A request that meets a row's conditions.
fn request_for(row: &table::Row) -> Request {
    let method = row.when.iter().find_map(|when| if let When::Method(method) = when { Some(*method) } else { None });
    let mut request = Request::for_method(method.unwrap_or("eth_call"));
    for when in row.when {
        match *when {
            When::Method(_) => {}
            When::PriorSent => request.flags |= Request::PRIOR_SENT,
            When::On(chain) => request.chain = chain as u32,
        }
    }
    request
}

/// Attempts with a signal alone, one for each of its texts.
fn attempts_for(signal: &Signal) -> Vec<Attempt> {
    match *signal {
        Signal::Ended(outcome) => vec![Attempt::new(outcome)],
        Signal::Status(from, to) => vec![Attempt::http_error(from), Attempt::http_error(to)],
        Signal::Code(code) => vec![rpc(code, "")],
        Signal::Message(texts) => texts.iter().map(|text| rpc(-32_099, text)).collect(),
        Signal::Both(first, second) => {
            let pairs = first.iter().flat_map(|first| second.iter().map(move |second| format!("{second} {first}")));
            pairs.map(|text| rpc(-32_099, &text)).collect()
        }
        Signal::Body(texts) => texts.iter().map(|text| Attempt::http_error_with_body(400, text)).collect(),
    }
}

#[test]
fn no_sign_of_a_row_is_hidden_by_a_row_above() {
    for row in table::TABLE {
        for signal in row.any {
            for attempt in attempts_for(signal) {
                assert_eq!(row_of(&request_for(row), attempt), row.row, "{}: {signal:?}", row.name);
            }
        }
    }
}

#[test]
fn rows_are_numbered_from_1_to_18() {
    for number in 1..=18 {
        assert!(table::TABLE.iter().any(|row| row.row == number), "{number}");
    }
    assert!(table::TABLE.iter().all(|row| row.row <= 18));
}
