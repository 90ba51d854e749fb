//! `Insight`: what can be told of the keys that clients use, in numbers: by namespace, by key, and by how much memory
//! there would be. Everybody who tells it (`stats`, `/metrics`, JSON) renders these rows.

mod accounts;
mod advisor;
mod hot_keys;
pub(crate) mod metrics;
mod names;
mod namespaces;
mod pending;
mod recent;
mod requests;
mod room;
mod rules;
mod simulation;
pub(crate) mod stats;
mod usage;
mod uses;

pub use advisor::{Advisor, Totals};
pub(crate) use hot_keys::{Sampler as HotKeySampler, merge as merge_hot_keys};
pub(crate) use namespaces::{Namespaces, Source as NamespaceSource};
pub(crate) use requests::{Event, Requests, Sums as RequestSums};
pub use rules::Rules;

use crate::shared::Shared;
use nuthatch_store::NamespaceId;

/// Sizes of the memory that advice is about: its label, and by how many halves of the present one.
pub const LIMITS: [(&str, u64); 4] = [("0.5x", 1), ("1x", 2), ("2x", 4), ("4x", 8)];

/// Of a kind of requests, those whose keys had a live item, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// One namespace, since the last reset, or since it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceRow {
    /// The number of its items, or of the most.
    pub(crate) id: NamespaceId,
    /// Printable, without blanks, at most 64 bytes. The last row is `other`.
    pub(crate) name: String,
    pub(crate) get: Results,
    pub(crate) delete: Results,
    pub(crate) touch: Results,
    /// `incr` and `decr`.
    pub(crate) arith: Results,
    /// What was stored.
    pub(crate) sets: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) evictions: u64,
}

/// One of the keys that are used most, of those that were used lately.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HotKey {
    pub(crate) key: Box<[u8]>,
    /// About so many requests.
    pub(crate) operations: u64,
    /// About so many bytes of values that they moved.
    pub(crate) bytes: u64,
    /// Of all requests, or of all bytes, from 0 to 1.
    pub(crate) share: f64,
}

/// The hottest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HotKeys {
    pub(crate) by_operations: Vec<HotKey>,
    pub(crate) by_bytes: Vec<HotKey>,
}

/// What more or less memory would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Advice {
    /// The hit ratio of gets with each of [`LIMITS`], from 0 to 1; none while too little is known.
    pub(crate) hit_ratios: Option<[f64; LIMITS.len()]>,
    /// Keys that are followed for this.
    pub(crate) sampled_keys: u64,
    /// The same for people.
    pub(crate) sentence: String,
}

/// What a daemon knows of its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Insight<'a> {
    shared: &'a Shared,
}

impl<'a> Insight<'a> {
    pub(crate) const fn of(shared: &'a Shared) -> Self {
        Self { shared }
    }

    /// The namespaces that are told apart, what is not at the end; nothing if they are off.
    pub(crate) fn namespaces(self) -> Vec<NamespaceRow> {
        let Some(known) = &self.shared.namespaces else {
            return Vec::new();
        };
        self.shared.counting_namespaces(|source| known.rows(source))
    }

    /// The keys that are used most.
    pub(crate) fn hot_keys(self) -> HotKeys {
        self.shared.hot_keys()
    }

    /// What more or less memory would do.
    pub(crate) fn advice(self) -> Advice {
        self.shared.advisor.advice()
    }
}
