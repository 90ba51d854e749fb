//! [`Shared`]: what all threads of a daemon see.

use crate::access::{Access, AccessError};
use crate::census::LastCensus;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::config::PREFIX_DELIMITER;
use crate::counters::{Counters, Totals};
use crate::insight::{
    Advisor, HotKeys, NamespaceSource, Namespaces, RequestSums, Totals as AdvisorTotals,
    merge_hot_keys,
};
use crate::latency::Histograms;
use crate::notify;
use crate::prefix_stats::PrefixStats;
use crate::snapshot::SnapshotProgress;
use crate::stats_conns::Sockets;
use crate::telemetry::LogLevel;
use crate::tuning::Tuning;
use crate::watch::{Observers, Watchers};
use nuthatch_protocol::{ErrorReply, Response};
use nuthatch_store::{Config as StoreConfig, Restored, Store};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A worker that was not seen for so long hangs.
pub(crate) const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(10);

/// The store, the settings, and what everybody has counted.
#[derive(Debug)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) config: Config,
    tuning: Mutex<Tuning>,
    pub(crate) namespaces: Option<Arc<Namespaces>>,
    pub(crate) advisor: Arc<Advisor>,
    pub(crate) observers: Observers,
    /// Who may come in, and how.
    pub(crate) access: Access,
    pub(crate) sockets: Sockets,
    /// Whether those who connect are looked at.
    pub(crate) accepting: AtomicBool,
    /// Whether the daemon is about to end.
    pub(crate) stopping: AtomicBool,
    /// Whether no more clients shall come.
    pub(crate) draining: AtomicBool,
    /// Clients that were connected when that was asked for.
    pub(crate) drained_from: AtomicUsize,
    /// Whether a snapshot is coming back.
    pub(crate) restoring: AtomicBool,
    /// What became of it.
    pub(crate) restored: OnceLock<Restored>,
    pub(crate) census: LastCensus,
    /// How much of one has come back, or been written.
    pub(crate) snapshot_progress: SnapshotProgress,
    /// Told when a client asks the daemon to stop.
    pub(crate) stop: Notify,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) clock: Clock,
    pub(crate) log_level: LogLevel,
    /// Sockets that listen.
    pub(crate) listeners: AtomicUsize,
    /// Clients that are connected.
    pub(crate) connections: AtomicUsize,
    threads: Mutex<Vec<Arc<Counters>>>,
    /// When each worker was last seen to run, in milliseconds.
    heartbeats: Box<[AtomicU64]>,
    reset: Mutex<Totals>,
}

impl Shared {
    /// An empty cache for everybody.
    pub fn new(config: &Config, clock: Clock, log_level: LogLevel) -> Arc<Self> {
        Self::with_access(config, clock, log_level, Access::default(), 0)
    }

    /// An empty cache, whose cas uniques are above `last_cas`.
    pub(crate) fn with_access(
        config: &Config,
        clock: Clock,
        log_level: LogLevel,
        access: Access,
        last_cas: u64,
    ) -> Arc<Self> {
        let namespaces = Namespaces::new(&config.namespaces).map(Arc::new);
        let known = namespaces.clone();
        let advisor = Arc::new(Advisor::new(config.memory_limit_bytes));
        let store = Store::new(&StoreConfig {
            memory_limit_bytes: config.memory_limit_bytes,
            item_len_max: config.item_len_max,
            shard_count: None,
            evict: config.evict,
            compress_len_min: config.compress_len_min,
            cas_start: cas_start().max(last_cas),
            namespaces: known.map(|known| known as Arc<dyn nuthatch_store::Namespaces>),
            sampler: Some(Arc::clone(&advisor) as Arc<dyn nuthatch_store::Sampler>),
        });
        let cluster = config.cluster.clone();
        Arc::new(Self {
            store,
            cluster: cluster.map(|source| Arc::new(Cluster::new(source, &clock))),
            config: config.clone(),
            access,
            tuning: Mutex::default(),
            namespaces,
            advisor,
            observers: Observers {
                watchers: Watchers::default(),
                prefixes: PrefixStats::new(
                    config.prefix_delimiter.unwrap_or(PREFIX_DELIMITER),
                    config.prefix_delimiter.is_some(),
                ),
            },
            sockets: Sockets::default(),
            accepting: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            drained_from: AtomicUsize::new(0),
            restoring: AtomicBool::new(false),
            restored: OnceLock::new(),
            census: LastCensus::default(),
            snapshot_progress: SnapshotProgress::default(),
            stop: Notify::new(),
            clock,
            log_level,
            listeners: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            threads: Mutex::default(),
            heartbeats: (0..config.settings.threads.get())
                .map(|_| AtomicU64::default())
                .collect(),
            reset: Mutex::default(),
        })
    }

