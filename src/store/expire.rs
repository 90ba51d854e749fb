//! Which items are dead: expired ones and flushed ones. Nothing is removed here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::outcome::Miss;
use crate::record::Head;
use crate::sample::Sampler;
use crate::shard::Shard;
use crate::sync::{AtomicU64, Mutex};
use crate::time::Time;

/// No flush is pending.
const NONE: u64 = u64::MAX;

impl Shard {
    /// Why the item is dead, or `None` if it is alive. That it has been flushed comes first, as in memcached.
    #[inline]
    pub(crate) fn death(&self, head: &Head, now: Time) -> Option<Miss> {
        if self.is_flushed(head.cas, head.namespace) {
            Some(Miss::Flushed)
        } else if head.expiry.is_due(now) {
            Some(Miss::Expired)
        } else {
            None
        }
    }
}

/// The flush that is to come.
///
/// Once its time has come, the first operation that sees so marks all shards before it does anything
/// else; whatever was stored until then was stored earlier.
#[derive(Debug)]
pub(crate) struct PendingFlush {
    at: AtomicU64,
    /// Held while the shards are marked.
    marking: Mutex<()>,
    /// To be told.
    sampler: Option<Arc<dyn Sampler>>,
}

impl PendingFlush {
    pub(crate) fn new(sampler: Option<Arc<dyn Sampler>>) -> Self {
        Self {
            at: AtomicU64::new(NONE),
            marking: Mutex::new(()),
            sampler,
        }
    }

    /// Marks the shards if the time has come. No shard may be locked by the caller.
    #[inline]
    pub(crate) fn fire(&self, shards: &[Shard], now: Time) {
        if self.at.load(Ordering::Acquire) <= now.as_millis() {
            self.fire_now(shards, now);
        }
    }

    #[cold]
    fn fire_now(&self, shards: &[Shard], now: Time) {
        let marking = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.at.load(Ordering::Acquire) <= now.as_millis() {
            self.mark_all(shards);
            self.at.store(NONE, Ordering::Release);
        }
        drop(marking);
    }

    /// Replaces the pending flush by one at `at`, or by one now.
    pub(crate) fn schedule(&self, shards: &[Shard], at: Option<Time>) {
        let marking = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_none() {
            self.mark_all(shards);
        }
        self.at
            .store(at.map_or(NONE, Time::as_millis), Ordering::Release);
        drop(marking);
    }

    fn mark_all(&self, shards: &[Shard]) {
        shards.iter().for_each(Shard::flush);
        if let Some(sampler) = &self.sampler {
            sampler.flushed(None);
        }
    }
}
