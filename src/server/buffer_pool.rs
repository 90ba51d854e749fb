//! [`BufferPool`]: the buffers of one worker's busy connections; an idle connection owns none.

use std::cell::RefCell;

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
}

impl BufferPool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
