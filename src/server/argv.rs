//! memcached's command-line dialect, where it is not that of clap: what unit files, images and charts
//! pass is turned into what [`Flags`] reads.

use clap::{ArgMatches, Command, CommandFactory as _};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::administer::VERSION;
use crate::flags::Flags;

/// Whether the program is to be memcached and nothing else: it is called so, or an image puts the name in front.
pub fn is_memcached(arguments: &[OsString]) -> bool {
    let name = arguments
        .first()
        .and_then(|program| Path::new(program).file_name());
    let first_word = arguments.get(1).map(OsString::as_os_str);
    [name, first_word].contains(&Some(OsStr::new("memcached")))
}

/// The daemon's command line. Scripts take the first line of `memcached -h` apart to learn the version.
pub fn command(arguments: &[OsString]) -> Command {
    let command = Flags::command();
    let command = if is_memcached(arguments) {
        command.name("memcached").version(VERSION)
    } else {
        command
    };
    let first_line = command.render_version();
    command.before_help(first_line)
}

/// The arguments as clap understands them.
pub fn tidy(arguments: &[OsString]) -> Vec<OsString> {
    let mut arguments = arguments.iter();
    let program = arguments.next().cloned();
    let program = program.unwrap_or_else(|| "nuthatch".into());
    std::iter::once(program)
        .chain(arguments.map(untie_count))
        .collect()
}

/// `--verbose=3`, which getopt takes, is `-vvv`.
fn untie_count(argument: &OsString) -> OsString {
    let count = argument
        .to_str()
        .and_then(|text| text.strip_prefix("--verbose="));
    match count.and_then(|count| count.parse::<usize>().ok()) {
        Some(count @ 1..=9) => format!("-{}", "v".repeat(count)).into(),
        Some(_) => "-v".into(),
        None => argument.clone(),
    }
}

/// Parses a tidy line with further arguments in front of its own.
pub(crate) fn matches(
    command: &Command,
    line: &[OsString],
    extra: &[OsString],
) -> Result<ArgMatches, clap::Error> {
    let (program, line) = line.split_at_checked(1).unwrap_or((line, &[]));
    command
        .clone()
        .try_get_matches_from([program, extra, line].concat())
}

/// What clap says to these arguments, were they the only ones, in one line.
pub(crate) fn check(command: &Command, arguments: &[OsString]) -> Result<(), String> {
    match matches(command, &["nuthatch".into()], arguments) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Err(line.trim_start_matches("error: ").to_owned())
        }
    }
}
