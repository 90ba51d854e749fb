//! [`Room`]: how many bytes the played cache of the present size has room for.
//!
//! As many items as the real cache holds, by how many keys each sampled one stands for, times the mean size of the
//! items in it. What share of the memory limit that is depends on the few large items that happen to be sampled.

use crate::insight::Totals;

/// Of a memory limit, what holds items, in percent, until evictions show how many fit: the rest is the index,
/// bookkeeping, and gaps.
const ITEMS_PERCENT: u64 = 90;

/// No item takes more of that cache than one part in so many: an item that is as large as a sampled cache would clear
/// it, where as many as it stands for go through the real one at as many times.
const LARGEST_PART: u64 = 64;

/// A mean of fewer items says nothing.
const ITEMS_MIN: usize = 100;

/// Means have eight bits behind the point, and follow what is there by a 16th each time.
const MEAN_SHIFT: u32 = 8;
const MEAN_PARTS: u64 = 16;

/// What is known of the real cache, and of the items in the played one.
#[derive(Debug, Default)]
pub(crate) struct Room {
    limit_bytes: u64,
    evictions: u64,
    /// As many are in the real one when it is full, if that is known.
    items: Option<u64>,
    mean: Option<u64>,
}

impl Room {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            ..Self::default()
        }
    }

    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Learns from what has been counted, and from how many items are in the played cache with how many bytes.
    pub(crate) fn learn(&mut self, totals: &Totals, (len, bytes): (usize, u64)) {
        if totals.limit_bytes != self.limit_bytes {
            let scaled = |items: u64| {
                let items = u128::from(items) * u128::from(totals.limit_bytes);
                u64::try_from(items / u128::from(self.limit_bytes.max(1))).unwrap_or(u64::MAX)
            };
            self.items = self.items.map(scaled);
            self.limit_bytes = totals.limit_bytes;
        }
        // Only then it is full.
        if totals.evictions > self.evictions {
            self.items = Some(totals.items);
        }
        self.evictions = totals.evictions;
        if len >= ITEMS_MIN {
            let now = (bytes << MEAN_SHIFT) / (len as u64);
            let mean = self.mean.unwrap_or(now);
            self.mean = Some(mean - mean / MEAN_PARTS + now / MEAN_PARTS);
        }
    }

    /// Of the played cache of the present size.
    pub(crate) fn bytes(&self, keys_for_one: u64) -> u64 {
        match (self.items, self.mean) {
            (Some(items), Some(mean)) => (items / keys_for_one).saturating_mul(mean) >> MEAN_SHIFT,
            _ => (self.limit_bytes / 100).saturating_mul(ITEMS_PERCENT) / keys_for_one,
        }
    }

    /// Of an item there.
    pub(crate) fn item_bytes_max(&self, keys_for_one: u64) -> u64 {
        self.bytes(keys_for_one) / LARGEST_PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Totals = Totals {
        gets: 0,
        misses: 0,
        evictions: 1,
        items: 64_000,
        limit_bytes: 1 << 30,
    };

    #[test]
    fn it_has_room_for_as_many_items_as_the_real_one_once_that_is_full() {
        let mut room = Room::new(1 << 30);
        let at_first = (1 << 30) / 100 * 90 / 64;
        assert_eq!(room.bytes(64), at_first);
        room.learn(
            &Totals {
                evictions: 0,
                ..FULL
            },
            (1_000, 300_000),
        );
        assert_eq!(room.bytes(64), at_first);
        room.learn(&FULL, (1_000, 300_000));
        assert_eq!(room.bytes(64), 1_000 * 300);
        assert_eq!(room.item_bytes_max(64), 1_000 * 300 / 64);
        // Flushed or not, it would be full with as many.
        room.learn(&Totals { items: 10, ..FULL }, (1_000, 300_000));
        assert_eq!(room.bytes(64), 1_000 * 300);
        // Half the keys.
        assert_eq!(room.bytes(128), 500 * 300);
        let halved = Totals {
            limit_bytes: 1 << 29,
            ..FULL
        };
        room.learn(&halved, (1_000, 300_000));
        assert_eq!(room.bytes(64), 500 * 300);
    }

    #[test]
    fn means_follow_slowly_and_not_a_few_items() {
        let mut room = Room::new(1 << 30);
        room.learn(&FULL, (ITEMS_MIN, 300 * ITEMS_MIN as u64));
        room.learn(&FULL, (ITEMS_MIN - 1, 600 * ITEMS_MIN as u64));
        assert_eq!(room.bytes(64), 1_000 * 300);
        room.learn(&FULL, (ITEMS_MIN, 620 * ITEMS_MIN as u64));
        assert_eq!(room.bytes(64), 1_000 * 320);
        for _ in 0..500 {
            room.learn(&FULL, (ITEMS_MIN, 620 * ITEMS_MIN as u64));
        }
        assert!((1_000 * 619..=1_000 * 620).contains(&room.bytes(64)));
    }
}
