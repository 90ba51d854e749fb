//! Requests of the classic text protocol: decode and encode, next to each other.

use crate::limits::{
    GET_LEADING_SPACES_MAX, GET_LINE_LEN_MAX, LINE_LEN_MAX, LINE_LEN_MIN, LINES_AHEAD_MAX,
    TOKENS_MAX, VALUE_LEN_MAX,
};
use crate::request::{
    AdminCommand, Arithmetic, ArithmeticOp, Delete, FlushAll, FlushNamespace, MemoryLimit, Request,
    Retrieve, Storage, StorageMode, Touch, Verbosity,
};
use crate::scan::{self, Tokens};
use crate::{ErrorReply, Exptime, Key, Keys, meta};
use bytes::BufMut;

const NOREPLY: &[u8] = b"noreply";

/// What a buffer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// Not a whole line yet: call again with the same bytes and more.
    Incomplete,
    /// A request, whose line takes `line_len` bytes. The value of a storage command follows.
    Request {
        /// The request.
        request: Request<'a>,
        /// Bytes of its line, line end included.
        line_len: usize,
    },
    /// A line that is no request.
    Refused {
        /// What to answer, and what to skip first.
        refusal: Refusal,
        /// Bytes of the line, line end included.
        line_len: usize,
    },
    /// Close without a word: this is no memcached client, or it never ends its line.
    Hangup,
}

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The answer.
    pub reply: ErrorReply<'static>,
    /// The client does not want to hear it.
    pub noreply: bool,
    /// Bytes behind the line that belong to the refused request: its value and `\r\n`.
    pub body_len: u64,
}

impl Refusal {
    pub(crate) const fn new(reply: ErrorReply<'static>, noreply: bool) -> Self {
        Self {
            reply,
            noreply,
            body_len: 0,
        }
    }
}

/// Found while the line was taken apart, before anybody looked for a noreply.
pub(crate) const BAD_FORMAT: Refusal = Refusal::new(ErrorReply::BAD_FORMAT, false);

/// Decodes the requests of one connection.
///
/// It remembers how much of an unfinished line it has already searched, so that a line that arrives
/// byte by byte costs no more than one that arrives whole.
#[derive(Clone, Debug, Default)]
pub struct RequestDecoder {
    searched_len: usize,
}

impl RequestDecoder {
    /// For a new connection.
    pub const fn new() -> Self {
        Self { searched_len: 0 }
    }

    /// Decodes the request that `buf` begins with. After [`Decoded::Incomplete`], `buf` must begin
    /// with the same bytes again.
    pub fn decode<'a>(&mut self, buf: &'a [u8]) -> Decoded<'a> {
        let Some(line) = scan::line(buf, &mut self.searched_len) else {
            return if may_grow(buf) {
                Decoded::Incomplete
            } else {
                Decoded::Hangup
            };
        };
        let line_len = line.len();
        if line_len < LINE_LEN_MIN {
            return Decoded::Refused {
                refusal: BAD_FORMAT,
                line_len,
            };
        }
        let line = scan::trim_line_end(line);
        match decode_line(line) {
            Ok(request) => Decoded::Request { request, line_len },
            Err(refusal) if is_http(line, refusal) => Decoded::Hangup,
            Err(refusal) => Decoded::Refused { refusal, line_len },
        }
    }
}

/// The first keys of the requests that `buf` begins with, for who wants to fetch ahead what they are about. Nothing
/// is checked, and values are searched like lines: there may be keys too many or too few. Looks at
/// [`LINES_AHEAD_MAX`] lines. With each key comes whether its request writes.
pub fn keys_ahead(mut buf: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let lines = std::iter::from_fn(move || {
        let line = scan::line(buf, &mut 0)?;
        buf = buf.get(line.len()..)?;
        Some(line)
    });
    lines.take(LINES_AHEAD_MAX).filter_map(|line| {
        let (command, arguments) = scan::short_command(line)?;
        let writes = match command {
            b"get" | b"gets" | b"mg" => false,
            b"set" | b"add" | b"cas" | b"delete" | b"incr" | b"decr" | b"ms" | b"md" | b"ma" => {
                true
            }
            _ => return None,
        };
        let key = Tokens::new(scan::trim_line_end(arguments)).next()?;
        Some((key, writes))
    })
}

/// How often the line that `buf` begins with comes again right behind itself, as far as the next
/// [`LINES_AHEAD_MAX`] lines say.
pub fn repeats(buf: &[u8], line_len: usize) -> usize {
    repetitions(buf, line_len).take(LINES_AHEAD_MAX).count()
}

