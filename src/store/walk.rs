//! Shows all items, a little at a time, to who wants to list them.

use std::sync::atomic::Ordering;

use crate::Store;
use crate::age::Dates;
use crate::index::Word;
use crate::item::{Marks, NamespaceId};
use crate::log::Location;
use crate::record::{Head, Packed};
use crate::time::{Expiry, Time};

/// How far a [`Store::walk`] has come.
#[derive(Debug, Default)]
pub struct Walk {
    shard: usize,
    segment: u32,
    /// The segment, as it was.
    copy: Vec<u8>,
    /// When its items were stored.
    dates: Option<Dates>,
    /// The shard's renumberings then.
    renumberings: u64,
}

/// A live item without its value.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Listed<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// The client's 32 bits.
    pub client_flags: u32,
    /// See [`Hit::cas`](crate::Hit::cas).
    pub cas: u64,
    /// When it dies.
    pub expiry: Expiry,
    /// What has been said of it.
    pub marks: Marks,
    /// Whether anybody got it since it was stored.
    pub fetched: bool,
    /// For how many seconds nobody has used it.
    pub idle_seconds: u32,
    /// How many seconds ago it was stored, rounded up by a third at most; if it came back from a snapshot, how old
    /// the store is.
    pub age_seconds: u32,
    /// Bytes of its value.
    pub value_len: usize,
    /// What it belongs to.
    pub namespace: NamespaceId,
}

impl<'a> Listed<'a> {
    fn new(
        key: &'a [u8],
        stored_len: usize,
        (head, word): (&Head, Word),
        dates: &Dates,
        now: Time,
    ) -> Self {
        Self {
            age_seconds: dates.age(head.cas, now),
            key,
            client_flags: head.client_flags,
            namespace: head.namespace,
            cas: head.unique(),
            expiry: head.expiry,
            marks: head.marks(),
            fetched: word.is_fetched(),
            idle_seconds: now.as_seconds().saturating_sub(head.used_seconds),
            value_len: head
                .compressed
                .map_or(stored_len, |compressed| compressed.raw_len as usize),
        }
    }
}

impl Walk {
    /// The shard that comes next. A key's hash chooses its shard, so the items of one are a sample of all.
    pub const fn shard(&self) -> usize {
        self.shard
    }
}

impl Store {
    /// Shows the next live items: those of one segment, or all large ones of a shard. Returns whether there
    /// may be more. What is stored or moved meanwhile may be shown twice, or not at all.
    ///
    /// `visit` must not call the store.
    pub fn walk(&self, walk: &mut Walk, now: Time, visit: impl FnMut(Listed<'_>)) -> bool {
        self.pending_flush.fire(&self.shards, now);
        let Some(turn) = self.turn(walk.shard, now) else {
            return false;
        };
        let segment = turn.writer.segments.get(walk.segment as usize).copied();
        if let Some(segment) = segment {
            let number = walk.segment;
            walk.segment += 1;
            walk.copy.clear();
            walk.dates = Some(turn.writer.dates.clone());
            walk.renumberings = turn.shard.renumberings.load(Ordering::Acquire);
            let log = turn.shard.log();
            walk.copy
                .extend_from_slice(log.segment(number, segment.fill));
            let begin = log.location(number, 0);
            drop(log);
            drop(turn);
            if !self.walk_segment(walk, begin, now, visit) {
                walk.segment = number;
            }
        } else {
            let dates = turn.writer.dates.clone();
            drop(turn);
            self.walk_large(walk.shard, &dates, now, visit);
            walk.shard += 1;
            walk.segment = 0;
        }
        walk.shard < self.shards.len()
    }

    /// The copy may be of what is no more: the index knows. Returns whether the copy was good to the end.
    fn walk_segment(
        &self,
        walk: &Walk,
        begin: Location,
        now: Time,
        mut visit: impl FnMut(Listed<'_>),
    ) -> bool {
        let (Some(shard), Some(dates)) = (self.shards.get(walk.shard), &walk.dates) else {
            return true;
        };
        let mut rest = walk.copy.as_slice();
        let mut location = begin;
        while let Some(record) = Packed::find(rest).map(Packed::record) {
            let here = location;
            rest = rest.get(record.len()..).unwrap_or_default();
            location = location.after(record.len());
            let is_dead = shard.death(&record.head, now).is_some();
            if !shard.is_numbered_since(walk.renumberings) {
                return false;
            }
            if is_dead {
                continue;
            }
            let place = self.index.place(record.key);
            if let Some(word) = self.index.find_at(place, here) {
                let stored_len = record.value.len();
                let known = (&record.head, word);
                visit(Listed::new(record.key, stored_len, known, dates, now));
            }
        }
        true
    }

    fn walk_large(
        &self,
        shard: usize,
        dates: &Dates,
        now: Time,
        mut visit: impl FnMut(Listed<'_>),
    ) {
        let Some(shard) = self.shards.get(shard) else {
            return;
        };
        let log = shard.log();
        for (location, large) in log.large() {
            if shard.death(&large.head, now).is_some() {
                continue;
            }
            let place = self.index.place(&large.key);
            if let Some(word) = self.index.find_at(place, location) {
                let stored_len = large.value.len();
                let known = (&large.head, word);
                visit(Listed::new(&large.key, stored_len, known, dates, now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, NewItem, StoreOutcome};
    use std::collections::BTreeMap;

    #[test]
    fn every_live_item_is_shown_once() {
        let store = Store::new(&Config {
            memory_limit_bytes: 16 << 20,
            compress_len_min: Some(256),
            ..Config::default()
        });
        let now = Time::from_millis(5000);
        let mut stored = BTreeMap::new();
        for number in 0..5000_usize {
            let key = format!("key-{number}").into_bytes();
            let value = vec![
                b'v';
                if number % 500 == 0 {
                    100_000
                } else {
                    number % 700
                }
            ];
            let outcome = store.set(&key, NewItem::copied(&value), now);
            assert!(matches!(outcome, StoreOutcome::Stored { .. }));
            stored.insert(key, value.len());
        }
        for number in (0..5000).step_by(3) {
            let key = format!("key-{number}").into_bytes();
            assert!(store.delete(&key, now));
            stored.remove(&key);
        }
        assert!(store.touch(b"key-1", Expiry::At(Time::from_millis(6000)), now));
        stored.remove(b"key-1".as_slice());
        let later = Time::from_millis(9000);
        let mut shown = BTreeMap::new();
        let mut walk = Walk::default();
        let mut more = true;
        while more {
            more = store.walk(&mut walk, later, |item| {
                assert_eq!((item.idle_seconds, item.fetched), (4, false));
                assert!((4..=9).contains(&item.age_seconds));
                let is_new = shown.insert(item.key.to_vec(), item.value_len).is_none();
                assert!(is_new);
            });
        }
        assert_eq!(shown, stored);
    }
}
