//! The memcached text protocol, for both ends of the connection.
//!
//! A server decodes [`Request`]s and encodes [`Response`]s, a client does the reverse, with the same
//! types. Nothing here does I/O, reads a clock or touches the bytes of a value: a storage request or a
//! `VALUE` reply is decoded to its header, which says how many bytes of value follow, and the caller
//! moves those. Decoding borrows from the caller's buffer and allocates nothing.
//!
//! ```text
//! line    = command *( 1*SP token ) *SP [CR] LF          a line ends at LF; one CR before it is dropped
//! request = line | storage-line value CR LF              value: as many bytes as the line announces
//! reply   = line | "VALUE" key flags len [cas] CR LF value CR LF
//! ```
//!
//! ```
//! use nuthatch_protocol::{Decoded, Request, RequestDecoder, Response};
//!
//! let mut decoder = RequestDecoder::new();
//! let Decoded::Request { request: Request::Retrieve(get), line_len } = decoder.decode(b"get seed\r\n")
//! else {
//!     panic!("a whole get was there")
//! };
//! assert_eq!(line_len, 10);
//! assert_eq!(get.keys.into_iter().next().unwrap().as_bytes(), b"seed");
//!
//! let mut reply = Vec::new();
//! Response::End.encode(&mut reply);
//! assert_eq!(reply, b"END\r\n");
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod error;
mod exptime;
mod key;
pub mod limits;
mod meta;
mod meta_flags;
mod meta_reply;
mod request;
mod response;
mod scan;
mod text;
mod text_reply;

pub use error::{ErrorKind, ErrorReply};
pub use exptime::{Exptime, Lifetime};
pub use key::{Key, KeyError, Keys, KeysIter};
pub use meta::{KeyBuffer, Meta, MetaStorage, put_base64};
pub use meta_flags::{MetaFlags, MetaMode};
pub use meta_reply::{MetaFacts, MetaMarks, MetaReply, MetaStatus};
pub use request::{
    AdminCommand, Arithmetic, ArithmeticOp, Delete, FlushAll, FlushNamespace, MemoryLimit, Request,
    Retrieve, Storage, StorageMode, Touch, Verbosity,
};
pub use response::{Response, ValueHeader};
pub use scan::{Tokens, parse_u32};
pub use text::{Decoded, Refusal, RequestDecoder, is_repeated, keys_ahead, repeats};
pub use text_reply::{DecodedReply, ReplyDecoder};
