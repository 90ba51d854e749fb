//! Random operations against a naive model, in simulated time: every outcome must be the same.

#![expect(clippy::unwrap_used, reason = "a test")]

mod model {
    pub(crate) mod op;
    pub(crate) mod reference;
}

use bytes::Bytes;
use model::op::{ITEM_LEN_MAX, LastByte, Op, Random};
use model::reference::{Answer, Reference};
use nuthatch_store::{
    Arithmetic, Config, Expiry, LARGE_VALUE_LEN_MIN, Lookup, NamespaceStats, NewItem, NewValue,
    Store, StoreOutcome, Time, ValueRef,
};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

fn store(memory_limit_bytes: u64, shard_count: usize, compress_len_min: Option<usize>) -> Store {
    Store::new(&Config {
        memory_limit_bytes,
        item_len_max: ITEM_LEN_MAX,
        shard_count: NonZeroUsize::new(shard_count),
        cas_start: 1_000,
        compress_len_min,
        namespaces: Some(Arc::new(LastByte)),
        ..Config::default()
    })
}

fn new_item(client_flags: u32, expiry: Expiry, value: &[u8]) -> NewItem<'_> {
    // Both ways of handing a value in must be the same to everybody else.
    let value = if value.len().is_multiple_of(2) {
        NewValue::Owned(Bytes::copy_from_slice(value))
    } else {
        NewValue::Copied(value)
    };
    NewItem {
        client_flags,
        expiry,
        value,
    }
}

fn perform(store: &Store, op: &Op, now: Time) -> Answer {
    let lookup = |lookup| match lookup {
        Lookup::Hit(hit) => Answer::Hit(hit),
        Lookup::Miss(miss) => Answer::Miss(miss),
    };
    let visit = |hit: nuthatch_store::Hit<'_>| {
        let value = hit.value.as_slice();
        let is_shared = matches!(hit.value, ValueRef::Shared(_));
        assert!(is_shared || value.len() < LARGE_VALUE_LEN_MIN);
        (value.to_vec(), hit.client_flags, hit.expiry, hit.cas)
    };
    let stored = |outcome| match outcome {
        StoreOutcome::Stored { cas } => Answer::Stored(cas),
        other => Answer::Refused(other),
    };
    let number = |outcome| match outcome {
        Arithmetic::Number { value, cas } => Answer::Number(value, cas),
        other => Answer::NoNumber(other),
    };
    match op {
        Op::Get(key) => lookup(store.get(key, now, visit)),
        Op::GetAndTouch(key, expiry) => lookup(store.get_and_touch(key, *expiry, now, visit)),
        Op::Touch(key, expiry) => Answer::Done(store.touch(key, *expiry, now)),
        Op::Set(key, flags, at, v) => stored(store.set(key, new_item(*flags, *at, v), now)),
        Op::Add(key, flags, at, v) => stored(store.add(key, new_item(*flags, *at, v), now)),
        Op::Replace(key, flags, at, v) => stored(store.replace(key, new_item(*flags, *at, v), now)),
        Op::Cas(key, v, unique) => {
            stored(store.cas(key, new_item(0, Expiry::Never, v), *unique, now))
        }
        Op::Append(key, value) => stored(store.append(key, value, now)),
        Op::Prepend(key, value) => stored(store.prepend(key, value, now)),
        Op::Incr(key, delta) => number(store.incr(key, *delta, now)),
        Op::Decr(key, delta) => number(store.decr(key, *delta, now)),
        Op::Delete(key) => Answer::Done(store.delete(key, now)),
        Op::Flush(at) => {
            store.flush(*at, now);
            Answer::Done(true)
        }
        Op::FlushNamespace(id) => {
            store.flush_namespaces(&[*id], now);
            Answer::Done(true)
        }
        Op::Sweep(item_budget) => {
            let before = store.snapshot().curr_items;
            let removed = store.sweep(now, *item_budget);
            assert!(
                removed <= *item_budget + 5_000,
                "{removed} of {item_budget}"
            );
            let after = store.snapshot().curr_items;
            assert_eq!(before - after, u64::try_from(removed).unwrap());
            Answer::Done(true)
        }
    }
}

