//! Flags of nuthatch's own: what they change, and what they do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
use protocol_tests::poll::poll;
use std::io::{Read, Write};
use std::time::Duration;

/// Sends a request and reads an answer that must be this one.
fn exchange(peer: &mut TcpPeer, request: &[u8], answer: &str) {
    peer.write_all(request).unwrap();
    let mut received = vec![0; answer.len()];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&received),
        answer,
        "{}",
        request.escape_ascii()
    );
}

#[test]
fn without_expiry_every_exptime_is_for_ever() {
    for (flags, is_found) in [(&["--no-expiry"][..], true), (&[], false)] {
        let nuthatch = Nuthatch::start(flags).unwrap();
        let mut peer = nuthatch.connect().unwrap();
        exchange(&mut peer, b"set short 0 10 1\r\na\r\n", "STORED\r\n");
        exchange(&mut peer, b"set past 0 -1 1\r\nb\r\n", "STORED\r\n");
        exchange(&mut peer, b"set touched 0 0 1\r\nc\r\n", "STORED\r\n");
        exchange(&mut peer, b"touch touched 1\r\n", "TOUCHED\r\n");
        exchange(
            &mut peer,
            b"gat 1 touched\r\n",
            "VALUE touched 0 1\r\nc\r\nEND\r\n",
        );
        nuthatch.clock().advance(Duration::from_secs(11));
        let answer = if is_found {
            "VALUE short 0 1\r\na\r\nVALUE past 0 1\r\nb\r\nVALUE touched 0 1\r\nc\r\nEND\r\n"
        } else {
            "END\r\n"
        };
        exchange(&mut peer, b"get short past touched\r\n", answer);
        // A delayed flush is no expiry.
        exchange(&mut peer, b"flush_all 5\r\n", "OK\r\n");
        exchange(&mut peer, b"get short past touched\r\n", answer);
        nuthatch.clock().advance(Duration::from_secs(5));
        exchange(&mut peer, b"get short past touched\r\n", "END\r\n");
    }
}

