//! [`ErrorReply`]: the error lines, whose fault each is, and what becomes of the connection.

use std::fmt;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `ERROR ...`: the command is unknown, or refused altogether.
    Error,
    /// `CLIENT_ERROR ...`: the request is wrong; sending it again will not help.
    Client,
    /// `SERVER_ERROR ...`: the server is short of something or will not do it.
    Server,
}

/// One error line, without its line end. The connection survives every one of them, except
/// [`TOO_MANY_CONNECTIONS`](Self::TOO_MANY_CONNECTIONS).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorReply<'a>(&'a [u8]);

impl ErrorReply<'static> {
    /// The command does not exist.
    pub const UNKNOWN_COMMAND: Self = Self(b"ERROR");
    /// The line does not say what the command needs.
    pub const BAD_FORMAT: Self = Self(b"CLIENT_ERROR bad command line format");
    /// The value was not followed by `\r\n`; nothing was stored.
    pub const BAD_DATA_CHUNK: Self = Self(b"CLIENT_ERROR bad data chunk");
    /// The exptime of a touch, gat or `flush_all` is not a number.
    pub const INVALID_EXPTIME: Self = Self(b"CLIENT_ERROR invalid exptime argument");
    /// The delta of an incr or decr is not an unsigned 64-bit number.
    pub const INVALID_DELTA: Self = Self(b"CLIENT_ERROR invalid numeric delta argument");
    /// The value that incr or decr met is not a number.
    pub const NON_NUMERIC: Self =
        Self(b"CLIENT_ERROR cannot increment or decrement non-numeric value");
    /// The item is larger than the server takes.
    pub const TOO_LARGE: Self = Self(b"SERVER_ERROR object too large for cache");
    /// The server has no room for the item and can make none.
    pub const NO_MEMORY: Self = Self(b"SERVER_ERROR out of memory storing object");
    /// The server has no room for the longer number of an incr or decr.
    pub const OUT_OF_MEMORY: Self = Self(b"SERVER_ERROR out of memory");
    /// The server was not started with `-A` (the colon is memcached's).
    pub const SHUTDOWN_DISABLED: Self = Self(b"SERVER_ERROR: shutdown not enabled");
    /// `cache_memlimit` below 8 MB.
    pub const MEMORY_LIMIT_TOO_SMALL: Self =
        Self(b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m");
    /// `cache_memlimit` with a number that can only be bytes.
    pub const MEMORY_LIMIT_IN_BYTES: Self =
        Self(b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes");
    /// A meta command has more than [`META_TOKENS_MAX`](crate::limits::META_TOKENS_MAX) tokens.
    pub const META_TOO_MANY_FLAGS: Self = Self(b"CLIENT_ERROR options flags are too long");
    /// A flag of a meta command comes twice.
    pub const META_DUPLICATE_FLAG: Self = Self(b"CLIENT_ERROR duplicate flag");
    /// No meta command has such a flag.
    pub const META_INVALID_FLAG: Self = Self(b"CLIENT_ERROR invalid flag");
    /// What `ma` answers instead of both, and to anything else that is wrong with its flags.
    pub const META_INVALID_OR_DUPLICATE_FLAG: Self =
        Self(b"CLIENT_ERROR invalid or duplicate flag");
    /// The number of a flag is none.
    pub const META_BAD_TOKEN: Self = Self(b"CLIENT_ERROR bad token in command line format");
    /// `J` is not a number.
    pub const META_INVALID_INITIAL: Self = Self(b"CLIENT_ERROR invalid numeric initial value");
    /// `D` is not a number.
    pub const META_INVALID_DELTA: Self = Self(b"CLIENT_ERROR invalid numeric delta value");
    /// The opaque has more than [`META_OPAQUE_LEN_MAX`](crate::limits::META_OPAQUE_LEN_MAX) bytes.
    pub const META_OPAQUE_TOO_LONG: Self = Self(b"CLIENT_ERROR opaque token too long");
    /// The key is not base64, though the flags say so.
    pub const META_KEY_ENCODING: Self = Self(b"CLIENT_ERROR error decoding key");
    /// `ms` has no such mode.
    pub const META_INVALID_STORAGE_MODE: Self = Self(b"CLIENT_ERROR invalid mode for ms M token");
    /// `ma` has no such mode.
    pub const META_INVALID_ARITHMETIC_MODE: Self =
        Self(b"CLIENT_ERROR invalid mode for ma M token");
    /// `stats detail` without on, off or dump.
    pub const STATS_DETAIL_USAGE: Self = Self(b"CLIENT_ERROR usage: stats detail on|off|dump");
    /// `stats cachedump` without its arguments.
    pub const BAD_LINE: Self = Self(b"CLIENT_ERROR bad command line");
    /// No class has this number.
    pub const ILLEGAL_CLASS: Self = Self(b"CLIENT_ERROR Illegal slab id");
    /// The same, of `lru_crawler`.
    pub const INVALID_CLASS: Self = Self(b"BADCLASS invalid class id");
    /// The same, of `slabs reassign`.
    pub const INVALID_CLASSES: Self = Self(b"BADCLASS invalid src or dst class id");
    /// `slabs reassign` from a class to itself.
    pub const SAME_CLASS: Self = Self(b"SAME src and dst class are identical");
    /// `slabs reassign` where nothing can be moved.
    pub const NO_SPARE_PAGES: Self = Self(b"NOSPARE source class has no spare pages");
    /// `lru_crawler disable` came before.
    pub const CRAWLER_DISABLED: Self = Self(b"CLIENT_ERROR lru crawler disabled");
    /// `lru_crawler sleep` with more than 1,000,000.
    pub const CRAWLER_SLEEP_TOO_LONG: Self = Self(b"CLIENT_ERROR sleep must be one second or less");
    /// `lru_crawler metadump` behind other requests.
    pub const METADUMP_IN_PIPELINE: Self =
        Self(b"ERROR cannot pipeline other commands before metadump");
    /// `lru_crawler mgdump` behind other requests.
    pub const MGDUMP_IN_PIPELINE: Self =
        Self(b"ERROR cannot pipeline other commands before mgdump");
    /// `lru tune` with more than 80 percent.
    pub const LRU_PERCENTS: Self = Self(b"ERROR hot and warm pcts must not exceed 80");
    /// `lru tune` with factors that are not positive.
    pub const LRU_FACTORS: Self = Self(b"ERROR hot/warm age factors must be greater than 0");
    /// `refresh_certs` without TLS.
    pub const NO_TLS: Self = Self(b"Error TLS not enabled");
    /// `watch` behind other requests.
    pub const WATCH_IN_PIPELINE: Self = Self(b"ERROR cannot pipeline other commands before watch");
    /// `watch` when as many watch as may.
    pub const TOO_MANY_WATCHERS: Self = Self(b"WATCHER_TOO_MANY log watcher limit reached");
    /// `refresh_certs` with files that cannot be used.
    pub const CERTIFICATES: Self = Self(b"Error loading the certificates");
    /// Anything before the login (`-Y`).
    pub const UNAUTHENTICATED: Self = Self(b"CLIENT_ERROR unauthenticated");
    /// A login that is not `user password`, or too long.
    pub const AUTH_TOKEN: Self = Self(b"CLIENT_ERROR bad authentication token format");
    /// A login that is not followed by the end of a line.
    pub const AUTH_TERMINATION: Self = Self(b"CLIENT_ERROR bad command line termination");
    /// A login that nobody has.
    pub const AUTH_FAILURE: Self = Self(b"CLIENT_ERROR authentication failure");
    /// `config get cluster` before any node is known.
    pub const NO_CLUSTER_NODES: Self = Self(b"SERVER_ERROR no node of the cluster is known yet");
    /// The server was started with `-F`.
    pub const FLUSH_NOT_ALLOWED: Self = Self(b"CLIENT_ERROR flush_all not allowed");
    /// The server was started with `-F`.
    pub const FLUSH_NAMESPACE_NOT_ALLOWED: Self = Self(b"CLIENT_ERROR flush_namespace not allowed");
    /// The server does not tell keys.
    pub const HOT_KEYS_NOT_ALLOWED: Self =
        Self(b"CLIENT_ERROR stats hotkeys tells keys: start the server with --show-keys");
    /// The server was started with `-X`.
    pub const CACHEDUMP_NOT_ALLOWED: Self = Self(b"CLIENT_ERROR stats cachedump not allowed");
    /// The server was started with `-X`.
    pub const DETAIL_NOT_ALLOWED: Self = Self(b"CLIENT_ERROR stats detail not allowed");
    /// The server was started with `-X`.
    pub const METADUMP_NOT_ALLOWED: Self = Self(b"ERROR metadump not allowed");
    /// The server was started with `-X`.
    pub const KEY_DUMP_NOT_ALLOWED: Self = Self(b"ERROR key dump not allowed");
    /// The server was started with `-W`.
    pub const WATCH_NOT_ALLOWED: Self = Self(b"CLIENT_ERROR watch commands not allowed");
    /// `shutdown` with something other than `graceful`.
    pub const SHUTDOWN_MODE: Self = Self(b"CLIENT_ERROR invalid shutdown mode");
    /// The server has as many connections as it may; it closes this one.
    pub const TOO_MANY_CONNECTIONS: Self = Self(b"ERROR Too many open connections");
}

impl<'a> ErrorReply<'a> {
    /// The line, if it is one of the error lines.
    pub(crate) fn from_line(line: &'a [u8]) -> Option<Self> {
        [
            b"ERROR".as_slice(),
            b"CLIENT_ERROR",
            b"SERVER_ERROR",
            b"MEMLIMIT_",
        ]
        .iter()
        .any(|prefix| line.starts_with(prefix))
        .then_some(Self(line))
    }

    /// The line, without its line end.
    pub const fn line(self) -> &'a [u8] {
        self.0
    }

    /// Whose fault it is.
    pub fn kind(self) -> ErrorKind {
        if self.0.starts_with(b"CLIENT_ERROR") {
            ErrorKind::Client
        } else if self.0.starts_with(b"SERVER_ERROR") {
            ErrorKind::Server
        } else {
            ErrorKind::Error
        }
    }
}

impl fmt::Debug for ErrorReply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorReply(\"{}\")", self.0.escape_ascii())
    }
}
