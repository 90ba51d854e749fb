//! [`Seen`]: what a server tells a client, for checks to judge.

use super::open_again;
use crate::clock::Clock;
use crate::tools::connection::{Address, Connection};
use crate::tools::credentials::Credentials;
use crate::tools::error::ToolError;
use crate::tools::shown::float;
use crate::tools::statistics::Statistics;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::Duration;

/// How long a server may take for one answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Requests whose median is looked at.
const ROUNDS: usize = 21;

/// An item of this name is stored, for a minute, and deleted.
const KEY: &str = "nuthatch-doctor";
const STORE: &str = "set nuthatch-doctor 0 60 4\r\ntest";

/// Items of which it is asked whether they expire.
const SAMPLE_MAX: u64 = 10_000;

/// What a server tells a client.
pub(super) struct Seen {
    pub(super) general: Statistics,
    pub(super) settings: Statistics,
    /// How long it took, or what went wrong.
    pub(super) timing: Result<Timing, String>,
    /// Of some items the share that does not expire; `None` if they cannot be listed or there are none.
    pub(super) share_without_expiry: Option<f64>,
    /// Our wall clock, in seconds since 1970.
    pub(super) unix_seconds: u64,
    /// Whether one must log in.
    pub(super) has_logins: bool,
    /// It is on this machine.
    pub(super) is_local: bool,
    /// Where we reached it, if by TCP.
    pub(super) ip: Option<IpAddr>,
}

/// How long phases of a request took; medians where there were several.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    pub(super) connect: Duration,
    pub(super) set: Duration,
    pub(super) get: Duration,
}

impl Seen {
    pub(super) fn of(
        address: &Address,
        credentials: &Credentials,
        clock: &Clock,
    ) -> Result<Self, ToolError> {
        // Whoever does not have to log in is answered without a login.
        let open = Connection::open_for_meta(address, &credentials.without_login(), PATIENCE);
        let has_logins = matches!(&open, Err(error) if error.wants_login());
        drop(open);
        let begin = clock.precise();
        let (mut connection, _) = Connection::open_for_meta(address, credentials, PATIENCE)?;
        let connect = clock.precise().saturating_sub(begin);
        let general = Statistics::ask(&mut connection, "")?;
        let unix_seconds = clock.now().unix_millis / 1000;
        let settings = Statistics::ask(&mut connection, "settings")?;
        let timing = time(&mut connection, clock, connect);
        let share_without_expiry = without_expiry(&mut open_again(&connection, credentials)?);
        let ip = match address {
            Address::Tcp { host, port } => {
                let mut found = (host.as_str(), *port).to_socket_addrs().ok();
                found
                    .as_mut()
                    .and_then(Iterator::next)
                    .map(|found| found.ip())
            }
            Address::Unix(_) => None,
        };
        Ok(Self {
            general,
            settings,
            timing: timing.map_err(|error| error.to_string()),
            share_without_expiry,
            unix_seconds,
            has_logins,
            is_local: ip.is_none_or(|ip| ip.is_loopback()),
            ip,
        })
    }

    /// A whole number of the general statistics; 0 if there is none.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.general.number(name).unwrap_or_default()
    }
}

fn time(
    connection: &mut Connection,
    clock: &Clock,
    connect: Duration,
) -> Result<Timing, ToolError> {
    let mut took = |command: &str, expected: &[u8]| {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begin = clock.precise();
            if !connection.ask(command)?.starts_with(expected) {
                return Err(connection.wrong("an item could not be stored and read"));
            }
            if expected == b"VALUE " {
                connection.line()?;
                connection.line()?;
            }
            times.push(clock.precise().saturating_sub(begin));
        }
        times.sort_unstable();
        Ok(times.get(ROUNDS / 2).copied().unwrap_or_default())
    };
    let set = took(STORE, b"STORED")?;
    let get = took(&format!("get {KEY}"), b"VALUE ")?;
    connection.ask(&format!("delete {KEY}"))?;
    Ok(Timing { connect, set, get })
}

/// Of the first items that the server lists, the share that does not expire. The connection is not to be used again:
/// the rest of the list may still come.
fn without_expiry(connection: &mut Connection) -> Option<f64> {
    connection.ask("lru_crawler metadump all").ok()?;
    let (mut items, mut without) = (0u64, 0u64);
    while items < SAMPLE_MAX {
        let line = connection.same_line();
        if line == b"END" {
            break;
        }
        if line.starts_with(b"key=") {
            let is_without = line
                .split(|byte| *byte == b' ')
                .any(|fact| fact == b"exp=-1");
            items = items.saturating_add(1);
            without = without.saturating_add(is_without.into());
        } else if line != b"OK" {
            return None;
        }
        connection.line().ok()?;
    }
    (items > 0).then(|| float(without) / float(items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::connection::scripted;

    fn share(list: String) -> Option<f64> {
        let script = vec![("lru_crawler metadump all\r\n", list.into_bytes())];
        let (address, server) = scripted::serve(script);
        let mut connection = Connection::open(&address, &Credentials::default(), PATIENCE).unwrap();
        let share = without_expiry(&mut connection);
        drop(connection);
        drop(server.join());
        share
    }

    #[test]
    fn the_share_without_expiry_is_of_the_first_items() {
        let without = "key=a exp=-1 la=1\n";
        let with = "key=b exp=17 la=1\n";
        assert_eq!(
            share(format!("{with}{without}{with}{with}END\r\n")),
            Some(0.25)
        );
        assert_eq!(share("END\r\n".to_owned()), None);
        assert_eq!(share("ERROR\r\n".to_owned()), None);
        assert_eq!(share(format!("{with}BUSY\r\n")), None);
        let sample = without.repeat(usize::try_from(SAMPLE_MAX).unwrap() - 1);
        assert_eq!(share(format!("{sample}{without}{with}END\r\n")), Some(1.0));
        let share = share(format!("{sample}{with}END\r\n")).unwrap();
        assert!(share < 1.0, "{share}");
    }
}
