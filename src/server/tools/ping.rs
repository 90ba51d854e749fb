//! `nuthatch ping`: whether servers answer, for probes and for scripts that wait for them.

use super::answers::{Form, Tell, tell};
use super::arguments::{Answer, Servers};
use super::connection::{Address, Connection};
use super::credentials::Credentials;
use super::error::ToolError;
use super::shown;
use super::span::Span;
use crate::clock::Clock;
use crate::failure::Failure;
use clap::Args;
use serde_json::{Map, Value, json};
use std::thread;
use std::time::Duration;

/// How long a server may take for one answer: it is not well if it takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// The arguments of `nuthatch ping`.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    at: Servers,

    /// Ask again until all of them answer, for at most so long, such as 30s
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

struct Pong {
    address: Address,
    /// `None`: it answers nobody who has not logged in.
    version: Option<String>,
    took: Duration,
}

impl Ping {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let clock = Clock::machine();
        let deadline = self.wait.map_or(Duration::ZERO, |wait| wait.0);
        let credentials = self.at.credentials()?;
        let addresses = self.at.addresses()?.into_iter();
        let answers = addresses.map(|address| {
            let result = until(deadline, &clock, || ping(&address, &credentials, &clock));
            Answer { address, result }
        });
        let answers: Vec<_> = answers.collect();
        tell(&answers, Form::of(self.json))
    }
}

/// Tries until it succeeds or the time is up.
fn until<T>(
    deadline: Duration,
    clock: &Clock,
    mut attempt: impl FnMut() -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    loop {
        let result = attempt();
        let left = deadline.saturating_sub(clock.precise());
        if result.is_ok() || left.is_zero() {
            return result;
        }
        thread::sleep(PAUSE.min(left));
    }
}

fn ping(address: &Address, credentials: &Credentials, clock: &Clock) -> Result<Pong, ToolError> {
    let begin = clock.precise();
    let version = match Connection::open_for_meta(address, credentials, PATIENCE) {
        Ok((mut connection, _)) => match connection.ask("version")?.strip_prefix(b"VERSION ") {
            Some(version) => Some(String::from_utf8_lossy(version).into_owned()),
            None => return Err(connection.out_of_step()),
        },
        // A server that asks who is there is well. Whether a login is right is for those to find out who have one.
        Err(error) if credentials.login.is_none() && error.wants_login() => None,
        Err(error) => return Err(error),
    };
    Ok(Pong {
        address: address.clone(),
        version,
        took: clock.precise().saturating_sub(begin),
    })
}

impl Tell for Pong {
    const IS_HEADED: bool = false;

    fn text(&self) -> String {
        let version = match &self.version {
            Some(version) => format!("is {}", shown::key(version.as_bytes())),
            None => "wants a login".to_owned(),
        };
        let millis = self.took.as_secs_f64() * 1000.0;
        format!("{} {version}, answered in {millis:.1} ms\n", self.address)
    }

    fn json(&self) -> Map<String, Value> {
        let micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX);
        Map::from_iter([
            ("version".to_owned(), json!(self.version)),
            ("micros".to_owned(), micros.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_until_the_time_is_up() {
        let clock = Clock::manual();
        let mut tries = 0;
        let result = until(Duration::from_millis(3), &clock, || {
            tries += 1;
            clock.advance(Duration::from_millis(1));
            Err::<(), _>(ToolError::Usage("no"))
        });
        assert_eq!((result.is_err(), tries), (true, 3));
        let mut tries = 0;
        let result = until(Duration::ZERO, &clock, || {
            tries += 1;
            Err::<(), _>(ToolError::Usage("no"))
        });
        assert_eq!((result.is_err(), tries), (true, 1));
    }
}
