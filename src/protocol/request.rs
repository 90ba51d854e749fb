//! The requests: one enum, one struct for each family of commands.

use crate::{Exptime, Key, Keys, Meta, MetaStorage};

/// One request. What is borrowed lies in the buffer it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Retrieve(Retrieve<'a>),
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`: the value follows the line.
    Store(Storage<'a>),
    /// `incr`, `decr`.
    Arithmetic(Arithmetic<'a>),
    /// `delete`.
    Delete(Delete<'a>),
    /// `touch`.
    Touch(Touch<'a>),
    /// `flush_all`.
    FlushAll(FlushAll),
    /// `flush_namespace`, which memcached has not.
    FlushNamespace(FlushNamespace<'a>),
    /// `verbosity`.
    Verbosity(Verbosity),
    /// `cache_memlimit`.
    MemoryLimit(MemoryLimit),
    /// `stats`, with what follows it: empty, `reset`, ...
    Stats(&'a [u8]),
    /// A command about the daemon, with what follows it.
    Admin(AdminCommand, &'a [u8]),
    /// `version`.
    Version,
    /// `shutdown`, with what follows it: nothing, or `graceful`.
    Shutdown(&'a [u8]),
    /// `mg`.
    MetaGet(Meta<'a>),
    /// `ms`: the value follows the line.
    MetaSet(MetaStorage<'a>),
    /// `md`.
    MetaDelete(Meta<'a>),
    /// `ma`.
    MetaArithmetic(Meta<'a>),
    /// `me`.
    MetaDebug(Meta<'a>),
    /// `mn`.
    MetaNoop,
    /// `quit`: answer what is due, then close.
    Quit,
}

impl Request<'_> {
    /// The client does not want to hear the answer, be it an error. Never so for meta commands: their `q` hides
    /// what is dull and nothing else.
    pub const fn is_noreply(&self) -> bool {
        match self {
            Self::Store(request) => request.noreply,
            Self::Arithmetic(request) => request.noreply,
            Self::Delete(request) => request.noreply,
            Self::Touch(request) => request.noreply,
            Self::FlushAll(request) => request.noreply,
            Self::FlushNamespace(request) => request.noreply,
            Self::Verbosity(request) => request.noreply,
            Self::MemoryLimit(request) => request.noreply,
            Self::Retrieve(_)
            | Self::Stats(_)
            | Self::Admin(..)
            | Self::Version
            | Self::Shutdown(_)
            | Self::MetaGet(_)
            | Self::MetaSet(_)
            | Self::MetaDelete(_)
            | Self::MetaArithmetic(_)
            | Self::MetaDebug(_)
            | Self::MetaNoop
            | Self::Quit => false,
        }
    }
}

/// Commands that operators type; their arguments are [`Tokens`](crate::Tokens).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminCommand {
    /// `config`, which ElastiCache has and memcached has not.
    Config,
    /// `debugtime`.
    DebugTime,
    /// `drain`, which memcached has not.
    Drain,
    /// `lru`.
    Lru,
    /// `lru_crawler`.
    LruCrawler,
    /// `refresh_certs`.
    RefreshCerts,
    /// `slabs`.
    Slabs,
    /// `watch`.
    Watch,
}

impl AdminCommand {
    /// The command as it is typed.
    pub const fn word(self) -> &'static [u8] {
        match self {
            Self::Config => b"config",
            Self::DebugTime => b"debugtime",
            Self::Drain => b"drain",
            Self::Lru => b"lru",
            Self::LruCrawler => b"lru_crawler",
            Self::RefreshCerts => b"refresh_certs",
            Self::Slabs => b"slabs",
            Self::Watch => b"watch",
        }
    }
}

/// `get k+`, `gets k+`, `gat exptime k+`, `gats exptime k+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retrieve<'a> {
    /// What to look up.
    pub keys: Keys<'a>,
    /// Answer with cas uniques (`gets`, `gats`).
    pub with_cas: bool,
    /// Give what is found this lifetime (`gat`, `gats`).
    pub exptime: Option<Exptime>,
}

