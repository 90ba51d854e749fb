//! `watch`: each stream, who may, and what becomes of those who read too slowly.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
use std::io::{BufRead, BufReader, Read, Write};

fn ask(peer: &mut TcpPeer, request: &str) -> String {
    peer.write_all(request.as_bytes()).unwrap();
    line(peer)
}

fn line(peer: &mut TcpPeer) -> String {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, peer.stream());
    reader.read_line(&mut line).unwrap();
    line
}

fn watching(daemon: &Nuthatch, streams: &str) -> TcpPeer {
    let mut watcher = daemon.connect().unwrap();
    assert_eq!(ask(&mut watcher, &format!("watch {streams}\r\n")), "OK\r\n");
    watcher
}

/// The next line without the time, the number, and the descriptor that it names.
fn event(watcher: &mut TcpPeer) -> String {
    let line = line(watcher);
    let words = line.trim_end().split(' ');
    let told = words.filter(|word| {
        let names = ["ts=", "gid=", "cfd=", "rport="];
        !names.iter().any(|name| word.starts_with(name))
    });
    told.collect::<Vec<_>>().join(" ")
}

#[test]
fn fetchers_are_told() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut client = daemon.connect().unwrap();
    assert_eq!(ask(&mut client, "set a 0 5 3\r\nabc\r\n"), "STORED\r\n");
    assert_eq!(
        ask(&mut client, "set b%\u{e9} 0 0 1\r\nx\r\n"),
        "STORED\r\n"
    );
    for streams in ["", "fetchers", "fetchers mutations"] {
        let mut watcher = watching(&daemon, streams);
        client
            .write_all("get a zz b%\u{e9}\r\nmg a\r\nmg zz q\r\ngat 1 a\r\nmn\r\n".as_bytes())
            .unwrap();
        while line(&mut client) != "MN\r\n" {}
        let found = "type=item_get key=a status=found clsid=1 size=3";
        let missed = "type=item_get key=zz status=not_found clsid=0 size=0";
        let encoded = "type=item_get key=b%25%C3%A9 status=found clsid=1 size=1";
        for expected in [found, missed, encoded, found, missed, found] {
            assert_eq!(event(&mut watcher), expected);
        }
    }
    let mut watcher = watching(&daemon, "fetchers");
    // Unless the sweep comes between: then it is not found.
    let is_told = (0..100).any(|_| {
        assert_eq!(ask(&mut client, "set e 0 -1 1\r\nx\r\n"), "STORED\r\n");
        assert_eq!(ask(&mut client, "get e\r\n"), "END\r\n");
        event(&mut watcher) == "type=item_get key=e status=expired clsid=0 size=0"
    });
    assert!(is_told);
    let is_told = (0..100).any(|_| {
        assert_eq!(ask(&mut client, "set f 0 0 1\r\nx\r\n"), "STORED\r\n");
        assert_eq!(ask(&mut client, "flush_all\r\n"), "OK\r\n");
        assert_eq!(ask(&mut client, "get f\r\n"), "END\r\n");
        event(&mut watcher) == "type=item_get key=f status=flushed clsid=0 size=0"
    });
    assert!(is_told);
}

#[test]
fn mutations_and_deletions_are_told() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut client = daemon.connect().unwrap();
    let mut watcher = watching(&daemon, "mutations deletions");
    let too_large = format!("set a 0 0 2000000\r\n{}\r\n", "x".repeat(2_000_000));
    for (request, answer, told) in [
        (
            "set a 0 100 3\r\nabc\r\n",
            "STORED",
            "item_store key=a status=stored cmd=set ttl=100 clsid=1 size=3",
        ),
        (
            "add a 0 0 1\r\nx\r\n",
            "NOT_STORED",
            "item_store key=a status=not_stored cmd=add ttl=0 clsid=1 size=1",
        ),
        (
            "replace b 0 0 1\r\nx\r\n",
            "NOT_STORED",
            "item_store key=b status=not_stored cmd=replace ttl=0 clsid=1 size=1",
        ),
        (
            "cas a 0 0 1 1\r\nx\r\n",
            "EXISTS",
            "item_store key=a status=exists cmd=cas ttl=0 clsid=1 size=1",
        ),
        (
            "cas b 0 0 1 1\r\nx\r\n",
            "NOT_FOUND",
            "item_store key=b status=not_found cmd=cas ttl=0 clsid=1 size=1",
        ),
        (
            "append a 0 0 1\r\nd\r\n",
            "STORED",
            "item_store key=a status=stored cmd=append ttl=0 clsid=1 size=1",
        ),
        (
            "ms b 2 T30 ME\r\nxx\r\n",
            "HD",
            "item_store key=b status=stored cmd=add ttl=30 clsid=1 size=2",
        ),
        (
            "ms c 2 MA\r\nxx\r\n",
            "NS",
            "item_store key=c status=not_stored cmd=append ttl=0 clsid=1 size=2",
        ),
        (
            "delete a\r\n",
            "DELETED",
            "deleted key=a cmd=delete clsid=1 size=4",
        ),
        ("md b\r\n", "HD", "deleted key=b cmd=md clsid=1 size=2"),
        (
            &too_large,
            "SERVER_ERROR object too large for cache",
            "item_store key=a status=too_large cmd=set ttl=0 clsid=1 size=2000000",
        ),
    ] {
        assert_eq!(ask(&mut client, request).trim_end(), answer);
        assert_eq!(event(&mut watcher), format!("type={told}"));
    }
    // Neither is what is not there, nor what is only said to be stale.
    assert_eq!(ask(&mut client, "delete zz\r\n"), "NOT_FOUND\r\n");
    assert_eq!(ask(&mut client, "set d 0 0 1\r\nx\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut client, "md d I\r\n"), "HD\r\n");
    assert_eq!(ask(&mut client, "delete d\r\n"), "DELETED\r\n");
    assert!(event(&mut watcher).starts_with("type=item_store key=d"));
    assert_eq!(
        event(&mut watcher),
        "type=deleted key=d cmd=delete clsid=1 size=1"
    );
}

#[test]
fn evictions_are_told() {
    let daemon = Nuthatch::start(&["-m", "2", "-I", "1m"]).unwrap();
    let mut client = daemon.connect().unwrap();
    let mut watcher = watching(&daemon, "evictions");
    let value = "x".repeat(900);
    for number in 0..5000 {
        let exptime = if number == 0 { 100 } else { 0 };
        let request = format!("set key-{number} 0 {exptime} 900\r\n{value}\r\n");
        assert_eq!(ask(&mut client, &request), "STORED\r\n");
        if number == 0 {
            assert_eq!(ask(&mut client, "touch key-0 50\r\n"), "TOUCHED\r\n");
        }
    }
    let told: Vec<String> = (0..100).map(|_| event(&mut watcher)).collect();
    let evicted = "fetch=no ttl=-1 la=0 clsid=1 size=900";
    assert!(
        told.iter()
            .all(|line| line.starts_with("type=eviction key=key-")),
        "{told:?}"
    );
    assert!(
        told.iter().filter(|line| line.ends_with(evicted)).count() > 90,
        "{told:?}"
    );
}

#[test]
fn connections_and_commands_are_told() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut watcher = watching(&daemon, "connevents rawcmds");
    let mut client = daemon.connect().unwrap();
    assert_eq!(
        event(&mut watcher),
        "type=conn_new rip=127.0.0.1 transport=tcp"
    );
    assert_eq!(ask(&mut client, "get \u{1b}[31m\r\n"), "END\r\n");
    let told = line(&mut watcher);
    assert!(
        told.ends_with(" get \\x1b[31m\n") && told.contains(" <"),
        "{told:?}"
    );
    // Each, also of those that are counted together.
    client
        .write_all(b"incr n 1\r\nincr n 1\r\nincr n 1\r\nquit\r\n")
        .unwrap();
    for command in ["incr n 1", "incr n 1", "incr n 1", "quit"] {
        assert!(line(&mut watcher).ends_with(&format!(" {command}\n")));
    }
    assert_eq!(
        event(&mut watcher),
        "type=conn_close rip=127.0.0.1 transport=tcp reason=normal"
    );
}