/// Whether it does at all: then there is nothing new to fetch ahead.
pub fn is_repeated(buf: &[u8], line_len: usize) -> bool {
    repetitions(buf, line_len).next().is_some()
}

fn repetitions(buf: &[u8], line_len: usize) -> impl Iterator<Item = &[u8]> {
    let mut lines = buf.chunks_exact(line_len.max(1));
    let line = lines.next();
    lines.take_while(move |next| Some(*next) == line)
}

/// Whether an unfinished line may go on.
fn may_grow(buf: &[u8]) -> bool {
    if buf.len() <= LINE_LEN_MAX {
        return true;
    }
    let spaces = buf
        .iter()
        .take(GET_LEADING_SPACES_MAX)
        .take_while(|byte| **byte == b' ')
        .count();
    let line = buf.get(spaces..).unwrap_or_default();
    buf.len() <= GET_LINE_LEN_MAX && (line.starts_with(b"get ") || line.starts_with(b"gets "))
}

/// A web browser or scanner at the wrong port: `GET / HTTP/1.1`.
fn is_http(line: &[u8], refusal: Refusal) -> bool {
    refusal.reply == ErrorReply::UNKNOWN_COMMAND
        && Tokens::new(line)
            .take(TOKENS_MAX)
            .last()
            .is_some_and(|token| token.starts_with(b"HTTP/"))
}

fn decode_line(line: &[u8]) -> Result<Request<'_>, Refusal> {
    let (command, rest) = scan::command(line);
    match command {
        b"get" => retrieve(rest, false),
        b"set" => storage(StorageMode::Set, rest),
        b"gets" => retrieve(rest, true),
        b"mg" => meta::with_key(rest).map(Request::MetaGet),
        b"ms" => meta::storage(rest),
        b"md" => meta::with_key(rest).map(Request::MetaDelete),
        b"ma" => meta::arithmetic(rest),
        b"incr" => arithmetic(ArithmeticOp::Incr, rest),
        b"decr" => arithmetic(ArithmeticOp::Decr, rest),
        b"delete" => delete(rest),
        b"add" => storage(StorageMode::Add, rest),
        b"cas" => storage(StorageMode::Cas(0), rest),
        b"touch" => touch(rest),
        b"gat" => retrieve_and_touch(rest, false),
        b"gats" => retrieve_and_touch(rest, true),
        b"replace" => storage(StorageMode::Replace, rest),
        b"append" => storage(StorageMode::Append, rest),
        b"prepend" => storage(StorageMode::Prepend, rest),
        b"stats" => Ok(Request::Stats(rest.trim_ascii())),
        b"version" => Ok(Request::Version),
        b"config" => Ok(Request::Admin(AdminCommand::Config, rest.trim_ascii())),
        b"debugtime" => Ok(Request::Admin(AdminCommand::DebugTime, rest.trim_ascii())),
        b"drain" => Ok(Request::Admin(AdminCommand::Drain, rest.trim_ascii())),
        b"lru" => Ok(Request::Admin(AdminCommand::Lru, rest.trim_ascii())),
        b"lru_crawler" => Ok(Request::Admin(AdminCommand::LruCrawler, rest.trim_ascii())),
        b"refresh_certs" => Ok(Request::Admin(
            AdminCommand::RefreshCerts,
            rest.trim_ascii(),
        )),
        b"slabs" => Ok(Request::Admin(AdminCommand::Slabs, rest.trim_ascii())),
        b"watch" => Ok(Request::Admin(AdminCommand::Watch, rest.trim_ascii())),
        b"flush_all" => flush_all(rest),
        b"flush_namespace" => flush_namespace(rest),
        b"verbosity" => verbosity(rest),
        b"cache_memlimit" => Ok(memory_limit(rest)),
        b"shutdown" => Ok(Request::Shutdown(rest.trim_ascii())),
        b"quit" => Ok(Request::Quit),
        b"me" => meta::debug(rest),
        b"mn" => Ok(Request::MetaNoop),
        _ => Err(Refusal::new(ErrorReply::UNKNOWN_COMMAND, false)),
    }
}

/// Whether the last argument is `noreply`; the first `fixed` ones mean something else.
fn is_noreply(arguments: &[u8], fixed: usize) -> bool {
    // The command itself is a token too.
    Tokens::new(arguments)
        .take(TOKENS_MAX.saturating_sub(1))
        .skip(fixed)
        .last()
        == Some(NOREPLY)
}

fn retrieve(rest: &[u8], with_cas: bool) -> Result<Request<'_>, Refusal> {
    let keys = Keys::from_line(rest).ok_or(BAD_FORMAT)?;
    Ok(Request::Retrieve(Retrieve {
        keys,
        with_cas,
        exptime: None,
    }))
}

