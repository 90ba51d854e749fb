//! [`Names`]: which number a name has, looked up without a lock; names leave, and their numbers go to others.
//!
//! Who is asked under a shard's lock (`of`) must never be wrong: items get what it says. Names are given numbers at their
//! first store until all that may be told are taken. After that only [`Names::exchange`] changes anything: it fills a
//! second table and lets that be the one to look in. The table and the numbers that it fills are not those that have been
//! looked at since the exchange before, after which all shards' locks were taken (`Store::renumber`): whoever has looked
//! there under a shard's lock has long let go of it. So nobody under such a lock sees a table or a name that is being
//! written.
//!
//! Who looks without such a lock, to count a request that found nothing, may do so: should it be held up on its way, or
//! between the number and the counter, for as long as it takes to go through all items, that one request is counted
//! where the number is told by then, or as one of the others'.

use crate::insight::rules::{NAME_LEN_MAX, Name, Rules};
use foldhash::fast::RandomState;
use nuthatch_store::NamespaceId;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names that are told apart at a time; all others are one.
pub(crate) const TOLD_MAX: usize = 64;

/// Numbers of names that join those, or that have left them while items still have their numbers.
pub(crate) const SPARE: usize = 16;

/// With the one for what is not told apart, which has the number 0.
pub(crate) const COUNT: usize = 1 + TOLD_MAX + SPARE;

/// Places to look a name up in: so many that few are next to each other.
const SLOTS: usize = 256;

/// Numbers of names, each at the first free place behind the one that its hash says; 0 where none is.
#[derive(Debug)]
struct Table([AtomicU8; SLOTS]);

impl Default for Table {
    fn default() -> Self {
        Self([const { AtomicU8::new(0) }; SLOTS])
    }
}

impl Table {
    fn from(&self, hash: u64) -> impl Iterator<Item = &AtomicU8> {
        let first = usize::try_from(hash % (SLOTS as u64)).unwrap_or_default();
        self.0.iter().cycle().skip(first).take(SLOTS)
    }

    /// The numbers in it.
    fn numbers(&self) -> impl Iterator<Item = NamespaceId> {
        let numbers = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        numbers.filter(|id| *id > 0)
    }

    fn put(&self, hash: u64, id: NamespaceId) {
        let mut slots = self.from(hash);
        if let Some(free) = slots.find(|slot| slot.load(Ordering::Relaxed) == 0) {
            free.store(id, Ordering::Release);
        }
    }

