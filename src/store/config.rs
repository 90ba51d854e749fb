//! What a store is made with.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// A shard below this is not worth its lock.
const SHARD_LEN_MIN: u64 = 16 << 20;
const SHARDS_PER_THREAD_MAX: usize = 4;
const SHARD_COUNT_MAX: usize = 1024;

/// What a [`Store`](crate::Store) is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Config {
    /// Bytes that everything stored may take: items, their order, their index (memcached's `-m`).
    pub memory_limit_bytes: u64,
    /// Bytes that one item may take by memcached's count, see [`Store::fits`](crate::Store::fits)
    /// (memcached's `-I`). Best kept below half of `memory_limit_bytes`: each item must fit a shard.
    pub item_len_max: u64,
    /// How many independent parts, each with its own lock and an equal share of the memory: rounded
    /// up to a power of two, at most 1024. `None`: about one for each 16 MiB of memory, at most
    /// four for each thread that the machine offers, and so few that two of the largest items fit
    /// one part; at least one.
    pub shard_count: Option<NonZeroUsize>,
    /// Every cas unique will be above this number. With the microseconds since 1970 at the start of
    /// the process no cas unique of an earlier run returns, as long as that run stored less than
    /// a million items per second. Numbers above 2^63 count as 2^63.
    pub cas_start: u64,
}

impl Config {
    /// The number of shards: a power of two.
    pub(crate) fn shards(&self) -> usize {
        if let Some(count) = self.shard_count {
            return count.get().min(SHARD_COUNT_MAX).next_power_of_two();
        }
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        self.shards_for(threads)
    }

    fn shards_for(&self, threads: usize) -> usize {
        let item_pair_len = self.item_len_max.saturating_mul(2);
        let by_memory = self.memory_limit_bytes / SHARD_LEN_MIN.max(item_pair_len);
        let count_max = threads
            .saturating_mul(SHARDS_PER_THREAD_MAX)
            .clamp(1, SHARD_COUNT_MAX);
        let count = usize::try_from(by_memory).map_or(count_max, |count| count.min(count_max));
        count.checked_ilog2().map_or(1, |power| 1 << power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(memory_mib: u64, item_len_max: u64) -> Config {
        Config {
            memory_limit_bytes: memory_mib << 20,
            item_len_max,
            shard_count: None,
            cas_start: 0,
        }
    }

    #[test]
    fn shards_follow_memory_threads_and_the_largest_item() {
        assert_eq!(config(0, 1 << 20).shards_for(8), 1);
        assert_eq!(config(2, 1 << 20).shards_for(8), 1);
        assert_eq!(config(31, 1 << 20).shards_for(8), 1);
        assert_eq!(config(64, 1 << 20).shards_for(8), 4);
        assert_eq!(config(100, 1 << 20).shards_for(8), 4);
        assert_eq!(config(64, 32 << 20).shards_for(8), 1);
        assert_eq!(config(4096, 1 << 20).shards_for(2), 8);
        assert_eq!(config(4096, 1 << 20).shards_for(3), 8);
        assert_eq!(config(1 << 40, 0).shards_for(100_000), 1024);
    }

    #[test]
    fn a_given_count_becomes_a_power_of_two() {
        let with = |count| Config {
            shard_count: NonZeroUsize::new(count),
            ..config(1, 0)
        };
        assert_eq!(with(1).shards(), 1);
        assert_eq!(with(3).shards(), 4);
        assert_eq!(with(usize::MAX).shards(), 1024);
    }
}
