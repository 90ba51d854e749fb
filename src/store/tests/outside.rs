//! Memory outside the shards, and limits that change: the shards make room, one step at a time.

use std::num::NonZeroUsize;

use bytes::Bytes;
use nuthatch_store::{
    Config, Expiry, Lookup, NewItem, NewValue, Store, StoreOutcome, Time, ValueRef,
};

const NOW: Time = Time::from_millis(1_000);
const LIMIT: u64 = 8 << 20;

fn store(shard_count: usize) -> Store {
    Store::new(&Config {
        memory_limit_bytes: LIMIT,
        shard_count: NonZeroUsize::new(shard_count),
        ..Config::default()
    })
}

fn set(store: &Store, id: u64, value: &[u8]) {
    let item = NewItem {
        client_flags: 0,
        expiry: Expiry::Never,
        value: NewValue::Copied(value),
    };
    let outcome = store.set(&id.to_be_bytes(), item, NOW);
    assert!(matches!(outcome, StoreOutcome::Stored { .. }), "{id}");
}

fn hold(store: &Store, id: u64) -> Bytes {
    let held = store.get(&id.to_be_bytes(), NOW, |hit| match hit.value {
        ValueRef::Shared(value) => value.clone(),
        ValueRef::Inline(_) => Bytes::new(),
    });
    match held {
        Lookup::Hit(held) => held,
        Lookup::Miss(_) => Bytes::new(),
    }
}

/// All bytes that are charged.
fn charged(store: &Store) -> u64 {
    let snapshot = store.snapshot();
    let outside = snapshot.arriving_bytes + snapshot.pinned_bytes + snapshot.spare_bytes;
    snapshot.charged_bytes + outside
}

#[test]
fn arriving_values_may_take_half_of_the_memory_and_not_a_byte_more() {
    let store = store(1);
    let (mut one, mut other) = (store.arriving(), store.arriving());
    assert!(one.grow(LIMIT / 4) && other.grow(LIMIT / 4));
    assert!(!one.grow(1) && !other.grow(1));
    assert_eq!(store.snapshot().arriving_bytes, LIMIT / 2);
    drop(one);
    assert!(other.grow(LIMIT / 4));
    drop(other);
    assert_eq!(store.snapshot().arriving_bytes, 0);
}

#[test]
fn the_shards_make_room_for_arriving_values() {
    let store = store(2);
    for id in 0..100_000 {
        set(&store, id, &[b'v'; 100]);
    }
    let full = store.snapshot().curr_items;
    let mut arriving = store.arriving();
    assert!(arriving.grow(LIMIT / 2));
    store.shrink(NOW, 1_000);
    assert!(charged(&store) <= LIMIT);
    drop(arriving);
    for id in 0..100_000 {
        set(&store, id, &[b'v'; 100]);
    }
    assert!(store.snapshot().curr_items > full * 9 / 10);
    store.check().unwrap();
}

#[test]
fn a_write_makes_room_for_arriving_values_without_waiting_for_the_shrinking() {
    let store = store(1);
    for id in 0..100_000 {
        set(&store, id, &[b'v'; 100]);
    }
    let mut arriving = store.arriving();
    assert!(arriving.grow(LIMIT / 2));
    let evictions = store.snapshot().evictions;
    set(&store, 1, &[b'v'; 200]);
    // A segment of 64 KiB, and what else the set needed.
    assert!(store.snapshot().evictions - evictions < 3_000);
    for id in 0..100 {
        set(&store, id, &[b'w'; 200]);
    }
    assert!(charged(&store) <= LIMIT);
}

#[test]
fn values_that_readers_hold_are_charged_until_they_let_go() {
    let store = store(1);
    let value = vec![b'v'; 100_000];
    for id in 0..30 {
        set(&store, id, &value);
    }
    let held: Vec<Bytes> = (0..30).map(|id| hold(&store, id)).collect();
    assert_eq!(store.snapshot().pinned_bytes, 0);
    assert!(!store.is_held_up());
    for id in 0..10 {
        set(&store, id, b"small");
    }
    assert!(store.snapshot().pinned_bytes >= 1_000_000);
    assert!(!store.is_held_up());
    for id in 10..30_u64 {
        assert!(store.delete(&id.to_be_bytes(), NOW));
    }
    assert!(store.snapshot().pinned_bytes >= 3_000_000);
    assert!(store.is_held_up());
    for id in 0..100_000 {
        set(&store, id, &[b'v'; 100]);
    }
    assert!(charged(&store) <= LIMIT);
    assert!(held.iter().all(|held| held == &value));
    drop(held);
    store.shrink(NOW, 0);
    assert_eq!(store.snapshot().pinned_bytes, 0);
    assert!(!store.is_held_up());
}

