//! [`Namespaces`]: the namespaces that there are, and how their keys are asked for.
//!
//! The store counts items, bytes, what is stored, counted and evicted, exactly: each record has the number of its
//! namespace. Requests are counted by the threads that answer them, on cache lines of their own; a hit knows its
//! namespace from the record, and only where there is none the key is looked at.

use crate::counters::add;
use crate::insight::rules::{Name, OTHER, Rules};
use crate::insight::{NamespaceRow, Results};
use foldhash::fast::RandomState;
use nuthatch_store::{NamespaceId, NamespaceStats};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Namespaces that are told apart, the first that something is stored in; all others are one.
pub(crate) const NAMESPACES_MAX: usize = 64;

/// With the one for what is in none, which has the number 0.
const COUNT: usize = NAMESPACES_MAX + 1;

/// Places to look a name up in: so many that few are next to each other.
const SLOTS: usize = 256;

/// What is asked of a key, and whether it had a live item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    GetHit,
    GetMiss,
    DeleteHit,
    DeleteMiss,
    TouchHit,
    TouchMiss,
    ArithMiss,
}

const EVENTS: usize = Event::ArithMiss as usize + 1;

/// The numbers of the names. They are given once, and never to another name: items have them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    rules: Rules,
    random: RandomState,
    /// Numbers of names, each at the first free place behind the one that its hash says.
    slots: [AtomicU8; SLOTS],
    names: [OnceLock<Name>; NAMESPACES_MAX],
    count: Mutex<usize>,
}

impl Namespaces {
    /// `None` if they are off.
    pub(crate) fn new(rules: &Rules) -> Option<Self> {
        if rules.is_off() {
            return None;
        }
        let namespaces = Self {
            rules: rules.clone(),
            random: RandomState::default(),
            slots: [const { AtomicU8::new(0) }; SLOTS],
            names: [const { OnceLock::new() }; NAMESPACES_MAX],
            count: Mutex::default(),
        };
        for name in rules.names() {
            namespaces.add(name);
        }
        Some(namespaces)
    }

    /// The number of a key; 0 also if nothing has ever been stored in its namespace.
    pub(crate) fn find(&self, key: &[u8]) -> NamespaceId {
        let name = self.rules.name(key);
        name.and_then(|name| self.number(&name)).unwrap_or_default()
    }

    /// The number of a name as it is told.
    pub(crate) fn by_name(&self, name: &[u8]) -> Option<NamespaceId> {
        if name == OTHER.as_bytes() {
            return Some(0);
        }
        let known = (1..).zip(self.names.iter().map_while(OnceLock::get));
        known
            .into_iter()
            .find_map(|(id, known)| (known.as_bytes() == name).then_some(id))
    }

    fn slots_of(&self, name: &Name) -> impl Iterator<Item = &AtomicU8> {
        let hash = self.random.hash_one(name.as_bytes());
        let first = usize::try_from(hash % (SLOTS as u64)).unwrap_or_default();
        self.slots.iter().cycle().skip(first).take(SLOTS)
    }

    fn number(&self, name: &Name) -> Option<NamespaceId> {
        for slot in self.slots_of(name) {
            let id = slot.load(Ordering::Acquire);
            let known = self.names.get(usize::from(id).checked_sub(1)?)?.get()?;
            if known == name {
                return Some(id);
            }
        }
        None
    }

    /// The number of a name, a new one if it has none; 0 if there are no more.
    fn add(&self, name: &Name) -> NamespaceId {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = self.number(name) {
            return id;
        }
        let Some(place) = self.names.get(*count) else {
            return 0;
        };
        *count = count.saturating_add(1);
        let id = NamespaceId::try_from(*count).unwrap_or_default();
        // Nobody else adds, so it is free.
        let _ = place.set(*name);
        let free = self
            .slots_of(name)
            .find(|slot| slot.load(Ordering::Relaxed) == 0);
        if let Some(slot) = free {
            slot.store(id, Ordering::Release);
        }
        id
    }

    /// All of them with their names, 0 at the end.
    pub(crate) fn rows(&self, stored: &[NamespaceStats], requests: &Sums) -> Vec<NamespaceRow> {
        let known = self.names.iter().map_while(OnceLock::get);
        let names = std::iter::once(OTHER).chain(known.map(Name::as_str));
        let counted = stored.iter().zip(&requests.0);
        let rows = names
            .zip(counted)
            .map(|(name, (stored, requests))| row(name, stored, requests));
        let mut rows: Vec<NamespaceRow> = rows.collect();
        if !rows.is_empty() {
            rows.rotate_left(1);
        }
        rows
    }
}

