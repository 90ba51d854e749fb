//! The memory limit, measured: what the process has allocated never exceeds it by more than a
//! small constant, whatever is stored. One test alone, because it watches the whole process.

use std::alloc::System;
use std::num::NonZeroUsize;

use bytes::Bytes;
use cap::Cap;
use nuthatch_store::{Config, Expiry, NewItem, NewValue, Store, StoreOutcome, Time};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

const LIMIT: usize = 16 << 20;
/// The largest value stored here.
const VALUE_LEN_MAX: usize = 64 << 10;
/// What may be on top of the limit: the item that is being stored, a table that is being rebuilt, the
/// store itself without its items, and the test's own few allocations.
const EXCESS_MAX: usize = VALUE_LEN_MAX + (320 << 10) + (64 << 10);

/// A phase stores `LIMIT * 3` bytes of values whose lengths follow a pattern.
type ValueLen = fn(usize) -> usize;

const PHASES: [(&str, ValueLen); 10] = [
    ("100 B", |_| 100),
    ("1 KB", |_| 1_000),
    ("mixed to 64 KB", |n| 10 + n * 7_919 % VALUE_LEN_MAX),
    ("100 B again", |_| 100),
    ("empty", |_| 0),
    ("64 KB", |_| VALUE_LEN_MAX),
    ("100 B after large ones", |_| 100),
    ("around the threshold", |n| 16_000 + n * 31 % 800),
    ("550 B", |_| 550),
    // With the key of 30 bytes an allocation without any rounding.
    ("no slack", |_| 26),
];

#[test]
fn allocated_bytes_stay_within_the_limit_whatever_is_stored() {
    let store = Store::new(&Config {
        memory_limit_bytes: u64::try_from(LIMIT).unwrap(),
        shard_count: NonZeroUsize::new(4),
        ..Config::default()
    });
    let before = HEAP.allocated();
    let value = vec![b'v'; VALUE_LEN_MAX];
    let baseline = HEAP.allocated();
    let mut id = 0_u64;
    for (phase, value_len) in PHASES {
        let mut stored_len = 0;
        let mut highest = 0;
        while stored_len < 3 * LIMIT {
            let len = value_len(usize::try_from(id).unwrap());
            stored_len += len + 100;
            store_one(&store, id, &value[..len]);
            id += 1;
            let allocated = HEAP.allocated().saturating_sub(baseline);
            highest = highest.max(allocated);
            if id.is_multiple_of(512) {
                check_charge(&store, allocated);
            }
            assert!(
                allocated <= LIMIT + EXCESS_MAX,
                "{phase}: {allocated} allocated"
            );
        }
        println!(
            "{phase}: highest {highest}, {} items",
            store.snapshot().curr_items
        );
        assert!(
            highest > LIMIT / 2,
            "{phase}: only {highest} of the limit used"
        );
    }
    // Between two operations too: the peak of the whole run.
    let peak = HEAP.max_allocated() - baseline;
    assert!(peak <= LIMIT + EXCESS_MAX, "peak {peak}");

    store.set_memory_limit(1 << 20);
    store.shrink(Time::default(), usize::MAX);
    let allocated = HEAP.allocated().saturating_sub(baseline);
    assert!(
        allocated <= (1 << 20) + EXCESS_MAX,
        "{allocated} after a lower limit"
    );

    drop(store);
    assert!(
        HEAP.allocated() <= before + VALUE_LEN_MAX,
        "something leaks"
    );
}

/// At rest the charge covers what is allocated.
fn check_charge(store: &Store, allocated: usize) {
    let snapshot = store.snapshot();
    let needed = u64::try_from(allocated).unwrap_or(u64::MAX);
    let charged = snapshot.charged_bytes + (32 << 10);
    assert!(needed <= charged, "{needed} of {charged}: {snapshot:?}");
}

/// New keys, rewrites of recent ones with other lengths, deletes and appends.
fn store_one(store: &Store, id: u64, value: &[u8]) {
    let now = Time::default();
    let key = |id: u64| [&[b'k'; 22][..], &id.to_be_bytes()].concat();
    let new = NewItem {
        client_flags: 0,
        expiry: Expiry::Never,
        value: if id.is_multiple_of(2) {
            NewValue::Copied(value)
        } else {
            NewValue::Owned(Bytes::copy_from_slice(value))
        },
    };
    let id = if id % 5 == 4 {
        id.saturating_sub(5_000)
    } else {
        id
    };
    let outcome = store.set(&key(id), new, now);
    assert!(
        matches!(outcome, StoreOutcome::Stored { .. }),
        "{outcome:?}"
    );
    match id % 16 {
        3 => drop(store.delete(&key(id.saturating_sub(100)), now)),
        7 => drop(store.append(&key(id.saturating_sub(3)), b"tail", now)),
        11 => {
            // The first clone of a value's handle allocates the counter of its handles.
            let _ = store.get(&key(id), now, |hit| match hit.value {
                nuthatch_store::ValueRef::Shared(bytes) => drop(bytes.clone()),
                nuthatch_store::ValueRef::Inline(_) => {}
            });
        }
        _ => {}
    }
}
