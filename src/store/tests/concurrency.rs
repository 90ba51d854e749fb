//! Threads on shared keys: each operation happens at once or not at all.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nuthatch_store::{
    Arithmetic, Config, Expiry, Hit, Lookup, NewItem, NewValue, Store, StoreOutcome, Time,
};

const THREADS: u64 = 4;
const ROUNDS: u64 = 20_000;

fn store(memory_limit_bytes: u64) -> Store {
    Store::new(&Config {
        memory_limit_bytes,
        shard_count: NonZeroUsize::new(2),
        ..Config::default()
    })
}

fn copied(value: &[u8]) -> NewItem<'_> {
    NewItem {
        client_flags: 0,
        expiry: Expiry::Never,
        value: NewValue::Copied(value),
    }
}

fn value_of(store: &Store, key: &[u8]) -> Option<(Vec<u8>, u64)> {
    let visit = |hit: Hit<'_>| (hit.value.as_slice().to_vec(), hit.cas);
    match store.get(key, Time::default(), visit) {
        Lookup::Hit(hit) => Some(hit),
        Lookup::Miss(_) => None,
    }
}

fn in_threads(job: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let job = &job;
            scope.spawn(move || job(thread));
        }
    });
}

#[test]
fn of_many_adds_of_a_key_exactly_one_wins() {
    let store = store(64 << 20);
    let wins: Vec<_> = (0..ROUNDS).map(|_| AtomicU64::new(0)).collect();
    in_threads(|thread| {
        for (round, wins) in wins.iter().enumerate() {
            let item = copied(b"lock");
            let outcome = store.add(&round.to_be_bytes(), item, Time::default());
            if matches!(outcome, StoreOutcome::Stored { .. }) {
                wins.fetch_add(1, Ordering::Relaxed);
            } else {
                assert_eq!(outcome, StoreOutcome::NotStored, "thread {thread}");
            }
        }
    });
    assert!(wins.iter().all(|wins| wins.load(Ordering::Relaxed) == 1));
}

#[test]
fn no_increment_is_lost() {
    let store = store(64 << 20);
    let _ = store.set(b"sum", copied(b"0"), Time::default());
    in_threads(|thread| {
        for _ in 0..ROUNDS {
            let outcome = store.incr(b"sum", thread + 1, Time::default());
            assert!(matches!(outcome, Arithmetic::Number { .. }));
        }
    });
    let total = ROUNDS * (1..=THREADS).sum::<u64>();
    assert_eq!(
        value_of(&store, b"sum").unwrap().0,
        total.to_string().into_bytes()
    );
}

#[test]
fn no_cas_overwrites_another() {
    let store = store(64 << 20);
    let _ = store.set(b"sum", copied(b"0"), Time::default());
    in_threads(|_| {
        let mut successes = 0;
        while successes < ROUNDS / 4 {
            let (value, unique) = value_of(&store, b"sum").unwrap();
            let number: u64 = str::from_utf8(&value).unwrap().parse().unwrap();
            let next = (number + 1).to_string();
            match store.cas(b"sum", copied(next.as_bytes()), unique, Time::default()) {
                StoreOutcome::Stored { .. } => successes += 1,
                outcome => assert_eq!(outcome, StoreOutcome::Exists),
            }
        }
    });
    let total = THREADS * (ROUNDS / 4);
    assert_eq!(
        value_of(&store, b"sum").unwrap().0,
        total.to_string().into_bytes()
    );
}

#[test]
fn no_append_is_lost_and_no_touch_undone() {
    let store = store(64 << 20);
    let expiry = Expiry::At(Time::from_millis(1_000_000));
    let _ = store.set(b"log", copied(b""), Time::default());
    in_threads(|thread| {
        for round in 0..2_000 {
            if thread == 0 && round == 1_000 {
                assert!(store.touch(b"log", expiry, Time::default()));
            }
            let _ = store.append(b"log", b"x", Time::default());
        }
    });
    let hit = store.get(b"log", Time::default(), |hit| {
        (hit.value.as_slice().len(), hit.expiry)
    });
    assert_eq!(hit, Lookup::Hit((8_000, expiry)));
}

#[test]
fn values_are_never_torn_and_a_key_that_is_rewritten_is_never_missed() {
    // Small enough that the other keys are evicted all the time, never the one just rewritten.
    let limit = 4 << 20;
    let store = store(limit);
    let is_done = AtomicBool::new(false);
    let _ = store.set(b"hot", copied(&[0; 100]), Time::default());
    let rewrite = || {
        for round in 0..ROUNDS / 4 {
            let byte = round.to_le_bytes()[0];
            // Across the border between small and large values.
            let len = if round % 8 == 0 { 20_000 } else { 100 };
            let _ = store.set(b"hot", copied(&vec![byte; len]), Time::default());
            let _ = store.set(
                &(round % 2_000).to_be_bytes(),
                copied(&[byte; 3_000]),
                Time::default(),
            );
        }
        is_done.store(true, Ordering::Release);
    };
    let read = || {
        while !is_done.load(Ordering::Acquire) {
            let (hot, _) = value_of(&store, b"hot").unwrap();
            assert!(hot.iter().all(|byte| *byte == hot[0]), "torn");
            assert!([100, 20_000].contains(&hot.len()));
        }
    };
    let sweep = || {
        while !is_done.load(Ordering::Acquire) {
            let _ = store.sweep(Time::default(), 100);
            assert!(store.snapshot().bytes <= limit);
        }
    };
    thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(read);
        scope.spawn(sweep);
        scope.spawn(rewrite);
    });
    assert!(store.snapshot().evictions > 0);
}

#[test]
fn after_a_flush_nothing_acknowledged_before_it_is_seen() {
    let store = store(64 << 20);
    in_threads(|thread| {
        let key = thread.to_be_bytes();
        for _ in 0..ROUNDS / 4 {
            let _ = store.set(&key, copied(b"old"), Time::default());
            store.flush(Time::default(), Time::default());
            assert_eq!(value_of(&store, &key), None);
        }
    });
}

#[test]
fn a_panic_in_a_visitor_costs_nothing() {
    let store = store(64 << 20);
    let _ = store.set(b"k", copied(b"v"), Time::default());
    let visits: [&dyn Fn(); 2] = [
        &|| {
            let _ = store.get(b"k", Time::default(), |_| -> () { panic!("in a get") });
        },
        &|| {
            let panic = |_: Hit<'_>| -> () { panic!("in a gat") };
            let _ = store.get_and_touch(b"k", Expiry::Never, Time::default(), panic);
        },
    ];
    for visit in visits {
        assert!(catch_unwind(AssertUnwindSafe(visit)).is_err());
        assert_eq!(value_of(&store, b"k").unwrap().0, b"v");
        assert!(matches!(
            store.append(b"k", b"", Time::default()),
            StoreOutcome::Stored { .. }
        ));
        assert_eq!(store.snapshot().curr_items, 1);
    }
}
