//! Each key's operations, as threads see them, must fit some order in which each happens at once between
//! its call and its return (Wing and Gong's search, with the states that were seen before remembered).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nuthatch_store::{
    Arithmetic, Config, Expiry, Lookup, NewItem, NewValue, Store, StoreOutcome, Time,
};

const THREADS: u64 = 3;
const ROUNDS: u64 = 10_000;
/// Of each thread in each round: few, so that histories stay short.
const OPERATIONS: u64 = 6;

#[derive(Clone, Debug)]
enum Op {
    Get,
    Set(u64),
    Add(u64),
    Replace(u64),
    Cas(u64, u64),
    Incr(u64),
    Delete,
}

/// What came back: the number that the item has, and its cas unique, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Item(u64, u64),
    Stored(u64),
    Done(bool),
    Refused(StoreOutcome),
}

/// An operation and the moments of its call and its return.
#[derive(Clone, Debug)]
struct Event {
    op: Op,
    answer: Answer,
    called: u64,
    returned: u64,
}

/// The number that a key has, and its cas unique.
type State = Option<(u64, u64)>;

/// What the key has after the operation, if the answer is right.
fn step(state: State, event: &Event) -> Option<State> {
    let stored = |value| match event.answer {
        Answer::Stored(cas) => Some(Some((value, cas))),
        _ => None,
    };
    let refused = |outcome| (event.answer == Answer::Refused(outcome)).then_some(state);
    let is_right = |answer: Answer, next: State| (event.answer == answer).then_some(next);
    match (&event.op, state) {
        (Op::Get, Some((value, cas))) => is_right(Answer::Item(value, cas), state),
        (Op::Get | Op::Incr(_) | Op::Delete, None) => is_right(Answer::Done(false), None),
        (Op::Add(_), Some(_)) | (Op::Replace(_), None) => refused(StoreOutcome::NotStored),
        (Op::Set(value), _) | (Op::Add(value), None) | (Op::Replace(value), Some(_)) => {
            stored(*value)
        }
        (Op::Cas(_, _), None) => refused(StoreOutcome::NotFound),
        (Op::Cas(value, unique), Some((_, cas))) if *unique == cas => stored(*value),
        (Op::Cas(_, _), Some(_)) => refused(StoreOutcome::Exists),
        (Op::Incr(delta), Some((value, _))) => match event.answer {
            Answer::Item(number, cas) if number == value + delta => Some(Some((number, cas))),
            _ => None,
        },
        (Op::Delete, Some(_)) => is_right(Answer::Done(true), None),
    }
}

/// Whether there is an order for the operations that are not `done`.
fn has_order(events: &[Event], done: u64, state: State, seen: &mut HashSet<(u64, State)>) -> bool {
    if done.count_ones() as usize == events.len() {
        return true;
    }
    if !seen.insert((done, state)) {
        return false;
    }
    let is_pending = |number: &usize| done & (1 << number) == 0;
    let pending = || (0..events.len()).filter(is_pending);
    let first_return = pending().map(|number| events[number].returned).min();
    pending()
        .filter(|number| Some(events[*number].called) < first_return)
        .any(|number| {
            step(state, &events[number])
                .is_some_and(|next| has_order(events, done | 1 << number, next, seen))
        })
}

fn is_linearizable(events: &[Event]) -> bool {
    has_order(events, 0, None, &mut HashSet::new())
}

fn perform(store: &Store, key: &[u8], op: &Op) -> Answer {
    let now = Time::default();
    let store_with = |value: u64, store_it: &dyn Fn(NewItem<'_>) -> StoreOutcome| {
        // Across the sizes that live in segments and outside them.
        let text = format!(
            "{value:0width$}",
            width = if value.is_multiple_of(3) { 2000 } else { 20 }
        );
        let outcome = store_it(NewItem {
            client_flags: 0,
            expiry: Expiry::Never,
            value: NewValue::Copied(text.as_bytes()),
        });
        match outcome {
            StoreOutcome::Stored { cas } => Answer::Stored(cas),
            other => Answer::Refused(other),
        }
    };
    match *op {
        Op::Get => {
            let lookup = store.get(key, now, |hit| {
                let text = std::str::from_utf8(hit.value.as_slice()).unwrap();
                (text.trim_end().parse().unwrap(), hit.cas)
            });
            match lookup {
                Lookup::Hit((value, cas)) => Answer::Item(value, cas),
                Lookup::Miss(_) => Answer::Done(false),
            }
        }
        Op::Set(value) => store_with(value, &|item| store.set(key, item, now)),
        Op::Add(value) => store_with(value, &|item| store.add(key, item, now)),
        Op::Replace(value) => store_with(value, &|item| store.replace(key, item, now)),
        Op::Cas(value, unique) => store_with(value, &|item| store.cas(key, item, unique, now)),
        Op::Incr(delta) => match store.incr(key, delta, now) {
            Arithmetic::Number { value, cas } => Answer::Item(value, cas),
            _ => Answer::Done(false),
        },
        Op::Delete => Answer::Done(store.delete(key, now)),
    }
}

