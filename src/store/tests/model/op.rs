//! Random operations, from a seed or from what proptest records and shrinks.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use nuthatch_store::{Expiry, Namespaces, Time};

/// The largest item, so that values which are too large stay cheap.
pub(crate) const ITEM_LEN_MAX: u64 = 40_000;

/// Namespaces that keys are divided into.
const NAMESPACE_COUNT: u64 = 3;

/// A source of numbers.
pub(crate) enum Random {
    Seeded(u64),
    Recorded(std::vec::IntoIter<u64>),
}

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(seed)
    }

    pub(crate) fn recorded(entropy: Vec<u64>) -> Self {
        Self::Recorded(entropy.into_iter())
    }

    fn next(&mut self) -> u64 {
        match self {
            Self::Recorded(entropy) => entropy.next().unwrap_or_default(),
            // splitmix64
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
        }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Time stands still for most operations and jumps for a few.
    pub(crate) fn advance(&mut self, now: Time) -> Time {
        let millis = match self.below(400) {
            0 => 1_000,
            1..=99 => 1,
            _ => 0,
        };
        now.saturating_add(Duration::from_millis(millis))
    }
}

/// One call of the store.
#[derive(Debug)]
pub(crate) enum Op {
    Get(Vec<u8>),
    GetAndTouch(Vec<u8>, Expiry),
    Touch(Vec<u8>, Expiry),
    Set(Vec<u8>, u32, Expiry, Vec<u8>),
    Add(Vec<u8>, u32, Expiry, Vec<u8>),
    Replace(Vec<u8>, u32, Expiry, Vec<u8>),
    Cas(Vec<u8>, Vec<u8>, u64),
    Append(Vec<u8>, Vec<u8>),
    Prepend(Vec<u8>, Vec<u8>),
    Incr(Vec<u8>, u64),
    Decr(Vec<u8>, u64),
    Delete(Vec<u8>),
    Flush(Time),
    FlushNamespace(u8),
    Sweep(usize),
}

impl Op {
    /// `cas_of` tells the cas unique that a key has or had.
    pub(crate) fn random(random: &mut Random, now: Time, cas_of: impl Fn(&[u8]) -> u64) -> Self {
        let key = format!("key{}", random.below(200)).into_bytes();
        let flags = u32::try_from(random.below(3)).unwrap();
        match random.below(64) {
            0..=15 => Self::Get(key),
            16..=18 => Self::GetAndTouch(key, expiry(random, now)),
            19..=21 => Self::Touch(key, expiry(random, now)),
            22..=29 => Self::Set(key, flags, expiry(random, now), value(random)),
            30..=33 => Self::Add(key, flags, expiry(random, now), value(random)),
            34..=37 => Self::Replace(key, flags, expiry(random, now), value(random)),
            38..=42 => {
                let unique = cas_of(&key).saturating_sub(random.below(2));
                Self::Cas(key, value(random), unique)
            }
            43..=45 => Self::Append(key, value(random)),
            46..=48 => Self::Prepend(key, value(random)),
            49..=52 => Self::Incr(key, delta(random)),
            53..=56 => Self::Decr(key, delta(random)),
            57..=60 => Self::Delete(key),
            61 => Self::Sweep(usize::try_from(random.below(300)).unwrap()),
            // Rare, or nothing would ever be stored.
            _ if random.below(32) == 0 => Self::Flush(flush_at(random, now)),
            _ if random.below(64) == 0 => {
                Self::FlushNamespace(u8::try_from(random.below(NAMESPACE_COUNT)).unwrap())
            }
            _ => Self::Get(key),
        }
    }
}

/// A key belongs to what its last byte is by, so that all shards have all namespaces.
#[derive(Debug)]
pub(crate) struct LastByte;

impl Namespaces for LastByte {
    fn count(&self) -> usize {
        usize::try_from(NAMESPACE_COUNT).unwrap()
    }

    fn of(&self, key: &[u8]) -> u8 {
        let last = key.last().copied().unwrap_or_default();
        u8::try_from(u64::from(last) % NAMESPACE_COUNT).unwrap()
    }
}

fn flush_at(random: &mut Random, now: Time) -> Time {
    match random.below(3) {
        0 => Time::default(),
        1 => now,
        _ => now.saturating_add(Duration::from_millis(random.below(3_000))),
    }
}

fn expiry(random: &mut Random, now: Time) -> Expiry {
    match random.below(16) {
        0 => Expiry::At(Time::from_millis(now.as_millis().saturating_sub(1))),
        1..=4 => Expiry::At(now.saturating_add(Duration::from_millis(random.below(4_000)))),
        _ => Expiry::Never,
    }
}

fn delta(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => u64::MAX - random.below(3),
        _ => random.below(1_000),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    const ODD: [&[u8]; 12] = [
        b"",
        b" ",
        b"+7",
        b" 12",
        b"-1",
        b"10 x",
        b"5\x00x",
        b"7\r\n",
        b"x",
        b"1x",
        b"18446744073709551615",
        b"18446744073709551616",
    ];
    match random.below(100) {
        0..=49 => random.below(2_000).to_string().into_bytes(),
        50..=69 => ODD[usize::try_from(random.below(12)).unwrap()].to_vec(),
        70..=97 => vec![b'v'; usize::try_from(random.below(300)).unwrap()],
        98 => vec![b'l'; 16_000 + usize::try_from(random.below(1_000)).unwrap()],
        // Around the largest: 48 + 8 + key + 1 + 2, and 4 more with client flags.
        _ => vec![b'm'; 39_925 + usize::try_from(random.below(20)).unwrap()],
    }
}
