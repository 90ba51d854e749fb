//! `stats conns`: every socket, by its descriptor.

use crate::clock::Now;
use crate::output::Output;
use crate::shared::Shared;
use crate::stats_text::put;
use dashmap::DashMap;
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage, getpeername, getsockname};
use nuthatch_store::Time;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What a socket waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Clients.
    Listening,
    /// A request.
    Reading,
    /// The rest of a value.
    ReadingValue,
    /// Nothing: it is being answered.
    Answering,
    /// What happens.
    Watching,
}

impl State {
    const COUNT: usize = Self::Watching as usize + 1;

    /// memcached's names.
    const fn name(number: u8) -> &'static str {
        match number {
            0 => "conn_listening",
            1 => "conn_read",
            2 => "conn_nread",
            4 => "conn_watch",
            _ => "conn_parse_cmd",
        }
    }
}

/// One socket.
#[derive(Debug)]
struct Socket {
    state: AtomicU8,
    last_command: AtomicU64,
}

/// All sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets(DashMap<RawFd, Arc<Socket>>);

/// A socket that is listed for as long as this lives.
#[derive(Debug)]
pub(crate) struct ListedSocket<'a> {
    sockets: &'a Sockets,
    fd: RawFd,
    socket: Arc<Socket>,
}

impl Sockets {
    pub(crate) fn list(&self, fd: RawFd, state: State, now: Time) -> ListedSocket<'_> {
        let socket = Arc::new(Socket {
            state: AtomicU8::new(state as u8),
            last_command: AtomicU64::new(now.as_millis()),
        });
        self.0.insert(fd, Arc::clone(&socket));
        ListedSocket {
            sockets: self,
            fd,
            socket,
        }
    }

    /// How many sockets there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many sockets are in each state, by its number.
    pub(crate) fn states(&self) -> [u64; State::COUNT] {
        let mut states = [0; State::COUNT];
        for socket in &self.0 {
            let state = socket.state.load(Ordering::Relaxed);
            if let Some(count) = states.get_mut(usize::from(state)) {
                *count += 1;
            }
        }
        states
    }
}

impl ListedSocket<'_> {
    pub(crate) const fn fd(&self) -> RawFd {
        self.fd
    }

    pub(crate) fn set(&self, state: State) {
        self.socket.state.store(state as u8, Ordering::Relaxed);
    }

    /// A command has come.
    pub(crate) fn answer(&self, now: Time) {
        self.set(State::Answering);
        self.socket
            .last_command
            .store(now.as_millis(), Ordering::Relaxed);
    }
}

impl Drop for ListedSocket<'_> {
    fn drop(&mut self) {
        // The descriptor may be another socket's by now.
        let is_own = |_: &RawFd, socket: &Arc<Socket>| Arc::ptr_eq(socket, &self.socket);
        self.sockets.0.remove_if(&self.fd, is_own);
    }
}

/// Writes all sockets, without the `END`.
pub(crate) fn write(shared: &Shared, now: Now, out: &mut Output) {
    let copy = |entry: dashmap::mapref::multiple::RefMulti<'_, RawFd, Arc<Socket>>| {
        (*entry.key(), Arc::clone(entry.value()))
    };
    let mut sockets: Vec<_> = shared.sockets.0.iter().map(copy).collect();
    sockets.sort_unstable_by_key(|(fd, _)| *fd);
    for (fd, socket) in sockets {
        let state = socket.state.load(Ordering::Relaxed);
        let own =
            getsockname::<SockaddrStorage>(fd).map_or_else(|_| String::new(), |own| name(&own));
        if state == State::Listening as u8 {
            put(&format!("{fd}:addr"), own, out);
        } else {
            let peer = getpeername::<SockaddrStorage>(fd).ok();
            let peer = peer.filter(|peer| peer.as_unix_addr().is_none());
            // The client's end of a Unix socket has no name.
            let peer = peer.map_or_else(|| own.clone(), |peer| name(&peer));
            put(&format!("{fd}:addr"), peer, out);
            put(&format!("{fd}:listen_addr"), own, out);
        }
        put(&format!("{fd}:state"), State::name(state), out);
        let last_command = socket.last_command.load(Ordering::Relaxed);
        let seconds = now.time.as_millis().saturating_sub(last_command) / 1000;
        put(&format!("{fd}:secs_since_last_cmd"), seconds, out);
    }
}

/// As memcached writes an address.
fn name(address: &SockaddrStorage) -> String {
    if let Some(unix) = address.as_unix_addr() {
        let path = unix.path().map(|path| path.display().to_string());
        return format!("unix:{}", path.unwrap_or_default());
    }
    if let Some(v6) = address.as_sockaddr_in6() {
        return format!("tcp6:{v6}");
    }
    match address.family() {
        Some(_) => format!("tcp:{address}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_gone_does_not_take_its_successor_with_it() {
        let sockets = Sockets::default();
        let now = Time::default();
        let old = sockets.list(7, State::Reading, now);
        let new = sockets.list(7, State::Reading, now);
        drop(old);
        assert!(sockets.0.contains_key(&7));
        drop(new);
        assert!(sockets.0.is_empty());
    }
}
