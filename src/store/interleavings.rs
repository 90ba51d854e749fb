//! Threads in every order that there is, by loom: `RUSTFLAGS="--cfg loom" cargo test --lib`.
//!
//! The index's own lock is DashMap's and no part of this: nothing that loom could interrupt happens while
//! it is held.

use std::num::NonZeroUsize;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU8, Ordering};
use loom::thread;

use crate::{
    Config, Expiry, Lookup, Miss, Namespaces, NewItem, NewValue, Store, StoreOutcome, Time,
};

const NOW: Time = Time::from_millis(1);
const LATER: Time = Time::from_millis(10);

/// Switches of threads that nothing forces, in one execution.
const PREEMPTIONS_MAX: usize = 3;

/// Keys belong to one of two namespaces by their first byte.
#[derive(Debug)]
struct FirstByte;

impl Namespaces for FirstByte {
    fn count(&self) -> usize {
        2
    }

    fn of(&self, key: &[u8]) -> u8 {
        key.first().copied().unwrap_or_default() % 2
    }
}

/// All keys belong to one namespace, which gets another number.
#[derive(Debug, Default)]
struct Switch(AtomicU8);

impl Namespaces for Switch {
    fn count(&self) -> usize {
        2
    }

    fn of(&self, _: &[u8]) -> u8 {
        // What is needed of memory order comes from the shard's lock.
        self.0.load(Ordering::Relaxed)
    }
}

fn in_all_orders(model: impl Fn(&Arc<Store>) + Sync + Send + 'static) {
    in_all_orders_of(|| FirstByte, move |store, _| model(store));
}

fn in_all_orders_of<N: Namespaces + 'static>(
    namespaces: impl Fn() -> N + Sync + Send + 'static,
    model: impl Fn(&Arc<Store>, &N) + Sync + Send + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(move || {
        let namespaces = std::sync::Arc::new(namespaces());
        let known: std::sync::Arc<dyn Namespaces> = std::sync::Arc::<N>::clone(&namespaces);
        let store = Arc::new(Store::new(&Config {
            memory_limit_bytes: 256 << 10,
            item_len_max: 1 << 16,
            shard_count: NonZeroUsize::new(1),
            namespaces: Some(known),
            ..Config::default()
        }));
        model(&store, &namespaces);
        assert_eq!(store.check(), Ok(()));
    });
}

fn spawn(store: &Arc<Store>, job: impl Fn(&Store) + 'static) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || job(&store))
}

fn set_until(store: &Store, key: &[u8], value: &[u8], expiry: Expiry, now: Time) {
    let item = NewItem {
        client_flags: 0,
        expiry,
        value: NewValue::Copied(value),
    };
    let outcome = store.set(key, item, now);
    assert!(matches!(outcome, StoreOutcome::Stored { .. }));
}

fn set(store: &Store, key: &[u8], value: &[u8], now: Time) {
    set_until(store, key, value, Expiry::Never, now);
}

fn get(store: &Store, key: &[u8], now: Time) -> Result<Vec<u8>, Miss> {
    match store.get(key, now, |hit| hit.value.as_slice().to_vec()) {
        Lookup::Hit(value) => Ok(value),
        Lookup::Miss(miss) => Err(miss),
    }
}

#[test]
fn a_key_that_is_rewritten_is_never_missed_and_never_torn() {
    for (old, new) in [(2, 2), (2, 3), (2, 2000), (2000, 2)] {
        in_all_orders(move |store| {
            set(store, b"k", &vec![1; old], NOW);
            let writer = spawn(store, move |store| set(store, b"k", &vec![2; new], NOW));
            let value = get(store, b"k", NOW).unwrap();
            assert!(value == vec![1; old] || value == vec![2; new], "{value:?}");
            writer.join().unwrap();
            assert_eq!(get(store, b"k", NOW), Ok(vec![2; new]));
        });
    }
}

#[test]
fn what_was_stored_before_a_flush_is_dead_after_it_and_what_comes_later_lives() {
    in_all_orders(|store| {
        let other = spawn(store, |store| {
            set(store, b"other", b"1", NOW);
            let seen = get(store, b"other", NOW);
            assert!(matches!(seen, Ok(_) | Err(Miss::Flushed)), "{seen:?}");
        });
        set(store, b"k", b"1", NOW);
        store.flush(NOW, NOW);
        assert_eq!(get(store, b"k", NOW), Err(Miss::Flushed));
        set(store, b"k", b"2", NOW);
        assert_eq!(get(store, b"k", NOW), Ok(b"2".to_vec()));
        other.join().unwrap();
    });
}

