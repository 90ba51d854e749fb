//! [`Clock`]: the only place that reads the time.

use nuthatch_store::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Now {
    /// The monotonic clock, since the daemon started. Everything stored refers to it.
    pub time: Time,
    /// The wall clock, in milliseconds since 1970: for absolute exptimes and for people.
    pub unix_millis: u64,
}

/// Tells the time: that of the machine, or one that a test moves.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Machine(Instant),
    Manual(Arc<AtomicU64>),
}

/// Where a manual clock starts: 2025-11-21T13:33:20Z.
const MANUAL_START_UNIX_MILLIS: u64 = 1_763_732_000_000;

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn machine() -> Self {
        Self(Source::Machine(Instant::now()))
    }

    /// A clock that stands still until [`advance`](Self::advance) moves it. Clones show the same time.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// Moves a manual clock on; the machine's moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(millis) = &self.0 {
            millis.fetch_add(whole_millis(by), Ordering::SeqCst);
        }
    }

    /// The monotonic clock since the daemon started, as exactly as the machine knows it.
    pub(crate) fn precise(&self) -> Duration {
        match &self.0 {
            Source::Machine(start) => start.elapsed(),
            Source::Manual(millis) => Duration::from_millis(millis.load(Ordering::SeqCst)),
        }
    }

    /// The moment this is called.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::Machine(start) => Now {
                time: Time::from_millis(whole_millis(start.elapsed())),
                unix_millis: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, whole_millis),
            },
            Source::Manual(millis) => {
                let millis = millis.load(Ordering::SeqCst);
                Now {
                    time: Time::from_millis(millis),
                    unix_millis: MANUAL_START_UNIX_MILLIS.saturating_add(millis),
                }
            }
        }
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
