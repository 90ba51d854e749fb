//! [`Simulation`]: what would be in a cache of other sizes, for a sample of its keys.
//!
//! Four caches that evict as the store does (S3-FIFO, see its `evict.rs`) are played with the uses of the sampled keys,
//! each with its size scaled down like the sample (Waldspurger, ATC '17). An item has one entry for all of them.

use crate::insight::uses::{FREQUENCY_MAX, Uses};
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Caches that are played.
pub(crate) const SIZES: usize = 4;

/// The small queue's share, as in the store: a tenth.
const SMALL_SHARE: u64 = 10;

/// Stale places that a queue may have beside as many as it has entries.
const STALE_MAX: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Small,
    Main,
    /// Evicted, and not forgotten.
    Ghost,
}

/// Where an item is in one of the caches.
#[derive(Clone, Copy, Debug, Default)]
struct Spot {
    /// Its place in a queue has the same; others are stale.
    stamp: u32,
    state: State,
    frequency: u8,
}

impl Spot {
    const fn is_resident(self) -> bool {
        matches!(self.state, State::Small | State::Main)
    }

    fn add_uses(&mut self, count: u8) {
        self.frequency = self.frequency.saturating_add(count).min(FREQUENCY_MAX);
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    item: Item,
    spots: [Spot; SIZES],
}

/// What is known of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) bytes: u64,
    /// When it dies, in milliseconds.
    pub(crate) dies: u64,
    pub(crate) namespace: u8,
}

/// Entries and their stamps, the oldest first.
#[derive(Debug, Default)]
struct Queue {
    places: VecDeque<(u32, u32)>,
    len: usize,
    bytes: u64,
}

/// One of the caches.
#[derive(Debug, Default)]
struct Cache {
    capacity: u64,
    ghosts_max: usize,
    small: Queue,
    main: Queue,
    ghosts: Queue,
}

impl Cache {
    const fn queue(&mut self, state: State) -> Option<&mut Queue> {
        match state {
            State::Absent => None,
            State::Small => Some(&mut self.small),
            State::Main => Some(&mut self.main),
            State::Ghost => Some(&mut self.ghosts),
        }
    }
}

/// The caches, and the sampled items that are in any of them.
#[derive(Debug, Default)]
pub(crate) struct Simulation {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    places: HashMap<u64, u32, RandomState>,
    caches: [Cache; SIZES],
    /// Of the items that all caches have.
    uses: Arc<Uses>,
    stamp: u32,
    /// The next entry to be looked at by [`Self::expire`].
    next: usize,
}

impl Simulation {
    /// Sets how many bytes and how many ghosts each of the caches may have.
    pub(crate) fn resize(&mut self, limits: [(u64, usize); SIZES]) {
        for (number, (capacity, ghosts_max)) in limits.into_iter().enumerate() {
            if let Some(cache) = self.caches.get_mut(number) {
                (cache.capacity, cache.ghosts_max) = (capacity, ghosts_max);
            }
            self.evict(number);
        }
    }

