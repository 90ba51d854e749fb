//! How items are shown: found under the shard's read locks, decompressed after them.

use std::sync::atomic::Ordering;

use crate::Store;
use crate::compress::Outgoing;
use crate::index::Place;
use crate::item::{Hit, ValueRef};
use crate::outcome::{Lookup, Miss};
use crate::record::Head;
use crate::sample::Use;
use crate::shard::Shard;
use crate::time::Time;

/// So long after an item was used, another use is noted. As in memcached (`ITEM_UPDATE_INTERVAL`), so that a popular
/// item is not written at every get.
const USE_INTERVAL_SECONDS: u32 = 60;

/// Who looks at what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance<'k> {
    pub(crate) place: Place,
    pub(crate) key: &'k [u8],
    /// It does not count as use of the item.
    pub(crate) unnoticed: bool,
    pub(crate) now: Time,
}

/// What was seen under the locks. Small: it is handed on by every get.
#[derive(Debug)]
pub(crate) enum Seen<R> {
    Visited(R),
    Missed(Miss),
    /// The viewer has kept it.
    Compressed,
}

impl<R> Seen<R> {
    const fn used(&self) -> Use {
        match self {
            Self::Missed(_) => Use::Miss,
            Self::Visited(_) | Self::Compressed => Use::Hit,
        }
    }
}

/// Who shall see an item, and what was kept to be shown without the locks.
#[derive(Debug)]
pub(crate) struct Viewer<V> {
    visit: Option<V>,
    /// For how many seconds nobody had used the item.
    idle_seconds: u32,
    compressed: Option<Compressed>,
}

/// A hit whose value is to be decompressed.
#[derive(Debug)]
struct Compressed {
    head: Head,
    fetched: bool,
    value: Outgoing,
}

impl<V> Viewer<V> {
    pub(crate) const fn new(visit: V) -> Self {
        Self {
            visit: Some(visit),
            idle_seconds: 0,
            compressed: None,
        }
    }
}

#[inline]
const fn hit<'a>(head: &Head, fetched: bool, idle_seconds: u32, value: ValueRef<'a>) -> Hit<'a> {
    Hit {
        client_flags: head.client_flags,
        cas: head.unique(),
        expiry: head.expiry,
        marks: head.marks(),
        fetched,
        idle_seconds,
        namespace: head.namespace,
        value,
    }
}

impl Store {
    /// [`Self::get`], which need not count as use of the item.
    #[inline]
    pub(crate) fn get_as<R>(
        &self,
        key: &[u8],
        unnoticed: bool,
        now: Time,
        visit: impl FnOnce(Hit<'_>) -> R,
    ) -> Lookup<R> {
        self.pending_flush.fire(&self.shards, now);
        let place = self.index.place(key);
        let mut viewer = Viewer::new(visit);
        let glance = Glance {
            place,
            key,
            unnoticed,
            now,
        };
        let seen = self.look(glance, |shard, head| shard.death(head, now), &mut viewer);
        if viewer.idle_seconds >= USE_INTERVAL_SECONDS && !unnoticed {
            self.note_use(key, now);
        }
        if self.is_sampled(place) && !unnoticed {
            self.sample(place, key, seen.used(), now);
        }
        self.show(seen, viewer, key, now)
    }

    /// Looks at the item with the key and marks it as used, unless `death` says that it is dead. The viewer
    /// sees it if its value can be shown as it is.
    #[inline]
    pub(crate) fn look<R, V>(
        &self,
        glance: Glance<'_>,
        death: impl FnOnce(&Shard, &Head) -> Option<Miss>,
        viewer: &mut Viewer<V>,
    ) -> Seen<R>
    where
        V: FnOnce(Hit<'_>) -> R,
    {
        let Glance {
            place, key, now, ..
        } = glance;
        let Some(shard) = self.shards.get(place.shard) else {
            return Seen::Missed(Miss::Absent);
        };
        self.index.prefetch_shard(place);
        let log = shard.log();
        let pick = |location| log.find_key(location, key);
        let seen = self.index.use_item(place, pick, |word, spot| {
            let found = spot.item();
            let head = &found.record.head;
            if let Some(miss) = death(shard, head) {
                return (Seen::Missed(miss), false);
            }
            viewer.idle_seconds = now.as_seconds().saturating_sub(head.used_seconds);
            let seen = if let Some(compressed) = head.compressed {
                viewer.compressed = Some(Compressed {
                    head: *head,
                    fetched: word.is_fetched(),
                    value: Outgoing::new(found.value(), compressed),
                });
                Seen::Compressed
            } else if let Some(visit) = viewer.visit.take() {
                let idle_seconds = viewer.idle_seconds;
                let hit = hit(head, word.is_fetched(), idle_seconds, found.value());
                Seen::Visited(visit(hit))
            } else {
                Seen::Missed(Miss::Absent)
            };
            (seen, !glance.unnoticed)
        });
        seen.unwrap_or(Seen::Missed(Miss::Absent))
    }

    /// Notes when an item was used that nobody had used for so long.
    #[cold]
    fn note_use(&self, key: &[u8], now: Time) {
        if let Some((place, mut turn)) = self.turn_for(key, now) {
            let _ = turn.amend(place, key, |head| head.used_seconds = now.as_seconds());
        }
    }

    /// Decompresses what could not be shown as it is; no shard may be locked by the caller.
    #[inline]
    pub(crate) fn show<R, V>(
        &self,
        seen: Seen<R>,
        viewer: Viewer<V>,
        key: &[u8],
        now: Time,
    ) -> Lookup<R>
    where
        V: FnOnce(Hit<'_>) -> R,
    {
        match seen {
            Seen::Visited(result) => Lookup::Hit(result),
            Seen::Missed(miss) => Lookup::Miss(miss),
            Seen::Compressed => {
                let shown = self.decompress(viewer, key, now);
                shown.map_or(Lookup::Miss(Miss::Absent), Lookup::Hit)
            }
        }
    }

    fn decompress<R, V>(&self, viewer: Viewer<V>, key: &[u8], now: Time) -> Option<R>
    where
        V: FnOnce(Hit<'_>) -> R,
    {
        let (
            visit,
            Compressed {
                head,
                fetched,
                value,
            },
        ) = viewer.visit.zip(viewer.compressed)?;
        let outside = &self.outside;
        let lend = |raw| outside.lend(raw);
        let shown = value.show(&outside.spare, lend, |value| {
            visit(hit(&head, fetched, viewer.idle_seconds, value))
        });
        if shown.is_none() {
            self.bury_damaged(key, head.cas, now);
        }
        shown
    }

    /// A value that cannot be decompressed is not there, for everybody.
    fn bury_damaged(&self, key: &[u8], cas: u64, now: Time) {
        self.decompress_failures.fetch_add(1, Ordering::Relaxed);
        if let Some((place, mut turn)) = self.turn_for(key, now)
            && turn
                .live_head(place, key)
                .is_some_and(|head| head.cas == cas)
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
            let record = log.find(word.location()).unwrap().item().record;
            assert!(record.head.compressed.is_some());
            bytes.resize(record.len(), 0);
            record.write(&mut bytes);
        }
        *bytes.last_mut().unwrap() ^= 1;
        let record = Record::parse(&bytes).unwrap();
        shard.log_mut().write(word.location(), &record);
    }
}
