//! Listening sockets: bind, accept, refuse above the limit of connections, hand over to a worker.

use crate::address::{Listen, Security, TcpAddress};
use crate::counters::{Count, Counters};
use crate::shared::{Connection, Shared};
use crate::stats_conns::State;
use listenfd::ListenFd;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nuthatch_protocol::{ErrorReply, Response};
use nuthatch_store::Time;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The same trouble is logged once in this time: it comes with every connection, or not at all.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, Security),
    Unix(UnixListener, Option<SocketFile>),
}

/// A connection that a worker shall serve.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) connection: Connection,
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream, Security),
    Unix(UnixStream),
}

/// Why a socket does not listen, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", advice(source))]
#[non_exhaustive]
pub struct ListenError {
    /// The address or path.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ". Stop who listens there, or choose another port with -p",
        io::ErrorKind::PermissionDenied => ". Choose a port above 1023, or a folder that you own",
        _ => "",
    }
}

/// Binds the TCP sockets that `listen` asks for.
pub(crate) fn bind_tcp(listen: &Listen, backlog: i32) -> Result<Vec<Listener>, ListenError> {
    let Listen::Tcp(addresses) = listen else {
        return Ok(Vec::new());
    };
    let mut listeners = Vec::new();
    for TcpAddress {
        socket: address,
        optional,
        security,
    } in addresses
    {
        match tcp_listener(*address, backlog) {
            Ok(listener) => listeners.push(Listener::Tcp(listener, *security)),
            Err(error) if *optional && has_no_such_family(&error) => {}
            Err(source) => {
                return Err(ListenError {
                    address: address.to_string(),
                    source,
                });
            }
        }
    }
    Ok(listeners)
}

/// The sockets that systemd listens on for the daemon. Whoever configured them said who may connect, so where there
/// is one, nothing else is bound. Those of TCP are secured as told.
pub(crate) fn activated(security: Security) -> Result<Vec<Listener>, ListenError> {
    let failed = |source| ListenError {
        address: "a socket of systemd".to_owned(),
        source,
    };
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        // One that is not of TCP is an error, and stays there to be taken as what it is.
        if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
            listener.set_nonblocking(true).map_err(failed)?;
            listeners.push(Listener::Tcp(listener, security));
        } else if let Some(listener) = passed.take_unix_listener(index).map_err(failed)? {
            listener.set_nonblocking(true).map_err(failed)?;
            listeners.push(Listener::Unix(listener, None));
        }
    }
    Ok(listeners)
}

fn has_no_such_family(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// A socket that listens, for IPv6 alone if the address is one.
pub(crate) fn tcp_listener(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    if address.is_ipv6() {
        // The IPv4 address has a socket of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Binds the Unix socket that `listen` asks for, if any. A socket left behind by a dead process is
/// replaced; any other file is not.
pub(crate) fn bind_unix(listen: &Listen, backlog: i32) -> Result<Option<Listener>, ListenError> {
    let Listen::Unix { path, mask } = listen else {
        return Ok(None);
    };
    unix_listener(path, *mask, backlog)
        .map(Some)
        .map_err(|source| ListenError {
            address: path.display().to_string(),
            source,
        })
}

fn unix_listener(path: &Path, mask: u32, backlog: i32) -> io::Result<Listener> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = socket2::SockAddr::unix(path)?;
    // Set before the bind, so that at no moment more people may connect than shall.
    let before = umask(Mode::from_bits_truncate(!mask & 0o777));
    let bound = socket.bind(&address);
    umask(before);
    bound?;
    socket.listen(backlog)?;
    let file = SocketFile(path.to_owned());
    Ok(Listener::Unix(socket.into(), Some(file)))
}

/// The file of a Unix socket, removed with it.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the socket's file stays behind");
        }
    }
}

