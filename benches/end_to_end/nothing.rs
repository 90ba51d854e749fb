//! A server that knows every key and stores nothing: what it costs to receive requests and send answers at all, so
//! what no store can be faster than.

use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// Bytes read at once.
const READ_LEN: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
const LISTENER: Token = Token(usize::MAX);

/// Serves one address with one thread until it is killed; `tell` is told the port.
pub(crate) fn serve(tell: impl FnOnce(u16) -> io::Result<()>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    tell(listener.local_addr()?.port())?;
    let mut server = Server {
        hit: hit(0),
        value_len: 0,
        input: vec![0; READ_LEN],
        output: Vec::new(),
    };
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(peers.len());
                    poll.registry()
                        .register(&mut stream, token, Interest::READABLE)?;
                    let rest = Vec::new();
                    peers.push(Some(Peer { stream, rest }));
                }
            } else if let Some(place) = peers.get_mut(event.token().0)
                && let Some(peer) = place
                && server.answer(peer).is_err()
            {
                *place = None;
            }
        }
    }
}

struct Peer {
    stream: TcpStream,
    /// The beginning of a request that has not come whole.
    rest: Vec<u8>,
}

struct Server {
    /// What it answers for each key: as long as the last value that it was given.
    hit: Vec<u8>,
    value_len: usize,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Server {
    /// Answers all whole requests that have come.
    fn answer(&mut self, peer: &mut Peer) -> io::Result<()> {
        loop {
            let begun = peer.rest.len();
            self.input.resize(begun + READ_LEN, 0);
            let (rest, room) = self.input.split_at_mut(begun);
            rest.copy_from_slice(&peer.rest);
            let read = match peer.stream.read(room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            let input = std::mem::take(&mut self.input);
            let come = input.get(..begun + read).unwrap_or_default();
            let mut unread = come;
            while let Some(used) = self.answer_one(unread) {
                unread = unread.get(used..).unwrap_or_default();
            }
            peer.rest.clear();
            peer.rest.extend_from_slice(unread);
            self.input = input;
            self.send(&mut peer.stream)?;
            // A short read has emptied the socket: asking it again would only say so.
            if read < READ_LEN {
                return Ok(());
            }
        }
    }

    /// Answers the request that `unread` begins with; returns its length, if it is whole.
    fn answer_one(&mut self, unread: &[u8]) -> Option<usize> {
        let line_len = memchr::memchr(b'\n', unread)? + 1;
        let line = unread.get(..line_len)?.trim_ascii_end();
        match line.first() {
            Some(b's') => {
                let len = line.rsplit(|byte| *byte == b' ').next()?;
                let len: usize = std::str::from_utf8(len).ok()?.parse().ok()?;
                let request_len = line_len + len + b"\r\n".len();
                unread.get(..request_len)?;
                if len != self.value_len {
                    (self.value_len, self.hit) = (len, hit(len));
                }
                self.output.extend_from_slice(b"STORED\r\n");
                return Some(request_len);
            }
            Some(b'i') => self.output.extend_from_slice(b"123456\r\n"),
            _ => {
                for _ in memchr::memchr_iter(b' ', line) {
                    self.output.extend_from_slice(&self.hit);
                }
                self.output.extend_from_slice(b"END\r\n");
            }
        }
        Some(line_len)
    }

    fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut unsent = self.output.as_slice();
        while !unsent.is_empty() {
            match stream.write(unsent) {
                Ok(written) => unsent = unsent.get(written..).unwrap_or_default(),
                // The load generator is about to read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        Ok(())
    }
}

fn hit(value_len: usize) -> Vec<u8> {
    let mut hit = format!("VALUE k 0 {value_len}\r\n").into_bytes();
    hit.resize(hit.len() + value_len, b'v');
    hit.extend_from_slice(b"\r\n");
    hit
}
