//! [`Reply`] and [`ReplyReader`]: takes replies off a stream, and lets none pass that cannot be the answer.

use crate::codec::{LEASE, NOTHING, TOMBSTONE};
use crate::op::{Dialect, Op, Verb};
use bytes::{Buf, Bytes, BytesMut};
use nuthatch_protocol::limits::VALUE_LEN_MAX;
use nuthatch_protocol::{
    DecodedReply, ErrorKind, ErrorReply, MetaReply, MetaStatus, ReplyDecoder, Response, ValueHeader,
};

/// Values up to this length are copied out of the read buffer; longer ones keep their part of it, so that no small
/// value that somebody holds on to keeps a large buffer alive.
const COPY_LEN_MAX: usize = 8192;

/// Of many values at once, those up to this length share buffers of this length.
const PACK_LEN_MAX: usize = 1024;
const PACK_LEN: usize = 16 * 1024;

/// Most lines of statistics.
const STATS_MAX: usize = 65_536;

/// How long an item has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeLeft {
    /// The server's dialect cannot tell.
    #[default]
    Unknown,
    /// It lives until it is deleted or evicted.
    Forever,
    /// Whole seconds, rounded down by most servers.
    Seconds(u32),
}

/// An item as a node sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawItem {
    pub(crate) value: Bytes,
    pub(crate) client_flags: u32,
    pub(crate) cas: Option<u64>,
    pub(crate) time_left: TimeLeft,
    /// It has been marked as stale.
    pub(crate) stale: bool,
    pub(crate) turn: Turn,
}

/// Whose turn the server says it is to make an item anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nobody's.
    #[default]
    None,
    /// That of who gets this reply.
    Own,
    /// Another's.
    Others,
}

impl RawItem {
    /// Whether it only keeps the place of a value that somebody is loading, as the server made it.
    pub(crate) fn is_place(&self) -> bool {
        self.turn != Turn::None && self.client_flags == 0 && self.value.is_empty()
    }
}

/// A node's answer to one op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Item(RawItem),
    /// Of each key that was asked for, in that order.
    Items(Vec<Option<RawItem>>),
    Miss,
    /// With the new cas unique, if the dialect tells.
    Done(Option<u64>),
    /// The condition of the mode did not hold.
    NotStored,
    /// The item has another cas unique.
    Exists,
    /// Nothing is there to work on.
    NotFound,
    Number(u64),
    Stats(Vec<(String, String)>),
    Version(String),
    /// An error line; the connection goes on.
    Refused(String),
    /// Never sent: the dialect cannot say it.
    NoWords,
}

/// The item that a lookup found; marks of this client's own are misses.
pub(crate) fn hit(reply: Reply) -> Option<RawItem> {
    match reply {
        Reply::Item(item) if item.is_place() => None,
        Reply::Item(item) if !matches!(item.client_flags, TOMBSTONE | NOTHING | LEASE) => {
            Some(item)
        }
        _ => None,
    }
}

/// The stream is no longer to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutOfStep(pub(crate) &'static str);

/// The state of the reply that is arriving.
#[derive(Debug)]
pub(crate) struct ReplyReader {
    decoder: ReplyDecoder,
    value_len_max: u64,
    part: Part,
    /// Of a lookup of many keys, those that have come, and `None` for those that were passed over.
    items: Vec<Option<RawItem>>,
    /// Where the next small value of such a lookup goes.
    pack: BytesMut,
}

#[derive(Debug)]
enum Part {
    Line,
    /// The head of an item has come; its value follows.
    Value(RawItem, usize),
    /// A classic hit has come; `END` follows.
    Hit(RawItem),
    Stats(Vec<(String, String)>),
}

/// Of a reply with a value.
enum Progress {
    Incomplete,
    /// The value has come, and a line is still to come.
    Line,
    Reply(Reply),
}

impl ReplyReader {
    pub(crate) fn new(value_len_max: u64) -> Self {
        Self {
            decoder: ReplyDecoder::new(),
            value_len_max: value_len_max.min(VALUE_LEN_MAX),
            part: Part::Line,
            items: Vec::new(),
            pack: BytesMut::new(),
        }
    }

