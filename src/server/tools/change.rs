//! `nuthatch delete`, `incr`, `decr` and `touch`: changes one item by a line.

use super::arguments::Server;
use super::connection::Connection;
use super::error::ToolError;
use super::key::KeyText;
use super::print;
use super::set::of_ttl;
use super::span::Span;
use crate::failure::Failure;
use clap::Args;

/// The arguments of `nuthatch delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    what: What,
}

/// The arguments of `nuthatch incr` and `nuthatch decr`.
#[derive(Debug, Args)]
pub(crate) struct Arithmetic {
    #[command(flatten)]
    what: What,

    /// By how much
    #[arg(default_value_t = 1)]
    delta: u64,
}

/// The arguments of `nuthatch touch`.
#[derive(Debug, Args)]
pub(crate) struct Touch {
    #[command(flatten)]
    what: What,

    /// How long it shall live from now on, such as 90s, 5m or 7d; 0 is for ever
    #[arg(value_name = "TTL")]
    ttl: Span,
}

#[derive(Debug, Args)]
struct What {
    /// The key
    key: KeyText,

    #[command(flatten)]
    at: Server,
}

impl Delete {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let answered = self.what.ask(&format!("delete {}", self.what.key))?;
        say(&answered, b"DELETED", "deleted\n")
    }
}

impl Arithmetic {
    pub(crate) fn incr(&self) -> Result<(), Failure> {
        self.run("incr")
    }

    pub(crate) fn decr(&self) -> Result<(), Failure> {
        self.run("decr")
    }

    fn run(&self, verb: &str) -> Result<(), Failure> {
        let connection = self
            .what
            .ask(&format!("{verb} {} {}", self.what.key, self.delta))?;
        let number = connection.last_line();
        if number.is_empty() || number.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Err(connection.wrong("nothing was changed").into());
        }
        print(number + "\n")
    }
}

impl Touch {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let exptime = of_ttl(self.ttl).get();
        let answered = self
            .what
            .ask(&format!("touch {} {exptime}", self.what.key))?;
        say(&answered, b"TOUCHED", "touched\n")
    }
}

impl What {
    /// Sends the request, whose item must be there.
    fn ask(&self, request: &str) -> Result<Connection, ToolError> {
        let (mut connection, _) = self.at.open()?;
        if connection.ask(request)? == b"NOT_FOUND" {
            return Err(ToolError::NotFound {
                address: self.at.server.clone(),
                key: self.key.to_string(),
            });
        }
        Ok(connection)
    }
}

/// Says that it is done, if it is.
fn say(answered: &Connection, done: &[u8], text: &str) -> Result<(), Failure> {
    if answered.same_line() != done {
        return Err(answered.wrong("nothing was changed").into());
    }
    print(text)
}
