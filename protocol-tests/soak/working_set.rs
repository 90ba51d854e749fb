//! Which private keys there are, of which sizes, and to which connection each belongs.

use crate::random::Random;
use crate::slot::{Content, Slot};

/// memcached's own share of an item, roughly, its slab class's waste included.
const ITEM_OVERHEAD: usize = 100;

const SLOT_COUNT_MIN: usize = 4;

/// Deals out keys until values of full length would fill `bytes`.
///
/// Each connection has a few keys, and the first of each is a small one.
pub(crate) fn deal(connection_count: usize, bytes: usize, random: &mut Random) -> Vec<Vec<Slot>> {
    let mut hands: Vec<Vec<Slot>> = (0..connection_count).map(|_| Vec::new()).collect();
    let mut used = 0;
    let mut slot_index = 0;
    while slot_index < SLOT_COUNT_MIN || used < bytes {
        for (connection, hand) in hands.iter_mut().enumerate() {
            let (content, len) = if slot_index == 0 {
                (Content::Text, 100)
            } else {
                choose(random)
            };
            let key = key(connection, slot_index, random);
            used += key.len() + len + ITEM_OVERHEAD;
            hand.push(Slot::new(key, content, len));
        }
        slot_index += 1;
    }
    hands
}

fn choose(random: &mut Random) -> (Content, usize) {
    match random.below(1000) {
        0..=149 => (Content::Number, 20),
        150..=749 => (Content::Text, 100),
        750..=929 => (Content::Text, 1_000),
        930..=996 => (Content::Text, 4_000),
        _ => (Content::Text, 100_000),
    }
}

/// One key in ten is long, up to the limit of 250 bytes.
fn key(connection: usize, slot: usize, random: &mut Random) -> Vec<u8> {
    let mut key = format!("soak:{connection}:{slot}").into_bytes();
    if random.one_in(10) {
        let len = (key.len() + 1 + random.below(250)).min(250);
        key.resize(len, b'.');
    }
    key
}
