//! Flags of nuthatch's own: what they change, and what they do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
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
