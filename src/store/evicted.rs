//! What was evicted, for who watches.

use std::collections::VecDeque;

use crate::Store;
use crate::compress::Compressed;
use crate::index::Word;
use crate::log::Location;
use crate::time::{Expiry, Time};
use crate::turn::Turn;

/// Evictions of a shard that are kept until somebody takes them; of more, the oldest are forgotten.
const KEPT_MAX: usize = 256;

/// An item that was evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evicted {
    /// Its key.
    pub key: Box<[u8]>,
    /// When it went.
    pub at: Time,
    /// When it would have died.
    pub expiry: Expiry,
    /// Whether anybody got it since it was stored.
    pub fetched: bool,
    /// For how many seconds nobody had used it.
    pub idle_seconds: u32,
    /// Bytes of its value.
    pub value_len: usize,
}

/// The last ones of a shard.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    kept: VecDeque<Evicted>,
    forgotten: u64,
}

impl Store {
    /// Begins to keep what is evicted for [`Self::take_evicted`], 256 of each shard; or stops.
    pub fn watch_evictions(&self, is_watched: bool) {
        for shard in &self.shards {
            let evictions = &mut shard.writer().evictions;
            if evictions.is_some() != is_watched {
                *evictions = is_watched.then(Box::default);
            }
        }
    }

    /// Hands what was evicted since the last call to `visit`; returns how many others there were.
    ///
    /// `visit` must not call the store.
    pub fn take_evicted(&self, mut visit: impl FnMut(Evicted)) -> u64 {
        let mut forgotten = 0;
        for shard in &self.shards {
            if let Some(evictions) = &mut shard.writer().evictions {
                forgotten += std::mem::take(&mut evictions.forgotten);
                evictions.kept.drain(..).for_each(&mut visit);
            }
        }
        forgotten
    }
}

impl Turn<'_> {
    /// Keeps what is known of an item that is about to be evicted, if anybody watches.
    pub(crate) fn note_evicted(&mut self, word: Word, location: Location) {
        if self.writer.evictions.is_none() {
            return;
        }
        let log = self.shard.log();
        let evicted = log.find(location).map(|spot| {
            let record = spot.item().record;
            let raw_len = record.head.compressed.map(Compressed::raw_len);
            Evicted {
                key: record.key.into(),
                at: self.now,
                expiry: record.head.expiry,
                fetched: word.is_fetched(),
                idle_seconds: self
                    .now
                    .as_seconds()
                    .saturating_sub(record.head.used_seconds),
                value_len: raw_len.unwrap_or(record.value.len()),
            }
        });
        drop(log);
        if let Some((evictions, evicted)) = self.writer.evictions.as_mut().zip(evicted) {
            if evictions.kept.len() == KEPT_MAX {
                evictions.kept.pop_front();
                evictions.forgotten += 1;
            }
            evictions.kept.push_back(evicted);
        }
    }
}
