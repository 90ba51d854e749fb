//! `flush` under load: nothing that was stored before it survives, nothing that is stored after it is lost.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nuthatch_store::{
    Config, Expiry, Lookup, Namespaces, NewItem, NewValue, Store, StoreOutcome, Time,
};

const WRITERS: u64 = 2;
const WRITES: u64 = 500_000;
const FLUSHES: u64 = 50;

/// Each write takes two.
const TICKS: u64 = WRITERS * WRITES * 2;

/// When something happened, by a counter that all threads share: from before to after.
#[derive(Clone, Copy, Debug)]
struct Moment {
    begun: u64,
    ended: u64,
}

/// Of the numbers that keys end in.
#[derive(Debug)]
struct EvenAndOdd;

impl Namespaces for EvenAndOdd {
    fn count(&self) -> usize {
        2
    }

    fn of(&self, key: &[u8]) -> u8 {
        key.last().unwrap() % 2
    }
}

struct World {
    store: Store,
    ticks: AtomicU64,
    /// The time of the store, in milliseconds.
    clock: AtomicU64,
}

impl World {
    fn new() -> Self {
        let store = Store::new(&Config {
            memory_limit_bytes: 1 << 30,
            shard_count: NonZeroUsize::new(8),
            namespaces: Some(Arc::new(EvenAndOdd)),
            ..Config::default()
        });
        Self {
            store,
            ticks: AtomicU64::new(0),
            clock: AtomicU64::new(0),
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(self.clock.load(Ordering::SeqCst))
    }

    fn observe(&self, job: impl FnOnce()) -> Moment {
        let begun = self.ticks.fetch_add(1, Ordering::SeqCst);
        job();
        let ended = self.ticks.fetch_add(1, Ordering::SeqCst);
        Moment { begun, ended }
    }

    /// Stores an item under each key of a writer's, once.
    fn write(&self, writer: u64) -> Vec<Moment> {
        let write = |number: u64| {
            self.observe(|| {
                let item = NewItem {
                    client_flags: 0,
                    expiry: Expiry::Never,
                    value: NewValue::Copied(b"value"),
                };
                let outcome = self.store.set(&key(writer, number), item, self.now());
                assert!(matches!(outcome, StoreOutcome::Stored { .. }));
            })
        };
        (0..WRITES).map(write).collect()
    }

    /// Runs writers beside a thread that calls `flush` until they are done, and compares what is left.
    /// Returns how many items are dead, looking at one of so many.
    fn run(&self, step: usize, flush: impl Fn(&Self) -> Moment + Sync) -> usize {
        let (writes, flushes) = thread::scope(|scope| {
            // Paced by what is stored, so that most of it is between two; the last tenth is after the last.
            let flusher = scope.spawn(|| {
                let flush_at = |ticks| {
                    while self.ticks.load(Ordering::SeqCst) < ticks {
                        thread::yield_now();
                    }
                    flush(self)
                };
                (1..=FLUSHES)
                    .map(|part| flush_at(part * TICKS / 10 * 9 / FLUSHES))
                    .collect::<Vec<_>>()
            });
            let writers = [0, 1].map(|writer| scope.spawn(move || self.write(writer)));
            let writes = writers.map(|writer| writer.join().unwrap());
            (writes, flusher.join().unwrap())
        });
        self.compare(&writes, &flushes, step)
    }

    fn compare(&self, writes: &[Vec<Moment>; 2], flushes: &[Moment], step: usize) -> usize {
        let last_begun = flushes.iter().map(|flush| flush.begun).max().unwrap();
        let last_ended = flushes.iter().map(|flush| flush.ended).max().unwrap();
        let (mut dead, mut survivors, mut lost) = (0, 0, 0);
        for (writer, writes) in (0..WRITERS).zip(writes) {
            for (number, write) in (0..).zip(writes).step_by(step) {
                let lookup = self.store.get(&key(writer, number), self.now(), |_| ());
                let is_alive = lookup == Lookup::Hit(());
                survivors += usize::from(is_alive && write.ended < last_begun);
                lost += usize::from(!is_alive && write.begun > last_ended);
                dead += usize::from(!is_alive);
            }
        }
        assert_eq!((survivors, lost), (0, 0), "survivors and lost");
        assert_eq!(self.store.snapshot().evictions, 0);
        dead
    }
}

fn key(writer: u64, number: u64) -> [u8; 16] {
    (u128::from(writer) << 64 | u128::from(number)).to_be_bytes()
}

#[test]
fn of_a_million_items_no_flush_leaves_one_and_none_takes_a_later_one() {
    let world = World::new();
    let dead = world.run(1, |world| {
        world.observe(|| world.store.flush(world.now(), world.now()))
    });
    assert!(dead > 10_000, "only {dead} prove anything");
}

#[test]
fn a_delayed_flush_is_as_exact() {
    let world = World::new();
    let dead = world.run(1, |world| {
        let due = world.now().saturating_add(Duration::from_secs(1));
        world.store.flush(due, world.now());
        // It comes due while the writers work: whoever reads the clock after this is after it.
        world.observe(|| world.clock.store(due.as_millis(), Ordering::SeqCst))
    });
    assert!(dead > 10_000, "only {dead} prove anything");
}

#[test]
fn the_flush_of_a_namespace_is_as_exact_and_takes_nothing_of_another() {
    let world = World::new();
    let dead = world.run(2, |world| {
        world.observe(|| world.store.flush_namespaces(&[0], world.now()))
    });
    assert!(dead > 5_000, "only {dead} prove anything");
    for number in (1..WRITES).step_by(2) {
        let lookup = world.store.get(&key(0, number), world.now(), |_| ());
        assert_eq!(lookup, Lookup::Hit(()), "{number}");
    }
    // What is dead gives its memory back.
    let [even, odd] = world.store.namespaces()[..] else {
        panic!("there are two");
    };
    assert_eq!((even.items, odd.items), (WRITES, WRITES));
    let rounds = [0, 1].map(|_| world.store.sweep(world.now(), usize::MAX));
    assert_eq!(rounds[0] + rounds[1], dead_even(&world));
    world.store.check().unwrap();
    // And nothing is looked at again because of it.
    let checked = world.store.snapshot().sweep_items_checked;
    assert_eq!(world.store.sweep(world.now(), usize::MAX), 0);
    assert_eq!(world.store.snapshot().sweep_items_checked, checked);
}

/// How many items have left the namespace that was flushed.
fn dead_even(world: &World) -> usize {
    let even = world.store.namespaces()[0];
    usize::try_from(WRITES - even.items).unwrap()
}
