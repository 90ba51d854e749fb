//! `nuthatch dump`: the items of a server, to standard output.

use super::arguments::Arguments;
use super::dump_file::DumpWriter;
use super::error::ToolError;
use super::pace::Pace;
use super::progress::Progress;
use super::report::{Report, size};
use super::source::Source;
use crate::clock::Clock;
use clap::Args;
use std::io::{self, IsTerminal as _};

/// The arguments of `nuthatch dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    how: Arguments,
}

impl Dump {
    /// Dumps.
    pub(crate) fn run(&self) -> Result<Report, ToolError> {
        let stdout = io::stdout().lock();
        if stdout.is_terminal() {
            return Err(ToolError::Usage(
                "a dump is not for the terminal: nuthatch dump > file",
            ));
        }
        let written = |error| ToolError::File {
            doing: "write the dump",
            error,
        };
        let credentials = self.how.at.credentials()?;
        let clock = Clock::machine();
        let mut source = Source::open(&self.how.at.server, &credentials)?;
        let progress = Progress::new(Some(source.item_count()));
        let mut pace = Pace::new(self.how.rate, clock.clone());
        let mut writer = DumpWriter::new(stdout);
        let (mut count, mut len) = (0u64, 0u64);
        loop {
            let (unix_seconds, begin) = (clock.now().unix_millis / 1000, len);
            let more = source.batch(pace.burst_len(), unix_seconds, &mut |item| {
                count = count.saturating_add(1);
                len = len.saturating_add(item.len());
                progress.item();
                writer.add(&item).map_err(written)
            })?;
            if !more {
                break;
            }
            pace.copied(len.saturating_sub(begin));
        }
        writer.finish().map_err(written)?;
        progress.finish();
        let done = format!(
            "dumped {count} items ({}) of {}",
            size(len),
            self.how.at.server
        );
        Ok(Report::new(done).missed(&source.missed()))
    }
}
