//! The admin listener, over HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::Nuthatch;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const ANY_PORT: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Sends a request and reads all that comes back: status, headers in small letters, body.
fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
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
    let paths = index
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let paths: Vec<&str> = paths.collect();
    assert_eq!(paths, ["/livez", "/readyz"]);
    for path in paths {
        let (status, head, body) = get(admin, path);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("\r\ncontent-type: text/plain; "), "{head}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
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

#[test]
fn a_daemon_that_stops_is_live_and_not_ready() {
    let nuthatch = Nuthatch::start(&[ANY_PORT.as_slice(), &["-A"]].concat()).unwrap();
    let admin = nuthatch.admin_address().unwrap();
    assert_eq!(get(admin, "/readyz").0, 200);
    // Answers that nobody reads: the daemon gives them some time.
    let mut unread = nuthatch.connect().unwrap();
    let value = "v".repeat(1_000_000);
    let set = format!("set a 0 0 {}\r\n{value}\r\n", value.len());
    unread.write_all(set.as_bytes()).unwrap();
    unread.write_all("get a\r\n".repeat(50).as_bytes()).unwrap();
    let mut first = [0; 16];
    unread.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"STORED\r\nVALUE a ");
    let mut operator = nuthatch.connect().unwrap();
    operator.write_all(b"shutdown\r\n").unwrap();
    while get(admin, "/readyz").0 == 200 {}
    assert_eq!(get(admin, "/readyz").0, 503);
    assert_eq!(get(admin, "/livez").0, 200);
    nuthatch.wait().unwrap();
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn without_the_flag_there_is_none() {
    assert_eq!(Nuthatch::start(&[]).unwrap().admin_address(), None);
}
