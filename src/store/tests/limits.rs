//! The store at its limits, and what it counts there.

use std::num::NonZeroUsize;

use nuthatch_store::{
    Arithmetic, Config, Expiry, KEY_LEN_MAX, Lookup, Miss, NewItem, NewValue, Store, StoreOutcome,
    Time,
};

const NOW: Time = Time::from_millis(1_000);
const LATER: Time = Time::from_millis(2_000);

fn store(memory_limit_bytes: u64) -> Store {
    Store::new(&Config {
        memory_limit_bytes,
        shard_count: NonZeroUsize::new(1),
        ..Config::default()
    })
}

fn store_without_eviction() -> Store {
    Store::new(&Config {
        memory_limit_bytes: 1 << 20,
        shard_count: NonZeroUsize::new(1),
        evict: false,
        ..Config::default()
    })
}

fn until(expiry: Expiry, value: &[u8]) -> NewItem<'_> {
    NewItem {
        client_flags: 0,
        expiry,
        value: NewValue::Copied(value),
    }
}

fn forever(value: &[u8]) -> NewItem<'_> {
    until(Expiry::Never, value)
}

fn is_stored(store: &Store, key: &[u8]) -> bool {
    matches!(store.get(key, NOW, |_| ()), Lookup::Hit(()))
}

fn fill(store: &Store, count: u64, item: &NewItem<'_>) {
    for id in 0..count {
        let outcome = store.set(&id.to_be_bytes(), item.clone(), NOW);
        assert!(matches!(outcome, StoreOutcome::Stored { .. }));
    }
}

#[test]
fn the_largest_item_is_memcacheds() {
    let store = store(64 << 20);
    assert!(store.fits(1, 0, 1_048_516));
    assert!(!store.fits(1, 0, 1_048_517));
    assert!(!store.fits(1, 1, 1_048_516));
    assert!(store.fits(1, 1, 1_048_512));
    assert!(store.fits(KEY_LEN_MAX, 0, 0));
    assert!(!store.fits(KEY_LEN_MAX + 1, 0, 0));
    assert!(!store.fits(usize::MAX, u32::MAX, usize::MAX));
}

#[test]
fn a_set_that_is_too_large_removes_the_old_value_and_nothing_else_does() {
    let store = store(64 << 20);
    let value = vec![b'v'; 1_048_517];
    let refused = [
        store.add(b"k", forever(&value), NOW),
        store.replace(b"k", forever(&value), NOW),
        store.cas(b"k", forever(&value), 1, NOW),
    ];
    assert_eq!(refused, [StoreOutcome::TooLarge; 3]);

    let _ = store.set(b"k", forever(b"old"), NOW);
    assert_eq!(
        store.replace(b"k", forever(&value), NOW),
        StoreOutcome::TooLarge
    );
    assert_eq!(store.append(b"k", &value, NOW), StoreOutcome::TooLarge);
    assert_eq!(store.prepend(b"k", &value, NOW), StoreOutcome::TooLarge);
    assert!(is_stored(&store, b"k"));
    assert_eq!(
        store.set(b"k", forever(&value), NOW),
        StoreOutcome::TooLarge
    );
    assert!(!is_stored(&store, b"k"));
}

#[test]
fn an_item_larger_than_the_shard_is_refused_without_evicting_anything() {
    let store = store(500_000);
    fill(&store, 5_000, &forever(b"small"));
    let value = vec![b'v'; 500_000];
    assert_eq!(
        store.add(b"k", forever(&value), NOW),
        StoreOutcome::NoMemory
    );
    assert_eq!(
        store.append(&0_u64.to_be_bytes(), &value, NOW),
        StoreOutcome::NoMemory
    );
    assert_eq!(store.snapshot().curr_items, 5_000);
    // One that fits if it is alone does get its place.
    let value = vec![b'v'; 470_000];
    assert!(matches!(
        store.add(b"k", forever(&value), NOW),
        StoreOutcome::Stored { .. }
    ));
    assert!(is_stored(&store, b"k"));
    assert!(store.snapshot().evictions > 4_000);
}

#[test]
fn a_store_without_memory_refuses_everything() {
    let store = store(0);
    assert_eq!(store.set(b"k", forever(b"v"), NOW), StoreOutcome::NoMemory);
    assert_eq!(store.sweep(NOW, 100), 0);
    assert_eq!(store.incr(b"k", 1, NOW), Arithmetic::NotFound);
}

#[test]
fn of_what_nobody_comes_back_for_the_oldest_go_first() {
    let store = store(1 << 20);
    let count = 20_000_u64;
    fill(&store, count, &forever(&[b'v'; 100]));
    let snapshot = store.snapshot();
    let survivors = snapshot.curr_items;
    assert!(survivors > 5_000 && survivors < count);
    // Hardly any: a new key may look like one that the ghost remembers, and is let into the main queue.
    let oldest = count - survivors;
    let strangers = (0..oldest)
        .filter(|id| is_stored(&store, &id.to_be_bytes()))
        .count();
    assert!(strangers < 20, "{strangers}");
    assert_eq!(snapshot.evictions, oldest);
    assert_eq!(snapshot.evicted_unfetched, oldest);
    assert!(snapshot.bytes <= snapshot.charged_bytes);
    assert!(snapshot.charged_bytes <= snapshot.limit_bytes);
}

