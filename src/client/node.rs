//! [`Node`]: one server, its connections, and whether it is worth asking.
//!
//! A node that cannot be reached is asked nothing until a probe has succeeded: its callers are told at once. So is one
//! that let several calls in a row wait in vain, unless too many others are out for that: then the servers are slow
//! together, and leaving them out would only load the rest.

use crate::backoff::Backoff;
use crate::clock;
use crate::connection::{Lost, Outcome, Submission};
use crate::counters::Faults;
use crate::journal::{Journal, Replay};
use crate::link::{Link, LinkState};
use crate::meter::Meter;
use crate::op::{Dialect, Op};
use crate::reply::Reply;
use crate::stream::Credentials;
use crate::{Error, NodeAddress, Phase, Timeouts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{Instrument as _, Span};

/// Values from this length on are stored over a connection of their own, so that small ones need not wait for them.
const BULK_LEN: usize = 64 * 1024;

/// Calls in a row without an answer in time, after which a node is left alone.
const TIMEOUTS_MAX: u32 = 3;

/// The first wait before a node that was slow hears what it missed, and the longest.
const REPLAY_FIRST: Duration = Duration::from_millis(100);
const REPLAY_LAST: Duration = Duration::from_secs(5);

/// What all nodes of a client have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) timeouts: Timeouts,
    pub(crate) connections: usize,
    pub(crate) queue_len: usize,
    pub(crate) value_len_max: usize,
    pub(crate) credentials: Option<Credentials>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::Connector>,
    pub(crate) faults: Faults,
    /// Empty a node that has missed more invalidations than the journal holds.
    pub(crate) flush_after_overflow: bool,
}

/// How many nodes are left alone because they were slow.
#[derive(Debug, Default)]
pub(crate) struct Trips {
    count: AtomicUsize,
    max: AtomicUsize,
}

impl Trips {
    /// A third of so many nodes, at least one.
    pub(crate) fn set_nodes(&self, nodes: usize) {
        self.max.store((nodes / 3).max(1), Ordering::SeqCst);
    }

    fn enter(&self) -> bool {
        let max = self.max.load(Ordering::SeqCst);
        let more = |count: usize| (count < max).then(|| count.saturating_add(1));
        self.count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    fn leave(&self) {
        let fewer = |count: usize| Some(count.saturating_sub(1));
        let _ = self
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
    }
}

/// What a node's connections share.
#[derive(Debug)]
pub(crate) struct NodeShared {
    pub(crate) address: NodeAddress,
    pub(crate) label: Arc<str>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) journal: Journal,
    pub(crate) meter: Meter,
    timeouts: AtomicU32,
    is_tripped: AtomicBool,
    trips: Arc<Trips>,
}

impl NodeShared {
    /// It has been reached again.
    pub(crate) fn recover(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
        if self.is_tripped.swap(false, Ordering::SeqCst) {
            self.trips.leave();
        }
    }
}

impl Drop for NodeShared {
    fn drop(&mut self) {
        self.recover();
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    shared: Arc<NodeShared>,
    links: Vec<Link>,
    bulk: Link,
    next: AtomicUsize,
    /// Somebody will replay the journal.
    is_replaying: AtomicBool,
    /// Held by who does so.
    replaying: Mutex<()>,
}

/// What became of ops that a node had to hear of before it is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It has heard.
    Now,
    /// It will, before it is read again if it is down.
    Later,
    /// It is down, or slow, and has missed more than is remembered.
    TooMuch,
}

impl Node {
    /// Connects when it is first asked something. Must be called in a runtime.
    pub(crate) fn new(address: NodeAddress, settings: &Arc<Settings>, trips: &Arc<Trips>) -> Self {
        let label = address.to_string().into();
        let shared = Arc::new(NodeShared {
            meter: Meter::new(&label),
            label,
            address,
            settings: Arc::clone(settings),
            journal: Journal::default(),
            timeouts: AtomicU32::new(0),
            is_tripped: AtomicBool::new(false),
            trips: Arc::clone(trips),
        });
        let links = (0..settings.connections.max(1)).map(|_| Link::new(&shared));
        Self {
            links: links.collect(),
            bulk: Link::new(&shared),
            next: AtomicUsize::new(0),
            is_replaying: AtomicBool::new(false),
            replaying: Mutex::const_new(()),
            shared,
        }
    }

    pub(crate) fn label(&self) -> &Arc<str> {
        &self.shared.label
    }

    pub(crate) fn address(&self) -> &NodeAddress {
        &self.shared.address
    }

    /// What it was found to understand; before anything is known, the newer one.
    pub(crate) fn dialect(&self) -> Dialect {
        self.links.first().map_or(Dialect::Meta, Link::dialect)
    }

