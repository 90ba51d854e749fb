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

/// A value of a megabyte.
fn large_set(key: &str) -> Vec<u8> {
    let line = format!("set {key} 0 0 1000000\r\n");
    [line.as_bytes(), &vec![b'v'; 1_000_000], b"\r\n"].concat()
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
    assert_eq!(ask(&mut innocent, &large_set("k"), "STORED"), ["STORED"]);
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

#[test]
fn half_sent_values_take_half_of_the_memory_and_the_next_is_refused() {
    let nuthatch = Nuthatch::start(&["-m", "8"]).unwrap();
    let mut innocent = nuthatch.connect().unwrap();
    let set = large_set("k");
    let (half, rest) = set.split_at(900_000);
    let mut senders: Vec<TcpPeer> = (0..4).map(|_| nuthatch.connect().unwrap()).collect();
    for sender in &mut senders {
        sender.write_all(half).unwrap();
    }
    // Before the daemon has read all of that, there is room, and one of the senders would be refused instead.
    let is_held = (0..200_000).any(|_| stat(&mut innocent, "read_buf_bytes") == 4 * 1_000_002);
    assert!(is_held);
    innocent.write_all(&set).unwrap();
    let version = "VERSION 1.6.45-nuthatch-0.1.0";
    assert_eq!(
        ask(&mut innocent, b"version\r\n", version),
        ["SERVER_ERROR out of memory storing object", version]
    );
    assert_eq!(ask(&mut innocent, b"get k\r\n", "END"), ["END"]);
    for sender in &mut senders {
        assert_eq!(ask(sender, rest, "STORED"), ["STORED"]);
    }
    assert_eq!(ask(&mut innocent, &set, "STORED"), ["STORED"]);
    assert_eq!(stat(&mut innocent, "read_buf_bytes"), 0);
}

#[test]
fn readers_who_hold_deleted_values_are_cut_off_when_they_hold_a_quarter_of_the_memory() {
    let nuthatch = Nuthatch::start(&["-m", "8"]).unwrap();
    let mut innocent = nuthatch.connect().unwrap();
    let mut deaf = Vec::new();
    for key in ["a", "b", "c", "d"] {
        ask(&mut innocent, &large_set(key), "STORED");
        let mut peer = nuthatch.connect().unwrap();
        // Much more than fits the sockets.
        peer.write_all(format!("get {key}\r\n").repeat(200).as_bytes())
            .unwrap();
        deaf.push(peer);
        let mut hits = 0;
        let mut unchanged = 0;
        while unchanged < 20 {
            let now = stat(&mut innocent, "get_hits");
            unchanged = if now == hits { unchanged + 1 } else { 0 };
            hits = now;
        }
        let delete = format!("delete {key}\r\n");
        assert_eq!(
            ask(&mut innocent, delete.as_bytes(), "DELETED"),
            ["DELETED"]
        );
    }
    // Two of them are a quarter; the daemon waits for a second before it believes that they are slow.
    let is_cut_off = (0..200_000).any(|_| stat(&mut innocent, "curr_connections") <= 3);
    assert!(is_cut_off);
    assert_eq!(ask(&mut innocent, &large_set("e"), "STORED"), ["STORED"]);
}

#[test]
fn counting_again_and_again_is_answered_and_limited_like_anything_else() {
    // As many as are counted together, one more, and more than a turn has.
    for (times, turns) in [(1, 3), (64, 64), (65, 65), (66, 64), (200, 7)] {
        let nuthatch = Nuthatch::start(&["-R", &turns.to_string()]).unwrap();
        let mut client = nuthatch.connect().unwrap();
        let mut requests = "set n 0 0 2\r\n98\r\n".to_owned();
        let mut answers = vec!["STORED".to_owned()];
        let mut number: i64 = 98;
        for (line, step) in [("incr n 1\r\n", 1), ("decr n 3\r\n", -3)] {
            requests.push_str(&line.repeat(times));
            answers.extend((0..times).map(|_| {
                number = (number + step).max(0);
                number.to_string()
            }));
        }
        requests.push_str(&"incr n 2 noreply\r\n".repeat(times));
        requests.push_str(&"incr m 1\r\n".repeat(times));
        requests.push_str("mn\r\n");
        answers.extend(vec!["NOT_FOUND".to_owned(); times]);
        answers.push("MN".to_owned());
        let answered = ask(&mut client, requests.as_bytes(), "MN");
        assert_eq!(answered, answers, "{times}");
        let counted = ask(&mut client, b"get n\r\nmn\r\n", "MN");
        let expected = number + 2 * i64::try_from(times).unwrap();
        let got = counted.get(1).map(|number| number.trim_end());
        assert_eq!(got, Some(expected.to_string().as_str()), "{times}");
        // All came at once.
        let yields = (4 * times + 2) / turns;
        for (name, count) in [
            ("conn_yields", yields),
            ("incr_hits", 2 * times),
            ("decr_hits", times),
            ("incr_misses", times),
        ] {
            assert_eq!(stat(&mut client, name), count as u64, "{times} {name}");
        }
    }
}
