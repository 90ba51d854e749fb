//! What clients of ElastiCache ask a node for: all nodes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::{Nuthatch, config};
use std::io::{Read as _, Write as _};

const NODES: &str = "a.example|10.0.0.1|11211 b.example||11212";

/// The whole answer to `requests`, of a daemon with these flags.
fn answer(flags: &[&str], requests: &str) -> String {
    let nuthatch = Nuthatch::start(flags).unwrap();
    let mut connection = nuthatch.connect().unwrap();
    connection.write_all(requests.as_bytes()).unwrap();
    connection.write_all(b"quit\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// How often a daemon is asked before its first look-up should be done.
const QUESTIONS_MAX: usize = 100_000;

/// The start of a test's clock, in seconds.
const VERSION: &str = "1763732000";

#[test]
fn the_nodes_are_told_as_elasticache_tells_them() {
    let body = format!("{VERSION}\n{NODES}\n");
    let text = format!(" 0 {}\r\n{body}\r\nEND\r\n", body.len());
    let flags = [
        "--cluster-nodes",
        "a.example|10.0.0.1|11211,b.example||11212",
    ];
    for (request, expected) in [
        ("config get cluster\r\n", format!("CONFIG cluster{text}")),
        ("config  get cluster \n", format!("CONFIG cluster{text}")),
        (
            "get AmazonElastiCache:cluster\r\n",
            format!("VALUE AmazonElastiCache:cluster{text}"),
        ),
        ("config get other\r\n", "ERROR\r\n".to_owned()),
        ("config set cluster\r\n", "ERROR\r\n".to_owned()),
        ("config\r\n", "ERROR\r\n".to_owned()),
        ("gets AmazonElastiCache:cluster\r\n", "END\r\n".to_owned()),
        ("get AmazonElastiCache:cluster k\r\n", "END\r\n".to_owned()),
        ("version\r\n", "VERSION 1.6.45\r\n".to_owned()),
    ] {
        assert_eq!(answer(&flags, request), expected, "{request:?}");
        let twice = [request, "set k 0 0 1\r\n1\r\n", request].concat();
        let between = [&expected, "STORED\r\n"].concat();
        let answer = answer(&flags, &twice);
        assert!(answer.starts_with(&between), "{request:?}: {answer:?}");
    }
}

#[test]
fn without_a_cluster_there_is_no_such_command() {
    assert_eq!(answer(&[], "config get cluster\r\n"), "ERROR\r\n");
    assert_eq!(answer(&[], "get AmazonElastiCache:cluster\r\n"), "END\r\n");
    assert!(answer(&[], "version\r\n").starts_with("VERSION 1.6.45-"));
}

#[test]
fn the_longest_list_is_told_whole() {
    let node = format!("{}|2001:db8::8a2e:370:7334|65535", "h".repeat(253));
    let list = vec![node.as_str(); 256];
    let answer = answer(
        &["--cluster-nodes", &list.join(",")],
        "config get cluster\r\nget k\r\n",
    );
    let expected = format!("\n{}\n\r\nEND\r\nEND\r\n", list.join(" "));
    assert!(answer.ends_with(&expected));
}

#[test]
fn a_name_that_is_looked_up_gives_nodes_and_until_then_an_error() {
    let nuthatch = Nuthatch::start(&["--cluster-dns", "127.0.0.1:11299"]).unwrap();
    let mut connection = nuthatch.connect().unwrap();
    let body = format!("{VERSION}\n127.0.0.1|127.0.0.1|11299\n");
    let expected = format!("CONFIG cluster 0 {}\r\n{body}\r\nEND\r\n", body.len());
    let unknown = "SERVER_ERROR no node of the cluster is known yet\r\n";
    for _ in 0..QUESTIONS_MAX {
        connection.write_all(b"config get cluster\r\n").unwrap();
        let mut answer = vec![0; unknown.len()];
        connection.read_exact(&mut answer).unwrap();
        if answer != unknown.as_bytes() {
            answer.resize(expected.len(), 0);
            connection.read_exact(&mut answer[unknown.len()..]).unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), expected);
            return;
        }
    }
    panic!("the name was not looked up");
}

#[test]
fn flags_that_name_no_node_are_refused() {
    for flags in [
        ["--cluster-nodes", "10.0.0.1:11211"],
        ["--cluster-dns", "cache"],
    ] {
        assert!(config(&flags).is_err(), "{flags:?}");
    }
}
