//! `nuthatch keys`: the keys of a server, as its crawler lists them.

use super::arguments::Server;
use super::error::ToolError;
use super::listing::{Listed, Listing};
use super::{SCHEMA, shown};
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::thread;

/// The arguments of `nuthatch keys`.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(flatten)]
    at: Server,

    /// Only keys that begin so
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,

    /// Stop after so many keys
    #[arg(long, value_name = "NUM")]
    limit: Option<u64>,

    /// Print a line of JSON for each key, with the Unix time at which its item expires
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (connection, _) = self.at.open()?;
        // `metadump` tells when items expire, and all keys as they are.
        let has_meta = false;
        let mut listing = Listing::receive(connection, has_meta, thread::sleep)?;
        match self.print(&mut listing, &mut BufWriter::new(io::stdout().lock())) {
            // Who reads has seen enough.
            Err(ToolError::File { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(())
            }
            printed => Ok(printed?),
        }
    }

    fn print(&self, listing: &mut Listing, out: &mut impl Write) -> Result<(), ToolError> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0
            && let Some(listed) = listing.next()?
        {
            if !listed.key.starts_with(self.prefix.as_bytes()) {
                continue;
            }
            left = left.saturating_sub(1);
            let line = if self.json {
                self.line(&listed)
            } else {
                shown::key(&listed.key)
            };
            writeln!(out, "{line}").map_err(not_printed)?;
        }
        out.flush().map_err(not_printed)
    }

    fn line(&self, listed: &Listed) -> String {
        let (key, encoding) = match std::str::from_utf8(&listed.key) {
            Ok(text) => (text.to_owned(), "utf-8"),
            Err(_) => (STANDARD.encode(&listed.key), "base64"),
        };
        json!({
            "schema": SCHEMA,
            "server": self.at.server.to_string(),
            "key": key,
            "encoding": encoding,
            "expires": listed.expiry,
        })
        .to_string()
    }
}

fn not_printed(error: io::Error) -> ToolError {
    ToolError::File {
        doing: "print the keys",
        error,
    }
}
