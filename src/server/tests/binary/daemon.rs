//! The binary, started and stopped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Asks again and again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(PAUSE);
    }
    panic!("waited in vain for {what}");
}

pub(crate) fn nuthatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
    // Cargo sets it for who runs the daemon through Cargo.
    command.env_remove("NUTHATCH_USER");
    // The tests would want the same port.
    command.env("NUTHATCH_ADMIN", "none").args(arguments);
    command
}

/// Runs it to its end, which must come by itself.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, Output) {
    let output = nuthatch(arguments).output().unwrap();
    (output.status.code(), output)
}

pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl Daemon {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, Stdio::null())
    }

    /// The same, with a log.
    pub(crate) fn start_with(arguments: &[&str], log: Stdio) -> Self {
        let folder = TempDir::new().unwrap();
        // Also for a daemon that has become somebody else.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let ports = folder.path().join("ports");
        let child = nuthatch(&["-u", "root", "-l", "127.0.0.1", "-p", "-1"])
            .args(arguments)
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stderr(log)
            .spawn()
            .unwrap();
        let port = wait_for("the port file", || port_of(&ports));
        Self {
            child,
            port,
            folder,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The exit code, which must come within a second.
    pub(crate) fn exit_code_within_a_second(&mut self) -> Option<i32> {
        for _ in 0..1000 / PAUSE.as_millis() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(PAUSE);
        }
        panic!("it still runs");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn port_of(file: &Path) -> Option<u16> {
    let text = fs::read_to_string(file).ok()?;
    text.trim().strip_prefix("TCP INET: ")?.parse().ok()
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Sends a request whose answer is one line.
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, stream)
        .read_line(&mut line)
        .unwrap();
    line
}

pub(crate) fn stat(stream: &mut (impl Read + Write), name: &str) -> String {
    stream.write_all(b"stats\r\n").unwrap();
    let wanted = format!("STAT {name} ");
    let mut found = None;
    for line in BufReader::with_capacity(1, stream).lines() {
        let line = line.unwrap();
        if line == "END" {
            break;
        }
        found = found.or_else(|| line.strip_prefix(&wanted).map(str::to_owned));
    }
    found.unwrap_or_else(|| panic!("stats has no {name}"))
}
