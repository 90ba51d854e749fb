//! What is saved comes back: whole, into any other store, and never over what is newer.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use nuthatch_store::{
    BlockHeader, Config, Expiry, Lookup, Miss, Namespaces, NewItem, NewValue, Remove, Restored,
    Store, StoreOutcome, Time, Write,
};

/// Where the wall clock is when the clocks of the stores are at 0.
const UNIX_MILLIS: u64 = 1_763_732_000_000;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn store(memory_mib: u64, change: impl FnOnce(&mut Config)) -> Store {
    let mut config = Config {
        memory_limit_bytes: memory_mib << 20,
        // Few, so that no seed of the hash fills one with large values.
        shard_count: NonZeroUsize::new(2),
        ..Config::default()
    };
    change(&mut config);
    Store::new(&config)
}

fn set(store: &Store, key: &str, value: &[u8], expiry: Expiry, client_flags: u32) {
    let item = NewItem {
        client_flags,
        expiry,
        value: NewValue::Copied(value),
    };
    let outcome = store.set(key.as_bytes(), item, at(1000));
    assert!(matches!(outcome, StoreOutcome::Stored { .. }), "{key}");
}

fn blocks(store: &Store, now: Time) -> Vec<Vec<u8>> {
    let mut save = store.save(now, UNIX_MILLIS + now.as_millis());
    let mut blocks = Vec::new();
    while let Some(block) = save.next_block() {
        blocks.push(block.to_vec());
    }
    assert_eq!(save.percent(), 100);
    blocks
}

fn header(block: &[u8]) -> BlockHeader {
    BlockHeader::parse(block.first_chunk().unwrap()).unwrap()
}

/// Takes them back `downtime` milliseconds later, into a store whose clock begins anew.
fn restore(store: &Store, blocks: &[Vec<u8>], downtime: u64) -> Restored {
    let mut restore = store.restore(true);
    for block in blocks {
        let body = &block[BlockHeader::LEN..];
        let unix_millis = header(block).saved_unix_millis + downtime;
        restore.block(&header(block), body, at(0), unix_millis);
    }
    let restored = restore.restored();
    drop(restore);
    store.check().unwrap();
    restored
}

/// All that a client may know of an item; the expiry by the wall clock.
type Known = (Vec<u8>, u32, u64, Option<u64>, bool, bool);

fn known(store: &Store, key: &str, now: Time, unix_millis: u64) -> Option<Known> {
    let looked = store.get(key.as_bytes(), now, |hit| {
        let expiry = match hit.expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(at.as_millis() - now.as_millis() + unix_millis),
        };
        let value = hit.value.as_slice().to_vec();
        (
            value,
            hit.client_flags,
            hit.cas,
            expiry,
            hit.marks.stale,
            hit.marks.claimed,
        )
    });
    match looked {
        Lookup::Hit(known) => Some(known),
        Lookup::Miss(_) => None,
    }
}

/// Items of all kinds, as clients know them.
fn filled(compress_len_min: Option<usize>) -> (Store, BTreeMap<String, Known>) {
    let store = store(64, |config| {
        config.cas_start = 77;
        config.compress_len_min = compress_len_min;
    });
    let mut keys = Vec::new();
    for number in 0..20_000_u64 {
        let key = format!("key-{number}");
        let len = match number % 1000 {
            0 => 700_000,
            1 => 20_000,
            2 => 0,
            _ => usize::try_from(number % 900).unwrap(),
        };
        let value: Vec<u8> = (0..len)
            .map(|at| (at as u64 * number % 251) as u8)
            .collect();
        let expiry = match number % 4 {
            0 => Expiry::Never,
            1 => Expiry::At(at(2_000)),
            _ => Expiry::At(at(100_000 + number)),
        };
        set(
            &store,
            &key,
            &value,
            expiry,
            u32::try_from(number % 3).unwrap(),
        );
        keys.push(key);
    }
    let invalidate = Remove {
        stale: true,
        ..Remove::default()
    };
    let _ = store.remove(b"key-4", &invalidate, at(1000));
    let write = Write {
        cas: Some(5_000_000_000),
        ..Write::default()
    };
    let _ = store.write(b"key-8", NewItem::copied(b"given"), &write, at(1000));
    let known = keys
        .into_iter()
        .filter_map(|key| {
            let known = known(&store, &key, at(3_000), UNIX_MILLIS + 3_000)?;
            Some((key, known))
        })
        .collect();
    (store, known)
}

