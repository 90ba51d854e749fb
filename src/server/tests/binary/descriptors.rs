//! What happens when there are no more file descriptors.

use crate::daemon::{PATIENCE, ask, connect, port_of, wait_for};
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Starts it with so few descriptors that it cannot even raise the limit.
fn start_with_descriptors(limit: u32, folder: &TempDir) -> (Child, u16) {
    let ports = folder.path().join("ports");
    let script =
        format!("ulimit -n {limit}; exec setpriv --bounding-set -sys_resource \"$0\" \"$@\"");
    let child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_nuthatch")])
        .args(["-u", "root", "-l", "127.0.0.1", "-p", "-1", "-t", "1"])
        .env_remove("NUTHATCH_USER")
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let port = wait_for("the port file", || port_of(&ports));
    (child, port)
}

/// Clock ticks that the process has used.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn who_comes_waits_for_a_descriptor_and_nothing_spins() {
    let folder = TempDir::new().unwrap();
    let (mut child, port) = start_with_descriptors(40, &folder);
    let mut streams: Vec<TcpStream> = (0..60).map(|_| connect(port)).collect();
    // Those that were accepted are served while others wait.
    assert_eq!(ask(&mut streams[0], "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    let mut last = streams.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    std::io::Write::write_all(&mut last, b"mn\r\n").unwrap();
    assert!(
        last.read(&mut [0; 10]).is_err(),
        "there were descriptors enough"
    );
    let before = ticks(child.id());
    thread::sleep(Duration::from_secs(1));
    let used = ticks(child.id()) - before;
    assert!(used < 30, "{used} of 100 ticks");
    // It goes on as soon as there is room.
    drop(streams);
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 4];
    last.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"MN\r\n");
    child.kill().unwrap();
    child.wait().unwrap();
}
