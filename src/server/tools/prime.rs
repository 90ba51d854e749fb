//! `nuthatch prime`: the items of one server, to another one.

use super::arguments::Arguments;
use super::connection::Address;
use super::error::ToolError;
use super::pace::Pace;
use super::progress::Progress;
use super::report::{Report, size};
use super::source::Source;
use super::target::Target;
use crate::clock::Clock;
use clap::Args;

/// The arguments of `nuthatch prime`.
#[derive(Debug, Args)]
pub(crate) struct Prime {
    /// Where to read: HOST, HOST:PORT or the path of a Unix socket, of nuthatch or memcached. Login and TLS are those
    /// of both servers; where they differ, `nuthatch dump` one and `nuthatch load` the other
    #[arg(long, value_name = "ADDR")]
    from: Address,

    #[command(flatten)]
    how: Arguments,
}

impl Prime {
    /// Primes.
    pub(crate) fn run(&self) -> Result<Report, ToolError> {
        if self.from == self.how.at.server {
            return Err(ToolError::Usage(
                "--from and --server name the same server: there is nothing to copy",
            ));
        }
        let credentials = self.how.at.credentials()?;
        let clock = Clock::machine();
        let mut target = Target::open(&self.how.at.server, &credentials)?;
        let mut source = Source::open(&self.from, &credentials)?;
        let progress = Progress::new(Some(source.item_count()));
        let mut pace = Pace::new(self.how.rate, clock.clone());
        let mut len = 0u64;
        loop {
            let (unix_seconds, begin) = (clock.now().unix_millis / 1000, len);
            let more = source.batch(pace.burst_len(), unix_seconds, &mut |item| {
                len = len.saturating_add(item.len());
                progress.item();
                target.add(&item, unix_seconds)
            })?;
            target.settle()?;
            if !more {
                break;
            }
            pace.copied(len.saturating_sub(begin));
        }
        progress.finish();
        let added = target.into_added();
        let done = format!(
            "read {} from {}, added {} items to {}",
            size(len),
            self.from,
            added.stored,
            self.how.at.server
        );
        Ok(Report::new(done).added(&added).missed(&source.missed()))
    }
}
