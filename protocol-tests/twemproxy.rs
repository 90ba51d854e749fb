//! Runs the installed twemproxy in front of servers, on a socket in a directory of its own.

use crate::poll::poll;
use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A twemproxy that lives as long as this value: ketama with MD5, nobody is ejected.
#[derive(Debug)]
pub struct Twemproxy {
    child: Child,
    socket: String,
    _directory: TempDir,
}

impl Twemproxy {
    /// Starts `nutcracker` from the search path.
    ///
    /// # Errors
    /// A missing binary or one that does not listen; says what to do about it.
    pub fn start(servers: &[SocketAddr]) -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| format!("no directory: {error}"))?;
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (socket, configuration) = (path("proxy"), path("nutcracker.yml"));
        let mut text = format!(
            "ring:\n  listen: {socket} 0700\n  hash: md5\n  distribution: ketama\n  timeout: 20000\n  servers:\n"
        );
        for server in servers {
            writeln!(text, "   - {server}:1").map_err(|error| error.to_string())?;
        }
        fs::write(&configuration, text).map_err(|error| format!("{configuration}: {error}"))?;
        // Its statistics want a port, whether or not anybody asks for them.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|found| found.local_addr());
        let port = port
            .map_err(|error| format!("no free port: {error}"))?
            .port();
        let child = Command::new("nutcracker")
            .args([
                "-c",
                &configuration,
                "-a",
                "127.0.0.1",
                "-s",
                &port.to_string(),
            ])
            .args(["-p", &path("pid"), "-o", &path("log")])
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("cannot run nutcracker: {error}; install Debian 12's, 0.5.0")
            })?;
        let proxy = Self {
            child,
            socket,
            _directory: directory,
        };
        // A connection that it takes, and that ends.
        poll("nutcracker did not listen", || {
            UnixStream::connect(&proxy.socket).ok()
        })?;
        Ok(proxy)
    }

    /// The path of its socket.
    pub fn address(&self) -> &str {
        &self.socket
    }
}

impl Drop for Twemproxy {
    fn drop(&mut self) {
        // Neither can fail for a child that has not been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
