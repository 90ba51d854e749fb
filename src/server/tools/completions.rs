//! `nuthatch completions SHELL`: what a shell needs to complete flags and verbs, from their definitions.

use super::{Tool, print};
use crate::failure::Failure;
use crate::flags::Flags;
use clap::{Args, CommandFactory as _, Subcommand as _};
use clap_complete::{Shell, generate};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which one: `source <(nuthatch completions bash)`
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let shell = match self.shell.as_str() {
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            _ => Shell::Bash,
        };
        let mut text = Vec::new();
        let mut command = Tool::augment_subcommands(Flags::command());
        generate(shell, &mut command, "nuthatch", &mut text);
        print(text)
    }
}
