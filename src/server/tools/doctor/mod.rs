//! `nuthatch doctor`: what is wrong with servers and their machine, or will be, and what to do about it.

mod finding;
mod machine;
mod over_the_wire;
mod seen;

use super::answers::{Form, Tell, tell};
use super::arguments::{Answer, Servers};
use super::connection::Connection;
use super::credentials::Credentials;
use super::error::{EXIT_NO, ToolError};
use super::paint::Paint;
use crate::clock::Clock;
use crate::failure::Failure;
use clap::Args;
use finding::{Finding, Level};
use machine::Machine;
use seen::Seen;
use serde_json::{Map, Value};

/// The arguments of `nuthatch doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    at: Servers,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found about one server.
struct Findings(Vec<Finding>);

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let clock = Clock::machine();
        let machine = Machine::this();
        let credentials = self.at.credentials()?;
        let addresses = self.at.addresses()?.into_iter();
        let answers = addresses.map(|address| {
            let seen = Seen::of(&address, &credentials, &clock);
            let result = seen.map(|seen| Findings::of(&seen, &machine));
            Answer { address, result }
        });
        let answers: Vec<_> = answers.collect();
        tell(&answers, Form::of(self.json))?;
        let found = answers
            .iter()
            .filter_map(|answer| answer.result.as_ref().ok());
        let red = found
            .flat_map(|found| &found.0)
            .filter(|found| found.level == Level::Red);
        match red.count() {
            0 => Ok(()),
            1 => Err(Failure::of_tool(
                EXIT_NO,
                "1 thing must be put right".to_owned(),
            )),
            count => Err(Failure::of_tool(
                EXIT_NO,
                format!("{count} things must be put right"),
            )),
        }
    }
}

impl Findings {
    fn of(seen: &Seen, machine: &Machine) -> Self {
        let mut findings = over_the_wire::all(seen, machine);
        if seen.is_local {
            findings.extend(machine.all(seen));
        }
        Self(findings)
    }
}

impl Tell for Findings {
    fn text(&self) -> String {
        let paint = Paint::stdout();
        let findings = self.0.iter();
        findings.map(|finding| finding.text(paint)).collect()
    }

    fn json(&self) -> Map<String, Value> {
        let findings = self.0.iter().map(Finding::json);
        Map::from_iter([("findings".to_owned(), findings.collect())])
    }
}

/// A connection for a check that may leave it in the middle of an answer.
fn open_again(seen: &Connection, credentials: &Credentials) -> Result<Connection, ToolError> {
    let address = seen.address();
    Ok(Connection::open_for_meta(address, credentials, seen::PATIENCE)?.0)
}
