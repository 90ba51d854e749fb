//! Caches of a number of bytes: the real store, and the policies that it is held against.
//!
//! The store is charged for everything that it allocates. The simulated ones are charged key, value and
//! [`OVERHEAD`], about what the store spends on an item, so that policies are compared and not headers.

use std::sync::Arc;

use moka::sync::Cache;
use nuthatch_store::{Config, Expiry, Lookup, NewItem, NewValue, Sampler, Store, Time};

use crate::simulated::{Lru, S3Fifo, Sieve, Slru};
use crate::trace::Request;

const OVERHEAD: u64 = 34;

/// A cache that a trace is replayed through.
pub(crate) trait Policy {
    /// Whether the item is there; that counts as a use of it.
    fn get(&mut self, request: Request) -> bool;
    /// Stores an item that is not there.
    fn set(&mut self, request: Request);
    /// Removes an item. No trace asks a policy to that has nothing to do here.
    fn delete(&mut self, _: Request) {}
}

/// A policy's name and how to make one for so many bytes.
pub(crate) type Named = (&'static str, fn(u64) -> Box<dyn Policy>);

/// Every policy; the first one is the real store.
pub(crate) const POLICIES: [Named; 6] = [
    ("nuthatch", |capacity| {
        Box::new(Engine::with_sampler(capacity, None))
    }),
    ("LRU", |capacity| Box::new(Lru::new(capacity))),
    ("memcached's SLRU", |capacity| Box::new(Slru::new(capacity))),
    ("SIEVE", |capacity| Box::new(Sieve::new(capacity))),
    ("S3-FIFO", |capacity| Box::new(S3Fifo::new(capacity))),
    ("W-TinyLFU", |capacity| Box::new(TinyLfu::new(capacity))),
];

/// What a request's item is charged.
pub(crate) fn bytes(request: Request) -> u64 {
    (request.key_len + request.value_len) as u64 + OVERHEAD
}

/// The key of an item: its number in hexadecimal, filled up to its length.
pub(crate) fn key(request: Request) -> String {
    format!("{:01$x}", request.id, request.key_len)
}

/// The store as the daemon uses it.
pub(crate) struct Engine {
    pub(crate) store: Store,
    value: Vec<u8>,
    swept: u64,
}

const ITEM_LEN_MAX: u64 = 1 << 20;

/// How often, and how many items at most, the daemon sweeps.
const SWEEP_MILLIS: u64 = 100;
const SWEPT_ITEMS_MAX: usize = 10_000;

impl Engine {
    pub(crate) fn with_sampler(capacity: u64, sampler: Option<Arc<dyn Sampler>>) -> Self {
        let store = Store::new(&Config {
            memory_limit_bytes: capacity,
            item_len_max: ITEM_LEN_MAX,
            sampler,
            ..Config::default()
        });
        let value = vec![b'v'; 1 << 20];
        Self {
            store,
            value,
            swept: 0,
        }
    }

    /// The time of a request; what is due by then has been done.
    fn now(&mut self, request: Request) -> Time {
        let now = Time::from_millis(request.at);
        if request.at >= self.swept + SWEEP_MILLIS {
            self.swept = request.at;
            self.store.sweep(now, SWEPT_ITEMS_MAX);
        }
        now
    }
}

impl Policy for Engine {
    fn get(&mut self, request: Request) -> bool {
        let now = self.now(request);
        let lookup = self.store.get(key(request).as_bytes(), now, |_| ());
        lookup == Lookup::Hit(())
    }

    fn set(&mut self, request: Request) {
        let now = self.now(request);
        let value = self.value.get(..request.value_len).unwrap_or(&self.value);
        let dies = |lifetime| Expiry::At(Time::from_millis(request.at + lifetime));
        let item = NewItem {
            client_flags: 0,
            expiry: request.lifetime.map_or(Expiry::Never, dies),
            value: NewValue::Copied(value),
        };
        let _ = self.store.set(key(request).as_bytes(), item, now);
    }

    fn delete(&mut self, request: Request) {
        let now = self.now(request);
        self.store.delete(key(request).as_bytes(), now);
    }
}

/// The crate `moka`.
struct TinyLfu {
    cache: Cache<u64, u32, foldhash::fast::RandomState>,
    /// Requests since its housekeeping last ran.
    unkept: u32,
}

/// It notes uses in a queue, and would drop notes if nobody looked at it.
const UNKEPT_MAX: u32 = 32;

impl TinyLfu {
    fn new(capacity: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, bytes: &u32| *bytes)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { cache, unkept: 0 }
    }

    fn keep_house(&mut self) {
        self.unkept += 1;
        if self.unkept == UNKEPT_MAX {
            self.unkept = 0;
            self.cache.run_pending_tasks();
        }
    }
}

impl Policy for TinyLfu {
    fn get(&mut self, request: Request) -> bool {
        self.keep_house();
        self.cache.get(&request.id).is_some()
    }

    fn set(&mut self, request: Request) {
        let bytes = u32::try_from(bytes(request)).unwrap_or(u32::MAX);
        self.cache.insert(request.id, bytes);
    }
}