#[test]
fn compression_is_counted() {
    let nuthatch = Nuthatch::start(&["--compress-min", "100"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let set = |len: usize| format!("set k 0 0 {len}\r\n{}\r\n", "v".repeat(len));
    exchange(&mut peer, set(99).as_bytes(), "STORED\r\n");
    let counted = "STAT compressed 0\r\nSTAT compressed_raw_bytes 0\r\n\
        STAT compressed_stored_bytes 0\r\nSTAT skipped_short 1\r\n\
        STAT skipped_incompressible 0\r\nSTAT decompress_failures 0\r\nEND\r\n";
    exchange(&mut peer, b"stats compression\r\n", counted);
    exchange(&mut peer, set(100).as_bytes(), "STORED\r\n");
    exchange(
        &mut peer,
        b"stats compression\r\n",
        "STAT compressed 1\r\nSTAT compressed_raw_bytes 100\r\nSTAT compressed_stored_bytes ",
    );
    let mut rest = [0; 4];
    peer.read_exact(&mut rest).unwrap();
    let stored: u32 = String::from_utf8_lossy(&rest).trim().parse().unwrap();
    assert!(stored < 20, "{stored}");
}

#[test]
fn without_cas_every_unique_is_0_and_none_matches() {
    let nuthatch = Nuthatch::start(&["-C"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    for (request, answer) in [
        ("set a 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("gets a\r\n", "VALUE a 0 1 0\r\n1\r\nEND\r\n"),
        ("cas a 0 0 1 0\r\n2\r\n", "EXISTS\r\n"),
        ("cas a 0 0 1 5\r\n2\r\n", "EXISTS\r\n"),
        ("cas b 0 0 1 5\r\n2\r\n", "NOT_FOUND\r\n"),
        ("mg a c\r\n", "HD c0\r\n"),
        ("ms a 1 C5 c\r\n3\r\n", "EX c0\r\n"),
        ("ms a 1 C0\r\n3\r\n", "EX\r\n"),
        ("ms a 1 c\r\n3\r\n", "HD c0\r\n"),
        ("ma a C5\r\n", "EX\r\n"),
        ("ma a c\r\n", "HD c0\r\n"),
        ("md a C5\r\n", "EX\r\n"),
        ("md a C0\r\n", "HD\r\n"),
        ("me a\r\n", "EN\r\n"),
    ] {
        exchange(&mut peer, request.as_bytes(), answer);
    }
}

#[test]
fn what_is_not_allowed_is_refused_in_memcacheds_words() {
    let nuthatch = Nuthatch::start(&["-F", "-X", "-W"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    for (request, answer) in [
        ("flush_all", "CLIENT_ERROR flush_all not allowed"),
        ("flush_all 5", "CLIENT_ERROR flush_all not allowed"),
        ("lru_crawler metadump all", "ERROR metadump not allowed"),
        ("lru_crawler mgdump all", "ERROR key dump not allowed"),
        (
            "stats cachedump 1 1",
            "CLIENT_ERROR stats cachedump not allowed",
        ),
        ("stats detail on", "CLIENT_ERROR stats detail not allowed"),
        ("shutdown", "SERVER_ERROR: shutdown not enabled"),
        ("shutdown graceful", "SERVER_ERROR: shutdown not enabled"),
    ] {
        exchange(
            &mut peer,
            format!("{request}\r\n").as_bytes(),
            &format!("{answer}\r\n"),
        );
    }
    exchange(&mut peer, b"flush_all noreply\r\nmn\r\n", "MN\r\n");
}

#[test]
fn shutdown_stops_the_daemon_where_it_may() {
    for mode in ["", " graceful"] {
        let nuthatch = Nuthatch::start(&["-A"]).unwrap();
        let mut peer = nuthatch.connect().unwrap();
        exchange(
            &mut peer,
            b"shutdown now\r\n",
            "CLIENT_ERROR invalid shutdown mode\r\n",
        );
        peer.write_all(format!("shutdown{mode}\r\n").as_bytes())
            .unwrap();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
        nuthatch.wait().unwrap();
    }
}

#[test]
fn who_is_idle_is_disconnected_and_counted() {
    let nuthatch = Nuthatch::start(&["-o", "idle_timeout=1"]).unwrap();
    let mut idle = nuthatch.connect().unwrap();
    exchange(&mut idle, b"mn\r\n", "MN\r\n");
    idle.stream().set_nonblocking(true).unwrap();
    let is_closed = poll("the idle client is disconnected", || {
        // It may have been before the server has begun to wait.
        nuthatch.clock().advance(Duration::from_secs(1));
        idle.read(&mut [0]).ok()
    });
    assert_eq!(is_closed, Ok(0));
    let mut peer = nuthatch.connect().unwrap();
    peer.write_all(b"stats\r\nmn\r\n").unwrap();
    let mut stats = String::new();
    while !stats.ends_with("MN\r\n") {
        let mut bytes = [0; 4096];
        let read = peer.read(&mut bytes).unwrap();
        stats.push_str(std::str::from_utf8(bytes.get(..read).unwrap()).unwrap());
    }
    assert!(stats.contains("STAT auth_errors 0\r\nSTAT idle_kicks 1\r\nSTAT bytes_read "));
    // Without the flag there is no such name: see `statistics`.
}

#[test]
fn at_the_limit_clients_wait_if_they_shall() {
    let nuthatch = Nuthatch::start(&["-c", "2", "-o", "no_maxconns_fast"]).unwrap();
    let mut first = nuthatch.connect().unwrap();
    exchange(&mut first, b"mn\r\n", "MN\r\n");
    let mut second = nuthatch.connect().unwrap();
    exchange(&mut second, b"mn\r\n", "MN\r\n");
    let mut third = nuthatch.connect().unwrap();
    third.write_all(b"mn\r\n").unwrap();
    third.stream().set_nonblocking(true).unwrap();
    for _ in 0..100 {
        exchange(&mut first, b"mn\r\n", "MN\r\n");
        assert!(third.read(&mut [0; 10]).is_err());
    }
    third.stream().set_nonblocking(false).unwrap();
    drop(second);
    let mut answer = [0; 4];
    third.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"MN\r\n");
}

#[test]
fn sizes_are_counted_if_they_shall_be() {
    let nuthatch = Nuthatch::start(&["-o", "track_sizes"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    exchange(&mut peer, b"stats sizes\r\n", "END\r\n");
    // 48 + 8 + 1 + 1 + 2 bytes besides the value.
    for (key, len) in [("a", 4), ("b", 5), ("c", 36), ("d", 36)] {
        let set = format!("set {key} 0 0 {len}\r\n{}\r\n", "v".repeat(len));
        exchange(&mut peer, set.as_bytes(), "STORED\r\n");
    }
    exchange(
        &mut peer,
        b"stats sizes\r\n",
        "STAT 64 1\r\nSTAT 96 3\r\nEND\r\n",
    );
}
