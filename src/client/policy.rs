//! [`Policy`]: how entries of one kind are kept fresh.

use crate::Error;
use crate::ttl::ceil_secs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Locks and marks live at least this long: servers count whole seconds, and one second may be over at once.
pub(crate) const LIFE_MIN: Duration = Duration::from_secs(2);

/// The longest wait for somebody else's load, unless the policy says otherwise.
const WAIT_MAX: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_millis(250);

/// How entries of one kind are kept fresh: one policy for one kind, made once and cloned. It remembers how long loads
/// take, and clones share that.
///
/// ```
/// use nuthatch_client::Policy;
/// use std::time::Duration;
///
/// // Right for a minute; for an hour after that, better than nothing.
/// let policy = Policy::fresh_for(Duration::from_mins(1)).grace(Duration::from_secs(3600));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) fresh: Duration,
    pub(crate) grace: Duration,
    pub(crate) lock_ttl: Duration,
    pub(crate) load_deadline: Duration,
    pub(crate) wait: Option<Duration>,
    pub(crate) on_contention: OnContention,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) error_backoff: Duration,
    pub(crate) xfetch: Option<f64>,
    /// A moving average, in microseconds; 0 before the first load.
    load_micros: Arc<AtomicU64>,
}

/// What a call comes to whose wait for somebody else's load is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnContention {
    /// It loads the value itself, with a bound on how many do so at once.
    #[default]
    LoadLocally,
    /// [`Error::Contended`].
    Error,
}

/// How it is decided which client loads a value. All clients of a fleet use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// A lock beside the entry, taken by `add`: with any server, and nothing to see for others.
    #[default]
    Lock,
    /// Of what is missing, the server keeps the place, and chooses who fills it (meta `N`, `W` and `Z`). As many round
    /// trips as with the lock, and a command less; also, a bare `delete` makes a load that began before it keep its
    /// value to itself: for fleets in which others delete. The place is an empty value: other languages' clients take it
    /// for one, and to `add` and `incr` something is there. The place of an empty value that is being refreshed looks
    /// like one that is missing.
    ///
    /// What is there, but stale or invalidated, is replaced under the lock, and so is all on servers without meta
    /// commands.
    Lease,
}

impl Policy {
    /// A loaded value is right for this long, which is longer than nothing. Everything else has a default.
    pub fn fresh_for(fresh: Duration) -> Self {
        Self {
            fresh,
            grace: Duration::ZERO,
            lock_ttl: Duration::from_secs(5),
            load_deadline: Duration::from_secs(10),
            wait: None,
            on_contention: OnContention::default(),
            negative_ttl: None,
            error_backoff: LIFE_MIN,
            xfetch: None,
            load_micros: Arc::default(),
        }
    }

    /// For how long after that it is served while one client loads it anew. Nothing at first.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a lock outlives a holder that died; a holder that lives renews it. 5 s at first, at least 2 s.
    #[must_use]
    pub fn lock_ttl(mut self, ttl: Duration) -> Self {
        self.lock_ttl = ttl;
        self
    }

    /// How long a load may take: 10 s at first. At least two seconds less than the client's
    /// [`tombstone`](crate::Builder::tombstone).
    #[must_use]
    pub fn load_deadline(mut self, deadline: Duration) -> Self {
        self.load_deadline = deadline;
        self
    }

    /// How long to wait for somebody else's load when there is nothing to serve meanwhile. At first twice what loads
    /// take, and at most 5 s.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// What comes after that.
    #[must_use]
    pub fn on_contention(mut self, on_contention: OnContention) -> Self {
        self.on_contention = on_contention;
        self
    }

    /// For how long it is remembered that there is no such value. Not at all at first.
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// How long the fleet leaves a loader alone that failed: 2 s at first, at least 2 s.
    #[must_use]
    pub fn error_backoff(mut self, backoff: Duration) -> Self {
        self.error_backoff = backoff;
        self
    }

    /// Refreshes early, with a probability that rises as the end of freshness comes near and the longer loads take
    /// (Vattani et al., "Optimal Probabilistic Cache Stampede Prevention", 2015); `beta` is 1 for most. Off at first.
    #[must_use]
    pub fn xfetch(mut self, beta: f64) -> Self {
        self.xfetch = Some(beta);
        self
    }

