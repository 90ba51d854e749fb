//! Replies of the meta protocol: decode and encode, next to each other.

use crate::meta::put_base64;
use crate::meta_flags::MetaFlags;
use crate::scan::{self, Tokens};
use crate::text::put_number;
use bytes::BufMut;

/// What a meta reply begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetaStatus {
    /// `HD`: done; or a hit whose value was not asked for.
    Done,
    /// `VA len`: as many bytes of value and `\r\n` follow the line.
    Value(u64),
    /// `EN`: nothing is there.
    Miss,
    /// `NF`: nothing is there to work on.
    NotFound,
    /// `NS`: the condition of the mode did not hold.
    NotStored,
    /// `EX`: the item has another cas unique.
    Exists,
}

/// A reply as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetaReply<'a> {
    /// What it begins with.
    pub status: MetaStatus,
    flags: &'a [u8],
}

impl<'a> MetaReply<'a> {
    /// Without flags.
    pub const fn new(status: MetaStatus) -> Self {
        Self { status, flags: &[] }
    }

    /// Each flag and its argument: what was asked for, in that order, and the marks `Z`, `X`, `W`.
    pub fn flags(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        Tokens::new(self.flags).filter_map(|token| {
            let (letter, argument) = token.split_first()?;
            Some((*letter, argument))
        })
    }

    pub(crate) fn decode(word: &[u8], rest: &'a [u8]) -> Option<Self> {
        let (status, flags) = match word {
            b"HD" => (MetaStatus::Done, rest),
            b"VA" => {
                let mut tokens = Tokens::new(rest);
                let len = scan::parse_digits(tokens.next()?)?;
                (MetaStatus::Value(len), tokens.rest())
            }
            b"EN" => (MetaStatus::Miss, rest),
            b"NF" => (MetaStatus::NotFound, rest),
            b"NS" => (MetaStatus::NotStored, rest),
            b"EX" => (MetaStatus::Exists, rest),
            _ => return None,
        };
        Some(Self { status, flags })
    }

    pub(crate) fn encode(self, out: &mut impl BufMut) {
        self.status.put(out);
        for token in Tokens::new(self.flags) {
            out.put_u8(b' ');
            out.put_slice(token);
        }
        out.put_slice(b"\r\n");
    }
}

/// What a reply can tell of an item, to who asks for it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "servers fill it in")]
pub struct MetaFacts<'a> {
    /// `k`, and whether it travels in base64.
    pub key: Option<(&'a [u8], bool)>,
    /// `s`: bytes of value.
    pub value_len: Option<u64>,
    /// `f`: client flags.
    pub client_flags: Option<u32>,
    /// `c`: cas unique.
    pub cas: Option<u64>,
    /// `t`: seconds it has left, -1 if it never expires.
    pub seconds_left: Option<i64>,
    /// `l`: seconds since somebody asked for it.
    pub seconds_idle: Option<u64>,
    /// `h`: whether somebody had asked for it since it was stored.
    pub fetched: Option<bool>,
}

/// Who shall make an item anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "servers fill it in")]
pub struct MetaMarks {
    /// `Z`: somebody else, who was told so before.
    pub taken: bool,
    /// `X`: it is no longer right.
    pub stale: bool,
    /// `W`: the one who reads this.
    pub won: bool,
}

impl MetaStatus {
    /// Appends a reply's line to `out`: what of `facts` the `flags` ask for, in their order, and the marks.
    pub fn encode(
        self,
        flags: MetaFlags<'_>,
        facts: &MetaFacts<'_>,
        marks: MetaMarks,
        out: &mut impl BufMut,
    ) {
        self.put(out);
        for (letter, argument) in flags.iter() {
            if letter == b'O' {
                put_letter(letter, out);
                out.put_slice(argument);
            } else {
                facts.put(letter, out);
            }
        }
        for (mark, letter) in [(marks.taken, b'Z'), (marks.stale, b'X'), (marks.won, b'W')] {
            if mark {
                put_letter(letter, out);
            }
        }
        out.put_slice(b"\r\n");
    }

    fn put(self, out: &mut impl BufMut) {
        out.put_slice(match self {
            Self::Done => b"HD",
            Self::Value(_) => b"VA",
            Self::Miss => b"EN",
            Self::NotFound => b"NF",
            Self::NotStored => b"NS",
            Self::Exists => b"EX",
        });
        if let Self::Value(len) = self {
            put_number(out, len);
        }
    }
}

impl MetaFacts<'_> {
    fn put(&self, letter: u8, out: &mut impl BufMut) {
        let mut put = |number: Option<u64>| {
            if let Some(number) = number {
                put_letter(letter, out);
                out.put_slice(itoa::Buffer::new().format(number).as_bytes());
            }
        };
        match letter {
            b's' => put(self.value_len),
            b'f' => put(self.client_flags.map(u64::from)),
            b'c' => put(self.cas),
            b'l' => put(self.seconds_idle),
            b'h' => put(self.fetched.map(u64::from)),
            b't' => {
                if let Some(seconds) = self.seconds_left {
                    put_letter(letter, out);
                    out.put_slice(itoa::Buffer::new().format(seconds).as_bytes());
                }
            }
            b'k' => match self.key {
                Some((key, true)) => {
                    put_letter(letter, out);
                    put_base64(key, out);
                    put_letter(b'b', out);
                }
                Some((key, false)) => {
                    put_letter(letter, out);
                    out.put_slice(key);
                }
                None => {}
            },
            _ => {}
        }
    }
}

fn put_letter(letter: u8, out: &mut impl BufMut) {
    out.put_u8(b' ');
    out.put_u8(letter);
}
