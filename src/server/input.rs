//! [`Input`]: the bytes of one connection that have arrived and are not yet used.

use crate::buffer_pool::{BUFFER_LEN, BufferPool, Held};
use crate::counters::Count;
use crate::worker::Worker;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Unused bytes up to this many are kept in a buffer of their own size while the rest of their
/// request is awaited; with more, the connection keeps the pool's buffer.
const SMALL_REST_LEN_MAX: usize = 4096;

/// Requests so long wait until other connections have been read: a set of 1 KiB does. To copy more costs more than it
/// gains.
const ASIDE_LEN_MAX: usize = 2048;

/// Less free room than this is not worth a system call: the buffer grows first. The protocol's limits
/// on lines, and large values going elsewhere, bound how far.
const READ_LEN_MIN: usize = 16 * 1024;

/// The read buffer of one connection. Between requests it owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    used: usize,
    held: Held,
}

impl Input {
    /// With bytes that have been read elsewhere.
    pub(crate) fn new(buffer: Vec<u8>) -> Self {
        Self {
            buffer,
            ..Self::default()
        }
    }

    /// What has arrived and is not yet used.
    pub(crate) fn unread(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// Uses up `len` of the unread bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        self.used = self.used.saturating_add(len).min(self.buffer.len());
    }

    /// Waits for more bytes; returns how many came, 0 at the end of the stream. Who says nothing for too long has said
    /// everything.
    ///
    /// # Cancel safety
    /// Cancel-safe: no byte is lost.
    pub(crate) async fn fill<S>(&mut self, stream: &mut S, worker: &Worker) -> io::Result<usize>
    where
        S: AsyncRead + Unpin,
    {
        let filled = async {
            let read = self.read(stream, worker.buffers()).await?;
            worker.counters().add(Count::BytesRead, read as u64);
            Ok(read)
        };
        let Some(idle) = worker.settings().extended.idle_timeout else {
            return filled.await;
        };
        // In a box, or every idle connection would have room for a timer.
        let filled = Box::pin(timeout(idle, filled));
        filled.await.unwrap_or_else(|_| {
            worker.counters().increment(Count::IdleKicks);
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    /// A buffer is taken from the pool only once there are bytes to put into it.
    async fn read<S>(&mut self, stream: &mut S, pool: &BufferPool) -> io::Result<usize>
    where
        S: AsyncRead + Unpin,
    {
        if self.buffer.capacity() >= BUFFER_LEN {
            if self.buffer.capacity().saturating_sub(self.buffer.len()) < READ_LEN_MIN {
                self.buffer.reserve(BUFFER_LEN);
                self.held.set(self.buffer.capacity(), pool);
            }
            return stream.read_buf(&mut self.buffer).await;
        }
        poll_fn(|context| {
            let mut buffer = pool.take();
            buffer.extend_from_slice(&self.buffer);
            let read = pin!(stream.read_buf(&mut buffer)).poll(context);
            match read {
                Poll::Ready(Ok(read)) => {
                    self.buffer = buffer;
                    self.held.set(self.buffer.capacity(), pool);
                    Poll::Ready(Ok(read))
                }
                other => {
                    pool.put(buffer);
                    other
                }
            }
        })
        .await
    }

    /// Whether so little has arrived that it may wait for its turn. It is in a buffer of its own then: many connections
    /// may wait at once, and the pool has buffers for few.
    pub(crate) fn set_aside(&mut self, pool: &BufferPool) -> bool {
        let is_small = self.unread().len() <= ASIDE_LEN_MAX;
        if is_small {
            self.release(pool);
        }
        is_small
    }

    /// Lets go of what is used: called when the rest of a request, or the next one, is awaited.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        let unread_len = self.unread().len();
        if unread_len <= SMALL_REST_LEN_MAX {
            let rest = self.unread().to_vec();
            pool.put(std::mem::replace(&mut self.buffer, rest));
            self.held.set(self.buffer.capacity(), pool);
        } else {
            self.buffer.copy_within(self.used.., 0);
            self.buffer.truncate(unread_len);
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_kilobytes_wait_aside_and_leave_their_buffer_to_others() {
        let pool = BufferPool::default();
        let aside = |len: usize| {
            let mut bytes = pool.take();
            bytes.resize(len + 1, 7);
            let mut input = Input::new(bytes);
            input.consume(1);
            let is_aside = input.set_aside(&pool);
            assert_eq!(input.unread(), vec![7; len]);
            (is_aside, input.buffer.capacity())
        };
        assert_eq!(aside(ASIDE_LEN_MAX), (true, ASIDE_LEN_MAX));
        assert_eq!(aside(ASIDE_LEN_MAX + 1), (false, BUFFER_LEN));
        assert_eq!(aside(0), (true, 0));
    }
}
