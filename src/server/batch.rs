//! [`Batch`]: the connections of a worker that have been read and wait until all others have been, too.

use crate::clock::{Clock, Now};
use nuthatch_store::{Ahead, PREFETCH_MAX, Store};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Connections that may wait at once; with more, the others are answered when they are read.
pub(crate) const WAITING_MAX: usize = 1024;

/// Who waits, and whose turn has come: the first come first.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Of those that wait: the first operation that they ask for.
    waiting: RefCell<VecDeque<Option<Ahead>>>,
    /// How many of those that have been taken from there have not been answered yet.
    called: Cell<usize>,
    /// When they were.
    now: Cell<Option<Now>>,
}

impl Batch {
    /// Begins to wait; returns whether there is room.
    pub(crate) fn join(&self, first: Option<Ahead>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let has_room = waiting.len() < WAITING_MAX;
        if has_room {
            waiting.push_back(first);
        }
        has_room
    }

    /// Goes on, and returns the moment to work in. The first one calls as many as the store can fetch items for side by
    /// side, and reads the clock for them: all of them have been read by then, so that it is later than anything their
    /// clients have known.
    pub(crate) fn leave(&self, store: &Store, clock: &Clock) -> Now {
        let called = match self.called.get() {
            0 => {
                let mut waiting = self.waiting.borrow_mut();
                let called = waiting.len().min(PREFETCH_MAX);
                store.prefetch(waiting.drain(..called).flatten());
                self.now.set(None);
                called
            }
            called => called,
        };
        self.called.set(called.saturating_sub(1));
        let now = self.now.get().unwrap_or_else(|| clock.now());
        self.now.set(Some(now));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_store::Config;
    use std::time::Duration;

    #[test]
    fn a_thousand_may_wait_and_others_again_when_some_have_been_called() {
        let (batch, store) = (Batch::default(), Store::new(&Config::default()));
        for _ in 0..WAITING_MAX {
            assert!(batch.join(Some(store.ahead(b"key", None))));
        }
        assert!(!batch.join(None));
        batch.leave(&store, &Clock::manual());
        for _ in 0..PREFETCH_MAX {
            assert!(batch.join(None));
        }
        assert!(!batch.join(None));
    }

    #[test]
    fn those_who_are_called_together_have_the_moment_after_the_last_was_read() {
        let (batch, store, clock) = (
            Batch::default(),
            Store::new(&Config::default()),
            Clock::manual(),
        );
        let pass = || clock.advance(Duration::from_millis(1));
        for number in 0..=PREFETCH_MAX {
            batch.join((number % 2 == 0).then(|| store.ahead(&[0], Some(number))));
            pass();
        }
        let read = clock.now();
        for _ in 0..PREFETCH_MAX {
            assert_eq!(batch.leave(&store, &clock), read);
            pass();
        }
        let next = clock.now();
        assert_ne!(next, read);
        assert_eq!(batch.leave(&store, &clock), next);
        // Nobody has waited for that one.
        pass();
        assert_eq!(batch.leave(&store, &clock), clock.now());
    }
}