#[test]
fn what_is_used_survives_many_times_the_memory_of_what_is_not() {
    let store = store(8 << 20);
    let value = [b'v'; 500];
    let used = 1_500_u64;
    fill(&store, used, &forever(&value));
    assert!((0..used).all(|id| is_stored(&store, &id.to_be_bytes())));
    for cold in used..140_000 {
        let _ = store.set(&cold.to_be_bytes(), forever(&value), NOW);
        if cold.is_multiple_of(2) {
            let _ = is_stored(&store, &(cold / 2 % used).to_be_bytes());
        }
    }
    let alive = (0..used)
        .filter(|id| is_stored(&store, &id.to_be_bytes()))
        .count();
    assert!(alive * 100 >= 1_500 * 99, "{alive}");
}

#[test]
fn without_eviction_a_full_store_refuses() {
    let store = store_without_eviction();
    let count = 20_000_u64;
    let refused = (0..count).find(|id| {
        store.set(&id.to_be_bytes(), forever(&[b'v'; 100]), NOW) == StoreOutcome::NoMemory
    });
    let refused = refused.unwrap();
    assert!(refused > 5_000);
    assert!((0..refused).all(|id| is_stored(&store, &id.to_be_bytes())));
    // What is deleted makes room again, even if it is a fifth of each segment.
    for id in (0..refused).step_by(5) {
        assert!(store.delete(&id.to_be_bytes(), NOW));
    }
    for id in count..count + refused / 10 {
        let outcome = store.set(&id.to_be_bytes(), forever(&[b'v'; 100]), NOW);
        assert!(matches!(outcome, StoreOutcome::Stored { .. }), "{id}");
    }
    assert!(
        (0..refused)
            .filter(|id| id % 5 != 0)
            .all(|id| is_stored(&store, &id.to_be_bytes()))
    );
    store.check().unwrap();
    assert_eq!(store.snapshot().evictions, 0);
}

#[test]
fn without_eviction_nothing_is_lost_whatever_lifetimes_are_left() {
    let store = store_without_eviction();
    // Of each class some will have so little left, after an hour, that they would be in another one.
    let minutes = [61, 100, 400, 24 * 60 + 1, 24 * 60 + 50, 100_000];
    let expiry = |id: u64| match minutes.get(usize::try_from(id % 7).unwrap()) {
        Some(minutes) => Expiry::At(Time::from_millis(minutes * 60_000)),
        None => Expiry::Never,
    };
    let an_hour = Time::from_millis(60 * 60_000);
    let set = |id: u64, now| store.set(&id.to_be_bytes(), until(expiry(id), &[b'v'; 100]), now);
    let refused = (0..100_000).find(|id| set(*id, NOW) == StoreOutcome::NoMemory);
    let refused = refused.unwrap();
    for round in 0..5 {
        for id in (round..refused).step_by(10) {
            assert!(store.delete(&id.to_be_bytes(), an_hour));
        }
        let new = refused * (round + 1);
        let _ = (new..new + refused).find(|id| set(*id, an_hour) == StoreOutcome::NoMemory);
    }
    let is_alive = |id: &u64| store.get(&id.to_be_bytes(), an_hour, |_| ()) == Lookup::Hit(());
    assert!(
        (0..refused)
            .filter(|id| id % 10 > 4)
            .all(|id| is_alive(&id))
    );
    assert_eq!(store.snapshot().evictions, 0);
    store.check().unwrap();
}

#[test]
fn expired_items_go_without_counting_as_evicted() {
    let store = store(1 << 20);
    fill(&store, 1_000, &until(Expiry::At(NOW), &[b'v'; 100]));
    let before = store.snapshot();
    for id in 1_000..10_000_u64 {
        let _ = store.set(&id.to_be_bytes(), forever(&[b'v'; 100]), NOW);
    }
    let after = store.snapshot();
    assert_eq!(before.evictions, 0);
    assert_eq!(after.reclaimed, 1_000);
    assert_eq!(after.expired_unfetched, 1_000);
    assert_eq!(after.evictions, 9_000 - after.curr_items);
}

#[test]
fn a_fetched_item_stays_fetched_when_its_number_changes() {
    let store = store(1 << 20);
    let _ = store.set(b"n", forever(b"1"), NOW);
    assert!(is_stored(&store, b"n"));
    let _ = store.incr(b"n", 1, NOW);
    store.set_memory_limit(0);
    store.shrink(NOW, usize::MAX);
    let snapshot = store.snapshot();
    assert_eq!((snapshot.evictions, snapshot.evicted_unfetched), (1, 0));
}

