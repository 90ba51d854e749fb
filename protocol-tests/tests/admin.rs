//! The admin listener, over HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tempfile::TempDir;

const ANY_PORT: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Sends a request and reads all that comes back: status, headers in small letters, body.
fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[test]
fn each_path_answers_and_no_other() {
    let nuthatch = Nuthatch::start(&ANY_PORT).unwrap();
    let admin = nuthatch.admin_address().unwrap();
    let (status, _, index) = get(admin, "/");
    assert_eq!(status, 200);
    let links = index.split(" href=\"").skip(1);
    let links = links.map(|link| link.split_once('"').unwrap().0);
    let links: Vec<&str> = links.collect();
    assert_eq!(
        links,
        ["data:,", "api/v1/stats", "metrics", "livez", "readyz"]
    );
    for path in ["/", "/api/v1/stats", "/metrics", "/livez", "/readyz"] {
        let (status, head, body) = get(admin, path);
        assert_eq!(status, 200, "{path}");
        let kind = match path {
            "/" => "text/html; charset=utf-8",
            "/metrics" => "text/plain; version=0.0.4",
            "/api/v1/stats" => "application/json",
            _ => "text/plain; charset=utf-8",
        };
        let content_type = format!("\r\ncontent-type: {kind}\r\n");
        assert!(head.contains(&content_type), "{head}");
        for always in [
            "connection: close",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(&format!("\r\n{always}")), "{head}");
        }
        assert!(body.ends_with('\n'), "{path}: {body}");
        let head_only = ask(admin, &format!("HEAD {path} HTTP/1.0\r\n\r\n"));
        assert_eq!((head_only.0, head_only.2.as_str()), (200, ""), "{path}");
        let (status, head, _) = ask(
            admin,
            &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"),
        );
        assert_eq!(status, 405);
        assert!(head.contains("\r\nallow: get, head"), "{head}");
    }
    for path in ["/nothing", "/livez/", "//", "/readyz2"] {
        assert_eq!(get(admin, path).0, 404, "{path}");
    }
    assert_eq!(get(admin, "/readyz?verbose").0, 200);
    assert_eq!(ask(admin, "stats\r\n\r\n").0, 400);
}

/// Bytes of the page: two thirds are the library that draws.
const PAGE_LEN_MAX: usize = 128 << 10;

#[test]
fn the_page_is_small_and_may_run_nothing_but_what_is_in_it() {
    let nuthatch = Nuthatch::start(&ANY_PORT).unwrap();
    let (_, head, page) = get(nuthatch.admin_address().unwrap(), "/");
    assert!(page.len() <= PAGE_LEN_MAX, "{}", page.len());
    let policy = head
        .lines()
        .find_map(|line| line.strip_prefix("content-security-policy: "));
    let policy = policy.unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    for unsafe_word in ["unsafe", "http", "*"] {
        assert!(!policy.contains(unsafe_word), "{policy}");
    }
    assert!(!page.contains(" src=") && !page.contains(" style=") && !page.contains(" onclick="));
}

#[test]
fn a_daemon_that_stops_is_live_and_not_ready() {
    let flags = ["-A", "-m", "100", "-I", "20m"];
    let nuthatch = Nuthatch::start(&[ANY_PORT.as_slice(), &flags].concat()).unwrap();
    let admin = nuthatch.admin_address().unwrap();
    assert_eq!(get(admin, "/readyz").0, 200);
    // An answer larger than what sockets hold, which nobody reads: the daemon gives it some time.
    let mut unread = nuthatch.connect().unwrap();
    let value = "v".repeat(16 << 20);
    let requests = format!("set a 0 0 {}\r\n{value}\r\nget a\r\n", value.len());
    unread.write_all(requests.as_bytes()).unwrap();
    let mut first = [0; 16];
    unread.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"STORED\r\nVALUE a ");
    let mut operator = nuthatch.connect().unwrap();
    operator.write_all(b"shutdown\r\n").unwrap();
    assert!((0..10_000).any(|_| get(admin, "/readyz").0 != 200));
    assert_eq!(get(admin, "/readyz").0, 503);
    assert_eq!(get(admin, "/livez").0, 200);
    nuthatch.wait().unwrap();
    assert!(TcpStream::connect(admin).is_err());
}

/// The only line of an answer.
fn ask_for_line(stream: &mut TcpPeer, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, stream)
        .read_line(&mut line)
        .unwrap();
    line
}