    /// What counts hits that are hits in all caches, and need not be told here.
    pub(crate) fn uses(&self) -> Arc<Uses> {
        Arc::clone(&self.uses)
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let queues = self.caches.iter().flat_map(|cache| {
            let queues = [&cache.small, &cache.main, &cache.ghosts];
            queues.map(|queue| queue.places.capacity())
        });
        let lists = [
            self.entries.capacity() * size_of::<Option<Entry>>(),
            self.free.capacity() * size_of::<u32>(),
            // Of eight buckets of a table, seven are used at most; each has a byte besides.
            self.places.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1),
            queues.sum::<usize>() * size_of::<(u32, u32)>(),
            self.uses.bytes(),
        ];
        lists.iter().sum()
    }

    /// Items that one of the caches has, and their bytes.
    pub(crate) fn resident(&self, number: usize) -> (usize, u64) {
        let queues = self
            .caches
            .get(number)
            .map(|cache| [&cache.small, &cache.main]);
        let queues = queues.into_iter().flatten();
        queues.fold((0, 0), |(len, bytes), queue| {
            (
                len.saturating_add(queue.len),
                bytes.saturating_add(queue.bytes),
            )
        })
    }

    /// Keys that have an entry, evicted ones that are remembered included.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A key is looked up; returns which of the caches have it. In those that have not, it is stored then if the real
    /// one has it: who asks would store it where there is none.
    pub(crate) fn get(&mut self, hash: u64, real: Option<Item>, now: u64) -> [bool; SIZES] {
        let mut hits = [false; SIZES];
        if let Some(entry) = self.live(hash, now) {
            for (hit, spot) in hits.iter_mut().zip(&mut entry.spots) {
                *hit = spot.is_resident();
                if *hit {
                    spot.add_uses(1);
                }
            }
        }
        if !hits.contains(&false) {
            // Another item may have taken its cell.
            self.uses.begin(hash);
        } else if let Some(item) = real {
            self.store(hash, item);
        }
        hits
    }

    /// An item has another expiry.
    pub(crate) fn touch(&mut self, hash: u64, dies: u64) {
        let slot = self.places.get(&hash).copied();
        if let Some(entry) = slot.and_then(|slot| self.entry_mut(slot)) {
            entry.item.dies = dies;
        }
    }

    /// An item is stored in all caches.
    pub(crate) fn set(&mut self, hash: u64, item: Item, now: u64) {
        let _ = self.live(hash, now);
        self.store(hash, item);
    }

    /// An item is removed from all caches.
    pub(crate) fn delete(&mut self, hash: u64) {
        if let Some(slot) = self.places.get(&hash).copied() {
            self.remove(slot);
        }
    }

    /// Removes all items that `is_gone` says of.
    pub(crate) fn remove_if(&mut self, is_gone: impl Fn(u64, &Item) -> bool) {
        for slot in 0..self.entries.len() {
            self.remove_slot_if(slot, &is_gone);
        }
    }

    /// Looks at so many entries, from where the last call ended, and removes the dead.
    pub(crate) fn expire(&mut self, now: u64, count: usize) {
        for _ in 0..count.min(self.entries.len()) {
            self.next = (self.next.saturating_add(1)) % self.entries.len().max(1);
            self.remove_slot_if(self.next, &|_, item: &Item| item.dies <= now);
        }
    }

    fn remove_slot_if(&mut self, slot: usize, is_gone: &impl Fn(u64, &Item) -> bool) {
        let entry = self.entries.get(slot).and_then(Option::as_ref);
        if let (Some(entry), Ok(slot)) = (entry, u32::try_from(slot))
            && is_gone(entry.hash, &entry.item)
        {
            self.remove(slot);
        }
    }

    /// The entry of a key whose item has not died.
    fn live(&mut self, hash: u64, now: u64) -> Option<&mut Entry> {
        let slot = self.places.get(&hash).copied()?;
        if self.entry(slot)?.item.dies <= now {
            self.remove(slot);
            return None;
        }
        self.entry_mut(slot)
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    fn store(&mut self, hash: u64, item: Item) {
        let slot = self.slot(hash, item);
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let old = std::mem::replace(&mut entry.item, item);
        let spots = entry.spots;
        let is_written_over = |spot: Spot| spot.is_resident() && old.bytes == item.bytes;
        if spots.into_iter().all(is_written_over) {
            self.uses.begin(hash);
            return;
        }
        for (number, spot) in spots.into_iter().enumerate() {
            if is_written_over(spot) {
                continue;
            }
            self.leave(slot, number, old.bytes);
            let state = match spot.state {
                State::Absent => State::Small,
                State::Ghost => State::Main,
                resident => resident,
            };
            self.enter(slot, number, state, spot.frequency);
        }
        // Once it is in all of them, or it could be forgotten on the way.
        (0..SIZES).for_each(|number| self.evict(number));
        let is_everywhere = |entry: &Entry| entry.spots.into_iter().all(Spot::is_resident);
        if self.entry(slot).is_some_and(is_everywhere) {
            self.uses.begin(hash);
        }
    }

    /// The slot of a key, a new one if it has none.
    fn slot(&mut self, hash: u64, item: Item) -> u32 {
        if let Some(slot) = self.places.get(&hash) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len().saturating_sub(1)).unwrap_or_default()
        });
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = Some(Entry {
                hash,
                item,
                spots: [Spot::default(); SIZES],
            });
        }
        self.places.insert(hash, slot);
        slot
    }

    /// Makes an item the newest of a queue.
    fn enter(&mut self, slot: u32, number: usize, state: State, frequency: u8) {
        self.stamp = self.stamp.wrapping_add(1);
        let stamp = self.stamp;
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let bytes = entry.item.bytes;
        if let Some(spot) = entry.spots.get_mut(number) {
            *spot = Spot {
                stamp,
                state,
                frequency,
            };
        }
        if let Some(queue) = self
            .caches
            .get_mut(number)
            .and_then(|cache| cache.queue(state))
        {
            queue.places.push_back((slot, stamp));
            queue.len = queue.len.saturating_add(1);
            queue.bytes = queue.bytes.saturating_add(bytes);
            if queue.places.len() > queue.len.saturating_mul(2).saturating_add(STALE_MAX) {
                self.forget_stale(number, state);
            }
        }
    }

    /// Takes an item, which had so many bytes, out of its queue.
    fn leave(&mut self, slot: u32, number: usize, bytes: u64) {
        let spot = self
            .entry_mut(slot)
            .and_then(|entry| entry.spots.get_mut(number));
        let state = spot.map_or(State::Absent, |spot| std::mem::take(spot).state);
        if let Some(queue) = self
            .caches
            .get_mut(number)
            .and_then(|cache| cache.queue(state))
        {
            queue.len = queue.len.saturating_sub(1);
            queue.bytes = queue.bytes.saturating_sub(bytes);
        }
    }

    fn forget_stale(&mut self, number: usize, state: State) {
        let entries = &self.entries;
        let is_there = |(slot, stamp): &(u32, u32)| {
            let entry = entries.get(*slot as usize).and_then(Option::as_ref);
            let spot = entry.and_then(|entry| entry.spots.get(number));
            spot.is_some_and(|spot| spot.stamp == *stamp)
        };
        if let Some(queue) = self
            .caches
            .get_mut(number)
            .and_then(|cache| cache.queue(state))
        {
            queue.places.retain(is_there);
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let bytes = entry.item.bytes;
        self.uses.end(entry.hash);
        for number in 0..SIZES {
            self.leave(slot, number, bytes);
        }
        self.free_if_absent(slot);
    }

    fn free_if_absent(&mut self, slot: u32) {
        let is_absent = |entry: &Entry| entry.spots.iter().all(|spot| spot.state == State::Absent);
        if let Some(entry) = self.entries.get_mut(slot as usize)
            && let Some(gone) = entry.take_if(|entry| is_absent(entry))
        {
            self.places.remove(&gone.hash);
            self.free.push(slot);
        }
    }

    /// The oldest of a queue, with its frequency.
    fn oldest(&mut self, number: usize, state: State) -> Option<(u32, u8)> {
        loop {
            let cache = self.caches.get_mut(number)?;
            let (slot, stamp) = cache.queue(state)?.places.pop_front()?;
            let spot = self.entry(slot).and_then(|entry| entry.spots.get(number));
            if spot.is_some_and(|spot| spot.stamp == stamp) {
                return Some((slot, self.frequency(slot, number)));
            }
        }
    }

    /// How often an item was used, with what has been counted elsewhere.
    fn frequency(&mut self, slot: u32, number: usize) -> u8 {
        let uses = Arc::clone(&self.uses);
        let Some(entry) = self.entry_mut(slot) else {
            return 0;
        };
        let count = uses.take(entry.hash);
        entry.spots.iter_mut().for_each(|spot| spot.add_uses(count));
        entry.spots.get(number).map_or(0, |spot| spot.frequency)
    }

    /// Evicts from one of the caches what it has no room for.
    fn evict(&mut self, number: usize) {
        while let Some(cache) = self.caches.get(number) {
            let (small, main) = (cache.small.bytes, cache.main.bytes);
            let is_small_due = main == 0 || small.saturating_mul(SMALL_SHARE) > cache.capacity;
            if small.saturating_add(main) <= cache.capacity {
                break;
            }
            let state = if is_small_due {
                State::Small
            } else {
                State::Main
            };
            let Some((slot, frequency)) = self.oldest(number, state) else {
                break;
            };
            let (bytes, hash) = self
                .entry(slot)
                .map_or((0, 0), |entry| (entry.item.bytes, entry.hash));
            self.leave(slot, number, bytes);
            if frequency == 0 {
                self.uses.end(hash);
            }
            match (state, frequency) {
                (State::Small, 0) => self.enter(slot, number, State::Ghost, 0),
                (State::Small, _) => self.enter(slot, number, State::Main, 0),
                (_, 0) => self.free_if_absent(slot),
                (_, uses) => self.enter(slot, number, State::Main, uses.saturating_sub(1)),
            }
        }
        self.forget_ghosts(number);
    }

    fn forget_ghosts(&mut self, number: usize) {
        let is_full = |cache: &Cache| cache.ghosts.len > cache.ghosts_max;
        while self.caches.get(number).is_some_and(is_full) {
            let Some((slot, _)) = self.oldest(number, State::Ghost) else {
                break;
            };
            let bytes = self.entry(slot).map_or(0, |entry| entry.item.bytes);
            self.leave(slot, number, bytes);
            self.free_if_absent(slot);
        }
    }
}

#[cfg(test)]
mod tests;
