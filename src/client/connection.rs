//! [`Connection`]: one stream that many callers share. Requests go out in the order in which they were submitted, and
//! replies come back in that order; each reply of a meta command must carry the number of its request besides.
//!
//! Callers wait on a channel of their own. One who has gone before the request was written is skipped; one who has gone
//! after that has its reply read and dropped. Whatever does not fit ends the connection, and every request that was
//! under way with it.

use crate::op::{Dialect, NoWords, Op, Store, Verb};
use crate::reply::{OutOfStep, Reply, ReplyReader};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

/// Bytes that may wait to be written before no more requests are taken.
const OUTPUT_LEN_MAX: usize = 256 * 1024;

/// Requests that may wait for replies before no more are taken.
const IN_FLIGHT_MAX: usize = 16_384;

/// From this length on, a value is written from where it is and not copied first.
const COPY_LEN_MAX: usize = 16 * 1024;

/// What a read buffer begins with, and the least that a read has room for.
const READ_LEN: usize = 64 * 1024;

/// How many ticks make the time after which a silent server is given up.
const STALL_TICKS: u32 = 4;

/// Commands that go to one connection in a row, and who waits for the replies.
#[derive(Debug)]
pub(crate) enum Submission {
    One(Op, oneshot::Sender<Outcome<Reply>>),
    Many(Vec<Op>, oneshot::Sender<Outcome<Vec<Reply>>>),
}

/// The replies; or why there are none.
pub(crate) type Outcome<T> = Result<T, Lost>;

/// No reply will come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) why: String,
    /// The request may have been carried out all the same.
    pub(crate) was_sent: bool,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All who could submit are gone.
    Unused,
    /// The server closed it while nothing was under way.
    Idle,
    /// It broke.
    Broken(String),
}

#[derive(Debug)]
pub(crate) struct Limits {
    /// A server that owes replies and sends nothing for this long is given up.
    pub(crate) stall: Duration,
    pub(crate) value_len_max: u64,
}

#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    dialect: Dialect,
    input: BytesMut,
    output: Output,
    in_flight: VecDeque<InFlight>,
    replies: ReplyReader,
    next_opaque: u64,
    ticks: Interval,
    silent_ticks: u32,
    /// Requests wait to be written until this task has its next turn.
    has_yielded: bool,
    /// Replies that the last read brought.
    answered: usize,
    /// Whether any request has been answered.
    pub(crate) has_served: bool,
}

