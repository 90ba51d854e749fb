//! The index: from a key to where its item is. The only file that knows of `DashMap`; no guard leaves
//! it.
//!
//! An entry has eight bytes: where the item is, enough of the key's hash to rebuild a table without
//! looking at a single item, and what eviction needs to know. A get changes the latter under the read
//! lock of the shard.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::{DashMap, SharedValue};
use foldhash::quality::RandomState;

use crate::log::Location;
use crate::prefetch::{CACHE_LINE_LEN, prefetch};

/// `DashMap` refuses to be made with one shard.
const MAP_SHARD_COUNT_MIN: usize = 2;

/// The bits of a hash that an entry keeps: the low 20, for the bucket, and the top 7, which mark it.
const HASH_LOW: u64 = (1 << 20) - 1;
const HASH_TOP_SHIFT: u32 = 57;

const LOCATION: u64 = (1 << 32) - 1;
const LOW_SHIFT: u32 = 32;
const TOP_SHIFT: u32 = 52;
const HASH: u64 = ((1 << 27) - 1) << LOW_SHIFT;
const FETCHED: u64 = 1 << 59;
const MAIN: u64 = 1 << 60;
const FREQUENCY_SHIFT: u32 = 61;
const FREQUENCY_MAX: u64 = 3;

/// A key's hash, and the shard that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shard: usize,
    pub(crate) hash: u64,
}

impl Place {
    /// What of the hash the tables use.
    const fn table_hash(self) -> u64 {
        table_hash(self.word_hash())
    }

    const fn word_hash(self) -> u64 {
        (self.hash & HASH_LOW) << LOW_SHIFT | (self.hash >> HASH_TOP_SHIFT) << TOP_SHIFT
    }
}

const fn table_hash(word: u64) -> u64 {
    (word >> LOW_SHIFT) & HASH_LOW | ((word & HASH) >> TOP_SHIFT) << HASH_TOP_SHIFT
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) const fn new(place: Place, location: Location) -> Self {
        Self(place.word_hash() | location.0 as u64)
    }

    pub(crate) const fn location(self) -> Location {
        Location((self.0 & LOCATION) as u32)
    }

    pub(crate) const fn at(self, location: Location) -> Self {
        Self(self.0 & !LOCATION | location.0 as u64)
    }

    /// Whether somebody got the item since it was stored.
    pub(crate) const fn is_fetched(self) -> bool {
        self.0 & FETCHED != 0
    }

    pub(crate) const fn fetched(self, fetched: bool) -> Self {
        Self(if fetched {
            self.0 | FETCHED
        } else {
            self.0 & !FETCHED
        })
    }

    pub(crate) const fn is_main(self) -> bool {
        self.0 & MAIN != 0
    }

    pub(crate) const fn main(self, main: bool) -> Self {
        Self(if main { self.0 | MAIN } else { self.0 & !MAIN })
    }

    /// How often somebody got the item since eviction last looked at it, 3 at most.
    pub(crate) const fn frequency(self) -> u64 {
        self.0 >> FREQUENCY_SHIFT & FREQUENCY_MAX
    }

    pub(crate) const fn with_frequency(self, frequency: u64) -> Self {
        let others = self.0 & !(FREQUENCY_MAX << FREQUENCY_SHIFT);
        Self(others | frequency << FREQUENCY_SHIFT)
    }

    const fn used(self) -> Self {
        let frequency = self.frequency();
        let next = if frequency < FREQUENCY_MAX {
            frequency + 1
        } else {
            frequency
        };
        self.fetched(true).with_frequency(next)
    }
}

/// An entry: a [`Word`] that readers may change.
#[derive(Debug)]
struct Entry(AtomicU64);

impl Entry {
    fn word(&self) -> Word {
        Word(self.0.load(Ordering::Relaxed))
    }

    /// Only while nobody else can write, or where a lost update does no harm.
    fn set(&self, word: Word) {
        self.0.store(word.0, Ordering::Relaxed);
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(table_hash(self.word().0));
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}

impl Eq for Entry {}

/// The size of a shard's table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Table {
    /// Items in it.
    pub(crate) len: usize,
    /// Items it can take until it must be rebuilt; removed items may take up some of that room.
    pub(crate) room: usize,
    pub(crate) buckets: usize,
    pub(crate) bytes: u64,
}

impl Table {
    /// Items that a new table of this size can take.
    pub(crate) fn capacity(self) -> usize {
        // As in hashbrown: one bucket in eight stays empty, and at least one.
        self.buckets - (self.buckets / 8).max(1).min(self.buckets)
    }
}

