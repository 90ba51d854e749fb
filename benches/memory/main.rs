//! What daemons take of memory: for each item, and when the sizes of items change.
//!
//! ```sh
//! cargo build --release && cargo bench -p benches --bench memory
//! ```

mod per_item;
mod size_shift;

use std::error::Error;

use benches::daemon::Program;
use benches::report::{Options, Report};
use clap::Parser;

/// So much less is stored with `--quick`.
const QUICK_DIVISOR: u64 = 500;

/// Memory of nuthatch (`NUTHATCH_BIN`, or what `cargo build --release` made) and of memcached.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many items of each size.
    #[arg(long, default_value_t = 5_000_000)]
    items: u64,
    /// Megabytes of the daemons whose items change their sizes; several by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [256, 1024])]
    memory: Vec<u64>,
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.options.quick {
        arguments.items /= QUICK_DIVISOR;
        arguments.memory = vec![8];
    }
    let programs = Program::all();
    let mut report = Report::new("memory", &arguments.options);
    for program in &programs {
        report.line(format_args!("{}: {}", program.name, program.version()));
    }
    per_item::measure(&programs, arguments.items, &mut report)?;
    for memory in arguments.memory {
        size_shift::measure(&programs, memory, &mut report)?;
    }
    Ok(report.save()?)
}
