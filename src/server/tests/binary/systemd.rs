//! What systemd sees, and gives.

use crate::daemon::{Daemon, PATIENCE, ask, connect, nuthatch, signal, wait_for};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The next message that says one of these words.
fn wait_for_word(socket: &UnixDatagram, word: &str) -> String {
    let mut buffer = [0; 1000];
    loop {
        let len = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if text.lines().any(|line| line == word) {
            return text;
        }
    }
}

#[test]
fn it_is_told_of_the_beginning_the_life_and_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let snapshot = folder.path().join("memory");
    let flags = ["-u", "root", "-l", "127.0.0.1", "-p", "-1", "-e"];
    let mut child = nuthatch(&flags)
        .arg(&snapshot)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "100000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_word(&socket, "READY=1");
    wait_for_word(&socket, "WATCHDOG=1");
    wait_for_word(&socket, "WATCHDOG=1");
    signal(child.id(), "TERM");
    wait_for_word(&socket, "STOPPING=1");
    let writing = wait_for_word(&socket, "STATUS=writing the snapshot, 100%");
    assert!(!writing.is_empty());
    assert_eq!(
        wait_for("the end", || child.try_wait().unwrap()).code(),
        Some(0)
    );
}

/// Starts it with a socket as its descriptor 3, as systemd does.
fn start_with(socket: OwnedFd, flags: &[&str]) -> std::process::Child {
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_nuthatch"), "-u", "root"])
        .args(flags)
        .env_remove("NUTHATCH_USER")
        .env("NUTHATCH_ADMIN", "none")
        .stdin(Stdio::from(File::from(socket)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn its_sockets_are_listened_on_instead_of_others() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Another daemon has the port of the flags: nobody asks for it.
    let other = Daemon::start(&[]);
    let taken = other.port.to_string();
    let mut child = start_with(listener.into(), &["-p", &taken, "-l", "127.0.0.1"]);
    // Who comes early waits: the socket listens already.
    let mut stream = connect(port);
    assert_eq!(ask(&mut stream, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    signal(child.id(), "TERM");
    assert_eq!(
        wait_for("the end", || child.try_wait().unwrap()).code(),
        Some(0)
    );
}

#[test]
fn its_unix_socket_is_left_where_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = start_with(listener.into(), &[]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ask(&mut stream, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    signal(child.id(), "TERM");
    assert_eq!(
        wait_for("the end", || child.try_wait().unwrap()).code(),
        Some(0)
    );
    assert!(path.exists());
}
