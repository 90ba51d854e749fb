//! What one client can make the daemon hold, and for how long it can keep others waiting: each limit
//! at its mark and one past it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
use std::io::{BufRead, BufReader, Read, Write};

/// Sends requests and reads answers up to and including a line.
fn ask(peer: &mut TcpPeer, request: &[u8], last_line: &str) -> Vec<String> {
    peer.write_all(request).unwrap();
    let mut lines = Vec::new();
    for line in BufReader::with_capacity(1, peer).lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|line| line == last_line) {
            break;
        }
    }
    lines
}

fn stat(peer: &mut TcpPeer, name: &str) -> u64 {
    let wanted = format!("STAT {name} ");
    let lines = ask(peer, b"stats\r\n", "END");
    lines
        .iter()
        .find_map(|line| line.strip_prefix(&wanted))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_turn_has_4096_keys() {
    for (keys, yields) in [(4095, 0), (4096, 1)] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let mut peer = nuthatch.connect().unwrap();
        let line = format!("get{}\r\n", " k".repeat(keys));
        assert_eq!(ask(&mut peer, line.as_bytes(), "END"), ["END"]);
        assert_eq!(stat(&mut peer, "conn_yields"), yields, "{keys} keys");
    }
}

#[test]
fn a_turn_has_1000_requests() {
    for (requests, yields) in [(999, 0), (1000, 1)] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let mut peer = nuthatch.connect().unwrap();
        // One write, much shorter than a read buffer: one read.
        let pipeline = "get k\r\n".repeat(requests);
        peer.write_all(pipeline.as_bytes()).unwrap();
        let mut answers = vec![0; requests * 5];
        peer.read_exact(&mut answers).unwrap();
        assert_eq!(
            stat(&mut peer, "conn_yields"),
            yields,
            "{requests} requests"
        );
    }
}

#[test]
fn a_turn_has_256_kib_of_output() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let set = [
        b"set k 0 0 65536\r\n".as_slice(),
        &vec![b'v'; 65_536],
        b"\r\n",
    ]
    .concat();
    assert_eq!(ask(&mut peer, &set, "STORED"), ["STORED"]);
    for (gets, yields) in [(3, 0), (4, 1)] {
        let before = stat(&mut peer, "conn_yields");
        let line = format!("get{}\r\n", " k".repeat(gets));
        ask(&mut peer, line.as_bytes(), "END");
        assert_eq!(
            stat(&mut peer, "conn_yields") - before,
            yields,
            "{gets} values"
        );
    }
}

#[test]
fn a_get_of_two_mebibytes_is_answered_and_an_endless_one_is_cut_off() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let keys = " a-key-of-twenty-bytes".repeat(95_000);
    assert!(keys.len() > 2_080_000 && keys.len() < 2 << 20);
    let line = format!("get{keys}\r\n");
    assert_eq!(ask(&mut peer, line.as_bytes(), "END"), ["END"]);

    let mut endless = nuthatch.connect().unwrap();
    let outcome = endless
        .write_all(&[b"get ".as_slice(), &vec![b'k'; 8 << 20]].concat())
        .and_then(|()| endless.read(&mut [0; 1]));
    assert!(matches!(outcome, Ok(0) | Err(_)), "{outcome:?}");
    assert_eq!(ask(&mut peer, b"get k\r\n", "END"), ["END"]);
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_delays_nobody() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut innocent = nuthatch.connect().unwrap();
    let set = [
        b"set k 0 0 1000000\r\n".as_slice(),
        &vec![b'v'; 1_000_000],
        b"\r\n",
    ]
    .concat();
    assert_eq!(ask(&mut innocent, &set, "STORED"), ["STORED"]);
    let mut deaf = nuthatch.connect().unwrap();
    deaf.stream().set_nonblocking(true).unwrap();
    // 64 MB of requests would be 9 TB of answers.
    let requests = b"get k\r\n".repeat(9_000_000);
    let mut sent = 0;
    let mut refusals = 0;
    // The daemon has stopped reading once nothing more fits the sockets, even after it had its turn.
    while refusals < 50 && sent < requests.len() {
        match deaf.write(&requests[sent..]) {
            Ok(written) => sent += written,
            Err(_) => refusals += 1,
        }
        assert_eq!(ask(&mut innocent, b"get nope\r\n", "END"), ["END"]);
    }
    assert!(sent < 32 << 20, "it went on reading: {sent} bytes");
    // Of a megabyte each: some fill the sockets, and one waits.
    assert!(stat(&mut innocent, "get_hits") < 64);
}
