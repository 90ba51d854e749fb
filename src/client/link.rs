//! [`Link`]: one place for a connection to a node. Its task opens the connection when it is first needed, and again
//! when it is lost.

use crate::backoff::{Backoff, jitter};
use crate::connection::{Connection, End, Limits, Submission};
use crate::journal::{Missed, Replay};
use crate::node::NodeShared;
use crate::op::Dialect;
use crate::stream::{self, Stream};
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{MutexGuard, Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// The first wait before a node that is down is tried again, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// The wait before a connection that broke is opened again. It need not have been the node's fault.
const REOPEN: Duration = Duration::from_millis(5);

/// After so many connections in a row that were of no use, it was.
const USELESS_MAX: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LinkState {
    /// Not connected, and nothing is known against it; submissions wait.
    Waiting,
    Up,
    /// Submissions fail at once.
    Down,
}

#[derive(Debug)]
struct LinkShared {
    state: AtomicU8,
    /// Why it is down.
    why: Mutex<String>,
    dialect: Mutex<Option<Dialect>>,
    trip: Notify,
}

#[derive(Debug)]
pub(crate) struct Link {
    sender: mpsc::Sender<Submission>,
    shared: Arc<LinkShared>,
}

impl Link {
    /// Must be called in a runtime. The task ends when the link is dropped.
    pub(crate) fn new(node: &Arc<NodeShared>) -> Self {
        let (sender, queue) = mpsc::channel(node.settings.queue_len.max(1));
        let shared = Arc::new(LinkShared {
            state: AtomicU8::new(LinkState::Waiting as u8),
            why: Mutex::default(),
            dialect: Mutex::new(None),
            trip: Notify::new(),
        });
        let keeper = Keeper {
            node: Arc::clone(node),
            link: Arc::clone(&shared),
            queue,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
        };
        tokio::spawn(keeper.run());
        Self { sender, shared }
    }

    pub(crate) const fn sender(&self) -> &mpsc::Sender<Submission> {
        &self.sender
    }

    pub(crate) fn state(&self) -> LinkState {
        self.shared.state()
    }

    /// Why it is down, or was.
    pub(crate) fn why(&self) -> String {
        let why = self.shared.why.lock();
        why.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        self.state() == LinkState::Down
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.shared.dialect().unwrap_or(Dialect::Meta)
    }

    /// Gives the connection up, and leaves the node alone for a while.
    pub(crate) fn trip(&self) {
        if self.state() == LinkState::Up {
            self.shared.trip.notify_one();
        }
    }
}

impl LinkShared {
    fn state(&self) -> LinkState {
        const UP: u8 = LinkState::Up as u8;
        const DOWN: u8 = LinkState::Down as u8;
        match self.state.load(Ordering::Acquire) {
            UP => LinkState::Up,
            DOWN => LinkState::Down,
            _ => LinkState::Waiting,
        }
    }

    fn set_state(&self, state: LinkState) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn go_up(&self, node: &NodeShared) {
        node.recover();
        if self.state() == LinkState::Down {
            tracing::info!(node = %node.label, "node is back");
        }
        self.set_state(LinkState::Up);
        node.meter.set_up(true);
    }

    fn dialect(&self) -> Option<Dialect> {
        *self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_dialect(&self, dialect: Dialect) {
        *self.dialect.lock().unwrap_or_else(PoisonError::into_inner) = Some(dialect);
    }
}

/// The task of a link.
struct Keeper {
    node: Arc<NodeShared>,
    link: Arc<LinkShared>,
    queue: mpsc::Receiver<Submission>,
    backoff: Backoff,
}

impl Keeper {
    async fn run(mut self) {
        let mut first = None;
        // Connections in a row that broke before any request was answered.
        let mut useless = 0;
        loop {
            if first.is_none() && !self.is_down() {
                first = self.queue.recv().await;
                if first.is_none() {
                    return;
                }
            }
            let Some(opened) = self.open().await else {
                return;
            };
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(error) => {
                    if !self.go_down(&error.to_string(), first.take()).await {
                        return;
                    }
                    continue;
                }
            };
            self.backoff.reset();
            let trip = Arc::clone(&self.link);
            let end = tokio::select! {
                end = connection.serve(first.take(), &mut self.queue) => end,
                () = trip.trip.notified() => {
                    let why = "it let several calls in a row wait in vain";
                    connection.fail(&End::Broken(why.to_owned()));
                    if !self.go_down(why, None).await {
                        return;
                    }
                    continue;
                }
            };
            useless = if connection.has_served {
                0
            } else {
                useless + 1
            };
            match end {
                End::Unused => return,
                End::Idle => self.link.set_state(LinkState::Waiting),
                End::Broken(why) if useless >= USELESS_MAX => {
                    useless = 0;
                    if !self.go_down(&why, None).await {
                        return;
                    }
                }
                End::Broken(why) => {
                    tracing::debug!(node = %self.node.label, why, "connection lost");
                    self.link.set_state(LinkState::Waiting);
                    sleep(REOPEN / 2 + jitter(REOPEN / 2)).await;
                }
            }
        }
    }

    fn is_down(&self) -> bool {
        self.link.state() == LinkState::Down
    }

    /// Opens a connection, and meanwhile answers those who ask a node that is down. Where nothing is known against the
    /// node they keep their place in the queue. `None` if nobody is left.
    async fn open(&mut self) -> Option<io::Result<Connection<Stream>>> {
        let is_down = self.is_down();
        let opening = open(Arc::clone(&self.node), Arc::clone(&self.link));
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return Some(opened),
                submission = self.queue.recv(), if is_down => match submission {
                    Some(submission) => submission.fail("it is being tried again", false),
                    None => return None,
                },
            }
        }
    }

    /// Answers everybody with `why` until it is time to try again; whether anybody is left.
    async fn go_down(&mut self, why: &str, first: Option<Submission>) -> bool {
        if !self.is_down() {
            tracing::warn!(node = %self.node.label, why, "node is down");
        }
        why.clone_into(&mut self.link.why.lock().unwrap_or_else(PoisonError::into_inner));
        self.link.set_state(LinkState::Down);
        self.node.meter.set_up(false);
        if let Some(first) = first {
            first.fail(why, false);
        }
        let wait = sleep(self.backoff.wait());
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return true,
                submission = self.queue.recv() => match submission {
                    Some(submission) => submission.fail(why, false),
                    None => return false,
                },
            }
        }
    }
}

