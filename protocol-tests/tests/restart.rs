//! What comes back after a restart, and when: with a clock that the test moves.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use nuthatch::clock::Clock;
use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Sends a request whose answer is one line.
fn ask(peer: &mut TcpPeer, request: &str) -> String {
    peer.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, peer.stream());
    reader.read_line(&mut line).unwrap();
    line
}

/// A daemon that keeps what it has in `file`, and a connection to it when that is back.
fn start(clock: &Clock, file: &Path, flags: &[&str], items: usize) -> (Nuthatch, TcpPeer) {
    let file = file.to_str().unwrap();
    let flags = [&["-e", file], flags].concat();
    let daemon = Nuthatch::start_at(clock.clone(), &flags).unwrap();
    let mut peer = daemon.connect().unwrap();
    let wanted = format!("STAT curr_items {items}");
    let is_back = |peer: &mut TcpPeer| {
        peer.write_all(b"stats\r\n").unwrap();
        let lines = BufReader::with_capacity(1, peer.stream()).lines();
        let lines = lines.map_while(Result::ok).take_while(|line| line != "END");
        lines.filter(|line| *line == wanted).count() == 1
    };
    // The file is read by another thread: this one asks for as long as that takes.
    for _ in 0..50_000 {
        if is_back(&mut peer) {
            return (daemon, peer);
        }
    }
    panic!("{items} items are not back");
}

#[test]
fn items_keep_their_time_to_live_while_nothing_runs() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let clock = Clock::manual();
    let (daemon, mut peer) = start(&clock, &file, &[], 0);
    for (key, exptime) in [("ever", 0), ("minute", 60), ("ten", 10)] {
        let request = format!("set {key} 7 {exptime} 1\r\nx\r\n");
        assert_eq!(ask(&mut peer, &request), "STORED\r\n");
    }
    clock.advance(Duration::from_secs(5));
    drop((daemon, peer));
    clock.advance(Duration::from_secs(5));
    let (_daemon, mut peer) = start(&clock, &file, &[], 2);
    assert_eq!(ask(&mut peer, "mg ten t\r\n"), "EN\r\n");
    assert_eq!(ask(&mut peer, "mg ever t f\r\n"), "HD t-1 f7\r\n");
    assert_eq!(ask(&mut peer, "mg minute t f\r\n"), "HD t50 f7\r\n");
    clock.advance(Duration::from_secs(50));
    assert_eq!(ask(&mut peer, "mg minute t\r\n"), "EN\r\n");
}

#[test]
fn what_was_saved_too_long_ago_stays_out() {
    for (flags, seconds, items) in [
        (&[][..], 300, 1),
        (&[], 301, 0),
        (&["--restore-max-age", "10"], 10, 1),
        (&["--restore-max-age", "10"], 11, 0),
        (&["--restore-max-age", "0"], 1_000_000, 1),
    ] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("memory");
        let clock = Clock::manual();
        let (daemon, mut peer) = start(&clock, &file, flags, 0);
        assert_eq!(ask(&mut peer, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
        drop((daemon, peer));
        clock.advance(Duration::from_secs(seconds));
        let (daemon, mut peer) = start(&clock, &file, flags, items);
        let answer = ask(&mut peer, "mg a v\r\n");
        assert_eq!(answer == "VA 1\r\n", items == 1, "{flags:?} {seconds}");
        // The next snapshot has it, or nothing, when this one has been read to its end.
        drop((daemon, peer));
        let is_empty = fs::metadata(&file).unwrap().len() == 56;
        assert_eq!(is_empty, items == 0, "{flags:?} {seconds}");
    }
}

#[test]
fn a_daemon_without_expiry_keeps_what_one_with_it_saved() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let clock = Clock::manual();
    let (daemon, mut peer) = start(&clock, &file, &[], 0);
    assert_eq!(ask(&mut peer, "set a 0 60 1\r\nx\r\n"), "STORED\r\n");
    drop((daemon, peer));
    clock.advance(Duration::from_secs(100));
    let (_daemon, mut peer) = start(&clock, &file, &["--no-expiry"], 1);
    assert_eq!(ask(&mut peer, "mg a t\r\n"), "HD t-1\r\n");
}

#[test]
fn no_cas_unique_comes_twice() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let clock = Clock::manual();
    let unique = |answer: &str| -> u64 {
        let word = answer.trim_end().strip_prefix("HD c").unwrap();
        word.parse().unwrap()
    };
    let mut last = 0;
    for restart in 0..5 {
        let (daemon, mut peer) = start(&clock, &file, &[], restart);
        for _ in 0..3 {
            let next = unique(&ask(&mut peer, &format!("ms a{restart} 1 c\r\nx\r\n")));
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        drop((daemon, peer));
    }
}