#[test]
fn everything_that_lives_comes_back_into_any_store() {
    for compress_len_min in [None, Some(256)] {
        let (saved, items) = filled(compress_len_min);
        assert_eq!(items["key-8"].2, 5_000_000_000);
        assert!(items["key-4"].4);
        let blocks = blocks(&saved, at(3_000));
        let last_cas = header(&blocks[0]).last_cas;
        for (memory_mib, shard_count, compress_len_min) in [
            (64, NonZeroUsize::new(2), None),
            (256, NonZeroUsize::new(1), Some(100)),
            (100, NonZeroUsize::new(8), Some(300)),
        ] {
            let back = store(memory_mib, |config| {
                config.shard_count = shard_count;
                config.compress_len_min = compress_len_min;
                config.cas_start = last_cas;
            });
            let restored = restore(&back, &blocks, 500);
            assert_eq!(restored.items, items.len() as u64, "{restored:?}");
            let sum = restored.dead + restored.superseded + restored.no_room + restored.damaged;
            assert_eq!(sum, 0, "{restored:?}");
            for (key, item) in &items {
                let now_known = known(&back, key, at(0), UNIX_MILLIS + 3_500);
                assert_eq!(now_known.as_ref(), Some(item), "{key}");
            }
            assert_eq!(back.snapshot().total_items, 0);
            // A cas unique from before fits once, and no new one was known before.
            let key = b"key-3";
            let unique = items["key-3"].2;
            let new = NewItem::copied(b"new");
            let StoreOutcome::Stored { cas } = back.cas(key, new.clone(), unique, at(0)) else {
                panic!("the cas unique from before the restart does not fit");
            };
            assert!(cas > last_cas);
            assert_eq!(back.cas(key, new, unique, at(0)), StoreOutcome::Exists);
        }
    }
}

#[test]
fn what_dies_while_nothing_runs_stays_out() {
    let (saved, items) = filled(None);
    let blocks = blocks(&saved, at(1_500));
    let back = store(64, |config| config.cas_start = header(&blocks[0]).last_cas);
    // Those that never die, and those that had 110 s and less to live, of which 10 have passed.
    let restored = restore(&back, &blocks, 110_000 - 1_500);
    let alive = |known: &&Known| known.3.is_none_or(|expiry| expiry > UNIX_MILLIS + 110_000);
    assert_eq!(restored.items, items.values().filter(alive).count() as u64);
    assert_eq!(restored.items + restored.dead, 20_000, "{restored:?}");
    assert_eq!(back.snapshot().curr_items, restored.items);
}

#[test]
fn without_expiry_nothing_dies() {
    let (saved, _) = filled(None);
    let blocks = blocks(&saved, at(1_500));
    let back = store(64, |config| config.cas_start = header(&blocks[0]).last_cas);
    let mut restore = back.restore(false);
    for block in &blocks {
        restore.block(
            &header(block),
            &block[BlockHeader::LEN..],
            at(0),
            u64::MAX - 1,
        );
    }
    assert_eq!(restore.restored().items, 20_000);
}

#[test]
fn a_smaller_store_takes_the_newest() {
    let saved = store(64, |_| ());
    for number in 0..200_000 {
        set(
            &saved,
            &format!("key-{number}"),
            &[b'v'; 100],
            Expiry::Never,
            0,
        );
    }
    let blocks = blocks(&saved, at(2_000));
    let back = store(16, |config| config.cas_start = header(&blocks[0]).last_cas);
    let restored = restore(&back, &blocks, 0);
    assert_eq!(restored.items + restored.no_room, 200_000);
    assert!(restored.items > 80_000, "{restored:?}");
    let there = |numbers: std::ops::Range<u32>| {
        let is_there = |number: &u32| known(&back, &format!("key-{number}"), at(0), 0).is_some();
        numbers.filter(is_there).count()
    };
    assert_eq!(there(150_000..200_000), 50_000);
    assert_eq!(there(0..50_000), 0);
    // What comes then replaces the oldest of what has come back.
    for number in 0..20_000 {
        set(
            &back,
            &format!("new-{number}"),
            &[b'v'; 100],
            Expiry::Never,
            0,
        );
    }
    assert_eq!(there(180_000..200_000), 20_000);
    back.check().unwrap();
}

