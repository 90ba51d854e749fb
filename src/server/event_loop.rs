//! [`EventLoop`]: what one thread does: it waits for sockets, and lets the tasks that have them go on.

use crate::socket::{Readiness, Socket};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll as Selector, Token};
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use std::{fmt, io};

/// Sockets that the system tells of at once; of others it tells when it is asked again.
const EVENTS_MAX: usize = 1024;

/// How often each task may go on before sockets are looked at again: once to read, once to answer what was read
/// together with others ([`crate::batch`]).
const TURNS: usize = 2;

/// The first task: with its end, everything ends.
const MAIN: usize = 0;

/// What is told by the system when another thread has woken a task.
const WOKEN: Token = Token(usize::MAX);

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks of one thread, each but the main one with a socket: one goes on when the system tells something new of its
/// socket, or when it was woken.
pub(crate) struct EventLoop {
    selector: Selector,
    tasks: Slab<Task>,
    /// Whose turn it is, the first come first.
    queue: VecDeque<usize>,
    woken: Arc<Woken>,
    spawner: Rc<Spawner>,
}

struct Task {
    work: Work,
    readiness: Rc<Readiness>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
    is_queued: bool,
}

/// Makes the task of a socket.
type Make = Box<dyn FnOnce(Socket) -> Work>;

/// Takes new tasks.
#[derive(Default)]
pub(crate) struct Spawner(RefCell<Vec<(OwnedFd, Make)>>);

impl Spawner {
    /// Begins a task with this socket, which does not block.
    pub(crate) fn spawn<F>(&self, socket: OwnedFd, make: impl FnOnce(Socket) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let make = |socket| Box::pin(make(socket)) as Work;
        self.0.borrow_mut().push((socket, Box::new(make)));
    }
}

/// Who was woken, by any thread.
#[derive(Debug)]
struct Woken {
    list: Mutex<List>,
    /// Ends the wait for sockets.
    waker: mio::Waker,
}

#[derive(Debug, Default)]
struct List {
    tasks: Vec<usize>,
    /// Nobody looks here until the wait for sockets ends.
    is_asleep: bool,
}

impl Woken {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What wakes a task.
#[derive(Debug)]
struct Wakeup {
    task: usize,
    /// It is in the list already.
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.woken.list();
        list.tasks.push(self.task);
        let is_asleep = mem::take(&mut list.is_asleep);
        drop(list);
        if is_asleep && let Err(error) = self.woken.waker.wake() {
            tracing::error!(%error, "a worker sleeps on");
        }
    }
}

/// What a loop waits with. Another thread may open it, and say what fails.
#[derive(Debug)]
pub(crate) struct Descriptors {
    selector: Selector,
    waker: mio::Waker,
}

impl Descriptors {
    pub(crate) fn open() -> io::Result<Self> {
        let selector = Selector::new()?;
        let waker = mio::Waker::new(selector.registry(), WOKEN)?;
        Ok(Self { selector, waker })
    }
}

impl EventLoop {
    pub(crate) fn new(Descriptors { selector, waker }: Descriptors) -> Self {
        let list = Mutex::default();
        Self {
            selector,
            tasks: Slab::new(),
            queue: VecDeque::new(),
            woken: Arc::new(Woken { list, waker }),
            spawner: Rc::default(),
        }
    }

    /// What begins tasks.
    pub(crate) fn spawner(&self) -> Rc<Spawner> {
        Rc::clone(&self.spawner)
    }

    /// Runs until `main` ends. Whoever is not done by then is dropped.
    ///
    /// A task that panics is over, and nothing else is; but for `main`, of course.
    pub(crate) fn run(mut self, main: impl Future<Output = ()> + 'static) -> io::Result<()> {
        let readiness = Rc::default();
        self.add(readiness, Box::pin(main));
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut woken = Vec::new();
        loop {
            self.wait(&mut events)?;
            for _ in 0..TURNS {
                self.queue_woken(&mut woken);
                self.take_turns();
                if !self.tasks.contains(MAIN) {
                    return Ok(());
                }
                self.adopt();
            }
        }
    }

