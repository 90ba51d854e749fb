//! How often the store allocates: never for a small get, once at most for a small set.

use std::num::NonZeroUsize;

use allocation_counter::measure;
use nuthatch_store::{Config, Expiry, NewItem, NewValue, Store, Time};

const NOW: Time = Time::from_millis(1);

fn store(memory_limit_bytes: u64, compress_len_min: Option<usize>) -> Store {
    Store::new(&Config {
        memory_limit_bytes,
        shard_count: NonZeroUsize::new(1),
        compress_len_min,
        ..Config::default()
    })
}

fn set(store: &Store, id: u64, value: &[u8]) {
    let item = NewItem {
        client_flags: 0,
        expiry: Expiry::At(Time::from_millis(1 << 40)),
        value: NewValue::Copied(value),
    };
    let _ = store.set(&id.to_be_bytes(), item, NOW);
}

/// Allocations of each of a thousand calls, the most and all together.
fn allocations(mut job: impl FnMut(u64)) -> (u64, u64) {
    let counts = (0..1000).map(|id| measure(|| job(id)).count_total);
    counts.fold((0, 0), |(most, all), count| (most.max(count), all + count))
}

#[test]
fn a_small_get_allocates_nothing() {
    for compress_len_min in [None, Some(64)] {
        let store = store(8 << 20, compress_len_min);
        for id in 0..1000 {
            set(&store, id, &[b'v'; 1000]);
        }
        let get = |id: u64| {
            let lookup = store.get(&id.to_be_bytes(), NOW, |hit| hit.value.as_slice().len());
            assert_eq!(lookup, nuthatch_store::Lookup::Hit(1000));
        };
        // The first one of a thread may make the buffer that it decompresses into.
        get(0);
        assert_eq!(allocations(get), (0, 0));
        assert_eq!(
            allocations(|id| {
                let _ = store.get(&(id + 5000).to_be_bytes(), NOW, |_| ());
            }),
            (0, 0)
        );
        let later = Expiry::At(Time::from_millis(1 << 41));
        let touch = |id: u64| assert!(store.touch(&id.to_be_bytes(), later, NOW));
        assert_eq!(allocations(touch), (0, 0));
    }
}

#[test]
fn an_overwrite_a_number_and_a_delete_allocate_nothing() {
    let store = store(8 << 20, None);
    for id in 0..1000 {
        set(&store, id, b"12345678");
    }
    assert_eq!(allocations(|id| set(&store, id, b"87654321")), (0, 0));
    assert_eq!(
        allocations(|id| {
            let _ = store.incr(&id.to_be_bytes(), 7, NOW);
        }),
        (0, 0)
    );
    assert_eq!(
        allocations(|id| assert!(store.delete(&(999 - id).to_be_bytes(), NOW))).0,
        1,
        "the table that has become smaller"
    );
}

#[test]
fn a_small_set_allocates_once_at_most() {
    for compress_len_min in [None, Some(64)] {
        let store = store(4 << 20, compress_len_min);
        set(&store, u64::MAX, &[b'v'; 500]);
        // While it fills: segments and larger tables.
        let (most, all) = allocations(|id| set(&store, id, &[b'v'; 500]));
        assert!(most <= 3 && all <= 60, "{most}, {all} in all");
        for id in 1000..100_000 {
            set(&store, id, &[b'v'; 500]);
        }
        // Full: each evicts.
        let (most, all) = allocations(|id| set(&store, id + 100_000, &[b'v'; 500]));
        assert!(most <= 1 && all <= 10, "{most}, {all} in all");
    }
}
