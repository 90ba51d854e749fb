//! What a memcached answers on the wire, written down as transcripts that any server can be held to,
//! and what it takes to hold memcached and nuthatch to them.
//!
//! The transcripts are the files in `wire/`; [`transcript`] explains their form. `tests/oracle.rs`
//! replays them against the installed memcached, `tests/nuthatch.rs` against nuthatch.

pub mod differences;
pub mod memcached;
pub mod nuthatch;
pub mod pattern;
pub mod poll;
pub mod replay;
pub mod transcript;
pub mod twemproxy;
