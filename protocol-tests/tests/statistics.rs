//! `stats`: every name in memcached's order, with values that are true.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::{memcached::Memcached, nuthatch::Nuthatch, replay::Peer};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    time::Duration,
};

/// The names that memcached 1.6.45 has and 1.6.18 has not.
const NAMES_SINCE_1_6_18: [&str; 2] =
    ["slab_reassign_busy_nomem", "slab_reassign_last_busy_status"];

fn stats(stream: &mut (impl Read + Write)) -> Vec<(String, String)> {
    stats_of(stream, "stats\r\n")
}

fn stats_of(stream: &mut (impl Read + Write), request: &str) -> Vec<(String, String)> {
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::with_capacity(1, stream)
        .lines()
        .map(Result::unwrap);
    lines
        .take_while(|line| line != "END")
        .map(|line| {
            let (name, value) = line.strip_prefix("STAT ").unwrap().split_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// Sends requests that are answered with that many lines, and reads those.
fn ask(stream: &mut (impl Read + Write), requests: &str, lines: usize) {
    stream.write_all(requests.as_bytes()).unwrap();
    let read = BufReader::with_capacity(1, stream)
        .lines()
        .take(lines)
        .map(Result::unwrap);
    assert_eq!(read.count(), lines);
}

#[test]
fn the_names_are_memcacheds_in_memcacheds_order() {
    let ours = stats(&mut Nuthatch::start(&[]).unwrap().connect().unwrap());
    assert_eq!(ours.len(), 93);
    let ours: Vec<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
    let memcached = Memcached::start().unwrap();
    let theirs = stats(&mut memcached.connect().unwrap());
    let common: Vec<&str> = theirs
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| ours.contains(name))
        .collect();
    let expected: Vec<&str> = ours
        .iter()
        .copied()
        .filter(|name| common.contains(name))
        .collect();
    assert_eq!(common, expected);
    for name in ours {
        assert!(
            common.contains(&name) || NAMES_SINCE_1_6_18.contains(&name),
            "memcached 1.6.18 has no {name}"
        );
    }
}

/// What [`exercise`] makes of each number, with one listening socket and one connection.
const COUNTED: &str = "\
pointer_size 64
threads 1
max_connections 1024
curr_connections 1
total_connections 2
rejected_connections 0
connection_structures 2
cmd_get 10
get_hits 6
get_misses 4
get_expired 1
get_flushed 1
cmd_set 7
cmd_flush 1
cmd_touch 5
cmd_meta 1
touch_hits 3
touch_misses 2
incr_hits 2
incr_misses 2
decr_hits 1
decr_misses 1
delete_hits 2
delete_misses 2
cas_misses 1
cas_badval 1
cas_hits 0
store_too_large 1
store_no_memory 0
limit_maxbytes 67108864
total_items 5
evictions 0
accepting_conns 1";

/// One of everything that is counted.
fn exercise(peer: &mut impl Peer) {
    let set = "set a 0 0 1\r\n1\r\nset b 0 1 1\r\n1\r\nadd a 0 0 1\r\n1\r\n";
    ask(peer, set, 3);
    ask(peer, "get a a nope b\r\ngets a\r\n", 10);
    peer.wait(Duration::from_secs(2));
    ask(
        peer,
        "get b\r\nincr a 1\r\nincr n 1\r\ndecr a 1\r\ndecr n 1\r\n",
        5,
    );
    ask(
        peer,
        "touch a 0\r\ntouch n 0\r\ngat 0 a n\r\ndelete n\r\n",
        6,
    );
    let cas = "cas n 0 0 1 1\r\n1\r\ncas a 0 0 1 1\r\n1\r\ndelete a\r\n";
    ask(peer, cas, 3);
    let large = format!("set big 0 0 1048576\r\n{}\r\n", "x".repeat(1_048_576));
    ask(peer, &large, 1);
    ask(peer, "set c 0 0 1\r\n1\r\nflush_all\r\nget c\r\n", 3);
    let gets = "ms m 1\r\n1\r\nmg m\r\nmg n\r\nmg m T9\r\nmg v N0\r\n";
    ask(peer, gets, 5);
    ask(peer, "ma m\r\nma n\r\nmd m\r\nmd m\r\nme m\r\n", 5);
}

/// What of [`COUNTED`] a server sees otherwise.
fn deviations(stats: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    let counted = COUNTED.lines().map(|line| line.split_once(' ').unwrap());
    counted
        .filter_map(|(name, expected)| {
            let got = stats.get(name).unwrap();
            (got != expected).then_some((name, got.as_str()))
        })
        .collect()
}

#[test]
fn the_counters_count_what_happened() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    exercise(&mut peer);
    let stats: BTreeMap<String, String> = stats(&mut peer).into_iter().collect();
    assert_eq!(deviations(&stats), []);
    let number = |name: &str| stats.get(name).unwrap().parse::<u64>().unwrap();
    assert_eq!(number("uptime"), 2);
    assert_eq!(number("libevent"), 0);
    assert_eq!(number("time"), nuthatch.clock().now().unix_millis / 1000);
    assert_eq!(number("pid"), u64::from(std::process::id()));
    assert!(number("bytes_read") > 1_048_576 && number("bytes_written") > 200);
}

#[test]
fn all_bytes_that_were_read_are_counted_whatever_they_were_read_with() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    // Its buffer is that of the next one, and has room for what is behind that.
    let long = format!(
        "set a 0 0 120000\r\n{}\r\ndelete a\r\n",
        "x".repeat(120_000)
    );
    ask(&mut peer, &long, 2);
    let next = format!(
        "set b 0 0 70000\r\n{}\r\n{}",
        "x".repeat(70_000),
        "mn\r\n".repeat(1000)
    );
    ask(&mut peer, &next, 1001);
    let stats: BTreeMap<String, String> = stats(&mut peer).into_iter().collect();
    let sent = long.len() + next.len() + "stats\r\n".len();
    assert_eq!(stats.get("bytes_read").unwrap(), &sent.to_string());
}

