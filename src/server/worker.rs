//! [`Worker`]: one thread, one runtime, and the connections that were given to it.

use crate::address::Security;
use crate::batch::Batch;
use crate::buffer_pool::BufferPool;
use crate::clock::Now;
use crate::config::Settings;
use crate::connection;
use crate::counters::Counters;
use crate::execute::Context;
use crate::input::Input;
use crate::latency::{Command, Sample};
use crate::listener::{Accepted, Stream};
use crate::shared::Shared;
use crate::stats_conns::State;
use crate::tls;
use crate::watch::Watch;
use nuthatch_protocol::keys_ahead;
use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time;

/// Accepted connections that wait for one worker; with more, accepting waits.
const HANDOVER_MAX: usize = 64;

/// How long a stopping worker lets clients read what has already been answered.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// How often a worker shows that it runs.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often it looks whether they have.
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// What the connections of one thread share.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    buffers: BufferPool,
    batch: Batch,
    sending: Cell<usize>,
}

impl Worker {
    /// A worker for the calling thread.
    pub fn new(shared: Arc<Shared>) -> Self {
        let counters = shared.add_thread();
        Self {
            shared,
            buffers: BufferPool::new(Arc::clone(&counters)),
            counters,
            batch: Batch::default(),
            sending: Cell::new(0),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.config.settings
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) const fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    pub(crate) fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// What to execute requests of a client with, at that moment.
    pub(crate) fn context(&self, fd: RawFd, now: Now) -> Context<'_> {
        let observers = &self.shared.observers;
        Context {
            watch: Watch { observers, fd },
            store: &self.shared.store,
            counters: &self.counters,
            now,
            settings: &self.shared.config.settings,
            namespaces: self.shared.namespaces.as_deref(),
        }
    }

    /// Begins to measure how long the answers to `requests` take, if it is their turn.
    pub(crate) fn begin_sample(&self, requests: &[u8]) -> Option<Sample> {
        if !self.counters.latencies.chance.picks() {
            return None;
        }
        let now = self.shared.clock.precise();
        Some(Sample::begin(Command::of(requests), now))
    }

    /// They have been sent.
    pub(crate) fn end_sample(&self, sample: Sample) {
        let now = self.shared.clock.precise();
        self.counters.latencies.end(sample, now);
    }

    /// Marks a connection as one that has answers to send, for as long as the result lives.
    pub(crate) fn begin_sending(&self) -> Sending<'_> {
        self.sending.set(self.sending.get().saturating_add(1));
        Sending(&self.sending)
    }

    /// Lets all other connections that have sent something be read before these requests are answered, if they are
    /// few; returns the moment to do that in.
    ///
    /// A client that waits for several answers is so woken once, not for each; and the items that all of them ask for
    /// come from memory side by side (benches/results/profile.txt has what that saves).
    pub(crate) async fn let_others_be_read(&self, input: &mut Input) -> Now {
        let Shared { store, clock, .. } = &*self.shared;
        if !input.set_aside(&self.buffers) {
            return clock.now();
        }
        let requests = input.unread();
        let first = keys_ahead(requests).next();
        let first = first.map(|(key, writes)| store.ahead(key, writes.then_some(requests.len())));
        if !self.batch.join(first) {
            return clock.now();
        }
        // A worker that stops waits for the answers to what it has read.
        let _sending = self.begin_sending();
        let mut has_waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            // Behind the others, and not, as with `yield_now`, behind a look at all sockets, which is a system call.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.batch.leave(store, clock)
    }

    async fn run(
        self,
        index: usize,
        mut accepted: mpsc::Receiver<Accepted>,
        mut stop: watch::Receiver<bool>,
    ) {
        let worker = Rc::new(self);
        let mut heartbeat = time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => {
                    worker.shared.beat(index);
                    worker.buffers.count();
                }
                next = accepted.recv() => match next {
                    Some(accepted) => {
                        let conversation = converse(accepted, Rc::clone(&worker));
                        let task_len = size_of_val(&conversation) as u64;
                        worker.counters.task_len.store(task_len, Ordering::Relaxed);
                        drop(tokio::task::spawn_local(conversation));
                    }
                    None => break,
                },
                // An error means that the server is gone, which is a stop too.
                _ = stop.changed() => break,
            }
        }
        let drained = async {
            while worker.sending.get() > 0 {
                time::sleep(DRAIN_STEP).await;
            }
        };
        // Who has not read by then is cut off.
        drop(time::timeout(DRAIN_MAX, drained).await);
    }
}

