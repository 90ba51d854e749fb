//! Fetches and changes with conditions, on items in segments, large ones and compressed ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use nuthatch_store::{
    Arithmetic, Config, CountChange, Counted, Create, Expiry, Fetch, Fetched, Lookup, NewItem,
    NewValue, Removal, Remove, Store, StoreOutcome, Time, Write, WriteMode,
};
use std::thread;

const KEY: &[u8] = b"key";
const CAS_START: u64 = 1 << 40;

/// Without and with compression.
fn stores() -> [Store; 2] {
    [None, Some(64)].map(|compress_len_min| {
        Store::new(&Config {
            compress_len_min,
            cas_start: CAS_START,
            ..Config::default()
        })
    })
}

/// In a segment, there too if it is not compressed, and too large for that.
const VALUE_LENS: [usize; 3] = [5, 10_000, 100_000];

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn item(value: &[u8], expiry: Expiry) -> NewItem<'_> {
    NewItem {
        client_flags: 7,
        expiry,
        value: NewValue::Copied(value),
    }
}

fn set(store: &Store, value: &[u8], expiry: Expiry, now: Time) -> u64 {
    let (outcome, _) = store.write(KEY, item(value, expiry), &Write::default(), now);
    let cas = match outcome {
        StoreOutcome::Stored { cas } => Some(cas),
        _ => None,
    };
    cas.unwrap()
}

/// What a fetch shows: the value's length, stale, claimed, and what it did.
fn fetch(store: &Store, fetch: &Fetch, now: Time) -> Option<(usize, bool, bool, Fetched)> {
    let looked = store.fetch(KEY, fetch, now, |hit, fetched| {
        let len = hit.value.as_slice().len();
        (len, hit.marks.stale, hit.marks.claimed, fetched)
    });
    match looked {
        Lookup::Hit(seen) => Some(seen),
        Lookup::Miss(_) => None,
    }
}

fn won(seen: Option<(usize, bool, bool, Fetched)>) -> bool {
    seen.unwrap().3.won
}

#[test]
fn a_stale_item_is_won_once_until_it_is_stored_again() {
    for store in stores() {
        for len in VALUE_LENS {
            let value = vec![b'v'; len];
            set(&store, &value, Expiry::Never, at(1));
            let remove = Remove {
                stale: true,
                touch: Some(Expiry::At(at(100))),
                ..Remove::default()
            };
            assert_eq!(store.remove(KEY, &remove, at(1)), Removal::Done);
            let plain = Fetch::default();
            let (seen_len, stale, claimed, fetched) = fetch(&store, &plain, at(1)).unwrap();
            assert_eq!((seen_len, stale, claimed), (len, true, false));
            assert!(fetched.won && !fetched.created);
            let (_, stale, claimed, fetched) = fetch(&store, &plain, at(1)).unwrap();
            assert!(stale && claimed && !fetched.won);
            assert!(fetch(&store, &plain, at(100)).is_none());
            set(&store, &value, Expiry::Never, at(101));
            let (_, stale, claimed, fetched) = fetch(&store, &plain, at(101)).unwrap();
            assert!(!stale && !claimed && !fetched.won);
        }
        store.check().unwrap();
    }
}

#[test]
fn one_of_many_threads_wins() {
    let [store, _] = stores();
    for round in 0..200 {
        let how = match round % 3 {
            0 => Fetch {
                create: Some(Create {
                    expiry: Expiry::At(at(1000)),
                    ..Create::default()
                }),
                ..Fetch::default()
            },
            1 => {
                set(&store, b"v", Expiry::At(at(50)), at(1));
                Fetch {
                    renew_before: Some(at(60)),
                    ..Fetch::default()
                }
            }
            _ => {
                set(&store, b"v", Expiry::Never, at(1));
                let stale = Remove {
                    stale: true,
                    ..Remove::default()
                };
                assert_eq!(store.remove(KEY, &stale, at(1)), Removal::Done);
                Fetch::default()
            }
        };
        let winners: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| usize::from(won(fetch(&store, &how, at(1))))))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(winners, 1, "round {round}");
        store.delete(KEY, at(1));
    }
}

