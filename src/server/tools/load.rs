//! `nuthatch load`: the items of a dump, from standard input to a server.

use super::connection::Address;
use super::dump_file::DumpReader;
use super::error::ToolError;
use super::login::Login;
use super::pace::{Pace, Rate};
use super::progress::Progress;
use super::report::Report;
use super::target::Target;
use crate::clock::Clock;
use clap::Args;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

/// The arguments of `nuthatch load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Where to add them: HOST, HOST:PORT or the path of a Unix socket
    #[arg(
        long,
        value_name = "ADDR",
        env = "MEMCACHED_SERVERS",
        default_value = "127.0.0.1:11211"
    )]
    server: Address,

    /// Most bytes of keys and values to add in a second, such as 500k or 50m [default: no limit]
    #[arg(long, value_name = "BYTES")]
    rate: Option<Rate>,

    /// File whose first line is user:password, for servers that want a login
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
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
        let login = Login::read(self.auth_file.as_deref())?;
        let clock = Clock::machine();
        let mut target = Target::open(&self.server, login.as_ref())?;
        let progress = Progress::new(None);
        let mut pace = Pace::new(self.rate, clock.clone());
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
        let done = format!("added {} items to {}", added.stored, self.server);
        Ok(Report::new(done).added(&added).damage(reader.damage()))
    }
}
