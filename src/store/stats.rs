//! What the store counts.

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
    /// Bytes charged against the limit: what holds the items, free or not, and their index.
    pub charged_bytes: u64,
    /// The memory limit in bytes.
    pub limit_bytes: u64,
    /// Live items removed to stay within the limit.
    pub evictions: u64,
    /// Those of `evictions` that were never fetched.
    pub evicted_unfetched: u64,
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
}

/// The counters of one shard; gauges are read off the shard itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) total_items: u64,
    pub(crate) evictions: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) expired_unfetched: u64,
    pub(crate) reclaimed: u64,
    pub(crate) sweep_reclaimed: u64,
    pub(crate) sweep_items_checked: u64,
}

impl Counters {
    pub(crate) fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.total_items += self.total_items;
        snapshot.evictions += self.evictions;
        snapshot.evicted_unfetched += self.evicted_unfetched;
        snapshot.expired_unfetched += self.expired_unfetched;
        snapshot.reclaimed += self.reclaimed;
        snapshot.sweep_reclaimed += self.sweep_reclaimed;
        snapshot.sweep_items_checked += self.sweep_items_checked;
    }
}

/// A number of things as it is counted and charged here.
pub(crate) fn count(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}
