//! `nuthatch flush`: forgets all items of servers, or those of a namespace.

use super::answers::tell_done;
use super::arguments::Servers;
use super::connection::{ANSWER_PATIENCE, Connection};
use super::error::ToolError;
use super::key::KeyText;
use crate::failure::Failure;
use clap::Args;
use std::io::{self, IsTerminal as _, Write as _};

/// The arguments of `nuthatch flush`.
#[derive(Debug, Args)]
pub(crate) struct Flush {
    #[command(flatten)]
    at: Servers,

    /// Only the items of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<KeyText>,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Flush {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if !self.yes {
            self.confirm()?;
        }
        let command = match &self.namespace {
            Some(name) => format!("flush_namespace {name}"),
            None => "flush_all".to_owned(),
        };
        let answers = self
            .at
            .ask(ANSWER_PATIENCE, |connection| flush(connection, &command))?;
        tell_done(&answers, "is flushed")
    }

    /// Asks whether it is meant so; without a person to ask, it must have been said.
    fn confirm(&self) -> Result<(), ToolError> {
        if !io::stdin().is_terminal() {
            return Err(ToolError::Usage(
                "this forgets items for good, and nobody is there to be asked: say --yes",
            ));
        }
        let addresses = self.at.addresses()?;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let what = match &self.namespace {
            Some(name) => format!("the items of {name}"),
            None => "all items".to_owned(),
        };
        let asked = write!(
            io::stderr(),
            "Forget {what} of {}? [y/N] ",
            addresses.join(", ")
        );
        let mut answer = String::new();
        asked
            .and_then(|()| io::stdin().read_line(&mut answer))
            .map_err(|error| ToolError::File {
                doing: "ask",
                error,
            })?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(ToolError::Usage("nothing was flushed")),
        }
    }
}

fn flush(connection: &mut Connection, command: &str) -> Result<(), ToolError> {
    match connection.ask(command)? {
        b"OK" => Ok(()),
        b"NOT_FOUND" => Err(connection.wrong("nuthatch stats namespaces lists those that are")),
        _ => {
            Err(connection.wrong("nothing was flushed: a server that was started with -F refuses"))
        }
    }
}