#[test]
fn a_given_cas_unique_says_nothing_of_age() {
    for store in stores() {
        for len in VALUE_LENS {
            let value = vec![b'v'; len];
            let given = Write {
                cas: Some(1),
                ..Write::default()
            };
            let write = |now| store.write(KEY, item(&value, Expiry::Never), &given, now).0;
            assert_eq!(write(at(1)), StoreOutcome::Stored { cas: 1 });
            store.flush(at(1), at(1));
            assert!(fetch(&store, &Fetch::default(), at(1)).is_none());
            // Not flushed: it was stored after that.
            assert_eq!(write(at(1)), StoreOutcome::Stored { cas: 1 });
            assert!(fetch(&store, &Fetch::default(), at(1)).is_some());
            assert!(store.touch(KEY, Expiry::At(at(50)), at(1)));
            let cas = store.get(KEY, at(1), |hit| hit.cas);
            assert_eq!(cas, Lookup::Hit(1));
            let next = set(&store, &value, Expiry::Never, at(1));
            assert!(next > CAS_START);
        }
        store.check().unwrap();
    }
}

#[test]
fn a_lower_cas_unique_may_store_a_stale_value_under_the_old_expiry() {
    for store in stores() {
        let cas = set(&store, b"old", Expiry::At(at(50)), at(1));
        let late = |compare, accept_stale| Write {
            compare: Some(compare),
            accept_stale,
            ..Write::default()
        };
        let write = |write| {
            store
                .write(KEY, item(b"newer", Expiry::Never), &write, at(1))
                .0
        };
        assert_eq!(write(late(cas - 1, false)), StoreOutcome::Exists);
        assert_eq!(write(late(cas + 1, true)), StoreOutcome::Exists);
        assert!(matches!(
            write(late(cas - 1, true)),
            StoreOutcome::Stored { .. }
        ));
        let (len, stale, claimed, fetched) = fetch(&store, &Fetch::default(), at(1)).unwrap();
        assert_eq!((len, stale, claimed, fetched.won), (5, true, false, true));
        assert_eq!(fetched.expiry_before, Expiry::At(at(50)));
    }
}

#[test]
fn an_extension_of_nothing_stores_if_it_may() {
    for store in stores() {
        for (mode, joined) in [(WriteMode::Append, b"ab"), (WriteMode::Prepend, b"ba")] {
            let mut write = Write {
                mode,
                ..Write::default()
            };
            let extend =
                |value, write: &Write| store.write(KEY, item(value, Expiry::Never), write, at(1));
            assert_eq!(extend(b"a", &write), (StoreOutcome::NotStored, 1));
            write.create = Some(Expiry::At(at(9)));
            assert!(matches!(
                extend(b"a", &write),
                (StoreOutcome::Stored { .. }, 1)
            ));
            write.cas = Some(5);
            assert_eq!(extend(b"b", &write), (StoreOutcome::Stored { cas: 5 }, 2));
            write.compare = Some(6);
            assert_eq!(extend(b"b", &write).0, StoreOutcome::Exists);
            let seen = store.get(KEY, at(1), |hit| {
                (hit.value.as_slice().to_vec(), hit.expiry)
            });
            assert_eq!(seen, Lookup::Hit((joined.to_vec(), Expiry::At(at(9)))));
            store.delete(KEY, at(1));
        }
    }
}

#[test]
fn an_emptied_item_keeps_its_cas_unique() {
    for store in stores() {
        for len in VALUE_LENS {
            let cas = set(&store, &vec![b'v'; len], Expiry::Never, at(1));
            let remove = Remove {
                compare: Some(cas),
                emptied: Some((3, Expiry::At(at(20)))),
                ..Remove::default()
            };
            assert_eq!(store.remove(KEY, &remove, at(1)), Removal::Done);
            let seen = store.get(KEY, at(1), |hit| {
                (hit.value.as_slice().len(), hit.client_flags, hit.cas)
            });
            assert_eq!(seen, Lookup::Hit((0, 3, cas)));
            let other = Remove {
                compare: Some(cas + 1),
                ..Remove::default()
            };
            assert_eq!(store.remove(KEY, &other, at(1)), Removal::Exists);
            assert_eq!(store.remove(KEY, &Remove::default(), at(1)), Removal::Done);
            assert_eq!(
                store.remove(KEY, &Remove::default(), at(1)),
                Removal::NotFound
            );
        }
        store.check().unwrap();
    }
}

