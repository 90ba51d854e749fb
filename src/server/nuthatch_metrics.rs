//! The `nuthatch_*` series of `/metrics`: what a memcached has no number for.

use crate::census::of_ages;
use crate::counters::{Count, Totals};
use crate::insight;
use crate::memory;
use crate::process_stats::ProcessStats;
use crate::shared::Shared;
use crate::snapshot::SnapshotFile;
use crate::stats_conns::State;
use crate::stats_text::Sources;
use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use nuthatch_store::{Restored, Snapshot};
use std::sync::atomic::Ordering;

/// What was built, if who built it has said so.
pub(crate) const COMMIT: &str = match option_env!("NUTHATCH_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What it can do besides.
pub(crate) const FEATURES: &str = if cfg!(feature = "cli") { "cli" } else { "" };

/// Series of one family.
type Samples<'a, T> = &'a [(&'static str, T)];

/// All of them, sorted.
pub(crate) fn render(sources: &Sources<'_>, process: &ProcessStats) -> String {
    // A recorder for each page: in one that stays, a counter could not fall when statistics are reset, and daemons
    // in one process would share it.
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        set_process(sources);
        set_memory(sources, process);
        set_store(&sources.store);
        set_requests(sources);
        set_restore(sources);
        insight::metrics::set(sources.shared);
    });
    // The recorder has no histogram that can be set.
    sorted(&handle.render()) + &sources.shared.latencies().render() + &items(sources)
}

/// Histograms of items: of those that were evicted, and of those that are there.
fn items(sources: &Sources<'_>) -> String {
    let census = sources.shared.census.read(sources.shared);
    let evicted = |ages| of_ages(ages, |count| count);
    [
        evicted(&sources.store.evicted_ages).render(
            "nuthatch_evicted_item_age_seconds",
            "How long ago items that were evicted had been stored.",
        ),
        evicted(&sources.store.evicted_idle).render(
            "nuthatch_evicted_item_idle_seconds",
            "For how long nobody had used items that were evicted. Uses within a minute count as one.",
        ),
        census.sizes.render(
            "nuthatch_item_size_bytes",
            "Bytes of key and value, before compression, of the items that are there now, as a sample of them tells.",
        ),
        census.ttls.render(
            "nuthatch_item_ttl_seconds",
            "Seconds until the items that are there now expire, of those that do, as a sample of them tells.",
        ),
        census.ages.render(
            "nuthatch_item_age_seconds",
            "Seconds since the items that are there now were stored, as a sample of them tells.",
        ),
    ]
    .concat()
}

/// The same families in the order of their names, and in each the series in that of their labels.
fn sorted(rendered: &str) -> String {
    let families = rendered.split_terminator("\n\n");
    let mut families: Vec<Vec<&str>> = families.map(|family| family.lines().collect()).collect();
    // HELP and TYPE come before every name.
    for lines in &mut families {
        lines.sort_unstable();
    }
    families.sort_unstable();
    let mut page = String::with_capacity(rendered.len());
    for line in families.iter().flatten() {
        page.extend([line, "\n"]);
    }
    page
}

fn set_process(sources: &Sources<'_>) {
    let shared = sources.shared;
    describe_gauge!("nuthatch_build_info", "Which nuthatch this is.");
    let allocator = if cfg!(feature = "jemalloc") {
        "jemalloc"
    } else {
        "system"
    };
    let version = env!("CARGO_PKG_VERSION");
    gauge!(
        "nuthatch_build_info",
        "version" => version, "commit" => COMMIT, "allocator" => allocator, "features" => FEATURES
    )
    .set(1);
    gauge_of(
        "nuthatch_uptime_seconds",
        "Seconds since the daemon started.",
        seconds(sources.now.time.as_millis()),
    );
    gauge_of(
        "nuthatch_stopping",
        "1 while the daemon stops, else 0.",
        f64::from(u8::from(shared.stopping.load(Ordering::Relaxed))),
    );
    gauge_of(
        "nuthatch_draining",
        "1 while no more clients shall come, as the command drain says, else 0.",
        f64::from(u8::from(shared.draining.load(Ordering::Relaxed))),
    );
    let heartbeat = shared.slowest_heartbeat().as_secs_f64();
    gauge_of(
        "nuthatch_worker_heartbeat_age_seconds",
        "For how long the worker that was seen least lately has not been seen to run.",
        heartbeat,
    );
    gauges(
        "nuthatch_connections",
        "Clients that are connected, by what their connection waits for.",
        "state",
        &connections(shared).map(|(state, count)| (state, float(count))),
    );
}

/// Clients by what their connection waits for.
pub(crate) fn connections(shared: &Shared) -> [(&'static str, u64); 4] {
    let states = shared.sockets.states();
    let of = |state: State| states.get(state as usize).copied().unwrap_or_default();
    [
        ("request", of(State::Reading)),
        ("value", of(State::ReadingValue)),
        ("answer", of(State::Answering)),
        ("events", of(State::Watching)),
    ]
}

fn set_memory(sources: &Sources<'_>, process: &ProcessStats) {
    let memory = memory::states(sources.shared, &sources.store, process);
    let memory = memory.map(|(state, bytes)| (state, float(bytes)));
    gauges(
        "nuthatch_memory_bytes",
        "Memory by use: items, room for more in their segments and in spare buffers, their index, the bookkeeping of that; \
         values that arrive, values that readers alone hold; connections with their buffers, what is known of keys, what \
         the allocator cannot use or needs for itself, and the program. Each is counted by itself; the sum is about \
         process_resident_memory_bytes.",
        "state",
        &memory,
    );
}

fn set_store(store: &Snapshot) {
    counter_of(
        "nuthatch_compression_input_bytes_total",
        "Bytes of values that were compressed, before.",
        store.compressed_raw_bytes,
    );
    counter_of(
        "nuthatch_compression_stored_bytes_total",
        "Bytes of values that were compressed, after.",
        store.compressed_stored_bytes,
    );
    counters(
        "nuthatch_compression_skipped_total",
        "Values that were stored as they are while compression was on.",
        "reason",
        &[
            ("short", store.compress_skipped_short),
            ("incompressible", store.compress_skipped_incompressible),
        ],
    );
    counter_of(
        "nuthatch_decompression_failures_total",
        "Values that were not what had been stored when they were asked for.",
        store.decompress_failures,
    );
    gauge_of(
        "nuthatch_shards",
        "Parts of the store, each with its lock and its share of the memory.",
        float(store.shard_count),
    );
    counter_of(
        "nuthatch_lock_waits_total",
        "How often a writer had to wait for its turn at a shard.",
        store.turn_waits,
    );
    gauge_of(
        "nuthatch_shard_items_skew_ratio",
        "Items in the fullest shard by items in the average one.",
        skew(store),
    );
}

/// Items in the fullest shard by items in the average one.
pub(crate) fn skew(store: &Snapshot) -> f64 {
    let mean = float(store.curr_items) / float(store.shard_count.max(1));
    if store.curr_items == 0 {
        1.0
    } else {
        float(store.shard_items_max) / mean
    }
}

fn set_requests(sources: &Sources<'_>) {
    counters(
        "nuthatch_miss_total",
        "Keys that were asked for and had no live item, by why: it had expired, or been flushed, evicted or deleted; \
         or there was none: never stored, or gone for so long that nobody remembers why. A miss of touch is always \
         absent.",
        "reason",
        &misses(&sources.totals),
    );
    counters(
        "nuthatch_limit_hits_total",
        "How often a limit was met: of connections (-c), of the size of an item (-I), of memory (-m), of what one \
         connection may ask for before others have their turn (-R), of silence (idle_timeout).",
        "limit",
        &limits(&sources.totals),
    );
}

/// Misses by why.
pub(crate) fn misses(totals: &Totals) -> [(&'static str, u64); 5] {
    let sum = |one, other| totals.get(one).saturating_add(totals.get(other));
    let known = [
        ("expired", sum(Count::GetExpired, Count::MissExpired)),
        ("flushed", sum(Count::GetFlushed, Count::MissFlushed)),
        ("evicted", totals.get(Count::MissEvicted)),
        ("deleted", totals.get(Count::MissDeleted)),
    ];
    let misses = sum(Count::GetMisses, Count::TouchMisses);
    let absent = (known.iter()).fold(misses, |rest, (_, count)| rest.saturating_sub(*count));
    let [expired, flushed, evicted, deleted] = known;
    [("absent", absent), expired, flushed, evicted, deleted]
}

/// How often each limit was met.
pub(crate) fn limits(totals: &Totals) -> [(&'static str, u64); 5] {
    let of = |count| totals.get(count);
    let connections = of(Count::RejectedConnections).saturating_add(of(Count::ListenDisabledNum));
    [
        ("connections", connections),
        ("item_size", of(Count::StoreTooLarge)),
        ("memory", of(Count::StoreNoMemory)),
        ("turn", of(Count::ConnYields)),
        ("idle", of(Count::IdleKicks)),
    ]
}

fn set_restore(sources: &Sources<'_>) {
    let shared = sources.shared;
    gauge_of(
        "nuthatch_restoring",
        "1 while the snapshot comes back, else 0.",
        f64::from(u8::from(shared.restoring.load(Ordering::Relaxed))),
    );
    if let Some(percent) = shared.snapshot_progress.percent() {
        gauge_of(
            "nuthatch_snapshot_progress_ratio",
            "How much of the snapshot has come back, or been written. Only told while that goes on.",
            float(percent) / 100.0,
        );
    }
    if let Some((bytes, written)) = sources
        .shared
        .config
        .snapshot
        .as_ref()
        .and_then(SnapshotFile::stat)
    {
        gauge_of(
            "nuthatch_snapshot_bytes",
            "Size of the snapshot that a restart would begin with.",
            float(bytes),
        );
        gauge_of(
            "nuthatch_snapshot_timestamp_seconds",
            "When it was written, in seconds since 1970.",
            written.as_secs_f64(),
        );
    }
    let restored = shared.restored.get().copied().unwrap_or_default();
    let Restored {
        items,
        dead,
        superseded,
        no_room,
        damaged,
        ..
    } = restored;
    counters(
        "nuthatch_restored_items_total",
        "Items of the snapshot that are back, or why they are not.",
        "result",
        &[
            ("restored", items),
            ("dead", dead),
            ("superseded", superseded),
            ("no_room", no_room),
        ],
    );
    counter_of(
        "nuthatch_restore_damaged_total",
        "Blocks of the snapshot that were damaged, and items of which a part was in one.",
        damaged,
    );
}

fn gauge_of(name: &'static str, help: &'static str, value: f64) {
    describe_gauge!(name, help);
    gauge!(name).set(value);
}

fn gauges(name: &'static str, help: &'static str, label: &'static str, samples: Samples<'_, f64>) {
    describe_gauge!(name, help);
    for (value, number) in samples {
        gauge!(name, label => *value).set(*number);
    }
}

fn counter_of(name: &'static str, help: &'static str, value: u64) {
    describe_counter!(name, help);
    counter!(name).absolute(value);
}

fn counters(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    samples: Samples<'_, u64>,
) {
    describe_counter!(name, help);
    for (value, number) in samples {
        counter!(name, label => *value).absolute(*number);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus and browsers have no other numbers"
)]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(millis: u64) -> f64 {
    float(millis) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_series_are_sorted() {
        let rendered = "# HELP b x\n# TYPE b counter\nb{l=\"2\"} 1\nb{l=\"1\"} 9\n\n# HELP a y\n# TYPE a gauge\na 5\n\n";
        assert_eq!(
            sorted(rendered),
            "# HELP a y\n# TYPE a gauge\na 5\n# HELP b x\n# TYPE b counter\nb{l=\"1\"} 9\nb{l=\"2\"} 1\n"
        );
        assert_eq!(sorted(""), "");
    }
}
