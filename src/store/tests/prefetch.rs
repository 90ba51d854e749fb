//! Prefetching: it takes as many keys as it says, and changes nothing.

use nuthatch_store::{
    Config, Expiry, LARGE_VALUE_LEN_MIN, Lookup, NewItem, NewValue, PREFETCH_MAX, Store, Time,
};

const NOW: Time = Time::from_millis(0);

fn key(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// A store in which every third key has no item, and every ninth a large one.
fn store(len: usize) -> Store {
    let store = Store::new(&Config {
        memory_limit_bytes: 16 << 20,
        ..Config::default()
    });
    for number in (0..len).filter(|number| number % 3 != 0) {
        let value_len = if number % 9 == 1 {
            LARGE_VALUE_LEN_MIN
        } else {
            number % 300
        };
        let item = NewItem {
            client_flags: 0,
            expiry: Expiry::Never,
            value: NewValue::Copied(&vec![b'v'; value_len]),
        };
        let _ = store.set(&key(number), item, NOW);
    }
    store
}

#[test]
fn no_more_than_32_keys_are_taken() {
    let store = store(100);
    for len in [0, 1, 2, PREFETCH_MAX - 1, PREFETCH_MAX, PREFETCH_MAX + 1] {
        let keys: Vec<_> = (0..len).map(key).collect();
        let mut rest = keys.iter().map(Vec::as_slice);
        store.prefetch(rest.by_ref().map(|key| store.ahead(key, None)));
        assert_eq!(rest.count(), len.saturating_sub(PREFETCH_MAX));
    }
}

#[test]
fn nothing_changes() {
    let mut seen = Vec::new();
    for prefetching in [false, true] {
        let store = store(1000);
        if prefetching {
            let keys: Vec<_> = (0..1000).map(key).collect();
            for keys in keys.chunks(PREFETCH_MAX) {
                store.prefetch(keys.iter().map(|key| store.ahead(key, None)));
                store.prefetch(
                    keys.iter()
                        .map(|_| store.ahead(keys.first().unwrap(), Some(100))),
                );
            }
        }
        let values: Vec<_> = (0..1000)
            .map(|number| store.get(&key(number), NOW, |hit| hit.value.as_slice().to_vec()))
            .collect();
        assert!(
            values
                .iter()
                .filter(|value| matches!(value, Lookup::Hit(_)))
                .count()
                > 600
        );
        let mut snapshot = store.snapshot();
        // That depends on the seed.
        snapshot.shard_items_max = 0;
        seen.push((values, snapshot));
    }
    assert_eq!(seen.first(), seen.last());
}