#[test]
fn a_daemon_that_drains_is_not_ready_and_serves() {
    let nuthatch = Nuthatch::start(&[ANY_PORT.as_slice(), &["-A"]].concat()).unwrap();
    let admin = nuthatch.admin_address().unwrap();
    let mut operator = nuthatch.connect().unwrap();
    for (request, answer, ready, is_draining) in [
        (
            "drain on\r\n",
            "CLIENT_ERROR bad command line format\r\n",
            (200, "ready\n"),
            '0',
        ),
        ("drain\r\n", "OK\r\n", (503, "draining\n"), '1'),
        ("drain\r\n", "OK\r\n", (503, "draining\n"), '1'),
        (
            "set a 0 0 1\r\na\r\n",
            "STORED\r\n",
            (503, "draining\n"),
            '1',
        ),
        ("drain off\r\n", "OK\r\n", (200, "ready\n"), '0'),
    ] {
        assert_eq!(ask_for_line(&mut operator, request), answer);
        let (status, _, body) = get(admin, "/readyz");
        assert_eq!((status, body.as_str()), ready, "{request}");
        assert_eq!(get(admin, "/livez").0, 200);
        let page = get(admin, "/metrics").2;
        let line = format!("\nnuthatch_draining {is_draining}\n");
        assert!(page.contains(&line), "{request}");
        operator.write_all(b"stats\r\n").unwrap();
        let stats = BufReader::with_capacity(1, &mut operator).lines();
        let stats: Vec<String> = stats
            .map(Result::unwrap)
            .take_while(|l| l != "END")
            .collect();
        assert_eq!(
            stats.last().unwrap(),
            &format!("STAT draining {is_draining}")
        );
        // Who comes is served too.
        let mut client = nuthatch.connect().unwrap();
        assert!(ask_for_line(&mut client, "version\r\n").starts_with("VERSION"));
    }
}

#[test]
fn who_may_not_stop_a_daemon_may_not_drain_it() {
    let nuthatch = Nuthatch::start(&ANY_PORT).unwrap();
    let mut client = nuthatch.connect().unwrap();
    for request in ["drain\r\n", "drain off\r\n", "drain foo\r\n"] {
        let answer = ask_for_line(&mut client, request);
        assert_eq!(answer, "SERVER_ERROR: shutdown not enabled\r\n");
    }
    assert_eq!(get(nuthatch.admin_address().unwrap(), "/readyz").0, 200);
}

/// The value of a series in a page of metrics.
fn value(page: &str, series: &str) -> f64 {
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) = lines.find(|(name, _)| *name == series).unwrap();
    value.parse().unwrap()
}

