//! [`Status`]: all that is known of the daemon at one moment, as `/api/v1/stats` tells it and the page shows it.

use crate::census::of_ages;
use crate::counters::Count;
use crate::distribution::Distribution;
use crate::given::{Origin, Setting};
use crate::memory;
use crate::nuthatch_metrics::{COMMIT, connections, float, limits, misses, skew};
use crate::process_stats::ProcessStats;
use crate::shared::Shared;
use crate::stats_text::{Sources, Value, general};
use crate::status_keys::Keys;
use nuthatch_store::{Restored, Snapshot};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

/// The version of what is told. It grows when something is taken away or means something else.
const SCHEMA: u32 = 1;

/// What is counted of each command.
const COMMANDS: &[(&str, &[(&str, Count)])] = &[
    (
        "get",
        &[
            ("count", Count::CmdGet),
            ("hits", Count::GetHits),
            ("misses", Count::GetMisses),
        ],
    ),
    ("set", &[("count", Count::CmdSet)]),
    (
        "touch",
        &[
            ("count", Count::CmdTouch),
            ("hits", Count::TouchHits),
            ("misses", Count::TouchMisses),
        ],
    ),
    (
        "delete",
        &[("hits", Count::DeleteHits), ("misses", Count::DeleteMisses)],
    ),
    (
        "incr",
        &[("hits", Count::IncrHits), ("misses", Count::IncrMisses)],
    ),
    (
        "decr",
        &[("hits", Count::DecrHits), ("misses", Count::DecrMisses)],
    ),
    (
        "cas",
        &[
            ("hits", Count::CasHits),
            ("misses", Count::CasMisses),
            ("badval", Count::CasBadval),
        ],
    ),
    ("meta", &[("count", Count::CmdMeta)]),
    ("flush_all", &[("count", Count::CmdFlush)]),
];

/// Values by name, told in this order.
#[derive(Clone, Debug)]
pub(crate) struct Named<T>(pub(crate) Vec<(&'static str, T)>);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<T> FromIterator<(&'static str, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    schema: u32,
    pub(crate) server: Server,
    /// What `stats` tells, by its names.
    pub(crate) stats: Named<Value>,
    /// Hits of get by gets.
    pub(crate) hit_ratio: Option<f64>,
    pub(crate) commands: Named<Named<u64>>,
    pub(crate) miss_reasons: Named<u64>,
    pub(crate) latency_seconds: Named<Distribution>,
    pub(crate) memory: Memory,
    pub(crate) evictions: Evictions,
    pub(crate) items: Items,
    pub(crate) compression: Compression,
    pub(crate) connections: Named<u64>,
    pub(crate) limit_hits: Named<u64>,
    pub(crate) shards: Shards,
    pub(crate) snapshot: SnapshotStatus,
    /// None unless that goes on.
    pub(crate) drain: Option<Drain>,
    pub(crate) keys: Keys,
    pub(crate) settings: BTreeMap<String, SettingStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) version: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) allocator: &'static str,
    /// `restoring`, `serving`, `draining` or `stopping`.
    pub(crate) state: &'static str,
    /// For how long the worker that was seen least lately has not been seen to run.
    pub(crate) heartbeat_age_seconds: f64,
    pub(crate) open_descriptors: Option<u64>,
    pub(crate) descriptors_max: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) limit_bytes: u64,
    /// What counts against the limit.
    pub(crate) charged_bytes: u64,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    /// What memory is used for; the sum is about what is resident.
    pub(crate) states: Named<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Evictions {
    pub(crate) total: u64,
    pub(crate) unfetched: u64,
    pub(crate) with_expiry: u64,
    /// For how long nobody had used what was evicted last.
    pub(crate) last_idle_seconds: u32,
    /// Of the memory that holds what was stored first.
    pub(crate) oldest_age_seconds: Option<u64>,
    /// How long ago what was evicted had been stored.
    pub(crate) age_seconds: Distribution,
    /// For how long nobody had used it.
    pub(crate) idle_seconds: Distribution,
}

