//! [`Backoff`]: how long to wait before the next try. Exponential, with full jitter: those who failed together do not
//! come back together.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            next: first,
        }
    }

    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Between half of the step and all of it: zero would be no wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.last);
        step / 2 + jitter(step / 2)
    }
}

/// A random time up to this one.
pub(crate) fn jitter(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_last_and_begin_again() {
        let (first, last) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, last);
        for step in [100, 200, 400, 800, 1000, 1000] {
            let step = Duration::from_millis(step);
            let wait = backoff.wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