/// A submission whose requests have been written, or are about to be.
#[derive(Debug)]
struct InFlight {
    /// The number of the request whose reply is due; the rest follow it.
    opaque: u64,
    submission: Submission,
    /// Of `Submission::Many`.
    replies: Vec<Reply>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S, dialect: Dialect, limits: &Limits) -> Self {
        let tick = (limits.stall / STALL_TICKS).max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream,
            dialect,
            input: BytesMut::with_capacity(READ_LEN),
            output: Output::default(),
            in_flight: VecDeque::new(),
            replies: ReplyReader::new(limits.value_len_max),
            // Not from 0: nor shall a proxy pass for right what it meant for another connection.
            next_opaque: fastrand::u32(..).into(),
            ticks,
            silent_ticks: 0,
            has_yielded: false,
            answered: 0,
            has_served: false,
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Serves the queue, `first` before it, until the connection ends; all that is under way then is told so.
    pub(crate) async fn serve(
        &mut self,
        first: Option<Submission>,
        queue: &mut mpsc::Receiver<Submission>,
    ) -> End {
        let taken = first.map_or(Ok(()), |submission| self.take(submission));
        let end = match taken {
            Ok(()) => poll_fn(|cx| self.poll(cx, queue)).await,
            Err(broken) => End::Broken(broken),
        };
        self.fail(&end);
        end
    }

    /// Tells everybody who waits that no reply will come.
    pub(crate) fn fail(&mut self, end: &End) {
        let why = match end {
            End::Unused => "the client was closed",
            End::Idle => "the server closed the connection",
            End::Broken(why) => why,
        };
        for in_flight in self.in_flight.drain(..) {
            in_flight.submission.fail(why, true);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, queue: &mut mpsc::Receiver<Submission>) -> Poll<End> {
        match self.poll_inner(cx, queue) {
            Poll::Ready(Ok(end)) => Poll::Ready(end),
            Poll::Ready(Err(broken)) => Poll::Ready(End::Broken(broken)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut mpsc::Receiver<Submission>,
    ) -> Poll<Result<End, String>> {
        loop {
            let mut unused = false;
            let taken_before = self.next_opaque;
            while self.output.len < OUTPUT_LEN_MAX && self.in_flight.len() < IN_FLIGHT_MAX {
                match queue.poll_recv(cx) {
                    Poll::Ready(Some(submission)) => self.take(submission)?,
                    Poll::Ready(None) => {
                        unused = true;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            if unused && self.in_flight.is_empty() {
                return Poll::Ready(Ok(End::Unused));
            }
            // Of several who were waiting for replies, the first wakes this task. After the others have had their turn,
            // one write does for all of them.
            let is_busy = self.answered > 1 || self.in_flight.len() > 1;
            if is_busy && self.next_opaque != taken_before && !self.has_yielded {
                self.has_yielded = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.has_yielded = false;
            let written = self.poll_write(cx)?;
            match self.poll_read(cx)? {
                Poll::Ready(Some(end)) => return Poll::Ready(Ok(end)),
                Poll::Ready(None) => {}
                Poll::Pending if written => {}
                Poll::Pending => {
                    ready!(self.poll_stall(cx))?;
                }
            }
        }
    }

    /// Encodes what somebody still waits for.
    fn take(&mut self, submission: Submission) -> Result<(), String> {
        if submission.is_abandoned() || submission.ops().is_empty() {
            return Ok(());
        }
        let dialect = self.dialect;
        if !submission.ops().iter().all(|op| op.is_sayable(dialect)) {
            submission.refuse();
            return Ok(());
        }
        let opaque = self.next_opaque;
        let encoded = submission.ops().iter().try_for_each(|op| {
            self.next_opaque = self.next_opaque.wrapping_add(1);
            let number = self.next_opaque.wrapping_sub(1);
            self.output.put(op, dialect, number)
        });
        self.in_flight.push_back(InFlight {
            opaque,
            submission,
            replies: Vec::new(),
        });
        encoded.map_err(|NoWords| "a request cannot be written".to_owned())
    }

    /// Whether something was written, so that there may be room again.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        let mut any = false;
        while let Some(chunk) = self.output.front() {
            match Pin::new(&mut self.stream).poll_write(cx, chunk) {
                Poll::Ready(Ok(0)) => return Err("the stream takes no more".to_owned()),
                Poll::Ready(Ok(len)) => self.output.advance(len),
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Pending => return Ok(any),
            }
            any = true;
        }
        if any && let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx) {
            return Err(error.to_string());
        }
        Ok(any)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<End>>, String> {
        if self.input.capacity().saturating_sub(self.input.len()) < READ_LEN / 4 {
            self.input.reserve(READ_LEN);
        }
        // A read that is not finished has read nothing, so that the future may be dropped.
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match read {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0)) if self.in_flight.is_empty() && self.input.is_empty() => {
                return Ok(Poll::Ready(Some(End::Idle)));
            }
            Poll::Ready(Ok(0)) => return Err("the server closed the connection".to_owned()),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(error.to_string()),
        }
        self.silent_ticks = 0;
        self.answer()
            .map_err(|OutOfStep(what)| format!("out of step: the server sent {what}"))?;
        Ok(Poll::Ready(None))
    }

    /// Hands out all replies that have arrived.
    fn answer(&mut self) -> Result<(), OutOfStep> {
        self.answered = 0;
        while let Some(front) = self.in_flight.front_mut() {
            let Some(op) = front.submission.ops().get(front.replies.len()) else {
                return Err(OutOfStep("a reply too many"));
            };
            let read = self
                .replies
                .read(op, self.dialect, front.opaque, &mut self.input)?;
            let Some(reply) = read else { return Ok(()) };
            self.has_served = true;
            self.answered = self.answered.saturating_add(1);
            front.opaque = front.opaque.wrapping_add(1);
            let count = front.submission.ops().len();
            if count > 1 {
                front.replies.reserve_exact(count);
                front.replies.push(reply);
                if front.replies.len() == count
                    && let Some(done) = self.in_flight.pop_front()
                {
                    done.submission.finish(done.replies);
                }
            } else if let Some(done) = self.in_flight.pop_front() {
                done.submission.finish_one(reply);
            }
        }
        if self.input.is_empty() {
            Ok(())
        } else {
            Err(OutOfStep("what nobody asked for"))
        }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            ready!(self.ticks.poll_tick(cx));
            if self.in_flight.is_empty() {
                self.silent_ticks = 0;
                continue;
            }
            self.silent_ticks = self.silent_ticks.saturating_add(1);
            if self.silent_ticks > STALL_TICKS {
                return Poll::Ready(Err("the server owes replies and sends nothing".to_owned()));
            }
        }
    }
}

impl Submission {
    pub(crate) fn ops(&self) -> &[Op] {
        match self {
            Self::One(op, _) => std::slice::from_ref(op),
            Self::Many(ops, _) => ops,
        }
    }

    /// Whether nobody waits for the replies any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::One(_, caller) => caller.is_closed(),
            Self::Many(_, caller) => caller.is_closed(),
        }
    }

    /// Callers may have gone, which is theirs to choose.
    fn finish_one(self, reply: Reply) {
        match self {
            Self::One(_, caller) => {
                let _ = caller.send(Ok(reply));
            }
            Self::Many(_, caller) => {
                let _ = caller.send(Ok(vec![reply]));
            }
        }
    }

    fn finish(self, replies: Vec<Reply>) {
        if let Self::Many(_, caller) = self {
            let _ = caller.send(Ok(replies));
        }
    }

    /// No reply will come.
    pub(crate) fn fail(self, why: &str, was_sent: bool) {
        let lost = Lost {
            why: why.to_owned(),
            was_sent,
        };
        match self {
            Self::One(_, caller) => {
                let _ = caller.send(Err(lost));
            }
            Self::Many(_, caller) => {
                let _ = caller.send(Err(lost));
            }
        }
    }

    /// The dialect has no words for one of them.
    fn refuse(self) {
        match self {
            Self::One(..) => self.finish_one(Reply::NoWords),
            Self::Many(ref ops, _) => {
                let replies = vec![Reply::NoWords; ops.len()];
                self.finish(replies);
            }
        }
    }
}

/// What waits to be written: requests in one buffer, large values by reference between them.
#[derive(Debug, Default)]
struct Output {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Output {
    fn put(&mut self, op: &Op, dialect: Dialect, opaque: u64) -> Result<(), NoWords> {
        let before = self.tail.len();
        op.encode(dialect, opaque, &mut self.tail)?;
        if let Verb::Store(Store { value, .. }) = &op.verb {
            if value.len() < COPY_LEN_MAX {
                self.tail.put_slice(value);
                self.tail.put_slice(b"\r\n");
            } else {
                let head = self.tail.split().freeze();
                self.len = self.len.saturating_add(head.len()).saturating_sub(before);
                self.len = self.len.saturating_add(value.len()).saturating_add(2);
                self.chunks.extend([head, value.clone()]);
                self.tail.put_slice(b"\r\n");
                return Ok(());
            }
        }
        let added = self.tail.len().saturating_sub(before);
        self.len = self.len.saturating_add(added);
        Ok(())
    }

    fn front(&self) -> Option<&[u8]> {
        let chunk = self.chunks.front().map_or(&self.tail[..], |chunk| chunk);
        (!chunk.is_empty()).then_some(chunk)
    }

    fn advance(&mut self, len: usize) {
        self.len = self.len.saturating_sub(len);
        match self.chunks.front_mut() {
            Some(chunk) if chunk.len() > len => chunk.advance(len),
            Some(_) => {
                self.chunks.pop_front();
            }
            None => self.tail.advance(len.min(self.tail.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyPolicy;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::{sleep, timeout};

    /// The clock stands still, and goes on to what is waited for next when nobody has anything else to do.
    #[tokio::test(start_paused = true)]
    async fn a_server_is_given_up_when_it_was_silent_for_so_long_while_it_owed_a_reply() {
        let stall = Duration::from_secs(8);
        let limits = Limits {
            stall,
            value_len_max: 1024,
        };
        let (near, mut far) = tokio::io::duplex(1024);
        let (sender, mut queue) = mpsc::channel(1);
        let mut connection = Connection::new(near, Dialect::Classic, &limits);
        let serving = tokio::spawn(async move { connection.serve(None, &mut queue).await });
        // Nothing is owed.
        sleep(stall * 100).await;
        let get = Op {
            key: KeyPolicy::Reject.wire_key(b"k").unwrap(),
            verb: Verb::Get,
        };
        let (caller, reply) = oneshot::channel();
        sender.send(Submission::One(get, caller)).await.unwrap();
        // A reply that takes its time, but comes.
        for part in ["VALUE k", " 0 ", "1"] {
            sleep(Duration::from_millis(7999)).await;
            assert!(!serving.is_finished(), "before {part}");
            far.write_all(part.as_bytes()).await.unwrap();
        }
        let moment = Duration::from_millis(1);
        sleep(stall.saturating_sub(moment)).await;
        assert!(!serving.is_finished());
        let end = timeout(stall / STALL_TICKS + moment, serving).await;
        let end = end.unwrap().unwrap();
        assert!(matches!(end, End::Broken(_)), "{end:?}");
        assert!(reply.await.unwrap().unwrap_err().was_sent);
    }
}
