//! Runs nuthatch inside the test, with a clock that the test moves: over TCP, or over a pipe that cuts
//! the stream where the test says.

use crate::replay::Peer;
use nuthatch::{
    Bound, Shared, Worker, clock::Clock, config::Config, connection, given::Given,
    telemetry::LogLevel,
};
use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::{self, Runtime},
    sync::oneshot,
    task::{LocalSet, yield_now},
    time::timeout,
};

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// The configuration that these flags give.
///
/// # Errors
/// Flags that nuthatch refuses.
pub fn config(flags: &[&str]) -> Result<Config, String> {
    let flags = ["nuthatch"].iter().chain(flags).map(OsString::from);
    let given = Given::read(flags, |_| None).map_err(|error| error.to_string())?;
    Config::from_flags(&given.flags).map_err(|error| error.to_string())
}

/// A whole daemon on a port of its own choosing, stopped when this is dropped.
#[derive(Debug)]
pub struct Nuthatch {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    clock: Clock,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Nuthatch {
    /// Starts it: one thread, 64 MiB, no metrics, and a clock that stands still, unless `flags` say otherwise.
    ///
    /// # Errors
    /// Whatever keeps it from listening.
    pub fn start(flags: &[&str]) -> Result<Self, String> {
        Self::start_at(Clock::manual(), flags)
    }

    /// The same, with a clock that the test has set.
    ///
    /// # Errors
    /// Whatever keeps it from listening.
    pub fn start_at(clock: Clock, flags: &[&str]) -> Result<Self, String> {
        let defaults = ["-l", "127.0.0.1", "-p", "-1", "-t", "1", "--admin", "none"];
        let config = config(&[defaults.as_slice(), flags].concat())?;
        let server = Bound::tcp(&config, &clock)
            .and_then(|bound| bound.into_server(config, clock.clone(), LogLevel::default()))
            .map_err(|error| error.to_string())?;
        let address = *server.tcp_addresses().first().ok_or("no TCP address")?;
        let admin_address = server.admin_address();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let stop = async {
                // An error is the test that has gone, which is a stop too.
                let _ = stopped.await;
            };
            server.run(stop, std::future::pending())
        });
        Ok(Self {
            address,
            admin_address,
            clock,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells metrics and health, if `--admin` was among the flags.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Waits until it has stopped by itself.
    ///
    /// # Errors
    /// It did not end well.
    pub fn wait(mut self) -> Result<(), String> {
        let stopping = self.stop.take();
        let ended = self.thread.take().map(JoinHandle::join);
        drop(stopping);
        match ended {
            Some(Ok(Ok(()))) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A connection whose reads give up after some seconds.
    ///
    /// # Errors
    /// Refused connections.
    pub fn connect(&self) -> io::Result<TcpPeer> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(TcpPeer {
            stream,
            clock: self.clock.clone(),
        })
    }
}

impl Drop for Nuthatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        let ended = thread.join();
        assert!(
            matches!(ended, Ok(Ok(()))) || thread::panicking(),
            "the daemon did not end well: {ended:?}"
        );
    }
}

/// A TCP connection to a daemon whose clock the test moves.
#[derive(Debug)]
pub struct TcpPeer {
    stream: TcpStream,
    clock: Clock,
}

impl TcpPeer {
    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Read for TcpPeer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for TcpPeer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Peer for TcpPeer {
    fn wait(&mut self, time: Duration) {
        self.clock.advance(time);
    }
}

/// One connection to a cache of its own, through a pipe in memory. What is sent is cut in two at one
/// position of the whole stream; the server uses the first part up before it sees the second.
#[derive(Debug)]
pub struct CutPeer {
    client: DuplexStream,
    local: LocalSet,
    runtime: Runtime,
    clock: Clock,
    until_cut: usize,
}

impl CutPeer {
    /// A new cache and a connection to it, cut after that many bytes.
    ///
    /// # Errors
    /// If there can be no runtime.
    pub fn new(config: &Config, cut: usize) -> io::Result<Self> {
        // As large as a socket's buffers, so that neither side waits for the other to begin.
        const PIPE_LEN: usize = 4 << 20;
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let local = LocalSet::new();
        let (client, server) = duplex(PIPE_LEN);
        let clock = Clock::manual();
        let shared = Shared::new(config, clock.clone(), LogLevel::default());
        local.spawn_local(async move {
            connection::serve(server, &Worker::new(Arc::clone(&shared))).await;
        });
        Ok(Self {
            client,
            local,
            runtime,
            clock,
            until_cut: cut,
        })
    }

    /// The Unix time of the connection's clock.
    pub fn unix_time(&self) -> u64 {
        self.clock.now().unix_millis / 1000
    }
}

impl Read for CutPeer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = async { timeout(PATIENCE, self.client.read(buffer)).await };
        self.local.block_on(&self.runtime, read)?
    }
}

impl Write for CutPeer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // More turns than a server needs to read what is there and wait for more.
        const TURNS: usize = 8;
        let cut = self.until_cut.min(bytes.len());
        self.until_cut -= cut;
        let (first, second) = bytes.split_at(cut);
        let client = &mut self.client;
        self.local.block_on(&self.runtime, async {
            for part in [first, second] {
                client.write_all(part).await?;
                for _ in 0..TURNS {
                    yield_now().await;
                }
            }
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Peer for CutPeer {
    fn wait(&mut self, time: Duration) {
        self.clock.advance(time);
    }
}
