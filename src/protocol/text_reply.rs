//! Replies of the classic text protocol: decode and encode, next to each other.

use crate::limits::REPLY_LINE_LEN_MAX;
use crate::scan::{self, Tokens};
use crate::text::put_number;
use crate::{ErrorReply, Key, MetaReply, Response, ValueHeader};
use bytes::BufMut;

/// What a buffer of replies begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodedReply<'a> {
    /// Not a whole line yet: call again with the same bytes and more.
    Incomplete,
    /// A reply, whose line takes `line_len` bytes. After a `VALUE` the value follows.
    Response {
        /// The reply.
        response: Response<'a>,
        /// Bytes of its line, line end included.
        line_len: usize,
    },
    /// No reply of this protocol: the stream is out of step and must be closed.
    Malformed,
}

/// Decodes the replies of one connection; see [`RequestDecoder`](crate::RequestDecoder).
#[derive(Clone, Debug, Default)]
pub struct ReplyDecoder {
    searched_len: usize,
}

impl ReplyDecoder {
    /// For a new connection.
    pub const fn new() -> Self {
        Self { searched_len: 0 }
    }

    /// Decodes the reply that `buf` begins with. After [`DecodedReply::Incomplete`], `buf` must begin
    /// with the same bytes again.
    pub fn decode<'a>(&mut self, buf: &'a [u8]) -> DecodedReply<'a> {
        let Some(line) = scan::line(buf, &mut self.searched_len) else {
            return if buf.len() <= REPLY_LINE_LEN_MAX {
                DecodedReply::Incomplete
            } else {
                DecodedReply::Malformed
            };
        };
        match decode_line(scan::trim_line_end(line)) {
            Some(response) => DecodedReply::Response {
                response,
                line_len: line.len(),
            },
            None => DecodedReply::Malformed,
        }
    }
}

fn decode_line(line: &[u8]) -> Option<Response<'_>> {
    let (word, rest) = scan::command(line);
    Some(match word {
        b"VALUE" => Response::Value(value_header(rest)?),
        b"END" => Response::End,
        b"STORED" => Response::Stored,
        b"NOT_STORED" => Response::NotStored,
        b"EXISTS" => Response::Exists,
        b"NOT_FOUND" => Response::NotFound,
        b"DELETED" => Response::Deleted,
        b"TOUCHED" => Response::Touched,
        b"OK" => Response::Ok,
        b"RESET" => Response::Reset,
        b"VERSION" => Response::Version(rest.trim_ascii()),
        b"STAT" => stat(rest)?,
        b"HD" | b"VA" | b"EN" | b"NF" | b"NS" | b"EX" => {
            Response::Meta(MetaReply::decode(word, rest)?)
        }
        b"ME" => Response::MetaDebug(rest.strip_prefix(b" ")?),
        b"MN" => Response::MetaNoop,
        [b'0'..=b'9', ..] => Response::Number(scan::parse_u64(line)?),
        _ => Response::Error(ErrorReply::from_line(line)?),
    })
}

fn value_header(rest: &[u8]) -> Option<ValueHeader<'_>> {
    let mut tokens = Tokens::new(rest);
    let key = Key::from_token(tokens.next()?)?;
    let client_flags = u32::try_from(scan::parse_u64(tokens.next()?)?).ok()?;
    let value_len = scan::parse_u64(tokens.next()?)?;
    let cas = match tokens.next() {
        Some(unique) => Some(scan::parse_u64(unique)?),
        None => None,
    };
    Some(ValueHeader {
        key,
        client_flags,
        value_len,
        cas,
    })
}

fn stat(rest: &[u8]) -> Option<Response<'_>> {
    let mut tokens = Tokens::new(rest);
    let name = tokens.next()?;
    Some(Response::Stat {
        name,
        value: tokens.rest().strip_prefix(b" ").unwrap_or_default(),
    })
}

impl Response<'_> {
    /// Appends the reply's line to `out`. After a `VALUE` the value and `\r\n` must follow.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Value(header) => header.encode(out),
            Self::End => out.put_slice(b"END\r\n"),
            Self::Stored => out.put_slice(b"STORED\r\n"),
            Self::NotStored => out.put_slice(b"NOT_STORED\r\n"),
            Self::Exists => out.put_slice(b"EXISTS\r\n"),
            Self::NotFound => out.put_slice(b"NOT_FOUND\r\n"),
            Self::Deleted => out.put_slice(b"DELETED\r\n"),
            Self::Touched => out.put_slice(b"TOUCHED\r\n"),
            Self::Ok => out.put_slice(b"OK\r\n"),
            Self::Reset => out.put_slice(b"RESET\r\n"),
            Self::Number(number) => {
                out.put_slice(itoa::Buffer::new().format(*number).as_bytes());
                out.put_slice(b"\r\n");
            }
            Self::Version(version) => {
                out.put_slice(b"VERSION ");
                out.put_slice(version);
                out.put_slice(b"\r\n");
            }
            Self::Stat { name, value } => {
                out.put_slice(b"STAT ");
                out.put_slice(name);
                out.put_u8(b' ');
                out.put_slice(value);
                out.put_slice(b"\r\n");
            }
            Self::Meta(reply) => reply.encode(out),
            Self::MetaDebug(facts) => {
                out.put_slice(b"ME ");
                out.put_slice(facts);
                out.put_slice(b"\r\n");
            }
            Self::MetaNoop => out.put_slice(b"MN\r\n"),
            Self::Error(error) => {
                out.put_slice(error.line());
                out.put_slice(b"\r\n");
            }
        }
    }
}

impl ValueHeader<'_> {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(b"VALUE ");
        out.put_slice(self.key.as_bytes());
        // Of nearly all items.
        if self.client_flags == 0 {
            out.put_slice(b" 0");
        } else {
            put_number(out, self.client_flags);
        }
        put_number(out, self.value_len);
        if let Some(unique) = self.cas {
            put_number(out, unique);
        }
        out.put_slice(b"\r\n");
    }
}
