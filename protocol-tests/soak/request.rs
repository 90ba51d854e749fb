//! The requests of the soak, and how they are written on the wire.

use std::borrow::Cow;

/// One request, with all that is needed to judge its answer.
#[derive(Debug)]
pub(crate) enum Request {
    Retrieve {
        verb: Retrieval,
        targets: Vec<Target>,
    },
    Change {
        target: Target,
        change: Change,
        reply: Reply,
    },
    Wrong(&'static WrongRequest),
}

/// The key that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A private key of this connection.
    Own(usize),
    /// A key that is never stored.
    Missing(usize),
    /// A number that all connections `incr`.
    Counter(usize),
    /// A number that all connections raise by `gets` and `cas`.
    Ticket(usize),
    /// A value that all connections overwrite.
    Board(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retrieval {
    Get,
    Gets,
    Gat(u32),
    Gats(u32),
}

#[derive(Debug)]
pub(crate) enum Change {
    Store {
        mode: Mode,
        flags: u32,
        expiry: Expiry,
        value: Vec<u8>,
    },
    Delta {
        direction: Direction,
        amount: u64,
    },
    Touch(Expiry),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Incr,
    Decr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    /// After the end of the run.
    Later(u32),
    AtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Wanted,
    Noreply,
}

/// A request that a server must refuse, and how.
#[derive(Debug)]
pub(crate) struct WrongRequest {
    pub(crate) bytes: &'static [u8],
    pub(crate) answer: &'static [u8],
}

/// Only what all versions of memcached since 1.6.18 answer alike.
pub(crate) const WRONG_REQUESTS: [WrongRequest; 7] = [
    WrongRequest {
        bytes: b"frobnicate soak\r\n",
        answer: b"ERROR",
    },
    WrongRequest {
        bytes: b"GET soak\r\n",
        answer: b"ERROR",
    },
    WrongRequest {
        bytes: b"incr soak:wrong x\r\n",
        answer: b"CLIENT_ERROR invalid numeric delta argument",
    },
    WrongRequest {
        bytes: b"touch soak:wrong never\r\n",
        answer: b"CLIENT_ERROR invalid exptime argument",
    },
    WrongRequest {
        bytes: b"set soak:wrong 0 0 -1\r\n",
        answer: b"CLIENT_ERROR bad command line format",
    },
    WrongRequest {
        bytes: b"set soak:wrong 0 0 3\r\nabcde",
        answer: b"CLIENT_ERROR bad data chunk",
    },
    WrongRequest {
        bytes: &DELETE_OF_A_LONG_KEY,
        answer: b"CLIENT_ERROR bad command line format",
    },
];

/// `delete` of a key of 251 bytes, one more than is allowed.
const DELETE_OF_A_LONG_KEY: [u8; 260] = {
    let mut line = [b'k'; 260];
    let (command, rest) = line.split_at_mut(7);
    command.copy_from_slice(b"delete ");
    let (_, end) = rest.split_at_mut(251);
    end.copy_from_slice(b"\r\n");
    line
};

impl Request {
    pub(crate) const fn is_answered(&self) -> bool {
        !matches!(
            self,
            Self::Change {
                reply: Reply::Noreply,
                ..
            }
        )
    }

    /// Appends the request to the bytes that will be sent.
    pub(crate) fn write<'a>(&self, key: impl Fn(Target) -> Cow<'a, [u8]>, out: &mut Vec<u8>) {
        match self {
            Self::Retrieve { verb, targets } => {
                out.extend_from_slice(verb.command().as_bytes());
                for target in targets {
                    out.push(b' ');
                    out.extend_from_slice(&key(*target));
                }
                out.extend_from_slice(b"\r\n");
            }
            Self::Change {
                target,
                change,
                reply,
            } => {
                out.extend_from_slice(change.command().as_bytes());
                out.push(b' ');
                out.extend_from_slice(&key(*target));
                out.extend_from_slice(change.arguments().as_bytes());
                out.extend_from_slice(match reply {
                    Reply::Wanted => b"\r\n",
                    Reply::Noreply => b" noreply\r\n",
                });
                if let Change::Store { value, .. } = change {
                    out.extend_from_slice(value);
                    out.extend_from_slice(b"\r\n");
                }
            }
            Self::Wrong(wrong) => out.extend_from_slice(wrong.bytes),
        }
    }
}

impl Retrieval {
    /// Whether the answer contains cas uniques.
    pub(crate) const fn shows_unique(self) -> bool {
        matches!(self, Self::Gets | Self::Gats(_))
    }

    fn command(self) -> Cow<'static, str> {
        match self {
            Self::Get => Cow::Borrowed("get"),
            Self::Gets => Cow::Borrowed("gets"),
            Self::Gat(exptime) => Cow::Owned(format!("gat {exptime}")),
            Self::Gats(exptime) => Cow::Owned(format!("gats {exptime}")),
        }
    }
}

impl Change {
    const fn command(&self) -> &'static str {
        match self {
            Self::Store {
                mode: Mode::Set, ..
            } => "set",
            Self::Store {
                mode: Mode::Add, ..
            } => "add",
            Self::Store {
                mode: Mode::Replace,
                ..
            } => "replace",
            Self::Store {
                mode: Mode::Append, ..
            } => "append",
            Self::Store {
                mode: Mode::Prepend,
                ..
            } => "prepend",
            Self::Store {
                mode: Mode::Cas(_), ..
            } => "cas",
            Self::Delta {
                direction: Direction::Incr,
                ..
            } => "incr",
            Self::Delta {
                direction: Direction::Decr,
                ..
            } => "decr",
            Self::Touch(_) => "touch",
            Self::Delete => "delete",
        }
    }

    /// What follows the key in the command line.
    fn arguments(&self) -> String {
        match self {
            Self::Store {
                mode,
                flags,
                expiry,
                value,
            } => {
                let (exptime, len) = (expiry.exptime(), value.len());
                match mode {
                    Mode::Cas(unique) => format!(" {flags} {exptime} {len} {unique}"),
                    Mode::Set | Mode::Add | Mode::Replace | Mode::Append | Mode::Prepend => {
                        format!(" {flags} {exptime} {len}")
                    }
                }
            }
            Self::Delta { amount, .. } => format!(" {amount}"),
            Self::Touch(expiry) => format!(" {}", expiry.exptime()),
            Self::Delete => String::new(),
        }
    }
}

impl Direction {
    /// `incr` wraps at 2^64, `decr` stops at 0 (protocol.txt).
    pub(crate) const fn of(self, number: u64, amount: u64) -> u64 {
        match self {
            Self::Incr => number.wrapping_add(amount),
            Self::Decr => number.saturating_sub(amount),
        }
    }
}

impl Expiry {
    fn exptime(self) -> i64 {
        match self {
            Self::Never => 0,
            Self::Later(seconds) => i64::from(seconds),
            Self::AtOnce => -1,
        }
    }
}