    fn clear(&self) {
        for slot in &self.0 {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

/// A name that may be written while somebody reads it.
#[derive(Debug, Default)]
struct Cell {
    len: AtomicUsize,
    words: [AtomicU64; NAME_LEN_MAX / size_of::<u64>()],
}

impl Cell {
    fn is(&self, name: &Name) -> bool {
        let len = name.as_bytes().len();
        let words = self
            .words
            .iter()
            .zip(name.words())
            .take(len.div_ceil(size_of::<u64>()));
        self.len.load(Ordering::Relaxed) == len
            && words
                .into_iter()
                .all(|(cell, word)| cell.load(Ordering::Relaxed) == word)
    }

    fn set(&self, name: &Name) {
        self.len.store(name.as_bytes().len(), Ordering::Relaxed);
        for (cell, word) in self.words.iter().zip(name.words()) {
            cell.store(word, Ordering::Relaxed);
        }
    }

    fn name(&self) -> Name {
        let words = self
            .words
            .each_ref()
            .map(|cell| cell.load(Ordering::Relaxed));
        Name::from_words(words, self.len.load(Ordering::Relaxed))
    }
}

/// The rules, and the numbers of names.
#[derive(Debug)]
pub(crate) struct Names {
    rules: Rules,
    random: RandomState,
    tables: [Table; 2],
    /// The one that is to be looked in.
    current: AtomicUsize,
    cells: [Cell; COUNT - 1],
    /// Names that have numbers because the rules have them ...
    fixed: usize,
    /// ... and with those that have because something was stored there before there were too many.
    first: AtomicUsize,
    /// Held by who changes something.
    changing: Mutex<()>,
}

impl Names {
    pub(crate) fn new(rules: &Rules) -> Self {
        let mut names = Self {
            rules: rules.clone(),
            random: RandomState::default(),
            tables: Default::default(),
            current: AtomicUsize::new(0),
            cells: std::array::from_fn(|_| Cell::default()),
            fixed: 0,
            first: AtomicUsize::new(0),
            changing: Mutex::default(),
        };
        for name in rules.names() {
            names.add(name);
        }
        names.fixed = names.first();
        names
    }

    /// The name of the key, if it is in a namespace.
    pub(crate) fn name(&self, key: &[u8]) -> Option<Name> {
        self.rules.name(key)
    }

    /// The number of a key; 0 if its name has none.
    pub(crate) fn find(&self, key: &[u8]) -> NamespaceId {
        let name = self.name(key);
        name.and_then(|name| self.number(&name)).unwrap_or_default()
    }

    /// The number of a key that is about to be stored. Its name gets one if that is still to be had.
    pub(crate) fn of(&self, key: &[u8]) -> NamespaceId {
        let Some(name) = self.name(key) else {
            return 0;
        };
        // Before the name is looked up: all that were the first are found then.
        let is_full = self.is_full();
        match self.number(&name) {
            Some(id) => id,
            None if is_full => 0,
            None => self.add(&name),
        }
    }

    /// Whether all that may be told at a time have been given numbers.
    pub(crate) fn is_full(&self) -> bool {
        self.first() == TOLD_MAX
    }

    /// Numbers from 1 up to this one were given to who came first.
    pub(crate) fn first(&self) -> usize {
        self.first.load(Ordering::Acquire)
    }

    /// Whether this number's name never leaves.
    pub(crate) fn is_fixed(&self, id: NamespaceId) -> bool {
        usize::from(id) <= self.fixed
    }

    /// The name that has this number, for who knows that it has one.
    pub(crate) fn name_of(&self, id: NamespaceId) -> Option<Name> {
        let place = usize::from(id).checked_sub(1)?;
        self.cells.get(place).map(Cell::name)
    }

    /// Lets names be without their numbers, and gives others numbers that none has had since the last time.
    pub(crate) fn exchange(&self, leaving: &[NamespaceId], joining: &[(NamespaceId, Name)]) {
        let changing = self.lock();
        let current = self.current.load(Ordering::Relaxed);
        let other = current ^ 1;
        if let (Some(old), Some(new)) = (self.tables.get(current), self.tables.get(other)) {
            new.clear();
            for id in old.numbers().filter(|id| !leaving.contains(id)) {
                if let Some(name) = self.name_of(id) {
                    new.put(self.hash(&name), id);
                }
            }
            for (id, name) in joining {
                self.put(new, *id, name);
            }
            self.current.store(other, Ordering::Release);
        }
        drop(changing);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, name: &Name) -> u64 {
        self.random.hash_one(name.as_bytes())
    }

    fn table(&self) -> Option<&Table> {
        self.tables.get(self.current.load(Ordering::Acquire))
    }

    /// The number of a name, if it has one.
    pub(crate) fn number(&self, name: &Name) -> Option<NamespaceId> {
        for slot in self.table()?.from(self.hash(name)) {
            let id = slot.load(Ordering::Acquire);
            let cell = self.cells.get(usize::from(id).checked_sub(1)?)?;
            if cell.is(name) {
                return Some(id);
            }
        }
        None
    }

    /// The number of a name, a new one if it has none; 0 if there are no more.
    fn add(&self, name: &Name) -> NamespaceId {
        let changing = self.lock();
        if let Some(id) = self.number(name) {
            return id;
        }
        if self.is_full() {
            return 0;
        }
        let number = self.first().saturating_add(1);
        let id = NamespaceId::try_from(number).unwrap_or_default();
        if let Some(table) = self.table() {
            self.put(table, id, name);
        }
        // After the name: who sees that there are no more finds it.
        self.first.store(number, Ordering::Release);
        drop(changing);
        id
    }

    fn put(&self, table: &Table, id: NamespaceId, name: &Name) {
        if let Some(cell) = self.cells.get(usize::from(id).wrapping_sub(1)) {
            cell.set(name);
            table.put(self.hash(name), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn names(rules: &str) -> Names {
        Names::new(&Rules::parse(&[rules.to_owned()]).unwrap())
    }

    fn key(number: usize) -> Vec<u8> {
        format!("n{number}/key").into_bytes()
    }

    #[test]
    fn so_many_names_get_numbers_by_being_stored_and_no_more() {
        let names = names("delimiter:/");
        assert_eq!(names.find(&key(0)), 0);
        for number in 0..TOLD_MAX {
            assert!(!names.is_full());
            assert_eq!(usize::from(names.of(&key(number))), number + 1);
        }
        assert!(names.is_full());
        assert_eq!(
            (names.of(&key(TOLD_MAX)), names.find(&key(TOLD_MAX))),
            (0, 0)
        );
        assert_eq!((names.of(&key(0)), names.find(&key(63))), (1, 64));
    }

    #[test]
    fn names_of_the_rules_are_there_from_the_start_and_stay() {
        let names = names("basket=shop:b,delimiter:/");
        assert_eq!((names.find(b"shop:b:1"), names.of(b"a/1")), (1, 2));
        assert!(names.is_fixed(1) && !names.is_fixed(2));
        let name = names.name_of(1).unwrap();
        assert_eq!(name.as_str(), "basket");
        // Its text is not a name of its own.
        assert_eq!(names.find(b"nothing"), 0);
    }

    #[test]
    fn a_name_is_compared_to_its_end() {
        let names = names("delimiter:/");
        let long = |last: char| format!("{}{last}/key", "x".repeat(NAME_LEN_MAX - 1));
        let (one, other) = (long('1'), long('2'));
        assert_eq!(
            (names.of(one.as_bytes()), names.of(other.as_bytes())),
            (1, 2)
        );
        assert_eq!(names.of(b"x/key"), 3);
        assert_eq!(
            names.name_of(2).unwrap().as_str(),
            other.trim_end_matches("/key")
        );
        assert_eq!(names.find(b"12345678/"), 0);
        assert_eq!((names.of(b"12345678a/"), names.of(b"12345678b/")), (4, 5));
    }

    #[test]
    fn names_come_and_go_and_those_that_stay_are_found() {
        let names = names("delimiter:/");
        let mut told: HashMap<usize, u8> = (0..TOLD_MAX)
            .map(|number| (number, names.of(&key(number))))
            .collect();
        let mut free = 65;
        for joins in TOLD_MAX..2_000 {
            let mix = |number: &&usize| **number * 7919 % 101;
            let leaves = *told.keys().min_by_key(mix).unwrap();
            let left = told.remove(&leaves).unwrap();
            let name = names.name(&key(joins)).unwrap();
            names.exchange(&[left], &[(free, name)]);
            told.insert(joins, free);
            free = left;
            assert_eq!((names.of(&key(leaves)), names.find(&key(leaves))), (0, 0));
            for (number, id) in &told {
                assert_eq!(names.of(&key(*number)), *id);
            }
        }
        let all: Vec<u8> = told.into_values().collect();
        names.exchange(&all, &[]);
        assert_eq!(names.table().unwrap().numbers().count(), 0);
    }
}