#[test]
fn a_number_is_made_counted_and_touched_at_once() {
    for store in stores() {
        let mut count = CountChange {
            up: true,
            delta: 5,
            compare: None,
            create: None,
            touch: None,
            cas: None,
        };
        let of = |count: &CountChange| store.count(KEY, count, at(1));
        assert_eq!(of(&count), Counted::Failed(Arithmetic::NotFound));
        count.create = Some((10, Create::default()));
        let Counted::Number(number) = of(&count) else {
            panic!("not made");
        };
        assert_eq!((number.value, number.created), (10, true));
        count.cas = Some(3);
        count.touch = Some(Expiry::At(at(30)));
        let Counted::Number(number) = of(&count) else {
            panic!("not counted");
        };
        assert_eq!((number.value, number.created, number.cas), (15, false, 3));
        assert_eq!(number.expiry_before, Expiry::Never);
        assert_eq!(number.expiry, Expiry::At(at(30)));
        count.compare = Some(4);
        assert_eq!(of(&count), Counted::Exists);
        set(&store, b"text", Expiry::Never, at(1));
        count.compare = None;
        assert_eq!(of(&count), Counted::Failed(Arithmetic::NonNumeric));
    }
}

#[test]
fn idle_seconds_are_exact_to_a_minute() {
    for store in stores() {
        for len in VALUE_LENS {
            set(&store, &vec![b'v'; len], Expiry::Never, at(100));
            let idle = |now, unnoticed| {
                let how = Fetch {
                    unnoticed,
                    ..Fetch::default()
                };
                let looked = store.fetch(KEY, &how, now, |hit, _| (hit.idle_seconds, hit.fetched));
                let Lookup::Hit(seen) = looked else {
                    panic!("gone");
                };
                seen
            };
            assert_eq!(idle(at(105), true), (5, false));
            assert_eq!(idle(at(200), true), (100, false));
            assert_eq!(idle(at(200), false), (100, false));
            assert_eq!(idle(at(203), false), (3, true));
            // Less than a minute is not worth a write.
            assert_eq!(idle(at(205), false), (5, true));
            assert_eq!(idle(at(300), false), (100, true));
            assert_eq!(idle(at(301), false), (1, true));
            assert_eq!(idle(at(359), false), (59, true));
            assert_eq!(idle(at(360), false), (60, true));
            assert_eq!(idle(at(361), false), (1, true));
        }
    }
}

#[test]
fn counting_often_at_once_is_like_counting_one_after_the_other() {
    type Often = fn(&Store, u64, &mut dyn FnMut(Arithmetic) -> bool);
    type Once = fn(&Store, u64) -> Arithmetic;
    let ways: [(Often, Once); 2] = [
        (
            |store, delta, again| store.incr_while(KEY, delta, at(1), again),
            |store, delta| store.incr(KEY, delta, at(1)),
        ),
        (
            |store, delta, again| store.decr_while(KEY, delta, at(1), again),
            |store, delta| store.decr(KEY, delta, at(1)),
        ),
    ];
    let values = [
        Some("0"),
        Some("95"),
        Some("18446744073709551610"),
        Some("7 "),
        Some("x"),
        None,
    ];
    for value in values {
        for delta in [1, 9, 10_000_000_000_000_000_000] {
            for (often, once) in ways {
                for times in [1, 2, 20] {
                    let [mut together, mut apart] = stores().map(|store| {
                        if let Some(value) = value {
                            set(&store, value.as_bytes(), Expiry::Never, at(0));
                        }
                        (store, Vec::new())
                    });
                    often(&together.0, delta, &mut |told| {
                        together.1.push(told);
                        together.1.len() < times
                    });
                    apart.1.extend((0..times).map(|_| once(&apart.0, delta)));
                    let seen = [&together, &apart].map(|(store, told)| {
                        let value = store.get(KEY, at(1), |hit| hit.value.as_slice().to_vec());
                        // Shards have cas uniques of their own.
                        let told = told.iter().map(|told| match told {
                            Arithmetic::Number { value, cas } => {
                                assert!(*cas > CAS_START);
                                Ok(*value)
                            }
                            other => Err(*other),
                        });
                        (told.collect::<Vec<_>>(), value)
                    });
                    assert_eq!(seen[0], seen[1], "{value:?} {delta} {times}");
                }
            }
        }
    }
}
