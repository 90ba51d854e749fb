//! What the store counts.

use crate::age::Ages;
use crate::compress::Attempt;
use crate::time::Time;

/// The store's gauges and counters at one moment. Shards are read one after the other, so numbers
/// of a busy store need not fit each other to the last item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Snapshot {
    /// Items in memory, those included that are dead but not yet removed.
    pub curr_items: u64,
    /// Items stored so far by `set`, `add`, `replace`, `cas`, `append` and `prepend`.
    pub total_items: u64,
    /// Bytes that items take, dead ones that are not yet removed included.
    pub bytes: u64,
    /// Those of `bytes` that are in no segment, but have memory of their own.
    pub large_bytes: u64,
    /// Bytes charged against the limit: what holds the items, free or not, and their index.
    pub charged_bytes: u64,
    /// Those of `charged_bytes` that no memory was taken for so far: buffers of shards that have not evicted yet.
    pub unused_bytes: u64,
    /// Bytes charged besides: values that are still arriving ...
    pub arriving_bytes: u64,
    /// ... values that readers alone hold: given up since, or decompressed for them ...
    pub pinned_bytes: u64,
    /// ... and buffers that large values have left for those to come.
    pub spare_bytes: u64,
    /// The memory limit in bytes.
    pub limit_bytes: u64,
    /// Live items removed to stay within the limit.
    pub evictions: u64,
    /// Those of `evictions` that were never fetched.
    pub evicted_unfetched: u64,
    /// Those of `evictions` that had an expiry.
    pub evicted_with_expiry: u64,
    /// For how many seconds nobody had used an item that was evicted last.
    pub evicted_idle_seconds: u32,
    /// How long before their eviction the items had been stored, of all `evictions`; rounded up by a third at most.
    pub evicted_ages: Ages,
    /// For how long nobody had used them; uses within a minute are one.
    pub evicted_idle: Ages,
    /// When the memory was opened that holds what was stored first, or spared since; to a second.
    pub oldest: Option<Time>,
    /// Segments that have memory, those included that hold nothing.
    pub segments: u64,
    /// Those of `segments` that hold items.
    pub segments_used: u64,
    /// Bytes of a segment.
    pub segment_len: u64,
    /// Dead items removed that were never fetched.
    pub expired_unfetched: u64,
    /// Dead items (expired or flushed) whose memory was taken back: swept, evicted or overwritten.
    pub reclaimed: u64,
    /// Those of `reclaimed` that a sweep removed.
    pub sweep_reclaimed: u64,
    /// Items that sweeps looked at.
    pub sweep_items_checked: u64,
    /// Buckets of the index, all shards together.
    pub table_buckets: u64,
    /// Bytes that the buckets of the index take.
    pub table_bytes: u64,
    /// Shards of the store.
    pub shard_count: u64,
    /// Items in the shard that has most of them.
    pub shard_items_max: u64,
    /// How often a writer had to wait for its turn at a shard. It is never reset.
    pub turn_waits: u64,
    /// Values that were compressed when they were stored.
    pub compressed: u64,
    /// Bytes of those before.
    pub compressed_raw_bytes: u64,
    /// Bytes of those after.
    pub compressed_stored_bytes: u64,
    /// Values that were too short to be tried, while compression was on.
    pub compress_skipped_short: u64,
    /// Values that would not have become smaller by an eighth.
    pub compress_skipped_incompressible: u64,
    /// Values that were not what had been stored when they were asked for: they are removed.
    pub decompress_failures: u64,
}

/// The counters of one shard; gauges are read off the shard itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) total_items: u64,
    pub(crate) evictions: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) evicted_with_expiry: u64,
    pub(crate) evicted_idle_seconds: u32,
    pub(crate) evicted_ages: Ages,
    pub(crate) evicted_idle: Ages,
    pub(crate) expired_unfetched: u64,
    pub(crate) reclaimed: u64,
    pub(crate) sweep_reclaimed: u64,
    pub(crate) sweep_items_checked: u64,
    pub(crate) compressed: u64,
    pub(crate) compressed_raw_bytes: u64,
    pub(crate) compressed_stored_bytes: u64,
    pub(crate) compress_skipped_short: u64,
    pub(crate) compress_skipped_incompressible: u64,
}

impl Counters {
    pub(crate) fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.total_items += self.total_items;
        snapshot.evictions += self.evictions;
        snapshot.evicted_unfetched += self.evicted_unfetched;
        snapshot.evicted_with_expiry += self.evicted_with_expiry;
        snapshot.evicted_idle_seconds =
            self.evicted_idle_seconds.max(snapshot.evicted_idle_seconds);
        snapshot.evicted_ages.add_all(&self.evicted_ages);
        snapshot.evicted_idle.add_all(&self.evicted_idle);
        snapshot.expired_unfetched += self.expired_unfetched;
        snapshot.reclaimed += self.reclaimed;
        snapshot.sweep_reclaimed += self.sweep_reclaimed;
        snapshot.sweep_items_checked += self.sweep_items_checked;
        snapshot.compressed += self.compressed;
        snapshot.compressed_raw_bytes += self.compressed_raw_bytes;
        snapshot.compressed_stored_bytes += self.compressed_stored_bytes;
        snapshot.compress_skipped_short += self.compress_skipped_short;
        snapshot.compress_skipped_incompressible += self.compress_skipped_incompressible;
    }

    /// A value of `stored_len` bytes was stored, compressed or not.
    pub(crate) fn count_stored(&mut self, attempt: Attempt, stored_len: usize) {
        self.total_items += 1;
        match attempt {
            Attempt::Off => {}
            Attempt::Short => self.compress_skipped_short += 1,
            Attempt::Incompressible => self.compress_skipped_incompressible += 1,
            Attempt::Compressed(compressed) => {
                self.compressed += 1;
                self.compressed_raw_bytes += u64::from(compressed.raw_len);
                self.compressed_stored_bytes += count(stored_len);
            }
        }
    }
}

/// A number of things as it is counted and charged here.
pub(crate) fn count(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}
