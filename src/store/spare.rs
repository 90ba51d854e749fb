//! [`Spare`]: buffers of large values that are gone, for those to come. To give such a buffer back to the system and
//! to be given the next one takes several times as long as to fill it: each of its pages is mapped anew.

use std::mem;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::stats::count;
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// Shorter buffers are kept by the allocator itself, for each thread (jemalloc's `tcache_max`).
const LEN_MIN: usize = (32 << 10) + 1;

/// Buffers that are kept, at most: as many are looked at for each large value.
const BUFFERS_MAX: usize = 64;

/// Together they take no more than this part of the memory limit.
const PART: u64 = 64;

/// Buffers that nobody uses. All of them are charged.
#[derive(Debug)]
pub(crate) struct Spare {
    kept: Mutex<Kept>,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    buffers: Vec<Vec<u8>>,
    bytes: u64,
    was_asked: bool,
}

impl Spare {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::new(Kept::default()),
            bytes: AtomicU64::new(0),
        }
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A copy of a value, in one of them if it can be.
    pub(crate) fn copy(&self, value: &[u8]) -> Vec<u8> {
        let Some(mut buffer) = self.take(value.len()) else {
            return value.to_vec();
        };
        buffer.extend_from_slice(value);
        buffer.shrink_to_fit();
        buffer
    }

    /// So many zeros, in one of them if it can be.
    pub(crate) fn zeros(&self, len: usize) -> Vec<u8> {
        let Some(mut buffer) = self.take(len) else {
            return vec![0; len];
        };
        buffer.resize(len, 0);
        buffer.shrink_to_fit();
        buffer
    }

    /// An empty buffer with room for `len` bytes: the smallest that there is. `None` if there is none, or only larger
    /// ones of which half would be left over.
    pub(crate) fn take(&self, len: usize) -> Option<Vec<u8>> {
        if len < LEN_MIN {
            return None;
        }
        let mut kept = self.lock();
        kept.was_asked = true;
        let fitting = len..len.saturating_mul(2);
        let buffers = kept.buffers.iter().map(Vec::capacity).enumerate();
        let (index, _) = buffers
            .filter(|(_, capacity)| fitting.contains(capacity))
            .min_by_key(|(_, capacity)| *capacity)?;
        Some(self.remove(&mut kept, index))
    }

    /// Keeps the buffer of a value, if nobody else has it and it is worth it; `limit` is that of all memory.
    pub(crate) fn give(&self, value: Bytes, limit: u64) {
        if value.len() >= LEN_MIN && value.is_unique() {
            self.give_buffer(value.into(), limit);
        }
    }

    /// Keeps a buffer if it is worth it. The oldest go where there is no room.
    pub(crate) fn give_buffer(&self, mut buffer: Vec<u8>, limit: u64) {
        let max = limit / PART;
        if buffer.capacity() < LEN_MIN || count(buffer.capacity()) > max {
            return;
        }
        buffer.clear();
        // Given back when nobody waits for the lock.
        let mut gone = Vec::new();
        let mut kept = self.lock();
        kept.bytes += count(buffer.capacity());
        kept.buffers.push(buffer);
        while kept.bytes > max || kept.buffers.len() > BUFFERS_MAX {
            gone.push(self.remove(&mut kept, 0));
        }
        self.bytes.store(kept.bytes, Ordering::Relaxed);
        drop(kept);
    }

    /// To be called from time to time: gives the oldest back if nobody has asked for one since the last call.
    pub(crate) fn age(&self) {
        let mut kept = self.lock();
        if !mem::take(&mut kept.was_asked) && !kept.buffers.is_empty() {
            let gone = self.remove(&mut kept, 0);
            drop(kept);
            drop(gone);
        }
    }

    fn remove(&self, kept: &mut Kept, index: usize) -> Vec<u8> {
        let buffer = kept.buffers.remove(index);
        kept.bytes -= count(buffer.capacity());
        self.bytes.store(kept.bytes, Ordering::Relaxed);
        buffer
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LIMIT: u64 = 64 << 20;

    fn capacities(spare: &Spare) -> Vec<usize> {
        let kept = spare.lock();
        let capacities: Vec<_> = kept.buffers.iter().map(Vec::capacity).collect();
        assert_eq!(kept.bytes, capacities.iter().map(|len| count(*len)).sum());
        assert_eq!(kept.bytes, spare.bytes());
        capacities
    }

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let spare = Spare::new();
        for len in [80_000, 40_000, 60_000] {
            spare.give(vec![b'v'; len].into(), LIMIT);
        }
        assert_eq!(spare.take(80_001), None);
        assert_eq!(spare.take(20_000), None);
        let buffer = spare.take(50_000).unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (0, 60_000));
        assert_eq!(spare.take(40_000).unwrap().capacity(), 40_000);
        // Of the last, half would be left over.
        assert_eq!(spare.take(40_000), None);
        assert_eq!(spare.take(40_001).unwrap().capacity(), 80_000);
        assert_eq!(capacities(&spare), []);
    }

    #[test]
    fn values_take_what_they_need() {
        let (spare, value) = (Spare::new(), vec![b'v'; 40_000]);
        for _ in 0..2 {
            spare.give_buffer(vec![b'o'; 50_000], LIMIT);
            let copy = spare.copy(&value);
            assert_eq!(copy, value);
            spare.give_buffer(vec![b'o'; 50_000], LIMIT);
            let zeros = spare.zeros(40_000);
            assert!(zeros.len() == 40_000 && zeros.iter().all(|byte| *byte == 0));
            assert_eq!((copy.capacity(), zeros.capacity()), (40_000, 40_000));
            assert_eq!(capacities(&spare), []);
        }
        assert_eq!(spare.copy(b"new"), b"new");
        assert_eq!(spare.zeros(3), [0; 3]);
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room() {
        let spare = Spare::new();
        for len in [400_000, 500_000, 148_576, 1 << 20] {
            spare.give_buffer(Vec::with_capacity(len), LIMIT);
            assert!(spare.bytes() <= LIMIT / PART);
        }
        assert_eq!(capacities(&spare), [1 << 20]);
        spare.give_buffer(Vec::with_capacity((1 << 20) + 1), LIMIT);
        assert_eq!(capacities(&spare), [1 << 20]);
        for _ in 0..=BUFFERS_MAX {
            spare.give_buffer(Vec::with_capacity(LEN_MIN), 1 << 30);
        }
        assert_eq!(capacities(&spare), [LEN_MIN; BUFFERS_MAX]);
    }

    #[test]
    fn nothing_is_kept_that_somebody_has_or_that_is_short() {
        let spare = Spare::new();
        let value = Bytes::from(vec![b'v'; LEN_MIN]);
        spare.give(value.clone(), LIMIT);
        spare.give(vec![b'v'; LEN_MIN - 1].into(), LIMIT);
        assert_eq!(capacities(&spare), []);
        spare.give(value, LIMIT);
        assert_eq!(capacities(&spare), [LEN_MIN]);
    }

    #[test]
    fn what_nobody_asks_for_goes_one_by_one() {
        let spare = Spare::new();
        for _ in 0..3 {
            spare.give_buffer(Vec::with_capacity(LEN_MIN), LIMIT);
        }
        spare.age();
        assert_eq!(capacities(&spare).len(), 2);
        drop(spare.take(LEN_MIN));
        spare.age();
        assert_eq!(capacities(&spare).len(), 1);
        spare.age();
        spare.age();
        assert_eq!(capacities(&spare), []);
    }
}
