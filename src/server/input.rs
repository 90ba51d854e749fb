//! [`Input`]: the bytes of one connection that have arrived and are not yet used.

use crate::buffer_pool::{BUFFER_LEN, BufferPool, Held};
use crate::counters::Count;
use crate::socket::Transport;
use crate::worker::Worker;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

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
    /// Of when it is too late for more; in a box, since few have one.
    timer: Option<Pin<Box<Sleep>>>,
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
    pub(crate) async fn fill<S: Transport>(
        &mut self,
        stream: &mut S,
        worker: &Worker,
    ) -> io::Result<usize> {
        let idle_max = worker.settings().extended.idle_timeout;
        let clock = &worker.shared().clock;
        let idle = idle_max.map(|max| (max, clock.precise()));
        let read = poll_fn(|context| {
            let read = self.poll_read(context, stream, worker.buffers());
            if let (Some((max, since)), Poll::Pending) = (idle, &read) {
                let silence = || clock.precise().saturating_sub(since);
                ready!(self.poll_silent(context, max, silence));
                worker.counters().increment(Count::IdleKicks);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            read
        });
        let read = read.await?;
        worker.counters().add(Count::BytesRead, read as u64);
        Ok(read)
    }

    /// A buffer is taken from the pool only once there are bytes to put into it. A short request does not stay there:
    /// many connections may wait at once for their turn, and the pool has buffers for few.
    fn poll_read<S: Transport>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.len() > SMALL_REST_LEN_MAX {
            if self.buffer.capacity().saturating_sub(self.buffer.len()) < READ_LEN_MIN {
                self.buffer.reserve(BUFFER_LEN);
                self.held.set(self.buffer.capacity(), pool);
            }
            return stream.poll_receive(context, &mut self.buffer);
        }
        ready!(stream.poll_readable());
        let mut buffer = pool.take();
        buffer.extend_from_slice(&self.buffer);
        let read = stream.poll_receive(context, &mut buffer);
        if !matches!(read, Poll::Ready(Ok(_))) {
            pool.put(buffer);
            return read;
        }
        if buffer.len() <= ASIDE_LEN_MAX {
            // Which has no more room than it needs.
            self.buffer = buffer.clone();
            pool.put(buffer);
        } else {
            self.buffer = buffer;
        }
        self.held.set(self.buffer.capacity(), pool);
        read
    }

    /// Waits until there has been silence for so long. One timer does for many requests: to set one for each would take
    /// a lock of all threads.
    fn poll_silent(
        &mut self,
        context: &mut Context<'_>,
        max: Duration,
        silence: impl Fn() -> Duration,
    ) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(max)));
        loop {
            ready!(timer.as_mut().poll(context));
            let left = max.saturating_sub(silence());
            if left.is_zero() {
                return Poll::Ready(());
            }
            timer.set(sleep(left));
        }
    }

    /// All has been used, and this has been read behind it.
    pub(crate) fn restart(&mut self, unread: Vec<u8>, pool: &BufferPool) {
        self.consume(usize::MAX);
        if !unread.is_empty() {
            pool.put(std::mem::replace(&mut self.buffer, unread));
            self.used = 0;
            self.held.set(self.buffer.capacity(), pool);
        }
    }

    /// Whether so little has arrived that it may wait for its turn.
    pub(crate) fn is_short(&self) -> bool {
        self.unread().len() <= ASIDE_LEN_MAX
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
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::flags::Flags;
    use crate::shared::Shared;
    use crate::telemetry::LogLevel;
    use clap::Parser as _;
    use tokio::io::{AsyncWriteExt as _, duplex};

    fn worker(clock: Clock) -> Worker {
        let flags = ["nuthatch", "-m", "64", "-o", "idle_timeout=10"];
        let flags = Flags::try_parse_from(flags).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        Worker::new(Shared::new(&config, clock, LogLevel::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn two_kilobytes_wait_aside_and_leave_their_buffer_to_others() {
        let worker = worker(Clock::manual());
        let (mut client, mut server) = duplex(1 << 20);
        let mut input = Input::default();
        for (len, buffer_len) in [
            (ASIDE_LEN_MAX, ASIDE_LEN_MAX),
            (ASIDE_LEN_MAX + 1, BUFFER_LEN),
            (1, 1),
        ] {
            client.write_all(&vec![7; len]).await.unwrap();
            assert_eq!(input.fill(&mut server, &worker).await.unwrap(), len);
            assert_eq!(input.unread(), vec![7; len]);
            assert_eq!(input.buffer.capacity(), buffer_len);
            assert_eq!(input.is_short(), len <= ASIDE_LEN_MAX);
            input.consume(len);
            input.release(worker.buffers());
            assert_eq!(input.buffer.capacity(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_too_long_has_said_everything() {
        let clock = Clock::manual();
        let worker = worker(clock.clone());
        let (mut client, mut server) = duplex(10);
        let mut input = Input::default();
        let passes = async {
            for second in 0..20 {
                if second == 6 {
                    client.write_all(b"?").await.unwrap();
                }
                sleep(Duration::from_secs(1)).await;
                clock.advance(Duration::from_secs(1));
            }
        };
        let silence = async {
            assert_eq!(input.fill(&mut server, &worker).await.unwrap(), 1);
            let error = input.fill(&mut server, &worker).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            clock.now().time.as_millis()
        };
        let (ended_ms, ()) = tokio::join!(silence, passes);
        assert_eq!(ended_ms, 16_000);
    }

    #[test]
    fn what_was_read_behind_a_value_is_next() {
        let pool = BufferPool::default();
        let mut input = Input::new(b"all of it".to_vec());
        input.consume(3);
        input.restart(b"next".to_vec(), &pool);
        assert_eq!(input.unread(), b"next");
        input.restart(Vec::new(), &pool);
        assert_eq!(input.unread(), b"");
    }

    #[tokio::test(start_paused = true)]
    async fn behind_what_is_kept_there_is_room_for_more() {
        let worker = worker(Clock::manual());
        for len in [
            1,
            SMALL_REST_LEN_MAX,
            SMALL_REST_LEN_MAX + 1,
            BUFFER_LEN - 1,
            BUFFER_LEN,
        ] {
            let (mut client, mut server) = duplex(READ_LEN_MIN);
            client.write_all(&[8; READ_LEN_MIN]).await.unwrap();
            let mut input = Input::default();
            input.restart(vec![7; len], worker.buffers());
            let read = input.fill(&mut server, &worker).await.unwrap();
            assert_eq!(read, READ_LEN_MIN, "{len}");
            let expected = [vec![7; len], vec![8; READ_LEN_MIN]].concat();
            assert!(input.unread() == expected, "{len}");
        }
    }
}