/// What is there now, as a sample tells.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Items {
    pub(crate) size_bytes: Distribution,
    pub(crate) ttl_seconds: Distribution,
    pub(crate) age_seconds: Distribution,
    pub(crate) without_expiry: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compression {
    pub(crate) values: u64,
    pub(crate) input_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) skipped: Named<u64>,
    pub(crate) decompression_failures: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shards {
    pub(crate) count: u64,
    pub(crate) items_max: u64,
    pub(crate) items_skew_ratio: f64,
    /// How often a writer had to wait for its turn at one.
    pub(crate) lock_waits: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SnapshotStatus {
    pub(crate) file: Option<String>,
    /// How much of it has come back, or been written, while that goes on.
    pub(crate) percent: Option<u64>,
    pub(crate) restored: Named<u64>,
}

/// How far the clients have gone, after `drain`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Drain {
    pub(crate) clients_at_start: usize,
    pub(crate) clients: usize,
    /// Of those at the start, how many are there no more.
    pub(crate) percent: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SettingStatus {
    pub(crate) value: serde_json::Value,
    /// `flag`, `environment`, `file` or `default`.
    pub(crate) origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// What the default is, where that is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
}

impl Status {
    pub(crate) fn read(shared: &Shared) -> Self {
        let sources = Sources::read(shared, shared.clock.now());
        let process = ProcessStats::read();
        let (store, totals) = (&sources.store, &sources.totals);
        let [hits, gets] = [Count::GetHits, Count::CmdGet].map(|count| float(totals.get(count)));
        let counts = |counts: &[(&'static str, Count)]| {
            let each = counts.iter();
            each.map(|(name, count)| (*name, totals.get(*count)))
                .collect()
        };
        let shown = shared.config.origins.iter().filter(|flag| flag.is_shown());
        Self {
            schema: SCHEMA,
            server: Server::read(shared, &process),
            stats: general(&sources).collect(),
            hit_ratio: (gets > 0.0).then(|| hits / gets),
            commands: COMMANDS
                .iter()
                .map(|(name, counted)| (*name, counts(counted)))
                .collect(),
            miss_reasons: misses(totals).into_iter().collect(),
            latency_seconds: shared.latencies().each().collect(),
            memory: Memory::read(&sources, &process),
            evictions: Evictions::read(&sources),
            items: Items::read(shared),
            compression: Compression::read(store),
            connections: connections(shared).into_iter().collect(),
            limit_hits: limits(totals).into_iter().collect(),
            shards: Shards {
                count: store.shard_count,
                items_max: store.shard_items_max,
                items_skew_ratio: skew(store),
                lock_waits: store.turn_waits,
            },
            snapshot: SnapshotStatus::read(shared),
            drain: Drain::read(shared),
            keys: Keys::read(shared),
            settings: shown
                .map(|flag| (flag.name.clone(), SettingStatus::read(flag)))
                .collect(),
        }
    }
}

impl Server {
    fn read(shared: &Shared, process: &ProcessStats) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            allocator: if cfg!(feature = "jemalloc") {
                "jemalloc"
            } else {
                "system"
            },
            state: if shared.stopping.load(Ordering::Relaxed) {
                "stopping"
            } else if shared.draining.load(Ordering::Relaxed) {
                "draining"
            } else if shared.restoring.load(Ordering::Relaxed) {
                "restoring"
            } else {
                "serving"
            },
            heartbeat_age_seconds: shared.slowest_heartbeat().as_secs_f64(),
            open_descriptors: process.open_descriptors,
            descriptors_max: process.descriptors_max,
        }
    }
}