fn retrieve_and_touch(rest: &[u8], with_cas: bool) -> Result<Request<'_>, Refusal> {
    let mut tokens = Tokens::new(rest);
    let number = tokens.next().ok_or(BAD_FORMAT)?;
    let rest = tokens.rest();
    tokens.next().ok_or(BAD_FORMAT)?;
    let exptime = exptime(number).ok_or(Refusal::new(ErrorReply::INVALID_EXPTIME, false))?;
    let keys = Keys::from_line(rest).ok_or(BAD_FORMAT)?;
    Ok(Request::Retrieve(Retrieve {
        keys,
        with_cas,
        exptime: Some(exptime),
    }))
}

fn exptime(token: &[u8]) -> Option<Exptime> {
    scan::parse_i64(token).map(Exptime::truncated)
}

/// The length comes first: only once it is known can the value of a refused request be skipped.
fn storage(mode: StorageMode, rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut tokens = Tokens::new(rest);
    let mut next = || tokens.next().ok_or(BAD_FORMAT);
    let (key, flags, exptime, len) = (next()?, next()?, next()?, next()?);
    let value_len = scan::parse_digits(len)
        .filter(|len| *len <= VALUE_LEN_MAX)
        .ok_or(BAD_FORMAT)?;
    let fifth = tokens.next();
    let noreply = fifth.is_some() && is_noreply(rest, 4);
    storage_fields(mode, [key, flags, exptime], fifth)
        .map(|fields| {
            Request::Store(Storage {
                value_len,
                noreply,
                ..fields
            })
        })
        .ok_or_else(|| Refusal {
            body_len: value_len.saturating_add(2),
            ..Refusal::new(ErrorReply::BAD_FORMAT, noreply)
        })
}

fn storage_fields<'a>(
    mode: StorageMode,
    [key, flags, exptime]: [&'a [u8]; 3],
    cas: Option<&[u8]>,
) -> Option<Storage<'a>> {
    let mode = match mode {
        StorageMode::Cas(_) => StorageMode::Cas(scan::parse_u64(cas?)?),
        mode => mode,
    };
    Some(Storage {
        client_flags: scan::parse_u32(flags)?,
        exptime: self::exptime(exptime)?,
        ..Storage::new(mode, Key::from_token(key)?, 0)
    })
}

/// A key and one argument that every command of this shape must have.
fn key_and_argument(rest: &[u8]) -> Result<(Key<'_>, &[u8], bool), Refusal> {
    let mut tokens = Tokens::new(rest);
    let key = tokens.next().ok_or(BAD_FORMAT)?;
    let argument = tokens.next().ok_or(BAD_FORMAT)?;
    let noreply = if tokens.rest().is_empty() {
        argument == NOREPLY
    } else {
        is_noreply(rest, 1)
    };
    let key = Key::from_token(key).ok_or_else(|| Refusal::new(ErrorReply::BAD_FORMAT, noreply))?;
    Ok((key, argument, noreply))
}

fn arithmetic(op: ArithmeticOp, rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, delta, noreply) = key_and_argument(rest)?;
    let delta =
        scan::parse_u64(delta).ok_or_else(|| Refusal::new(ErrorReply::INVALID_DELTA, noreply))?;
    Ok(Request::Arithmetic(Arithmetic {
        op,
        key,
        delta,
        noreply,
    }))
}

fn touch(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, number, noreply) = key_and_argument(rest)?;
    let exptime =
        exptime(number).ok_or_else(|| Refusal::new(ErrorReply::INVALID_EXPTIME, noreply))?;
    Ok(Request::Touch(Touch {
        key,
        exptime,
        noreply,
    }))
}

fn delete(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut tokens = Tokens::new(rest);
    let key = tokens.next().ok_or(BAD_FORMAT)?;
    let noreply = !tokens.rest().is_empty() && is_noreply(rest, 1);
    let key = Key::from_token(key).ok_or_else(|| Refusal::new(ErrorReply::BAD_FORMAT, noreply))?;
    Ok(Request::Delete(Delete { key, noreply }))
}

fn flush_all(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let noreply = is_noreply(rest, 0);
    let mut tokens = Tokens::new(rest);
    let delay = match (tokens.next(), tokens.next()) {
        (None, _) | (Some(NOREPLY), None) => Exptime::NEVER,
        (Some(number), _) => {
            exptime(number).ok_or_else(|| Refusal::new(ErrorReply::INVALID_EXPTIME, noreply))?
        }
    };
    Ok(Request::FlushAll(FlushAll { delay, noreply }))
}

