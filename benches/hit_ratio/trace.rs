//! What is asked for: requests of generated traces, the same on every run.

use std::iter;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};
use rand_distr::{Distribution, LogNormal, Zipf};

/// One request: a get, and a set of the same item if that was a miss.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    /// Which item.
    pub(crate) id: u64,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    /// When it comes, in milliseconds.
    pub(crate) at: u64,
    /// For how many milliseconds the item is good, if it is not for ever.
    pub(crate) lifetime: Option<u64>,
    /// Instead of all that, the item is deleted.
    pub(crate) is_delete: bool,
}

/// Where requests come from. Each replay starts from the beginning.
pub(crate) trait Source {
    fn name(&self) -> &str;
    fn len(&self) -> usize;
    fn requests(&self) -> Box<dyn Iterator<Item = Request> + '_>;
}

/// Which items are popular.
#[derive(Clone, Copy, Debug)]
enum Popularity {
    Zipf,
    /// Each round begins with a walk over items that nobody asked for before.
    Scans,
    /// With every round, some items change places with others.
    Shifting,
    /// New items are the most popular, and become less so with each that comes after them.
    Aging,
    /// Shifting, and time passes: two of three items have an expiry, and one request in fifty deletes.
    Churning,
}

/// How large values are; an item's size is a function of its number.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    Uniform(u64, u64),
    /// Most are small, a few have a hundred kilobytes and more.
    LogNormal,
}

const KEY_LEN: usize = 24;
const SEED: u64 = 1;
const SCAN_SHARE: usize = 3;
const ROUNDS: usize = 40;
const SHIFTED_SHARE: usize = 40;
const REQUESTS_PER_NEW_ITEM: usize = 20;
const VALUE_LEN_MAX: f64 = 500_000.0;
const REQUESTS_PER_SECOND: usize = 10_000;
const REQUESTS_PER_DELETE: usize = 50;

/// A generated trace.
#[derive(Debug)]
pub(crate) struct Generated {
    name: &'static str,
    exponent: f64,
    keys: usize,
    len: usize,
    popularity: Popularity,
    sizes: Sizes,
}

impl Generated {
    /// Those that every policy can replay, with sizes divided by `divisor`.
    pub(crate) fn plain(divisor: usize) -> Vec<Self> {
        // Key and value together have 358 bytes on average.
        let small = Sizes::Uniform(134, 534);
        let medium = Sizes::Uniform(1000, 3000);
        let zipf = Popularity::Zipf;
        [
            ("zipf 0.8", 0.8, 2_000_000, zipf, small),
            ("zipf 0.99", 0.99, 2_000_000, zipf, small),
            ("zipf 1.2", 1.2, 2_000_000, zipf, small),
            (
                "zipf 0.99, scans",
                0.99,
                2_000_000,
                Popularity::Scans,
                small,
            ),
            (
                "zipf 0.99, shifting",
                0.99,
                2_000_000,
                Popularity::Shifting,
                small,
            ),
            (
                "zipf 0.99, aging",
                0.99,
                2_000_000,
                Popularity::Aging,
                small,
            ),
            (
                "zipf 0.99, mixed sizes",
                0.99,
                1_000_000,
                zipf,
                Sizes::LogNormal,
            ),
            ("zipf 0.99, 1-3 KB", 0.99, 500_000, zipf, medium),
            (
                "zipf 0.99, 1-3 KB, scans",
                0.99,
                500_000,
                Popularity::Scans,
                medium,
            ),
        ]
        .into_iter()
        .map(|(name, exponent, keys, popularity, sizes)| Self {
            name,
            exponent,
            keys: keys / divisor,
            len: 8 * keys / divisor,
            popularity,
            sizes,
        })
        .collect()
    }

    /// With lifetimes, deletes, items of all sizes, and others that are popular from time to time.
    pub(crate) fn churning(divisor: usize) -> Self {
        Self {
            name: "zipf 0.99, churning",
            exponent: 0.99,
            keys: 1_000_000 / divisor,
            len: 16_000_000 / divisor,
            popularity: Popularity::Churning,
            sizes: Sizes::LogNormal,
        }
    }

    /// A request for an item, the `number`th of the trace.
    fn request(&self, number: usize, id: u64) -> Request {
        let plain = Request {
            id,
            key_len: KEY_LEN,
            value_len: self.value_len(id),
            ..Request::default()
        };
        match self.popularity {
            Popularity::Churning => Request {
                at: (number * 1000 / REQUESTS_PER_SECOND) as u64,
                // The trace takes 1,600 seconds.
                lifetime: match id % 3 {
                    0 => None,
                    1 => Some(60_000),
                    _ => Some(600_000),
                },
                is_delete: number.is_multiple_of(REQUESTS_PER_DELETE),
                ..plain
            },
            _ => plain,
        }
    }

    fn value_len(&self, id: u64) -> usize {
        let hash = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 16;
        let len = match self.sizes {
            Sizes::Uniform(low, high) => low + hash % (high - low + 1),
            Sizes::LogNormal => log_normal(hash),
        };
        usize::try_from(len).unwrap_or(usize::MAX)
    }
}

#[expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "constants that are in range"
)]
fn log_normal(seed: u64) -> u64 {
    let sizes = LogNormal::new(5.5, 1.5).unwrap();
    let len: f64 = sizes.sample(&mut SmallRng::seed_from_u64(seed));
    len.clamp(1.0, VALUE_LEN_MAX) as u64
}

impl Source for Generated {
    fn name(&self) -> &str {
        self.name
    }

    fn len(&self) -> usize {
        self.len
    }

    #[expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are from 1 to the number of keys, far below 2^52"
    )]
    fn requests(&self) -> Box<dyn Iterator<Item = Request> + '_> {
        let mut random = SmallRng::seed_from_u64(SEED);
        let zipf = Zipf::new(self.keys as f64, self.exponent).unwrap();
        let round_len = (self.len / ROUNDS).max(1);
        // The item of each rank.
        let mut items: Vec<u64> = (0..=self.keys as u64).collect();
        let ids = (0..self.len).map(move |number| {
            let rank = zipf.sample(&mut random);
            let round_begins = number % round_len == 0;
            match self.popularity {
                Popularity::Scans if number % round_len < round_len / SCAN_SHARE => {
                    (self.keys + number + 1) as u64
                }
                Popularity::Aging => {
                    (number / REQUESTS_PER_NEW_ITEM + self.keys) as u64 - rank as u64
                }
                Popularity::Shifting | Popularity::Churning if round_begins => {
                    for _ in 0..self.keys / SHIFTED_SHARE {
                        let [one, other] = [(); 2].map(|()| random.random_range(1..=self.keys));
                        items.swap(one, other);
                    }
                    items[rank as usize]
                }
                _ => items[rank as usize],
            }
        });
        let requests = iter::zip(0.., ids);
        Box::new(requests.map(|(number, id)| self.request(number, id)))
    }
}
