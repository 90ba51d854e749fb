//! What a client tells the `metrics` facade; the names are in the crate's documentation.

use crate::{Error, Fetched, Source, clock};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A counter of the client's own, told to others too.
#[derive(Debug)]
pub(crate) struct Tell(Counter);

impl Tell {
    pub(crate) fn new(name: &'static str) -> Self {
        Self(counter!(format!("nuthatch_client_{name}_total")))
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.increment(more);
    }
}

/// What is told of one node.
#[derive(Debug)]
pub(crate) struct Meter {
    node: Arc<str>,
    up: OnceLock<Gauge>,
    commands: Mutex<HashMap<&'static str, Command>>,
}

/// Made when a command is first used: most are never used.
#[derive(Clone, Debug)]
struct Command {
    ok: Counter,
    seconds: Histogram,
}

impl Meter {
    pub(crate) fn new(node: &Arc<str>) -> Self {
        Self {
            node: Arc::clone(node),
            up: OnceLock::new(),
            commands: Mutex::default(),
        }
    }

    #[expect(clippy::unused_self, reason = "as without the feature")]
    pub(crate) fn begin(&self) -> Instant {
        clock::now()
    }

    pub(crate) fn end<T>(&self, began: Instant, name: &'static str, called: &Result<T, Error>) {
        let command = self.command(name);
        command.seconds.record(clock::now() - began);
        match called {
            Ok(_) => command.ok.increment(1),
            Err(error) => self.calls(name, outcome(error)).increment(1),
        }
    }

    pub(crate) fn set_up(&self, is_up: bool) {
        let up = self
            .up
            .get_or_init(|| gauge!("nuthatch_client_node_up", "node" => self.node.to_string()));
        up.set(f64::from(u8::from(is_up)));
    }

    fn command(&self, name: &'static str) -> Command {
        let commands = self.commands.lock();
        let mut commands = commands.unwrap_or_else(PoisonError::into_inner);
        let made = commands.entry(name).or_insert_with(|| Command {
            ok: self.calls(name, "ok"),
            seconds: histogram!(
                "nuthatch_client_call_seconds",
                "node" => self.node.to_string(), "command" => name
            ),
        });
        made.clone()
    }

    fn calls(&self, name: &'static str, outcome: &'static str) -> Counter {
        counter!(
            "nuthatch_client_calls_total",
            "node" => self.node.to_string(), "command" => name, "outcome" => outcome
        )
    }
}

const fn outcome(error: &Error) -> &'static str {
    match error {
        Error::Server { .. } => "refused",
        Error::Unsupported { .. } => "unsupported",
        Error::Unavailable { .. } => "unavailable",
        Error::Timeout { .. } => "timeout",
        Error::Ambiguous { .. } => "ambiguous",
        _ => "failed",
    }
}

pub(crate) fn refreshed<T>(fetched: &Result<Fetched<T>, Error>) {
    let outcome = match fetched.as_ref().map(|fetched| fetched.source) {
        Ok(Source::Fresh) => "fresh",
        Ok(Source::Stale) => "stale",
        Ok(Source::Loaded) => "loaded",
        Ok(Source::Shared) => "shared",
        Ok(Source::Local) => "local",
        Err(_) => "failed",
    };
    counter!("nuthatch_client_refreshes_total", "outcome" => outcome).increment(1);
}

pub(crate) fn loaded(took: Duration) {
    histogram!("nuthatch_client_load_seconds").record(took);
}
