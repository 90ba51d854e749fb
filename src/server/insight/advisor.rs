//! [`Advisor`]: the hit ratio that there would be with less and with more memory.
//!
//! The store tells how a sample of the keys is used, chosen by hash (SHARDS, FAST '15); [`Simulation`] plays caches of
//! four sizes with that. Their misses, by how many keys each sampled one stands for, are those of all keys: misses are
//! of many keys, so that a sample knows them well, where hits may be of few. The gets are counted, not sampled. What
//! the played cache of the present size has missed too many or too few, by the counters, is taken off all of them.
//!
//! Most uses are hits in all played caches: those are counted without a lock ([`Uses`]). The others are told in batches
//! ([`Pending`]).

use crate::insight::pending::{LISTS, Pending};
use crate::insight::room::Room;
use crate::insight::simulation::{Item, SIZES, Simulation};
use crate::insight::uses::Uses;
use crate::insight::{Advice, LIMITS};
use crate::nuthatch_metrics::float;
use nuthatch_store::{
    Access, Expiry, NARROWING_BITS, NARROWING_SHIFT, NamespaceId, SAMPLE_SHIFT, Sampler, Use,
};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Which of the played caches has the present size.
const PRESENT: usize = 1;

/// Keys that are followed, in all caches; with more, every second one is given up.
const KEYS_MAX: usize = 7_000;

/// Gets of sampled keys that are remembered: when there are more, all counts are halved, so that what was lately weighs
/// most.
const GETS_MAX: u64 = 1 << 17;

/// Before so many of them nothing is said ...
const GETS_MIN: u64 = 1_000;

/// ... nor with fewer keys.
const KEYS_MIN: usize = 200;

/// The store remembers the key of one evicted item for so many bytes, newer ones at the cost of others.
const BYTES_PER_GHOST: u64 = 512 * 8 / 5;

/// Entries that are looked at for whether they have died, each time.
const EXPIRED_MAX: usize = 2_000;

/// More points of hit ratio than this are worth a word.
const POINTS_MIN: f64 = 0.5;

/// What all keys have come to, as far as counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Totals {
    /// Keys looked up.
    pub gets: u64,
    /// Those of them that had no live item.
    pub misses: u64,
    /// Live items removed to stay within the limit.
    pub evictions: u64,
    /// Items that are there.
    pub items: u64,
    /// The memory limit.
    pub limit_bytes: u64,
}

/// Follows a sample of the keys.
#[derive(Debug)]
pub struct Advisor {
    /// Hashes with one of these bits are no longer followed.
    refused: AtomicU64,
    uses: Arc<Uses>,
    pending: Pending,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    simulation: Simulation,
    /// For the next batch; empty.
    batch: Vec<Access>,
    narrowed: u32,
    room: Room,
    /// Of sampled keys, by how many keys each stands for; since counts were halved last, and half of what was before.
    misses: [u64; SIZES],
    /// No item counts for more, see [`Room::item_bytes_max`].
    item_bytes_max: u64,
    /// Of all keys, over the same time.
    counted: Totals,
    last: Totals,
}

impl Advisor {
    /// For a store with this memory limit, in which nothing is yet.
    pub fn new(limit_bytes: u64) -> Self {
        let mut state = State {
            room: Room::new(limit_bytes),
            ..State::default()
        };
        state.resize();
        Self {
            refused: AtomicU64::new(0),
            uses: state.simulation.uses(),
            pending: Pending::default(),
            state: Mutex::new(state),
        }
    }

    /// Tells what has been counted so far. To be called about once in a second: what has died is forgotten then.
    pub fn tick(&self, totals: Totals, now_millis: u64) {
        let state = &mut *self.lock();
        self.tell_all(state);
        state.count(totals);
        state
            .room
            .learn(&totals, state.simulation.resident(PRESENT));
        state.resize();
        state.simulation.expire(now_millis, EXPIRED_MAX);
    }