fn flush_namespace(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let name = Tokens::new(rest).next().ok_or(BAD_FORMAT)?;
    let noreply = is_noreply(rest, 1);
    let name =
        Key::from_token(name).ok_or_else(|| Refusal::new(ErrorReply::BAD_FORMAT, noreply))?;
    Ok(Request::FlushNamespace(FlushNamespace { name, noreply }))
}

fn verbosity(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let noreply = is_noreply(rest, 0);
    let token = Tokens::new(rest).next().ok_or(BAD_FORMAT)?;
    let level =
        scan::parse_u32(token).ok_or_else(|| Refusal::new(ErrorReply::BAD_FORMAT, noreply))?;
    Ok(Request::Verbosity(Verbosity { level, noreply }))
}

fn memory_limit(rest: &[u8]) -> Request<'_> {
    let mebibytes = Tokens::new(rest).next().and_then(scan::parse_u32);
    Request::MemoryLimit(MemoryLimit {
        mebibytes,
        noreply: is_noreply(rest, 0),
    })
}

impl Request<'_> {
    /// Appends the request's line to `out`. For a storage command the value and `\r\n` must follow.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Retrieve(request) => request.encode(out),
            Self::Store(request) => request.encode(out),
            Self::Arithmetic(request) => {
                out.put_slice(match request.op {
                    ArithmeticOp::Incr => b"incr ",
                    ArithmeticOp::Decr => b"decr ",
                });
                out.put_slice(request.key.as_bytes());
                put_number(out, request.delta);
            }
            Self::Delete(request) => {
                out.put_slice(b"delete ");
                out.put_slice(request.key.as_bytes());
            }
            Self::Touch(request) => {
                out.put_slice(b"touch ");
                out.put_slice(request.key.as_bytes());
                put_number(out, request.exptime.get());
            }
            Self::FlushAll(request) => {
                out.put_slice(b"flush_all");
                put_number(out, request.delay.get());
            }
            Self::FlushNamespace(request) => {
                out.put_slice(b"flush_namespace ");
                out.put_slice(request.name.as_bytes());
            }
            Self::Verbosity(request) => {
                out.put_slice(b"verbosity");
                put_number(out, request.level);
            }
            Self::MemoryLimit(request) => {
                out.put_slice(b"cache_memlimit");
                match request.mebibytes {
                    Some(mebibytes) => put_number(out, mebibytes),
                    None => out.put_slice(b" ?"),
                }
            }
            Self::Stats(arguments) => {
                out.put_slice(b"stats ");
                out.put_slice(arguments);
            }
            Self::Admin(command, arguments) => {
                out.put_slice(command.word());
                out.put_u8(b' ');
                out.put_slice(arguments);
            }
            Self::Version => out.put_slice(b"version"),
            Self::Shutdown(mode) => {
                out.put_slice(b"shutdown ");
                out.put_slice(mode);
            }
            Self::Quit => out.put_slice(b"quit"),
            Self::MetaGet(meta) => meta.encode(b"mg ", None, out),
            Self::MetaSet(request) => request.meta.encode(b"ms ", Some(request.value_len), out),
            Self::MetaDelete(meta) => meta.encode(b"md ", None, out),
            Self::MetaArithmetic(meta) => meta.encode(b"ma ", None, out),
            Self::MetaDebug(meta) => meta.encode(b"me ", None, out),
            Self::MetaNoop => out.put_slice(b"mn"),
        }
        out.put_slice(if self.is_noreply() {
            b" noreply\r\n"
        } else {
            b"\r\n"
        });
    }
}

impl Retrieve<'_> {
    fn encode(&self, out: &mut impl BufMut) {
        match (self.exptime, self.with_cas) {
            (None, false) => out.put_slice(b"get"),
            (None, true) => out.put_slice(b"gets"),
            (Some(_), false) => out.put_slice(b"gat"),
            (Some(_), true) => out.put_slice(b"gats"),
        }
        if let Some(exptime) = self.exptime {
            put_number(out, exptime.get());
        }
        for key in self.keys {
            out.put_u8(b' ');
            out.put_slice(key.as_bytes());
        }
    }
}

impl Storage<'_> {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(self.mode.word().as_bytes());
        out.put_u8(b' ');
        out.put_slice(self.key.as_bytes());
        put_number(out, self.client_flags);
        put_number(out, self.exptime.get());
        put_number(out, self.value_len);
        if let StorageMode::Cas(unique) = self.mode {
            put_number(out, unique);
        }
    }
}

/// A space and the number.
pub(crate) fn put_number(out: &mut impl BufMut, number: impl itoa::Integer) {
    out.put_u8(b' ');
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}
