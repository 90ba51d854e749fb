//! One connection: read, decode, execute, write, until the peer leaves.

use crate::administer::{self, Administered};
use crate::auth;
use crate::body::{self, Arrived, Received};
use crate::cluster::{self, CLUSTER_HEAD};
use crate::counters::Count;
use crate::dump::Dump;
use crate::execute::Context;
use crate::input::Input;
use crate::output::Output;
use crate::socket::Transport;
use crate::stats_conns::{ListedSocket, State};
use crate::storing::Storing;
use crate::turn::Turn;
use crate::watch::Streams;
use crate::worker::Worker;
use nuthatch_protocol::{
    Decoded, Request, RequestDecoder, Response, Retrieve, is_repeated, keys_ahead,
};
use nuthatch_store::{NewValue, PREFETCH_MAX};
use std::{io, os::fd::RawFd};
use tokio::time::timeout;
use tracing::trace;

/// Answers everything that comes over `stream`, until it ends or fails.
///
/// # Cancel safety
/// May be dropped at any time: that closes the connection.
pub async fn serve<S>(stream: S, worker: &Worker)
where
    S: Transport,
{
    serve_listed(stream, worker, None).await;
}

/// The same for a socket that `stats conns` lists.
pub(crate) async fn serve_listed<S>(stream: S, worker: &Worker, listed: Option<&ListedSocket<'_>>)
where
    S: Transport,
{
    let mut input = Input::default();
    let mut decoder = RequestDecoder::new();
    let mut peer = Peer {
        stream,
        output: Output::default(),
        worker,
        listed,
    };
    if worker.shared().access.has_logins() {
        // In a box, or every idle connection would have room for it.
        if !Box::pin(peer.log_in(&mut decoder, &mut input)).await {
            return;
        }
    }
    peer.tell(None);
    let reason = loop {
        match input.fill(&mut peer.stream, worker).await {
            Ok(0) => break "normal",
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break "idle_timeout",
            Err(_) => break "error",
        }
        match peer.answer(&mut decoder, &mut input).await {
            Ok(Next::Read) => {}
            Ok(Next::Close) => break "normal",
            Err(_) => break "error",
        }
    };
    peer.tell(Some(reason));
}

/// What to do when all whole requests have been answered.
#[derive(Debug)]
enum Next {
    Read,
    Close,
}

/// Why no further request can be answered at once.
#[derive(Debug)]
enum Pause<'a> {
    /// Enough has been answered: it must be sent, or others have their turn.
    Full,
    /// The next request has not arrived whole.
    Incomplete,
    /// The next one is the last one.
    Close,
    /// The next one is wrong, or its value too large.
    Refused(Refused),
    /// The next one asks for several items; its line has so many bytes.
    Retrieve(Retrieve<'a>, usize),
    /// The next one asks for a list of all items; its line has so many bytes.
    List(Box<Dump>, usize),
    /// The next one asks to be told what happens.
    Watch(Streams, usize),
    /// The next one has a large value, of which this has arrived.
    Large(Storing<'a>, &'a [u8]),
}

/// A request whose value, if it has one, must be skipped before the answer.
#[derive(Debug)]
struct Refused {
    line_len: usize,
    body_len: u64,
    response: Response<'static>,
    noreply: bool,
}

/// The sending half of a connection, so that requests may borrow from the input meanwhile.
pub(crate) struct Peer<'w, S> {
    pub(crate) stream: S,
    pub(crate) output: Output,
    pub(crate) worker: &'w Worker,
    listed: Option<&'w ListedSocket<'w>>,
}