impl Memory {
    fn read(sources: &Sources<'_>, process: &ProcessStats) -> Self {
        let store = &sources.store;
        let states = memory::states(sources.shared, store, process);
        Self {
            limit_bytes: store.limit_bytes,
            charged_bytes: store.charged_bytes,
            resident_bytes: process.resident_bytes,
            virtual_bytes: process.virtual_bytes,
            states: states.into_iter().collect(),
        }
    }
}

impl Evictions {
    fn read(sources: &Sources<'_>) -> Self {
        let (store, now) = (&sources.store, sources.now.time.as_millis());
        let age = |oldest: nuthatch_store::Time| now.saturating_sub(oldest.as_millis()) / 1000;
        Self {
            total: store.evictions,
            unfetched: store.evicted_unfetched,
            with_expiry: store.evicted_with_expiry,
            last_idle_seconds: store.evicted_idle_seconds,
            oldest_age_seconds: store.oldest.map(age),
            age_seconds: of_ages(&store.evicted_ages, |count| count),
            idle_seconds: of_ages(&store.evicted_idle, |count| count),
        }
    }
}

impl Items {
    fn read(shared: &Shared) -> Self {
        let census = shared.census.read(shared);
        Self {
            size_bytes: census.sizes,
            ttl_seconds: census.ttls,
            age_seconds: census.ages,
            without_expiry: census.without_expiry,
        }
    }
}

impl Compression {
    fn read(store: &Snapshot) -> Self {
        Self {
            values: store.compressed,
            input_bytes: store.compressed_raw_bytes,
            stored_bytes: store.compressed_stored_bytes,
            skipped: Named(vec![
                ("short", store.compress_skipped_short),
                ("incompressible", store.compress_skipped_incompressible),
            ]),
            decompression_failures: store.decompress_failures,
        }
    }
}

impl SnapshotStatus {
    fn read(shared: &Shared) -> Self {
        let file = &shared.config.snapshot;
        let Restored {
            items,
            dead,
            superseded,
            no_room,
            damaged,
            ..
        } = shared.restored.get().copied().unwrap_or_default();
        Self {
            file: file.as_ref().map(|file| text(&file.path)),
            percent: shared.snapshot_progress.percent(),
            restored: Named(vec![
                ("items", items),
                ("dead", dead),
                ("superseded", superseded),
                ("no_room", no_room),
                ("damaged", damaged),
            ]),
        }
    }
}

impl Drain {
    fn read(shared: &Shared) -> Option<Self> {
        let is_draining = shared.draining.load(Ordering::Relaxed);
        let at_start = shared.drained_from.load(Ordering::Relaxed);
        let clients = shared.connections.load(Ordering::Relaxed);
        is_draining.then(|| Self::of(at_start, clients))
    }

    fn of(clients_at_start: usize, clients: usize) -> Self {
        // There are more when new ones come in spite of it.
        let gone = clients_at_start.saturating_sub(clients);
        Self {
            clients_at_start,
            clients,
            percent: gone.saturating_mul(100) / clients_at_start.max(1),
        }
    }
}

impl SettingStatus {
    fn read(setting: &Setting) -> Self {
        let literal = setting.kind.literal(&setting.values);
        let value = literal.and_then(|literal| serde_json::from_str(&literal).ok());
        let (origin, variable, file) = match &setting.origin {
            Origin::Flag => ("flag", None, None),
            Origin::Environment(name) => ("environment", Some(name.clone()), None),
            Origin::File(path) => ("file", None, Some(text(path))),
            Origin::Default => ("default", None, None),
        };
        Self {
            default: setting.default.clone().filter(|_| value.is_none()),
            value: value.unwrap_or_default(),
            origin,
            variable,
            file,
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_as_far_as_clients_have_gone() {
        for (at_start, clients, percent) in
            [(4, 4, 0), (4, 1, 75), (4, 0, 100), (4, 5, 0), (0, 0, 0)]
        {
            assert_eq!(
                Drain::of(at_start, clients).percent,
                percent,
                "{clients} of {at_start}"
            );
        }
    }
}
