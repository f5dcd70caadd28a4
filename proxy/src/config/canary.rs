//! The policy that decides a share of an upstream's requests, and its guard rails.

use std::ops::RangeInclusive;

use super::CanaryConf;
use super::check::{LONGEST, SHORTEST, required};
use super::file::{self, Named, Table};
use super::policy::candidate;
use super::report::{Key, Report};
use super::spanned::Spanned;
use crate::model::Rails;

/// The largest percentage. The live policy must decide as many requests, for the comparison.
const MAX_PERCENT: f64 = 50.0;
/// With fewer requests a comparison is meaningless.
const MIN_REQUESTS: RangeInclusive<u64> = 20..=1_000_000;
/// Calls without an answer.
const MAX_FAULTS: RangeInclusive<u64> = 0..=1_000_000;
/// The largest number of attempts of a request.
const MAX_ATTEMPTS: f64 = 16.0;
/// The largest ratio of tail latencies that makes sense.
const MAX_RATIO: f64 = 1_000.0;

/// The canary of an upstream.
pub(super) fn canary(
    key: Key<'_>,
    upstream: &file::Upstream,
    policies: &Named<file::Policy>,
    report: &mut Report<'_>,
) -> Option<CanaryConf> {
    let file = upstream.canary.as_ref()?;
    let (percent, rails) = (percent(key.name("percent"), &file.percent, report), rails(key, file, report));
    let promote_after = key.name("promote_after");
    let promote_after =
        file.promote_after.as_ref().map(|text| report.duration(promote_after, text, SHORTEST..=LONGEST));
    let live = [("scoring", upstream.scoring.as_ref()), ("retry", upstream.retry.as_ref())];
    let name = required(key, "policy", "NAME", file.policy.as_ref(), file.span(), report)?;
    let policy = candidate(key.name("policy"), name, "canary", &live, policies, report)?;
    Some(CanaryConf { policy, percent, rails, promote_after })
}

fn rails(key: Key<'_>, file: &Table<file::Canary>, report: &mut Report<'_>) -> Rails {
    let mut number = |name: &str, number: &Spanned<f64>, range: RangeInclusive<f64>| {
        if !range.contains(number.get_ref()) {
            let message = format!("must be a number from {} to {}", range.start(), range.end());
            report.add(key.name(name), number.span(), message);
        }
        *number.get_ref()
    };
    let error_rate = number("max_error_rate_increase", &file.max_error_rate_increase, 0.0..=1.0);
    let attempts = number("max_attempts_increase", &file.max_attempts_increase, 0.0..=MAX_ATTEMPTS);
    let p99_ratio = number("max_p99_ratio", &file.max_p99_ratio, 1.0..=MAX_RATIO);
    Rails {
        min_requests: report.whole(key.name("min_requests"), &file.min_requests, MIN_REQUESTS),
        max_faults: report.whole(key.name("max_faults"), &file.max_faults, MAX_FAULTS),
        max_error_rate_increase: error_rate,
        max_attempts_increase: attempts,
        max_p99_ratio: p99_ratio,
    }
}

fn percent(key: Key<'_>, percent: &Spanned<f64>, report: &mut Report<'_>) -> f64 {
    let number = *percent.get_ref();
    // NaN fails both comparisons.
    if !(number > 0.0 && number <= MAX_PERCENT) {
        let message = "must be above 0 and at most 50: the live policy must decide enough to be compared with";
        report.add(key, percent.span(), message);
    }
    number
}