/// The entries of all shards.
pub(crate) struct Index {
    map: DashMap<Entry, (), RandomState>,
    shard_mask: usize,
}

type Slot = (Entry, SharedValue<()>);

fn hash_of(slot: &Slot) -> u64 {
    table_hash(slot.0.word().0)
}

fn is_at(slot: &Slot, location: Location) -> bool {
    slot.0.word().location() == location
}

/// Begins to fetch the marks and the slots of the bucket that a lookup begins with: side by side, where the
/// lookup itself would wait for one and then for the other.
#[inline]
fn prefetch_bucket(marks: NonNull<Slot>, bucket_count: usize, place: Place) {
    let hash = usize::try_from(place.table_hash()).unwrap_or_default();
    let bucket = hash & (bucket_count - 1);
    // hashbrown keeps the slots before the bytes that mark them, the first one last.
    let marks = marks.as_ptr().cast_const();
    prefetch(marks.cast::<u8>().wrapping_add(bucket));
    let slot = marks.wrapping_sub(bucket + 1);
    prefetch(slot);
    prefetch(slot.wrapping_byte_sub(CACHE_LINE_LEN));
}

impl Index {
    /// An empty index with that many shards, a power of two.
    pub(crate) fn new(shard_count: usize) -> Self {
        debug_assert!(shard_count.is_power_of_two());
        let map_shard_count = shard_count.max(MAP_SHARD_COUNT_MIN);
        // Seeded per process: nobody outside can choose keys that collide.
        let random = RandomState::default();
        Self {
            map: DashMap::with_capacity_and_hasher_and_shard_amount(0, random, map_shard_count),
            shard_mask: shard_count - 1,
        }
    }

    pub(crate) fn place(&self, key: &[u8]) -> Place {
        let hash = self.map.hasher().hash_one(key);
        // Bits that no entry keeps.
        let bits = usize::try_from((hash >> 40) & 0xffff).unwrap_or_default();
        Place {
            shard: bits & self.shard_mask,
            hash,
        }
    }

    /// The entry of the key, and what `pick` makes of its location. `pick` refuses locations of other keys.
    #[inline]
    pub(crate) fn find<T>(
        &self,
        place: Place,
        pick: impl FnMut(Location) -> Option<T>,
    ) -> Option<(Word, T)> {
        self.read(place, pick, |word, picked| ((word, picked), word))
    }

    /// The entry of an item that is at `location`.
    pub(crate) fn find_at(&self, place: Place, location: Location) -> Option<Word> {
        let is_it = |found| (found == location).then_some(());
        self.find(place, is_it).map(|(word, ())| word)
    }

    /// Like [`Self::find`], for a get: calls `visit` under the read lock of the shard, and marks the entry as used
    /// if it says so.
    #[inline]
    pub(crate) fn use_item<T, R>(
        &self,
        place: Place,
        pick: impl FnMut(Location) -> Option<T>,
        visit: impl FnOnce(Word, T) -> (R, bool),
    ) -> Option<R> {
        self.read(place, pick, |word, picked| {
            let (result, used) = visit(word, picked);
            (result, if used { word.used() } else { word })
        })
    }

    #[inline]
    fn read<T, R>(
        &self,
        place: Place,
        mut pick: impl FnMut(Location) -> Option<T>,
        visit: impl FnOnce(Word, T) -> (R, Word),
    ) -> Option<R> {
        let table = self.map.shards().get(place.shard)?.read();
        prefetch_bucket(table.data_end(), table.buckets(), place);
        let mut picked = None;
        let (entry, _) = table.get(place.table_hash(), |slot| {
            let word = slot.0.word();
            if word.0 & HASH == place.word_hash() {
                picked = pick(word.location());
            }
            picked.is_some()
        })?;
        let word = entry.word();
        let (result, next) = visit(word, picked?);
        // A popular item must not dirty its cache line on every get.
        if next != word {
            entry.set(next);
        }
        Some(result)
    }

    /// Begins to fetch what tells where the shard's table is.
    #[inline]
    pub(crate) fn prefetch_shard(&self, place: Place) {
        if let Some(shard) = self.map.shards().get(place.shard) {
            prefetch(shard);
        }
    }