#[test]
fn a_new_memory_limit_is_told() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut watcher = watching(&daemon, "sysevents");
    let mut client = daemon.connect().unwrap();
    assert_eq!(ask(&mut client, "cache_memlimit 10\r\n"), "OK\r\n");
    assert_eq!(event(&mut watcher), "type=memory_limit bytes=10485760");
}

#[test]
fn times_and_numbers_grow() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut watcher = watching(&daemon, "");
    let mut client = daemon.connect().unwrap();
    let now = daemon.clock().now().unix_millis;
    for number in 1..4 {
        assert_eq!(ask(&mut client, "get a\r\n"), "END\r\n");
        let expected = format!("ts={}.{:03}000 gid={number} ", now / 1000, now % 1000);
        let told = line(&mut watcher);
        assert!(told.starts_with(&expected), "{told}");
    }
}

#[test]
fn who_may_not_watch_hears_why() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut client = daemon.connect().unwrap();
    assert_eq!(ask(&mut client, "watch nonsense\r\n"), "ERROR\r\n");
    assert_eq!(ask(&mut client, "get a\r\nwatch\r\n"), "END\r\n");
    assert_eq!(
        line(&mut client),
        "ERROR cannot pipeline other commands before watch\r\n"
    );
    let watchers: Vec<TcpPeer> = (0..20).map(|_| watching(&daemon, "")).collect();
    let refusal = "WATCHER_TOO_MANY log watcher limit reached\r\n";
    assert_eq!(ask(&mut client, "watch\r\n"), refusal);
    assert_eq!(ask(&mut client, "mn\r\n"), "MN\r\n");
    drop(watchers);
    // Who has gone makes room, as soon as that is known.
    while ask(&mut client, "watch\r\n") == refusal {}
    let daemon = Nuthatch::start(&["-W"]).unwrap();
    let mut client = daemon.connect().unwrap();
    let refusal = "CLIENT_ERROR watch commands not allowed\r\n";
    assert_eq!(ask(&mut client, "watch\r\n"), refusal);
}

#[test]
fn a_slow_watcher_holds_up_nobody_and_is_told_what_it_lost() {
    let daemon = Nuthatch::start(&[]).unwrap();
    let mut watcher = watching(&daemon, "fetchers");
    let mut client = daemon.connect().unwrap();
    let key = "k".repeat(250);
    let gets = format!("get {key}\r\n").repeat(1000);
    // 50 MB of lines, which no socket's buffers hold.
    for _ in 0..150 {
        client.write_all(gets.as_bytes()).unwrap();
        client.write_all(b"mn\r\n").unwrap();
        while line_of(&mut client) != "MN" {}
    }
    // What waits for it is bounded; what comes when there is room again says how much is missing.
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let skipped = loop {
        assert_eq!(ask(&mut client, "get a\r\n"), "END\r\n");
        let read = watcher.read(&mut buffer).unwrap();
        all.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&all);
        if let Some(line) = text.lines().find(|line| line.starts_with("skipped=")) {
            break line.to_owned();
        }
        assert!(all.len() < 60 << 20, "nothing was skipped");
    };
    let skipped: u64 = skipped.strip_prefix("skipped=").unwrap().parse().unwrap();
    assert!(skipped > 0);
}

fn line_of(peer: &mut TcpPeer) -> String {
    line(peer).trim_end().to_owned()
}
