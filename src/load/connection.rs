//! [`Connection`]: one connection of the load generator.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::replies::Replies;
use crate::requests::Dialect;

/// Bytes read at once.
const READ_LEN: usize = 256 * 1024;

/// A connection and the requests that wait for their answers on it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) out: Vec<u8>,
    sent: usize,
    rest: Vec<u8>,
    pub(crate) replies: Replies,
    /// When each request was sent, or was due, since the run began.
    pub(crate) waiting: VecDeque<Duration>,
}

impl Connection {
    pub(crate) fn new(
        address: SocketAddr,
        dialect: Dialect,
        registry: &Registry,
        token: usize,
    ) -> io::Result<Self> {
        // Blocks until it is connected.
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(token), interest)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            replies: Replies::new(dialect),
            waiting: VecDeque::new(),
        })
    }

    /// Sends what the server takes.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while let Some(unsent @ [_, ..]) = self.out.get(self.sent..) {
            match self.stream.write(unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what has come; returns how many answers are complete with it. `buffer` may have been used for others.
    pub(crate) fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut complete = 0;
        loop {
            let begin = self.rest.len();
            // Only ever longer: to fill it with zeros each time would take longer than all the rest.
            buffer.resize(buffer.len().max(begin + READ_LEN), 0);
            let (rest, room) = buffer.split_at_mut(begin);
            rest.copy_from_slice(&self.rest);
            let room = room.get_mut(..READ_LEN).unwrap_or_default();
            let read = match self.stream.read(room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..begin + read).unwrap_or_default();
            let (answers, used) = self.replies.read(bytes);
            complete += answers;
            self.rest.clear();
            self.rest
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
            // A short read has emptied the socket: asking it again would only say so.
            if read < READ_LEN {
                return Ok(complete);
            }
        }
    }
}
