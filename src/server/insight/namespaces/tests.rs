//! Names come and go while keys are stored, deleted, evicted and flushed: what is told stays exact.

use super::*;
use crate::insight::names::{SPARE, TOLD_MAX};
use crate::insight::requests::{Event, Requests};
use nuthatch_store::{Config, Expiry, Lookup, NewItem, NewValue, StoreOutcome, Walk};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

/// What is told of a name.
type Row = (u64, u64, u64, u64);

/// A store with namespaces, and what should be told of those.
struct World {
    store: Store,
    namespaces: Arc<Namespaces>,
    requests: Requests,
    now: Time,
    /// Sets, hits, misses and deletions, by names that are told and `other`.
    counted: HashMap<String, [u64; 4]>,
    told: HashSet<String>,
    random: u64,
}

impl World {
    fn new(memory_limit_bytes: u64) -> Self {
        let rules = Rules::parse(&["fixed=fix,delimiter:/".to_owned()]).unwrap();
        let namespaces = Arc::new(Namespaces::new(&rules).unwrap());
        let known: Arc<dyn nuthatch_store::Namespaces> = Arc::<Namespaces>::clone(&namespaces);
        let store = Store::new(&Config {
            memory_limit_bytes,
            item_len_max: 50_000,
            shard_count: NonZeroUsize::new(2),
            namespaces: Some(known),
            ..Config::default()
        });
        Self {
            store,
            namespaces,
            requests: Requests::default(),
            now: Time::from_millis(1),
            counted: HashMap::new(),
            told: HashSet::new(),
            random: 1,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn sourced<R>(&self, look: impl FnOnce(&Source<'_>) -> R) -> R {
        look(&Source {
            store: &self.store,
            requests: &|| Sums::of([&self.requests]),
        })
    }

    fn rows(&self) -> Vec<NamespaceRow> {
        self.sourced(|source| self.namespaces.rows(source))
    }

    fn row(&self, name: &str) -> Option<Row> {
        let rows = self.rows();
        let row = rows.iter().find(|row| row.name == name)?;
        Some((row.get.hits, row.sets, row.items, row.evictions))
    }

    /// The name that the key is told by.
    fn told(&self, key: &str) -> String {
        let name = key.split_once('/').map_or("fixed", |(name, _)| name);
        let is_told = self.told.contains(name);
        if is_told { name } else { OTHER }.to_owned()
    }

    fn count(&mut self, key: &str, what: usize) {
        let name = self.told(key);
        self.counted.entry(name).or_default()[what] += 1;
    }

    fn set(&mut self, key: &str, len: usize, expiry: Expiry) {
        let value = vec![b'v'; len];
        let item = NewItem {
            client_flags: 0,
            expiry,
            value: NewValue::Copied(&value),
        };
        let outcome = self.store.set(key.as_bytes(), item, self.now);
        assert!(matches!(outcome, StoreOutcome::Stored { .. }));
        if self.told.len() <= TOLD_MAX {
            // Its name may be told by having been stored.
            self.look();
        }
        self.count(key, 0);
    }

    fn get(&mut self, key: &str) -> bool {
        let lookup = self
            .store
            .get(key.as_bytes(), self.now, |hit| hit.namespace);
        match lookup {
            Lookup::Hit(id) => {
                self.requests.count(id, Event::GetHit);
                self.count(key, 1);
            }
            Lookup::Miss(_) => {
                let id = self.namespaces.find(key.as_bytes());
                self.requests.count(id, Event::GetMiss);
                self.count(key, 2);
            }
        }
        matches!(lookup, Lookup::Hit(_))
    }

    fn delete(&mut self, key: &str) {
        if self.store.delete(key.as_bytes(), self.now) {
            let id = self.namespaces.find(key.as_bytes());
            self.requests.count(id, Event::DeleteHit);
            self.count(key, 3);
        }
    }

    /// A name was used so often, as samples say.
    fn use_name(&self, name: &str, count: u64) {
        let key = format!("{name}/");
        let name = self.namespaces.names.name(key.as_bytes()).unwrap();
        self.namespaces.lock().usage.add(&name, count);
    }

    fn exchange(&mut self) {
        self.sourced(|source| self.namespaces.exchange(source, self.now, true));
        self.look();
        // Who has left begins at 0 should it come back.
        self.counted.retain(|name, _| self.told.contains(name));
    }

    fn look(&mut self) {
        self.told = self.rows().into_iter().map(|row| row.name).collect();
    }

    fn sweep(&self) {
        let _ = self.store.sweep(self.now, usize::MAX) + self.store.sweep(self.now, usize::MAX);
    }

    /// Lets what has begun come to its end.
    fn settle(&mut self) {
        self.sweep();
        self.exchange();
    }

    /// Compares what is told with what has been counted.
    fn check(&self) {
        self.store.check().unwrap();
        let rows = self.rows();
        assert!(rows.len() <= TOLD_MAX + 1);
        for row in &rows {
            let told = [row.sets, row.get.hits, row.get.misses, row.delete.hits];
            let counted = self.counted.get(&row.name).copied().unwrap_or_default();
            assert_eq!(told, counted, "{}", row.name);
        }
        let sum = |of: fn(&NamespaceRow) -> u64| rows.iter().map(of).sum::<u64>();
        let snapshot = self.store.snapshot();
        assert_eq!(
            (sum(|row| row.items), sum(|row| row.bytes)),
            (snapshot.curr_items, snapshot.bytes)
        );
    }

    /// Compares what is told to be there with what there is.
    fn check_items(&self) {
        self.sweep();
        let mut items: HashMap<String, u64> = HashMap::new();
        let (mut walk, mut more) = (Walk::default(), true);
        let mut keys = Vec::new();
        while more {
            more = self.store.walk(&mut walk, self.now, |item| {
                keys.push(String::from_utf8(item.key.to_vec()).unwrap());
            });
        }
        for key in keys {
            *items.entry(self.told(&key)).or_default() += 1;
        }
        for row in self.rows() {
            let found = items.get(&row.name).copied().unwrap_or_default();
            assert_eq!(row.items, found, "{}", row.name);
        }
    }
}

/// With as many names as are told, `n0` to `n62` and the one of the rules.
fn full(memory_limit_bytes: u64) -> World {
    let mut world = World::new(memory_limit_bytes);
    for number in 0..TOLD_MAX - 1 {
        world.set(&format!("n{number}/first"), 100, Expiry::Never);
    }
    assert!(world.namespaces.names.is_full());
    world
}

#[test]
fn a_name_that_is_used_more_is_told_with_all_its_items_in_place_of_one_that_is_not() {
    let mut world = full(16 << 20);
    for number in 1..TOLD_MAX - 1 {
        world.use_name(&format!("n{number}"), 100);
    }
    for number in 0..10 {
        world.set(&format!("new/{number}"), 100, Expiry::Never);
    }
    assert_eq!(world.row("new"), None);
    assert_eq!(world.row(OTHER), Some((0, 10, 10, 0)));
    world.use_name("new", 1_000);
    world.exchange();
    // The one that leaves is no longer told, the one that joins not yet.
    assert!(world.namespaces.is_exchanging());
    assert_eq!((world.row("n0"), world.row("new")), (None, None));
    assert_eq!(world.row(OTHER), Some((0, 10, 11, 0)));
    world.set("new/10", 100, Expiry::Never);
    assert!(world.get("n0/first") && world.get("new/10"));
    assert_eq!(world.row(OTHER), Some((2, 11, 12, 0)));
    assert!(!world.namespaces.flush(b"new", &world.store, world.now));
    world.settle();
    assert!(!world.namespaces.is_exchanging());
    // It is told with what it has, and counted from now on; nothing is lost of what was counted for the others.
    assert_eq!(world.row("new"), Some((0, 0, 11, 0)));
    assert_eq!(world.row(OTHER), Some((2, 11, 1, 0)));
    assert!(world.get("new/3") && world.get("n0/first"));
    assert_eq!(world.row("new"), Some((1, 0, 11, 0)));
    assert_eq!(world.row(OTHER), Some((3, 11, 1, 0)));
    assert!(world.namespaces.flush(b"new", &world.store, world.now));
    assert!(!world.get("new/3") && world.get("n0/first"));
    assert_eq!(world.rows().len(), TOLD_MAX + 1);
    // Fixed, though nobody uses it.
    assert_eq!(world.row("fixed"), Some((0, 0, 0, 0)));
    world.check();
}

#[test]
fn who_comes_back_begins_at_0_and_other_goes_on() {
    let mut world = full(16 << 20);
    for number in 1..TOLD_MAX - 1 {
        world.use_name(&format!("n{number}"), 1_000);
    }
    assert!(world.get("n0/first"));
    assert_eq!(world.row("n0"), Some((1, 1, 1, 0)));
    world.use_name("new", 100);
    world.exchange();
    world.settle();
    assert_eq!(
        (world.row("n0"), world.row(OTHER)),
        (None, Some((0, 0, 1, 0)))
    );
    assert!(world.get("n0/first"));
    assert_eq!(world.row(OTHER), Some((1, 0, 1, 0)));
    world.use_name("n0", 1_000);
    world.exchange();
    assert!(world.get("n0/first"));
    world.settle();
    assert_eq!(world.row("n0"), Some((0, 0, 1, 0)));
    assert_eq!(world.row(OTHER), Some((2, 0, 0, 0)));
    world.sourced(|source| world.namespaces.reset(source));
    assert_eq!(world.row(OTHER), Some((0, 0, 0, 0)));
    assert_eq!(world.row("n1"), Some((0, 0, 1, 0)));
}

#[test]
fn other_is_flushed_with_what_joins_and_leaves() {
    let mut world = full(16 << 20);
    world.set("new/1", 100, Expiry::Never);
    world.use_name("new", 100);
    world.exchange();
    world.set("new/2", 100, Expiry::Never);
    let left = (0..TOLD_MAX - 1).find(|number| world.row(&format!("n{number}")).is_none());
    let left = format!("n{}/first", left.unwrap());
    assert!(
        world
            .namespaces
            .flush(OTHER.as_bytes(), &world.store, world.now)
    );
    assert!(!world.get("new/1") && !world.get("new/2") && !world.get(&left));
    let rest = (0..TOLD_MAX - 1).filter(|number| world.get(&format!("n{number}/first")));
    assert_eq!(rest.count(), TOLD_MAX - 2);
    world.settle();
    assert_eq!(world.row("new"), Some((0, 0, 0, 0)));
    world.check();
}

#[test]
fn while_a_snapshot_comes_back_nobody_leaves() {
    let world = full(16 << 20);
    world.use_name("new", 100);
    world.sourced(|source| world.namespaces.exchange(source, world.now, false));
    assert!(!world.namespaces.is_exchanging());
    world.sourced(|source| world.namespaces.exchange(source, world.now, true));
    assert!(world.namespaces.is_exchanging());
}

/// Items that were stored before `other` was flushed keep the numbers of their names, or they would be dead.
#[test]
fn numbers_that_stay_on_items_are_not_used_again_before_those_are_gone() {
    let mut world = full(16 << 20);
    assert!(
        world
            .namespaces
            .flush(OTHER.as_bytes(), &world.store, world.now)
    );
    // Each is used more than the one before, and so on.
    let mut uses = 100;
    let mut joined = 0;
    for number in 0..TOLD_MAX {
        uses += uses / 4 + 100;
        world.use_name(&format!("new{number}"), uses.min(1 << 40));
        world.exchange();
        world.settle();
        joined += usize::from(world.row(&format!("new{number}")).is_some());
    }
    assert_eq!(joined, SPARE);
    let alive = |world: &mut World| {
        let firsts = (0..TOLD_MAX - 1).map(|number| format!("n{number}/first"));
        firsts.filter(|key| world.get(key)).count()
    };
    assert_eq!(alive(&mut world), TOLD_MAX - 1);
    assert_eq!(world.row(OTHER).unwrap().2, SPARE as u64);
    // They are told as others, and flushed with them.
    assert!(
        world
            .namespaces
            .flush(OTHER.as_bytes(), &world.store, world.now)
    );
    assert_eq!(alive(&mut world), TOLD_MAX - 1 - SPARE);
    world.sweep();
    world.exchange();
    assert!(world.namespaces.is_exchanging());
    world.settle();
    world.check();
}

#[test]
fn numbers_that_stay_on_items_are_looked_through_again_after_a_minute() {
    let mut world = full(16 << 20);
    assert!(
        world
            .namespaces
            .flush(OTHER.as_bytes(), &world.store, world.now)
    );
    for number in 0..SPARE {
        world.use_name(&format!("new{number}"), 100);
        world.exchange();
        world.settle();
    }
    assert!(world.namespaces.lock().accounts.free().is_empty());
    world.use_name("last", 100);
    world.exchange();
    assert!(!world.namespaces.is_exchanging());
    world.now = Time::from_millis(RETRY_MILLIS + 1);
    world.use_name("last", 100);
    world.exchange();
    assert!(world.namespaces.is_exchanging());
    world.settle();
    assert_eq!(world.row("last"), None);
    world.check();
}

/// Returns how many names have joined.
fn run(memory_limit_bytes: u64, is_full: bool) -> u64 {
    let mut world = full(memory_limit_bytes);
    let mut evicted = 0;
    for step in 0..30_000 {
        world.now = Time::from_millis(1 + step);
        let name = format!("n{}", world.below(90));
        let key = format!("{name}/{}", world.below(40));
        match world.below(100) {
            0..50 => {
                let expiry = match world.below(3) {
                    0 => Expiry::At(Time::from_millis(step + world.below(3_000))),
                    _ => Expiry::Never,
                };
                let len = if world.below(50) == 0 { 20_000 } else { 300 };
                world.set(&key, len, expiry);
            }
            50..80 => {
                world.get(&key);
            }
            80..90 => world.delete(&key),
            90..94 => world.use_name(&name, 50),
            94..97 => world.exchange(),
            97 => {
                let _ = world.store.sweep(world.now, 50);
            }
            _ if step % 50 == 0 => {
                let name = if world.below(3) == 0 { OTHER } else { &name };
                let is_told = world.row(name).is_some();
                let done = world
                    .namespaces
                    .flush(name.as_bytes(), &world.store, world.now);
                assert_eq!(done, is_told);
                world.sweep();
                assert!(!done || world.row(name).unwrap().2 == 0);
            }
            _ => {}
        }
        if step % 200 == 0 {
            world.check();
            world.check_items();
        }
        let evictions = |world: &World| world.rows().iter().map(|row| row.evictions).sum::<u64>();
        if step % 1_000 == 0 {
            evicted = evictions(&world).max(evicted);
        }
    }
    assert_eq!(evicted > 100, is_full, "{evicted}");
    world.namespaces.revision() / 2
}

#[test]
fn whatever_is_done_the_books_of_all_that_is_told_are_exact() {
    for (memory_limit_bytes, is_full) in [(64 << 20, false), (1 << 20, true)] {
        let exchanges = run(memory_limit_bytes, is_full);
        assert!(exchanges > 30, "{exchanges} prove little");
    }
}

#[test]
fn names_come_and_go_while_threads_store() {
    const WRITES: u64 = 100_000;
    let world = full(32 << 20);
    let write = |thread: u64| {
        let mut random = thread;
        for _ in 0..WRITES {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = format!("n{}/{}", (random >> 33) % 90, (random >> 45) % 50);
            let value = [b'v'; 100];
            let len = usize::try_from((random >> 51) % 100).unwrap();
            let item = NewItem::copied(&value[..len]);
            if random >> 60 == 0 {
                let _ = world.store.delete(key.as_bytes(), world.now);
            } else {
                let outcome = world.store.set(key.as_bytes(), item, world.now);
                assert!(matches!(outcome, StoreOutcome::Stored { .. }));
            }
        }
    };
    let exchange = || world.sourced(|source| world.namespaces.exchange(source, world.now, true));
    thread::scope(|scope| {
        let writers = [1, 2].map(|thread| scope.spawn(move || write(thread)));
        let mut turn = 0;
        let is_done = || writers.iter().all(thread::ScopedJoinHandle::is_finished);
        while !is_done() || world.namespaces.revision() < 4 {
            turn += 1;
            // Now one is used most, now another.
            world.use_name(&format!("n{}", turn * 31 % 90), 1_000 + turn * 100);
            exchange();
            let _ = world.store.sweep(world.now, 1_000);
        }
    });
    world.sweep();
    exchange();
    // Each item has the number of its key.
    world.store.check().unwrap();
    let rows = world.rows();
    let sets: u64 = rows.iter().map(|row| row.sets).sum();
    assert!(sets <= 2 * WRITES + 63 && rows.len() == TOLD_MAX + 1);
}
