//! [`Counters`]: what a client has done so far, for any metrics library.

use crate::client::Client;
use crate::meter::Tell;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a client has done so far; [`Client::counters`] reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Values that reads found and that were right.
    pub hits: u64,
    /// Reads that found nothing, or what had been invalidated. Those of a node that is down are not among them.
    pub misses: u64,
    /// Values that were served though they were no longer fresh.
    pub stale: u64,
    /// Loaders that were run.
    pub loads: u64,
    /// Of these, those that ran without a lock.
    pub local_loads: u64,
    /// Of these, those that failed, or took too long.
    pub load_errors: u64,
    /// Loaded values that were stored.
    pub fills: u64,
    /// Loaded values that were not stored, since the entry had been invalidated or changed.
    pub fills_refused: u64,
    /// Invalidations.
    pub invalidations: u64,
    /// Of these, those that the node is to hear of later.
    pub journalled: u64,
    /// Calls that had no answer in time.
    pub timeouts: u64,
    /// Calls that a node which is down could not answer, or whose connection was lost.
    pub unavailable: u64,
    /// Calls that went to the gutter, since their node was down.
    pub detours: u64,
    /// Nodes that were ejected from the ring.
    pub ejections: u64,
}

/// One counter, which many tasks raise.
#[derive(Debug)]
pub(crate) struct Count(AtomicU64, Tell);

impl Count {
    fn new(name: &'static str) -> Self {
        Self(AtomicU64::new(0), Tell::new(name))
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
        self.1.add(more);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the client itself counts.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) hits: Count,
    pub(crate) misses: Count,
    pub(crate) stale: Count,
    pub(crate) loads: Count,
    pub(crate) local_loads: Count,
    pub(crate) load_errors: Count,
    pub(crate) fills: Count,
    pub(crate) fills_refused: Count,
    pub(crate) invalidations: Count,
    pub(crate) journalled: Count,
    pub(crate) ejections: Count,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            hits: Count::new("hits"),
            misses: Count::new("misses"),
            stale: Count::new("stale"),
            loads: Count::new("loads"),
            local_loads: Count::new("local_loads"),
            load_errors: Count::new("load_errors"),
            fills: Count::new("fills"),
            fills_refused: Count::new("fills_refused"),
            invalidations: Count::new("invalidations"),
            journalled: Count::new("journalled"),
            ejections: Count::new("ejections"),
        }
    }
}

/// What its nodes count.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) timeouts: Count,
    pub(crate) unavailable: Count,
    pub(crate) detours: Count,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            timeouts: Count::new("timeouts"),
            unavailable: Count::new("unavailable"),
            detours: Count::new("detours"),
        }
    }
}

impl Client {
    /// What this client and its clones have done so far.
    pub fn counters(&self) -> Counters {
        let tally = &self.inner().tally;
        let faults = &self.inner().settings.faults;
        Counters {
            hits: tally.hits.get(),
            misses: tally.misses.get(),
            stale: tally.stale.get(),
            loads: tally.loads.get(),
            local_loads: tally.local_loads.get(),
            load_errors: tally.load_errors.get(),
            fills: tally.fills.get(),
            fills_refused: tally.fills_refused.get(),
            invalidations: tally.invalidations.get(),
            journalled: tally.journalled.get(),
            timeouts: faults.timeouts.get(),
            unavailable: faults.unavailable.get(),
            detours: faults.detours.get(),
            ejections: tally.ejections.get(),
        }
    }
}
