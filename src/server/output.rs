//! [`Output`]: replies that wait to be sent; small values are copied, large ones referred to.

use crate::body::LINE_END;
use crate::buffer_pool::{BufferPool, Held};
use bytes::{BufMut, Bytes};
use nuthatch_protocol::limits::KEY_LEN_MAX;
use nuthatch_protocol::{MetaFacts, MetaFlags, MetaMarks, MetaStatus, Response, ValueHeader};
use nuthatch_store::{LARGE_VALUE_LEN_MIN, ValueRef};
use std::io::{self, IoSlice};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes that may wait, the value in hand not counted: at this mark they are sent before the next
/// request is looked at, so a client that does not read costs this much and nothing more.
pub(crate) const OUTPUT_LEN_MAX: usize = 64 * 1024;

/// Room for the longest line before a value, and for the line end behind it: `VA`, the key, six numbers of up to 20
/// digits, an opaque of 32 bytes, marks, spaces and line ends.
const HEADER_LEN_MAX: usize = KEY_LEN_MAX + 200;

/// A reader that takes nothing for so long is slow, and should not hold on to large values when memory is
/// short.
const STALL_MAX: Duration = Duration::from_secs(1);

/// Slices handed to one `writev`.
const SLICES_MAX: usize = 32;

/// What one connection has to send, in order.
#[derive(Debug, Default)]
pub(crate) struct Output {
    copied: Vec<u8>,
    /// Large values, each with the number of copied bytes before it.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
    held: Held,
}

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.copied.len().saturating_add(self.shared_len)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= OUTPUT_LEN_MAX
    }

    /// Takes a buffer, if there is none, with room for one reply of any kind, so that writing a hit
    /// allocates nothing while a shard is locked.
    pub(crate) fn make_room(&mut self, pool: &BufferPool) {
        if self.copied.capacity() == 0 {
            self.copied = pool.take();
        }
        self.copied.reserve(HEADER_LEN_MAX + LARGE_VALUE_LEN_MIN);
    }

    pub(crate) fn put(&mut self, response: &Response<'_>) {
        response.encode(&mut self.copied);
    }

    /// Appends lines as they are, however long.
    pub(crate) fn put_text(&mut self, text: &[u8]) {
        self.copied.put_slice(text);
    }

    pub(crate) fn put_hit(&mut self, header: ValueHeader<'_>, value: ValueRef<'_>) {
        self.put(&Response::Value(header));
        self.put_value(value);
    }

    /// Only what `flags` ask for.
    pub(crate) fn put_meta(
        &mut self,
        status: MetaStatus,
        flags: MetaFlags<'_>,
        facts: &MetaFacts<'_>,
        marks: MetaMarks,
    ) {
        status.encode(flags, facts, marks, &mut self.copied);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the path of every hit")]
    pub(crate) fn put_value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Inline(value) => self.copied.put_slice(value),
            ValueRef::Shared(value) => {
                self.shared_len = self.shared_len.saturating_add(value.len());
                self.shared.push((self.copied.len(), value.clone()));
            }
        }
        self.copied.put_slice(LINE_END);
    }

    /// Sends everything and gives the buffer back. Returns how many bytes were sent. Who takes nothing
    /// of a large value for [`STALL_MAX`] is given up if `is_held_up` says so.
    ///
    /// # Cancel safety
    /// Not cancel-safe: what was sent before is sent again. Only a closing connection cancels it.
    pub(crate) async fn flush<S>(
        &mut self,
        stream: &mut S,
        pool: &BufferPool,
        is_held_up: impl Fn() -> bool,
    ) -> io::Result<usize>
    where
        S: AsyncWrite + Unpin,
    {
        let len = self.len();
        let mut sent = 0;
        // Only here it may be held for long.
        self.held.set(self.copied.capacity(), pool);
        while sent < len {
            let written = if self.shared.is_empty() {
                stream
                    .write(self.copied.get(sent..).unwrap_or_default())
                    .await?
            } else {
                // In a box, or every idle connection would have room for the slices and a timer.
                Box::pin(self.write_shared(stream, sent, &is_held_up)).await?
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent = sent.saturating_add(written);
        }
        // Behind TLS bytes may have been taken and not sent.
        stream.flush().await?;
        self.shared.clear();
        self.shared_len = 0;
        pool.put(std::mem::take(&mut self.copied));
        self.held.set(0, pool);
        Ok(len)
    }

    /// Sends some of what is left after `sent` bytes.
    async fn write_shared<S>(
        &self,
        stream: &mut S,
        sent: usize,
        is_held_up: &impl Fn() -> bool,
    ) -> io::Result<usize>
    where
        S: AsyncWrite + Unpin,
    {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = self.slices(sent, &mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        loop {
            match timeout(STALL_MAX, stream.write_vectored(slices)).await {
                Ok(written) => return written,
                Err(_) if is_held_up() => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => {}
            }
        }
    }

    /// The first slices of what is left after `sent` bytes, as many as fit; returns how many.
    fn slices<'a>(&'a self, mut sent: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut free = slices.iter_mut();
        let mut push = |bytes: &'a [u8]| {
            let skipped = sent.min(bytes.len());
            sent = sent.saturating_sub(skipped);
            match bytes.get(skipped..) {
                None | Some([]) => true,
                Some(unsent) => match free.next() {
                    Some(slice) => {
                        *slice = IoSlice::new(unsent);
                        true
                    }
                    None => false,
                },
            }
        };
        let mut copied = 0;
        let mut room = true;
        for (position, value) in &self.shared {
            room = push(self.copied.get(copied..*position).unwrap_or_default()) && push(value);
            copied = *position;
            if !room {
                break;
            }
        }
        if room {
            push(self.copied.get(copied..).unwrap_or_default());
        }
        let left = free.len();
        slices.len().saturating_sub(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_protocol::Key;
    use tokio::io::{AsyncReadExt, duplex};

    fn header(len: usize) -> ValueHeader<'static> {
        ValueHeader::new(Key::new(b"k").unwrap(), 0, len as u64)
    }

    /// What comes out of a pipe that takes so many bytes at a time.
    fn sent(output: &mut Output, pipe_len: usize) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = duplex(pipe_len);
            let pool = BufferPool::default();
            let flush = async {
                let len = output.len();
                assert_eq!(
                    output.flush(&mut server, &pool, || false).await.unwrap(),
                    len
                );
                drop(server);
            };
            let mut received = Vec::new();
            let (read, ()) = tokio::join!(client.read_to_end(&mut received), flush);
            read.unwrap();
            received
        })
    }

    #[test]
    fn copied_and_shared_bytes_come_in_order_however_they_are_cut() {
        let large: Vec<Bytes> = (0..40u8)
            .map(|byte| Bytes::from(vec![byte; LARGE_VALUE_LEN_MIN]))
            .collect();
        let mut expected = Vec::new();
        let mut outputs = [Output::default(), Output::default(), Output::default()];
        for value in &large {
            expected.extend_from_slice(b"VALUE k 0 16384\r\n");
            expected.extend_from_slice(value);
            expected.extend_from_slice(b"\r\nVALUE k 0 5\r\nsmall\r\n");
            for output in &mut outputs {
                output.put_hit(header(value.len()), ValueRef::Shared(value));
                output.put_hit(header(5), ValueRef::Inline(b"small"));
            }
        }
        for (output, pipe_len) in outputs.iter_mut().zip([7, 20_000, 1 << 20]) {
            assert_eq!(output.len(), expected.len());
            assert!(
                sent(output, pipe_len) == expected,
                "pipe of {pipe_len} bytes"
            );
            assert_eq!(output.len(), 0);
        }
    }

    /// How a flush of a large value ends whose reader takes nothing for so long, and then everything.
    fn flushed_after(pause: Duration, is_held_up: bool) -> io::Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = duplex(1000);
            let value = Bytes::from(vec![7; LARGE_VALUE_LEN_MIN]);
            let mut output = Output::default();
            output.put_hit(header(value.len()), ValueRef::Shared(&value));
            let pool = BufferPool::default();
            let flush = async {
                let flushed = output.flush(&mut server, &pool, || is_held_up).await;
                drop(server);
                flushed
            };
            let read = async {
                tokio::time::sleep(pause).await;
                client.read_to_end(&mut Vec::new()).await.unwrap();
            };
            tokio::join!(flush, read).0
        })
    }

    #[test]
    fn a_reader_of_a_large_value_may_stall_for_a_second_and_longer_if_nobody_suffers() {
        let millisecond = Duration::from_millis(1);
        assert!(flushed_after(STALL_MAX.saturating_sub(millisecond), true).is_ok());
        let error = flushed_after(STALL_MAX + millisecond, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(flushed_after(STALL_MAX * 100, false).is_ok());
    }

    #[test]
    fn it_is_full_at_64_kib_and_not_before() {
        let mut output = Output::default();
        output.put(&Response::Version(&vec![b'v'; OUTPUT_LEN_MAX - 11]));
        assert!(!output.is_full());
        output.put(&Response::Number(1));
        assert!(output.is_full());
    }

    #[test]
    fn a_hit_of_the_longest_header_fits_the_room_that_was_made() {
        let mut output = Output::default();
        output.make_room(&BufferPool::default());
        let mut header =
            ValueHeader::new(Key::new(&[b'k'; KEY_LEN_MAX]).unwrap(), u32::MAX, u64::MAX);
        header.cas = Some(u64::MAX);
        let room = output.copied.capacity();
        output
            .copied
            .resize(room - HEADER_LEN_MAX - LARGE_VALUE_LEN_MIN, 0);
        output.put_hit(
            header,
            ValueRef::Inline(&vec![b'v'; LARGE_VALUE_LEN_MIN - 1]),
        );
        assert_eq!(output.copied.capacity(), room);
    }
}
