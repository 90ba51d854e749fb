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
}

const ITEM_LEN_MAX: u64 = 1 << 20;

impl Engine {
    pub(crate) fn with_sampler(capacity: u64, sampler: Option<Arc<dyn Sampler>>) -> Self {
        let store = Store::new(&Config {
            memory_limit_bytes: capacity,
            item_len_max: ITEM_LEN_MAX,
            sampler,
            ..Config::default()
        });
        let value = vec![b'v'; 1 << 20];
        Self { store, value }
    }
}

impl Policy for Engine {
    fn get(&mut self, request: Request) -> bool {
        let lookup = self
            .store
            .get(key(request).as_bytes(), Time::default(), |_| ());
        lookup == Lookup::Hit(())
    }

    fn set(&mut self, request: Request) {
        let value = self.value.get(..request.value_len).unwrap_or(&self.value);
        let item = NewItem {
            client_flags: 0,
            expiry: Expiry::Never,
            value: NewValue::Copied(value),
        };
        let _ = self
            .store
            .set(key(request).as_bytes(), item, Time::default());
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