    /// The reply to `op`, once `input` holds all of it. Takes what it has understood.
    pub(crate) fn read(
        &mut self,
        op: &Op,
        dialect: Dialect,
        opaque: u64,
        input: &mut BytesMut,
    ) -> Result<Option<Reply>, OutOfStep> {
        loop {
            if let Part::Value(..) = self.part {
                match self.read_value(op, dialect, input)? {
                    Progress::Incomplete => return Ok(None),
                    Progress::Line => {}
                    Progress::Reply(reply) => return Ok(Some(reply)),
                }
            }
            let (response, line_len) = match self.decoder.decode(input) {
                DecodedReply::Incomplete => return Ok(None),
                DecodedReply::Response { response, line_len } => (response, line_len),
                _ => return Err(OutOfStep("a line that is no reply")),
            };
            let reply = if dialect.is_meta() && !op.verb.is_classic() {
                self.meta(&op.verb, opaque, response)?
            } else {
                self.classic(op, response)?
            };
            input.advance(line_len);
            if reply.is_some() {
                return Ok(reply);
            }
        }
    }

    fn read_value(
        &mut self,
        op: &Op,
        dialect: Dialect,
        input: &mut BytesMut,
    ) -> Result<Progress, OutOfStep> {
        let Part::Value(item, len) = &mut self.part else {
            return Ok(Progress::Line);
        };
        let len = *len;
        let whole = len.saturating_add(2);
        if input.len() < whole {
            // Grows with what has arrived, not with what was announced.
            input.reserve(whole.saturating_sub(input.len()).min(input.len().max(4096)));
            return Ok(Progress::Incomplete);
        }
        if input.get(len..whole) != Some(b"\r\n") {
            return Err(OutOfStep("a value that is longer than announced"));
        }
        let mut item = std::mem::take(item);
        let is_many = matches!(op.verb, Verb::GetMany(_));
        item.value = if len > COPY_LEN_MAX {
            input.split_to(len).freeze()
        } else {
            let value = input.get(..len).unwrap_or_default();
            let value = if is_many && len <= PACK_LEN_MAX {
                self.pack(value)
            } else {
                Bytes::copy_from_slice(value)
            };
            input.advance(len);
            value
        };
        input.advance(2);
        if is_many {
            self.items.push(Some(item));
            self.part = Part::Line;
            return Ok(Progress::Line);
        }
        if !dialect.is_meta() {
            self.part = Part::Hit(item);
            return Ok(Progress::Line);
        }
        self.part = Part::Line;
        if !matches!(op.verb, Verb::Arithmetic(..)) {
            return Ok(Progress::Reply(Reply::Item(item)));
        }
        let number = number(&item.value).ok_or(OutOfStep("a number that is none"))?;
        Ok(Progress::Reply(Reply::Number(number)))
    }

    /// A copy behind those of the values before it.
    fn pack(&mut self, value: &[u8]) -> Bytes {
        if self.pack.capacity() < value.len() {
            self.pack = BytesMut::with_capacity(PACK_LEN);
        }
        self.pack.extend_from_slice(value);
        self.pack.split().freeze()
    }

    fn meta(
        &mut self,
        verb: &Verb,
        opaque: u64,
        response: Response<'_>,
    ) -> Result<Option<Reply>, OutOfStep> {
        let reply = match response {
            Response::Meta(reply) => reply,
            // Error lines carry no opaque. They are the answer to the oldest request, or the next reply shows it.
            Response::Error(error) => return refused(verb, error).map(Some),
            _ => return Err(OutOfStep("a classic reply to a meta command")),
        };
        let (item, echo) = facts(reply);
        let expected = itoa::Buffer::new().format(opaque).as_bytes() == echo;
        if !expected {
            return Err(OutOfStep("the reply to another request"));
        }
        let is_number = matches!(verb, Verb::Arithmetic(..));
        let has_value = is_number || verb.is_lookup();
        Ok(Some(match reply.status {
            MetaStatus::Value(len) if has_value => {
                self.expect_value(item, len)?;
                return Ok(None);
            }
            MetaStatus::Done if !has_value => Reply::Done(item.cas),
            MetaStatus::Miss if matches!(verb, Verb::Touch(_)) => Reply::NotFound,
            MetaStatus::Miss if has_value && !is_number => Reply::Miss,
            MetaStatus::NotFound => Reply::NotFound,
            MetaStatus::NotStored => Reply::NotStored,
            MetaStatus::Exists => Reply::Exists,
            _ => return Err(OutOfStep("a reply of another kind")),
        }))
    }

    fn expect_value(&mut self, item: RawItem, len: u64) -> Result<(), OutOfStep> {
        let fits = usize::try_from(len)
            .ok()
            .filter(|_| len <= self.value_len_max);
        let len = fits.ok_or(OutOfStep("a value above the client's limit"))?;
        self.part = Part::Value(item, len);
        Ok(())
    }

