//! memcached's command-line dialect, where it is not that of clap: what unit files, images and charts
//! pass is turned into what [`Flags`] reads.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, CommandFactory as _};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::administer::VERSION;
use crate::flags::Flags;
use crate::tools;

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
        let more = command.get_after_help().map(ToString::to_string);
        let more = [more.unwrap_or_default(), verbs()].join("\n\n");
        command.after_help(more)
    };
    let first_line = command.render_version();
    command.before_help(first_line)
}

/// What `nuthatch` can do besides serving.
fn verbs() -> String {
    let verbs = tools::verbs().join(", ");
    format!("Instead of flags there may be a verb: {verbs}. `nuthatch VERB --help` says more.")
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

/// Takes flags that there are not out of a tidy line, with what is tied to them, and gives them. What stands behind
/// them as a word of its own is skipped anyway.
pub(crate) fn take_unknown(command: &Command, line: &mut Vec<OsString>) -> Vec<String> {
    let mut unknown = Vec::new();
    // Each turn takes one out.
    for _ in 0..line.len() {
        let Err(error) = matches(command, line, &[]) else {
            break;
        };
        let Some(flag) = unknown_flag(&error) else {
            break;
        };
        let is_it = |argument: &OsString| {
            let argument = argument.to_string_lossy();
            let value = argument.strip_prefix(&flag);
            value.is_some_and(|value| {
                value.is_empty() || value.starts_with('=') || !flag.starts_with("--")
            })
        };
        let Some(place) = line.iter().position(is_it) else {
            break;
        };
        unknown.push(line.remove(place).to_string_lossy().into_owned());
    }
    unknown
}

fn unknown_flag(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(flag) => Some(flag.clone()),
        _ => None,
    }
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