impl<'a> Retrieve<'a> {
    /// A plain `get`.
    pub const fn new(keys: Keys<'a>) -> Self {
        Self {
            keys,
            with_cas: false,
            exptime: None,
        }
    }
}

/// What a storage command does with the value that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageMode {
    /// Store it whatever is there.
    Set,
    /// Store it if nothing is there.
    Add,
    /// Store it if something is there.
    Replace,
    /// Put it behind what is there; client flags and exptime of the request are ignored.
    Append,
    /// Put it before what is there; client flags and exptime of the request are ignored.
    Prepend,
    /// Store it if what is there has this cas unique.
    Cas(u64),
}

impl StorageMode {
    /// The command as it is typed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Append => "append",
            Self::Prepend => "prepend",
            Self::Cas(_) => "cas",
        }
    }
}

/// The line of a storage command; `value_len` bytes and `\r\n` follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storage<'a> {
    /// Which command.
    pub mode: StorageMode,
    /// Where to store.
    pub key: Key<'a>,
    /// Opaque to the server, given back with the value.
    pub client_flags: u32,
    /// How long the item shall live.
    pub exptime: Exptime,
    /// Bytes of value, without the `\r\n` behind them; at most
    /// [`VALUE_LEN_MAX`](crate::limits::VALUE_LEN_MAX).
    pub value_len: u64,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl<'a> Storage<'a> {
    /// Flags 0, never expires, wants an answer.
    pub const fn new(mode: StorageMode, key: Key<'a>, value_len: u64) -> Self {
        Self {
            mode,
            key,
            client_flags: 0,
            exptime: Exptime::NEVER,
            value_len,
            noreply: false,
        }
    }
}

/// Which way a number goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum ArithmeticOp {
    /// Up, wrapping at 2^64.
    Incr,
    /// Down, stopping at 0.
    Decr,
}

/// `incr k delta`, `decr k delta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arithmetic<'a> {
    /// Up or down.
    pub op: ArithmeticOp,
    /// Which number.
    pub key: Key<'a>,
    /// How far.
    pub delta: u64,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl<'a> Arithmetic<'a> {
    /// Wants an answer.
    pub const fn new(op: ArithmeticOp, key: Key<'a>, delta: u64) -> Self {
        Self {
            op,
            key,
            delta,
            noreply: false,
        }
    }
}

/// `delete k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delete<'a> {
    /// What to delete.
    pub key: Key<'a>,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl<'a> Delete<'a> {
    /// Wants an answer.
    pub const fn new(key: Key<'a>) -> Self {
        Self {
            key,
            noreply: false,
        }
    }
}

/// `touch k exptime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touch<'a> {
    /// What to touch.
    pub key: Key<'a>,
    /// Its new lifetime.
    pub exptime: Exptime,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl<'a> Touch<'a> {
    /// Wants an answer.
    pub const fn new(key: Key<'a>, exptime: Exptime) -> Self {
        Self {
            key,
            exptime,
            noreply: false,
        }
    }
}

/// `flush_all [delay]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushAll {
    /// When; [`Exptime::NEVER`], like a negative one, means now.
    pub delay: Exptime,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

/// `flush_namespace name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushNamespace<'a> {
    /// As the server tells it: one word.
    pub name: Key<'a>,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl<'a> FlushNamespace<'a> {
    /// Wants an answer.
    pub const fn new(name: Key<'a>) -> Self {
        Self {
            name,
            noreply: false,
        }
    }
}

/// `verbosity level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verbosity {
    /// 0 to 2 say something; more means 2.
    pub level: u32,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl Verbosity {
    /// Wants an answer.
    pub const fn new(level: u32) -> Self {
        Self {
            level,
            noreply: false,
        }
    }
}

/// `cache_memlimit megabytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLimit {
    /// The new limit; `None` if no number stood there.
    pub mebibytes: Option<u32>,
    /// See [`Request::is_noreply`].
    pub noreply: bool,
}

impl MemoryLimit {
    /// Wants an answer.
    pub const fn new(mebibytes: u32) -> Self {
        Self {
            mebibytes: Some(mebibytes),
            noreply: false,
        }
    }
}
