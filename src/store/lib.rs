//! The item store of nuthatch: keys, values, expiry and eviction within a fixed amount of memory.
//!
//! It does no I/O, reads no clock (the time is an argument) and knows no protocol. All operations
//! take `&self` and are atomic. Gets of one shard run side by side; its writers take turns.
//!
//! Memory: everything stored, its order and its index are charged, by an upper bound of what they
//! take, against the limit. Each shard has an equal share of it. Above it the oldest items go: those
//! whose value was written longest ago. Only an item that is being stored, and is therefore in
//! memory already, may be on top of the limit while its predecessors go.
//!
//! ```
//! use nuthatch_store::{Config, Expiry, Lookup, NewItem, NewValue, Store, StoreOutcome, Time};
//!
//! let store = Store::new(&Config {
//!     memory_limit_bytes: 64 << 20,
//!     item_len_max: 1 << 20,
//!     shard_count: None,
//!     cas_start: 0,
//! });
//! let item = NewItem {
//!     client_flags: 0,
//!     expiry: Expiry::At(Time::from_millis(60_000)),
//!     value: NewValue::Copied(b"value"),
//! };
//! assert!(matches!(store.set(b"key", item, Time::default()), StoreOutcome::Stored { .. }));
//!
//! let value = |now| store.get(b"key", now, |hit| hit.value.as_slice().to_vec());
//! assert_eq!(value(Time::from_millis(59_999)), Lookup::Hit(b"value".to_vec()));
//! assert!(matches!(value(Time::from_millis(60_000)), Lookup::Miss(_)));
//! ```

mod budget;
mod config;
mod expire;
mod index;
mod item;
mod number;
mod outcome;
mod shard;
mod stats;
mod time;
mod turn;
mod write;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use config::Config;
pub use item::{Hit, KEY_LEN_MAX, LARGE_VALUE_LEN_MIN, NewItem, NewValue, ValueRef};
pub use outcome::{Arithmetic, Lookup, Miss, StoreOutcome};
pub use stats::Snapshot;
pub use time::{Expiry, Time};

use expire::{Flush, View};
use index::Index;
use shard::Writer;
use stats::count;
use turn::Turn;

/// Items that a sweep looks at before it lets other writers of the shard in.
const SWEEP_ITEMS_PER_TURN: usize = 64;

/// A fixed amount of memory full of items.
///
/// Keys are any bytes, up to [`KEY_LEN_MAX`]. `now` must not be earlier than in calls that the
/// caller knows to have ended before.
#[derive(Debug)]
pub struct Store {
    index: Index,
    flush: Flush,
    writers: Box<[Mutex<Writer>]>,
    sweep_shard: AtomicUsize,
    memory_limit_bytes: AtomicU64,
    item_len_max: u64,
}

impl Store {
    /// An empty store.
    pub fn new(config: &Config) -> Self {
        let shard_count = config.shards();
        let index = Index::new(shard_count);
        let cas_step = count(shard_count);
        // The same start for all shards, and each its own numbers from there on.
        let cas_start = (config.cas_start.min(1 << 63) / cas_step + 1) * cas_step;
        let writers = (0..shard_count)
            .map(|shard| Writer::new(&index, shard, cas_start + count(shard), cas_step))
            .map(Mutex::new)
            .collect();
        let store = Self {
            index,
            flush: Flush::new(shard_count),
            writers,
            sweep_shard: AtomicUsize::new(0),
            memory_limit_bytes: AtomicU64::new(0),
            item_len_max: config.item_len_max,
        };
        store.set_memory_limit(config.memory_limit_bytes);
        store
    }