/// One thread's share of a round: random operations on the round's key.
fn play(store: &Store, ticks: &AtomicU64, round: u64, thread: u64) -> Vec<Event> {
    let mut random = (round * THREADS + thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut unique = 0;
    let mut play_one = |number: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let value = (thread * OPERATIONS + number) * 10;
        let op = match random >> 60 {
            0..=4 => Op::Get,
            5..=7 => Op::Set(value),
            8 => Op::Add(value),
            9 => Op::Replace(value),
            10..=11 => Op::Cas(value, unique),
            12..=13 => Op::Incr(1),
            _ => Op::Delete,
        };
        let called = ticks.fetch_add(1, Ordering::SeqCst);
        if (random >> 50).is_multiple_of(32) {
            // So that operations overlap even where threads take turns.
            thread::yield_now();
        }
        let answer = perform(store, &round.to_be_bytes(), &op);
        let returned = ticks.fetch_add(1, Ordering::SeqCst);
        if let Answer::Item(_, cas) | Answer::Stored(cas) = answer {
            unique = cas;
        }
        Event {
            op,
            answer,
            called,
            returned,
        }
    };
    (0..OPERATIONS).map(&mut play_one).collect()
}

#[test]
fn every_key_has_an_order() {
    for compress_len_min in [None, Some(100)] {
        let store = Store::new(&Config {
            memory_limit_bytes: 256 << 20,
            shard_count: NonZeroUsize::new(1),
            compress_len_min,
            ..Config::default()
        });
        let (ticks, barrier) = (AtomicU64::new(0), Barrier::new(3));
        let histories: Vec<Vec<Vec<Event>>> = thread::scope(|scope| {
            let play_all = |thread| {
                let play_round = |round| {
                    barrier.wait();
                    play(&store, &ticks, round, thread)
                };
                (0..ROUNDS).map(play_round).collect()
            };
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || play_all(thread)))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let mut overlapping = 0;
        for round in 0..usize::try_from(ROUNDS).unwrap() {
            let events: Vec<Event> = histories
                .iter()
                .flat_map(|rounds| rounds[round].clone())
                .collect();
            assert!(is_linearizable(&events), "round {round}: {events:#?}");
            overlapping +=
                usize::from(events.iter().any(|event| event.returned > event.called + 1));
        }
        assert!(overlapping > 0, "no round proves anything");
    }
}

#[test]
fn the_search_refuses_what_has_no_order() {
    let event = |op, answer, called, returned| Event {
        op,
        answer,
        called,
        returned,
    };
    let set =
        |value, cas, called, returned| event(Op::Set(value), Answer::Stored(cas), called, returned);
    let get =
        |value, cas, called, returned| event(Op::Get, Answer::Item(value, cas), called, returned);
    // Two sets at once, then both values seen, one after the other.
    let fine = [set(1, 1, 0, 5), set(2, 2, 1, 4), get(2, 2, 6, 7)];
    assert!(is_linearizable(&fine));
    let stale = [set(1, 1, 0, 1), set(2, 2, 2, 3), get(1, 1, 4, 5)];
    assert!(!is_linearizable(&stale));
    let back_and_forth = [
        set(1, 1, 0, 9),
        set(2, 2, 1, 8),
        get(1, 1, 2, 3),
        get(2, 2, 4, 5),
        get(1, 1, 6, 7),
    ];
    assert!(!is_linearizable(&back_and_forth));
    let lost_increment = [
        set(1, 1, 0, 1),
        event(Op::Incr(1), Answer::Item(2, 2), 2, 5),
        event(Op::Incr(1), Answer::Item(2, 3), 3, 4),
    ];
    assert!(!is_linearizable(&lost_increment));
    let two_locks = [
        event(Op::Add(1), Answer::Stored(1), 0, 3),
        event(Op::Add(2), Answer::Stored(2), 1, 2),
    ];
    assert!(!is_linearizable(&two_locks));
}
