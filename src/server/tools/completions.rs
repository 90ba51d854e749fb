//! `nuthatch completions SHELL`: what a shell needs to complete flags and verbs, from their definitions.

use super::{Tool, print};
use crate::failure::Failure;
use crate::flags::Flags;
use crate::given::variable_of;
use clap::{Args, Command, CommandFactory as _, Subcommand as _, ValueEnum};
use clap_complete::generate;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which one: `source <(nuthatch completions bash)`
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut text = Vec::new();
        generate(shell, &mut command(), "nuthatch", &mut text);
        print(text)
    }
}

/// Verbs and flags, but for flags that help does not mention either.
fn command() -> Command {
    let daemon = Flags::command();
    let flags = || {
        let flags = daemon.get_arguments();
        flags.filter(|flag| !flag.is_hide_set())
    };
    // Of the verbs these two take the daemon's flags, but for those that only print.
    let settings = || flags().filter(|flag| variable_of(flag).is_some());
    let config = |config: Command| {
        config
            .mut_subcommand("check", |check| check.args(settings()))
            .mut_subcommand("show", |show| show.args(settings()))
    };
    let command = Command::new("nuthatch")
        .version(daemon.render_version())
        .disable_version_flag(true)
        .args(flags());
    Tool::augment_subcommands(command).mut_subcommand("config", config)
}