    /// Looks at all sockets, and waits for them if nobody else has anything to do.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let mut list = self.woken.list();
        let is_idle = self.queue.is_empty() && list.tasks.is_empty();
        list.is_asleep = is_idle;
        drop(list);
        let patience = if is_idle { None } else { Some(Duration::ZERO) };
        match self.selector.poll(events, patience) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &*events {
            let Token(index) = event.token();
            if let Some(task) = self.tasks.get_mut(index) {
                task.readiness.add(event);
                if !mem::replace(&mut task.is_queued, true) {
                    self.queue.push_back(index);
                }
            }
        }
        Ok(())
    }

    /// Whoever was woken gets a turn.
    fn queue_woken(&mut self, woken: &mut Vec<usize>) {
        let mut list = self.woken.list();
        list.is_asleep = false;
        mem::swap(&mut list.tasks, woken);
        drop(list);
        for index in woken.drain(..) {
            if let Some(task) = self.tasks.get_mut(index) {
                // It may be woken again from here on.
                task.wakeup.is_woken.swap(false, Ordering::AcqRel);
                if !mem::replace(&mut task.is_queued, true) {
                    self.queue.push_back(index);
                }
            }
        }
    }

    /// Lets everybody in the queue go on, once.
    fn take_turns(&mut self) {
        for _ in 0..self.queue.len() {
            let Some(index) = self.queue.pop_front() else {
                return;
            };
            let Some(task) = self.tasks.get_mut(index) else {
                continue;
            };
            task.is_queued = false;
            task.readiness.begin_turn();
            let mut context = Context::from_waker(&task.waker);
            let work = &mut task.work;
            let go_on = AssertUnwindSafe(|| work.as_mut().poll(&mut context));
            let is_over = if index == MAIN {
                go_on().is_ready()
            } else {
                // Of what the panic says, the hook has told.
                catch_unwind(go_on).map_or(true, |polled| polled.is_ready())
            };
            if is_over {
                self.tasks.remove(index);
            }
        }
    }

    /// Takes the new tasks in.
    fn adopt(&mut self) {
        for (fd, make) in self.spawner.0.take() {
            let readiness = Rc::<Readiness>::default();
            let token = Token(self.tasks.vacant_key());
            let registered = self.selector.registry().register(
                &mut SourceFd(&fd.as_raw_fd()),
                token,
                Interest::READABLE | Interest::WRITABLE,
            );
            if let Err(error) = registered {
                tracing::debug!(%error, "connection lost before it was served");
                continue;
            }
            let socket = Socket::new(fd, Rc::clone(&readiness));
            self.add(readiness, make(socket));
        }
    }

    fn add(&mut self, readiness: Rc<Readiness>, work: Work) {
        let entry = self.tasks.vacant_entry();
        let index = entry.key();
        let wakeup = Arc::new(Wakeup {
            task: index,
            is_woken: AtomicBool::default(),
            woken: Arc::clone(&self.woken),
        });
        entry.insert(Task {
            work,
            readiness,
            waker: Arc::clone(&wakeup).into(),
            wakeup,
            is_queued: true,
        });
        self.queue.push_back(index);
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("EventLoop");
        shown.field("tasks", &self.tasks.len());
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs::File;
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::task::Poll;
    use std::thread;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::mpsc;

    fn run<F>(main: impl FnOnce(Rc<Spawner>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let event_loop = EventLoop::new(Descriptors::open().unwrap());
        let main = main(event_loop.spawner());
        event_loop.run(main).unwrap();
    }

    /// Both ends of a socket; that of the server does not block.
    fn pair() -> (UnixStream, OwnedFd) {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server.into())
    }

    async fn echo(mut socket: Socket) {
        let (mut reader, mut writer) = tokio::io::split(&mut socket);
        drop(tokio::io::copy(&mut reader, &mut writer).await);
    }

    fn is_echoed(mut client: &UnixStream) {
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }

    async fn go_on() {
        let mut is_next = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if mem::replace(&mut is_next, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    #[test]
    fn who_goes_after_few_words_is_noticed() {
        // Both before anybody looks, so that there is one event for them; and one after the other.
        for is_told_at_once in [true, false] {
            let (mut client, server) = pair();
            client.write_all(b"bye").unwrap();
            let client = Cell::new(Some(client));
            if is_told_at_once {
                client.take();
            }
            run(|spawner| async move {
                let (done, mut is_done) = mpsc::unbounded_channel();
                spawner.spawn(server, move |mut socket| async move {
                    let mut words = [0; 100];
                    let mut lens = Vec::new();
                    for _ in 0..2 {
                        lens.push(socket.read(&mut words).await.unwrap());
                        client.take();
                    }
                    done.send(lens).unwrap();
                });
                assert_eq!(is_done.recv().await.unwrap(), [3, 0]);
            });
        }
    }

    #[test]
    fn who_writes_more_than_there_is_room_for_goes_on_when_it_is_read() {
        const LEN: usize = 5 << 20;
        let (mut client, server) = pair();
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            bytes
        });
        run(|spawner| async move {
            let (done, mut is_done) = mpsc::unbounded_channel();
            spawner.spawn(server, move |mut socket| async move {
                let bytes: Vec<_> = (0..=250).cycle().take(LEN).collect();
                socket.write_all(&bytes).await.unwrap();
                done.send(()).unwrap();
            });
            is_done.recv().await.unwrap();
        });
        let bytes = reading.join().unwrap();
        assert!((0..=250).cycle().take(LEN).eq(bytes));
    }

    #[test]
    fn another_thread_wakes_it_at_any_moment() {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let (answer, mut answered) = mpsc::unbounded_channel();
        let other = thread::spawn(move || {
            while let Some(number) = asked.blocking_recv() {
                answer.send(number).unwrap();
            }
        });
        run(|_| async move {
            for number in 0..10_000 {
                ask.send(number).unwrap();
                assert_eq!(answered.recv().await, Some(number));
            }
        });
        other.join().unwrap();
    }

    #[test]
    fn a_panic_ends_one_task_and_a_file_that_is_no_socket_begins_none() {
        let (mut unlucky, server) = pair();
        let (client, other) = pair();
        let event_loop = EventLoop::new(Descriptors::open().unwrap());
        let spawner = event_loop.spawner();
        let file = File::open("/proc/self/exe").unwrap();
        spawner.spawn(file.into(), |_| async { panic!("it is no socket") });
        spawner.spawn(server, |_socket| async { panic!("on purpose") });
        spawner.spawn(other, echo);
        let (stop, mut stopped) = mpsc::unbounded_channel::<()>();
        let client = thread::spawn(move || {
            assert_eq!(unlucky.read(&mut [0]).unwrap(), 0);
            is_echoed(&client);
            drop(stop);
            // With the main task everybody's ends.
            assert_eq!((&client).read(&mut [0]).unwrap(), 0);
        });
        event_loop
            .run(async move {
                stopped.recv().await;
            })
            .unwrap();
        client.join().unwrap();
    }

    #[test]
    fn who_never_rests_does_not_keep_sockets_from_being_looked_at() {
        let (client, server) = pair();
        let client = thread::spawn(move || is_echoed(&client));
        run(|spawner| async move {
            spawner.spawn(server, echo);
            while !client.is_finished() {
                go_on().await;
            }
            client.join().unwrap();
        });
    }

    #[test]
    fn of_whom_the_system_does_not_tell_at_once_it_tells_later() {
        const AT_ONCE: usize = 2;
        let mut event_loop = EventLoop::new(Descriptors::open().unwrap());
        let mut clients = Vec::new();
        for _ in 0..=AT_ONCE {
            let (client, server) = pair();
            event_loop.spawner.spawn(server, echo);
            clients.push(client);
        }
        event_loop.adopt();
        event_loop.queue.clear();
        event_loop
            .tasks
            .iter_mut()
            .for_each(|(_, task)| task.is_queued = false);
        let mut events = Events::with_capacity(AT_ONCE);
        event_loop.wait(&mut events).unwrap();
        assert_eq!(event_loop.queue.len(), AT_ONCE);
        event_loop.wait(&mut events).unwrap();
        assert_eq!(event_loop.queue.len(), AT_ONCE + 1);
    }

    #[test]
    fn who_is_woken_often_goes_on_once() {
        let mut event_loop = EventLoop::new(Descriptors::open().unwrap());
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let often = poll_fn(move |context| {
            counted.set(counted.get() + 1);
            for _ in 0..1000 {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        });
        event_loop.add(Rc::default(), Box::pin(often));
        for turn in 1..10 {
            event_loop.queue_woken(&mut Vec::new());
            event_loop.take_turns();
            assert_eq!(polls.get(), turn);
            assert_eq!(event_loop.woken.list().tasks.len(), 1);
        }
    }
}