    /// Runs one op. A dropped call leaves nothing behind that another could receive.
    pub(crate) async fn call(&self, op: Op) -> Result<Reply, Error> {
        let name = op.verb.name();
        let (span, began) = (self.span(name), self.shared.meter.begin());
        // Awaited where it is made: a future that is moved first is stored twice.
        let called = self.call_untold(op, name).instrument(span.clone()).await;
        self.shared.meter.end(began, name, &called);
        told(&span, &called);
        called
    }

    fn span(&self, command: &'static str) -> Span {
        tracing::trace_span!("call", node = %self.label(), command)
    }

    async fn call_untold(&self, op: Op, name: &'static str) -> Result<Reply, Error> {
        let again = op.verb.is_read().then(|| op.clone());
        let first = self.submit_one(op).await;
        let reply = match (first, again) {
            // A read does no harm twice. The server may have closed an idle connection just then.
            (Err(Error::Unavailable { .. }), Some(op)) if !self.is_down() => {
                self.submit_one(op).await?
            }
            (first, _) => first?,
        };
        self.check(reply, name)
    }

    async fn submit_one(&self, op: Op) -> Result<Reply, Error> {
        let about = About {
            name: op.verb.name(),
            is_read: op.verb.is_read(),
            value_len: op.verb.value_len(),
        };
        self.submit(about, |caller| Submission::One(op, caller))
            .await
    }

    /// Runs several ops in a row on one connection. Each has its own reply, which may be a refusal.
    pub(crate) async fn call_many(&self, ops: Vec<Op>) -> Result<Vec<Reply>, Error> {
        let lens = ops.iter().map(|op| op.verb.value_len());
        let about = About {
            name: ops
                .iter()
                .find(|op| !op.verb.is_read())
                .or_else(|| ops.first())
                .map_or("nothing", |op| op.verb.name()),
            is_read: ops.iter().all(|op| op.verb.is_read()),
            value_len: lens.max().unwrap_or_default(),
        };
        let count = ops.len();
        let (span, began) = (self.span(about.name), self.shared.meter.begin());
        let called = self
            .submit(about, |caller| Submission::Many(ops, caller))
            .instrument(span.clone())
            .await;
        self.shared.meter.end(began, about.name, &called);
        told(&span, &called);
        let replies = called?;
        debug_assert_eq!(replies.len(), count);
        Ok(replies)
    }