#[test]
fn what_clients_wrote_meanwhile_is_left_alone() {
    let (saved, items) = filled(None);
    let blocks = blocks(&saved, at(3_000));
    let back = store(64, |config| config.cas_start = header(&blocks[0]).last_cas);
    let mut restore = back.restore(true);
    set(&back, "key-3", b"newer", Expiry::Never, 0);
    assert!(!back.delete(b"key-7", at(1000)));
    set(
        &back,
        "key-11",
        b"newer, then gone",
        Expiry::At(at(1_001)),
        0,
    );
    assert_eq!(back.sweep(at(1_001), 1_000_000), 1);
    for block in &blocks {
        let unix_millis = UNIX_MILLIS + 3_000;
        restore.block(
            &header(block),
            &block[BlockHeader::LEN..],
            at(1_001),
            unix_millis,
        );
    }
    assert_eq!(restore.restored().superseded, 3);
    assert_eq!(restore.restored().items, items.len() as u64 - 3);
    drop(restore);
    let value = |key| known(&back, key, at(1_001), 0).map(|known| known.0);
    assert_eq!(value("key-3"), Some(b"newer".to_vec()));
    assert_eq!(value("key-7"), None);
    assert_eq!(value("key-11"), None);
    back.check().unwrap();
}

#[test]
fn what_was_flushed_meanwhile_stays_flushed() {
    let (saved, items) = filled(None);
    let blocks = blocks(&saved, at(3_000));
    let half = blocks.len() / 2;
    for delayed in [false, true] {
        let back = store(64, |config| config.cas_start = header(&blocks[0]).last_cas);
        let mut restore = back.restore(true);
        for (number, block) in blocks.iter().enumerate() {
            if number == half {
                back.flush(at(if delayed { 10 } else { 5 }), at(5));
            }
            let now = at(if number < half { 5 } else { 10 });
            restore.block(
                &header(block),
                &block[BlockHeader::LEN..],
                now,
                UNIX_MILLIS + 3_000,
            );
        }
        assert!(restore.restored().dead > 1_000);
        drop(restore);
        for key in items.keys() {
            let looked = back.get(key.as_bytes(), at(10), |_| ());
            assert!(
                matches!(looked, Lookup::Miss(Miss::Absent | Miss::Flushed)),
                "{key}"
            );
        }
        back.check().unwrap();
    }
}

#[test]
fn a_shard_that_is_written_a_lot_meanwhile_takes_no_more_back() {
    let saved = store(64, |_| ());
    set(&saved, "old", b"value", Expiry::Never, 0);
    let blocks = blocks(&saved, at(1_000));
    for (keys, is_back) in [(16_384, true), (16_385, false)] {
        let back = store(64, |config| {
            config.shard_count = NonZeroUsize::new(1);
            config.cas_start = header(&blocks[0]).last_cas;
        });
        let mut restore = back.restore(true);
        for _ in 0..2 {
            for number in 0..keys {
                set(&back, &format!("new-{number}"), b"", Expiry::Never, 0);
            }
        }
        for block in &blocks {
            restore.block(
                &header(block),
                &block[BlockHeader::LEN..],
                at(1_000),
                UNIX_MILLIS,
            );
        }
        assert_eq!(restore.restored().items == 1, is_back, "{keys}");
        assert_eq!(restore.restored().superseded == 0, is_back);
    }
}

