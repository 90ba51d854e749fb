//! The item store of nuthatch: keys, values, expiry and eviction within a fixed amount of memory.
//!
//! It does no I/O, reads no clock (the time is an argument) and knows no protocol. All operations
//! take `&self` and are atomic. Gets of one shard run side by side; its writers take turns.
//!
//! Memory: everything stored, its order and its index are charged, by an upper bound of what they
//! take, against the limit, and so are values that are still arriving or still held by readers. Each
//! shard has an equal share of what these leave.
//!
//! ```
//! use nuthatch_store::{Config, Expiry, Lookup, NewItem, NewValue, Store, StoreOutcome, Time};
//!
//! let store = Store::new(&Config::default());
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

mod age;
mod ahead;
mod budget;
mod check;
mod compress;
mod conditional;
mod config;
mod departure;
mod evict;
mod evicted;
mod expire;
mod fetch;
mod ghost;
mod index;
#[cfg(all(test, loom))]
mod interleavings;
mod item;
mod log;
mod namespace;
mod number;
mod outcome;
mod outside;
mod prefetch;
mod read;
mod record;
mod renumber;
mod restore;
mod sample;
mod save;
mod segment;
mod shard;
mod shrink;
mod snapshot;
mod space;
mod spare;
mod stats;
mod sweep;
mod sync;
mod time;
mod turn;
mod walk;
mod write;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use age::{AGES_MAX, Ages};
pub use ahead::{Ahead, PREFETCH_MAX};
pub use conditional::{CountChange, Counted, Number, Removal, Remove, Write, WriteMode};
pub use config::Config;
pub use departure::Departure;
pub use evicted::Evicted;
pub use fetch::{Create, Fetch, Fetched};
pub use item::{
    Hit, KEY_LEN_MAX, LARGE_VALUE_LEN_MIN, Marks, NamespaceId, NewItem, NewValue, ValueRef,
};
pub use namespace::{NamespaceStats, Namespaces};
pub use outcome::{Arithmetic, Lookup, Miss, StoreOutcome};
pub use outside::Arriving;
pub use restore::{Restore, Restored};
pub use sample::{
    Access, NARROWING_BITS, NARROWING_SHIFT, SAMPLE_SHIFT, SampledItem, Sampler, Use,
};
pub use save::Save;
pub use snapshot::{BlockHeader, NoBlock};
pub use stats::Snapshot;
pub use time::{Expiry, Time};
pub use walk::{Listed, Walk};

use config::CAS_START_MAX;
use expire::PendingFlush;
use index::{Index, Place};
use outside::Outside;
use read::{Glance, Viewer};
use shard::Shard;
use stats::{Counters, count};
use sync::{AtomicU64, AtomicUsize};
use turn::Turn;

/// A fixed amount of memory full of items.
///
/// Keys are any bytes, up to [`KEY_LEN_MAX`]. `now` must not be earlier than in calls that the
/// caller knows to have ended before.
#[derive(Debug)]
pub struct Store {
    index: Index,
    shards: Box<[Shard]>,
    pending_flush: PendingFlush,
    outside: Arc<Outside>,
    sweep_shard: AtomicUsize,
    decompress_failures: AtomicU64,
    item_len_max: u64,
    compress_len_min: Option<usize>,
    evict: bool,
    namespaces: Option<Arc<dyn Namespaces>>,
    sampler: Option<Arc<dyn Sampler>>,
}

impl Store {
    /// An empty store.
    pub fn new(config: &Config) -> Self {
        let shard_count = config.shards();
        let cas_step = count(shard_count);
        // The same start for all shards, and each its own numbers from there on.
        let cas_start = (config.cas_start.min(CAS_START_MAX) / cas_step + 1) * cas_step;
        let budget = config.memory_limit_bytes / cas_step;
        let namespaces = namespace::count(config.namespaces.as_deref());
        let shards = (0..shard_count)
            .map(|number| Shard::new(budget, (cas_start + count(number), cas_step), namespaces))
            .collect();
        let store = Self {
            index: Index::new(shard_count),
            shards,
            pending_flush: PendingFlush::new(config.sampler.clone()),
            outside: Arc::new(Outside::new(config.memory_limit_bytes)),
            sweep_shard: AtomicUsize::new(0),
            decompress_failures: AtomicU64::new(0),
            item_len_max: config.item_len_max,
            compress_len_min: config.compress_len_min,
            evict: config.evict,
            namespaces: config.namespaces.clone(),
            sampler: config.sampler.clone(),
        };
        for number in 0..shard_count {
            if let Some(mut turn) = store.turn(number, Time::default()) {
                turn.resize_table(1);
            }
        }
        store
    }

