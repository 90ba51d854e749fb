//! `nuthatch man`: the manual page of the daemon, from the definition of its flags.

use super::{Line, print};
use crate::failure::Failure;
use crate::flags::Flags;
use crate::given::{IGNORE_UNKNOWN, variable_of};
use crate::telemetry::{LOG, NO_COLOR};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

/// Daemons are in this section.
const SECTION: &str = "8";

const EXIT_CODES: &str = "Exit codes: 0 after SIGTERM, SIGINT or SIGUSR1; 1 for a bad flag or value; 64 for values \
    that do not go together; 67 for an unknown user; 71 when the system refuses; 78 for a bad configuration file. \
    Verbs end with 0 when all is done; 1 for a bad argument, no such item, or what `doctor` finds red; 64 for \
    arguments that do not go together; 65 when something was left out; 69 when a server is not there or does not do \
    it; 74 when standard input or output fails.";

pub(super) fn run() -> Result<(), Failure> {
    let mut page = Vec::new();
    Man::new(command()).section(SECTION).render(&mut page)?;
    print(page)
}

/// The daemon's command line, with what a page has room for.
fn command() -> Command {
    let daemon = Flags::command();
    let verbs = Line::command();
    let verbs: Vec<String> = verbs
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| {
            let about = verb.get_about().map(ToString::to_string);
            format!(
                "nuthatch {}: {}",
                verb.get_name(),
                about.unwrap_or_default()
            )
        })
        .collect();
    let after_help = daemon.get_after_help().map(ToString::to_string);
    let more = [
        after_help.unwrap_or_default(),
        verbs.join("\n\n"),
        other_variables(),
        EXIT_CODES.to_owned(),
    ];
    daemon
        .override_usage("nuthatch [FLAGS]\nnuthatch VERB")
        .mut_args(|flag| match variable_of(&flag) {
            Some(variable) => flag.env(variable),
            None => flag,
        })
        .after_help(more.join("\n\n"))
}

/// Those that stand for no flag.
fn other_variables() -> String {
    format!(
        "{IGNORE_UNKNOWN}=1 skips flags and suboptions that there are not. {LOG} is the level at which the log begins: \
         error, warn, info, debug or trace. {NO_COLOR}=1 forbids colours in the log. MEMCACHED_PORT_FILENAME names a \
         file for the ports that the daemon listens on."
    )
}
