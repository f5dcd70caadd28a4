//! The only place that reads the time. All other code takes it as a parameter.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Tick;

struct Origin {
    monotonic: Instant,
    unix: Duration,
}

/// Both clocks, read once: later wall-clock times are derived from it, so they never go back.
static ORIGIN: OnceLock<Origin> = OnceLock::new();

fn origin() -> &'static Origin {
    ORIGIN.get_or_init(|| Origin {
        monotonic: Instant::now(),
        unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    })
}

/// The current time.
pub fn now() -> Tick {
    Tick::START.after(origin().monotonic.elapsed())
}

/// `tick` in milliseconds since the Unix epoch.
pub fn unix_ms(tick: Tick) -> u64 {
    let since = origin().unix + Duration::from_nanos(tick.as_nanos());
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock in seconds since the Unix epoch, also after somebody has set it: certificates are
/// valid by it.
pub fn wall_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `tick` as an instant, for timers.
pub fn instant(tick: Tick) -> Instant {
    let start = origin().monotonic;
    start.checked_add(Duration::from_nanos(tick.as_nanos())).unwrap_or(start)
}

/// Completes at `due`; never, if there is none.
pub async fn sleep_until(due: Option<Tick>) {
    match due {
        Some(due) => tokio::time::sleep_until(instant(due).into()).await,
        None => std::future::pending().await,
    }
}
