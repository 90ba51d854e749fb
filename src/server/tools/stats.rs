//! `nuthatch stats`: the statistics of servers, once or as they change.

use super::answers::{Form, Tell, failed, tell, told};
use super::arguments::{Answer, Servers};
use super::connection::ANSWER_PATIENCE;
use super::error::ToolError;
use super::paint::Paint;
use super::polled::Polled;
use super::print;
use super::shown::{self, float};
use super::span::Span;
use super::statistics::Statistics;
use crate::clock::Clock;
use crate::failure::Failure;
use clap::Args;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

/// More often, one would see the asking.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// These grow by themselves.
const CLOCKS: [&str; 4] = ["uptime", "time", "rusage_user", "rusage_system"];

/// The arguments of `nuthatch stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Which ones, such as items, settings, conns or latency [default: the general ones]
    name: Vec<String>,

    #[command(flatten)]
    at: Servers,

    /// Print what changes and by how much in a second, again and again [default: every second]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s"
    )]
    watch: Option<Span>,

    /// Stop after so many times
    #[arg(long, value_name = "NUM", requires = "watch")]
    count: Option<u32>,

    /// Print JSON; with --watch one line each time
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let name = self.name.join(" ");
        if name.contains(['\r', '\n']) {
            return Err(ToolError::Usage("a name of statistics is one line").into());
        }
        if let Some(Span(interval)) = self.watch {
            return self.watch(&name, interval.max(INTERVAL_MIN));
        }
        let ask = |connection: &mut _| Statistics::ask(connection, &name);
        tell(&self.at.ask(ANSWER_PATIENCE, ask)?, Form::of(self.json))
    }

    fn watch(&self, name: &str, interval: Duration) -> Result<(), Failure> {
        let credentials = self.at.credentials()?;
        let servers = self.at.addresses()?.into_iter();
        let mut servers: Vec<_> = servers
            .map(|address| (Polled::new(address, credentials.clone()), None))
            .collect();
        let clock = Clock::machine();
        let in_place = !self.json && io::stdout().is_terminal() && Paint::stdout().is_on();
        let mut turn = 0u32;
        loop {
            let answers = servers.iter_mut().map(|(server, last)| Answer {
                result: Watched::ask(server, name, &clock, last),
                address: server.address.clone(),
            });
            let answers: Vec<_> = answers.collect();
            let text = told(&answers, Form::of(self.json));
            print(if in_place {
                in_place_of_all(&text)
            } else {
                text
            })?;
            turn = turn.saturating_add(1);
            if self.count.is_some_and(|count| turn >= count) {
                return failed(&answers);
            }
            if let Err(failure) = failed(&answers) {
                failure.print();
            }
            thread::sleep(interval);
        }
    }
}

/// Text that begins at the top of the terminal and wipes out what was there, without a moment at which nothing is.
fn in_place_of_all(text: &str) -> String {
    let lines = text.replace('\n', "\x1b[K\r\n");
    format!("\x1b[H{lines}\x1b[J")
}

impl Tell for Statistics {
    fn text(&self) -> String {
        let width = self
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        self.iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to memory does not fail.
            let (name, value) = (shown(name), shown(value));
            let _ = writeln!(text, "{name:width$}  {value}");
            text
        })
    }

    fn json(&self) -> Map<String, Value> {
        Map::from_iter([("stats".to_owned(), Value::Object(self.json()))])
    }
}

/// Names and values may hold what clients have sent.
fn shown(text: &str) -> String {
    shown::key(text.as_bytes())
}

/// Statistics and how they have changed.
struct Watched {
    stats: Statistics,
    seconds: f64,
    /// By how much in a second, of those that have changed.
    rates: Vec<(String, f64)>,
}

impl Watched {
    fn ask(
        server: &mut Polled,
        name: &str,
        clock: &Clock,
        last: &mut Option<(Duration, Statistics)>,
    ) -> Result<Self, ToolError> {
        let stats = server.ask(|connection| Statistics::ask(connection, name));
        let now = clock.precise();
        let before = last.take();
        let stats = stats?;
        *last = Some((now, stats.clone()));
        Ok(match before {
            Some((then, before)) => Self::since(&before, stats, now.saturating_sub(then)),
            None => Self {
                stats,
                seconds: 0.0,
                rates: Vec::new(),
            },
        })
    }

    fn since(before: &Statistics, stats: Statistics, passed: Duration) -> Self {
        let seconds = passed.as_secs_f64().max(f64::EPSILON);
        let before: Map<_, _> = before.json();
        let rates = stats.iter().filter_map(|(name, value)| {
            let (was, is) = (before.get(name)?.as_u64()?, value.parse::<u64>().ok()?);
            let change = float(is.saturating_sub(was)) - float(was.saturating_sub(is));
            (is != was).then(|| (name.to_owned(), change / seconds))
        });
        let rates = rates.collect();
        Self {
            stats,
            seconds,
            rates,
        }
    }
}

impl Tell for Watched {
    fn text(&self) -> String {
        if self.seconds <= 0.0 {
            return "watching\n".to_owned();
        }
        let shown = self.rates.iter();
        let shown = shown.filter(|(name, _)| !CLOCKS.contains(&name.as_str()));
        let mut text = String::new();
        for (name, rate) in shown {
            let value = self.stats.text(name).unwrap_or_default();
            // Writing to memory does not fail.
            let _ = writeln!(text, "{name:30} {value:>15} {rate:>+15.1}/s");
        }
        if text.is_empty() {
            text.push_str("nothing has changed\n");
        }
        text
    }

    fn json(&self) -> Map<String, Value> {
        let rates = self.rates.iter();
        let rates: Map<_, _> = rates
            .map(|(name, rate)| (name.clone(), (*rate).into()))
            .collect();
        Map::from_iter([
            ("seconds".to_owned(), self.seconds.into()),
            ("stats".to_owned(), Value::Object(self.stats.json())),
            ("rates".to_owned(), Value::Object(rates)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_change_in_a_second() {
        let before = [
            ("a", "10"),
            ("b", "5"),
            ("c", "1"),
            ("d", "x"),
            ("time", "1"),
        ]
        .into();
        let after: Statistics = [
            ("a", "30"),
            ("b", "1"),
            ("c", "1"),
            ("d", "2"),
            ("e", "3"),
            ("time", "3"),
        ]
        .into();
        let watched = Watched::since(&before, after, Duration::from_secs(2));
        let expected = [("a", 10.0), ("b", -2.0), ("time", 1.0)];
        assert_eq!(
            watched.rates,
            expected.map(|(name, rate)| (name.to_owned(), rate))
        );
        let lines: Vec<String> = watched.text().lines().map(str::to_owned).collect();
        let line =
            |name: &str, value: &str, rate: &str| format!("{name:30} {value:>15} {rate:>15}/s");
        assert_eq!(lines, [line("a", "30", "+10.0"), line("b", "1", "-2.0")]);
    }
}
