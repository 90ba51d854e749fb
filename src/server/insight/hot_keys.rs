//! [`Sampler`]: the keys that are used most, by requests and by bytes of their values, lately.
//!
//! Each thread looks at one request of about [`SAMPLED_REQUESTS`], at random, and keeps what it sees by Space-Saving
//! (Metwally 2005): of a fixed number of keys, the one seen least makes room for one not seen before, and its count is
//! the bound of what may have been missed of that. What is told is below the truth by that much at most. All counts
//! are halved every minute, so that who was hot an hour ago is not.

use crate::chance::Chance;
use crate::insight::recent::Recent;
use crate::insight::{HotKey, HotKeys};
use crate::nuthatch_metrics::float;
use nuthatch_store::Time;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One request of a thread in so many is looked at.
const SAMPLED_REQUESTS: u32 = 128;

/// Keys that a thread keeps by requests, and as many by bytes.
const KEYS_MAX: usize = 64;

/// Keys that are told of each.
const TOLD_MAX: usize = 16;

/// A key must have been seen so often to be told: what was seen once is chance.
const SEEN_MIN: u64 = 2;

/// How often counts are halved.
const HALF_LIFE_MILLIS: u64 = 60_000;

/// The hot keys of one thread.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    chance: Chance<SAMPLED_REQUESTS>,
    seen: Mutex<Seen>,
}

impl Sampler {
    /// A request for a key, which moved so many bytes of value. To be called by that thread alone.
    #[inline]
    pub(crate) fn note(&self, key: &[u8], bytes: usize) {
        if self.chance.picks() {
            self.look(key, bytes as u64);
        }
    }

    #[cold]
    fn look(&self, key: &[u8], bytes: u64) {
        let seen = &mut *self.lock();
        seen.recent.push(key);
        seen.operations.add(key, 1, bytes);
        if bytes > 0 {
            seen.bytes.add(key, bytes, 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory of the keys that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        let seen = self.lock();
        let tables = [&seen.operations, &seen.bytes].map(Table::bytes);
        let tables: usize = tables.iter().sum();
        tables.saturating_add(seen.recent.bytes())
    }

    /// Moves the keys of the requests that were looked at since the last time to `taken`.
    pub(crate) fn take_recent(&self, taken: &mut Recent) {
        self.lock().recent.take(taken);
    }

    /// Halves the counts if it is time; to be called from time to time.
    pub(crate) fn age(&self, now: Time) {
        let seen = &mut *self.lock();
        let elapsed = now.as_millis().saturating_sub(seen.halved_millis);
        if elapsed >= HALF_LIFE_MILLIS {
            seen.halved_millis = now.as_millis();
            seen.operations.halve();
            seen.bytes.halve();
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    operations: Table,
    bytes: Table,
    recent: Recent,
    halved_millis: u64,
}

/// Keys by one measure.
#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    total: u64,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    key: Vec<u8>,
    /// By the measure of the table; of that, what may have been another key's.
    count: u64,
    missed: u64,
    /// By the other measure, since it is here.
    other: u64,
    seen: u64,
}

impl Table {
    fn bytes(&self) -> usize {
        let keys = self.entries.iter().map(|entry| entry.key.capacity());
        keys.sum::<usize>() + self.entries.capacity() * size_of::<Entry>()
    }

    fn add(&mut self, key: &[u8], count: u64, other: u64) {
        self.total = self.total.wrapping_add(count);
        let place = self.entries.iter().position(|entry| entry.key == key);
        let place = place.or_else(|| self.make_room(key));
        let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) else {
            return;
        };
        entry.count = entry.count.wrapping_add(count);
        entry.other = entry.other.wrapping_add(other);
        entry.seen = entry.seen.wrapping_add(1);
    }

    /// A place for a key, in place of the least one if there is no other.
    fn make_room(&mut self, key: &[u8]) -> Option<usize> {
        if self.entries.len() < KEYS_MAX {
            self.entries.push(Entry::default());
            let last = self.entries.last_mut()?;
            last.key.extend_from_slice(key);
            return self.entries.len().checked_sub(1);
        }
        let counts = self.entries.iter().enumerate();
        let (least, _) = counts.min_by_key(|(_, entry)| entry.count)?;
        let entry = self.entries.get_mut(least)?;
        entry.key.clear();
        entry.key.extend_from_slice(key);
        entry.missed = entry.count;
        (entry.other, entry.seen) = (0, 0);
        Some(least)
    }

    fn halve(&mut self) {
        self.total /= 2;
        for entry in &mut self.entries {
            for count in [&mut entry.count, &mut entry.missed, &mut entry.other] {
                *count /= 2;
            }
        }
        self.entries.retain(|entry| entry.count > 0);
    }
}

/// What all threads have seen, together.
pub(crate) fn merge<'a>(samplers: impl IntoIterator<Item = &'a Sampler>) -> HotKeys {
    let (mut by_operations, mut by_bytes) = (Merged::default(), Merged::default());
    for sampler in samplers {
        let seen = sampler.lock();
        by_operations.add(&seen.operations);
        by_bytes.add(&seen.bytes);
    }
    let by_operations = by_operations.told(|count, other| (count, other));
    let by_bytes = by_bytes.told(|count, other| (other, count));
    HotKeys {
        by_operations,
        by_bytes,
    }
}

#[derive(Debug, Default)]
struct Merged {
    total: u64,
    /// At least so much, by the measure and by the other one, and how often it was seen.
    keys: HashMap<Vec<u8>, (u64, u64, u64)>,
}

impl Merged {
    fn add(&mut self, table: &Table) {
        self.total = self.total.wrapping_add(table.total);
        for entry in &table.entries {
            let (count, other, seen) = self.keys.entry(entry.key.clone()).or_default();
            *count = count.wrapping_add(entry.count.saturating_sub(entry.missed));
            *other = other.wrapping_add(entry.other);
            *seen = seen.wrapping_add(entry.seen);
        }
    }

