//! Towards a memory limit that has become lower: step by step, so that nobody waits for it.

use std::sync::atomic::Ordering;

use crate::Store;
use crate::shard::Writer;
use crate::stats::count;
use crate::time::Time;
use crate::turn::Turn;

impl Store {
    /// Changes the memory limit. The number of shards stays. A higher limit is there at once; towards a
    /// lower one, each write evicts a segment more than it needs, and [`Self::shrink`] does the rest.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.outside.limit.store(bytes, Ordering::Relaxed);
    }

    /// Takes up to `step_budget` steps, each of a segment or a large value, towards the memory limit, and
    /// forgets the values that their last reader has let go of. Every shard is locked once, and once
    /// more for each step.
    pub fn shrink(&self, now: Time, step_budget: usize) {
        self.outside.spare.age();
        let mut steps_left = step_budget;
        for number in 0..self.shards.len() {
            while let Some(mut turn) = self.turn(number, now) {
                turn.let_go();
                if steps_left == 0 || !turn.shrink(self.share()) {
                    break;
                }
                steps_left -= 1;
            }
        }
    }

    /// What one shard may take.
    pub(crate) fn share(&self) -> u64 {
        let limit = self.outside.limit();
        // A shift: their number is a power of two, and each write asks.
        limit.saturating_sub(self.outside.bytes()) >> self.shards.len().ilog2()
    }
}

impl Turn<'_> {
    /// Takes a step towards what the shard may take; returns whether there was one to take.
    fn shrink(&mut self, share: u64) -> bool {
        if self.writer.charged() <= share {
            return false;
        }
        self.trim();
        let is_reclaimed = self.writer.charged() <= self.writer.budget || self.reclaim(true);
        self.drop_table_room();
        is_reclaimed
    }

    /// Forgets values that no reader holds any more.
    pub(crate) fn let_go(&mut self) {
        let pinned = &mut self.writer.pinned;
        for (value, charge) in pinned.extract_if(.., |(value, _)| value.is_unique()) {
            self.outside.pinned.fetch_sub(charge, Ordering::Relaxed);
            self.outside.recycle(value);
        }
    }
}

impl Writer {
    /// Sets the budget of a turn: the shard's share, or, if it takes more, a segment less than it takes.
    pub(crate) fn approach(&mut self, share: u64) {
        // Nearly always. No turn charges beyond its budget.
        if self.budget == share {
            return;
        }
        let charged = self.charged();
        self.budget = if charged <= share {
            share
        } else {
            share.max(charged.saturating_sub(count(self.segment_len)))
        };
    }
}
