//! Which stored items are dead: expired ones and flushed ones. Nothing is removed here.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::index::{Index, Place};
use crate::item::Item;
use crate::outcome::{Lookup, Miss};
use crate::time::Time;

/// No flush is pending.
const NONE: u64 = u64::MAX;

/// What was flushed: marks, so that a flush costs the same however much is stored.
#[derive(Debug)]
pub(crate) struct Flush {
    /// For each shard the last cas unique that was given out before the flush.
    marks: Box<[AtomicU64]>,
    /// A delayed flush that came: everything stored before this moment is dead.
    past_at: AtomicU64,
    /// A delayed flush that is to come, or has come since it was ordered.
    pending_at: AtomicU64,
}

impl Flush {
    pub(crate) fn new(shard_count: usize) -> Self {
        Self {
            marks: (0..shard_count).map(|_| AtomicU64::new(0)).collect(),
            past_at: AtomicU64::new(0),
            pending_at: AtomicU64::new(NONE),
        }
    }

    /// Kills everything in the shard whose cas unique is `cas` or lower.
    pub(crate) fn mark(&self, shard: usize, cas: u64) {
        if let Some(mark) = self.marks.get(shard) {
            mark.fetch_max(cas, Ordering::Release);
        }
    }

    /// Replaces the pending flush by one at `at`, or by none.
    pub(crate) fn schedule(&self, at: Option<Time>, now: Time) {
        // Before and after the exchange: no reader may see a moment without the old flush, and no
        // other caller's flush may be lost.
        self.keep_past(self.pending_at.load(Ordering::Acquire), now);
        let at = at.map_or(NONE, Time::as_millis);
        self.keep_past(self.pending_at.swap(at, Ordering::AcqRel), now);
    }

    fn keep_past(&self, at: u64, now: Time) {
        if at <= now.as_millis() {
            self.past_at.fetch_max(at, Ordering::AcqRel);
        }
    }

    fn has_killed(&self, shard: usize, item: &Item, now: Time) -> bool {
        let mark = self.marks.get(shard);
        if mark.is_some_and(|mark| item.cas() <= mark.load(Ordering::Acquire)) {
            return true;
        }
        let stored_at = item.stored_at().as_millis();
        let pending_at = self.pending_at.load(Ordering::Acquire);
        (pending_at <= now.as_millis() && stored_at < pending_at)
            || stored_at < self.past_at.load(Ordering::Acquire)
    }
}

/// What is stored, and what of it is alive at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) index: &'a Index,
    pub(crate) flush: &'a Flush,
    pub(crate) now: Time,
}

impl View<'_> {
    /// Why the item is dead, or `None` if it is alive. Flushed comes first, as in memcached.
    pub(crate) fn death(&self, shard: usize, item: &Item) -> Option<Miss> {
        if self.flush.has_killed(shard, item, self.now) {
            Some(Miss::Flushed)
        } else if item.expiry().is_due(self.now) {
            Some(Miss::Expired)
        } else {
            None
        }
    }

    /// Shows the live item with the key to `visit`, under the read lock of its shard.
    pub(crate) fn look<R>(
        &self,
        place: Place,
        key: &[u8],
        visit: impl FnOnce(&Item) -> R,
    ) -> Lookup<R> {
        let look = |item: &Item| match self.death(place.shard, item) {
            Some(miss) => Lookup::Miss(miss),
            None => Lookup::Hit(visit(item)),
        };
        self.index
            .read(place, key, look)
            .unwrap_or(Lookup::Miss(Miss::Absent))
    }
}
