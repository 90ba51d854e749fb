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

    /// Reads as much as there is room for in `buffer`, which is not filled with zeros before. Returns how many bytes
    /// came, 0 at the end of the stream.
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
impl<T: Transport> Transport for &mut T {}

/// What a socket can do without waiting, as far as anybody knows. The system tells changes for the better; that it can
/// no longer is learnt by trying.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The last that there is to be told of reading has been told.
    ended: Cell<bool>,
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

    fn reader(&self) -> Poll<()> {
        ready_if(self.readable.get())
    }

    fn writer(&self) -> Poll<()> {
        ready_if(self.writable.get())
    }

    /// What has come of reading where there was so much room. Less than that means that there is no more, which saves
    /// asking; but for an end of the stream, of which nobody would be told again.
    fn read(&self, read: Result<usize, Errno>, room: usize) -> Poll<io::Result<usize>> {
        let is_whole = read.is_ok_and(|len| len == room) || self.ended.get();
        tried(&self.readable, is_whole, read)
    }

    /// What has come of writing so much.
    fn written(&self, written: Result<usize, Errno>, len: usize) -> Poll<io::Result<usize>> {
        tried(&self.writable, written == Ok(len), written)
    }
}

const fn ready_if(is_ready: bool) -> Poll<()> {
    if is_ready {
        Poll::Ready(())
    } else {
        Poll::Pending
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
        // A signal, for instance, is no reason not to try again.
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
        self.readiness.reader()
    }

    fn poll_receive(
        &mut self,
        _: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.readiness.reader());
        let room = buffer.capacity().saturating_sub(buffer.len());
        let read = recv(&self.fd, spare_capacity(buffer), RecvFlags::empty());
        self.readiness.read(read.map(|(len, _)| len), room)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.readiness.reader());
        let room = buffer.remaining();
        let read = recv(&self.fd, buffer.initialize_unfilled(), RecvFlags::empty());
        let read = ready!(self.readiness.read(read.map(|(len, _)| len), room));
        Poll::Ready(read.map(|len| buffer.advance(len)))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.readiness.writer());
        let sent = send(&self.fd, bytes, SendFlags::NOSIGNAL);
        self.readiness.written(sent, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.readiness.writer());
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

    #[test]
    fn what_did_not_fill_the_room_was_all_unless_the_stream_has_ended() {
        let readiness = Readiness::default();
        assert!(readiness.reader().is_pending());
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
            assert_eq!(readiness.reader().is_ready(), may_read_again, "{read:?}");
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
            assert_eq!(readiness.writer().is_ready(), may_write_again);
        }
    }
}