    /// Begins to fetch what a lookup reads of the table.
    #[inline]
    pub(crate) fn prefetch(&self, place: Place) {
        if let Some(table) = self.map.shards().get(place.shard) {
            let table = table.read();
            prefetch_bucket(table.data_end(), table.buckets(), place);
        }
    }

    /// Where the item of the key is, unless that is another one with the same bits of hash.
    #[inline]
    pub(crate) fn guess(&self, place: Place) -> Option<Location> {
        self.find(place, Some).map(|(word, _)| word.location())
    }

    /// Adds an entry. A table without room grows by itself here; [`Self::rebuild`] it before that.
    pub(crate) fn insert(&self, place: Place, word: Word) {
        if let Some(table) = self.map.shards().get(place.shard) {
            let slot = (Entry(AtomicU64::new(word.0)), SharedValue::new(()));
            table.write().insert(place.table_hash(), slot, hash_of);
        }
    }

    /// Changes the entry of an item that is at `location`.
    pub(crate) fn update(
        &self,
        place: Place,
        location: Location,
        change: impl FnOnce(Word) -> Word,
    ) {
        if let Some(table) = self.map.shards().get(place.shard) {
            // For writing: a reader that marks the item as used must not bring the old word back.
            let table = table.write();
            if let Some((entry, _)) = table.get(place.table_hash(), |slot| is_at(slot, location)) {
                entry.set(change(entry.word()));
            }
        }
    }

    /// Removes the entry of an item that is at `location`.
    pub(crate) fn remove(&self, place: Place, location: Location) -> Option<Word> {
        let mut table = self.map.shards().get(place.shard)?.write();
        let (entry, _) = table.remove_entry(place.table_hash(), |slot| is_at(slot, location))?;
        Some(entry.word())
    }

    /// The size of the shard's table.
    pub(crate) fn table(&self, shard: usize) -> Table {
        let Some(shard) = self.map.shards().get(shard) else {
            return Table::default();
        };
        let table = shard.read();
        let (_, layout) = table.allocation_info();
        Table {
            len: table.len(),
            room: table.capacity() - table.len(),
            buckets: table.buckets(),
            bytes: layout.size() as u64,
        }
    }

    /// Moves the entries of a shard to a new table with room for at least `capacity`.
    pub(crate) fn rebuild(&self, shard: usize, capacity: usize) {
        let Some(shard) = self.map.shards().get(shard) else {
            return;
        };
        let mut table = shard.write();
        let old = mem::take(&mut *table);
        table.reserve(capacity.max(old.len()), hash_of);
        for slot in old {
            table.insert(hash_of(&slot), slot, hash_of);
        }
    }
}

impl fmt::Debug for Index {
    // Never the hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_parts_apart() {
        let place = Place {
            shard: 0,
            hash: u64::MAX,
        };
        let word = Word::new(place, Location(0x1234_5678))
            .main(true)
            .with_frequency(2);
        assert_eq!(word.location(), Location(0x1234_5678));
        assert_eq!(table_hash(word.0), place.table_hash());
        assert!(word.is_main() && !word.is_fetched());
        let used = word.used().used();
        assert_eq!((used.frequency(), used.is_fetched()), (3, true));
        assert_eq!(used.at(Location(1)).location(), Location(1));
        assert_eq!(table_hash(used.at(Location(1)).0), place.table_hash());
        assert_eq!(used.fetched(false).with_frequency(2), word);
    }

    #[test]
    fn entries_survive_a_rebuild() {
        let index = Index::new(1);
        let places: Vec<Place> = (0..5000u32)
            .map(|key| index.place(&key.to_be_bytes()))
            .collect();
        for (number, place) in (0..).zip(&places) {
            index.insert(*place, Word::new(*place, Location(number)));
        }
        for capacity in [5000, 50_000, 1] {
            index.rebuild(0, capacity);
            for (number, place) in (0..).zip(&places) {
                assert!(index.find_at(*place, Location(number)).is_some());
            }
        }
        for (number, place) in (0..).zip(&places) {
            assert!(index.remove(*place, Location(number)).is_some());
        }
        assert_eq!(index.table(0).len, 0);
    }

    #[test]
    fn keys_spread_over_all_shards() {
        for shard_count in [1, 2, 64, 1_024] {
            let index = Index::new(shard_count);
            let mut lens = vec![0; shard_count];
            for id in 0..shard_count * 100 {
                lens[index.place(&id.to_be_bytes()).shard] += 1;
            }
            assert!(lens.iter().all(|len| (30..300).contains(len)), "{lens:?}");
        }
    }
}