    /// Shows the live item with the key to `visit` and marks it as used.
    ///
    /// `visit` runs under the shard's read locks, unless the value is compressed: it should be short
    /// and must not call the store.
    pub fn get<R>(&self, key: &[u8], now: Time, visit: impl FnOnce(Hit<'_>) -> R) -> Lookup<R> {
        self.get_as(key, false, now, visit)
    }

    /// The same, after giving the item a new expiry. The cas unique stays.
    pub fn get_and_touch<R>(
        &self,
        key: &[u8],
        expiry: Expiry,
        now: Time,
        visit: impl FnOnce(Hit<'_>) -> R,
    ) -> Lookup<R> {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return Lookup::Miss(Miss::Absent);
        };
        if let Some(miss) = turn.touch(place, key, expiry) {
            drop(turn);
            if self.is_sampled(place) {
                self.sample(place, key, Use::Miss, now);
            }
            return Lookup::Miss(miss);
        }
        // Shown even if it is dead by now: this is what it was touched for.
        let mut viewer = Viewer::new(visit);
        let glance = Glance {
            place,
            key,
            unnoticed: false,
            now,
        };
        let seen = self.look(glance, |_, _| None, &mut viewer);
        drop(turn);
        if self.is_sampled(place) {
            self.sample(place, key, Use::Touch, now);
            self.sample(place, key, Use::Hit, now);
        }
        self.show(seen, viewer, key, now)
    }

    /// Gives the live item a new expiry; returns whether there was one. The cas unique stays.
    pub fn touch(&self, key: &[u8], expiry: Expiry, now: Time) -> bool {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return false;
        };
        let is_touched = turn.touch(place, key, expiry).is_none();
        if is_touched {
            turn.mark_used(place, key);
        }
        drop(turn);
        if self.is_sampled(place) {
            self.sample(place, key, Use::Touch, now);
        }
        is_touched
    }

    /// Stores the item whether or not the key is taken.
    ///
    /// If it is `TooLarge` or there is `NoMemory` for it, the item that has the key is removed: its
    /// value is out of date. The other operations leave it.
    pub fn set(&self, key: &[u8], item: NewItem<'_>, now: Time) -> StoreOutcome {
        let outcome = self.store_if(key, item, now, |_, _, head| Ok(head));
        if matches!(outcome, StoreOutcome::TooLarge | StoreOutcome::NoMemory) {
            self.delete(key, now);
        }
        outcome
    }

    /// Stores the item unless a live one has the key: `NotStored`.
    pub fn add(&self, key: &[u8], item: NewItem<'_>, now: Time) -> StoreOutcome {
        self.write(key, item, &Write::new(WriteMode::Add), now).0
    }

    /// Stores the item if a live one has the key, else `NotStored`.
    pub fn replace(&self, key: &[u8], item: NewItem<'_>, now: Time) -> StoreOutcome {
        self.write(key, item, &Write::new(WriteMode::Replace), now)
            .0
    }

    /// Stores the item if the live one with the key has this cas unique; else `Exists`, or
    /// `NotFound` if there is none.
    pub fn cas(&self, key: &[u8], item: NewItem<'_>, unique: u64, now: Time) -> StoreOutcome {
        let write = Write {
            compare: Some(unique),
            ..Write::default()
        };
        self.write(key, item, &write, now).0
    }

    /// Adds bytes behind the value of a live item, which keeps its client flags and expiry and gets
    /// a new cas unique. `NotStored` if there is none.
    pub fn append(&self, key: &[u8], value: &[u8], now: Time) -> StoreOutcome {
        let write = Write::new(WriteMode::Append);
        self.write(key, NewItem::copied(value), &write, now).0
    }

    /// Adds bytes before the value of a live item, otherwise like [`Self::append`].
    pub fn prepend(&self, key: &[u8], value: &[u8], now: Time) -> StoreOutcome {
        let write = Write::new(WriteMode::Prepend);
        self.write(key, NewItem::copied(value), &write, now).0
    }

    /// Adds to the number that is the value of a live item, wrapping at 2^64. Client flags and
    /// expiry stay, the cas unique is new. The value never becomes shorter: blanks fill it up.
    pub fn incr(&self, key: &[u8], delta: u64, now: Time) -> Arithmetic {
        once(|again| self.incr_while(key, delta, now, again))
    }

    /// Subtracts, stopping at 0, otherwise like [`Self::incr`].
    pub fn decr(&self, key: &[u8], delta: u64, now: Time) -> Arithmetic {
        once(|again| self.decr_while(key, delta, now, again))
    }

