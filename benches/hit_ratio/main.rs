//! How many requests a cache of so many bytes answers: the store next to other policies, and with
//! `--servers` nuthatch next to memcached, both as daemons.
//!
//! ```sh
//! cargo bench -p benches --bench hit_ratio                          # the store and other policies
//! cargo bench -p benches --bench hit_ratio -- --servers             # the daemons
//! cargo bench -p benches --bench hit_ratio -- --advice              # the daemon's advisor
//! cargo bench -p benches --bench hit_ratio -- --trace FILE --memory 128
//! ```
//!
//! A request is a get and, if that misses, a set of the item. Misses are counted in the second half of
//! a trace. [`trace_file`] says what a trace of one's own looks like.

mod advice;
mod lists;
mod policy;
mod servers;
mod simulated;
mod trace;
mod trace_file;

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use benches::daemon::Program;
use benches::plot::{Kind, Plot};
use benches::report::{Options, Report};
use clap::Parser;
use nuthatch::insight::LIMITS;

use crate::policy::{POLICIES, Policy};
use crate::trace::{Generated, Source};
use crate::trace_file::TraceFile;

/// So much smaller are traces and memory with `--quick`.
const QUICK_DIVISOR: usize = 200;

/// Miss ratios of the store and other policies, or of daemons.
#[derive(Debug, Parser)]
struct Arguments {
    /// Megabytes; several by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 128])]
    memory: Vec<u64>,
    /// Instead of the generated traces: a file with a line `KEY VALUE_BYTES` for each request.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Only traces whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Ask daemons: nuthatch (`NUTHATCH_BIN`, or what `cargo build --release` made) and memcached.
    #[arg(long)]
    servers: bool,
    /// Compare what the advisor predicts for other sizes with what they do.
    #[arg(long, conflicts_with = "servers")]
    advice: bool,
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let divisor = if arguments.options.quick {
        QUICK_DIVISOR
    } else {
        1
    };
    let mut traces: Vec<Box<dyn Source>> = Vec::new();
    if let Some(path) = &arguments.trace {
        traces.push(Box::new(TraceFile::open(path)?));
    } else {
        for trace in Generated::plain(divisor) {
            traces.push(Box::new(trace));
        }
        if arguments.advice {
            traces.push(Box::new(Generated::churning(divisor)));
        }
    }
    traces.retain(|trace| trace.name().contains(&arguments.only));
    if arguments.advice {
        advise(&arguments, &traces, divisor)
    } else if arguments.servers {
        ask_servers(&arguments, &traces)
    } else {
        simulate(&arguments, &traces, divisor)
    }
}

fn simulate(
    arguments: &Arguments,
    traces: &[Box<dyn Source>],
    divisor: usize,
) -> Result<(), Box<dyn Error>> {
    let mut report = Report::new("hit_ratio", &arguments.options);
    report.line("miss ratio of the second half of each trace");
    report.line("nuthatch is charged for all it allocates, the others for key, value and 34 bytes");
    for memory in &arguments.memory {
        report.line(format_args!("\n{memory} MiB"));
        let names = POLICIES.map(|(name, _)| format!("{name:>17}")).concat();
        report.line(format_args!("{:<26}{names}", "trace"));
        let mut series: Vec<(String, Vec<f64>)> = POLICIES
            .map(|(name, _)| (name.to_owned(), Vec::new()))
            .into();
        for trace in traces {
            let mut line = format!("{:<26}", trace.name());
            for ((_, make), (_, ratios)) in POLICIES.iter().zip(&mut series) {
                let ratio = replay(&**trace, &mut *make((memory << 20) / divisor as u64));
                write!(line, "{ratio:>17.4}")?;
                ratios.push(ratio);
            }
            report.line(line);
        }
        let groups: Vec<String> = traces.iter().map(|trace| trace.name().to_owned()).collect();
        if let Some(path) = report.plot_path(&format!("-{memory}")) {
            let plot = Plot {
                kind: Kind::Bars,
                title: &format!("Misses with {memory} MiB"),
                unit: "miss ratio",
                groups: &groups,
                series: &series,
            };
            plot.save(&path)?;
        }
    }
    Ok(report.save()?)
}

fn advise(
    arguments: &Arguments,
    traces: &[Box<dyn Source>],
    divisor: usize,
) -> Result<(), Box<dyn Error>> {
    let mut report = Report::new("advice", &arguments.options);
    report.line("hit ratio of the second half of each trace with so much of the memory,");
    report.line("as the advisor tells it / as it is / points between them");
    let labels = LIMITS.map(|(label, _)| format!("{label:>27}")).concat();
    for memory in &arguments.memory {
        report.line(format_args!("\n{memory} MiB"));
        report.line(format_args!("{:<26}{labels}  sampled keys", "trace"));
        for trace in traces {
            let compared = advice::compare(&**trace, (memory << 20) / divisor as u64);
            let mut line = format!("{:<26}", trace.name());
            for (number, real) in compared.real.iter().enumerate() {
                match compared.predicted.and_then(|all| all.get(number).copied()) {
                    Some(told) => {
                        let points = (told - real) * 100.0;
                        write!(line, "    {told:.4} / {real:.4} {points:>+5.2}")?;
                    }
                    None => write!(line, "         - / {real:.4}      ")?,
                }
            }
            report.line(format_args!("{line}  {:>12}", compared.sampled_keys));
        }
    }
    Ok(report.save()?)
}

fn replay(trace: &dyn Source, policy: &mut dyn Policy) -> f64 {
    let mut misses = Misses::new(trace.len());
    for request in trace.requests() {
        if request.is_delete {
            policy.delete(request);
            continue;
        }
        let is_hit = policy.get(request);
        misses.count(is_hit);
        if !is_hit {
            policy.set(request);
        }
    }
    misses.ratio()
}

fn ask_servers(arguments: &Arguments, traces: &[Box<dyn Source>]) -> Result<(), Box<dyn Error>> {
    let mut report = Report::new("hit_ratio_servers", &arguments.options);
    let programs = Program::all();
    for program in &programs {
        report.line(format_args!("{}: {}", program.name, program.version()));
    }
    report.line(
        "miss ratio of the second half of each trace; RSS in MiB at the end; one thread each",
    );
    for memory in &arguments.memory {
        report.line(format_args!("\n-m {memory}"));
        for trace in traces {
            let mut line = format!("{:<26}", trace.name());
            let mut ratios = Vec::new();
            for program in &programs {
                let daemon = program.start(*memory)?;
                let ratio = servers::replay(&**trace, &daemon)?;
                let [resident, _] = daemon.resident()?;
                let name = program.name;
                write!(line, "  {name} {ratio:.4} ({} MiB)", resident >> 20)?;
                ratios.push(ratio);
            }
            if let [ours, theirs] = *ratios {
                write!(line, "  {:.3}x", ours / theirs)?;
            }
            report.line(line);
        }
    }
    Ok(report.save()?)
}

/// Counts misses once half of the requests have warmed the cache up.
#[derive(Debug)]
struct Misses {
    uncounted: usize,
    counted: u32,
    missed: u32,
}

impl Misses {
    const fn new(requests: usize) -> Self {
        Self {
            uncounted: requests / 2,
            counted: 0,
            missed: 0,
        }
    }

    fn count(&mut self, is_hit: bool) {
        if self.uncounted > 0 {
            self.uncounted -= 1;
            return;
        }
        self.counted += 1;
        self.missed += u32::from(!is_hit);
    }

    fn ratio(&self) -> f64 {
        f64::from(self.missed) / f64::from(self.counted.max(1))
    }
}