#[test]
fn memcached_counts_the_same() {
    let memcached = Memcached::start().unwrap();
    let mut stream = memcached.connect().unwrap();
    exercise(&mut stream);
    let stats: BTreeMap<String, String> = stats(&mut stream).into_iter().collect();
    let mut deviations = deviations(&stats);
    // Its maintainer may have been there before the get.
    deviations.retain(|(name, _)| *name != "get_expired");
    assert_eq!(deviations, []);
}

#[test]
fn a_fresh_server_has_written_nothing_and_reset_begins_again() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let value = |stats: &[(String, String)], wanted: &str| {
        stats
            .iter()
            .find(|(name, _)| name == wanted)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(value(&stats(&mut peer), "bytes_written"), "0");
    ask(&mut peer, "set a 0 0 1\r\n1\r\nget a\r\nstats reset\r\n", 5);
    let stats = stats(&mut peer);
    for name in [
        "cmd_get",
        "get_hits",
        "cmd_set",
        "total_items",
        "total_connections",
    ] {
        assert_eq!(value(&stats, name), "0", "{name}");
    }
    assert_eq!(value(&stats, "curr_items"), "1");
    assert_eq!(value(&stats, "curr_connections"), "1");
}

#[test]
fn latencies_are_told_of_each_command() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let before = stats_of(&mut peer, "stats latency\r\n");
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 24);
    let of_get = ["get:p50_us", "get:p99_us", "get:p999_us", "get:count"];
    assert_eq!(names.get(..4).unwrap(), of_get);
    // One of about sixteen is measured.
    for _ in 0..640 {
        ask(&mut peer, "get a\r\n", 1);
    }
    let after: BTreeMap<String, String> = stats_of(&mut peer, "stats latency\r\n")
        .into_iter()
        .collect();
    let number = |name: &str| after.get(name).unwrap().parse::<u64>().unwrap();
    assert!((25..=55).contains(&number("get:count")), "{after:?}");
    assert_eq!(number("set:count"), 0);
    let memcached = Memcached::start().unwrap();
    ask(&mut memcached.connect().unwrap(), "stats latency\r\n", 1);
}
