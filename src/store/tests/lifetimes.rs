//! Items with lifetimes of all kinds: the dead go before anything that lives, and hardly any memory is
//! left to them.

use std::num::NonZeroUsize;

use nuthatch_store::{Config, Expiry, Lookup, NewItem, NewValue, Store, StoreOutcome, Time};

/// All of it would be stored in so many milliseconds.
const TURNOVER: u64 = 1_000_000;
const SETS_PER_TURNOVER: u64 = 100_000;
const VALUE: [u8; 300] = [b'v'; 300];

fn store() -> Store {
    Store::new(&Config {
        memory_limit_bytes: 32 << 20,
        shard_count: NonZeroUsize::new(4),
        ..Config::default()
    })
}

/// Half of the items live for a fiftieth of a turnover, others for a fifth or a whole one, and the rest
/// for ever.
fn expiry(id: u64, now: u64) -> Option<u64> {
    let lifetime = match id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 {
        0..=0x7fff_ffff => TURNOVER / 50,
        0x8000_0000..=0xcccc_cccc => TURNOVER / 5,
        0xcccc_cccd..=0xe666_6666 => TURNOVER,
        _ => return None,
    };
    Some(now + lifetime)
}

fn is_alive(id: u64, set_at: u64, now: u64) -> bool {
    expiry(id, set_at).is_none_or(|at| at > now)
}

/// Stores items for two and a half turnovers, sweeping so many items each tenth of a second. Returns how many
/// percent of what is charged is taken by items that live, and how many live ones were evicted for each
/// hundred stored.
fn churn(sweep_items: usize) -> (u64, u64) {
    let store = store();
    let step = TURNOVER / SETS_PER_TURNOVER;
    let sets = SETS_PER_TURNOVER * 5 / 2;
    let set_at = |id: u64| id * step;
    for id in 0..sets {
        let now = Time::from_millis(set_at(id));
        let expiry = expiry(id, set_at(id));
        let item = NewItem {
            client_flags: 0,
            expiry: expiry.map_or(Expiry::Never, |at| Expiry::At(Time::from_millis(at))),
            value: NewValue::Copied(&VALUE),
        };
        let outcome = store.set(&id.to_be_bytes(), item, now);
        assert!(matches!(outcome, StoreOutcome::Stored { .. }));
        if id.is_multiple_of(100 / step) && sweep_items > 0 {
            let _ = store.sweep(now, sweep_items);
        }
    }
    let now = set_at(sets - 1);
    let mut alive = 0;
    for id in 0..sets {
        let lookup = store.get(&id.to_be_bytes(), Time::from_millis(now), |_| ());
        let is_hit = lookup == Lookup::Hit(());
        assert!(!is_hit || is_alive(id, set_at(id), now), "{id} is dead");
        alive += u64::from(is_hit);
    }
    assert_eq!(store.check(), Ok(()));
    let snapshot = store.snapshot();
    let live_bytes = alive * (VALUE.len() as u64 + 8 + 20);
    (
        live_bytes * 100 / snapshot.charged_bytes,
        snapshot.evictions * 100 / sets,
    )
}

#[test]
fn without_a_sweep_whole_dead_segments_go_before_what_lives() {
    let (live_percent, evicted_percent) = churn(0);
    assert_eq!(evicted_percent, 0);
    assert!(live_percent >= 38, "{live_percent}");
}

#[test]
fn with_a_sweep_little_memory_is_left_to_the_dead() {
    let (live_percent, evicted_percent) = churn(100);
    assert_eq!(evicted_percent, 0);
    assert!(live_percent >= 65, "{live_percent}");
}