    /// Hands ops over without waiting, for who cannot wait: a guard that is dropped.
    pub(crate) fn send_and_forget(&self, op: Op) {
        let (caller, ignored) = oneshot::channel();
        if let Some(link) = self.links.iter().find(|link| !link.is_down())
            && link.sender().try_send(Submission::One(op, caller)).is_ok()
        {
            // A submission that nobody waits for would be skipped. Without a runtime there is nobody to write it.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(ignored);
            }
        }
    }

    /// Has the node hear of these before it is read again: at once, unless it is down.
    pub(crate) async fn tell(self: &Arc<Self>, ops: Vec<Op>) -> Told {
        if !self.shared.journal.add(ops).await {
            return Told::TooMuch;
        }
        // A connection that opens tells it what was in the journal until then; this was added later if it is up now.
        if !self.is_down() {
            let patience = self.shared.settings.timeouts.operation;
            // What others have added since, they tell.
            if let Ok(Some(_)) = timeout(patience, self.replay_once()).await {
                return Told::Now;
            }
        }
        self.replay_later();
        Told::Later
    }

    /// Has a node hear of these that did not answer: before it is read again if it is down, else soon. Whether there is
    /// room.
    pub(crate) async fn remember(self: &Arc<Self>, ops: Vec<Op>) -> bool {
        let has_room = self.shared.journal.add(ops).await;
        if has_room {
            self.replay_later();
        }
        has_room
    }

    fn replay_later(self: &Arc<Self>) {
        if self.is_replaying.swap(true, Ordering::SeqCst) {
            return;
        }
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut backoff = Backoff::new(REPLAY_FIRST, REPLAY_LAST);
            loop {
                sleep(backoff.wait()).await;
                let Some(node) = node.upgrade() else { return };
                if node.replay().await {
                    return;
                }
            }
        });
    }

    /// Tells a node that is not down what it missed; whether nothing is left.
    pub(crate) async fn replay(&self) -> bool {
        self.replay_once().await == Some(true)
    }

    /// The same; `None` if it has not heard all that was there.
    async fn replay_once(&self) -> Option<bool> {
        // Nothing is told twice: it could undo what was done in between.
        let _turn = self.replaying.lock().await;
        if self.is_down() {
            return None;
        }
        let flush = self.is_flushed_after_overflow();
        let missed = self.shared.journal.lock().await;
        let Replay { ops, scope } = missed.replay(self.dialect(), flush);
        // A connection that opens meanwhile wants it.
        drop(missed);
        if !ops.is_empty() {
            let heard = self.call_many(ops).await;
            if heard.map_or(true, |replies| Replay::refusal(&replies).is_some()) {
                return None;
            }
        }
        let mut missed = self.shared.journal.lock().await;
        missed.heard(scope);
        let is_empty = missed.is_empty();
        if is_empty {
            // While others cannot add anything: who does so next starts anew.
            self.is_replaying.store(false, Ordering::SeqCst);
        }
        Some(is_empty)
    }

    pub(crate) fn is_flushed_after_overflow(&self) -> bool {
        self.shared.settings.flush_after_overflow
    }

    /// A call that the gutter gets instead.
    pub(crate) fn count_detour(&self) {
        self.shared.settings.faults.detours.one();
    }

    /// What became of an op, or the error that its refusal is.
    pub(crate) fn check(&self, reply: Reply, op: &'static str) -> Result<Reply, Error> {
        let node = || Arc::clone(self.label());
        match reply {
            Reply::Refused(message) => Err(Error::Server {
                node: node(),
                op,
                message,
            }),
            Reply::NoWords => Err(Error::Unsupported { node: node(), op }),
            reply => Ok(reply),
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.links.iter().all(Link::is_down)
    }

    fn link(&self, value_len: usize) -> &Link {
        if value_len >= BULK_LEN {
            return &self.bulk;
        }
        let turn = match self.links.len() {
            1 => 0,
            len => self.next.fetch_add(1, Ordering::Relaxed) % len,
        };
        let from_turn = self.links.iter().cycle().skip(turn).take(self.links.len());
        let mut up = from_turn.filter(|link| !link.is_down());
        up.next()
            .or_else(|| self.links.first())
            .unwrap_or(&self.bulk)
    }

    async fn submit<T>(
        &self,
        about: About,
        submission: impl FnOnce(oneshot::Sender<Outcome<T>>) -> Submission,
    ) -> Result<T, Error> {
        let link = self.link(about.value_len);
        if link.is_down() {
            return Err(self.unavailable(link.why()));
        }
        let deadline = clock::after(self.shared.settings.timeouts.operation);
        let (caller, mut reply) = oneshot::channel();
        self.enqueue(link, submission(caller), deadline).await?;
        let outcome = if let Ok(outcome) = timeout_at(deadline, &mut reply).await {
            outcome
        } else {
            // From here on it will not be written any more, if it has not been.
            reply.close();
            match reply.try_recv() {
                Ok(outcome) => Ok(outcome),
                Err(_) => return Err(self.timed_out(link)),
            }
        };
        match outcome {
            Ok(Ok(reply)) => {
                if self.shared.timeouts.load(Ordering::Relaxed) != 0 {
                    self.shared.timeouts.store(0, Ordering::Relaxed);
                }
                Ok(reply)
            }
            Ok(Err(lost)) => Err(self.lost(lost, about)),
            Err(_) => Err(Error::Closed),
        }
    }

    async fn enqueue(
        &self,
        link: &Link,
        submission: Submission,
        deadline: Instant,
    ) -> Result<(), Error> {
        let submission = match link.sender().try_send(submission) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Error::Closed),
            Err(mpsc::error::TrySendError::Full(submission)) => submission,
        };
        match timeout_at(deadline, link.sender().send(submission)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => {
                self.shared.settings.faults.timeouts.one();
                Err(Error::Timeout {
                    node: Arc::clone(self.label()),
                    phase: Phase::Queue,
                })
            }
        }
    }

    fn timed_out(&self, link: &Link) -> Error {
        self.shared.settings.faults.timeouts.one();
        let phase = if link.state() == LinkState::Up {
            Phase::Reply
        } else {
            Phase::Connect
        };
        let before = self.shared.timeouts.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) >= TIMEOUTS_MAX
            && phase == Phase::Reply
            && !self.shared.is_tripped.load(Ordering::SeqCst)
            && self.shared.trips.enter()
        {
            if self.shared.is_tripped.swap(true, Ordering::SeqCst) {
                self.shared.trips.leave();
            }
            for link in self.links.iter().chain([&self.bulk]) {
                link.trip();
            }
        }
        Error::Timeout {
            node: Arc::clone(self.label()),
            phase,
        }
    }

    fn lost(&self, lost: Lost, about: About) -> Error {
        if about.is_read || !lost.was_sent {
            return self.unavailable(lost.why);
        }
        self.shared.settings.faults.unavailable.one();
        Error::Ambiguous {
            node: Arc::clone(self.label()),
            op: about.name,
            why: lost.why,
        }
    }

    fn unavailable(&self, why: String) -> Error {
        self.shared.settings.faults.unavailable.one();
        Error::Unavailable {
            node: Arc::clone(self.label()),
            why,
        }
    }
}

fn told<T>(span: &Span, called: &Result<T, Error>) {
    if let Err(error) = called {
        span.in_scope(|| tracing::trace!(%error, "failed"));
    }
}

/// What an error has to know of a submission.
#[derive(Clone, Copy, Debug)]
struct About {
    name: &'static str,
    is_read: bool,
    value_len: usize,
}
