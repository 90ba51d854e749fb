//! Values that prove themselves, of lengths around every threshold, under writers, readers, sweeps and
//! changing limits: what is read is exactly what somebody wrote.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nuthatch_store::{Config, Expiry, Lookup, NewItem, NewValue, Store, StoreOutcome, Time};

const WRITES: u64 = 30_000;
const KEYS: u64 = 3000;

/// A quarter of a segment in a small shard and in a large one, a whole segment, what is tried before a value is
/// compressed whole, and from where on that is done.
const THRESHOLDS: [usize; 8] = [
    0,
    24,
    1 << 10,
    4 << 10,
    16 << 10,
    20 << 10,
    64 << 10,
    100 << 10,
];

/// How often each of them is meant, of so many times in all.
const SHARES: [u64; 8] = [6, 6, 6, 6, 4, 2, 1, 1];

/// The length of a value: a little more or less than a threshold.
fn len(random: u64) -> usize {
    let mut roll = random % SHARES.iter().sum::<u64>();
    let chosen = THRESHOLDS.iter().zip(SHARES).find(|(_, share)| {
        let is_chosen = roll < *share;
        roll = roll.saturating_sub(*share);
        is_chosen
    });
    let (threshold, _) = chosen.unwrap();
    (threshold + usize::try_from(random >> 32).unwrap() % 65).saturating_sub(32)
}

/// A value of that length which nobody else writes: half of it is noise.
fn value(key: u64, seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed ^ key.rotate_left(32) ^ len as u64;
    let mut value = seed.to_be_bytes().to_vec();
    while value.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        value.extend_from_slice(&state.to_be_bytes());
        value.extend_from_slice(&seed.to_be_bytes());
    }
    value.truncate(len.max(8));
    value
}

fn assert_whole(key: u64, found: &[u8]) {
    let seed = u64::from_be_bytes(*found.first_chunk().unwrap());
    assert!(
        found == value(key, seed, found.len()),
        "key {key}: {} bytes that nobody wrote",
        found.len()
    );
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 27
}

fn write(store: &Store, clock: &AtomicU64, writer: u64) {
    let mut state = writer;
    for number in 0..WRITES {
        let (key, roll) = (random(&mut state) % KEYS, random(&mut state));
        let now = Time::from_millis(clock.fetch_add(1, Ordering::Relaxed));
        let seed = number << 8 | writer;
        let value = value(key, seed, len(roll));
        let item = NewItem {
            client_flags: 0,
            expiry: if roll.is_multiple_of(4) {
                Expiry::At(Time::from_millis(now.as_millis() + roll % 1000))
            } else {
                Expiry::Never
            },
            value: if roll.is_multiple_of(2) {
                NewValue::Owned(value.into())
            } else {
                NewValue::Copied(&value)
            },
        };
        let outcome = store.set(&key.to_be_bytes(), item, now);
        assert!(
            matches!(outcome, StoreOutcome::Stored { .. }),
            "{outcome:?}"
        );
    }
}

fn read(store: &Store, clock: &AtomicU64, is_done: &AtomicBool) -> u64 {
    let (mut state, mut hits) = (77, 0);
    while !is_done.load(Ordering::Acquire) {
        let key = random(&mut state) % KEYS;
        let now = Time::from_millis(clock.load(Ordering::Relaxed));
        let lookup = store.get(&key.to_be_bytes(), now, |hit| hit.value.as_slice().to_vec());
        if let Lookup::Hit(found) = lookup {
            assert_whole(key, &found);
            hits += 1;
        }
    }
    hits
}

fn disturb(store: &Store, clock: &AtomicU64, is_done: &AtomicBool, limit: u64) {
    for round in 0_u64.. {
        if is_done.load(Ordering::Acquire) {
            return;
        }
        let now = Time::from_millis(clock.load(Ordering::Relaxed));
        let _ = store.sweep(now, 100);
        store.set_memory_limit(if round % 64 < 32 { limit } else { limit / 2 });
        store.shrink(now, 4);
    }
}

#[test]
fn nobody_reads_what_nobody_wrote() {
    // In the small store a segment has 16 KiB, in the other one 64 KiB; both are too small for the data.
    for (limit, compress_len_min) in [(1 << 20, None), (8 << 20, None), (2 << 20, Some(64))] {
        let store = Store::new(&Config {
            memory_limit_bytes: limit,
            shard_count: NonZeroUsize::new(1),
            compress_len_min,
            ..Config::default()
        });
        let (clock, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
        let hits = thread::scope(|scope| {
            let reader = scope.spawn(|| read(&store, &clock, &is_done));
            scope.spawn(|| disturb(&store, &clock, &is_done, limit));
            let writers = [1, 2].map(|writer| {
                let (store, clock) = (&store, &clock);
                scope.spawn(move || write(store, clock, writer))
            });
            let written = writers.map(thread::ScopedJoinHandle::join);
            is_done.store(true, Ordering::Release);
            assert!(written.iter().all(Result::is_ok));
            reader.join().unwrap()
        });
        assert!(hits > 10_000, "{hits} hits prove little");
        assert!(store.snapshot().evictions > 1000);
        assert_eq!(store.snapshot().decompress_failures, 0);
    }
}

#[test]
fn a_value_that_was_changed_does_not_prove_itself() {
    let mut value = value(1, 2, 100);
    assert_whole(1, &value);
    value[50] ^= 1;
    assert!(std::panic::catch_unwind(|| assert_whole(1, &value)).is_err());
}