fn row(name: &str, stored: &NamespaceStats, requests: &[u64; EVENTS]) -> NamespaceRow {
    let [get_hits, get_misses, delete_hits, delete_misses, rest @ ..] = *requests;
    let [touch_hits, touch_misses, arith_misses] = rest;
    let results = |hits, misses| Results { hits, misses };
    NamespaceRow {
        name: name.to_owned(),
        get: results(get_hits, get_misses),
        delete: results(delete_hits, delete_misses),
        touch: results(touch_hits, touch_misses),
        arith: results(stored.counted, arith_misses),
        sets: stored.stored,
        items: stored.items,
        bytes: stored.bytes,
        evictions: stored.evictions,
    }
}

impl nuthatch_store::Namespaces for Namespaces {
    fn count(&self) -> usize {
        COUNT
    }

    fn of(&self, key: &[u8]) -> NamespaceId {
        let Some(name) = self.rules.name(key) else {
            return 0;
        };
        self.number(&name).unwrap_or_else(|| self.add(&name))
    }
}

/// The requests that one thread has answered.
#[derive(Debug)]
pub(crate) struct Requests([[AtomicU64; EVENTS]; COUNT]);

impl Default for Requests {
    fn default() -> Self {
        Self([const { [const { AtomicU64::new(0) }; EVENTS] }; COUNT])
    }
}

impl Requests {
    /// To be called by that thread alone.
    pub(crate) fn count(&self, id: NamespaceId, event: Event) {
        let namespace = self.0.get(usize::from(id));
        if let Some(cell) = namespace.and_then(|cells| cells.get(event as usize)) {
            add(cell, 1);
        }
    }
}

/// Sums over threads.
#[derive(Clone, Debug)]
pub(crate) struct Sums([[u64; EVENTS]; COUNT]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0; EVENTS]; COUNT])
    }
}

impl Sums {
    pub(crate) fn of<'a>(threads: impl IntoIterator<Item = &'a Requests>) -> Self {
        let mut sums = Self::default();
        for Requests(cells) in threads {
            let cells = cells.iter().flatten();
            for (sum, cell) in sums.0.iter_mut().flatten().zip(cells) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }

    /// Keys looked up, and those of them that had no live item.
    pub(crate) fn gets(&self) -> Results {
        let of = |event: Event| {
            let counts = self
                .0
                .iter()
                .filter_map(|counts| counts.get(event as usize));
            counts.fold(0u64, |sum, count| sum.wrapping_add(*count))
        };
        Results {
            hits: of(Event::GetHit),
            misses: of(Event::GetMiss),
        }
    }

    /// What was counted after `earlier`.
    pub(crate) fn since(mut self, earlier: &Self) -> Self {
        for (sum, before) in self.0.iter_mut().flatten().zip(earlier.0.iter().flatten()) {
            *sum = sum.wrapping_sub(*before);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_store::Namespaces as _;

    fn namespaces(rules: &str) -> Namespaces {
        Namespaces::new(&Rules::parse(&[rules.to_owned()]).unwrap()).unwrap()
    }

    #[test]
    fn so_many_namespaces_are_told_apart_and_no_more() {
        let namespaces = namespaces("delimiter:/");
        let key = |number: usize| format!("n{number}/key").into_bytes();
        for number in 0..NAMESPACES_MAX {
            assert_eq!(usize::from(namespaces.of(&key(number))), number + 1);
        }
        assert_eq!(namespaces.of(&key(NAMESPACES_MAX)), 0);
        assert_eq!(namespaces.find(&key(NAMESPACES_MAX)), 0);
        assert_eq!(namespaces.find(&key(NAMESPACES_MAX - 1)), 64);
        assert_eq!(namespaces.of(&key(0)), 1);
        let stored = vec![NamespaceStats::default(); namespaces.count()];
        let rows = namespaces.rows(&stored, &Sums::default());
        assert_eq!(rows.len(), NAMESPACES_MAX + 1);
        assert_eq!(
            (rows[0].name.as_str(), rows[64].name.as_str()),
            ("n0", "other")
        );
    }

    #[test]
    fn names_are_known_from_what_is_stored_or_from_the_rules() {
        let namespaces = namespaces("basket=shop:b,delimiter:/");
        assert_eq!(namespaces.by_name(b"basket"), Some(1));
        assert_eq!(
            (namespaces.find(b"a/1"), namespaces.by_name(b"a")),
            (0, None)
        );
        assert_eq!(namespaces.of(b"a/1"), 2);
        assert_eq!(
            (namespaces.find(b"a/2"), namespaces.by_name(b"a")),
            (2, Some(2))
        );
        assert_eq!(namespaces.by_name(b"other"), Some(0));
    }

    #[test]
    fn requests_are_summed_over_threads_since_the_last_reset() {
        let threads = [Requests::default(), Requests::default()];
        threads[0].count(64, Event::ArithMiss);
        let before = Sums::of(&threads);
        threads[0].count(0, Event::GetHit);
        threads[1].count(0, Event::GetHit);
        threads[1].count(64, Event::ArithMiss);
        let sums = Sums::of(&threads).since(&before);
        assert_eq!((sums.0[0][0], sums.0[64][6]), (2, 1));
        assert_eq!(sums.0.iter().flatten().sum::<u64>(), 3);
    }
}