    pub(crate) fn check(&self, tombstone: Duration) -> Result<(), Error> {
        if self.fresh.is_zero() || self.load_deadline.is_zero() {
            return Err(Error::config(
                "fresh_for and load_deadline are longer than nothing",
            ));
        }
        if self.lock_ttl < LIFE_MIN || self.error_backoff < LIFE_MIN {
            return Err(Error::config("lock_ttl and error_backoff are at least 2 s"));
        }
        if self.load_deadline.saturating_add(LIFE_MIN) > tombstone {
            return Err(Error::config(
                "load_deadline is at least 2 s shorter than the client's tombstone; raise that, for all clients",
            ));
        }
        Ok(())
    }

    /// The same for entries that live for at most this long.
    pub(crate) fn at_most(&self, life_max: Duration) -> Self {
        let fresh = self.fresh.min(life_max);
        Self {
            fresh,
            grace: self.grace.min(life_max.saturating_sub(fresh)),
            negative_ttl: self.negative_ttl.map(|ttl| ttl.min(life_max)),
            ..self.clone()
        }
    }

    /// Whether an item with this many seconds left is past its freshness.
    pub(crate) fn is_past_fresh(&self, seconds_left: u32) -> bool {
        !self.grace.is_zero() && u64::from(seconds_left) <= ceil_secs(self.grace)
    }

    /// Whether to refresh what is still fresh, with this many seconds left in all.
    pub(crate) fn is_early(&self, seconds_left: u32) -> bool {
        let Some(beta) = self.xfetch else {
            return false;
        };
        let left = u64::from(seconds_left).saturating_sub(ceil_secs(self.grace));
        let gap = self.load_time().unwrap_or_default().as_secs_f64() * beta;
        // Of (0, 1], so that the logarithm is finite.
        let random = 1.0 - fastrand::f64();
        Duration::try_from_secs_f64(-gap * random.ln())
            .is_ok_and(|gap| gap >= Duration::from_secs(left))
    }

    pub(crate) fn load_time(&self) -> Option<Duration> {
        match self.load_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// A quarter of the new, three quarters of the old; a lost update does no harm.
    pub(crate) fn note_load(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let average = match self.load_micros.load(Ordering::Relaxed) {
            0 => took,
            old => (old / 4).saturating_mul(3).saturating_add(took / 4).max(1),
        };
        self.load_micros.store(average, Ordering::Relaxed);
    }

    pub(crate) fn wait_time(&self) -> Duration {
        self.wait.unwrap_or_else(|| {
            let twice = self.load_time().map(|time| time.saturating_mul(2));
            twice.map_or(WAIT_MAX, |twice| twice.clamp(WAIT_MIN, WAIT_MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn freshness_ends_when_only_the_grace_is_left() {
        let policy = Policy::fresh_for(10 * SECOND).grace(30 * SECOND);
        assert!(!policy.is_past_fresh(31));
        assert!(policy.is_past_fresh(30));
        assert!(!Policy::fresh_for(SECOND).is_past_fresh(0));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |policy: Policy| policy.check(12 * SECOND);
        let policy = || Policy::fresh_for(SECOND);
        assert!(check(policy()).is_ok());
        assert!(check(Policy::fresh_for(Duration::ZERO)).is_err());
        assert!(check(policy().lock_ttl(SECOND)).is_err());
        assert!(check(policy().lock_ttl(2 * SECOND)).is_ok());
        assert!(check(policy().error_backoff(SECOND)).is_err());
        assert!(check(policy().load_deadline(10 * SECOND)).is_ok());
        assert!(check(policy().load_deadline(11 * SECOND)).is_err());
    }

    #[test]
    fn waits_follow_the_time_that_loads_take() {
        let policy = Policy::fresh_for(SECOND);
        assert_eq!(policy.wait_time(), WAIT_MAX);
        policy.note_load(SECOND);
        assert_eq!(policy.wait_time(), 2 * SECOND);
        for _ in 0..40 {
            policy.clone().note_load(SECOND / 1000);
        }
        assert_eq!(policy.wait_time(), WAIT_MIN);
        assert_eq!(policy.wait(7 * SECOND).wait_time(), 7 * SECOND);
    }

    #[test]
    fn early_refreshes_come_near_the_end_and_never_without_load_time() {
        let policy = Policy::fresh_for(SECOND).xfetch(1.0);
        assert!(!policy.is_early(1));
        policy.note_load(SECOND);
        let early = |left| (0..1000).filter(|_| policy.is_early(left)).count();
        assert_eq!(early(0), 1000);
        assert!((250..500).contains(&early(1)), "{}", early(1));
        assert!(early(30) < 3);
    }
}
