//! What all verbs that copy items are told.

use super::connection::Address;
use super::error::ToolError;
use super::login::Login;
use super::pace::Rate;
use clap::Args;
use std::path::PathBuf;

/// Which server, how fast, and as whom.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to read, or to add: HOST, HOST:PORT or the path of a Unix socket
    #[arg(
        long,
        value_name = "ADDR",
        env = "MEMCACHED_SERVERS",
        default_value = "127.0.0.1:11211"
    )]
    pub(crate) server: Address,

    /// Most bytes of keys and values to copy in a second, such as 500k or 50m [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub(crate) rate: Option<Rate>,

    /// File whose first line is user:password, for servers that want a login
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

impl Arguments {
    /// As whom.
    pub(crate) fn login(&self) -> Result<Option<Login>, ToolError> {
        Login::read(self.auth_file.as_deref())
    }
}