#[test]
fn the_buffer_of_a_large_value_that_is_gone_is_there_for_the_next_until_nobody_asks_for_it() {
    let store = store(1);
    let value = vec![b'v'; 40_000];
    let spare = || store.snapshot().spare_bytes;
    set(&store, 1, &value);
    assert_eq!(spare(), 0);
    // The predecessor is there until the successor is.
    set(&store, 1, &value);
    assert_eq!(spare(), 40_000);
    set(&store, 2, &value);
    assert_eq!(spare(), 0);
    let held = hold(&store, 2);
    assert!(store.delete(&2_u64.to_be_bytes(), NOW));
    assert_eq!(spare(), 0);
    drop(held);
    store.shrink(NOW, 0);
    assert_eq!(spare(), 40_000);
    let mut arriving = store.arriving();
    let mut buffer = arriving.take_buffer(30_000 + 10_000).unwrap();
    assert_eq!((spare(), store.snapshot().arriving_bytes), (0, 40_000));
    buffer.extend_from_slice(&value);
    assert_eq!(arriving.take_buffer(40_000), None);
    drop(arriving);
    assert!(store.delete(&1_u64.to_be_bytes(), NOW));
    assert_eq!(spare(), 40_000);
    // Somebody has asked since the last time.
    store.shrink(NOW, 0);
    assert_eq!(spare(), 40_000);
    store.shrink(NOW, 0);
    assert_eq!(spare(), 0);
}

#[test]
fn a_value_that_was_decompressed_for_a_reader_is_charged_until_it_is_let_go_of() {
    let store = Store::new(&Config {
        memory_limit_bytes: LIMIT,
        compress_len_min: Some(64),
        ..Config::default()
    });
    let value = vec![b'v'; 100_000];
    set(&store, 1, &value);
    let quarter = LIMIT / 4 / 100_000;
    let mut held: Vec<Bytes> = (0..quarter).map(|_| hold(&store, 1)).collect();
    assert_eq!(store.snapshot().pinned_bytes, quarter * 100_000);
    assert!(!store.is_held_up());
    held.push(hold(&store, 1));
    assert!(store.is_held_up());
    assert!(held.iter().all(|held| held == &value));
    drop(held);
    assert_eq!(store.snapshot().pinned_bytes, 0);
}

#[test]
fn a_lower_limit_is_reached_step_by_step() {
    let store = store(4);
    for id in 0..100_000 {
        set(&store, id, &[b'v'; 100]);
    }
    store.set_memory_limit(LIMIT / 4);
    let mut before = charged(&store);
    let mut steps = 0;
    while charged(&store) > LIMIT / 4 {
        store.shrink(NOW, 1);
        let after = charged(&store);
        // A segment has 32 KiB here; a table may become smaller at the same time.
        assert!(
            after <= before && before - after < 256 << 10,
            "{before} {after}"
        );
        before = after;
        steps += 1;
        assert!(steps < 10_000, "no end at {before}");
    }
    assert!(steps > 100, "{steps}");
    store.check().unwrap();
}

#[test]
fn a_lower_limit_is_also_reached_by_writes_alone() {
    let store = store(1);
    for id in 0..20 {
        set(&store, id, &vec![b'v'; 300_000]);
    }
    store.set_memory_limit(LIMIT / 2);
    for id in 0..500 {
        set(&store, id, b"small");
    }
    assert!(charged(&store) <= LIMIT / 2);
}

#[test]
fn a_limit_of_nothing_ends() {
    let store = store(2);
    for id in 0..10_000 {
        set(&store, id, &[b'v'; 100]);
    }
    store.set_memory_limit(0);
    store.shrink(NOW, usize::MAX);
    assert_eq!(store.snapshot().curr_items, 0);
}