#[test]
fn metrics_count_what_happened() {
    let nuthatch = Nuthatch::start(&[&ANY_PORT, ["-I", "1k"].as_slice()].concat()).unwrap();
    let admin = nuthatch.admin_address().unwrap();
    let mut client = nuthatch.connect().unwrap();
    let large = format!("set big 0 0 2000\r\n{}\r\n", "x".repeat(2000));
    let requests = "set a 0 0 1\r\n1\r\nset b 0 10 1\r\n1\r\nget a b n\r\ntouch n 0\r\n";
    client
        .write_all(format!("{requests}{large}mn\r\n").as_bytes())
        .unwrap();
    read_until(&mut client, "MN\r\n");
    nuthatch.clock().advance(Duration::from_secs(11));
    client
        .write_all(b"get b\r\nflush_all\r\nget a\r\nmn\r\n")
        .unwrap();
    read_until(&mut client, "MN\r\n");
    let page = get(admin, "/metrics").2;
    for (series, expected) in [
        ("memcached_up", 1.0),
        ("memcached_uptime_seconds", 11.0),
        (
            r#"memcached_commands_total{command="get",status="hit"}"#,
            2.0,
        ),
        (
            r#"memcached_commands_total{command="get",status="miss"}"#,
            3.0,
        ),
        (
            r#"memcached_commands_total{command="set",status="hit"}"#,
            2.0,
        ),
        ("memcached_item_too_large_total", 1.0),
        (r#"nuthatch_limit_hits_total{limit="item_size"}"#, 1.0),
        ("nuthatch_stopping", 0.0),
        ("nuthatch_uptime_seconds", 11.0),
    ] {
        let got = value(&page, series);
        assert!((got - expected).abs() < f64::EPSILON, "{series} {got}");
    }
    let sum = |family: &str, labels: &[&str]| -> f64 {
        let values = labels
            .iter()
            .map(|label| value(&page, &format!("{family}{{{label}}}")));
        values.sum()
    };
    let reasons = [
        r#"reason="absent""#,
        r#"reason="expired""#,
        r#"reason="flushed""#,
    ];
    assert_eq!(sum("nuthatch_miss_total", &reasons).to_string(), "4");
    // What has died may have been swept away before somebody asked for it: then memcached's counters do not have it.
    client.write_all(b"stats\r\n").unwrap();
    let stats = read_until(&mut client, "END\r\n");
    for (reason, name) in reasons
        .iter()
        .zip(["", "get_expired", "get_flushed"])
        .skip(1)
    {
        let told = sum("nuthatch_miss_total", &[reason]);
        let counted = [0.0, told].map(|count| format!("STAT {name} {count}\r\n"));
        assert!(
            counted.iter().any(|line| stats.contains(line)),
            "{reason} {told}: {stats}"
        );
    }
    // Its answer may have been read before it has been noted that it waits again.
    let states = [r#"state="request""#, r#"state="answer""#];
    assert_eq!(sum("nuthatch_connections", &states).to_string(), "1");
}

#[test]
fn what_compression_saves_and_what_comes_back_is_told() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let file = file.to_str().unwrap();
    let flags = [ANY_PORT.as_slice(), &["-e", file, "--compress-min", "64"]].concat();
    let nuthatch = Nuthatch::start(&flags).unwrap();
    let page = || get(nuthatch.admin_address().unwrap(), "/metrics").2;
    let mut client = nuthatch.connect().unwrap();
    let long = format!("set a 0 0 1000\r\n{}\r\n", "x".repeat(1000));
    client.write_all(long.as_bytes()).unwrap();
    read_until(&mut client, "STORED\r\n");
    // One item, so one shard has all.
    let told = page();
    let skew = value(&told, "nuthatch_shard_items_skew_ratio");
    assert_eq!(
        skew.to_string(),
        value(&told, "nuthatch_shards").to_string()
    );
    client.write_all(b"set b 0 0 1\r\n1\r\n").unwrap();
    read_until(&mut client, "STORED\r\n");
    let told = page();
    let input = value(&told, "nuthatch_compression_input_bytes_total");
    assert_eq!(input.to_string(), "1000");
    let stored = value(&told, "nuthatch_compression_stored_bytes_total");
    assert!((1.0..875.0).contains(&stored), "{stored}");
    let short = r#"nuthatch_compression_skipped_total{reason="short"}"#;
    assert_eq!(value(&told, short).to_string(), "1");
    drop(client);
    drop(nuthatch);

    let nuthatch = Nuthatch::start(&flags).unwrap();
    let page = || get(nuthatch.admin_address().unwrap(), "/metrics").2;
    let restored = r#"nuthatch_restored_items_total{result="restored"}"#;
    assert!((0..10_000).any(|_| value(&page(), restored) > 0.0));
    assert_eq!(value(&page(), restored).to_string(), "2");
    assert!((0..10_000).any(|_| value(&page(), "nuthatch_restoring") < 1.0));
}

#[test]
fn one_answer_of_about_sixteen_is_timed() {
    let nuthatch = Nuthatch::start(&ANY_PORT).unwrap();
    let admin = nuthatch.admin_address().unwrap();
    let mut client = nuthatch.connect().unwrap();
    let ask = |client: &mut TcpPeer, request: &str, end: &str| {
        client.write_all(request.as_bytes()).unwrap();
        read_until(client, end);
    };
    let count = |command: &str| {
        let page = get(admin, "/metrics").2;
        let series = format!("nuthatch_command_duration_seconds_count{{command=\"{command}\"}}");
        value(&page, &series)
    };
    // The first is one of them, but no time counts in which the client has to send the rest.
    client.write_all(b"set a 0 0 3\r\n1").unwrap();
    let has_come = |_| value(&get(admin, "/metrics").2, "memcached_read_bytes_total") >= 14.0;
    assert!((0..10_000).any(has_come));
    ask(&mut client, "23\r\n", "STORED\r\n");
    // What came together is timed together, under the name of what came first.
    for _ in 0..1_600 {
        ask(&mut client, "get a\r\nincr b 1\r\n", "NOT_FOUND\r\n");
    }
    // An answer may have been read before that has been noted.
    assert!((0..10_000).any(|_| count("get") >= 50.0));
    assert!(count("get") <= 200.0);
    assert_eq!(
        [count("arithmetic"), count("set")].map(|timed| timed.to_string()),
        ["0", "0"]
    );
    // The clock stands still.
    let first = r#"nuthatch_command_duration_seconds_bucket{command="get",le="0.000005"}"#;
    assert!(value(&get(admin, "/metrics").2, first) >= 50.0);
}

fn read_until(client: &mut impl Read, end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        read.push(byte[0].into());
    }
    read
}

#[test]
fn without_the_flag_there_is_none() {
    assert_eq!(Nuthatch::start(&[]).unwrap().admin_address(), None);
}
