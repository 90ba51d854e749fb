//! What is about to be asked of the store is fetched from memory before, side by side: to wait for one item after the
//! other is most of what operations on them cost.

use crate::Store;
use crate::index::Place;

/// Keys that [`Store::prefetch`] takes at once: enough to keep memory busy, few enough that the first are still in
/// the cache when the last have come.
pub const PREFETCH_MAX: usize = 32;

/// An operation that will follow soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    place: Place,
    /// Bytes that it may write over the item; `None` if it only reads.
    written_len: Option<usize>,
}

impl Store {
    /// An operation on the item with the key, which may write so many bytes over it. Begins to fetch what tells where
    /// the item is.
    #[inline]
    pub fn ahead(&self, key: &[u8], written_len: Option<usize>) -> Ahead {
        let place = self.index.place(key);
        self.index.prefetch_shard(place);
        if let Some(shard) = self.shards.get(place.shard) {
            shard.prefetch(written_len.is_some());
        }
        Ahead { place, written_len }
    }

    /// Begins to fetch what these operations, up to [`PREFETCH_MAX`], look at: they need not wait for it then.
    pub fn prefetch(&self, ahead: impl IntoIterator<Item = Ahead>) {
        let mut distinct = [Ahead::default(); PREFETCH_MAX];
        let mut count = 0;
        let mut before = None;
        for one in ahead.into_iter().take(PREFETCH_MAX) {
            // Not again what the one before it has fetched.
            if let Some(next) = distinct.get_mut(count).filter(|_| before != Some(one)) {
                *next = one;
                count += 1;
                before = Some(one);
            }
        }
        // One alone would only be waited for twice.
        if count < 2 {
            return;
        }
        let distinct = distinct.get(..count).unwrap_or_default();
        for ahead in distinct {
            self.index.prefetch(ahead.place);
        }
        for Ahead { place, written_len } in distinct {
            if let (Some(shard), Some(location)) =
                (self.shards.get(place.shard), self.index.guess(*place))
            {
                shard
                    .log()
                    .prefetch(location, written_len.unwrap_or_default());
            }
        }
    }
}