#[test]
fn damage_costs_the_block_that_it_is_in() {
    let (saved, items) = filled(None);
    let whole = blocks(&saved, at(3_000));
    for (number, block) in whole.iter().enumerate() {
        let mut blocks = whole.clone();
        let position = BlockHeader::LEN + (number * 7919) % (block.len() - BlockHeader::LEN).max(1);
        let Some(byte) = blocks[number].get_mut(position) else {
            assert!(header(block).is_last());
            continue;
        };
        *byte ^= 1 << (number % 8);
        let back = store(64, |config| config.cas_start = header(block).last_cas);
        let restored = restore(&back, &blocks, 0);
        assert!(restored.damaged >= 1);
        // A segment's worth and a half of items, or one large one.
        let lost = items.len() as u64 - restored.items;
        assert!(
            (1..=4_000).contains(&lost),
            "{lost} lost with block {number}"
        );
        for (key, item) in &items {
            let now_known = known(&back, key, at(0), UNIX_MILLIS + 3_000);
            assert!(now_known.is_none_or(|known| known == *item), "{key}");
        }
    }
}

#[test]
fn a_missing_block_costs_the_items_that_it_has_parts_of() {
    let (saved, items) = filled(None);
    let whole = blocks(&saved, at(3_000));
    for missing in 0..whole.len() {
        let mut blocks = whole.clone();
        blocks.remove(missing);
        let back = store(64, |config| config.cas_start = header(&whole[0]).last_cas);
        let restored = restore(&back, &blocks, 0);
        assert!(restored.items < items.len() as u64 || missing + 1 == whole.len());
        for (key, item) in &items {
            let now_known = known(&back, key, at(0), UNIX_MILLIS + 3_000);
            assert!(now_known.is_none_or(|known| known == *item), "{key}");
        }
    }
}

#[test]
fn items_from_the_future_are_taken_for_damaged() {
    let saved = store(16, |config| config.cas_start = 1_000_000);
    set(&saved, "key", b"value", Expiry::Never, 0);
    let blocks = blocks(&saved, at(1_000));
    let back = store(16, |_| ());
    let restored = restore(&back, &blocks, 0);
    assert_eq!((restored.items, restored.damaged), (0, 1));
}

/// Keys belong to what their last byte is by.
#[derive(Debug)]
struct LastByte;

impl Namespaces for LastByte {
    fn count(&self) -> usize {
        2
    }

    fn of(&self, key: &[u8]) -> u8 {
        key.last().unwrap() % 2
    }
}

#[test]
fn no_snapshot_brings_back_what_a_namespace_has_lost() {
    let with_namespaces = |config: &mut Config| config.namespaces = Some(Arc::new(LastByte));
    let saved = store(64, with_namespaces);
    let fill = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let len = if number % 100 < 2 { 40_000 } else { 100 };
            set(
                &saved,
                &format!("key-{number}"),
                &vec![b'v'; len],
                Expiry::Never,
                0,
            );
        }
    };
    fill(0..2_000);
    saved.flush_namespaces(&[0], at(1_000));
    fill(1_000..3_000);
    let whole = blocks(&saved, at(2_000));
    // Half of the first thousand, and all of those that came later.
    let count = |store: &Store| {
        store
            .namespaces()
            .iter()
            .map(|one| one.items)
            .collect::<Vec<_>>()
    };
    let back = store(64, |config| {
        with_namespaces(config);
        config.cas_start = header(&whole[0]).last_cas;
    });
    assert_eq!(restore(&back, &whole, 0).items, 2_500);
    assert_eq!(count(&back), [1_000, 1_500]);
    back.check().unwrap();
    // Flushed while it comes back: neither what is back already nor what is still to come lives.
    let back = store(64, |config| {
        with_namespaces(config);
        config.cas_start = header(&whole[0]).last_cas;
    });
    let mut restore = back.restore(true);
    let (first, rest) = whole.split_at(1);
    let mut take = |blocks: &[Vec<u8>]| {
        for block in blocks {
            let unix_millis = UNIX_MILLIS + 2_000;
            restore.block(
                &header(block),
                &block[BlockHeader::LEN..],
                at(0),
                unix_millis,
            );
        }
        restore.restored()
    };
    assert!(take(first).items < 2_500);
    back.flush_namespaces(&[1], at(0));
    assert!(take(rest).dead > 0);
    drop(restore);
    for number in 0..3_000 {
        let is_there = known(&back, &format!("key-{number}"), at(0), 0).is_some();
        assert_eq!(is_there, number >= 1_000 && number % 2 == 0, "{number}");
    }
    back.check().unwrap();
}
