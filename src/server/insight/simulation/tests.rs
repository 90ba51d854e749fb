//! What the played caches have and forget.

use super::*;

const ITEM: Item = Item {
    bytes: 10,
    dies: u64::MAX,
    namespace: 0,
};

/// Caches with room for so many items.
fn simulation(items: [u64; SIZES]) -> Simulation {
    let mut simulation = Simulation::default();
    simulation.resize(items.map(|items| (items * ITEM.bytes, 100)));
    simulation
}

#[test]
fn larger_caches_have_more() {
    let mut simulation = simulation([1, 2, 4, 8]);
    for hash in 0..8 {
        simulation.set(hash, ITEM, 0);
    }
    let hits: Vec<_> = (0..8).map(|hash| simulation.get(hash, None, 0)).collect();
    let count = |number: usize| hits.iter().filter(|hits| hits[number]).count();
    assert_eq!([0, 1, 2, 3].map(count), [1, 2, 4, 8]);
    assert!(hits[7].iter().all(|hit| *hit) && hits[0][3] && !hits[0][2]);
}

#[test]
fn what_is_used_stays_and_who_comes_back_soon_is_let_in() {
    let mut simulation = simulation([10; SIZES]);
    for hash in 0..10 {
        simulation.set(hash, ITEM, 0);
    }
    assert!(simulation.get(3, None, 0)[0]);
    for hash in 10..20 {
        simulation.set(hash, ITEM, 0);
    }
    assert!(simulation.get(3, None, 0)[0], "used");
    assert!(!simulation.get(4, None, 0)[0], "not used");
    simulation.set(4, ITEM, 0);
    // A scan takes nothing of the main queue.
    for hash in 100..200 {
        simulation.set(hash, ITEM, 0);
    }
    assert!(simulation.get(4, None, 0)[0] && simulation.get(3, None, 0)[0]);
}

#[test]
fn a_hit_elsewhere_fills_the_caches_that_miss() {
    let mut simulation = simulation([10; SIZES]);
    assert_eq!(simulation.get(1, None, 0), [false; SIZES]);
    assert_eq!(simulation.get(1, Some(ITEM), 0), [false; SIZES]);
    assert_eq!(simulation.get(1, Some(ITEM), 0), [true; SIZES]);
    simulation.delete(1);
    assert_eq!(
        (simulation.get(1, None, 0), simulation.len()),
        ([false; SIZES], 0)
    );
}

#[test]
fn what_dies_is_gone() {
    let mut simulation = simulation([10; SIZES]);
    for hash in 0..4 {
        simulation.set(
            hash,
            Item {
                dies: 5 + hash,
                ..ITEM
            },
            0,
        );
    }
    assert!(simulation.get(0, None, 4)[0] && !simulation.get(0, None, 5)[0]);
    simulation.expire(7, 100);
    assert_eq!(simulation.len(), 1);
    simulation.remove_if(|hash, _| hash == 3);
    assert_eq!(simulation.len(), 0);
}

#[test]
fn books_and_queues_agree_after_anything() {
    let mut simulation = simulation([3, 7, 20, 50]);
    let mut random = 1_u64;
    for step in 0..200_000_u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let hash = random % 97;
        let item = Item {
            bytes: 1 + random % 30,
            dies: step + random % 1_000,
            namespace: 0,
        };
        match random >> 32 & 7 {
            0 => simulation.delete(hash),
            4 => simulation.touch(hash, step + 500),
            // As who asks does: what is counted so is not told.
            5 | 6 if simulation.uses.count(hash) => {}
            1 | 2 => simulation.set(hash, item, step),
            3 => simulation.expire(step, 3),
            _ => drop(simulation.get(hash, Some(item), step)),
        }
    }
    // Counted elsewhere is what all caches have, and nothing else.
    for entry in simulation.entries.iter().flatten() {
        let is_everywhere = entry.spots.iter().all(|spot| spot.is_resident());
        assert!(is_everywhere || !simulation.uses.count(entry.hash));
    }
    for hash in 0..97 {
        assert!(simulation.places.contains_key(&hash) || !simulation.uses.count(hash));
    }
    for (number, cache) in simulation.caches.iter().enumerate() {
        for (state, queue) in [
            (State::Small, &cache.small),
            (State::Main, &cache.main),
            (State::Ghost, &cache.ghosts),
        ] {
            let entries = simulation.entries.iter().flatten();
            let held: Vec<u64> = entries
                .filter(|entry| entry.spots[number].state == state)
                .map(|entry| entry.item.bytes)
                .collect();
            assert_eq!((held.len(), held.iter().sum()), (queue.len, queue.bytes));
            // There are 97 keys.
            assert!(queue.places.len() <= 2 * 97 + STALE_MAX + 1);
        }
        assert!(cache.small.bytes + cache.main.bytes <= cache.capacity);
        assert!(cache.ghosts.len <= cache.ghosts_max);
    }
    assert_eq!(
        simulation.len(),
        simulation.entries.iter().flatten().count()
    );
}

#[test]
fn a_use_counts_wherever_it_was_counted() {
    let mut simulation = simulation([10; SIZES]);
    for hash in 0..10 {
        simulation.set(hash, ITEM, 0);
    }
    assert!(simulation.uses.count(3), "all caches have it");
    for hash in 10..20 {
        simulation.set(hash, ITEM, 0);
    }
    assert!(simulation.uses.count(3) && !simulation.uses.count(4));
    assert!(simulation.get(3, None, 0)[0] && !simulation.get(4, None, 0)[0]);
    simulation.delete(3);
    assert!(!simulation.uses.count(3));
}

#[test]
fn a_touch_lets_an_item_live_longer_and_makes_none() {
    let mut simulation = simulation([10; SIZES]);
    simulation.set(1, Item { dies: 5, ..ITEM }, 0);
    simulation.touch(1, 9);
    simulation.touch(2, 9);
    assert!(simulation.get(1, None, 8)[0]);
    assert!(!simulation.get(1, None, 9)[0]);
    assert_eq!(simulation.len(), 0);
}
