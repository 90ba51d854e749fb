//! `nuthatch bench`: how many requests a server answers, and how fast.

use super::connection::{ANSWER_PATIENCE, Address, Connection};
use super::credentials::Credentials;
use super::error::ToolError;
use super::progress::Progress;
use super::span::Span;
use super::{SCHEMA, print, shown};
use crate::failure::Failure;
use clap::Args;
use nuthatch_load::{Dialect, Outcome, Target, Window, Workload, preload, run};
use serde_json::json;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

/// What is not counted at the beginning: this part of the time.
const WARMUP_DIVISOR: u32 = 4;

/// With less time to spare, the load generator is what is measured.
const BUSY: f64 = 0.9;

/// The arguments of `nuthatch bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The server: HOST or HOST:PORT
    #[arg(
        long,
        value_name = "ADDR",
        env = "MEMCACHED_SERVERS",
        default_value = "127.0.0.1:11211"
    )]
    server: Address,

    /// How long to measure
    #[arg(long = "for", value_name = "TIME", default_value = "10s")]
    duration: Span,

    /// Do not store the keys first: the server has them
    #[arg(long)]
    filled: bool,

    /// Where the order of keys begins; runs with the same one use the same keys
    #[arg(long, value_name = "NUM", default_value_t = 1)]
    seed: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    workload: Workload,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let target = Target {
            address: self.resolve()?,
            dialect: Dialect::Memcached,
            pid: None,
        };
        let failed = |error: Box<dyn Error>| ToolError::Lost {
            address: self.server.clone(),
            error: io::Error::other(error.to_string()),
        };
        if !self.filled {
            let progress = Progress::of_task(format!("storing {} items", self.workload.keys));
            preload(target, &self.workload).map_err(failed)?;
            progress.finish();
        }
        let measured = self.duration.0;
        let window = Window {
            warmup: measured / WARMUP_DIVISOR,
            measured,
        };
        let took = measured.saturating_add(window.warmup);
        let progress = Progress::of_task(format!("measuring, for {took:?}"));
        let outcome = run(target, &self.workload, window, self.seed).map_err(failed)?;
        progress.finish();
        print(if self.json {
            self.document(&outcome)
        } else {
            self.text(&outcome)
        })
    }

    /// The server's address, if it answers there.
    fn resolve(&self) -> Result<SocketAddr, ToolError> {
        let Address::Tcp { host, port } = &self.server else {
            return Err(ToolError::Usage(
                "bench measures over TCP: --server HOST:PORT",
            ));
        };
        let open =
            |address: &Address| Connection::open(address, &Credentials::default(), ANSWER_PATIENCE);
        let mut connection = open(&self.server)?;
        let is_memcached = match connection.ask("version") {
            Err(ToolError::Secured { .. }) => {
                return Err(ToolError::Usage("bench measures servers without TLS"));
            }
            version => version?.starts_with(b"VERSION "),
        };
        if !is_memcached {
            return Err(connection.wrong("bench measures servers that want no login"));
        }
        let connect = |error| ToolError::Connect {
            address: self.server.clone(),
            error,
        };
        let mut found = (host.as_str(), *port).to_socket_addrs().map_err(connect)?;
        let answers = |address: &SocketAddr| {
            let address = address.to_string().parse();
            address.is_ok_and(|address| open(&address).is_ok())
        };
        let no_address = || connect(io::Error::other("the name has no address"));
        found.find(answers).ok_or_else(no_address)
    }

    fn document(&self, outcome: &Outcome) -> String {
        let mut document = outcome.json();
        if let Some(fields) = document.as_object_mut() {
            // Nobody knows the process of a server that is named by its address.
            fields.remove("server_cpu_us_per_operation");
            fields.insert("schema".to_owned(), json!(SCHEMA));
            fields.insert("server".to_owned(), json!(self.server.to_string()));
        }
        format!("{document}\n")
    }

    fn text(&self, outcome: &Outcome) -> String {
        let latency =
            |percent| shown::duration(Duration::from_secs_f64(outcome.percentile(percent) / 1e6));
        let mut text = format!(
            "{}: {} requests in {:.1} s, {} per second\n\
             latency  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}\n\
             values received {}, errors {}, not sent in time {}\n",
            self.server,
            outcome.operations,
            outcome.elapsed.as_secs_f64(),
            shown::count(outcome.per_second()),
            latency(50.0),
            latency(90.0),
            latency(99.0),
            latency(99.9),
            latency(100.0),
            outcome.hits,
            outcome.errors,
            outcome.unsent,
        );
        if outcome.client_busy() > BUSY {
            text.push_str(
                "the load generator was busy all the time: the server may be faster than this\n",
            );
        }
        text
    }
}
