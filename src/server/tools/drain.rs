//! `nuthatch drain`: has load balancers send no more clients, and waits until those that are there have gone.

use super::answers::{failed, tell_done};
use super::arguments::Servers;
use super::connection::{ANSWER_PATIENCE, Address, Connection};
use super::error::{EXIT_INCOMPLETE, ToolError};
use super::print;
use super::span::Span;
use super::statistics::Statistics;
use crate::clock::Clock;
use crate::failure::Failure;
use clap::Args;
use std::thread;
use std::time::Duration;

/// How long to wait before the server is asked again who is there.
const PAUSE: Duration = Duration::from_millis(200);

/// What sockets that listen are called in `stats conns`.
const LISTENING: &str = "conn_listening";

/// The arguments of `nuthatch drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    at: Servers,

    /// Let clients come again
    #[arg(long, conflicts_with = "wait")]
    off: bool,

    /// Wait until no other client is connected, for at most so long, such as 60s
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

impl Drain {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let clock = Clock::machine();
        let command = if self.off { "drain off" } else { "drain" };
        let answers = self
            .at
            .ask(ANSWER_PATIENCE, |connection| drain(connection, command))?;
        let state = if self.off {
            "serves as before"
        } else {
            "drains"
        };
        tell_done(&answers, state)?;
        let Some(Span(wait)) = self.wait else {
            return Ok(());
        };
        let waited = self.at.ask(ANSWER_PATIENCE, |connection| {
            wait_for(wait, &clock, thread::sleep, || others(connection))
        })?;
        failed(&waited)?;
        let mut late = waited.iter().filter_map(|answer| {
            let count = answer.result.as_ref().ok().filter(|count| **count > 0)?;
            Some(still_there(&answer.address, *count, wait))
        });
        match late.next() {
            Some(first) => {
                let all = late.fold(first, |all, one| format!("{all}\n{one}"));
                Err(Failure::of_tool(EXIT_INCOMPLETE, all))
            }
            None => print("no other client is connected\n"),
        }
    }
}

fn still_there(address: &Address, count: usize, wait: Duration) -> String {
    let clients = if count == 1 {
        "client is"
    } else {
        "clients are"
    };
    format!("{address}: {count} {clients} still connected after {wait:?}")
}

fn drain(connection: &mut Connection, command: &str) -> Result<(), ToolError> {
    match connection.ask(command)? {
        b"OK" => Ok(()),
        _ => Err(connection.wrong("clients may drain a server that was started with -A")),
    }
}

/// How many other clients are connected.
fn others(connection: &mut Connection) -> Result<usize, ToolError> {
    let stats = Statistics::ask(connection, "conns")?;
    let clients = stats.iter().filter(|(name, value)| {
        // memcached and nuthatch list one's own connection too.
        name.ends_with(":state") && *value != LISTENING
    });
    Ok(clients.count().saturating_sub(1))
}

/// Asks how many are left until none are or the time is up; returns how many.
fn wait_for(
    wait: Duration,
    clock: &Clock,
    pause: impl Fn(Duration),
    mut left: impl FnMut() -> Result<usize, ToolError>,
) -> Result<usize, ToolError> {
    loop {
        let count = left()?;
        let time_left = wait.saturating_sub(clock.precise());
        if count == 0 || time_left.is_zero() {
            return Ok(count);
        }
        pause(PAUSE.min(time_left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_until_nobody_is_left_or_the_time_is_up() {
        let of = |wait: u64, clients: usize| {
            let clock = Clock::manual();
            let mut left = clients;
            let pause = |time: Duration| assert!(clock.advance(time));
            let result = wait_for(Duration::from_millis(wait), &clock, pause, || {
                let now = left;
                left = left.saturating_sub(1);
                Ok(now)
            });
            (result.unwrap(), clock.precise().as_millis())
        };
        assert_eq!(of(1000, 0), (0, 0));
        assert_eq!(of(1000, 3), (0, 600));
        assert_eq!(of(0, 3), (3, 0));
        assert_eq!(of(500, 5), (2, 500));
    }
}
