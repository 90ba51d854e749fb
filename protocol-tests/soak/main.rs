//! A load generator that checks every answer of a server that speaks the memcached protocol.
//!
//! It measures throughput only by the way. The data of the server is flushed at the start.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;

use crate::run::Report;
use crate::slot::Eviction;

mod choose;
mod connection;
mod item;
mod plan;
mod player;
mod random;
mod request;
mod run;
mod server;
mod session;
mod shared;
mod slot;
mod value;
mod working_set;

/// So many wrong answers are described in full.
const DESCRIBED_COUNT: usize = 5;

/// Loads a memcached-compatible server and checks every answer. Flushes its data.
#[derive(Debug, Parser)]
struct Arguments {
    /// Of the server, with its port.
    #[arg(long)]
    address: SocketAddr,
    /// Held open at once.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    connections: usize,
    /// Requests in all; a get of many keys is one.
    #[arg(long, default_value_t = 10_000_000, value_parser = at_least_one)]
    operations: usize,
    /// Process whose memory and open files are looked at.
    #[arg(long)]
    pid: Option<u32>,
    /// Memory that the data is measured by, instead of the server's own limit.
    #[arg(long)]
    memory_limit_mib: Option<u64>,
    /// Use several times more data than fits: items may be evicted, but what is found must be the
    /// newest write. Without it the data fits and no miss is forgiven.
    #[arg(long)]
    overfill: bool,
    /// The same seed makes the same requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Arguments {
    const fn eviction(&self) -> Eviction {
        if self.overfill {
            Eviction::Possible
        } else {
            Eviction::Excluded
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (text, right) = match run::run(&arguments) {
        Ok(report) => (report.to_string(), report.is_right()),
        Err(error) => (format!("soak failed: {error}\n"), false),
    };
    let text = format!("seed {}\n{text}", arguments.seed);
    let written = io::stdout().lock().write_all(text.as_bytes());
    if right && written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Report {
    fn is_right(&self) -> bool {
        self.wrong_answers.is_empty() && self.wrong_numbers.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let millis = self.elapsed.as_millis().max(1);
        let per_second = self.operations as u128 * 1000 / millis;
        writeln!(
            out,
            "operations {} in {seconds:.1} s, {per_second}/s",
            self.operations
        )?;
        writeln!(
            out,
            "keys {}, hits {}, misses {}",
            self.keys, self.hits, self.misses
        )?;
        let [before, most, after] = self.connections;
        writeln!(
            out,
            "connections before {before}, during {most}, after {after}"
        )?;
        if let Some([before, after]) = self.open_files {
            writeln!(out, "open files before {before}, after {after}")?;
        }
        let Self {
            items,
            bytes_max,
            limit,
            evictions,
            ..
        } = self;
        writeln!(
            out,
            "items {items}, bytes at most {bytes_max} of {limit}, evictions {evictions}"
        )?;
        if let Some(resident) = &self.resident {
            writeln!(out, "memory {resident}")?;
        }
        writeln!(out, "wrong answers {}", self.wrong_answers.len())?;
        for wrong in self.wrong_answers.iter().take(DESCRIBED_COUNT) {
            writeln!(out, "  connection {}: {}", wrong.connection, wrong.request)?;
            writeln!(out, "    wanted {}", wrong.wanted)?;
            writeln!(out, "    got    {}", wrong.got)?;
        }
        self.wrong_numbers
            .iter()
            .try_for_each(|number| writeln!(out, "wrong: {number}"))
    }
}
