//! What the program does when it does not serve: `nuthatch VERB`, one file for each verb.

mod arguments;
mod completions;
mod config;
mod connection;
mod convert;
mod dump;
mod dump_file;
mod error;
mod item;
mod listing;
mod load;
mod login;
mod man;
mod pace;
mod prime;
mod progress;
mod report;
mod source;
mod target;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::argv;
use crate::failure::Failure;

/// Without one of these it is the daemon: see `nuthatch --help`
#[derive(Debug, Parser)]
#[command(name = "nuthatch")]
struct Line {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
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

fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_ref()) {
        // Who reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