#[test]
fn the_flush_of_a_namespace_takes_all_that_was_stored_in_it_before_and_nothing_else() {
    in_all_orders(|store| {
        let other = spawn(store, |store| {
            set(store, b"a", b"1", NOW);
            let seen = get(store, b"a", NOW);
            assert!(matches!(seen, Ok(_) | Err(Miss::Flushed)), "{seen:?}");
            set(store, b"b", b"1", NOW);
            assert_eq!(get(store, b"b", NOW), Ok(b"1".to_vec()));
        });
        set(store, b"k", b"1", NOW);
        store.flush_namespaces(&[1], NOW);
        assert_eq!(get(store, b"k", NOW), Err(Miss::Flushed));
        set(store, b"k", b"2", NOW);
        assert_eq!(get(store, b"k", NOW), Ok(b"2".to_vec()));
        other.join().unwrap();
        assert_eq!(get(store, b"k", NOW), Ok(b"2".to_vec()));
        assert_eq!(get(store, b"b", NOW), Ok(b"1".to_vec()));
    });
}

#[test]
fn once_all_items_have_new_numbers_the_old_one_is_on_none() {
    in_all_orders_of(Switch::default, |store, switch| {
        // Four of these fill a segment: what comes then is in another one.
        for key in [b"k", b"a", b"b", b"c"] {
            set(store, key, &[1; 900], NOW);
        }
        let other = spawn(store, |store| {
            set(store, b"k", &[2; 901], NOW);
            set(store, b"new", &[3; 900], NOW);
        });
        switch.0.store(1, Ordering::Relaxed);
        store.renumber(&[1]);
        for _ in 0..2 {
            let _ = store.sweep(NOW, 100);
        }
        assert!(store.is_renumbered());
        assert_eq!(store.namespaces()[0].items, 0);
        other.join().unwrap();
        let [old, new] = store.namespaces()[..] else {
            panic!("there are two");
        };
        assert_eq!((old.items, new.items), (0, 5));
        assert_eq!(get(store, b"k", NOW), Ok(vec![2; 901]));
    });
}

#[test]
fn a_flush_that_comes_due_takes_nothing_stored_since() {
    in_all_orders(|store| {
        set(store, b"old", b"1", NOW);
        store.flush(LATER, NOW);
        let other = spawn(store, |store| {
            set(store, b"new", b"2", LATER);
            assert_eq!(get(store, b"new", LATER), Ok(b"2".to_vec()));
        });
        assert_eq!(get(store, b"old", LATER), Err(Miss::Flushed));
        other.join().unwrap();
        assert_eq!(get(store, b"new", LATER), Ok(b"2".to_vec()));
    });
}

#[test]
fn of_two_adds_one_wins() {
    in_all_orders(|store| {
        let add = |store: &Store, value: &[u8]| {
            let item = NewItem {
                client_flags: 0,
                expiry: Expiry::Never,
                value: NewValue::Copied(value),
            };
            store.add(b"lock", item, NOW)
        };
        let other = spawn(store, move |store| {
            let _ = add(store, b"2");
        });
        let is_won = matches!(add(store, b"1"), StoreOutcome::Stored { .. });
        other.join().unwrap();
        let winner = if is_won { b"1" } else { b"2" };
        assert_eq!(get(store, b"lock", NOW), Ok(winner.to_vec()));
    });
}

#[test]
fn an_item_is_found_while_its_segment_is_packed() {
    in_all_orders(|store| {
        // Four of these fill a segment; three die, and the sweep moves the fourth.
        let value = [7; 900];
        for key in [b"a", b"b", b"c"] {
            set_until(store, key, &value, Expiry::At(LATER), NOW);
        }
        set_until(
            store,
            b"survivor",
            &value,
            Expiry::At(Time::from_millis(99)),
            NOW,
        );
        set_until(store, b"next", &value, Expiry::At(LATER), NOW);
        let sweeper = spawn(store, |store| {
            assert!(store.sweep(LATER, 100) >= 3);
        });
        assert_eq!(get(store, b"survivor", LATER), Ok(value.to_vec()));
        sweeper.join().unwrap();
        assert_eq!(get(store, b"survivor", LATER), Ok(value.to_vec()));
    });
}
