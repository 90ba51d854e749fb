//! nuthatch: a memcached-compatible cache daemon.
//!
//! This library is the daemon without its command line, for `main.rs`, for tests and for benches. Its
//! interface is internal and may change with every version.
//!
//! A get passes `listener` (once per connection), `worker` with its `event_loop`, `connection`, the protocol's `text`,
//! `execute`, the store, and `output`. See `src/README.md` for the life of a get and of a set.
#![forbid(unsafe_code)]

mod access;
pub mod address;
pub mod admin;
pub mod administer;
mod allocator;
pub mod argv;
mod auth;
mod batch;
mod body;
mod buffer_pool;
mod census;
mod chance;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod config_file;
pub mod connection;
mod counters;
mod distribution;
mod dump;
mod event_loop;
mod execute;
mod execute_meta;
pub mod failure;
mod feed;
pub mod flags;
pub mod given;
mod guess;
mod input;
pub mod insight;
mod latency;
mod listener;
mod maintenance;
mod memory;
mod metrics;
mod notify;
mod nuthatch_metrics;
pub mod options;
mod output;
mod page;
mod prefix_stats;
pub mod process;
mod process_stats;
mod readable;
mod server;
pub mod setting;
mod shared;
pub mod signals;
pub mod snapshot;
mod snapshot_blocks;
mod socket;
mod stats_conns;
mod stats_items;
mod stats_settings;
mod stats_text;
mod status;
mod status_keys;
mod storing;
pub mod telemetry;
pub mod tls;
pub mod tools;
mod tuning;
mod turn;
mod watch;
mod worker;

pub use access::{Access, AccessError};
pub use listener::ListenError;
pub use server::{Bound, Server, StartError, check};
pub use shared::Shared;
pub use socket::Transport;
pub use worker::Worker;
