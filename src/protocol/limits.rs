//! Every limit of the protocol, with its source.

/// Longest key, in bytes (memcached `KEY_MAX_LENGTH`).
pub const KEY_LEN_MAX: usize = 250;

/// Shortest line that is looked at, its end included; a shorter one is malformed (memcached 1.6.45).
pub const LINE_LEN_MIN: usize = 4;

/// Bytes that may wait for the end of their line; a sender that goes on is cut off
/// (memcached `try_read_command_ascii`). A longer line whose end has already arrived is fine.
pub const LINE_LEN_MAX: usize = 2048;

/// The same for `get ` and `gets `, which carry as many keys as the client likes. memcached sets no
/// limit here; its own tests send 187 KB.
pub const GET_LINE_LEN_MAX: usize = 2 * 1024 * 1024;

/// Spaces before a long `get ` that are looked past (memcached `try_read_command_ascii`).
pub const GET_LEADING_SPACES_MAX: usize = 100;

/// Tokens of a line that are looked at, except the keys of a retrieval (memcached `MAX_TOKENS` - 1).
pub const TOKENS_MAX: usize = 23;

/// Tokens of the line of a meta command (memcached `MFLAG_MAX_OPT_LENGTH`).
pub const META_TOKENS_MAX: usize = 20;

/// Longest opaque of a meta command, in bytes, its letter included (memcached `MFLAG_MAX_OPAQUE_LENGTH`).
pub const META_OPAQUE_LEN_MAX: usize = 32;

/// Longest value that may be announced, in bytes: 2^31 - 3, so that the `\r\n` behind it still counts
/// in 31 bits. What a daemon stores is limited by its item size, far below.
pub const VALUE_LEN_MAX: u64 = 2_147_483_645;

/// Largest number of seconds that is relative to now; above, an exptime is a Unix time (30 days).
pub const EXPTIME_RELATIVE_MAX: u32 = 60 * 60 * 24 * 30;

/// Lines in which [`keys_ahead`](crate::keys_ahead) looks for keys: 32 sets, each with its value.
pub const LINES_AHEAD_MAX: usize = 64;

/// Longest line of a reply that a client accepts, in bytes. memcached's longest are `STAT` lines.
pub const REPLY_LINE_LEN_MAX: usize = 8192;
