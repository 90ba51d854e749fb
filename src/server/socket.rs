//! [`Socket`]: the socket of one client, and what its event loop knows of it.

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, writev};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};
use tokio_rustls::server::TlsStream;

/// What a connection reads from and writes to.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether it may be worth while to receive: buffers need not be there before it is.
    fn poll_readable(&self) -> Poll<()> {
        Poll::Ready(())
    }

    /// Reads as much as there is room for in `buffer`: for some transports without filling that with zeros before.
    /// Returns how many bytes came, 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of the system.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        pin!(self.read_buf(buffer)).poll(context)
    }
}

impl Transport for DuplexStream {}
impl Transport for TlsStream<Socket> {}
impl<T: Transport> Transport for &mut T {
    fn poll_readable(&self) -> Poll<()> {
        (**self).poll_readable()
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_receive(context, buffer)
    }
}

/// How often a task may read from its socket and write to it before others have their turn. A client may always be ahead
/// of who reads what it sends.
const OPERATIONS_MAX: u32 = 16;

/// What a socket can do without waiting, as far as anybody knows. The system tells changes for the better; that it can
/// no longer is learnt by trying.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The last that there is to be told of reading has been told.
    ended: Cell<bool>,
    /// What is left of [`OPERATIONS_MAX`].
    operations_left: Cell<u32>,
}

impl Readiness {
    /// The system has told what it can do.
    pub(crate) fn add(&self, event: &mio::event::Event) {
        let ended = event.is_read_closed() || event.is_error();
        if ended {
            self.ended.set(true);
        }
        if ended || event.is_readable() {
            self.readable.set(true);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            self.writable.set(true);
        }
    }

    /// The task has a new turn.
    pub(crate) fn begin_turn(&self) {
        self.operations_left.set(OPERATIONS_MAX);
    }

    /// Ready if the task may read now; if others come first, it is woken when it may.
    fn poll_read(&self, context: &Context<'_>) -> Poll<()> {
        self.poll_operation(&self.readable, context)
    }

    /// The same of writing.
    fn poll_write(&self, context: &Context<'_>) -> Poll<()> {
        self.poll_operation(&self.writable, context)
    }

    fn poll_operation(&self, may_try: &Cell<bool>, context: &Context<'_>) -> Poll<()> {
        if !may_try.get() {
            return Poll::Pending;
        }
        if let Some(left) = self.operations_left.get().checked_sub(1) {
            self.operations_left.set(left);
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// What has come of reading where there was so much room. Less than that is taken for all that there is, as tokio
    /// does, which saves asking; but for an end of the stream, of which nobody would be told again.
    fn read(&self, read: Result<usize, Errno>, room: usize) -> Poll<io::Result<usize>> {
        let is_whole = read.is_ok_and(|len| len == room) || self.ended.get();
        tried(&self.readable, is_whole, read)
    }

    /// What has come of writing so much.
    fn written(&self, written: Result<usize, Errno>, len: usize) -> Poll<io::Result<usize>> {
        tried(&self.writable, written == Ok(len), written)
    }
}

fn tried(
    may_try: &Cell<bool>,
    is_whole: bool,
    tried: Result<usize, Errno>,
) -> Poll<io::Result<usize>> {
    match tried {
        Ok(len) => {
            may_try.set(is_whole);
            Poll::Ready(Ok(len))
        }
        Err(Errno::WOULDBLOCK) => {
            may_try.set(false);
            Poll::Pending
        }
        Err(error) => Poll::Ready(Err(error.into())),
    }
}

/// A socket whose task goes on, whatever it waits for, when there is something new of the socket: nobody has to be told
/// who waits.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    readiness: Rc<Readiness>,
}

impl Socket {
    /// One that does not block.
    pub(crate) const fn new(fd: OwnedFd, readiness: Rc<Readiness>) -> Self {
        Self { fd, readiness }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Transport for Socket {
    fn poll_readable(&self) -> Poll<()> {
        if self.readiness.readable.get() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.readiness.poll_read(context));
        let room = buffer.capacity().saturating_sub(buffer.len());
        let read = recv(&self.fd, spare_capacity(buffer), RecvFlags::empty());
        self.readiness.read(read.map(|(len, _)| len), room)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.readiness.poll_read(context));
        let room = buffer.remaining();
        let read = recv(&self.fd, buffer.initialize_unfilled(), RecvFlags::empty());
        let read = ready!(self.readiness.read(read.map(|(len, _)| len), room));
        Poll::Ready(read.map(|len| buffer.advance(len)))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.readiness.poll_write(context));
        let sent = send(&self.fd, bytes, SendFlags::NOSIGNAL);
        self.readiness.written(sent, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.readiness.poll_write(context));
        let len = slices.iter().map(|slice| slice.len()).sum();
        self.readiness.written(writev(&self.fd, slices), len)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&self.fd, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_did_not_fill_the_room_was_all_unless_the_stream_has_ended() {
        let readiness = Readiness::default();
        for (read, has_ended, is_ready, may_read_again) in [
            (Ok(10), false, true, true),
            (Ok(9), false, true, false),
            (Ok(0), false, true, false),
            (Err(Errno::WOULDBLOCK), false, false, false),
            (Ok(9), true, true, true),
            (Ok(0), true, true, true),
            (Err(Errno::CONNRESET), true, true, true),
        ] {
            readiness.readable.set(true);
            readiness.ended.set(has_ended);
            assert_eq!(readiness.read(read, 10).is_ready(), is_ready, "{read:?}");
            assert_eq!(readiness.readable.get(), may_read_again, "{read:?}");
        }
    }

    #[test]
    fn what_was_not_taken_whole_is_not_tried_again_at_once() {
        let readiness = Readiness::default();
        for (written, is_ready, may_write_again) in [
            (Ok(10), true, true),
            (Ok(9), true, false),
            (Err(Errno::WOULDBLOCK), false, false),
        ] {
            readiness.writable.set(true);
            assert_eq!(readiness.written(written, 10).is_ready(), is_ready);
            assert_eq!(readiness.writable.get(), may_write_again);
        }
    }

    #[test]
    fn after_sixteen_operations_others_have_their_turn() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&[7; 100]).unwrap();
        let readiness = Rc::new(Readiness::default());
        let mut socket = Socket::new(server.into(), Rc::clone(&readiness));
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        // Nobody has been told yet that there is anything to read.
        readiness.begin_turn();
        assert!(
            socket
                .poll_receive(&mut context, &mut Vec::with_capacity(1))
                .is_pending()
        );
        readiness.readable.set(true);
        readiness.writable.set(true);
        for turns in 1..=3 {
            readiness.begin_turn();
            let mut operations = 0;
            loop {
                let mut byte = [0; 1];
                let operation = if operations % 2 == 0 {
                    Pin::new(&mut socket)
                        .poll_write(&mut context, b"?")
                        .is_ready()
                } else {
                    let mut byte = ReadBuf::new(&mut byte);
                    Pin::new(&mut socket)
                        .poll_read(&mut context, &mut byte)
                        .is_ready()
                };
                if !operation {
                    break;
                }
                operations += 1;
            }
            assert_eq!(operations, OPERATIONS_MAX);
            assert_eq!(woken.0.load(Ordering::Relaxed), turns);
        }
    }

    #[test]
    fn no_buffer_is_taken_before_there_is_anything_to_read() {
        let (_client, server) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(server.into(), Rc::default());
        assert!(socket.poll_readable().is_pending());
        // As who has only a reference asks.
        assert!(Transport::poll_readable(&&mut socket).is_pending());
    }
}
