//! [`Uses`]: how often items that all played caches have were used since somebody looked at them.
//!
//! Such a use is a hit in each cache and changes nothing but how often the item was used, which is counted here: that
//! needs no lock. Once it is as often as counts, it does not even write.

use std::sync::atomic::{AtomicU32, Ordering};

/// Four cells for each item that is followed, so that few items are without.
const CELLS: usize = 1 << 15;

/// More uses than this do not count, as in the store.
pub(crate) const FREQUENCY_MAX: u8 = 3;

/// The part of a cell that counts; the rest tells whose it is.
const COUNT: u32 = 3;

/// A cell for each item, where the hash says; of items with the same cell, the last one has it.
#[derive(Debug)]
pub(crate) struct Uses(Box<[AtomicU32]>);

impl Default for Uses {
    fn default() -> Self {
        Self((0..CELLS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Uses {
    /// What it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Counts a use of an item, if it has a cell; returns whether it has.
    pub(crate) fn count(&self, hash: u64) -> bool {
        let (cell, owner) = self.cell(hash);
        let Some(cell) = cell else {
            return false;
        };
        let word = cell.load(Ordering::Relaxed);
        if word & !COUNT != owner {
            return false;
        }
        if word & COUNT < FREQUENCY_MAX.into() {
            // Who comes between has counted a use, or taken the cell away.
            let counted = word.saturating_add(1);
            let _ = cell.compare_exchange(word, counted, Ordering::Relaxed, Ordering::Relaxed);
        }
        true
    }

    /// All caches have the item now.
    pub(crate) fn begin(&self, hash: u64) {
        let (cell, owner) = self.cell(hash);
        if let Some(cell) = cell
            && cell.load(Ordering::Relaxed) & !COUNT != owner
        {
            cell.store(owner, Ordering::Relaxed);
        }
    }

    /// How often an item was used since this was asked.
    pub(crate) fn take(&self, hash: u64) -> u8 {
        let (_, owner) = self.cell(hash);
        self.replace(hash, owner)
    }

    /// One of the caches no longer has the item.
    pub(crate) fn end(&self, hash: u64) {
        self.replace(hash, 0);
    }

    /// Gives an item's cell another content; returns how often it was used.
    fn replace(&self, hash: u64, content: u32) -> u8 {
        let (cell, owner) = self.cell(hash);
        let count = cell.and_then(|cell| {
            let word = cell.load(Ordering::Relaxed);
            // Only uses can be counted meanwhile: who changes owners has the lock of the caches.
            (word & !COUNT == owner && word != content)
                .then(|| cell.swap(content, Ordering::Relaxed) & COUNT)
        });
        count.map_or(0, |count| u8::try_from(count).unwrap_or_default())
    }

    /// The cell of a hash, and what is in it after no use. The bits between say which hashes are sampled.
    fn cell(&self, hash: u64) -> (Option<&AtomicU32>, u32) {
        let place = usize::try_from(hash % (CELLS as u64)).unwrap_or_default();
        // Nobody's cell is 0.
        let owner = ((hash >> 34) as u32) << COUNT.count_ones() | (COUNT + 1);
        (self.0.get(place), owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 0x1234_5678_0000_0007;
    const SAME_CELL: u64 = 0x9876_5432_0000_0007;

    #[test]
    fn uses_are_counted_up_to_three_between_begin_and_end() {
        let uses = Uses::default();
        assert!(!uses.count(ONE));
        uses.begin(ONE);
        assert!(uses.count(ONE) && uses.count(ONE));
        uses.begin(ONE);
        assert_eq!((uses.take(ONE), uses.take(ONE)), (2, 0));
        for _ in 0..=FREQUENCY_MAX {
            assert!(uses.count(ONE));
        }
        assert_eq!(uses.take(ONE), FREQUENCY_MAX);
        assert!(uses.count(ONE));
        uses.end(ONE);
        assert!(!uses.count(ONE));
        assert_eq!(uses.take(ONE), 0);
    }

    #[test]
    fn a_cell_is_its_last_owners() {
        let uses = Uses::default();
        uses.begin(ONE);
        assert!(uses.count(ONE) && !uses.count(SAME_CELL));
        uses.begin(SAME_CELL);
        assert!(!uses.count(ONE) && uses.count(SAME_CELL));
        uses.end(ONE);
        assert_eq!((uses.take(ONE), uses.take(SAME_CELL)), (0, 1));
        assert!(!uses.count(0));
    }
}
