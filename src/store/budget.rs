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

/// From here on jemalloc hands out pages, and glibc, from 128 KiB, maps them.
const PAGED_LEN_MIN: u64 = (14 << 10) + 1;
const PAGE_LEN: u64 = 4096;

/// Bytes that a large value is charged for.
pub(crate) fn large_charge(key_len: usize, value_len: usize) -> u64 {
    // A value that was read together with its line end is two bytes longer in memory.
    let value = allocation(value_len.saturating_add(2));
    let fixed = allocation(SHARED_LEN) + count(size_of::<Bytes>() + SLOT_LEN);
    value
        .saturating_add(allocation(key_len))
        .saturating_add(fixed)
}

fn allocation(len: usize) -> u64 {
    allocation_of(count(len))
}

/// What becomes memory if so many bytes are allocated, by jemalloc or by glibc.
fn allocation_of(len: u64) -> u64 {
    // glibc's header, and that of what it maps.
    let with_header = len.saturating_add(16);
    let unit = if with_header < PAGED_LEN_MIN {
        // jemalloc: four sizes between one power of two and the next.
        (with_header.next_power_of_two() / 8).max(16)
    } else {
        PAGE_LEN
    };
    with_header.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_rounded_as_the_allocators_do() {
        for (len, expected) in [
            (0, 16),
            (16, 32),
            (24, 48),
            (1000, 1024),
            (1008, 1024),
            (1009, 1280),
            (14_000, 14_336),
            (14_336, 16_384),
            (64_000, 65_536),
            (131_072, 135_168),
        ] {
            assert_eq!(allocation_of(len), expected, "{len}");
        }
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
