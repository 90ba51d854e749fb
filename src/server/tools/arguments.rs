//! What verbs are told about servers: which, as whom, and how fast.

use super::connection::{ANSWER_PATIENCE, Address, Connection};
use super::credentials::{Credentials, Whom};
use super::error::ToolError;
use super::pace::Rate;
use clap::Args;
use std::time::Duration;

const SERVERS: &str = "MEMCACHED_SERVERS";
const DEFAULT: &str = "127.0.0.1:11211";

/// Most servers of one call.
const SERVERS_MAX: usize = 256;

/// What all verbs that copy items are told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) at: Server,

    /// Most bytes of keys and values to copy in a second, such as 500k or 50m [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub(crate) rate: Option<Rate>,
}

/// One server.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The server: HOST, HOST:PORT or the path of a Unix socket
    #[arg(long, value_name = "ADDR", env = SERVERS, default_value = DEFAULT)]
    pub(crate) server: Address,

    #[command(flatten)]
    whom: Whom,
}

/// Any number of servers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Servers {
    /// A server: HOST, HOST:PORT or the path of a Unix socket; several by commas or repeats
    #[arg(
        id = "server",
        long = "server",
        value_name = "ADDR",
        env = SERVERS,
        default_value = DEFAULT,
        value_delimiter = ','
    )]
    servers: Vec<Address>,

    #[command(flatten)]
    whom: Whom,
}

impl Server {
    /// As whom to ask it.
    pub(crate) fn credentials(&self) -> Result<Credentials, ToolError> {
        self.whom.credentials()
    }

    /// Connects; also tells whether the server knows meta commands.
    pub(crate) fn open(&self) -> Result<(Connection, bool), ToolError> {
        Connection::open_for_meta(&self.server, &self.credentials()?, ANSWER_PATIENCE)
    }
}

impl Servers {
    /// As whom to ask them.
    pub(crate) fn credentials(&self) -> Result<Credentials, ToolError> {
        self.whom.credentials()
    }

    /// All of them, each once.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>, ToolError> {
        let mut addresses = Vec::new();
        for address in &self.servers {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        if addresses.len() > SERVERS_MAX {
            return Err(ToolError::Usage(
                "more than 256 servers: ask some of them at a time",
            ));
        }
        Ok(addresses)
    }

    /// Connects to each in turn and asks it.
    pub(crate) fn ask<T>(
        &self,
        patience: Duration,
        ask: impl Fn(&mut Connection) -> Result<T, ToolError>,
    ) -> Result<Vec<Answer<T>>, ToolError> {
        let credentials = self.credentials()?;
        let addresses = self.addresses()?.into_iter();
        let answers = addresses.map(|address| {
            let opened = Connection::open_for_meta(&address, &credentials, patience);
            let result = opened.and_then(|(mut connection, _)| ask(&mut connection));
            Answer { address, result }
        });
        Ok(answers.collect())
    }
}

/// What came of asking one server.
pub(crate) struct Answer<T> {
    pub(crate) address: Address,
    pub(crate) result: Result<T, ToolError>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        servers: Servers,
    }

    fn addresses(arguments: &[&str]) -> Result<Vec<String>, String> {
        let line = Line::try_parse_from([&["x"], arguments].concat());
        let line = line.map_err(|error| error.to_string())?;
        let addresses = line
            .servers
            .addresses()
            .map_err(|error| error.to_string())?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn servers_may_be_repeated_and_separated_by_commas() {
        let found = addresses(&["--server", "a,b:12", "--server", "/c", "--server=a"]);
        assert_eq!(found.unwrap(), ["a:11211", "b:12", "/c"]);
        assert!(addresses(&["--server", "a,,b"]).is_err());
        assert!(addresses(&["--server", "a:x"]).unwrap_err().contains("a:x"));
    }

    #[test]
    fn there_are_at_most_256_servers() {
        for (count, is_right) in [(SERVERS_MAX, true), (SERVERS_MAX + 1, false)] {
            let list: Vec<String> = (0..count).map(|port| format!("a:{port}")).collect();
            assert_eq!(addresses(&["--server", &list.join(",")]).is_ok(), is_right);
        }
    }
}
