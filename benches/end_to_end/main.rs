//! How many requests daemons answer, how fast, and what of a processor that takes.
//!
//! ```sh
//! cargo build --release && cargo bench -p benches --bench end_to_end             # nuthatch and its peers
//! cargo bench -p benches --bench end_to_end -- --address HOST:PORT --pipeline 50 # a server that runs
//! ```

mod comparison;
mod nothing;

use std::error::Error;
use std::net::ToSocketAddrs as _;
use std::time::Duration;

use benches::daemon::{self, Program};
use benches::report::{Options, Report};
use clap::Parser;
use comparison::Comparison;
use nuthatch_load::{self as load, Dialect, Target, Window, Workload};

/// What `--quick` makes of the workloads.
const QUICK_KEYS: u32 = 1000;
const QUICK_WINDOW: Window = Window {
    warmup: Duration::from_millis(10),
    measured: Duration::from_millis(50),
};

/// Requests per second, processor time and latency of nuthatch (`NUTHATCH_BIN`, or what `cargo build --release`
/// made), of what is installed of memcached and Redis, and of a server that answers from nothing, which none can
/// beat; or of one server that runs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Be the server that answers from nothing.
    #[arg(long, hide = true)]
    answer_from_nothing: bool,
    /// Measure this server with the workload of the flags below, and print JSON.
    #[arg(long)]
    address: Option<String>,
    /// It speaks Redis' protocol.
    #[arg(long, requires = "address")]
    resp: bool,
    /// It holds the keys already.
    #[arg(long, requires = "address")]
    filled: bool,
    #[command(flatten)]
    workload: Workload,
    /// Only these of the standard workloads; by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each server has its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Worker threads of each server; with one, it has a processor for itself, if there are several.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[command(flatten)]
    options: Options,
}

impl Arguments {
    fn window(&self) -> Window {
        if self.options.quick {
            return QUICK_WINDOW;
        }
        Window {
            warmup: Duration::from_secs_f64(self.seconds / 4.0),
            measured: Duration::from_secs_f64(self.seconds),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.answer_from_nothing {
        return Ok(nothing::serve(daemon::tell_port)?);
    }
    match &arguments.address {
        Some(address) => measure_one(&arguments, address),
        None => compare(&arguments),
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
fn measure_one(arguments: &Arguments, address: &str) -> Result<(), Box<dyn Error>> {
    let address = address.to_socket_addrs()?.next().ok_or("no such address")?;
    let dialect = if arguments.resp {
        Dialect::Resp
    } else {
        Dialect::Memcached
    };
    let target = Target {
        address,
        dialect,
        pid: None,
    };
    if !arguments.filled {
        load::preload(target, &arguments.workload)?;
    }
    let outcome = load::run(target, &arguments.workload, arguments.window(), 1)?;
    println!("{}", outcome.json());
    Ok(())
}

fn compare(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut report = Report::new("end_to_end", &arguments.options);
    let mut programs = Program::peers();
    programs.push(Program::itself("nothing", "--answer-from-nothing")?);
    for program in &programs {
        report.line(format_args!("{}: {}", program.name, program.version()));
    }
    let rounds = if arguments.options.quick {
        1
    } else {
        arguments.rounds
    };
    let comparison = Comparison {
        programs: &programs,
        rounds,
        threads: arguments.threads,
        window: arguments.window(),
    };
    report.line(format_args!(
        "{rounds} rounds, in each a turn of {:?} for each server with {} threads; medians, and ratios of the same round",
        arguments.window().measured,
        arguments.threads
    ));
    let mut workloads = Workload::standard();
    workloads.retain(|(name, _)| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| only == name)
    });
    for (_, workload) in &mut workloads {
        if arguments.options.quick {
            workload.keys = workload.keys.min(QUICK_KEYS);
            workload.idle = workload.idle.min(10);
        }
    }
    comparison.run(&workloads, &mut report)?;
    Ok(report.save()?)
}
