//! `nuthatch load`: the items of a dump, from standard input to a server.

use super::arguments::Arguments;
use super::dump_file::DumpReader;
use super::error::ToolError;
use super::pace::Pace;
use super::progress::Progress;
use super::report::Report;
use super::target::Target;
use crate::clock::Clock;
use clap::Args;
use std::io::{self, IsTerminal as _};

/// The arguments of `nuthatch load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    how: Arguments,
}

impl Load {
    /// Loads.
    pub(crate) fn run(&self) -> Result<Report, ToolError> {
        let stdin = io::stdin().lock();
        if stdin.is_terminal() {
            return Err(ToolError::Usage(
                "a dump is not typed: nuthatch load < file",
            ));
        }
        let credentials = self.how.at.credentials()?;
        let clock = Clock::machine();
        let mut target = Target::open(&self.how.at.server, &credentials)?;
        let progress = Progress::new(None);
        let mut pace = Pace::new(self.how.rate, clock.clone());
        let mut reader = DumpReader::new(stdin);
        let mut len = 0u64;
        while let Some(items) = reader.items().map_err(|error| ToolError::File {
            doing: "read the dump",
            error,
        })? {
            for item in items {
                len = len.saturating_add(item.len());
                target.add(&item, clock.now().unix_millis / 1000)?;
                progress.item();
                if len >= pace.burst_len() {
                    target.settle()?;
                    pace.copied(std::mem::take(&mut len));
                }
            }
        }
        target.settle()?;
        progress.finish();
        let added = target.into_added();
        let done = format!("added {} items to {}", added.stored, self.how.at.server);
        Ok(Report::new(done).added(&added).damage(reader.damage()))
    }
}
