//! [`BufferPool`]: the buffers of one worker's busy connections; an idle connection owns none. What they take is counted
//! in the worker's [`Counters`].

use crate::counters::Counters;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a fresh buffer: a pipeline of fifty 1 KiB sets, or one turn's output.
pub(crate) const BUFFER_LEN: usize = 64 * 1024;

/// A buffer that grew beyond this is freed, not kept.
const KEPT_LEN_MAX: usize = 2 * BUFFER_LEN;

/// Buffers that are kept for reuse: 2 MiB at most, 4 MiB if all have grown.
const KEPT_COUNT_MAX: usize = 32;

/// Spare buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    spare: RefCell<Vec<Vec<u8>>>,
    counters: Arc<Counters>,
}

impl BufferPool {
    /// One that counts there what it keeps, and what is held of it.
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self {
            spare: RefCell::default(),
            counters,
        }
    }

    /// Counts what it keeps; to be called from time to time.
    pub(crate) fn count(&self) {
        let spare = self.spare.borrow();
        let bytes: usize = spare.iter().map(Vec::capacity).sum();
        let kept = &self.counters.kept_bytes;
        kept.store(bytes as u64, Ordering::Relaxed);
    }

    /// An empty buffer with room for [`BUFFER_LEN`] bytes.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.spare
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(BUFFER_LEN))
    }

    /// Gives a buffer back; its bytes are gone.
    pub(crate) fn put(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if (BUFFER_LEN..=KEPT_LEN_MAX).contains(&buffer.capacity()) && spare.len() < KEPT_COUNT_MAX
        {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// The bytes of a buffer that a connection holds, counted for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: u64,
    counters: Option<Arc<Counters>>,
}

impl Held {
    /// It holds a buffer of so many bytes now.
    pub(crate) fn set(&mut self, capacity: usize, pool: &BufferPool) {
        let bytes = capacity as u64;
        if bytes != self.bytes {
            let counters = self
                .counters
                .get_or_insert_with(|| Arc::clone(&pool.counters));
            change(&counters.held_bytes, self.bytes, bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(counters) = &self.counters {
            change(&counters.held_bytes, self.bytes, 0);
        }
    }
}

/// A part of a sum that only the calling thread changes has become another one.
fn change(sum: &AtomicU64, old: u64, new: u64) {
    let others = sum.load(Ordering::Relaxed).wrapping_sub(old);
    sum.store(others.wrapping_add(new), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_what_is_held_is_counted() {
        let pool = BufferPool::default();
        let told = || {
            pool.count();
            let counters = &pool.counters;
            [&counters.kept_bytes, &counters.held_bytes].map(|bytes| bytes.load(Ordering::Relaxed))
        };
        let buffers = [pool.take(), pool.take()];
        let [mut one, mut other] = [Held::default(), Held::default()];
        one.set(BUFFER_LEN, &pool);
        other.set(BUFFER_LEN, &pool);
        one.set(3 * BUFFER_LEN, &pool);
        assert_eq!(told(), [0, 4 * BUFFER_LEN as u64]);
        for buffer in buffers {
            pool.put(buffer);
        }
        other.set(0, &pool);
        assert_eq!(told(), [2 * BUFFER_LEN as u64, 3 * BUFFER_LEN as u64]);
        drop((one, other, pool.take()));
        assert_eq!(told(), [BUFFER_LEN as u64, 0]);
    }

    #[test]
    fn at_most_32_buffers_of_at_most_128_kib_are_kept() {
        let pool = BufferPool::default();
        pool.put(Vec::with_capacity(KEPT_LEN_MAX + 1));
        pool.put(Vec::new());
        assert_eq!(pool.spare.borrow().len(), 0);
        for _ in 0..=KEPT_COUNT_MAX {
            pool.put(Vec::with_capacity(KEPT_LEN_MAX));
        }
        assert_eq!(pool.spare.borrow().len(), KEPT_COUNT_MAX);
    }
}
