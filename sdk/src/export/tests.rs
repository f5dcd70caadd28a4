//! Native calls of the exports' bodies, with the proxy's memory layout.

use std::sync::OnceLock;

use serde::Deserialize;

use super::*;

/// Scores weight times a factor, retries with a penalty, and plans the request block's maximum of
/// attempts and a hedge after the endpoint's weight in milliseconds.
#[derive(Debug)]
struct Factor(f64);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactorConfig {
    #[serde(default = "one")]
    factor: f64,
}

fn one() -> f64 {
    1.0
}

impl Policy for Factor {
    type Config = FactorConfig;
    const TAGS: &'static [&'static str] = &["archive", "eu"];

    fn configure(config: FactorConfig) -> Result<Self, String> {
        match config.factor {
            0.0 => Err(String::new()),
            factor if factor < 0.0 => Err("ü".repeat(MAX_ERROR_BYTES)),
            factor => Ok(Factor(factor)),
        }
    }
}

impl Scoring for Factor {
    fn score(&self, _: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]) {
        for (endpoint, score) in endpoints.iter().zip(scores) {
            *score = f64::from(endpoint.weight) * self.0;
        }
    }
}

impl Retry for Factor {
    fn retry(&self, _: &Request, _: &Attempt) -> Decision {
        Decision::retry().penalty_ms(7.0)
    }
}

impl Planning for Factor {
    fn plan(&self, request: &Request, endpoint: &Endpoint, plan: Plan) -> Plan {
        #[expect(clippy::cast_precision_loss, reason = "a test's weights are small")]
        let hedge_delay_ms = endpoint.weight as f32;
        Plan { hedge_delay_ms, ..plan.max_attempts(request.max_attempts) }
    }
}

crate::export_policy!(Factor: scoring, retry, plan);

mod other_kinds {
    use super::{Attempt, Decision, Endpoint, Plan, Planning, Policy, Request, Retry};

    struct PlanOnly;

    impl Policy for PlanOnly {
        type Config = crate::NoConfig;

        fn configure(_: crate::NoConfig) -> Result<Self, String> {
            Ok(PlanOnly)
        }
    }

    impl Retry for PlanOnly {
        fn retry(&self, _: &Request, _: &Attempt) -> Decision {
            Decision::return_()
        }
    }

    impl Planning for PlanOnly {
        fn plan(&self, _: &Request, _: &Endpoint, plan: Plan) -> Plan {
            plan
        }
    }

    // Compiling is the test: natively the macro only checks names and traits.
    crate::export_policy!(PlanOnly: retry, plan);
}

fn configured_with(config: &str) -> OnceLock<Factor> {
    let slot = OnceLock::new();
    assert_eq!(configure(&slot, config.as_bytes()), None);
    slot
}

fn score_rows(slot: &OnceLock<Factor>, request: &Request, rows: &[u64], count: usize) -> [f64; 2] {
    let mut block = words(std::slice::from_ref(request)).to_vec();
    let mut scores = [0.0; 2];
    // SAFETY: the tests pass valid rows, or a request that is rejected before they are read.
    unsafe { score(slot, block.as_mut_ptr(), rows.as_ptr(), count, scores.as_mut_ptr()) };
    assert_eq!(block, words(std::slice::from_ref(request)), "it has scored, and so not refused");
    scores
}

const ROWS: fn() -> [Endpoint; 2] =
    || [Endpoint { weight: 30, ..Endpoint::default() }, Endpoint { weight: 7, ..Endpoint::default() }];

