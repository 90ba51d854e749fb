//! The only place that reads the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The monotonic clock; tests of a paused runtime move it.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, since 1970: for absolute exptimes and for numbers that shall not come twice.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}