/// See [`Worker::begin_sending`].
#[derive(Debug)]
pub(crate) struct Sending<'a>(&'a Cell<usize>);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn converse(accepted: Accepted, worker: Rc<Worker>) {
    // Held until the end: it counts the client as connected.
    let Accepted { stream, connection } = accepted;
    if let Err(error) = serve(stream, &worker).await {
        tracing::debug!(%error, "connection lost before it was served");
    }
    drop(connection);
}

async fn serve(stream: Stream, worker: &Worker) -> io::Result<()> {
    let shared = worker.shared();
    let list = |fd| {
        shared
            .sockets
            .list(fd, State::Reading, shared.clock.now().time)
    };
    match stream {
        Stream::Tcp(stream, security) => {
            let listed = list(stream.as_raw_fd());
            let stream = tokio::net::TcpStream::from_std(stream)?;
            if security == Security::None {
                connection::serve_listed(stream, worker, Some(&listed)).await;
            } else {
                // In a box, or every connection would have room for the state of TLS.
                Box::pin(tls::serve(stream, security, worker, &listed)).await;
            }
        }
        Stream::Unix(stream) => {
            let listed = list(stream.as_raw_fd());
            let stream = tokio::net::UnixStream::from_std(stream)?;
            connection::serve_listed(stream, worker, Some(&listed)).await;
        }
    }
    Ok(())
}

/// The sending end of a running worker thread.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) accepted: mpsc::Sender<Accepted>,
    thread: thread::JoinHandle<()>,
}

impl Handle {
    pub(crate) fn join(self) {
        drop(self.accepted);
        if self.thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// Starts a worker thread, which ends when `stop` changes.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    index: usize,
    stop: watch::Receiver<bool>,
) -> io::Result<Handle> {
    let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let worker = Worker::new(shared);
            // What is blocked on is asked each time that anything happens: a task of its own is not.
            let run = async { tokio::task::spawn_local(worker.run(index, receiver, stop)).await };
            if let Err(error) = LocalSet::new().block_on(&runtime, run) {
                tracing::error!(%error, "a worker has stopped");
            }
        })?;
    Ok(Handle {
        accepted: sender,
        thread,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::WAITING_MAX;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::flags::Flags;
    use crate::telemetry::LogLevel;
    use clap::Parser as _;
    use std::cell::RefCell;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn shared(flags: &[&str]) -> Arc<Shared> {
        let flags = Flags::try_parse_from([&["nuthatch", "-t", "1"], flags].concat()).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        Shared::new(&config, Clock::manual(), LogLevel::default())
    }

    #[test]
    fn all_are_read_before_one_is_answered_and_a_stop_waits_for_the_answers() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let worker = Rc::new(Worker::new(shared(&[])));
        let done = Rc::new(RefCell::new(Vec::new()));
        LocalSet::new().block_on(&runtime, async {
            let answer = |client| {
                let (worker, done) = (Rc::clone(&worker), Rc::clone(&done));
                tokio::task::spawn_local(async move {
                    done.borrow_mut()
                        .push(("read", client, worker.sending.get()));
                    let mut input = Input::new(b"get a\r\n".to_vec());
                    worker.let_others_be_read(&mut input).await;
                    done.borrow_mut()
                        .push(("answered", client, worker.sending.get()));
                })
            };
            let reads = [("read", 1, 0), ("read", 2, 1), ("read", 3, 2)];
            let answers = [("answered", 1, 2), ("answered", 2, 1), ("answered", 3, 0)];
            // However often: who has been answered no longer takes up room among those who wait.
            for _ in 0..WAITING_MAX {
                for answered in [answer(1), answer(2), answer(3)] {
                    answered.await.unwrap();
                }
                assert_eq!(done.take(), [reads, answers].concat());
            }
        });
    }

    #[test]
    fn what_was_read_before_a_stop_is_answered_however_many_turns_it_takes() {
        const REQUESTS: usize = 1000;
        let shared = shared(&["-R", "1"]);
        let (stop, stopped) = watch::channel(false);
        let worker = spawn(Arc::clone(&shared), 0, stopped).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(&b"mn\r\n".repeat(REQUESTS)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let accepted = Accepted {
            stream: Stream::Tcp(stream, Security::None),
            connection: shared.connect().unwrap(),
        };
        worker.accepted.blocking_send(accepted).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        stop.send_replace(true);
        worker.join();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), b"MN\r\n".len() * (REQUESTS - 1));
    }
}