impl<'w, S> Peer<'w, S>
where
    S: Transport,
{
    /// Lets the client log in, and answers what has come with that; returns whether it may stay.
    async fn log_in(&mut self, decoder: &mut RequestDecoder, input: &mut Input) -> bool {
        let logins = self.worker.shared().access.logins();
        let logging_in = auth::log_in(&mut self.stream, &logins, self.worker);
        let Ok(Ok(Some(rest))) = timeout(auth::LOGIN_TIME_MAX, logging_in).await else {
            return false;
        };
        *input = Input::new(rest);
        matches!(self.answer(decoder, input).await, Ok(Next::Read))
    }

    /// Answers all whole requests in `input`, and lets go of them.
    async fn answer(
        &mut self,
        decoder: &mut RequestDecoder,
        input: &mut Input,
    ) -> io::Result<Next> {
        let mut sample = self.worker.begin_sample(input.unread());
        let now = self.worker.let_others_be_read(input).await;
        let mut turn = Turn::begin(self.worker, self.fd(), now);
        if let Some(listed) = self.listed {
            listed.answer(turn.context.now.time);
        }
        let next = loop {
            let (answered, pause) = self.answer_at_once(&mut turn, decoder, input.unread());
            // The others wait for what clients send, or go on for long.
            if !matches!(pause, Pause::Full | Pause::Incomplete | Pause::Retrieve(..))
                || answered == 0 && matches!(pause, Pause::Incomplete)
            {
                sample = None;
            }
            let used = match pause {
                Pause::Full => answered,
                Pause::Incomplete => {
                    input.consume(answered);
                    break Next::Read;
                }
                Pause::Close => break Next::Close,
                Pause::Refused(refused) => {
                    input.consume(answered);
                    Box::pin(self.refuse(&mut turn, input, refused)).await?;
                    0
                }
                Pause::Retrieve(request, line_len) => {
                    self.retrieve(&mut turn, &request).await?;
                    answered.saturating_add(line_len)
                }
                Pause::List(mut dump, line_len) => {
                    Box::pin(self.list(&mut turn, &mut dump)).await?;
                    answered.saturating_add(line_len)
                }
                Pause::Watch(streams, line_len) => {
                    if Box::pin(self.watch(&mut turn, streams)).await? {
                        break Next::Close;
                    }
                    answered.saturating_add(line_len)
                }
                Pause::Large(request, begun) => {
                    // Boxes, so that no idle connection has room for what few ever do.
                    let storing = self.store_large(&mut turn, &request, begun);
                    let behind = Box::pin(storing).await?;
                    input.restart(behind, self.worker.buffers());
                    0
                }
            };
            input.consume(used);
            self.give_way(&mut turn).await?;
        };
        input.release(self.worker.buffers());
        self.flush(&mut turn).await?;
        if let Some(sample) = sample {
            self.worker.end_sample(sample);
        }
        self.show(State::Reading);
        Ok(next)
    }

    /// The descriptor, as far as anybody knows it.
    fn fd(&self) -> RawFd {
        self.listed.map_or(-1, ListedSocket::fd)
    }

    /// What to execute requests with, now.
    fn context(&self) -> Context<'w> {
        self.worker.context(self.fd(), self.worker.now())
    }

    /// Tells who watches that the client has come or, for a reason, gone.
    fn tell(&self, gone: Option<&str>) {
        let context = self.context();
        context.watch.connected(gone, context.now.unix_millis);
    }

    pub(crate) fn show(&self, state: State) {
        if let Some(listed) = self.listed {
            listed.set(state);
        }
    }

    /// Answers requests for as long as nothing must be waited for; returns how many bytes they took, and why it
    /// stopped.
    fn answer_at_once<'a>(
        &mut self,
        turn: &mut Turn<'w>,
        decoder: &mut RequestDecoder,
        input: &'a [u8],
    ) -> (usize, Pause<'a>) {
        let mut unread = input;
        // That of the first request has been begun with others', or would be in vain.
        let mut until_prefetch = 1usize;
        let pause = loop {
            self.output.make_room(self.worker.buffers());
            let used = match decoder.decode(unread) {
                Decoded::Request { request, line_len } => {
                    // Not before a whole request is there: who sends one byte by byte would be looked at as often.
                    if until_prefetch == 0 && !is_repeated(unread, line_len) {
                        turn.context.prefetch(keys_ahead(unread));
                        until_prefetch = PREFETCH_MAX;
                    }
                    until_prefetch = until_prefetch.saturating_sub(1);
                    match self.execute(turn, &request, line_len, unread) {
                        Ok(used) => used,
                        Err(pause) => break pause,
                    }
                }
                Decoded::Incomplete => break Pause::Incomplete,
                Decoded::Refused { refusal, line_len } => {
                    break Pause::Refused(Refused {
                        line_len,
                        body_len: refusal.body_len,
                        response: Response::Error(refusal.reply),
                        noreply: refusal.noreply,
                    });
                }
                // Also for what a later version of the protocol may find in a line.
                Decoded::Hangup | _ => break Pause::Close,
            };
            unread = unread.get(used..).unwrap_or_default();
            turn.requests_left = turn.requests_left.saturating_sub(1);
            if turn.is_over() || self.output.is_full() {
                break Pause::Full;
            }
        };
        (input.len().saturating_sub(unread.len()), pause)
    }

    /// Answers the request that `unread` begins with; returns how many bytes it took.
    #[inline]
    fn execute<'a>(
        &mut self,
        turn: &mut Turn<'w>,
        request: &Request<'a>,
        line_len: usize,
        unread: &'a [u8],
    ) -> Result<usize, Pause<'a>> {
        trace!(?request);
        let context = turn.context;
        if context.watch.wants_lines() {
            let line = unread.get(..line_len).unwrap_or_default();
            context.watch.sent(line, context.now);
        }
        let response = match request {
            Request::Retrieve(request) => {
                let mut keys = request.keys.into_iter();
                let Some(key) = keys.next().filter(|_| keys.is_exhausted()) else {
                    return Err(Pause::Retrieve(*request, line_len));
                };
                turn.keys_left = turn.keys_left.saturating_sub(1);
                match &self.worker.shared().cluster {
                    Some(cluster) if cluster::is_asked(request, key) => {
                        administer::put_cluster(cluster, CLUSTER_HEAD, &mut self.output)
                    }
                    _ => {
                        context.retrieve(request, key, &mut self.output);
                        Response::End
                    }
                }
            }
            Request::Store(request) => {
                return self.store(turn, Storing::Classic(*request), line_len, unread);
            }
            Request::MetaGet(request) => {
                context.meta_get(request, &mut self.output);
                turn.keys_left = turn.keys_left.saturating_sub(1);
                return Ok(line_len);
            }
            Request::MetaSet(request) => {
                return self.store(turn, Storing::Meta(*request), line_len, unread);
            }
            Request::Arithmetic(request) => {
                let times = turn.repeats(line_len, unread);
                let answer = |response| self.reply(response, request.noreply);
                context.arithmetic(request, times, answer);
                return Ok(line_len.saturating_mul(times));
            }
            Request::Delete(request) => context.delete(request),
            Request::Touch(request) => context.touch(request),
            Request::MetaDelete(request) => {
                context.meta_delete(request, &mut self.output);
                return Ok(line_len);
            }
            Request::MetaArithmetic(request) => {
                context.meta_arithmetic(request, &mut self.output);
                return Ok(line_len);
            }
            Request::MetaDebug(request) => {
                context.meta_debug(request, &mut self.output);
                return Ok(line_len);
            }
            Request::MetaNoop => Response::MetaNoop,
            Request::Quit => return Err(Pause::Close),
            request => {
                let shared = self.worker.shared();
                match administer::answer(shared, &context, request, &mut self.output) {
                    Administered::Answer(response) => response,
                    Administered::List(dump) => return Err(Pause::List(Box::new(dump), line_len)),
                    Administered::Watch(streams) => return Err(Pause::Watch(streams, line_len)),
                    Administered::Stop => return Err(Pause::Close),
                }
            }
        };
        self.reply(response, request.is_noreply());
        Ok(line_len)
    }

    fn store<'a>(
        &mut self,
        turn: &Turn<'w>,
        request: Storing<'a>,
        line_len: usize,
        unread: &'a [u8],
    ) -> Result<usize, Pause<'a>> {
        let refused = |response| {
            Pause::Refused(Refused {
                line_len,
                body_len: body::body_len(&request),
                response,
                noreply: request.noreply(),
            })
        };
        turn.context.admit(&request).map_err(refused)?;
        let after_line = unread.get(line_len..).unwrap_or_default();
        match body::arrived(&request, after_line) {
            Arrived::Value(value) => {
                let value = NewValue::Copied(value);
                let body_len = value.as_slice().len().saturating_add(body::LINE_END.len());
                turn.context.store(&request, value, &mut self.output);
                Ok(line_len.saturating_add(body_len))
            }
            Arrived::PartlyLarge => Err(Pause::Large(request, after_line)),
            Arrived::Unterminated => Err(refused(turn.context.refuse_unterminated())),
            Arrived::Partly => Err(Pause::Incomplete),
        }
    }

    async fn store_large(
        &mut self,
        turn: &mut Turn<'w>,
        request: &Storing<'_>,
        begun: &[u8],
    ) -> io::Result<Vec<u8>> {
        self.flush(turn).await?;
        self.show(State::ReadingValue);
        let arriving = turn.context.store.arriving();
        let (received, behind) =
            body::read_large(&mut self.stream, request, begun, arriving).await?;
        let read = body::body_len(request)
            .saturating_sub(begun.len() as u64)
            .saturating_add(behind.len() as u64);
        self.worker.counters().add(Count::BytesRead, read);
        turn.context = self.context();
        self.show(State::Answering);
        turn.requests_left = turn.requests_left.saturating_sub(1);
        self.output.make_room(self.worker.buffers());
        let refusal = match received {
            Received::Value(value) => {
                let value = NewValue::Owned(value);
                turn.context.store(request, value, &mut self.output);
                return Ok(behind);
            }
            Received::Unterminated => turn.context.refuse_unterminated(),
            Received::NoMemory => turn.context.refuse_value(request),
        };
        self.reply(refusal, request.noreply());
        Ok(behind)
    }

    /// Answers a request for several items.
    async fn retrieve(&mut self, turn: &mut Turn<'w>, request: &Retrieve<'_>) -> io::Result<()> {
        let mut ahead = request.keys.into_iter();
        for (number, key) in request.keys.into_iter().enumerate() {
            if number % PREFETCH_MAX == 0 {
                let keys = ahead.by_ref().take(PREFETCH_MAX);
                turn.context
                    .prefetch(keys.map(|key| (key.as_bytes(), false)));
            }
            self.output.make_room(self.worker.buffers());
            turn.context.retrieve(request, key, &mut self.output);
            turn.keys_left = turn.keys_left.saturating_sub(1);
            if turn.is_over() || self.output.is_full() {
                // In a box, or every idle connection would have room for it beside the keys.
                Box::pin(self.give_way(turn)).await?;
            }
        }
        self.output.make_room(self.worker.buffers());
        self.reply(Response::End, false);
        turn.requests_left = turn.requests_left.saturating_sub(1);
        Ok(())
    }

    pub(crate) fn reply(&mut self, response: Response<'_>, noreply: bool) {
        if !noreply {
            self.output.put(&response);
        }
    }

    /// Skips the value that belongs to a refused request, then says why.
    async fn refuse(
        &mut self,
        turn: &mut Turn<'w>,
        input: &mut Input,
        refused: Refused,
    ) -> io::Result<()> {
        input.consume(refused.line_len);
        if (input.unread().len() as u64) < refused.body_len {
            self.flush(turn).await?;
        }
        let read = body::skip(&mut self.stream, input, refused.body_len).await?;
        self.worker.counters().add(Count::BytesRead, read);
        if read > 0 {
            turn.context = self.context();
        }
        self.output.make_room(self.worker.buffers());
        self.reply(refused.response, refused.noreply);
        turn.requests_left = turn.requests_left.saturating_sub(1);
        Ok(())
    }

    /// Between two requests or keys: sends what has piled up, and lets others have their turn.
    pub(crate) async fn give_way(&mut self, turn: &mut Turn<'w>) -> io::Result<()> {
        if turn.is_over() || self.output.is_full() {
            self.flush(turn).await?;
            if turn.is_over() {
                self.worker.counters().increment(Count::ConnYields);
                // A worker that stops waits for the answers to what it has read.
                let _sending = self.worker.begin_sending();
                tokio::task::yield_now().await;
                *turn = Turn::begin(self.worker, self.fd(), self.worker.now());
            } else {
                turn.context = self.context();
            }
        }
        Ok(())
    }

    /// Sends everything that waits. That may take its time: who goes on afterwards needs a new moment.
    pub(crate) async fn flush(&mut self, turn: &mut Turn<'w>) -> io::Result<()> {
        let sending = self.worker.begin_sending();
        let sent = self
            .output
            .flush(&mut self.stream, self.worker.buffers(), || {
                self.worker.shared().store.is_held_up()
            })
            .await?;
        drop(sending);
        self.worker.counters().add(Count::BytesWritten, sent as u64);
        turn.output_left = turn.output_left.saturating_sub(sent);
        Ok(())
    }
}