#[test]
fn an_empty_table_takes_the_defaults_and_a_key_is_used() {
    for (config, expected) in [("{}", [30.0, 7.0]), (r#"{"factor":2}"#, [60.0, 14.0])] {
        assert_eq!(score_rows(&configured_with(config), &Request::default(), words(&ROWS()), 2), expected);
    }
}

/// Refuses writes.
struct ReadOnly;

impl Policy for ReadOnly {
    type Config = crate::NoConfig;

    fn configure(_: crate::NoConfig) -> Result<Self, String> {
        Ok(ReadOnly)
    }
}

impl Scoring for ReadOnly {
    fn score(&self, _: &Request, _: Endpoints<'_>, scores: &mut [f64]) {
        scores.fill(7.0);
    }

    fn refuses(&self, request: &Request, _: Endpoints<'_>) -> bool {
        request.is_write()
    }
}

#[test]
fn a_request_that_is_refused_has_its_flag_and_no_score() {
    let slot = OnceLock::from(ReadOnly);
    for (flags, left, expected) in [(2, 2, 7.0), (3, 0x8000_0003, f64::NEG_INFINITY)] {
        let request = [Request { flags, seed: 7, ..Request::for_method("m") }];
        let mut block = words(&request).to_vec();
        let mut scores = [0.0; 2];
        // SAFETY: the blocks are valid and don't overlap.
        unsafe { score(&slot, block.as_mut_ptr(), words(&ROWS()).as_ptr(), 2, scores.as_mut_ptr()) };
        assert_eq!(scores, [expected; 2]);
        assert_eq!(block, words(&[Request { flags: left, ..request[0] }]), "nothing else has changed");
    }
}

#[test]
fn a_config_that_does_not_fit_says_why() {
    let error = |config: &str| configure(&OnceLock::<Factor>::new(), config.as_bytes()).unwrap_or_default();
    assert!(error(r#"{"facter":2}"#).contains("unknown field `facter`"), "{}", error(r#"{"facter":2}"#));
    assert!(error(r#"{"factor":"x"}"#).contains("invalid type"), "{}", error(r#"{"factor":"x"}"#));
    assert_eq!(error(r#"{"factor":0}"#), "refused without a reason");
    assert_eq!(error(r#"{"factor":-1}"#), "ü".repeat(MAX_ERROR_BYTES / 2));
}

#[test]
fn a_second_configure_is_refused_and_changes_nothing() {
    let slot = configured_with("{}");
    assert_eq!(configure(&slot, br#"{"factor":2}"#).as_deref(), Some("already configured"));
    assert_eq!(score_rows(&slot, &Request::default(), words(&ROWS()), 2), [30.0, 7.0]);
}

#[test]
fn rows_and_blocks_of_a_later_version_are_understood() {
    let wide: Vec<u64> = ROWS().chunks(1).flat_map(|row| [words(row), &[u64::MAX]].concat()).collect();
    let request = Request { size: 384, row_stride: 72, ..Request::default() };
    assert_eq!(score_rows(&configured_with("{}"), &request, &wide, 2), [30.0, 7.0]);
}

/// Retries what has no path, as with a proxy of version 1.1, or else the attempt's gRPC status times.
struct Fields;

impl Policy for Fields {
    type Config = crate::NoConfig;

    fn configure(_: crate::NoConfig) -> Result<Self, String> {
        Ok(Fields)
    }
}

impl Retry for Fields {
    fn retry(&self, request: &Request, attempt: &Attempt) -> Decision {
        assert_eq!((request.protocol(), request.seed), (crate::Protocol::JsonRpc, 7));
        assert_eq!(attempt.outcome(), Outcome::Timeout);
        let path = request.path().len();
        Decision::return_().penalty_ms(if path == 0 { 100.0 } else { 0.0 } + attempt.grpc_status().map_or(0.5, |_| 1.0))
    }
}

#[test]
fn blocks_of_an_older_proxy_are_completed() {
    let slot = OnceLock::from(Fields);
    for (sizes, penalty_ms) in [([320, 264], 1.0), ([128, 256], 100.5), ([384, 300], 1.0)] {
        let request = [Request { size: sizes[0], seed: 7, ..Request::default() }];
        let attempt = [Attempt { size: sizes[1], grpc_status: 14, ..Attempt::new(Outcome::Timeout) }];
        let mut decision = words(&[Decision::return_()]).to_vec();
        // SAFETY: the blocks are valid, as long as they tell or longer as far as they are read, and
        // don't overlap.
        unsafe { retry(&slot, words(&request).as_ptr(), words(&attempt).as_ptr(), decision.as_mut_ptr()) };
        assert_eq!(decision, words(&[Decision::return_().penalty_ms(penalty_ms)]), "{sizes:?}");
    }
}

#[test]
fn the_description_lists_tags_if_there_are_any() {
    let plain = describe("tiers", "1.0.0", r#"["scoring"]"#, &[]);
    assert_eq!(plain, r#"{"name":"tiers","version":"1.0.0","kinds":["scoring"]}"#);
    let tagged = describe("tiers", "1.0.0", r#"["scoring"]"#, Factor::TAGS);
    assert_eq!(tagged, r#"{"name":"tiers","version":"1.0.0","kinds":["scoring"],"tags":["archive","eu"]}"#);
}

#[test]
#[should_panic(expected = "called before it was configured")]
fn a_hot_call_before_configure_panics() {
    score_rows(&OnceLock::new(), &Request::default(), words(&ROWS()), 2);
}

#[test]
#[should_panic(expected = "a block of 120 bytes is shorter")]
fn a_short_block_panics() {
    score_rows(&configured_with("{}"), &Request { size: 120, ..Request::default() }, &[], 0);
}

#[test]
#[should_panic(expected = "rows can't be 60 bytes apart")]
fn a_stride_that_is_too_short_panics() {
    score_rows(&configured_with("{}"), &Request { row_stride: 60, ..Request::default() }, &[], 0);
}

#[test]
#[should_panic(expected = "a block can't be at 0x0")]
fn a_null_block_panics() {
    // SAFETY: the pointer is rejected before anything is read.
    unsafe { retry(&configured_with("{}"), std::ptr::null(), std::ptr::null(), std::ptr::null_mut()) };
}

#[test]
fn the_decision_is_written_and_its_size_left_as_it_is() {
    let mut decision = [u64::MAX; 5];
    decision[0] = 40;
    let (request, attempt) = ([Request::default()], [Attempt::rpc_error(-32000, "")]);
    // SAFETY: the blocks are valid and don't overlap.
    unsafe {
        retry(&configured_with("{}"), words(&request).as_ptr(), words(&attempt).as_ptr(), decision.as_mut_ptr());
    }
    assert_eq!(decision, [40 | 1 << 32, 0, u64::from(7.0_f32.to_bits()) << 32, 0, u64::MAX]);
}

fn plan_with(request: &Request, row: *const u64, block: &mut [u64; 4]) {
    let slot = configured_with("{}");
    // SAFETY: the tests pass valid blocks that don't overlap, or a row that is rejected before it
    // is read.
    unsafe { plan(&slot, words(std::slice::from_ref(request)).as_ptr(), row, block.as_mut_ptr()) };
}

/// A plan block followed by a word that the guest must not write.
fn plan_block(size: u64) -> [u64; 4] {
    let block = Plan { latency_p95_ms: 25.0, method_p75_ms: 20.0, ..Plan::default() };
    let mut block = [words(&[block]), &[u64::MAX]].concat();
    block[0] = block[0] >> 32 << 32 | size;
    [block[0], block[1], block[2], block[3]]
}

#[test]
fn the_plan_is_changed_where_it_lies_and_its_size_left_as_it_is() {
    for size in [24, 32] {
        let mut block = plan_block(size);
        plan_with(&Request { max_attempts: 2, ..Request::default() }, words(&ROWS()).as_ptr(), &mut block);
        let float = |value: f32| u64::from(value.to_bits());
        assert_eq!(
            block,
            [size | 2 << 32, float(5_000.0) | float(30.0) << 32, float(25.0) | float(20.0) << 32, u64::MAX]
        );
    }
}

#[test]
#[should_panic(expected = "a row of 60 bytes can't be at")]
fn a_plan_for_a_short_row_panics() {
    plan_with(&Request { row_stride: 60, ..Request::default() }, words(&ROWS()).as_ptr(), &mut plan_block(24));
}

#[test]
#[should_panic(expected = "a row of 64 bytes can't be at 0x0")]
fn a_plan_for_no_row_panics() {
    plan_with(&Request::default(), std::ptr::null(), &mut plan_block(24));
}

#[test]
#[should_panic(expected = "a block of 16 bytes is shorter")]
fn a_short_plan_panics() {
    plan_with(&Request::default(), words(&ROWS()).as_ptr(), &mut plan_block(16));
}

#[test]
fn memory_is_aligned_as_asked_and_zero() {
    for (size, align) in [(0, 1), (1, 64), (1_000, 8)] {
        let at = alloc(size, align);
        assert!(!at.is_null() && at.addr().is_multiple_of(align));
        // SAFETY: `alloc` returned that many bytes, zeroed.
        assert!(unsafe { bytes(at, size) }.iter().all(|byte| *byte == 0));
    }
    for (size, align) in [(8, 3), (8, 0), (8, 128), (usize::MAX, 8)] {
        assert!(alloc(size, align).is_null(), "{size} {align}");
    }
}

#[test]
fn names_are_checked() {
    for name in ["tiers", "a", "p2c-2"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "2p", "-p", "Tiers", "my_policy", "tïers", &"a".repeat(65)] {
        assert!(!is_name(name), "{name}");
    }
}