    /// Like calls of [`Self::incr`], as long as `again` says so of what became of the last one. Nobody else writes
    /// between those that change no length. `again` may be called while the shard is locked: it must not use the store,
    /// and be quick.
    pub fn incr_while(
        &self,
        key: &[u8],
        delta: u64,
        now: Time,
        again: impl FnMut(Arithmetic) -> bool,
    ) {
        self.arithmetic(key, now, |number| number.wrapping_add(delta), again);
    }

    /// The same with [`Self::decr`].
    pub fn decr_while(
        &self,
        key: &[u8],
        delta: u64,
        now: Time,
        again: impl FnMut(Arithmetic) -> bool,
    ) {
        self.arithmetic(key, now, |number| number.saturating_sub(delta), again);
    }

    /// Removes the item with the key; returns whether it was alive.
    pub fn delete(&self, key: &[u8], now: Time) -> bool {
        let turn = self.turn_for(key, now);
        turn.is_some_and(|(place, mut turn)| {
            let was_alive = turn.remove(place, key);
            drop(turn);
            if self.is_sampled(place) {
                self.sample(place, key, Use::Delete, now);
            }
            was_alive
        })
    }

    /// Kills everything stored before `at`, when `at` comes; if it has come, exactly what was stored
    /// before this call. There is one pending flush: a new one replaces it, but what it has killed
    /// by `now` stays dead. It costs the same however much is stored: sweeps take the memory back.
    pub fn flush(&self, at: Time, now: Time) {
        self.pending_flush.fire(&self.shards, now);
        self.pending_flush
            .schedule(&self.shards, (at > now).then_some(at));
    }

    /// Whether an item is within [`Config::item_len_max`]; see [`item_len`].
    pub fn fits(&self, key_len: usize, client_flags: u32, value_len: usize) -> bool {
        key_len <= KEY_LEN_MAX && item_len(key_len, client_flags, value_len) <= self.item_len_max
    }

    /// The gauges and counters.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            limit_bytes: self.outside.limit(),
            decompress_failures: self.decompress_failures.load(Ordering::Relaxed),
            arriving_bytes: self.outside.arriving.load(Ordering::Relaxed),
            pinned_bytes: self.outside.pinned.load(Ordering::Relaxed),
            spare_bytes: self.outside.spare.bytes(),
            shard_count: count(self.shards.len()),
            ..Snapshot::default()
        };
        for (number, shard) in self.shards.iter().enumerate() {
            shard.writer().add_to(number, &self.index, &mut snapshot);
            snapshot.turn_waits += shard.waits.load(Ordering::Relaxed);
        }
        snapshot
    }

    /// Sets the counters to 0; the gauges (`curr_items`, `bytes`, `table_*`, limits) stay.
    pub fn reset_counters(&self) {
        for shard in &self.shards {
            let mut writer = shard.writer();
            writer.counters = Counters::default();
            writer.books.reset_counters();
        }
        self.decompress_failures.store(0, Ordering::Relaxed);
    }

    fn turn(&self, number: usize, now: Time) -> Option<Turn<'_>> {
        let shard = self.shards.get(number)?;
        let mut writer = shard.writer();
        writer.approach(self.share());
        Some(Turn {
            index: &self.index,
            shard,
            outside: &self.outside,
            number,
            now,
            evict: self.evict,
            namespaces: self.namespaces.as_deref(),
            writer,
        })
    }

    fn turn_for(&self, key: &[u8], now: Time) -> Option<(Place, Turn<'_>)> {
        self.pending_flush.fire(&self.shards, now);
        let place = self.index.place(key);
        self.index.prefetch_shard(place);
        Some((place, self.turn(place.shard, now)?))
    }
}

/// What became of the first of what would be done as often as is wished.
fn once(act: impl FnOnce(&mut dyn FnMut(Arithmetic) -> bool)) -> Arithmetic {
    let mut outcome = Arithmetic::NotFound;
    act(&mut |told| {
        outcome = told;
        false
    });
    outcome
}

/// How long an item is as memcached counts it, in bytes: 48 + 8 (cas unique) + key + 1 + 4 (for client flags other
/// than 0) + value + 2.
pub fn item_len(key_len: usize, client_flags: u32, value_len: usize) -> u64 {
    let flags_len = if client_flags == 0 { 0 } else { 4 };
    count(key_len)
        .saturating_add(count(value_len))
        .saturating_add(48 + 8 + 1 + flags_len + 2)
}
