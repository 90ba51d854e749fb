//! What the store's operations cost: with items that fit the processor's caches and with items that do
//! not, compressed and not, and at worst.

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use nuthatch_store::{Config, Expiry, NewItem, NewValue, Store, Time};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

const NOW: Time = Time::from_millis(0);
const VALUE: [u8; 200] = [b'v'; 200];

/// What one of these items takes, index included.
const ITEM_LEN: u64 = 270;

fn store(memory_limit_bytes: u64, compress_len_min: Option<usize>) -> Store {
    Store::new(&Config {
        memory_limit_bytes,
        compress_len_min,
        ..Config::default()
    })
}

/// Room for so many items in as many shards as a gigabyte has.
fn filled(items: u64, room: u64) -> Store {
    let store = Store::new(&Config {
        memory_limit_bytes: room * ITEM_LEN,
        item_len_max: 1 << 16,
        shard_count: NonZeroUsize::new(128),
        ..Config::default()
    });
    for number in 0..items {
        let _ = store.set(&key(number), item(&VALUE), NOW);
    }
    store
}

fn item(value: &[u8]) -> NewItem<'_> {
    NewItem {
        client_flags: 0,
        expiry: Expiry::Never,
        value: NewValue::Copied(value),
    }
}

fn key(number: u64) -> [u8; 30] {
    let mut key = *b"a-key-with-thirty-bytes-------";
    if let Some(tail) = key.last_chunk_mut() {
        *tail = number.to_be_bytes();
    }
    key
}

/// Numbers below `count` in no order that a processor could foresee.
fn shuffled(count: u64) -> impl FnMut() -> u64 {
    let mut state = 0u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % count
    }
}

fn bench<R>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut next: impl FnMut() -> u64,
    operation: impl Fn([u8; 30]) -> R,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_batched(|| key(next()), &operation, BatchSize::SmallInput);
    });
}

/// Cargo's `--test`: to see that it works.
fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

fn operations(criterion: &mut Criterion) {
    let many = if is_test() { 50_000 } else { 5_000_000 };
    for (size, items) in [("20 thousand", 20_000), ("5 million", many)] {
        let mut group = criterion.benchmark_group(format!("store/{size} items"));
        let roomy = filled(items, items * 3 / 2);
        let get = |key: [u8; 30]| {
            roomy.get(&key, NOW, |hit| {
                black_box(hit.value.as_slice().first().copied())
            })
        };
        let mut next = shuffled(items);
        bench(&mut group, "get hit", &mut next, get);
        bench(&mut group, "get miss", || next() + items, get);
        let mut next = shuffled(items);
        bench(&mut group, "overwrite", &mut next, |key| {
            roomy.set(&key, item(&VALUE), NOW)
        });
        drop(roomy);
        let full = filled(items * 3 / 2, items);
        let mut new = items * 2..;
        bench(
            &mut group,
            "churn",
            || new.next().unwrap_or(0),
            |key| full.set(&key, item(&VALUE), NOW),
        );
        group.finish();
    }
}

/// A value like those of web sites: names that repeat, numbers that do not.
fn json(len: usize) -> Vec<u8> {
    let mut value = Vec::new();
    let mut next = shuffled(1_000_000_000);
    while value.len() < len {
        let (id, user, score) = (next(), next() % 100_000, next() % 1000);
        let record = format!(
            r#"{{"id":{id},"user":"user{user}","email":"u{user}@example.com","score":{score},"active":true}},"#
        );
        value.extend_from_slice(record.as_bytes());
    }
    value.truncate(len);
    value
}

fn compression(criterion: &mut Criterion) {
    for (size, len) in [
        ("1 KiB", 1 << 10),
        ("10 KiB", 10 << 10),
        ("100 KiB", 100 << 10),
    ] {
        let mut group = criterion.benchmark_group(format!("store/{size} of JSON"));
        let value = json(len);
        for (name, compress_len_min) in [("raw", None), ("compressed", Some(1024))] {
            let store = store(256 << 20, compress_len_min);
            let mut next = shuffled(100);
            bench(&mut group, &format!("set, {name}"), &mut next, |key| {
                store.set(&key, item(&value), NOW)
            });
            let mut out = Vec::with_capacity(len);
            let mut next = shuffled(100);
            group.bench_function(format!("get, {name}"), |bencher| {
                bencher.iter(|| {
                    store.get(&key(next()), NOW, |hit| {
                        out.clear();
                        out.extend_from_slice(hit.value.as_slice());
                    })
                });
            });
        }
        group.finish();
    }
}

/// The longest that one set took while a shard of the usual size was filled with small items, of 60 bytes in
/// all: one for which the table was rebuilt.
fn worst(criterion: &mut Criterion) {
    criterion.bench_function("store/longest set of a shard", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| longest_set()).sum());
    });
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn longest_set() -> Duration {
    let store = store(4 << 20, None);
    let mut longest = Duration::ZERO;
    for number in 0..250_000_u64 {
        let begun = std::time::Instant::now();
        let _ = store.set(&number.to_be_bytes(), item(&[b'v'; 38]), NOW);
        longest = longest.max(begun.elapsed());
    }
    longest
}

criterion_group!(benches, operations, compression, worst);
criterion_main!(benches);
