//! What a store is made with.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::namespace::Namespaces;
use crate::sample::Sampler;

/// Large enough that eviction has segments to choose from, small enough that rebuilding its table takes less
/// than a millisecond, but for items of fewer than 50 bytes with their keys.
const SHARD_LEN_MIN: u64 = 4 << 20;
const SHARD_COUNT_MAX: usize = 16_384;

/// Above it there is room for the writes of centuries in the 56 bits that a record has.
pub(crate) const CAS_START_MAX: u64 = 1 << 55;

/// What a [`Store`](crate::Store) is made with.
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    /// Bytes that everything stored may take: items, their order, their index (memcached's `-m`).
    pub memory_limit_bytes: u64,
    /// Bytes that one item may take by memcached's count, see [`Store::fits`](crate::Store::fits)
    /// (memcached's `-I`). Best kept below half of `memory_limit_bytes`: each item must fit a shard.
    pub item_len_max: u64,
    /// How many independent parts, each with its own lock and an equal share of the memory: rounded
    /// up to a power of two, at most 16,384. `None`: one for each 4 MiB of memory, and so few that two
    /// of the largest items fit one part; at least one. Then no table of an index is so large that
    /// rebuilding it is a pause, and a part still has enough segments to choose from.
    pub shard_count: Option<NonZeroUsize>,
    /// Every cas unique will be above this number. Another one for each run keeps those of an earlier run from
    /// matching. Numbers above 2^55 count as 2^55.
    pub cas_start: u64,
    /// Whether live items go when there is no room; if not, storing is refused (memcached's `-M`).
    pub evict: bool,
    /// Values from so many bytes up are compressed, if that makes them smaller by an eighth. `None`:
    /// none are.
    pub compress_len_min: Option<usize>,
    /// What the keys are divided into. `None`: all items are in namespace 0.
    pub namespaces: Option<Arc<dyn Namespaces>>,
    /// Who is told how a sample of the keys is used.
    pub sampler: Option<Arc<dyn Sampler>>,
}

impl Default for Config {
    /// memcached's: 64 MiB, items of up to 1 MiB, eviction.
    fn default() -> Self {
        Self {
            memory_limit_bytes: 64 << 20,
            item_len_max: 1 << 20,
            shard_count: None,
            cas_start: 0,
            evict: true,
            compress_len_min: None,
            namespaces: None,
            sampler: None,
        }
    }
}

impl Config {
    /// The number of shards: a power of two.
    pub(crate) fn shards(&self) -> usize {
        if let Some(count) = self.shard_count {
            return count.get().min(SHARD_COUNT_MAX).next_power_of_two();
        }
        let item_pair_len = self.item_len_max.saturating_mul(2);
        let count = self.memory_limit_bytes / SHARD_LEN_MIN.max(item_pair_len);
        let count =
            usize::try_from(count).map_or(SHARD_COUNT_MAX, |count| count.min(SHARD_COUNT_MAX));
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
            ..Config::default()
        }
    }

    #[test]
    fn shards_follow_memory_and_the_largest_item() {
        for (memory_mib, item_len_max, shards) in [
            (0, 1 << 20, 1),
            (2, 1 << 20, 1),
            (7, 1 << 20, 1),
            (8, 1 << 20, 2),
            (64, 1 << 20, 16),
            (100, 1 << 20, 16),
            (64, 32 << 20, 1),
            (4096, 1 << 20, 1024),
            (65_536, 1 << 20, 16_384),
            (1 << 20, 1 << 20, 16_384),
        ] {
            assert_eq!(
                config(memory_mib, item_len_max).shards(),
                shards,
                "-m {memory_mib}"
            );
        }
    }

    #[test]
    fn a_given_count_becomes_a_power_of_two() {
        let with = |count| Config {
            shard_count: NonZeroUsize::new(count),
            ..config(1, 0)
        };
        assert_eq!(with(1).shards(), 1);
        assert_eq!(with(3).shards(), 4);
        assert_eq!(with(usize::MAX).shards(), 16_384);
    }
}
