//! A client for memcached and nuthatch.
#![forbid(unsafe_code)]
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod address;
mod error;
mod hash;
mod ring;

pub use address::NodeAddress;
pub use error::Error;
pub use ring::{Distribution, NODES_MAX, Ring, WEIGHT_MAX};