    /// Shows the live item with the key to `visit` and marks it as fetched.
    ///
    /// `visit` runs under the shard's read lock: it should be short and must not call the store.
    pub fn get<R>(&self, key: &[u8], now: Time, visit: impl FnOnce(Hit<'_>) -> R) -> Lookup<R> {
        self.view(now).look(self.index.place(key), key, |item| {
            item.mark_fetched();
            visit(item.hit())
        })
    }

    /// The same, after giving the item a new expiry. The cas unique stays.
    pub fn get_and_touch<R>(
        &self,
        key: &[u8],
        expiry: Expiry,
        now: Time,
        visit: impl FnOnce(Hit<'_>) -> R,
    ) -> Lookup<R> {
        // A writer's turn, so that no append in between stores the item with the old expiry.
        self.turn(key, now).look(|item| {
            item.touch(expiry);
            item.mark_fetched();
            visit(item.hit())
        })
    }

    /// Gives the live item a new expiry; returns whether there was one. The cas unique stays.
    pub fn touch(&self, key: &[u8], expiry: Expiry, now: Time) -> bool {
        matches!(
            self.get_and_touch(key, expiry, now, |_| ()),
            Lookup::Hit(())
        )
    }

    /// Stores the item whether or not the key is taken.
    ///
    /// If it is `TooLarge` or there is `NoMemory` for it, the item that has the key is removed: its
    /// value is out of date. The other operations leave it.
    pub fn set(&self, key: &[u8], item: NewItem<'_>, now: Time) -> StoreOutcome {
        let outcome = self.store_unless(key, item, now, |_| None);
        if matches!(outcome, StoreOutcome::TooLarge | StoreOutcome::NoMemory) {
            self.delete(key, now);
        }
        outcome
    }

    /// Stores the item unless a live one has the key: `NotStored`.
    pub fn add(&self, key: &[u8], item: NewItem<'_>, now: Time) -> StoreOutcome {
        let refuse = |live: &Turn<'_>| live.live_cas().map(|_| StoreOutcome::NotStored);
        self.store_unless(key, item, now, refuse)
    }

    /// Stores the item if a live one has the key, else `NotStored`.
    pub fn replace(&self, key: &[u8], item: NewItem<'_>, now: Time) -> StoreOutcome {
        self.store_unless(key, item, now, |turn| match turn.live_cas() {
            Some(_) => None,
            None => Some(StoreOutcome::NotStored),
        })
    }

    /// Stores the item if the live one with the key has this cas unique; else `Exists`, or
    /// `NotFound` if there is none.
    pub fn cas(&self, key: &[u8], item: NewItem<'_>, unique: u64, now: Time) -> StoreOutcome {
        self.store_unless(key, item, now, |turn| match turn.live_cas() {
            Some(cas) if cas == unique => None,
            Some(_) => Some(StoreOutcome::Exists),
            None => Some(StoreOutcome::NotFound),
        })
    }

    /// Adds bytes behind the value of a live item, which keeps its client flags and expiry and gets
    /// a new cas unique. `NotStored` if there is none.
    pub fn append(&self, key: &[u8], value: &[u8], now: Time) -> StoreOutcome {
        self.extend(key, value.len(), now, |old| [old, value].concat())
    }

    /// Adds bytes before the value of a live item, otherwise like [`Self::append`].
    pub fn prepend(&self, key: &[u8], value: &[u8], now: Time) -> StoreOutcome {
        self.extend(key, value.len(), now, |old| [value, old].concat())
    }

    /// Adds to the number that is the value of a live item, wrapping at 2^64. Client flags and
    /// expiry stay, the cas unique is new. The value never becomes shorter: blanks fill it up.
    pub fn incr(&self, key: &[u8], delta: u64, now: Time) -> Arithmetic {
        self.arithmetic(key, now, |number| number.wrapping_add(delta))
    }

    /// Subtracts, stopping at 0, otherwise like [`Self::incr`].
    pub fn decr(&self, key: &[u8], delta: u64, now: Time) -> Arithmetic {
        self.arithmetic(key, now, |number| number.saturating_sub(delta))
    }

    /// Removes the item with the key; returns whether it was alive.
    pub fn delete(&self, key: &[u8], now: Time) -> bool {
        self.turn(key, now).remove()
    }

    /// Kills everything stored before `at`, when `at` comes; if it has come, exactly what was stored
    /// before this call. There is one pending flush: a new one replaces it, but what it has killed
    /// by `now` stays dead. It costs the same however much is stored: sweeps take the memory back.
    pub fn flush(&self, at: Time, now: Time) {
        if at > now {
            self.flush.schedule(Some(at), now);
            return;
        }
        self.flush.schedule(None, now);
        for shard in 0..self.writers.len() {
            let writer = self.writer(shard);
            self.flush.mark(shard, writer.last_cas());
        }
    }

    /// Looks at up to `item_budget` items, from where the last sweep ended, at most to the end of each
    /// shard, and removes the dead ones. Returns how many it removed.
    pub fn sweep(&self, now: Time, item_budget: usize) -> usize {
        let (mut looked_at, mut removed, mut rounds_done) = (0, 0, 0);
        while looked_at < item_budget && rounds_done < self.writers.len() {
            let shard = self.sweep_shard.load(Ordering::Relaxed) % self.writers.len();
            let items = (item_budget - looked_at).min(SWEEP_ITEMS_PER_TURN);
            let swept = self.writer(shard).sweep(self.view(now), items);
            looked_at += swept.looked_at;
            removed += swept.removed;
            if swept.is_round_done {
                rounds_done += 1;
                self.sweep_shard.store(shard + 1, Ordering::Relaxed);
            }
        }
        removed
    }

    /// Changes the memory limit. A lower one evicts at once; the number of shards stays.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.memory_limit_bytes.store(bytes, Ordering::Relaxed);
        let budget = bytes / count(self.writers.len());
        // Nothing has expired at the start of the process: what must go here counts as evicted.
        let view = self.view(Time::default());
        for shard in 0..self.writers.len() {
            self.writer(shard).set_budget(view, budget);
        }
    }

    /// Whether an item is within [`Config::item_len_max`] as memcached counts it: 48 + 8 (cas unique) +
    /// key + 1 + 4 (for client flags other than 0) + value + 2.
    pub fn fits(&self, key_len: usize, client_flags: u32, value_len: usize) -> bool {
        let flags_len = if client_flags == 0 { 0 } else { 4 };
        let item_len = count(key_len)
            .saturating_add(count(value_len))
            .saturating_add(48 + 8 + 1 + flags_len + 2);
        key_len <= KEY_LEN_MAX && item_len <= self.item_len_max
    }

    /// The gauges and counters.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            limit_bytes: self.memory_limit_bytes.load(Ordering::Relaxed),
            shard_count: count(self.writers.len()),
            ..Snapshot::default()
        };
        for shard in 0..self.writers.len() {
            self.writer(shard).add_to(&self.index, &mut snapshot);
        }
        snapshot
    }

    /// Sets the counters to 0; the gauges (`curr_items`, `bytes`, `table_*`, limits) stay.
    pub fn reset_counters(&self) {
        for shard in 0..self.writers.len() {
            self.writer(shard).reset_counters();
        }
    }

    fn view(&self, now: Time) -> View<'_> {
        View {
            index: &self.index,
            flush: &self.flush,
            now,
        }
    }

    fn turn<'a>(&'a self, key: &'a [u8], now: Time) -> Turn<'a> {
        let place = self.index.place(key);
        Turn {
            view: self.view(now),
            place,
            key,
            writer: self.writer(place.shard),
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "index and writers have as many shards"
    )]
    fn writer(&self, shard: usize) -> MutexGuard<'_, Writer> {
        // A panic in a visitor must not take the shard away: writers hold no half-done change then.
        self.writers[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