    /// Begins to count anew; what is in the caches stays.
    pub fn reset(&self) {
        let state = &mut *self.lock();
        self.tell_all(state);
        state.misses = [0; SIZES];
        state.counted = Totals::default();
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let simulation = self.lock().simulation.bytes();
        simulation + Pending::BYTES_MAX
    }

    /// The hit ratios with each of the sizes, from 0 to 1, if enough is known; and keys that are followed.
    pub fn hit_ratios(&self) -> (Option<[f64; LIMITS.len()]>, u64) {
        let state = self.lock();
        let keys = state.simulation.len();
        let is_enough = keys >= KEYS_MIN && state.sampled_gets() >= GETS_MIN;
        let ratios = is_enough.then(|| state.hit_ratios());
        (ratios, u64::try_from(keys).unwrap_or(u64::MAX))
    }

    pub(crate) fn advice(&self) -> Advice {
        let (hit_ratios, sampled_keys) = self.hit_ratios();
        let sentence = match &hit_ratios {
            Some(ratios) => sentence(ratios),
            None => {
                "too few keys have been asked for to tell what other memory would do".to_owned()
            }
        };
        Advice {
            hit_ratios,
            sampled_keys,
            sentence,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_all(&self, state: &mut State) {
        (0..LISTS).for_each(|number| self.tell(number, state));
    }

    /// Tells the caches what one of the lists has.
    fn tell(&self, number: usize, state: &mut State) {
        let mut batch = mem::take(&mut state.batch);
        self.pending.swap(number, &mut batch);
        for access in batch.drain(..) {
            state.note(&access);
            if state.simulation.len() > KEYS_MAX && state.narrowed < NARROWING_BITS {
                self.refused.store(state.narrow(), Ordering::Relaxed);
            }
        }
        state.batch = batch;
    }
}

impl Sampler for Advisor {
    fn follows(&self, hash: u64, used: Use) -> bool {
        let is_followed = hash & self.refused.load(Ordering::Relaxed) == 0;
        is_followed && !(used == Use::Hit && self.uses.count(hash))
    }

    fn note(&self, access: Access) {
        let Some(number) = self.pending.push(access) else {
            return;
        };
        // Who has it tells the rest soon.
        match self.state.try_lock() {
            Ok(mut state) => self.tell(number, &mut state),
            Err(TryLockError::Poisoned(state)) => self.tell(number, &mut state.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn flushed(&self, namespace: Option<NamespaceId>) {
        let state = &mut *self.lock();
        self.tell_all(state);
        let is_gone = |_, item: &Item| namespace.is_none_or(|id| id == item.namespace);
        state.simulation.remove_if(is_gone);
    }
}

impl State {
    fn note(&mut self, access: &Access) {
        if access.hash & self.refused() != 0 {
            return;
        }
        let now = access.now.as_millis();
        let item = access.item.map(|item| Item {
            bytes: item.bytes.min(self.item_bytes_max),
            dies: match item.expiry {
                Expiry::Never => u64::MAX,
                Expiry::At(at) => at.as_millis(),
            },
            namespace: item.namespace,
        });
        match (access.used, item) {
            (Use::Hit | Use::Miss, real) => {
                let hits = self.simulation.get(access.hash, real, now);
                let keys = self.keys_for_one();
                for (misses, hit) in self.misses.iter_mut().zip(hits) {
                    if !hit {
                        *misses = misses.saturating_add(keys);
                    }
                }
            }
            (Use::Set, Some(item)) => self.simulation.set(access.hash, item, now),
            (Use::Touch, Some(item)) => self.simulation.touch(access.hash, item.dies),
            (Use::Delete, None) => self.simulation.delete(access.hash),
            (Use::Set | Use::Touch, None) | (Use::Delete, Some(_)) => {}
        }
    }

    /// For how many keys a sampled one stands.
    const fn keys_for_one(&self) -> u64 {
        1 << (SAMPLE_SHIFT + self.narrowed)
    }

    /// About so many gets were of sampled keys.
    const fn sampled_gets(&self) -> u64 {
        self.counted.gets / self.keys_for_one()
    }

    /// Of these bits of the hash, what is not followed has some.
    const fn refused(&self) -> u64 {
        ((1 << self.narrowed) - 1) << NARROWING_SHIFT
    }

    /// Gives up half of the keys; returns what is refused.
    fn narrow(&mut self) -> u64 {
        self.narrowed = self.narrowed.saturating_add(1);
        let refused = self.refused();
        self.simulation.remove_if(|hash, _| hash & refused != 0);
        self.resize();
        refused
    }

    fn resize(&mut self) {
        let keys = self.keys_for_one();
        let (room, limit) = (self.room.bytes(keys), self.room.limit_bytes() / keys);
        let limits = LIMITS.map(|(_, halves)| {
            let ghosts = (limit / 2).saturating_mul(halves) / BYTES_PER_GHOST;
            let bytes = (room / 2).saturating_mul(halves);
            (bytes, usize::try_from(ghosts).unwrap_or(usize::MAX))
        });
        self.item_bytes_max = self.room.item_bytes_max(keys);
        self.simulation.resize(limits);
    }

    /// Adds what was counted since the last time.
    fn count(&mut self, totals: Totals) {
        let since = |now: u64, last: u64| now.saturating_sub(last);
        let counted = &mut self.counted;
        counted.gets = counted
            .gets
            .saturating_add(since(totals.gets, self.last.gets));
        let misses = since(totals.misses, self.last.misses);
        counted.misses = counted.misses.saturating_add(misses);
        self.last = totals;
        if self.sampled_gets() > GETS_MAX {
            self.misses = self.misses.map(|misses| misses / 2);
            self.counted.gets /= 2;
            self.counted.misses /= 2;
        }
    }

    fn hit_ratios(&self) -> [f64; SIZES] {
        let gets = float(self.counted.gets.max(1));
        let missed = self.misses.map(|misses| float(misses) / gets);
        let counted = float(self.counted.misses) / gets;
        let [_, present, ..] = missed;
        missed.map(|missed| (1.0 - missed - (counted - present)).clamp(0.0, 1.0))
    }
}

fn sentence(ratios: &[f64; LIMITS.len()]) -> String {
    let [half, present, double, fourfold] = ratios.map(|ratio| ratio * 100.0);
    let (more, much_more, less) = (double - present, fourfold - present, present - half);
    if more >= POINTS_MIN {
        format!(
            "2x memory would add {more:.1} points of hit rate: from {present:.1} % to {double:.1} %"
        )
    } else if much_more >= POINTS_MIN {
        format!(
            "2x memory would add nothing, 4x memory {much_more:.1} points of hit rate: from {present:.1} % to \
             {fourfold:.1} %"
        )
    } else if less < POINTS_MIN {
        format!("half the memory would do: the hit rate of {present:.1} % would stay")
    } else {
        format!(
            "the memory is enough: more would add nothing to the hit rate of {present:.1} %, half of it would cost \
             {less:.1} points"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_store::{Config, Lookup, NewItem, Store, Time};
    use std::sync::Arc;

    const LIMIT: u64 = 32 << 20;

    /// What the documentation says that it takes at most.
    const BYTES_MAX: usize = 3 << 20;

    /// Gets of any of so many keys, stored with so many bytes where there is none.
    fn asked(keys: u64, value_len: usize) -> (Arc<Advisor>, Store) {
        let advisor = Arc::new(Advisor::new(LIMIT));
        let sampler: Arc<dyn Sampler> = Arc::<Advisor>::clone(&advisor);
        let store = Store::new(&Config {
            memory_limit_bytes: LIMIT,
            sampler: Some(sampler),
            ..Config::default()
        });
        let now = Time::from_millis(1);
        let value = vec![b'v'; value_len];
        let (mut random, mut misses) = (1_u64, 0);
        for step in 1..=800_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let key = (random % keys).to_be_bytes();
            if matches!(store.get(&key, now, |_| ()), Lookup::Miss(_)) {
                misses += 1;
                let _ = store.set(&key, NewItem::copied(&value), now);
            }
            if step % 10_000 == 0 {
                let snapshot = store.snapshot();
                let totals = Totals {
                    gets: step,
                    misses,
                    evictions: snapshot.evictions,
                    items: snapshot.curr_items,
                    limit_bytes: LIMIT,
                };
                advisor.tick(totals, 1);
            }
        }
        (advisor, store)
    }

    #[test]
    fn twice_the_memory_is_said_to_add_what_it_would() {
        // A quarter, half, all and all of them fit, after the first misses.
        let keys = 2 * LIMIT * 95 / 100 / 524;
        let (advisor, _) = asked(keys, 500);
        let advice = advisor.advice();
        let ratios = advice.hit_ratios.unwrap();
        let cold = float(keys) / 800_000.0;
        for (ratio, expected) in ratios.iter().zip([0.25, 0.5, 1.0 - cold, 1.0 - cold]) {
            assert!(
                (ratio - expected).abs() < 0.06,
                "{ratio} for {expected}: {ratios:?}"
            );
        }
        assert!(
            advice.sentence.starts_with("2x memory would add"),
            "{advice:?}"
        );
    }

    #[test]
    fn so_many_keys_are_followed_and_no_more() {
        let (advisor, store) = asked(u64::MAX, 50);
        let (_, keys) = advisor.hit_ratios();
        assert!(
            (KEYS_MAX as u64 / 3..=KEYS_MAX as u64).contains(&keys),
            "{keys}"
        );
        assert!(advisor.follows(0, Use::Miss) && !advisor.follows(1 << NARROWING_SHIFT, Use::Miss));
        let bytes = advisor.bytes();
        assert!((BYTES_MAX / 4..=BYTES_MAX).contains(&bytes), "{bytes}");
        store.flush(Time::from_millis(2), Time::from_millis(2));
        assert_eq!(advisor.hit_ratios(), (None, 0));
        assert!(advisor.advice().sentence.starts_with("too few keys"));
    }

    #[test]
    fn nobody_waits_for_the_caches_and_what_was_noted_meanwhile_is_told_later() {
        let advisor = Advisor::new(LIMIT);
        let note = |hash| {
            advisor.note(Access {
                hash,
                used: Use::Miss,
                item: None,
                now: Time::from_millis(1),
            });
        };
        let busy = advisor.state.lock().unwrap();
        (0..100).for_each(|_| note(0));
        drop(busy);
        assert_eq!(advisor.lock().misses, [0; SIZES]);
        // The second batch takes the first along.
        (100..128).for_each(|_| note(0));
        assert_eq!(advisor.lock().misses, [128 << SAMPLE_SHIFT; SIZES]);
        note(0);
        advisor.tick(Totals::default(), 1);
        assert_eq!(advisor.lock().misses, [129 << SAMPLE_SHIFT; SIZES]);
    }

    #[test]
    fn what_is_worth_a_word_is_said() {
        for (ratios, begin) in [
            (
                [0.7, 0.8, 0.831, 0.9],
                "2x memory would add 3.1 points of hit rate: from 80.0 % to 83.1 %",
            ),
            (
                [0.7, 0.8, 0.801, 0.9],
                "2x memory would add nothing, 4x memory 10.0 points",
            ),
            (
                [0.7, 0.8, 0.8, 0.8],
                "the memory is enough: more would add nothing to the hit rate of 80.0 %, half",
            ),
            ([0.8, 0.8, 0.8, 0.8], "half the memory would do"),
        ] {
            assert!(
                sentence(&ratios).starts_with(begin),
                "{}",
                sentence(&ratios)
            );
        }
    }
}