/// Runs `count` operations that never come near the memory limit; returns the number of hits.
fn run(
    random: &mut Random,
    count: usize,
    shard_count: usize,
    compress_len_min: Option<usize>,
) -> usize {
    let store = store(256 << 20, shard_count, compress_len_min);
    let mut reference = Reference::default();
    let mut uniques = HashSet::new();
    let mut hits = 0;
    let mut now = Time::default();
    for step in 0..count {
        now = random.advance(now);
        let op = Op::random(random, now, |key| reference.cas_of(key));
        let answer = perform(&store, &op, now);
        if let Answer::Stored(cas) | Answer::Number(_, cas) = answer {
            assert!(cas > 1_000 && uniques.insert(cas), "cas unique {cas} twice");
        }
        hits += usize::from(matches!(answer, Answer::Hit(_)));
        reference.check(&op, now, &answer, step);
        if step.is_multiple_of(10_000) {
            store.check().unwrap();
        }
    }
    // Two rounds, as the first may start in the middle.
    let _ = store.sweep(now, usize::MAX) + store.sweep(now, usize::MAX);
    store.check().unwrap();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.curr_items, reference.live_count(now));
    assert_eq!(snapshot.evictions, 0);
    assert_eq!(snapshot.decompress_failures, 0);
    assert!(count < 100_000 || (snapshot.compressed > 0) == compress_len_min.is_some());
    hits
}

#[test]
fn ten_million_operations_answer_as_the_model_does() {
    for (seed, compress_len_min) in (0..).zip([None, Some(0), None, Some(200)]) {
        let mut random = Random::seeded(seed);
        let hits = run(&mut random, 2_500_000, 1 << seed, compress_len_min);
        assert!(hits > 250_000, "{hits} hits prove little");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_operations_answer_as_the_model_does(entropy in prop::collection::vec(any::<u64>(), 1..400)) {
        let count = entropy.len() / 4;
        let _ = run(&mut Random::recorded(entropy.clone()), count, 2, None);
        let _ = run(&mut Random::recorded(entropy), count, 2, Some(0));
    }
}

#[test]
fn under_eviction_a_hit_is_always_the_newest_write() {
    for compress_len_min in [None, Some(400)] {
        run_full(compress_len_min);
    }
}

/// Runs operations on a store that is much too small for what they store.
fn run_full(compress_len_min: Option<usize>) {
    let limit = 1 << 20;
    let store = store(limit, 4, compress_len_min);
    let mut random = Random::seeded(99);
    let mut newest: HashMap<u64, Vec<u8>> = HashMap::new();
    let (mut hits, mut misses) = (0_u64, 0_u64);
    for step in 0..300_000_u64 {
        let now = Time::from_millis(step);
        if step.is_multiple_of(1_000) {
            store.check().unwrap();
        }
        let id = random.below(8_000);
        let key = id.to_be_bytes();
        if random.below(2) == 0 {
            let len_max = if random.below(50) == 0 { 30_000 } else { 600 };
            let mut value = step.to_be_bytes().to_vec();
            // Half of it compresses to nothing, the other half not at all.
            let len = 8 + usize::try_from(random.below(len_max)).unwrap();
            while value.len() < len / 2 {
                value.extend_from_slice(&random.below(u64::MAX).to_be_bytes());
            }
            value.resize(len, 0);
            let outcome = store.set(&key, new_item(0, Expiry::Never, &value), now);
            assert!(matches!(outcome, StoreOutcome::Stored { .. }));
            newest.insert(id, value);
            assert!(store.snapshot().bytes <= limit);
            continue;
        }
        match store.get(&key, now, |hit| hit.value.as_slice().to_vec()) {
            Lookup::Hit(value) => {
                assert_eq!(newest.get(&id), Some(&value), "step {step}");
                hits += 1;
            }
            Lookup::Miss(_) => {
                // What was evicted must not come back.
                newest.remove(&id);
                misses += 1;
            }
        }
    }
    assert!(
        hits > 20_000 && misses > 20_000,
        "{hits} hits, {misses} misses"
    );
    let snapshot = store.snapshot();
    assert!(snapshot.evictions > 20_000);
    // Each has its share, and nothing is counted twice.
    let namespaces = store.namespaces();
    let sum = |of: fn(&NamespaceStats) -> u64| namespaces.iter().map(of).sum::<u64>();
    assert_eq!(
        (sum(|one| one.items), sum(|one| one.bytes)),
        (snapshot.curr_items, snapshot.bytes)
    );
    assert_eq!(
        (sum(|one| one.stored), sum(|one| one.evictions)),
        (snapshot.total_items, snapshot.evictions)
    );
    assert!(namespaces.iter().all(|one| one.evictions > 5_000));
}
