//! The replies: one enum.

use crate::{ErrorReply, Key, MetaReply};

/// One line of a reply. What is borrowed lies in the buffer it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response<'a> {
    /// `VALUE ...`: a hit; the value and `\r\n` follow the line.
    Value(ValueHeader<'a>),
    /// `END`: of the hits of a retrieval, or of statistics.
    End,
    /// `STORED`.
    Stored,
    /// `NOT_STORED`: the condition of add, replace, append or prepend did not hold.
    NotStored,
    /// `EXISTS`: the item has been stored since the client saw its cas unique.
    Exists,
    /// `NOT_FOUND`.
    NotFound,
    /// `DELETED`.
    Deleted,
    /// `TOUCHED`.
    Touched,
    /// The new number after incr or decr.
    Number(u64),
    /// `OK`.
    Ok,
    /// `RESET`.
    Reset,
    /// `VERSION ...`.
    Version(&'a [u8]),
    /// `STAT name value`; the value may hold spaces and may be empty.
    Stat {
        /// One word.
        name: &'a [u8],
        /// Up to the end of the line.
        value: &'a [u8],
    },
    /// Of a meta command; after a `VA` the value and `\r\n` follow the line.
    Meta(MetaReply<'a>),
    /// `ME`: what follows it is the key, and `name=value` for each thing that is known of the item.
    MetaDebug(&'a [u8]),
    /// `MN`: everything before it has been answered.
    MetaNoop,
    /// An error line.
    Error(ErrorReply<'a>),
}

/// The line before the value of a hit; `value_len` bytes and `\r\n` follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueHeader<'a> {
    /// The key as it was asked for.
    pub key: Key<'a>,
    /// What the client stored with the value.
    pub client_flags: u32,
    /// Bytes of value, without the `\r\n` behind them.
    pub value_len: u64,
    /// The cas unique, if it was asked for.
    pub cas: Option<u64>,
}

impl<'a> ValueHeader<'a> {
    /// Without cas unique.
    pub const fn new(key: Key<'a>, client_flags: u32, value_len: u64) -> Self {
        Self {
            key,
            client_flags,
            value_len,
            cas: None,
        }
    }
}