impl Listener {
    /// The address, if it is one of TCP.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Accepts for ever, giving each connection to the next of `workers`.
    pub(crate) async fn accept_all(
        self,
        shared: Arc<Shared>,
        workers: Vec<mpsc::Sender<Accepted>>,
    ) -> io::Result<()> {
        let counters = shared.add_thread();
        // memcached counts the listening socket too.
        counters.increment(Count::TotalConnections);
        let mut acceptor = Acceptor {
            shared,
            counters,
            workers,
            next: 0,
            quiet_until: Time::default(),
        };
        let shared = Arc::clone(&acceptor.shared);
        let list = |fd| {
            shared
                .sockets
                .list(fd, State::Listening, shared.clock.now().time)
        };
        match self {
            Self::Tcp(listener, security) => {
                let _listed = list(listener.as_raw_fd());
                let listener = tokio::net::TcpListener::from_std(listener)?;
                loop {
                    acceptor.wait_for_room().await;
                    let accepted = listener.accept().await.and_then(|(stream, _)| {
                        stream.set_nodelay(true)?;
                        Ok(Stream::Tcp(stream.into_std()?, security))
                    });
                    acceptor.hand_over(accepted).await;
                }
            }
            Self::Unix(listener, _file) => {
                let _listed = list(listener.as_raw_fd());
                let listener = tokio::net::UnixListener::from_std(listener)?;
                loop {
                    acceptor.wait_for_room().await;
                    let accepted = listener
                        .accept()
                        .await
                        .and_then(|(stream, _)| Ok(Stream::Unix(stream.into_std()?)));
                    acceptor.hand_over(accepted).await;
                }
            }
        }
    }
}

struct Acceptor {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    workers: Vec<mpsc::Sender<Accepted>>,
    next: usize,
    quiet_until: Time,
}

impl Acceptor {
    /// Where those who connect shall wait rather than be refused, waits until somebody has left.
    async fn wait_for_room(&mut self) {
        let settings = &self.shared.config.settings;
        let is_full =
            || self.shared.connections.load(Ordering::Relaxed) >= settings.connections_max;
        if !settings.extended.waits_at_limit || !is_full() {
            return;
        }
        self.shared.accepting.store(false, Ordering::Relaxed);
        self.counters.increment(Count::ListenDisabledNum);
        while is_full() {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            let paused_us = u64::try_from(ACCEPT_PAUSE.as_micros()).unwrap_or(u64::MAX);
            self.counters.add(Count::TimeInListenDisabledUs, paused_us);
        }
        self.shared.accepting.store(true, Ordering::Relaxed);
    }

    async fn hand_over(&mut self, accepted: io::Result<Stream>) {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => return self.pause_if_exhausted(&error).await,
        };
        let Some(connection) = self.shared.connect() else {
            self.counters.increment(Count::RejectedConnections);
            if self.may_log() {
                let limit = self.shared.config.settings.connections_max;
                tracing::info!(limit, "too many connections: some are refused (-c)");
            }
            return refuse(&stream);
        };
        self.counters.increment(Count::TotalConnections);
        tracing::debug!(?stream, "connection accepted");
        self.next = self.next.wrapping_add(1) % self.workers.len().max(1);
        if let Some(worker) = self.workers.get(self.next) {
            // Fails only when the worker has stopped, and then everything stops.
            drop(worker.send(Accepted { stream, connection }).await);
        }
    }

    fn may_log(&mut self) -> bool {
        let now = self.shared.clock.now().time;
        let may_log = now >= self.quiet_until;
        if may_log {
            self.quiet_until = now.saturating_add(LOG_PAUSE);
        }
        may_log
    }

    /// Out of file descriptors or memory: trying again at once would spin. Anything else is over with
    /// the connection that it concerned.
    async fn pause_if_exhausted(&mut self, error: &io::Error) {
        let errno = error.raw_os_error().map(Errno::from_raw);
        if matches!(
            errno,
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
        ) {
            if self.may_log() {
                tracing::info!(%error, "accepting connections pauses");
            }
            self.counters.increment(Count::ListenDisabledNum);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            let paused_us = u64::try_from(ACCEPT_PAUSE.as_micros()).unwrap_or(u64::MAX);
            self.counters.add(Count::TimeInListenDisabledUs, paused_us);
        }
    }
}

/// Says why and closes. A fresh socket has room for one line; if not, closing says enough.
fn refuse(stream: &Stream) {
    let mut line = Vec::new();
    Response::Error(ErrorReply::TOO_MANY_CONNECTIONS).encode(&mut line);
    drop(match stream {
        Stream::Tcp(stream, _) => (&mut &*stream).write(&line),
        Stream::Unix(stream) => (&mut &*stream).write(&line),
    });
}
