//! What the daemon's memory is used for. Each use is counted where it is made, none is what the others leave: their sum
//! is the resident memory of the process as far as they are right. What is small is not counted: the configuration, the
//! runtime, stacks, clients that watch.

use crate::allocator::AllocatorStats;
use crate::process_stats::ProcessStats;
use crate::shared::Shared;
use nuthatch_store::Snapshot;

/// A connection beside its task and its buffers, about: what wakes the task, and where it is listed.
const CONNECTION_LEN: u64 = 160;

/// How many uses are told apart.
const STATES: usize = 10;

/// Bytes by use.
pub(crate) fn states(
    shared: &Shared,
    store: &Snapshot,
    process: &ProcessStats,
) -> [(&'static str, u64); STATES] {
    let allocator = AllocatorStats::read().unwrap_or_default();
    let [items, free, index, bookkeeping] = stored(store);
    [
        ("items", items),
        ("free", free),
        ("index", index),
        ("bookkeeping", bookkeeping),
        ("arriving", store.arriving_bytes),
        ("pinned", store.pinned_bytes),
        ("connections", connections(shared)),
        ("insight", shared.insight_bytes()),
        (
            "allocator",
            allocator
                .fragmented_bytes
                .saturating_add(allocator.metadata_bytes),
        ),
        ("program", process.program_bytes.unwrap_or_default()),
    ]
}

/// Items, room for more in their segments and in spare buffers, their index, and the store's other books.
fn stored(store: &Snapshot) -> [u64; 4] {
    let segments = store.segments.saturating_mul(store.segment_len);
    let packed = store.bytes.saturating_sub(store.large_bytes);
    let bookkeeping = (store.charged_bytes)
        .saturating_sub(segments)
        .saturating_sub(store.large_bytes)
        .saturating_sub(store.table_bytes)
        .saturating_sub(store.unused_bytes);
    let free = (segments.saturating_sub(packed)).saturating_add(store.spare_bytes);
    [store.bytes, free, store.table_bytes, bookkeeping]
}

/// Buffers that connections hold or have left, and what each has besides.
fn connections(shared: &Shared) -> u64 {
    let (buffers, task) = shared.connection_bytes();
    let count = u64::try_from(shared.sockets.len()).unwrap_or(u64::MAX);
    buffers.saturating_add(count.saturating_mul(task.saturating_add(CONNECTION_LEN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_is_charged_for_and_has_is_split_without_remainder() {
        let mut store = Snapshot::default();
        store.segments = 10;
        store.segment_len = 100;
        store.bytes = 700;
        store.large_bytes = 200;
        store.table_bytes = 30;
        store.charged_bytes = 10 * 100 + 200 + 30 + 7 + 13;
        store.unused_bytes = 13;
        store.spare_bytes = 11;
        assert_eq!(stored(&store), [700, 500 + 11, 30, 7]);
    }
}
