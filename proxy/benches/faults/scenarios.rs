//! The scenarios: six endpoints each, with their scripts.

use std::time::Duration;

use super::script::{Conduct, Refusal, Script};

/// Duration of a slow turn in `slow-turns`.
const TURN: Duration = Duration::from_secs(2);

/// The baseline of `poison`: the same endpoints without it.
pub const CALM: &str = "calm";
/// One client sends requests that every endpoint fails.
pub const POISON: &str = "poison";
/// Share of all requests.
const POISON_SHARE: f64 = 0.2;

/// Endpoints with their scripts.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// One for each endpoint.
    pub scripts: Vec<Script>,
    /// Share of requests that every endpoint fails.
    pub poison: f64,
    /// Whether the scenario has aims. There are none without a working endpoint.
    pub has_aims: bool,
}

impl Scenario {
    fn new(name: &'static str, scripts: Vec<Script>) -> Scenario {
        Scenario { name, scripts, poison: 0.0, has_aims: true }
    }
}

/// All scenarios, for a measurement of this length.
pub fn all(length: Duration) -> Vec<Scenario> {
    let all_down = vec![Script::always(Conduct::Unavailable); 6];
    vec![
        Scenario::new("mixed-faults", mixed_faults(length)),
        Scenario::new("slow-turns", slow_turns(length)),
        Scenario::new("rate-limited", rate_limited()),
        Scenario::new("half-dies", half_dies(length)),
        Scenario::new("hang", hang()),
        Scenario::new("half-fails", lame(false)),
        Scenario::new("half-hangs", lame(true)),
        Scenario { has_aims: false, ..Scenario::new(CALM, good()) },
        Scenario { poison: POISON_SHARE, ..Scenario::new(POISON, good()) },
        Scenario { has_aims: false, ..Scenario::new("all-down", all_down) },
    ]
}

/// A fault of each kind, and one endpoint that is always good.
fn mixed_faults(length: Duration) -> Vec<Script> {
    let refusal = Refusal { in_band: false, retry_after: true };
    vec![
        Script::always(Conduct::Flaky { errors: 0.1, resets: 0.1 }),
        Script::always(Conduct::RpcErrors),
        Script::always(Conduct::Slow(30)),
        Script::always(Conduct::Limited { per_second: 20, refusal }),
        Script::always(Conduct::Serve).then(length / 3, Conduct::Refuse).then(length * 2 / 3, Conduct::Hang),
        Script::always(Conduct::Serve),
    ]
}

/// Two accept requests from the start and never respond.
fn hang() -> Vec<Script> {
    let conduct = |number| if number < 2 { Conduct::Hang } else { Conduct::Serve };
    (0..6).map(|number| Script::always(conduct(number))).collect()
}

/// Two pass their probes and fail half of all else.
fn lame(hangs: bool) -> Vec<Script> {
    let conduct = |number| if number < 2 { Conduct::Lame { hangs } } else { Conduct::Serve };
    (0..6).map(|number| Script::always(conduct(number))).collect()
}

fn good() -> Vec<Script> {
    vec![Script::always(Conduct::Serve); 6]
}

/// Alternating halves are twenty times slower.
fn slow_turns(length: Duration) -> Vec<Script> {
    let half = |first_is_slow: bool| {
        let conduct = |turn: u32| match turn.is_multiple_of(2) == first_is_slow {
            true => Conduct::Slow(20),
            false => Conduct::Serve,
        };
        let turns = (1..).map(|turn| (TURN * turn, conduct(turn))).take_while(|(start, _)| *start < length);
        turns.fold(Script::always(conduct(0)), |script, (start, conduct)| script.then(start, conduct))
    };
    (0..6).map(|number| half(number < 3)).collect()
}

/// Four endpoints with limits, reported in different ways; two without.
fn rate_limited() -> Vec<Script> {
    let limited = |per_second, in_band, retry_after| {
        Script::always(Conduct::Limited { per_second, refusal: Refusal { in_band, retry_after } })
    };
    vec![
        limited(20, false, true),
        limited(30, false, false),
        limited(40, true, true),
        limited(50, true, false),
        Script::always(Conduct::Serve),
        Script::always(Conduct::Serve),
    ]
}

/// Three endpoints fail in three ways for a third of the time.
fn half_dies(length: Duration) -> Vec<Script> {
    let dies = |conduct| Script::always(Conduct::Serve).then(length / 3, conduct).then(length * 2 / 3, Conduct::Serve);
    let good = || Script::always(Conduct::Serve);
    vec![dies(Conduct::Refuse), dies(Conduct::Hang), dies(Conduct::Reset), good(), good(), good()]
}