#[test]
fn a_sweep_keeps_to_its_budget_and_goes_on_where_it_stopped() {
    let store = store(64 << 20);
    fill(&store, 1_000, &until(Expiry::At(LATER), b"v"));
    for id in 1_000..1_500_u64 {
        let _ = store.set(&id.to_be_bytes(), forever(b"v"), NOW);
    }
    assert_eq!(store.sweep(NOW, 10_000), 0);
    // A segment at a time.
    assert_eq!(store.sweep(LATER, 1), 1_000);
    assert_eq!(store.sweep(LATER, 10_000), 0);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.curr_items, 500);
    assert_eq!(snapshot.sweep_reclaimed, 1_000);
    assert_eq!(snapshot.reclaimed, 1_000);
    // Only when something can be dead, and never where nothing expires.
    assert_eq!(snapshot.sweep_items_checked, 1_000);
}

#[test]
fn a_flush_that_came_stays_in_force_when_another_is_ordered() {
    let store = store(64 << 20);
    let _ = store.set(b"old", forever(b"v"), NOW);
    store.flush(LATER, NOW);
    let _ = store.set(b"in between", forever(b"v"), NOW);
    assert!(is_stored(&store, b"old"));
    let much_later = Time::from_millis(100_000);
    store.flush(much_later, LATER);
    let _ = store.set(b"new", forever(b"v"), LATER);
    for key in [&b"old"[..], b"in between"] {
        assert_eq!(store.get(key, LATER, |_| ()), Lookup::Miss(Miss::Flushed));
    }
    assert_eq!(store.get(b"new", LATER, |_| ()), Lookup::Hit(()));
    assert_eq!(
        store.get(b"new", much_later, |_| ()),
        Lookup::Miss(Miss::Flushed)
    );
}

#[test]
fn a_lower_limit_is_reached_and_a_higher_one_is_used() {
    let store = store(4 << 20);
    fill(&store, 100_000, &forever(&[b'v'; 100]));
    let at_four = store.snapshot();
    store.set_memory_limit(1 << 20);
    store.shrink(NOW, usize::MAX);
    let at_one = store.snapshot();
    assert!(at_one.bytes <= 1 << 20 && at_one.limit_bytes == 1 << 20);
    assert!(at_one.curr_items < at_four.curr_items / 3);
    store.set_memory_limit(8 << 20);
    fill(&store, 100_000, &forever(&[b'v'; 100]));
    assert!(store.snapshot().curr_items > at_four.curr_items * 3 / 2);
    store.set_memory_limit(0);
    store.shrink(NOW, usize::MAX);
    assert_eq!(store.snapshot().curr_items, 0);
}

#[test]
fn an_emptied_store_is_charged_as_a_new_one() {
    let store = store(16 << 20);
    let new = store.snapshot();
    fill(&store, 5_000, &forever(&[b'v'; 100]));
    fill(&store, 5_000, &forever(&[b'v'; 700]));
    for id in 0..5_000_u64 {
        let key = id.to_be_bytes();
        if id % 3 == 0 {
            let _ = store.append(&key, &[b'v'; 16_000], NOW);
        }
        let _ = store.incr(&key, 1, NOW);
    }
    assert!(store.snapshot().bytes > new.bytes);
    for id in 0..5_000_u64 {
        let _ = store.delete(&id.to_be_bytes(), NOW);
    }
    assert_eq!(store.sweep(NOW, 1), 0);
    let emptied = store.snapshot();
    assert_eq!((emptied.curr_items, emptied.bytes), (0, new.bytes));
    assert!(emptied.table_bytes < 200);
}

#[test]
fn a_reset_zeroes_counters_and_leaves_gauges() {
    let store = store(1 << 20);
    fill(&store, 10_000, &forever(&[b'v'; 100]));
    let before = store.snapshot();
    assert_eq!(before.total_items, 10_000);
    store.reset_counters();
    let after = store.snapshot();
    assert_eq!(
        (after.total_items, after.evictions, after.evicted_unfetched),
        (0, 0, 0)
    );
    assert_eq!(
        (after.curr_items, after.bytes),
        (before.curr_items, before.bytes)
    );
}

#[test]
fn cas_uniques_start_above_the_given_number_even_at_its_end() {
    for cas_start in [0, 1, 1_700_000_000_000_000, u64::MAX] {
        let store = Store::new(&Config {
            memory_limit_bytes: 1 << 20,
            shard_count: NonZeroUsize::new(8),
            cas_start,
            ..Config::default()
        });
        for id in 0..100_u64 {
            let outcome = store.set(&id.to_be_bytes(), forever(b"v"), NOW);
            let StoreOutcome::Stored { cas } = outcome else {
                panic!("{outcome:?}");
            };
            assert!(cas > cas_start.min(1 << 55));
            assert_eq!(
                store.cas(b"other", forever(b"v"), 0, NOW),
                StoreOutcome::NotFound
            );
            assert_eq!(
                store.cas(&id.to_be_bytes(), forever(b"v"), 0, NOW),
                StoreOutcome::Exists
            );
        }
    }
}