    /// The greatest; `measures` says which are operations and which are bytes.
    fn told(self, measures: fn(u64, u64) -> (u64, u64)) -> Vec<HotKey> {
        let total = float(self.total.max(1));
        let mut keys: Vec<_> = self.keys.into_iter().collect();
        keys.retain(|(_, (count, _, seen))| *count > 0 && *seen >= SEEN_MIN);
        keys.sort_unstable_by(|(one, (count, ..)), (other_key, (other, ..))| {
            other.cmp(count).then_with(|| one.cmp(other_key))
        });
        let scale = u64::from(SAMPLED_REQUESTS);
        let told = keys.into_iter().take(TOLD_MAX);
        told.map(|(key, (count, other, _))| {
            let (operations, bytes) = measures(count, other);
            HotKey {
                key: key.into_boxed_slice(),
                operations: operations.saturating_mul(scale),
                bytes: bytes.saturating_mul(scale),
                share: float(count) / total,
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every third request is for one key, every tenth for a large value, the others for any of many.
    fn used() -> Sampler {
        let sampler = Sampler::default();
        for number in 0..1_000_000_u64 {
            match number % 30 {
                step if step % 3 == 0 => sampler.note(b"hot", 100),
                1 | 11 | 23 => sampler.note(b"large", 10_000),
                _ => sampler.note(format!("key-{}", number % 7_919).as_bytes(), 100),
            }
        }
        sampler
    }

    #[test]
    fn the_hottest_keys_are_found_with_their_shares() {
        let HotKeys {
            by_operations,
            by_bytes,
        } = merge([&used(), &used()]);
        let [hot, large] = &by_operations[..2] else {
            panic!("{by_operations:?}");
        };
        assert_eq!((&*hot.key, &*large.key), (&b"hot"[..], &b"large"[..]));
        assert!((hot.share - 1.0 / 3.0).abs() < 0.03, "{hot:?}");
        assert!((large.share - 0.1).abs() < 0.02, "{large:?}");
        assert!((500_000..800_000).contains(&hot.operations), "{hot:?}");
        // 1,000 bytes of 1,090 in the average request.
        assert_eq!(&*by_bytes[0].key, b"large");
        assert!((by_bytes[0].share - 0.917).abs() < 0.03, "{by_bytes:?}");
        // The others are no hot keys, however many they are.
        assert!(by_operations[2..].iter().all(|hot| hot.share < 0.01));
        assert!(by_operations.len() <= TOLD_MAX);
    }

    #[test]
    fn so_many_keys_are_kept_and_no_more() {
        let mut table = Table::default();
        let key = |number: usize| format!("key-{number}").into_bytes();
        for number in 0..KEYS_MAX {
            table.add(&key(number), 2, 0);
        }
        table.add(&key(0), 1, 0);
        assert_eq!(table.entries.len(), KEYS_MAX);
        table.add(&key(KEYS_MAX), 1, 0);
        assert_eq!(table.entries.len(), KEYS_MAX);
        // It has the count of the one that it replaced, and says so.
        let last = table
            .entries
            .iter()
            .find(|entry| entry.key == key(KEYS_MAX));
        assert_eq!(last.map(|entry| (entry.count, entry.missed)), Some((3, 2)));
        assert!(table.entries.iter().any(|entry| entry.key == key(0)));
    }

    #[test]
    fn what_was_hot_is_forgotten() {
        let sampler = used();
        let operations = || merge([&sampler]).by_operations[0].operations;
        let before = operations();
        sampler.age(Time::from_millis(HALF_LIFE_MILLIS - 1));
        assert_eq!(operations(), before);
        sampler.age(Time::from_millis(HALF_LIFE_MILLIS));
        assert!(operations() <= before / 2);
        sampler.age(Time::from_millis(HALF_LIFE_MILLIS + 1));
        assert!(operations() > before / 4);
        for halving in 2..40 {
            sampler.age(Time::from_millis(HALF_LIFE_MILLIS * halving));
        }
        assert_eq!(merge([&sampler]), HotKeys::default());
    }
}
