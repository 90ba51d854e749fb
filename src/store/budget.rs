//! What a large value costs: an upper bound of the memory that the process spends on it.
//!
//! Everything else is charged as it is allocated: segments, table and ghost.

use bytes::Bytes;

use crate::log::Large;
use crate::shard::Slot;
use crate::stats::count;

/// What `Bytes` allocates beside the value to count its handles.
const SHARED_LEN: usize = 40;

/// A slot in the log, one among the writer's, and one in a queue; each vector may be half empty.
const SLOT_LEN: usize =
    2 * (size_of::<Option<Large>>() + size_of::<Slot>() + 2 * size_of::<(u32, u64)>());

/// From here on glibc maps pages.
const MAPPED_LEN_MIN: u64 = 128 << 10;
const PAGE_LEN: u64 = 4096;

/// Bytes that a large value is charged for.
pub(crate) fn large_charge(key_len: usize, value_len: usize) -> u64 {
    // A value that was read together with its line end is two bytes longer in memory.
    let value = allocation(value_len.saturating_add(2));
    let fixed = allocation(key_len) + allocation(SHARED_LEN) + count(size_of::<Bytes>() + SLOT_LEN);
    value.saturating_add(fixed)
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
            let now = large_charge(30, value_len);
            assert!(now >= last && now > count(value_len));
            last = now;
        }
        assert!(large_charge(usize::MAX, usize::MAX) >= last);
    }
}
