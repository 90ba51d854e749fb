//! The only place that reads the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The monotonic clock; tests of a paused runtime move it.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The longest time that anybody waits.
pub(crate) const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 30);

/// So long from now; settings may be longer than any time there is.
pub(crate) fn after(duration: Duration) -> Instant {
    now() + duration.min(FOR_EVER)
}

/// The wall clock, since 1970: for absolute exptimes and for numbers that shall not come twice.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}
