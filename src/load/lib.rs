//! A load generator for servers that speak memcached's text protocol or Redis' RESP.
//!
//! One thread with one event loop and many connections. With no rate given, each connection sends a batch of
//! requests, waits for all of their answers, and sends the next. With a rate, requests are due at random moments
//! (a Poisson process), whatever the server does, and a latency counts from the moment at which its request was
//! due: a server that stalls cannot hide the requests that nobody could send meanwhile.
#![forbid(unsafe_code)]

mod connection;
mod driver;
mod outcome;
mod replies;
mod requests;
mod workload;

pub use driver::{Target, Window, cpu_time, preload, run};
pub use outcome::Outcome;
pub use requests::Dialect;
pub use workload::{Lengths, Operation, Popularity, Workload};
