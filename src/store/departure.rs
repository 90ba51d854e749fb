//! [`Departures`]: why keys that are stored no longer went, of those that went last.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::Store;
use crate::outcome::Miss;

/// Two bytes for each so many bytes of the budget.
const BUDGET_PER_SLOT: u64 = 1024;

/// Bits for the reason.
const REASON_BITS: u32 = 2;

/// Why a key went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// To make room.
    Evicted,
    /// A client wanted it.
    Deleted,
    /// Its time was over, or it was flushed, and its memory has been taken back.
    Dead(Miss),
}

/// Their numbers; 0 is an item that expired.
const EVICTED: u16 = 1;
const DELETED: u16 = 2;
const FLUSHED: u16 = 3;

/// A table of fingerprints, where what went later wins a slot. Anybody may read it at any time.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    slots: Box<[AtomicU16]>,
}

impl Departures {
    /// For a shard that may take so many bytes.
    pub(crate) fn new(budget: u64) -> Self {
        let slots = (budget / BUDGET_PER_SLOT)
            .checked_ilog2()
            .map_or(0, |log| 1 << log);
        Self {
            slots: (0..slots).map(|_| AtomicU16::new(0)).collect(),
        }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.slots) as u64
    }

    pub(crate) fn note(&self, hash: u64, why: Departure) {
        let reason = match why {
            Departure::Evicted => EVICTED,
            Departure::Deleted => DELETED,
            Departure::Dead(Miss::Flushed) => FLUSHED,
            Departure::Dead(Miss::Expired | Miss::Absent) => 0,
        };
        if let Some(slot) = self.slot(hash) {
            slot.store(fingerprint(hash) | reason, Ordering::Relaxed);
        }
    }

    fn why(&self, hash: u64) -> Option<Departure> {
        let known = self.slot(hash)?.load(Ordering::Relaxed);
        let reason = known & ((1 << REASON_BITS) - 1);
        if known & !((1 << REASON_BITS) - 1) != fingerprint(hash) {
            return None;
        }
        Some(match reason {
            EVICTED => Departure::Evicted,
            DELETED => Departure::Deleted,
            FLUSHED => Departure::Dead(Miss::Flushed),
            _ => Departure::Dead(Miss::Expired),
        })
    }

    fn slot(&self, hash: u64) -> Option<&AtomicU16> {
        let mask = self.slots.len().checked_sub(1)?;
        let position = usize::try_from(hash >> 20).unwrap_or_default();
        self.slots.get(position & mask)
    }
}

/// Never 0 above the bits for the reason.
#[expect(clippy::cast_possible_truncation, reason = "a part of the hash")]
const fn fingerprint(hash: u64) -> u16 {
    (hash as u16 | 1) << REASON_BITS
}

impl Store {
    /// Why there is no item with the key, if there was one lately. A few in 100,000 answers are about another key.
    pub fn departure(&self, key: &[u8]) -> Option<Departure> {
        let place = self.index.place(key);
        self.shards.get(place.shard)?.departures.why(place.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Expiry, NewItem, NewValue, Time};

    #[test]
    fn the_last_departure_is_known() {
        let departures = Departures::new(1 << 20);
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for why in [
            Departure::Evicted,
            Departure::Deleted,
            Departure::Dead(Miss::Expired),
            Departure::Dead(Miss::Flushed),
        ] {
            departures.note(hash(1), why);
            assert_eq!(departures.why(hash(1)), Some(why));
            assert_eq!(departures.why(hash(2)), None);
        }
        assert_eq!(departures.bytes(), 2048);
        let none = Departures::new(0);
        none.note(hash(1), Departure::Evicted);
        assert_eq!(none.why(hash(1)), None);
    }

    #[test]
    fn a_store_knows_why_keys_went() {
        let store = Store::new(&Config {
            memory_limit_bytes: 1 << 20,
            item_len_max: 1 << 18,
            ..Config::default()
        });
        let set = |key: &[u8], millis: u64| {
            let item = NewItem {
                client_flags: 0,
                expiry: Expiry::At(Time::from_millis(millis)),
                value: NewValue::Copied(&[b'v'; 1000]),
            };
            let _ = store.set(key, item, Time::default());
        };
        assert_eq!(store.departure(b"never"), None);
        set(b"deleted", 99_000);
        assert!(store.delete(b"deleted", Time::default()));
        assert_eq!(store.departure(b"deleted"), Some(Departure::Deleted));
        set(b"expired", 1000);
        store.sweep(Time::from_millis(2000), 1000);
        let expired = Some(Departure::Dead(Miss::Expired));
        assert_eq!(store.departure(b"expired"), expired);
        for number in 0..2000 {
            set(format!("{number}").as_bytes(), 99_000);
        }
        let evicted = (0..2000).filter(|number| {
            store.departure(format!("{number}").as_bytes()) == Some(Departure::Evicted)
        });
        let (evicted, evictions) = (evicted.count() as u64, store.snapshot().evictions);
        assert!(evictions > 500);
        // Keys with the same slot forget each other.
        assert!(
            (evictions / 3..=evictions).contains(&evicted),
            "{evicted} {evictions}"
        );
    }
}
