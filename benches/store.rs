//! What the store's operations cost, with items that fit the processor's caches and with items that do
//! not.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use nuthatch_store::{Config, Expiry, NewItem, NewValue, Store, Time};
use std::hint::black_box;

const NOW: Time = Time::from_millis(0);

fn store(items: u64, value: &[u8]) -> Store {
    let store = Store::new(&Config {
        memory_limit_bytes: 4 << 30,
        item_len_max: 1 << 20,
        shard_count: None,
        cas_start: 0,
        evict: true,
        compress_len_min: None,
    });
    for number in 0..items {
        let _ = store.set(&key(number), item(value), NOW);
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

fn operations(criterion: &mut Criterion) {
    let value = [b'v'; 200];
    for (size, items) in [("in cache", 20_000), ("out of cache", 1_000_000)] {
        let store = store(items, &value);
        let mut group = criterion.benchmark_group(format!("store/{size}"));
        let mut next = shuffled(items);
        group.bench_function("get", |bencher| {
            bencher.iter_batched(
                || key(next()),
                |key| {
                    store.get(&key, NOW, |hit| {
                        black_box(hit.value.as_slice().first().copied())
                    })
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function("overwrite", |bencher| {
            bencher.iter_batched(
                || key(next()),
                |key| store.set(&key, item(&value), NOW),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("miss", |bencher| {
            bencher.iter_batched(
                || key(next() + items),
                |key| store.get(&key, NOW, |_| ()),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