    /// Stops the daemon, as a client may ask for with `shutdown` or `shutdown graceful`; returns why not.
    pub(crate) fn request_stop(&self, mode: &[u8]) -> Option<Response<'static>> {
        if !self.config.settings.allowed.shutdown {
            return Some(Response::Error(ErrorReply::SHUTDOWN_DISABLED));
        }
        if !mode.is_empty() && mode != b"graceful" {
            return Some(Response::Error(ErrorReply::SHUTDOWN_MODE));
        }
        tracing::info!("a client asked for shutdown");
        self.stop.notify_one();
        None
    }

    /// Reads the files again that may have changed.
    pub fn reload(&self) {
        notify::reloading();
        match self.access.reload_logins() {
            Ok(true) => tracing::info!("the logins are those of their file now"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the logins stay as they are"),
        }
        match self.refresh_certificates() {
            Ok(true) => tracing::info!("the certificates are those of their files now"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the certificates stay as they are"),
        }
        notify::ready();
    }

    /// Reads the certificates again; returns whether there is TLS.
    pub(crate) fn refresh_certificates(&self) -> Result<bool, AccessError> {
        self.access.reload_certificates(&self.clock)
    }

    /// What operators have tuned.
    pub(crate) fn tuning(&self) -> Tuning {
        *self.lock_tuning()
    }

    /// The same, to be changed.
    pub(crate) fn lock_tuning(&self) -> MutexGuard<'_, Tuning> {
        self.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters for one more thread.
    pub(crate) fn add_thread(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        lock(&self.threads).push(Arc::clone(&counters));
        counters
    }

    /// To be called by each worker from time to time.
    pub(crate) fn beat(&self, worker: usize) {
        if let Some(heartbeat) = self.heartbeats.get(worker) {
            heartbeat.store(self.clock.now().time.as_millis(), Ordering::Relaxed);
        }
    }

    /// For how long the worker that was seen least lately has not been seen.
    pub(crate) fn slowest_heartbeat(&self) -> Duration {
        let now = self.clock.now().time.as_millis();
        let beats = self.heartbeats.iter();
        let oldest = beats.map(|beat| beat.load(Ordering::Relaxed)).min();
        Duration::from_millis(now.saturating_sub(oldest.unwrap_or(now)))
    }

    /// For how long a worker has not been seen that hangs. None does once the daemon stops: they end then.
    pub(crate) fn hanging(&self) -> Option<Duration> {
        let age = self.slowest_heartbeat();
        let is_stopping = self.stopping.load(Ordering::Relaxed);
        (age > HEARTBEAT_AGE_MAX && !is_stopping).then_some(age)
    }

    /// Bytes that what is known of keys takes.
    pub(crate) fn insight_bytes(&self) -> u64 {
        let threads = lock(&self.threads);
        let keys = threads.iter().map(|thread| thread.hot_keys.bytes());
        let keys: usize = keys.sum();
        let cells = threads.len().saturating_mul(size_of::<Counters>());
        drop(threads);
        let namespaces = self.namespaces.as_ref().map(|known| known.bytes());
        let bytes = self
            .advisor
            .bytes()
            .saturating_add(cells)
            .saturating_add(keys)
            .saturating_add(namespaces.unwrap_or_default());
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Bytes of the buffers of all connections, and of the task of each.
    pub(crate) fn connection_bytes(&self) -> (u64, u64) {
        let mut buffers = 0u64;
        let mut task = 0;
        for thread in lock(&self.threads).iter() {
            let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
            buffers = buffers
                .saturating_add(of(&thread.held_bytes))
                .saturating_add(of(&thread.kept_bytes));
            task = of(&thread.task_len).max(task);
        }
        (buffers, task)
    }

    /// What all threads have counted since the last reset.
    pub(crate) fn totals(&self) -> Totals {
        self.sum().since(&lock(&self.reset))
    }

    /// `stats reset`: the counters begin at 0 again.
    pub(crate) fn reset_counters(&self) {
        let totals = self.sum();
        *lock(&self.reset) = totals;
        match &self.namespaces {
            Some(known) => self.counting_namespaces(|source| known.reset(source)),
            None => self.store.reset_counters(),
        }
        self.advisor.reset();
    }

    /// How long the answers of all threads took.
    pub(crate) fn latencies(&self) -> Histograms {
        Histograms::sum(lock(&self.threads).iter().map(|thread| &thread.latencies))
    }

    /// Gives `look` what counts the requests and items of namespaces.
    pub(crate) fn counting_namespaces<R>(&self, look: impl FnOnce(&NamespaceSource<'_>) -> R) -> R {
        look(&NamespaceSource {
            store: &self.store,
            requests: &|| self.sum_namespaces(),
        })
    }

    /// The keys that are used most, of all threads.
    pub(crate) fn hot_keys(&self) -> HotKeys {
        merge_hot_keys(lock(&self.threads).iter().map(|thread| &thread.hot_keys))
    }

    /// Lets what is known of keys grow old, and the advisor know what has been counted; the namespaces that are used
    /// most become those that are told.
    pub(crate) fn tick_insight(&self) {
        let now = self.clock.now().time;
        let threads = lock(&self.threads).clone();
        for thread in &threads {
            thread.hot_keys.age(now);
        }
        if let Some(namespaces) = &self.namespaces {
            namespaces.note(threads.iter().map(|thread| &thread.hot_keys));
            let may_begin = !self.restoring.load(Ordering::Relaxed);
            self.counting_namespaces(|source| namespaces.exchange(source, now, may_begin));
        }
        let gets = self.sum_namespaces().gets();
        let store = self.store.snapshot();
        let totals = AdvisorTotals {
            gets: gets.hits.wrapping_add(gets.misses),
            misses: gets.misses,
            evictions: store.evictions,
            items: store.curr_items,
            limit_bytes: store.limit_bytes,
        };
        self.advisor.tick(totals, now.as_millis());
    }

    fn sum_namespaces(&self) -> RequestSums {
        RequestSums::of(lock(&self.threads).iter().map(|thread| &thread.namespaces))
    }

    fn sum(&self) -> Totals {
        Totals::sum(lock(&self.threads).iter().map(AsRef::as_ref))
    }

    /// Counts a client in, unless there are already as many as there may be.
    pub(crate) fn connect(self: &Arc<Self>) -> Option<Connection> {
        let limit = self.config.settings.connections_max;
        let connect = |count: usize| (count < limit).then(|| count.saturating_add(1));
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, connect)
            .ok()
            .map(|_| Connection(Arc::clone(self)))
    }
}

/// A panic elsewhere must not end the statistics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client that is counted as connected, until this is dropped.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Shared>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            tracing::error!("a request panicked: its connection is closed, please report this");
        }
    }
}

/// Where cas uniques begin: at random, so that one from before a restart does not match by counting alike. Not
/// beyond 2^31, because there are clients that keep 32 bits of them (meta-memcache 4.3), as a memcached needs for
/// its first billions of writes.
fn cas_start() -> u64 {
    const BITS: u64 = (1 << 31) - 1;
    RandomState::new().build_hasher().finish() & BITS
}
