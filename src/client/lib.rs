//! A client for memcached and nuthatch, for a fleet of app servers that share a fleet of cache nodes.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let daemon = protocol_tests::nuthatch::Nuthatch::start(&[])?;
//! # let address = daemon.address().to_string();
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use nuthatch_client::{Client, Error, Policy, Ttl};
//! use std::time::Duration;
//!
//! let client = Client::builder().node(address).build().await?;
//! client.set("greeting", "hello", Ttl::secs(60)).await?;
//! assert_eq!(client.get::<String>("greeting").await?.as_deref(), Some("hello"));
//!
//! // From the cache, or from the database: one process loads, the others wait, or are served what was there.
//! let policy = Policy::fresh_for(Duration::from_mins(1)).grace(Duration::from_secs(600));
//! let user = client
//!     .get_or_refresh("user:1", &policy, |_| async { Ok::<_, Error>(Some("Ada".to_owned())) })
//!     .await?;
//! assert_eq!(user.value.as_deref(), Some("Ada"));
//!
//! // After the database has changed.
//! let _ = client.invalidate("user:1").await?;
//! # Ok::<(), nuthatch_client::Error>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//! * **Keys lie where other clients look for them**: [`Distribution`].
//! * **One connection for each node**, shared by all tasks: requests are pipelined, and each reply must carry the number
//!   of its request. A call may be dropped at any time, and no other call ever receives its reply.
//! * **No stampedes**: [`Client::get_or_refresh`] has one process load a value; [`Client::invalidate`] is never undone by
//!   who loaded before it.
//! * **Failure, not failover**: a node that is down is a miss to readers and an error to writers, at once, until it is
//!   back; it hears the invalidations that it missed before it is read. Keys never move because a node failed, unless
//!   [`Builder::auto_eject`] says so; a [`Builder::gutter`] stands in without that.
//! * **Values of others**: [`Codec`] reads what Python, PHP and Ruby stored, and never unpickles.
//!
//! A server that knows no meta commands (memcached before 1.6.10, twemproxy) is spoken to in classic words. These carry no
//! numbers; there the order of replies and the keys of values are what is checked.
//! twemproxy hangs up on whatever else it does not know. It is asked only what it does: no `get_and_touch`, and nothing
//! about whole nodes.
//!
//! # Copies
//! | value | copies on its way |
//! |---|---|
//! | stored, as [`bytes::Bytes`], below 16 KiB | one, into the buffer that is written |
//! | stored, as [`bytes::Bytes`], from 16 KiB up | none |
//! | read, up to 8 KiB | one, so that a small value keeps no large buffer alive |
//! | read, above 8 KiB | none |
//!
//! # Metrics
//! With the feature `metrics`, the recorder that is there when the client is built is told what happens.
//! Each field of [`Counters`] is a counter `nuthatch_client_<field>_total`. Besides, there are:
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `nuthatch_client_calls_total` | counter | `node`, `command`, `outcome` | calls to nodes: `ok`, `refused`, `unsupported`, `unavailable`, `timeout`, `ambiguous`, `failed` |
//! | `nuthatch_client_call_seconds` | histogram | `node`, `command` | how long they took, however they ended |
//! | `nuthatch_client_node_up` | gauge | `node` | 1, or 0 while the node is left alone because it is down |
//! | `nuthatch_client_refreshes_total` | counter | `outcome` | calls of `get_or_refresh`: `fresh`, `stale`, `loaded`, `shared`, `local`, `failed` |
//! | `nuthatch_client_load_seconds` | histogram | | how long loaders took that succeeded |
//!
//! # Spans
//! At the level `trace`, each call to a node is a span `call` with its `node` and `command`, and an error is an event in
//! it. At `debug`, each run of a loader is a span `load`. Nodes that go down are warnings. Keys and values are in none.
//!
//! # Features
//! All are off at first: `blocking` ([`blocking`](crate#modules) calls for programs without a runtime), `json`
//! (values of any shape, by serde), `metrics` (counts and times, by the facade of that name), `near-cache` (a small cache
//! in the process, for moments), `srv` (nodes from SRV records of DNS), `tls` (encrypted connections), `zlib` (reads what
//! other languages' clients compressed).
#![forbid(unsafe_code)]
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod address;
mod backoff;
#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod client;
mod clock;
mod codec;
mod connection;
mod counters;
mod discovery;
mod eject;
mod error;
mod fastlz;
mod fleet;
mod flight;
mod gutter;
mod hash;
mod invalidate;
mod join;
mod journal;
mod key;
mod link;
mod lock;
mod many;
#[cfg_attr(not(feature = "metrics"), path = "unmetered.rs")]
mod meter;
mod namespace;
#[cfg_attr(not(feature = "near-cache"), path = "far.rs")]
mod near;
mod node;
mod op;
mod place;
mod policy;
mod refresh;
mod refresh_many;
mod reply;
mod ring;
#[cfg(feature = "srv")]
mod srv;
mod stream;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod ttl;
mod update;
mod value;

pub use address::NodeAddress;
pub use builder::{Builder, CONNECTIONS_MAX};
pub use client::{Cas, CasOutcome, Client, Item, OnDown};
pub use codec::Codec;
pub use counters::Counters;
pub use discovery::Discovery;
pub use error::{Error, Phase};
pub use fleet::PerNode;
pub use invalidate::{Invalidate, Invalidated};
pub use key::KeyPolicy;
pub use many::Many;
pub use namespace::{Scoped, Version};
#[cfg(feature = "near-cache")]
pub use near::NearCache;
pub use policy::{OnContention, Policy, Strategy};
pub use refresh::{Fetched, LoadContext, Source};
pub use refresh_many::{AT_ONCE_MAX, List, Warmer};
pub use reply::TimeLeft;
pub use ring::{Distribution, NODES_MAX, Ring, WEIGHT_MAX};
pub use timeouts::Timeouts;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use ttl::Ttl;
pub use update::UPDATES_MAX;
#[cfg(feature = "json")]
pub use value::Json;
pub use value::{Decode, Encode, Kind, Payload};
