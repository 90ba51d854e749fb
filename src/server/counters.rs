//! [`Counters`]: what one thread has counted; nobody else writes there.

use crate::insight::{HotKeySampler, Requests};
use crate::latency::Latencies;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted. The names are those of `stats`; those that begin with Miss are not there: misses of keys whose items
/// are no longer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    CmdGet,
    CmdSet,
    CmdFlush,
    CmdTouch,
    CmdMeta,
    GetHits,
    GetMisses,
    GetExpired,
    GetFlushed,
    MissEvicted,
    MissDeleted,
    MissExpired,
    MissFlushed,
    DeleteMisses,
    DeleteHits,
    IncrMisses,
    IncrHits,
    DecrMisses,
    DecrHits,
    CasMisses,
    CasHits,
    CasBadval,
    TouchHits,
    TouchMisses,
    StoreTooLarge,
    StoreNoMemory,
    AuthCmds,
    AuthErrors,
    SslHandshakeErrors,
    IdleKicks,
    BytesRead,
    BytesWritten,
    ConnYields,
    TotalConnections,
    RejectedConnections,
    ListenDisabledNum,
    TimeInListenDisabledUs,
}

const COUNTS: usize = Count::TimeInListenDisabledUs as usize + 1;

/// The counters of one thread, on cache lines of their own.
///
/// Only that thread adds, so adding is a load and a store; any thread may read.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Counters {
    counts: [AtomicU64; COUNTS],
    pub(crate) latencies: Latencies,
    pub(crate) namespaces: Requests,
    pub(crate) hot_keys: HotKeySampler,
    /// Bytes of buffers that connections hold ...
    pub(crate) held_bytes: AtomicU64,
    /// ... and that the thread keeps for others.
    pub(crate) kept_bytes: AtomicU64,
    /// Bytes of the task of a connection.
    pub(crate) task_len: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; COUNTS],
            latencies: Latencies::default(),
            namespaces: Requests::default(),
            hot_keys: HotKeySampler::default(),
            held_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            task_len: AtomicU64::new(0),
        }
    }
}

/// Adds to a number that only the calling thread changes.
pub(crate) fn add(cell: &AtomicU64, by: u64) {
    let sum = cell.load(Ordering::Relaxed).wrapping_add(by);
    cell.store(sum, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn add(&self, count: Count, by: u64) {
        if let Some(cell) = self.counts.get(count as usize) {
            add(cell, by);
        }
    }

    pub(crate) fn increment(&self, count: Count) {
        self.add(count, 1);
    }
}

/// Sums over threads, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Totals([u64; COUNTS]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; COUNTS])
    }
}

impl Totals {
    pub(crate) fn sum<'a>(threads: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut totals = Self::default();
        for counters in threads {
            for (total, cell) in totals.0.iter_mut().zip(&counters.counts) {
                *total = total.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        totals
    }

    /// What was counted after `earlier`.
    pub(crate) fn since(mut self, earlier: &Self) -> Self {
        for (total, before) in self.0.iter_mut().zip(&earlier.0) {
            *total = total.wrapping_sub(*before);
        }
        self
    }

    pub(crate) fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_all_threads_since_the_last_reset() {
        let threads = [Counters::default(), Counters::default()];
        threads[0].increment(Count::GetHits);
        let reset = Totals::sum(&threads);
        threads[0].add(Count::GetHits, 2);
        threads[1].add(Count::GetHits, 40);
        let totals = Totals::sum(&threads).since(&reset);
        assert_eq!(totals.get(Count::GetHits), 42);
        assert_eq!(totals.get(Count::TimeInListenDisabledUs), 0);
    }
}
