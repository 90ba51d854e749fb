//! `nuthatch top`: what servers do now, on a terminal or as lines of JSON.

#[cfg(feature = "cli")]
mod columns;
mod json;
#[cfg(feature = "cli")]
mod panel;
mod sample;
#[cfg(feature = "cli")]
mod terminal;
#[cfg(feature = "cli")]
mod view;

use super::arguments::Servers;
use super::span::Span;
use crate::clock::Clock;
use crate::failure::Failure;
use clap::Args;
use sample::Sampler;
#[cfg(feature = "cli")]
use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

/// More often, one would see the asking.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The arguments of `nuthatch top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    at: Servers,

    /// How often to ask
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: Span,

    /// Stop after so many times
    #[arg(long, value_name = "NUM")]
    count: Option<u32>,

    /// Print a line of JSON each time, as where standard output is no terminal
    #[arg(long)]
    json: bool,
}

impl Top {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let credentials = self.at.credentials()?;
        let clock = Clock::machine();
        let addresses = self.at.addresses()?.into_iter();
        let samplers =
            addresses.map(|address| Sampler::new(address, credentials.clone(), clock.clone()));
        let samplers: Vec<_> = samplers.collect();
        let interval = self.interval.0.max(INTERVAL_MIN);
        #[cfg(feature = "cli")]
        if !self.json && stdout().is_terminal() {
            return Ok(terminal::run(samplers, interval, self.count)?);
        }
        json::run(samplers, interval, self.count)
    }
}
