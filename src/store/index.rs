//! The index: from a key to its item. The only file that knows of `DashMap`; no guard leaves it.
//!
//! It uses the map's raw shards, because an item is found by its key or by its cas unique, and
//! because tables are rebuilt by the store, which charges them against the memory limit: left to
//! themselves they double when removed items have left their marks in them, and never shrink.

use std::fmt;
use std::hash::BuildHasher;
use std::mem;

use dashmap::{DashMap, SharedValue};
use foldhash::quality::RandomState;

use crate::item::Item;
use crate::stats::count;

/// `DashMap` refuses to be made with one shard.
const MAP_SHARD_COUNT_MIN: usize = 2;

/// Where a key belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) shard: usize,
    pub(crate) hash: u64,
}

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

/// The items of all shards by the hash of their key.
pub(crate) struct Index {
    map: DashMap<u64, Box<Item>, RandomState>,
    shard_mask: usize,
}

type Entry = (u64, SharedValue<Box<Item>>);

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
        // Bits that the tables use neither for the bucket (the lowest) nor as its mark (the top 7).
        let bits = usize::try_from((hash >> 40) & 0xffff).unwrap_or_default();
        Place {
            shard: bits & self.shard_mask,
            hash,
        }
    }

    /// Shows the item with the key to `visit`, under the read lock of its shard.
    pub(crate) fn read<R>(
        &self,
        place: Place,
        key: &[u8],
        visit: impl FnOnce(&Item) -> R,
    ) -> Option<R> {
        let table = self.map.shards().get(place.shard)?.read();
        let (_, item) = table.get(place.hash, |entry| has_key(entry, place.hash, key))?;
        Some(visit(item.get()))
    }

    /// The same for the item with the cas unique.
    pub(crate) fn read_cas<R>(
        &self,
        place: Place,
        cas: u64,
        visit: impl FnOnce(&Item) -> R,
    ) -> Option<R> {
        let table = self.map.shards().get(place.shard)?.read();
        let (_, item) = table.get(place.hash, |entry| has_cas(entry, place.hash, cas))?;
        Some(visit(item.get()))
    }

    /// Puts the item in its place and returns the one that had its key.
    ///
    /// A table without room grows by itself here; [`Self::rebuild`] it before that.
    pub(crate) fn replace(&self, place: Place, item: Box<Item>) -> Option<Box<Item>> {
        let mut table = self.map.shards().get(place.shard)?.write();
        let same_key = |entry: &Entry| has_key(entry, place.hash, item.key());
        if let Some((_, slot)) = table.get_mut(place.hash, same_key) {
            return Some(mem::replace(slot.get_mut(), item));
        }
        table.insert(place.hash, (place.hash, SharedValue::new(item)), hash_of);
        None
    }

    /// Removes the item with the key.
    pub(crate) fn take(&self, place: Place, key: &[u8]) -> Option<Box<Item>> {
        let mut table = self.map.shards().get(place.shard)?.write();
        let (_, item) = table.remove_entry(place.hash, |entry| has_key(entry, place.hash, key))?;
        Some(item.into_inner())
    }

    /// Removes the item with the cas unique.
    pub(crate) fn take_cas(&self, place: Place, cas: u64) -> Option<Box<Item>> {
        let mut table = self.map.shards().get(place.shard)?.write();
        let (_, item) = table.remove_entry(place.hash, |entry| has_cas(entry, place.hash, cas))?;
        Some(item.into_inner())
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
            bytes: count(layout.size()),
        }
    }

    /// Moves the items of a shard to a new table with room for at least `capacity`.
    pub(crate) fn rebuild(&self, shard: usize, capacity: usize) {
        let Some(shard) = self.map.shards().get(shard) else {
            return;
        };
        let mut table = shard.write();
        let old = mem::take(&mut *table);
        table.reserve(capacity.max(old.len()), hash_of);
        for entry in old {
            table.insert(entry.0, entry, hash_of);
        }
    }
}

impl fmt::Debug for Index {
    // Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

fn hash_of(entry: &Entry) -> u64 {
    entry.0
}

fn has_key(entry: &Entry, hash: u64, key: &[u8]) -> bool {
    entry.0 == hash && entry.1.get().key() == key
}

fn has_cas(entry: &Entry, hash: u64, cas: u64) -> bool {
    entry.0 == hash && entry.1.get().cas() == cas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{NewItem, NewValue};
    use crate::time::{Expiry, Time};

    fn put(index: &Index, place: Place, key: &[u8], cas: u64) {
        let new = NewItem {
            client_flags: 0,
            expiry: Expiry::Never,
            value: NewValue::Copied(b""),
        };
        let mut item = Item::new(key, new, Time::default()).unwrap();
        item.set_cas(cas);
        assert!(index.replace(place, item).is_none());
    }

    #[test]
    fn keys_with_the_same_hash_are_different_items() {
        let index = Index::new(1);
        let place = index.place(b"a");
        put(&index, place, b"a", 1);
        put(&index, place, b"b", 2);
        assert_eq!(index.read(place, b"a", Item::cas), Some(1));
        assert_eq!(index.read(place, b"b", Item::cas), Some(2));
        assert_eq!(index.read(place, b"c", Item::cas), None);
        assert_eq!(index.take_cas(place, 2).unwrap().key(), b"b");
        assert!(index.take(place, b"b").is_none());
        assert_eq!(index.take(place, b"a").unwrap().cas(), 1);
    }

    #[test]
    fn a_rebuilt_table_has_the_room_that_its_capacity_promises() {
        for capacity in 1..3_000 {
            let index = Index::new(1);
            put(&index, index.place(b"a"), b"a", 1);
            index.rebuild(0, capacity);
            let table = index.table(0);
            assert_eq!((table.len, table.room), (1, table.capacity() - 1));
            assert!(table.capacity() >= capacity);
            assert_eq!(index.read(index.place(b"a"), b"a", Item::cas), Some(1));
            index.rebuild(0, table.capacity() + 1);
            assert_eq!(index.table(0).buckets, table.buckets * 2);
        }
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
