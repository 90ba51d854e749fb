//! Runs the installed memcached as the oracle, on a port of its own choosing.

use crate::poll::poll;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// A memcached that lives as long as this value.
#[derive(Debug)]
pub struct Memcached {
    child: Child,
    port: u16,
}

impl Memcached {
    /// Starts `memcached` from the search path: one thread, 64 MiB, no UDP.
    ///
    /// # Errors
    /// A missing binary or one that does not open a port; says what to do about it.
    pub fn start() -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| format!("no directory: {error}"))?;
        let port_file = directory.path().join("port");
        let child = Command::new("memcached")
            .args([
                "-u",
                "root",
                "-l",
                "127.0.0.1",
                "-p",
                "-1",
                "-U",
                "0",
                "-t",
                "1",
                "-m",
                "64",
            ])
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("cannot run memcached: {error}; install Debian 12's, 1.6.18")
            })?;
        let mut memcached = Self { child, port: 0 };
        memcached.port = wait_for_port(&port_file)?;
        Ok(memcached)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process, to be stopped and killed by a test.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// A connection whose reads give up after some seconds.
    ///
    /// # Errors
    /// Refused connections.
    pub fn connect(&self) -> Result<TcpStream, String> {
        let connect = || {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_mins(1)))?;
            Ok::<_, std::io::Error>(stream)
        };
        connect().map_err(|error| format!("cannot connect to memcached: {error}"))
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // Neither can fail for a child that has not been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Unix time of this machine, which is the clock memcached lives by.
///
/// # Errors
/// A clock before 1970.
pub fn unix_time() -> Result<u64, String> {
    let since = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_err(|error| error.to_string())?;
    Ok(since.as_secs())
}

/// memcached renames the file into place once it listens, so a file that exists is complete.
fn wait_for_port(path: &Path) -> Result<u16, String> {
    let text = poll("memcached did not open a port", || {
        fs::read_to_string(path).ok()
    })?;
    let mut lines = text.lines();
    let port = lines.find_map(|line| line.strip_prefix("TCP INET: "));
    port.and_then(|port| port.trim().parse().ok())
        .ok_or_else(|| format!("no port in {text:?}"))
}
