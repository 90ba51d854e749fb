//! [`Chance`]: picks one event of so many, at random distances. At a fixed one it would see the same request of a
//! client again and again that repeats itself.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One event of about `MEAN` is picked, and the first one.
#[derive(Debug)]
pub(crate) struct Chance<const MEAN: u32> {
    /// Events until the next.
    until: AtomicU32,
    random: AtomicU64,
}

impl<const MEAN: u32> Default for Chance<MEAN> {
    fn default() -> Self {
        Self {
            until: AtomicU32::new(0),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
        }
    }
}

impl<const MEAN: u32> Chance<MEAN> {
    /// Whether this event is picked. To be called by one thread alone.
    #[inline]
    pub(crate) fn picks(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if let Some(until) = until.checked_sub(1) {
            self.until.store(until, Ordering::Relaxed);
            return false;
        }
        self.begin();
        true
    }

    #[cold]
    fn begin(&self) {
        // xorshift64
        let mut random = self.random.load(Ordering::Relaxed);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.store(random, Ordering::Relaxed);
        let distance = random % u64::from(2 * MEAN - 1);
        let distance = u32::try_from(distance).unwrap_or_default();
        self.until.store(distance, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_is_picked_whatever_pattern_events_have() {
        let chance = Chance::<16>::default();
        assert!(chance.picks());
        // Of each kind of events that take turns, as many as of all.
        let mut picked = [0_u32; 16];
        for event in 0..160_000 {
            picked[event % 16] += u32::from(chance.picks());
        }
        assert!(
            picked.iter().all(|count| (500..750).contains(count)),
            "{picked:?}"
        );
    }
}
