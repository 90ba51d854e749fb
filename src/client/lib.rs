//! A client for memcached and nuthatch.
#![forbid(unsafe_code)]
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod address;
mod backoff;
mod builder;
mod client;
mod clock;
mod codec;
mod connection;
mod error;
mod fleet;
mod flight;
mod hash;
mod invalidate;
mod join;
mod journal;
mod key;
mod link;
mod lock;
mod many;
mod node;
mod op;
mod policy;
mod refresh;
mod reply;
mod ring;
mod stream;
mod timeouts;
mod topology;
mod ttl;
mod update;
mod value;

pub use address::NodeAddress;
pub use builder::{Builder, CONNECTIONS_MAX};
pub use client::{Cas, CasOutcome, Client, Item, OnDown};
pub use codec::Codec;
pub use error::{Error, Phase};
pub use fleet::PerNode;
pub use invalidate::{Invalidate, Invalidated};
pub use key::KeyPolicy;
pub use many::Many;
pub use policy::{OnContention, Policy};
pub use refresh::{Fetched, LoadContext, Source};
pub use reply::TimeLeft;
pub use ring::{Distribution, NODES_MAX, Ring, WEIGHT_MAX};
pub use timeouts::Timeouts;
pub use ttl::Ttl;
pub use update::UPDATES_MAX;
#[cfg(feature = "json")]
pub use value::Json;
pub use value::{Decode, Encode, Kind, Payload};
