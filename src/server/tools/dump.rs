//! `nuthatch dump`: the items of a server, to standard output.

use super::connection::Address;
use super::dump_file::DumpWriter;
use super::error::ToolError;
use super::login::Login;
use super::pace::{Pace, Rate};
use super::progress::Progress;
use super::report::{Report, size};
use super::source::Source;
use crate::clock::Clock;
use clap::Args;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

/// The arguments of `nuthatch dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Where to read: HOST, HOST:PORT or the path of a Unix socket
    #[arg(
        long,
        value_name = "ADDR",
        env = "MEMCACHED_SERVERS",
        default_value = "127.0.0.1:11211"
    )]
    server: Address,

    /// Most bytes of keys and values to read in a second, such as 500k or 50m [default: no limit]
    #[arg(long, value_name = "BYTES")]
    rate: Option<Rate>,

    /// File whose first line is user:password, for servers that want a login
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
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
        let login = Login::read(self.auth_file.as_deref())?;
        let clock = Clock::machine();
        let mut source = Source::open(&self.server, login.as_ref())?;
        let progress = Progress::new(Some(source.item_count()));
        let mut pace = Pace::new(self.rate, clock.clone());
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
        let done = format!("dumped {count} items ({}) of {}", size(len), self.server);
        Ok(Report::new(done).missed(&source.missed()))
    }
}