/// A connection that may be used: greeted, and told what it missed.
async fn open(node: Arc<NodeShared>, link: Arc<LinkShared>) -> io::Result<Connection<Stream>> {
    let patience = node.settings.timeouts.connect;
    let late = || io::Error::other("it did not answer while connecting");
    let (stream, dialect) = timeout(patience, greet(&node))
        .await
        .unwrap_or_else(|_| Err(late()))?;
    link.set_dialect(dialect);
    let limits = Limits {
        stall: node.settings.timeouts.stall,
        value_len_max: node.settings.value_len_max as u64,
    };
    let mut connection = Connection::new(stream, dialect, &limits);
    let heard = timeout(node.settings.timeouts.stall, replay(&node, &mut connection))
        .await
        .unwrap_or_else(|_| Err(late()))?;
    // Before anything can be added to what it missed: who does so then finds the node up, and tells it.
    link.go_up(&node);
    drop(heard);
    Ok(connection)
}

/// Asked each time: what is behind an address may have been replaced.
async fn greet(node: &NodeShared) -> io::Result<(Stream, Dialect)> {
    let connect = async || {
        let endpoint = node.address.endpoint();
        let mut stream = Stream::connect(endpoint).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &node.settings.tls {
            stream = stream.secure(endpoint, tls).await?;
        }
        if let Some(credentials) = &node.settings.credentials {
            stream::authenticate(&mut stream, credentials).await?;
        }
        Ok::<_, io::Error>(stream)
    };
    let mut stream = connect().await?;
    let dialect = match stream::probe(&mut stream).await {
        // A proxy that hangs up on words that it does not know.
        Err(error) if hung_up(&error) => {
            stream = connect().await?;
            stream::probe_proxy(&mut stream).await?
        }
        probed => probed?,
    };
    Ok((stream, dialect))
}

fn hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Tells the node what it missed. Nothing is added to that while what this returns is held.
async fn replay<'a>(
    node: &'a NodeShared,
    connection: &mut Connection<Stream>,
) -> io::Result<MutexGuard<'a, Missed>> {
    let mut missed = node.journal.lock().await;
    if missed.is_empty() {
        return Ok(missed);
    }
    let flush = node.settings.flush_after_overflow;
    let Replay { ops, scope } = missed.replay(connection.dialect(), flush);
    let count = ops.len();
    let (sender, mut queue) = mpsc::channel(1);
    let (caller, replies) = oneshot::channel();
    // Neither can fail: the queue has room, and its end is here.
    let _ = sender.try_send(Submission::Many(ops, caller));
    drop(sender);
    connection.serve(None, &mut queue).await;
    let replies = match replies.await {
        Ok(Ok(replies)) => replies,
        Ok(Err(lost)) => return Err(io::Error::other(lost.why)),
        Err(_) if count == 0 => Vec::new(),
        Err(_) => return Err(io::Error::other("the replay was dropped")),
    };
    if let Some(line) = Replay::refusal(&replies) {
        return Err(io::Error::other(format!(
            "missed invalidations refused: {line}"
        )));
    }
    let overflowed = scope.overflowed;
    tracing::info!(node = %node.label, count, overflowed, "invalidations replayed");
    missed.heard(scope);
    Ok(missed)
}
