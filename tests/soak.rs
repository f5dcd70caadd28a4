//! The proxy under load with continuous reloads: every 50 ms one changes the endpoints and the
//! version of the scoring plugin, one of twenty, some of them hostile.
//!
//! No request may fail, no generation may leak, and memory and open files at the end must be as
//! after the warm-up. `SOAK_SECONDS` sets the duration; `make soak` takes ten minutes, `make test`
//! one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use std::time::{Duration, Instant};

use testkit::{Conf, Guest, Origin, Proxy, under_load, wait_until};

const DEFAULT_SECONDS: u64 = 60;
const RELOAD_PERIOD: Duration = Duration::from_millis(50);
const CLIENTS: usize = 8;
/// Pause between two requests of a client: the load must leave capacity for the reloads on a small
/// machine.
const PAUSE: Duration = Duration::from_millis(2);
const VERSIONS: u32 = 20;
/// Maximum ratio of memory and files at the end to those after the warm-up.
const GROWTH: f64 = 1.1;

/// The twenty versions: most prefer an endpoint, some fail the probe, and some fail only on
/// requests other than the probe's.
fn version(number: u32) -> Guest {
    let version = format!("1.0.{number}");
    let hostile = |body: &str| Guest::new("soaked", &version).score(body);
    let later = |body: &str| {
        let is_probe = "(i64.eq (i64.load offset=16 (local.get $request)) (i64.const 0x9e3779b97f4a7c15))";
        hostile(&format!("(if {is_probe} (then) (else {body}))"))
    };
    match number % 10 {
        1 => hostile("(loop $forever (br $forever))"),
        3 => later("(loop $forever (br $forever))"),
        5 => later("unreachable"),
        7 => later("(drop (i32.load (i32.const -8)))"),
        9 => Guest::new("soaked", &version).score_each("(f64.const inf)"),
        even => Guest::in_order("soaked", &version, even.is_multiple_of(4)),
    }
}

/// The conf of the `step`-th reload: three of the five endpoints, and a version.
fn conf(origins: &[Origin], step: u32) -> Conf {
    let chosen = (0..3).map(|n| &origins[(step as usize + n) % origins.len()]);
    let table = format!("[policies.chosen]\nplugin = 'soaked'\nversion = '=1.0.{}'", step % VERSIONS);
    Conf::of(chosen)
        .extra(&table)
        .set("scoring", "'chosen'")
        .environment("RUST_LOG", "error,pointsman::server=info,pointsman::reload=off")
}

/// Memory in KiB and open files, each the median of a few samples.
#[derive(Debug)]
struct Usage {
    memory: f64,
    files: f64,
}

impl Usage {
    fn of(samples: &[(u64, usize)]) -> Usage {
        let middle = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Usage {
            memory: middle(samples.iter().map(|(memory, _)| *memory as f64).collect()),
            files: middle(samples.iter().map(|(_, files)| *files as f64).collect()),
        }
    }
}

fn seconds() -> Duration {
    let given = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(DEFAULT_SECONDS))
}

#[test]
fn generations_come_and_go_and_nothing_is_lost() {
    let origins = ["a", "b", "c", "d", "e"].map(Origin::start);
    origins.iter().for_each(Origin::forget);
    let proxy = Proxy::start(&(0..VERSIONS).fold(conf(&origins, 0), |conf, number| conf.guest_file(&version(number))));
    let mut samples = Vec::new();
    let answered = under_load(
        &proxy,
        CLIENTS,
        PAUSE,
        |_| {},
        |load| {
            let end = Instant::now() + seconds();
            for step in 1.. {
                let next = Instant::now() + RELOAD_PERIOD;
                proxy.rewrite_conf(&conf(&origins, step));
                proxy.post_reload();
                samples.push((proxy.memory().expect("a running proxy"), proxy.open_files().expect("a running proxy")));
                if Instant::now() >= end || load.has_failed() {
                    break;
                }
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        },
    );

    let generation = proxy.status()["generation"].as_u64().expect("a number");
    wait_until("one generation lives", || proxy.metrics().sum("generations_live", &[]) == 1.0);
    let quarter = samples.len() / 4;
    let (warm, last) = (Usage::of(&samples[quarter..2 * quarter]), Usage::of(&samples[3 * quarter..]));
    println!("{generation} generations, {answered} requests; warm {warm:?}, at the end {last:?}");
    assert!(generation > seconds().as_secs() * 5, "only {generation} generations");
    assert!(answered > 1_000, "the load was no load: {answered}");
    assert!(proxy.metrics().sum("policy_faults_total", &[]) > 0.0, "the hostile versions were none");
    assert!(last.memory <= warm.memory * GROWTH, "memory grew from {warm:?} to {last:?}");
    assert!(last.files <= warm.files * GROWTH, "open files grew from {warm:?} to {last:?}");
}