    fn classic(&mut self, op: &Op, response: Response<'_>) -> Result<Option<Reply>, OutOfStep> {
        let part = std::mem::replace(&mut self.part, Part::Line);
        Ok(Some(match (&op.verb, response, part) {
            (verb, Response::Value(header), Part::Line) if verb.is_lookup() => {
                if header.key.as_bytes() != &op.key.text[..] {
                    return Err(OutOfStep("the value of another key"));
                }
                self.expect_value(RawItem::from(header), header.value_len)?;
                return Ok(None);
            }
            (Verb::GetMany(keys), Response::Value(header), Part::Line) => {
                let position = keys.find(header.key, self.items.len());
                let position = position.ok_or(OutOfStep("the value of another key"))?;
                if self.items.capacity() == 0 {
                    self.items.reserve_exact(keys.len());
                }
                self.items.resize(position, None);
                self.expect_value(RawItem::from(header), header.value_len)?;
                return Ok(None);
            }
            (Verb::GetMany(keys), Response::End, Part::Line) => {
                let mut items = std::mem::take(&mut self.items);
                items.resize(keys.len(), None);
                Reply::Items(items)
            }
            (Verb::GetMany(_), Response::Error(_), _) if !self.items.is_empty() => {
                return Err(OutOfStep("half of an answer"));
            }
            (verb, Response::End, Part::Hit(item)) if verb.is_lookup() => Reply::Item(item),
            (verb, Response::End, Part::Line) if verb.is_lookup() => Reply::Miss,
            (Verb::Stats(_), Response::Stat { name, value }, part) => {
                let mut stats = match part {
                    Part::Stats(stats) => stats,
                    _ => Vec::new(),
                };
                if stats.len() >= STATS_MAX {
                    return Err(OutOfStep("statistics without end"));
                }
                stats.push((text(name), text(value)));
                self.part = Part::Stats(stats);
                return Ok(None);
            }
            (Verb::Stats(_), Response::End, Part::Stats(stats)) => Reply::Stats(stats),
            (Verb::Stats(_), Response::End | Response::Reset | Response::Ok, Part::Line) => {
                Reply::Stats(Vec::new())
            }
            (Verb::Version, Response::Version(version), _) => Reply::Version(text(version)),
            (Verb::FlushAll(_), Response::Ok, _)
            | (Verb::Store(_) | Verb::DeleteCas(_), Response::Stored, _)
            | (Verb::Delete, Response::Deleted, _)
            | (Verb::Touch(_), Response::Touched, _) => Reply::Done(None),
            (Verb::Store(_), Response::NotStored, _) => Reply::NotStored,
            (Verb::Store(_) | Verb::DeleteCas(_), Response::Exists, _) => Reply::Exists,
            (
                Verb::Store(_)
                | Verb::DeleteCas(_)
                | Verb::Delete
                | Verb::Touch(_)
                | Verb::Arithmetic(..),
                Response::NotFound,
                _,
            ) => Reply::NotFound,
            (Verb::Arithmetic(..), Response::Number(number), _) => Reply::Number(number),
            (verb, Response::Error(error), Part::Line) => refused(verb, error)?,
            _ => return Err(OutOfStep("a reply of another kind")),
        }))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that finds fault with the line of a storage command may take the value for commands.
fn refused(verb: &Verb, error: ErrorReply<'_>) -> Result<Reply, OutOfStep> {
    let has_value = matches!(verb, Verb::Store(_) | Verb::DeleteCas(_));
    if has_value && error.kind() != ErrorKind::Server {
        return Err(OutOfStep("a storage command that was not understood"));
    }
    Ok(Reply::Refused(text(error.line())))
}

/// What a reply's flags say of the item, and the opaque.
fn facts(reply: MetaReply<'_>) -> (RawItem, &[u8]) {
    let mut item = RawItem::default();
    let mut opaque: &[u8] = b"";
    for (letter, argument) in reply.flags() {
        match letter {
            b'O' => opaque = argument,
            b'f' => item.client_flags = number(argument).unwrap_or_default(),
            b'c' => item.cas = number(argument),
            b't' => {
                item.time_left = if argument == b"-1" {
                    TimeLeft::Forever
                } else {
                    number(argument).map_or(TimeLeft::Unknown, TimeLeft::Seconds)
                };
            }
            b'X' => item.stale = true,
            b'W' => item.turn = Turn::Own,
            b'Z' => item.turn = Turn::Others,
            _ => {}
        }
    }
    (item, opaque)
}

pub(crate) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    str::from_utf8(text).ok()?.parse().ok()
}

impl From<ValueHeader<'_>> for RawItem {
    fn from(header: ValueHeader<'_>) -> Self {
        Self {
            client_flags: header.client_flags,
            cas: header.cas,
            ..Self::default()
        }
    }
}
