//! Keys get other numbers while items are stored, deleted, evicted, flushed and die: the books stay exact, and nothing
//! dies of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use nuthatch_store::{
    BlockHeader, Config, Expiry, Lookup, NamespaceId, Namespaces, NewItem, NewValue, Save, Store,
    StoreOutcome, Time, Walk,
};

/// Names that keys are divided into by their first byte.
const NAMES: u8 = 8;

/// Numbers besides 0.
const NUMBERS: u8 = 6;

/// Says the numbers of the names.
#[derive(Debug, Default)]
struct Table([AtomicU8; NAMES as usize]);

impl Table {
    fn number(&self, name: u8) -> NamespaceId {
        self.0[usize::from(name)].load(Ordering::SeqCst)
    }

    fn tell(&self, name: u8, number: NamespaceId) {
        self.0[usize::from(name)].store(number, Ordering::SeqCst);
    }
}

impl Namespaces for Table {
    fn count(&self) -> usize {
        usize::from(NUMBERS) + 1
    }

    fn of(&self, key: &[u8]) -> NamespaceId {
        self.number(key[0])
    }
}

fn store(memory_limit_bytes: u64, shards: usize) -> (Store, Arc<Table>) {
    store_from(0, memory_limit_bytes, shards)
}

fn store_from(cas_start: u64, memory_limit_bytes: u64, shards: usize) -> (Store, Arc<Table>) {
    let table = Arc::new(Table::default());
    let known: Arc<dyn Namespaces> = Arc::<Table>::clone(&table);
    let store = Store::new(&Config {
        memory_limit_bytes,
        item_len_max: 100_000,
        shard_count: NonZeroUsize::new(shards),
        namespaces: Some(known),
        cas_start,
        ..Config::default()
    });
    (store, table)
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn key(name: u8, number: u64) -> Vec<u8> {
    [&[name][..], &number.to_be_bytes()].concat()
}

fn set(store: &Store, key: &[u8], len: usize, expiry: Expiry, now: Time) {
    let value = vec![b'v'; len];
    let item = NewItem {
        client_flags: 0,
        expiry,
        value: NewValue::Copied(&value),
    };
    let outcome = store.set(key, item, now);
    assert!(matches!(outcome, StoreOutcome::Stored { .. }));
}

fn is_there(store: &Store, key: &[u8], now: Time) -> bool {
    store.get(key, now, |_| ()) == Lookup::Hit(())
}

/// Lets sweeps come until all is done.
fn settle(store: &Store, now: Time) {
    // The first round may have begun before.
    for _ in 0..2 {
        let _ = store.sweep(now, usize::MAX);
    }
    assert!(store.is_renumbered());
}

fn items(store: &Store) -> Vec<u64> {
    store.namespaces().iter().map(|one| one.items).collect()
}

#[test]
fn items_follow_their_keys_and_nothing_else_changes() {
    let (store, table) = store(16 << 20, 2);
    for number in 0..3_000 {
        let len = if number % 100 == 0 { 40_000 } else { 100 };
        set(&store, &key(0, number), len, Expiry::Never, at(0));
        set(&store, &key(1, number), 50, Expiry::Never, at(0));
    }
    let before = store.namespaces();
    assert_eq!(items(&store), [6_000, 0, 0, 0, 0, 0, 0]);
    assert!(store.is_renumbered());
    table.tell(0, 3);
    store.renumber(&[3]);
    assert!(!store.is_renumbered());
    assert_eq!(items(&store), [6_000, 0, 0, 0, 0, 0, 0]);
    settle(&store, at(1));
    let after = store.namespaces();
    assert_eq!(items(&store), [3_000, 0, 0, 3_000, 0, 0, 0]);
    assert_eq!(after[0].bytes + after[3].bytes, before[0].bytes);
    assert!(after[3].bytes > 30 * 40_000 + 2_970 * 100);
    assert_eq!((after[0].stored, after[3].stored), (6_000, 0));
    store.check().unwrap();
    store.flush_namespaces(&[3], at(1));
    for number in 0..3_000 {
        assert!(!is_there(&store, &key(0, number), at(1)));
        assert!(is_there(&store, &key(1, number), at(1)));
    }
}

#[test]
fn a_number_that_is_used_again_has_forgotten_its_flushes() {
    let (store, table) = store(16 << 20, 2);
    table.tell(0, 1);
    for name in [0, 1] {
        set(&store, &key(name, 0), 100, Expiry::Never, at(0));
        set(&store, &key(name, 1), 40_000, Expiry::Never, at(0));
    }
    store.flush_namespaces(&[1], at(0));
    table.tell(0, 0);
    store.renumber(&[]);
    settle(&store, at(0));
    assert_eq!(items(&store)[..2], [2, 0]);
    table.tell(1, 1);
    store.renumber(&[1]);
    settle(&store, at(0));
    assert_eq!(items(&store)[..2], [0, 2]);
    for number in [0, 1] {
        assert!(!is_there(&store, &key(0, number), at(0)));
        assert!(is_there(&store, &key(1, number), at(0)));
    }
    store.check().unwrap();
}

#[test]
fn an_item_does_not_die_of_its_new_number() {
    let (store, table) = store(16 << 20, 1);
    table.tell(0, 1);
    set(&store, &key(0, 0), 100, Expiry::Never, at(0));
    set(&store, &key(0, 1), 40_000, Expiry::Never, at(0));
    set(&store, &key(0, 2), 100, Expiry::Never, at(0));
    set(&store, &key(1, 0), 100, Expiry::Never, at(0));
    store.flush_namespaces(&[0], at(0));
    set(&store, &key(0, 3), 100, Expiry::Never, at(0));
    table.tell(0, 0);
    store.renumber(&[]);
    settle(&store, at(0));
    // What is newer than the flush has the number; what is older keeps its own, and lives.
    assert_eq!(items(&store)[..2], [1, 3]);
    for number in 0..4 {
        assert!(is_there(&store, &key(0, number), at(0)), "{number}");
    }
    assert!(!is_there(&store, &key(1, 0), at(0)));
    // Whatever is stored under such a key gets the right one, in the same place or another.
    set(&store, &key(0, 0), 100, Expiry::Never, at(0));
    set(&store, &key(0, 1), 41_000, Expiry::Never, at(0));
    assert_eq!(items(&store)[..2], [3, 1]);
    store.check().unwrap();
    store.flush_namespaces(&[0, 1], at(0));
    let _ = store.sweep(at(0), usize::MAX) + store.sweep(at(0), usize::MAX);
    assert_eq!(store.snapshot().curr_items, 0);
}

#[test]
fn what_was_copied_before_is_copied_again() {
    let (store, table) = store(16 << 20, 1);
    table.tell(0, 1);
    table.tell(1, 2);
    let value_len = 15_000;
    for number in 0..40 {
        set(&store, &key(0, number), value_len, Expiry::Never, at(0));
        set(&store, &key(1, number), value_len, Expiry::Never, at(0));
    }
    let mut save: Save<'_> = store.save(at(0), 0);
    let mut blocks = vec![save.next_block().unwrap().to_vec()];
    let mut walk = Walk::default();
    let shown = Mutex::new(Vec::new());
    let note = |item: nuthatch_store::Listed<'_>| shown.lock().unwrap().push(item.key.to_vec());
    // The numbers are exchanged, and one of them flushed, while a copy of a segment is shown, under no lock.
    let mut has_changed = false;
    let mut more = true;
    while more {
        more = store.walk(&mut walk, at(0), |item| {
            note(item);
            if !has_changed {
                has_changed = true;
                table.tell(0, 3);
                table.tell(1, 0);
                store.renumber(&[3]);
                settle(&store, at(0));
                table.tell(1, 1);
                store.renumber(&[1]);
                settle(&store, at(0));
                store.flush_namespaces(&[1], at(0));
            }
        });
    }
    let shown = shown.into_inner().unwrap();
    let of = |name: u8| {
        let mut keys: Vec<_> = shown.iter().filter(|key| key[0] == name).collect();
        keys.sort();
        keys.dedup();
        keys.len()
    };
    // All that live are shown, and none that is dead but what was shown before.
    assert_eq!(of(0), 40);
    assert!(of(1) <= 1, "{}", of(1));
    while let Some(block) = save.next_block() {
        blocks.push(block.to_vec());
    }
    let (back, _) = store_from(1_000_000, 16 << 20, 1);
    restore(&back, &blocks);
    let saved = |name| {
        let is_saved = |number: &u64| is_there(&back, &key(name, *number), at(0));
        (0..40).filter(is_saved).count()
    };
    assert_eq!(saved(0), 40);
    // A block is 256 KiB: that many were saved before the flush.
    assert!(saved(1) <= 20, "{}", saved(1));
}

#[test]
fn what_was_copied_while_numbers_change_is_copied_again_when_they_have() {
    let (store, table) = store(16 << 20, 1);
    for number in 0..40 {
        set(&store, &key(0, number), 15_000, Expiry::Never, at(0));
    }
    table.tell(0, 1);
    store.renumber(&[1]);
    let mut save = store.save(at(0), 0);
    let mut blocks = vec![save.next_block().unwrap().to_vec()];
    let (mut walk, mut shown) = (Walk::default(), 0);
    let mut more = true;
    while more {
        more = store.walk(&mut walk, at(0), |_| {
            if shown == 0 {
                settle(&store, at(0));
                store.flush_namespaces(&[1], at(0));
            }
            shown += 1;
        });
    }
    assert_eq!(shown, 1);
    while let Some(block) = save.next_block() {
        blocks.push(block.to_vec());
    }
    let (back, _) = store_from(1_000_000, 16 << 20, 1);
    restore(&back, &blocks);
    assert!(back.snapshot().curr_items <= 20);
}

fn restore(store: &Store, blocks: &[Vec<u8>]) {
    let mut restore = store.restore(true);
    for block in blocks {
        let header = BlockHeader::parse(block.first_chunk().unwrap()).unwrap();
        restore.block(&header, &block[BlockHeader::LEN..], at(0), 0);
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    fn byte(&mut self, end: u8) -> u8 {
        u8::try_from(self.below(end.into())).unwrap()
    }
}

/// What should be there, where nothing is evicted.
#[derive(Debug, Default)]
struct Reference {
    items: HashMap<Vec<u8>, Item>,
    /// The last step in which a number was flushed, since it is what it is.
    flushed: [u64; NUMBERS as usize + 1],
}

#[derive(Clone, Copy, Debug)]
struct Item {
    expiry: Expiry,
    stored: u64,
    number: NamespaceId,
}

impl Reference {
    fn set(&mut self, key: Vec<u8>, expiry: Expiry, step: u64, table: &Table) {
        let number = table.of(&key);
        let item = Item {
            expiry,
            stored: step,
            number,
        };
        self.items.insert(key, item);
    }

    fn live(&mut self, key: &[u8], now: Time) -> Option<&mut Item> {
        let item = self.items.get_mut(key)?;
        (!item.expiry.is_due(now)).then_some(item)
    }

    /// All items have been looked through.
    fn settle(&mut self, table: &Table) {
        for (key, item) in &mut self.items {
            let number = table.of(key);
            if item.stored > self.flushed[usize::from(number)] {
                item.number = number;
            }
        }
    }

    fn flush(&mut self, number: NamespaceId, step: u64) {
        self.flushed[usize::from(number)] = step;
        self.items.retain(|_, item| item.number != number);
    }
}

/// A store that is used at random, and what should be in it.
struct World {
    store: Store,
    table: Arc<Table>,
    random: Random,
    reference: Reference,
    is_full: bool,
    exchanges: usize,
    kept: usize,
}

impl World {
    fn new(seed: u64, memory_limit_bytes: u64, is_full: bool) -> Self {
        let (store, table) = store(memory_limit_bytes, 2);
        Self {
            store,
            table,
            random: Random(seed),
            reference: Reference::default(),
            is_full,
            exchanges: 0,
            kept: 0,
        }
    }

    fn step(&mut self, step: u64) {
        let now = at(step);
        let key = key(self.random.byte(NAMES), self.random.below(1_000));
        match self.random.below(1_000) {
            0..500 => self.set(key, step),
            500..600 => {
                let _ = self.store.delete(&key, now);
                self.reference.items.remove(&key);
            }
            // Heads become longer, records move.
            600..650 => {
                let expiry = Expiry::At(at(step + 2_000));
                if self.store.touch(&key, expiry, now)
                    && let Some(item) = self.reference.live(&key, now)
                {
                    item.expiry = expiry;
                }
            }
            650..700 => {
                let outcome = self.store.append(&key, b"more", now);
                let is_appended = matches!(outcome, StoreOutcome::Stored { .. });
                let number = self.table.of(&key);
                if is_appended && let Some(item) = self.reference.live(&key, now) {
                    (item.stored, item.number) = (step, number);
                }
            }
            700..960 => {
                let is_live = self.reference.live(&key, now).is_some();
                let is_there = is_there(&self.store, &key, now);
                let may_be_evicted = self.is_full && !is_there;
                assert!(is_there == is_live || may_be_evicted, "{step}: {key:?}");
            }
            960..990 => {
                let _ = self.store.sweep(now, 100);
            }
            990 => self.flush(step),
            _ => self.exchange(),
        }
    }

    fn set(&mut self, key: Vec<u8>, step: u64) {
        let expiry = match self.random.below(3) {
            0 => Expiry::At(at(step + self.random.below(4_000))),
            _ => Expiry::Never,
        };
        let len = match self.random.below(50) {
            0 => 20_000,
            _ => self.random.below(900),
        };
        set(
            &self.store,
            &key,
            usize::try_from(len).unwrap(),
            expiry,
            at(step),
        );
        self.reference.set(key, expiry, step, &self.table);
    }

    /// Which items have a number is known once all is done.
    fn flush(&mut self, step: u64) {
        let number = self.random.byte(NUMBERS + 1);
        settle(&self.store, at(step));
        self.reference.settle(&self.table);
        let items = self.reference.items.iter();
        self.kept += items
            .filter(|(key, item)| item.number != self.table.of(key))
            .count();
        self.store.flush_namespaces(&[number], at(step));
        self.reference.flush(number, step);
    }

    /// Exchanges the numbers of two names, as the server does: a number is used again once the books say that no item
    /// has it.
    fn exchange(&mut self) {
        if !self.store.is_renumbered() {
            return;
        }
        self.reference.settle(&self.table);
        self.exchanges += 1;
        let held = items(&self.store);
        let is_free = |number: &u8| {
            let mut names = 0..NAMES;
            held[usize::from(*number)] == 0 && names.all(|name| self.table.number(name) != *number)
        };
        let Some(free) = (1..=NUMBERS).find(is_free) else {
            let leaves = self.random.byte(NAMES);
            self.table.tell(leaves, 0);
            self.store.renumber(&[]);
            return;
        };
        let (leaves, joins) = (self.random.byte(NAMES), self.random.byte(NAMES));
        self.table.tell(leaves, 0);
        if self.table.number(joins) == 0 {
            self.table.tell(joins, free);
        }
        self.reference.flushed[usize::from(free)] = 0;
        self.store.renumber(&[free]);
    }

    fn check(&self) {
        self.store.check().unwrap();
        let held = self.store.namespaces();
        let snapshot = self.store.snapshot();
        let sums = held.iter().fold((0, 0), |(items, bytes), one| {
            (items + one.items, bytes + one.bytes)
        });
        assert_eq!(sums, (snapshot.curr_items, snapshot.bytes));
    }
}

/// Returns how often numbers were exchanged, and how many items had kept theirs when something was flushed.
fn run(seed: u64, memory_limit_bytes: u64, is_full: bool) -> (usize, usize) {
    let mut world = World::new(seed, memory_limit_bytes, is_full);
    for step in 1..60_000 {
        world.step(step);
        if step.is_multiple_of(500) {
            world.check();
        }
    }
    let evictions = world.store.snapshot().evictions;
    assert_eq!(evictions > 1_000, is_full, "{evictions}");
    (world.exchanges, world.kept)
}

#[test]
fn any_operations_leave_the_books_exact_while_numbers_are_exchanged() {
    for seed in 0..4 {
        for (memory_limit_bytes, is_full) in [(64 << 20, false), (1 << 20, true)] {
            let (exchanges, kept) = run(seed, memory_limit_bytes, is_full);
            let numbers = (exchanges, kept);
            assert!(exchanges > 40 && kept > 40, "{numbers:?} prove little");
        }
    }
}
