//! A sample of the keys, for who wants to know how they are used: always the same ones, chosen by their hash, so that
//! what happens to them is what happens to all (SHARDS, FAST '15).

use std::fmt;

use crate::Store;
use crate::budget::large_charge;
use crate::index::Place;
use crate::item::NamespaceId;
use crate::stats::count;
use crate::time::{Expiry, Time};

/// One key of two to this power is sampled.
pub const SAMPLE_SHIFT: u32 = 5;

/// The lowest of the bits of the hash that choose: those below are of the index.
const SAMPLE_BIT: u32 = 20;

/// From this bit of the hash on, [`NARROWING_BITS`] are free to narrow the sample by: those above are of the shard.
pub const NARROWING_SHIFT: u32 = SAMPLE_BIT + SAMPLE_SHIFT;

/// See [`NARROWING_SHIFT`].
pub const NARROWING_BITS: u32 = 40 - NARROWING_SHIFT;

/// Is told how the sampled keys are used.
///
/// No call may call the store, or wait.
pub trait Sampler: fmt::Debug + Send + Sync {
    /// The sampled key with this hash has been used; whether more is to be told of that.
    fn follows(&self, hash: u64, used: Use) -> bool;

    /// More of a use of a sampled key.
    fn note(&self, access: Access);

    /// All items of a namespace, or of all, have died.
    fn flushed(&self, namespace: Option<NamespaceId>);
}

/// How a key was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no other way")]
pub enum Use {
    /// It was looked up, and had a live item.
    Hit,
    /// It was looked up, and had none.
    Miss,
    /// Its item was given another expiry.
    Touch,
    /// An item was to be stored.
    Set,
    /// Its item was to be removed.
    Delete,
}

/// One use of a sampled key.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests of samplers make them")]
pub struct Access {
    /// Of the key, seeded at random.
    pub hash: u64,
    /// How.
    pub used: Use,
    /// The live item that it has after that.
    pub item: Option<SampledItem>,
    /// When.
    pub now: Time,
}

/// What is known of a sampled item.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SampledItem {
    /// Bytes of memory that it takes, but for the index.
    pub bytes: u64,
    /// When it dies.
    pub expiry: Expiry,
    /// What it belongs to.
    pub namespace: NamespaceId,
}

impl Store {
    /// Whether uses of the key are to be told.
    #[inline]
    pub(crate) const fn is_sampled(&self, place: Place) -> bool {
        const CHOOSING: u64 = ((1 << SAMPLE_SHIFT) - 1) << SAMPLE_BIT;
        place.hash & CHOOSING == 0 && self.sampler.is_some()
    }

    /// Tells the sampler of a use that has just been.
    #[cold]
    pub(crate) fn sample(&self, place: Place, key: &[u8], used: Use, now: Time) {
        let followed = self.sampler.as_ref();
        let Some(sampler) = followed.filter(|sampler| sampler.follows(place.hash, used)) else {
            return;
        };
        sampler.note(Access {
            hash: place.hash,
            used,
            item: self.sampled_item(place, key, now),
            now,
        });
    }

    fn sampled_item(&self, place: Place, key: &[u8], now: Time) -> Option<SampledItem> {
        let shard = self.shards.get(place.shard)?;
        let log = shard.log();
        let pick = |location| log.find_key(location, key);
        let (_, spot) = self.index.find(place, pick)?;
        let found = spot.item();
        let head = &found.record.head;
        if shard.death(head, now).is_some() {
            return None;
        }
        let bytes = match found.shared {
            Some(value) => large_charge(key.len(), value.len()),
            None => count(found.record.len()),
        };
        Some(SampledItem {
            bytes,
            expiry: head.expiry,
            namespace: head.namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, NewItem};
    use std::sync::{Arc, Mutex};

    /// What it was told.
    #[derive(Debug, Default)]
    struct Told {
        accesses: Mutex<Vec<Access>>,
        flushes: Mutex<Vec<Option<NamespaceId>>>,
    }

    impl Sampler for Told {
        fn follows(&self, _: u64, _: Use) -> bool {
            true
        }

        fn note(&self, access: Access) {
            self.accesses.lock().unwrap().push(access);
        }

        fn flushed(&self, namespace: Option<NamespaceId>) {
            self.flushes.lock().unwrap().push(namespace);
        }
    }

    #[test]
    fn of_the_keys_one_in_32_is_told_with_all_its_uses() {
        let told = Arc::new(Told::default());
        let store = Store::new(&Config {
            sampler: Some(Arc::<Told>::clone(&told)),
            ..Config::default()
        });
        let now = Time::from_millis(1);
        let keys: Vec<[u8; 4]> = (0..32_000_u32).map(u32::to_be_bytes).collect();
        for key in &keys {
            let _ = store.get(key, now, |_| ());
            let _ = store.set(key, NewItem::copied(b"value"), now);
            let _ = store.get(key, now, |_| ());
            let _ = store.get_and_touch(key, Expiry::Never, now, |_| ());
            let _ = store.touch(key, Expiry::Never, now);
            let _ = store.delete(key, now);
        }
        let accesses = std::mem::take(&mut *told.accesses.lock().unwrap());
        assert!(
            (7 * 800..7 * 1_200).contains(&accesses.len()),
            "{}",
            accesses.len()
        );
        for uses in accesses.chunks(7) {
            let seen = uses
                .iter()
                .map(|access| (access.used, access.item.is_some()));
            let expected = [
                (Use::Miss, false),
                (Use::Set, true),
                (Use::Hit, true),
                (Use::Touch, true),
                (Use::Hit, true),
                (Use::Touch, true),
                (Use::Delete, false),
            ];
            assert!(seen.eq(expected), "{uses:?}");
            assert!(uses.iter().all(|access| access.hash == uses[0].hash));
            // Sixteen bytes of head, the key, the value.
            assert!(uses[1].item.is_some_and(|item| item.bytes == 16 + 4 + 5));
        }
        // The bits to narrow by are as random.
        let half = accesses
            .iter()
            .filter(|access| access.hash >> NARROWING_SHIFT & 1 == 0)
            .count();
        assert!((accesses.len() * 4 / 10..accesses.len() * 6 / 10).contains(&half));
    }

    #[test]
    fn flushes_are_told_when_they_come() {
        let told = Arc::new(Told::default());
        let store = Store::new(&Config {
            sampler: Some(Arc::<Told>::clone(&told)),
            ..Config::default()
        });
        let at = Time::from_millis;
        store.flush_namespaces(&[0], at(1));
        store.flush(at(1), at(1));
        store.flush(at(9), at(1));
        let _ = store.get(b"key", at(8), |_| ());
        assert_eq!(*told.flushes.lock().unwrap(), [Some(0), None]);
        let _ = store.get(b"key", at(9), |_| ());
        assert_eq!(*told.flushes.lock().unwrap(), [Some(0), None, None]);
    }
}
