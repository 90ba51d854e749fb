//! [`Clock`]: the only place that reads the time.

use nuthatch_store::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// The machine's, and how it has been changed.
    Adjustable(Instant, Arc<Mutex<Adjustment>>),
    Manual(Arc<AtomicU64>),
}

#[derive(Clone, Copy, Debug, Default)]
struct Adjustment {
    /// So much later than the machine.
    ahead: Duration,
    /// For so long it has stood still.
    behind: Duration,
    /// Where it stands still, by the machine.
    paused: Option<Duration>,
}

/// Where a manual clock starts: 2025-11-21T13:33:20Z.
const MANUAL_START_UNIX_MILLIS: u64 = 1_763_732_000_000;

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn machine() -> Self {
        Self(Source::Machine(Instant::now()))
    }

    /// The machine's clocks, but they can be moved on, paused and resumed: for test harnesses only.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn adjustable() -> Self {
        Self(Source::Adjustable(Instant::now(), Arc::default()))
    }

    /// A clock that stands still until [`advance`](Self::advance) moves it. Clones show the same time.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// Moves the clock on; returns whether that is possible.
    pub fn advance(&self, by: Duration) -> bool {
        match &self.0 {
            Source::Machine(_) => return false,
            Source::Adjustable(_, adjustment) => {
                let mut adjustment = lock(adjustment);
                adjustment.ahead = adjustment.ahead.saturating_add(by);
            }
            Source::Manual(millis) => {
                millis.fetch_add(whole_millis(by), Ordering::SeqCst);
            }
        }
        true
    }

    /// Lets an adjustable clock stand still, or go on from where it stands; returns whether that is possible.
    pub(crate) fn pause(&self, is_paused: bool) -> bool {
        let Source::Adjustable(start, adjustment) = &self.0 else {
            return false;
        };
        let mut adjustment = lock(adjustment);
        let elapsed = start.elapsed();
        match (is_paused, adjustment.paused) {
            (true, None) => adjustment.paused = Some(elapsed),
            (false, Some(paused)) => {
                // It never goes back, and never jumps.
                let missed = elapsed.saturating_sub(paused);
                adjustment.behind = adjustment.behind.saturating_add(missed);
                adjustment.paused = None;
            }
            _ => {}
        }
        true
    }

    /// The monotonic clock since the daemon started, as exactly as the machine knows it and whatever has been
    /// adjusted.
    pub(crate) fn precise(&self) -> Duration {
        match &self.0 {
            Source::Machine(start) | Source::Adjustable(start, _) => start.elapsed(),
            Source::Manual(millis) => Duration::from_millis(millis.load(Ordering::SeqCst)),
        }
    }

    /// The moment this is called.
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::Machine(start) => Now {
                time: Time::from_millis(whole_millis(start.elapsed())),
                unix_millis: unix_millis(),
            },
            Source::Adjustable(start, adjustment) => {
                let elapsed = start.elapsed();
                let adjustment = *lock(adjustment);
                let standing = adjustment.paused.unwrap_or(elapsed);
                let time = standing.saturating_sub(adjustment.behind) + adjustment.ahead;
                let began = unix_millis().saturating_sub(whole_millis(elapsed));
                Now {
                    time: Time::from_millis(whole_millis(time)),
                    unix_millis: began.saturating_add(whole_millis(time)),
                }
            }
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

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, whole_millis)
}

/// Nothing that holds it can panic.
fn lock(adjustment: &Mutex<Adjustment>) -> MutexGuard<'_, Adjustment> {
    adjustment.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjustable_clock_stands_still_and_goes_on_from_there() {
        let clock = Clock::adjustable();
        assert!(clock.pause(true) && clock.pause(true));
        let before = clock.now();
        assert_eq!(clock.now(), before);
        assert!(clock.advance(Duration::from_secs(5)));
        let after = clock.now();
        assert_eq!(after.time.as_millis(), before.time.as_millis() + 5000);
        assert!(after.unix_millis.abs_diff(before.unix_millis + 5000) < 1000);
        assert!(clock.pause(false) && clock.pause(false));
        assert!(clock.now().time >= after.time);
        assert!(clock.now().time.as_millis() < after.time.as_millis() + 4000);
    }

    #[test]
    fn the_clock_of_a_daemon_is_left_alone() {
        let clock = Clock::machine();
        assert!(!clock.pause(true) && !clock.advance(Duration::from_secs(5)));
    }
}
