//! What an item costs: an upper bound of the memory that the process spends on it.
//!
//! A shard charges each item by [`charge`] and its table by [`table_charge`], so that the sum stays
//! below its share of the memory limit whatever is stored. Allocations are rounded as glibc does.

use bytes::Bytes;

use crate::item::{Item, LARGE_VALUE_LEN_MIN};
use crate::stats::count;

/// A node of `BTreeMap<u64, u64>` has 11 entries, takes 208 bytes (304 with children) and is at least
/// 5/11 full, so that an entry costs at most 208 / 5, and the nodes above another 304 / 5 / 5.
const ORDER_ENTRY_LEN: u64 = 56;

/// What `Bytes` allocates beside the value to count its handles.
const SHARED_LEN: usize = 40;

/// From here on glibc maps pages.
const MAPPED_LEN_MIN: u64 = 128 << 10;
const PAGE_LEN: u64 = 4096;

/// The table of a shard that holds one item, with room to spare.
pub(crate) const TABLE_CHARGE_MIN: u64 = 1024;

/// Bytes that an item is charged for, without its place in the table.
pub(crate) fn charge(key_len: usize, value_len: usize) -> u64 {
    let fixed = allocation(size_of::<Item>()) + ORDER_ENTRY_LEN;
    if value_len < LARGE_VALUE_LEN_MIN {
        return allocation(key_len.saturating_add(value_len)).saturating_add(fixed);
    }
    let handle = allocation(size_of::<Bytes>()) + allocation(SHARED_LEN);
    // A value that was read together with its line end is two bytes longer in memory.
    allocation(value_len.saturating_add(2))
        .saturating_add(allocation(key_len))
        .saturating_add(fixed + handle)
}

/// What a table is charged for: twice its size, because the next table is filled from it.
pub(crate) fn table_charge(table_len: u64) -> u64 {
    2 * allocation_of(table_len)
}

fn allocation(len: usize) -> u64 {
    allocation_of(count(len))
}

fn allocation_of(len: u64) -> u64 {
    let unit = if len < MAPPED_LEN_MIN { 16 } else { PAGE_LEN };
    len.saturating_add(8 + unit - 1).max(32) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_rounded_as_glibc_does() {
        for (len, expected) in [
            (0, 32),
            (24, 32),
            (25, 48),
            (40, 48),
            (41, 64),
            (1000, 1008),
        ] {
            assert_eq!(allocation_of(len), expected, "{len}");
        }
        assert_eq!(allocation_of(MAPPED_LEN_MIN), MAPPED_LEN_MIN + PAGE_LEN);
    }

    #[test]
    fn a_charge_never_falls_with_the_length() {
        let mut last = 0;
        for value_len in 0..200_000 {
            let now = charge(30, value_len);
            assert!(now >= last && now > u64::try_from(value_len).unwrap());
            last = now;
        }
        assert!(charge(usize::MAX, usize::MAX) >= last);
    }
}
