//! [`Requests`]: how keys were asked for, by the number of their namespace, by the threads that answered.

use crate::counters::add;
use crate::insight::Results;
use crate::insight::names::COUNT;
use nuthatch_store::NamespaceId;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is asked of a key, and whether it had a live item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    GetHit,
    GetMiss,
    DeleteHit,
    DeleteMiss,
    TouchHit,
    TouchMiss,
    ArithMiss,
}

pub(crate) const EVENTS: usize = Event::ArithMiss as usize + 1;

/// The requests that one thread has answered.
#[derive(Debug)]
pub(crate) struct Requests([[AtomicU64; EVENTS]; COUNT]);

impl Default for Requests {
    fn default() -> Self {
        Self([const { [const { AtomicU64::new(0) }; EVENTS] }; COUNT])
    }
}

impl Requests {
    /// To be called by that thread alone.
    pub(crate) fn count(&self, id: NamespaceId, event: Event) {
        let namespace = self.0.get(usize::from(id));
        if let Some(cell) = namespace.and_then(|cells| cells.get(event as usize)) {
            add(cell, 1);
        }
    }
}

/// Sums over threads.
#[derive(Clone, Debug)]
pub(crate) struct Sums([[u64; EVENTS]; COUNT]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0; EVENTS]; COUNT])
    }
}

impl Sums {
    pub(crate) fn of<'a>(threads: impl IntoIterator<Item = &'a Requests>) -> Self {
        let mut sums = Self::default();
        for Requests(cells) in threads {
            let cells = cells.iter().flatten();
            for (sum, cell) in sums.0.iter_mut().flatten().zip(cells) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }

    /// Keys looked up, and those of them that had no live item.
    pub(crate) fn gets(&self) -> Results {
        let of = |event: Event| {
            let counts = self
                .0
                .iter()
                .filter_map(|counts| counts.get(event as usize));
            counts.fold(0u64, |sum, count| sum.wrapping_add(*count))
        };
        Results {
            hits: of(Event::GetHit),
            misses: of(Event::GetMiss),
        }
    }

    /// Those of one number, in the order of [`Event`].
    pub(crate) fn of_number(&self, id: NamespaceId) -> [u64; EVENTS] {
        let sums = self.0.get(usize::from(id));
        sums.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_summed_over_threads() {
        let threads = [Requests::default(), Requests::default()];
        let last = NamespaceId::try_from(COUNT - 1).unwrap();
        threads[0].count(0, Event::GetHit);
        threads[1].count(0, Event::GetHit);
        threads[1].count(last, Event::ArithMiss);
        threads[1].count(last + 1, Event::GetHit);
        let sums = Sums::of(&threads);
        assert_eq!(sums.of_number(0), [2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sums.of_number(last), [0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(sums.of_number(last + 1), [0; EVENTS]);
        assert_eq!((sums.gets().hits, sums.gets().misses), (2, 0));
    }
}
