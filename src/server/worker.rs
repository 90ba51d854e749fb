//! [`Worker`]: one thread, one event loop, and the connections that were given to it.

use crate::address::Security;
use crate::batch::Batch;
use crate::buffer_pool::BufferPool;
use crate::clock::Now;
use crate::config::Settings;
use crate::connection;
use crate::counters::Counters;
use crate::event_loop::{Descriptors, EventLoop, Spawner};
use crate::execute::Context;
use crate::input::Input;
use crate::latency::{Command, Sample};
use crate::listener::{Accepted, Stream};
use crate::shared::{Connection, Shared};
use crate::socket::Socket;
use crate::stats_conns::State;
use crate::tls;
use crate::watch::Watch;
use nuthatch_protocol::keys_ahead;
use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::{AsRawFd as _, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::{mpsc, watch};
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
    pub(crate) async fn let_others_be_read(&self, input: &Input) -> Now {
        let Shared { store, clock, .. } = &*self.shared;
        if !input.is_short() {
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
            // Behind the others who have something to do.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.batch.leave(store, clock)
    }

    async fn run(
        self,
        spawner: Rc<Spawner>,
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
                        let Accepted { stream, connection } = accepted;
                        let (fd, security) = match stream {
                            Stream::Tcp(stream, security) => (stream.into(), security),
                            Stream::Unix(stream) => (stream.into(), Security::None),
                        };
                        let worker = Rc::clone(&worker);
                        spawner.spawn(fd, move |socket| {
                            let counters = Arc::clone(&worker.counters);
                            let task = converse(socket, security, worker, connection);
                            counters.task_len.store(size_of_val(&task) as u64, Ordering::Relaxed);
                            task
                        });
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

/// Serves a client; its connection is counted until the end.
async fn converse(socket: Socket, security: Security, worker: Rc<Worker>, _connected: Connection) {
    let shared = worker.shared();
    let now = shared.clock.now().time;
    let listed = shared.sockets.list(socket.as_raw_fd(), State::Reading, now);
    if security == Security::None {
        connection::serve_listed(socket, &worker, Some(&listed)).await;
    } else {
        // In a box, or every connection would have room for the state of TLS.
        Box::pin(tls::serve(socket, security, &worker, &listed)).await;
    }
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
    runtime: tokio::runtime::Handle,
) -> io::Result<Handle> {
    let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
    let descriptors = Descriptors::open()?;
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            // Timers, and what tells of new clients and of the end, are the main thread's.
            let _runtime = runtime.enter();
            let worker = Worker::new(shared);
            let event_loop = EventLoop::new(descriptors);
            let main = worker.run(event_loop.spawner(), index, receiver, stop);
            if let Err(error) = event_loop.run(main) {
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
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn shared(flags: &[&str]) -> Arc<Shared> {
        let flags = Flags::try_parse_from([&["nuthatch", "-t", "1"], flags].concat()).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        Shared::new(&config, Clock::manual(), LogLevel::default())
    }

    #[test]
    fn all_are_read_before_one_is_answered_and_a_stop_waits_for_the_answers() {
        let worker = Rc::new(Worker::new(shared(&[])));
        let event_loop = EventLoop::new(Descriptors::open().unwrap());
        let spawner = event_loop.spawner();
        let main = async move {
            let (done, mut is_done) = mpsc::unbounded_channel();
            let begin = |client| {
                let (worker, done) = (Rc::clone(&worker), done.clone());
                let (_, socket) = UnixStream::pair().unwrap();
                spawner.spawn(socket.into(), move |_| async move {
                    done.send(("read", client, worker.sending.get())).unwrap();
                    let input = Input::new(b"get a\r\n".to_vec());
                    worker.let_others_be_read(&input).await;
                    done.send(("answered", client, worker.sending.get()))
                        .unwrap();
                });
            };
            // However often: who has been answered no longer takes up room among those who wait.
            for _ in 0..WAITING_MAX {
                (1..=3).for_each(begin);
                for step in [
                    ("read", 1, 0),
                    ("read", 2, 1),
                    ("read", 3, 2),
                    ("answered", 1, 2),
                    ("answered", 2, 1),
                    ("answered", 3, 0),
                ] {
                    assert_eq!(is_done.recv().await, Some(step));
                }
            }
        };
        event_loop.run(main).unwrap();
    }

    #[test]
    fn what_was_read_before_a_stop_is_answered_however_many_turns_it_takes() {
        const REQUESTS: usize = 1000;
        let shared = shared(&["-R", "1"]);
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let timers = runtime.handle().clone();
        let worker = spawn(Arc::clone(&shared), 0, stopped, timers).unwrap();
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
        let joined = runtime.spawn_blocking(|| worker.join());
        runtime.block_on(joined).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), b"MN\r\n".len() * (REQUESTS - 1));
    }
}
