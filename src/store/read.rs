//! How items are shown: found under the shard's read locks, decompressed after them.

use std::sync::atomic::Ordering;

use crate::Store;
use crate::compress::Outgoing;
use crate::index::Place;
use crate::item::{Hit, ValueRef};
use crate::outcome::{Lookup, Miss};
use crate::record::Record;
use crate::time::{Expiry, Time};

/// What was seen under the locks.
#[derive(Debug)]
pub(crate) enum Seen<R> {
    Visited(R),
    Missed(Miss),
    Compressed(Meta, Outgoing),
}

/// A hit without its value.
#[derive(Debug)]
pub(crate) struct Meta {
    client_flags: u32,
    cas: u64,
    expiry: Expiry,
}

impl Meta {
    const fn of(record: &Record<'_>) -> Self {
        Self {
            client_flags: record.client_flags,
            cas: record.cas,
            expiry: record.expiry,
        }
    }

    const fn hit(self, value: ValueRef<'_>) -> Hit<'_> {
        Hit {
            client_flags: self.client_flags,
            cas: self.cas,
            expiry: self.expiry,
            value,
        }
    }
}

impl Store {
    /// Looks at the item with the key and marks it as used, unless `death` says that it is dead. Calls
    /// `visit` if the value can be shown as it is.
    pub(crate) fn look<R, V>(
        &self,
        place: Place,
        key: &[u8],
        death: impl FnOnce(&Record<'_>) -> Option<Miss>,
        visit: &mut Option<V>,
    ) -> Seen<R>
    where
        V: FnOnce(Hit<'_>) -> R,
    {
        let Some(shard) = self.shards.get(place.shard) else {
            return Seen::Missed(Miss::Absent);
        };
        self.index.prefetch_shard(place);
        let log = shard.log();
        let pick = |location| log.find_key(location, key);
        let seen = self.index.use_item(place, pick, |found| {
            let record = &found.record;
            if let Some(miss) = death(record) {
                return (Seen::Missed(miss), false);
            }
            let meta = Meta::of(record);
            let seen = match (record.compressed, visit.take()) {
                (None, Some(visit)) => Seen::Visited(visit(meta.hit(found.value()))),
                (None, None) => Seen::Missed(Miss::Absent),
                (Some(compressed), unused) => {
                    *visit = unused;
                    Seen::Compressed(meta, Outgoing::new(found.value(), compressed))
                }
            };
            (seen, true)
        });
        seen.unwrap_or(Seen::Missed(Miss::Absent))
    }

    /// Decompresses what could not be shown as it is; no shard may be locked by the caller.
    pub(crate) fn show<R, V>(
        &self,
        seen: Seen<R>,
        key: &[u8],
        now: Time,
        visit: Option<V>,
    ) -> Lookup<R>
    where
        V: FnOnce(Hit<'_>) -> R,
    {
        let shown = match (seen, visit) {
            (Seen::Visited(result), _) => return Lookup::Hit(result),
            (Seen::Missed(miss), _) => return Lookup::Miss(miss),
            (Seen::Compressed(meta, value), Some(visit)) => {
                let cas = meta.cas;
                let lend = |raw| self.outside.lend(raw);
                let shown = value.show(lend, |value| visit(meta.hit(value)));
                if shown.is_none() {
                    self.bury_damaged(key, cas, now);
                }
                shown
            }
            (Seen::Compressed(..), None) => None,
        };
        shown.map_or(Lookup::Miss(Miss::Absent), Lookup::Hit)
    }

    /// A value that cannot be decompressed is not there, for everybody.
    fn bury_damaged(&self, key: &[u8], cas: u64, now: Time) {
        self.decompress_failures.fetch_add(1, Ordering::Relaxed);
        if let Some((place, mut turn)) = self.turn_for(key, now)
            && turn.live_cas(place, key) == Some(cas)
        {
            turn.remove(place, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::record::Record;
    use crate::{Config, Expiry, Lookup, Miss, NewItem, NewValue, Store, StoreOutcome, Time};

    #[test]
    fn a_damaged_value_is_a_miss_and_gone() {
        let store = Store::new(&Config {
            memory_limit_bytes: 1 << 20,
            item_len_max: 1 << 18,
            compress_len_min: Some(64),
            ..Config::default()
        });
        let now = Time::default();
        let item = || NewItem {
            client_flags: 0,
            expiry: Expiry::Never,
            value: NewValue::Copied(&[b'v'; 1000]),
        };
        let get = || store.get(b"key", now, |hit| hit.value.as_slice().to_vec());
        assert!(matches!(
            store.set(b"key", item(), now),
            StoreOutcome::Stored { .. }
        ));
        assert_eq!(get(), Lookup::Hit(vec![b'v'; 1000]));
        damage(&store, b"key");
        assert_eq!(get(), Lookup::Miss(Miss::Absent));
        assert_eq!(store.snapshot().decompress_failures, 1);
        assert!(matches!(
            store.add(b"key", item(), now),
            StoreOutcome::Stored { .. }
        ));
        damage(&store, b"key");
        assert_eq!(store.append(b"key", b"x", now), StoreOutcome::NotStored);
        assert_eq!(store.incr(b"key", 1, now), crate::Arithmetic::NotFound);
        store.check().unwrap();
    }

    /// Writes another value of the same length over the stored one.
    fn damage(store: &Store, key: &[u8]) {
        let place = store.index.place(key);
        let shard = &store.shards[place.shard];
        let word = store.index.find(place, Some).unwrap().0;
        let mut bytes = Vec::new();
        {
            let log = shard.log();
            let record = log.find(word.location()).unwrap().record;
            assert!(record.compressed.is_some());
            bytes.resize(record.len(), 0);
            record.write(&mut bytes);
        }
        *bytes.last_mut().unwrap() ^= 1;
        let record = Record::parse(&bytes).unwrap();
        shard.log_mut().write(word.location(), &record);
    }
}
