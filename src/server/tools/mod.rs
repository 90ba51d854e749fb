//! What the program does when it does not serve: `nuthatch VERB`, a file or a folder for each verb; `change` has
//! those that change an item by a line.

mod answers;
mod arguments;
mod bench;
mod change;
mod completions;
mod config;
mod connection;
mod convert;
mod credentials;
mod doctor;
mod drain;
mod dump;
mod dump_file;
mod error;
mod flush;
mod get;
mod hot;
mod item;
mod key;
mod keys;
mod listing;
mod load;
mod login;
mod man;
mod pace;
mod paint;
mod ping;
mod polled;
mod prime;
mod progress;
mod report;
mod set;
mod shown;
mod source;
mod span;
mod statistics;
mod stats;
mod target;
mod tls;
mod top;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::argv;
use crate::failure::Failure;

/// The version of what verbs print with `--json`. It grows when something is taken away or means something else.
const SCHEMA: u32 = 1;

/// Without one of these it is the daemon: see `nuthatch --help`
#[derive(Debug, Parser)]
#[command(name = "nuthatch")]
struct Line {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Ask whether servers answer: exit code 0 if all of them do
    Ping(ping::Ping),
    /// Print the value of an item
    Get(get::Get),
    /// Store an item
    Set(set::Set),
    /// Delete an item
    Delete(change::Delete),
    /// Add to the number in an item, and print the sum
    Incr(change::Arithmetic),
    /// Subtract from the number in an item, down to 0, and print what is left
    Decr(change::Arithmetic),
    /// Give an item another lifetime
    Touch(change::Touch),
    /// Print statistics, once or as they change
    Stats(stats::Stats),
    /// Show what servers do now, on the terminal; elsewhere as lines of JSON
    Top(top::Top),
    /// Print the keys that are used most
    Hot(hot::Hot),
    /// Print the keys that there are
    Keys(keys::Keys),
    /// Forget all items, or those of a namespace
    Flush(flush::Flush),
    /// Have load balancers send no more clients, and wait until those that are connected have gone
    Drain(drain::Drain),
    /// Look for what is wrong with servers and their machine, and say what to do: exit code 1 if there is something
    Doctor(doctor::Doctor),
    /// Measure how many requests a server answers, and how fast; it stores items of its own there
    Bench(bench::Bench),
    /// Check, show or convert configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Write all items of a server to standard output, with their flags and expiry times
    Dump(dump::Dump),
    /// Add the items of a dump on standard input to a server; what the server has stays
    Load(load::Load),
    /// Add the items of one server to another; what that one has stays
    Prime(prime::Prime),
    /// Print the manual page of the daemon, for man
    Man,
    /// Print completions of flags and verbs, for a shell
    Completions(completions::Completions),
}

/// Does what the first argument asks for and gives the exit code, or none if the daemon is meant.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let verb = arguments.get(1)?.to_str()?;
    let command = Line::command();
    let is_verb = verb == "help" || command.find_subcommand(verb).is_some();
    if !is_verb || argv::is_memcached(arguments) {
        return None;
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return Some(Failure::print_clap(&error)),
    };
    let done = match line.tool {
        Tool::Ping(ping) => ping.run(),
        Tool::Get(get) => get.run(),
        Tool::Set(set) => set.run(),
        Tool::Delete(delete) => delete.run(),
        Tool::Incr(arithmetic) => arithmetic.incr(),
        Tool::Decr(arithmetic) => arithmetic.decr(),
        Tool::Touch(touch) => touch.run(),
        Tool::Stats(stats) => stats.run(),
        Tool::Top(top) => top.run(),
        Tool::Hot(hot) => hot.run(),
        Tool::Keys(keys) => keys.run(),
        Tool::Flush(flush) => flush.run(),
        Tool::Drain(drain) => drain.run(),
        Tool::Doctor(doctor) => doctor.run(),
        Tool::Bench(bench) => bench.run(),
        Tool::Config(config) => config.run(),
        Tool::Dump(dump) => report::say(dump.run()),
        Tool::Load(load) => report::say(load.run()),
        Tool::Prime(prime) => report::say(prime.run()),
        Tool::Man => man::run(),
        Tool::Completions(completions) => completions.run(),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    })
}

/// The names of all verbs.
pub(crate) fn verbs() -> Vec<String> {
    let line = Line::command();
    let verbs = line
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned());
    verbs.collect()
}

fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_ref()) {
        // Who reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
