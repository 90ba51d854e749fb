//! What operators look at besides `stats`: settings, items, slabs, and lists of all items.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol_tests::{memcached::Memcached, nuthatch::Nuthatch};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};

/// The answer up to a line, without it.
fn ask(stream: &mut (impl Read + Write), request: &str, last: &str) -> Vec<String> {
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::with_capacity(1, stream).lines();
    lines
        .map(Result::unwrap)
        .take_while(|line| line != last)
        .collect()
}

/// The names of statistics.
fn names(stream: &mut (impl Read + Write), request: &str) -> Vec<String> {
    let name = |line: String| line.split(' ').nth(1).unwrap().to_owned();
    ask(stream, request, "END").into_iter().map(name).collect()
}

const ITEMS: &str =
    "set text 5 0 3\r\nabc\r\nset b:x 0 100 10\r\n0123456789\r\nms AAEK 2 b\r\nhi\r\nmn\r\n";

fn fill(stream: &mut (impl Read + Write)) {
    let answers = ask(stream, ITEMS, "MN");
    assert_eq!(answers, ["STORED", "STORED", "HD"]);
}

#[test]
fn the_names_are_memcacheds() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let memcached = Memcached::start().unwrap();
    let (mut ours, mut theirs) = (nuthatch.connect().unwrap(), memcached.connect().unwrap());
    // What was built in, and what 1.6.18 has not.
    let is_common = |name: &String| !name.starts_with("ext_") && !name.starts_with("ssl_");
    let newer = ["client_flags_size"];
    let absent = ["slab_automove_freeratio", "drop_privileges"];
    let mut our_settings = names(&mut ours, "stats settings\r\n");
    our_settings.retain(|name| is_common(name) && !newer.contains(&name.as_str()));
    let mut their_settings = names(&mut theirs, "stats settings\r\n");
    their_settings.retain(|name| is_common(name) && !absent.contains(&name.as_str()));
    assert_eq!(our_settings, their_settings);
    for request in ["stats items\r\n", "stats slabs\r\n"] {
        assert_eq!(names(&mut ours, request), names(&mut theirs, request));
    }
    fill(&mut ours);
    fill(&mut theirs);
    for request in ["stats items\r\n", "stats slabs\r\n"] {
        assert_eq!(names(&mut ours, request), names(&mut theirs, request));
    }
}

#[test]
fn settings_are_those_of_the_command_line_and_those_that_were_tuned() {
    let nuthatch = Nuthatch::start(&["-m", "32", "-I", "2m", "-M", "-R", "7"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let tuned = "lru tune 10 25 0.1 3.5\r\nlru_crawler sleep 77\r\nverbosity 1\r\nmn\r\n";
    assert_eq!(ask(&mut peer, tuned, "MN"), ["OK", "OK", "OK"]);
    let settings: BTreeSet<String> = ask(&mut peer, "stats settings\r\n", "END")
        .into_iter()
        .collect();
    for expected in [
        "maxbytes 33554432",
        "item_size_max 2097152",
        "evictions off",
        "reqs_per_event 7",
        "maxconns 1024",
        "udpport 0",
        "hot_lru_pct 10",
        "warm_max_factor 3.50",
        "lru_crawler_sleep 77",
        "verbosity 1",
        "umask 700",
    ] {
        assert!(
            settings.contains(&format!("STAT {expected}")),
            "{expected}: {settings:?}"
        );
    }
}

/// A dump by memcached, whose crawler may still be busy with the one before.
fn crawl(stream: &mut (impl Read + Write), request: &str) -> Vec<String> {
    let is_last = |line: &String| line == "END" || line.starts_with("BUSY");
    loop {
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = Vec::new();
        for line in BufReader::with_capacity(1, &mut *stream).lines() {
            lines.push(line.unwrap());
            if lines.last().is_some_and(is_last) {
                break;
            }
        }
        if lines.pop().is_some_and(|line| line == "END") {
            return lines;
        }
    }
}

/// Lines of a dump, without what depends on the moment and the server.
fn dumped(lines: Vec<String>) -> BTreeSet<String> {
    let is_stable = |word: &&str| {
        ["key=", "fetch=", "cls=", "size="]
            .iter()
            .any(|name| word.starts_with(name))
    };
    let stable = |line: String| {
        line.split(' ')
            .filter(is_stable)
            .collect::<Vec<_>>()
            .join(" ")
    };
    lines
        .into_iter()
        .map(stable)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn a_metadump_lists_what_memcacheds_does() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let memcached = Memcached::start().unwrap();
    let (mut ours, mut theirs) = (nuthatch.connect().unwrap(), memcached.connect().unwrap());
    fill(&mut ours);
    fill(&mut theirs);
    assert_eq!(ask(&mut ours, "get text\r\n", "END").len(), 2);
    assert_eq!(ask(&mut theirs, "get text\r\n", "END").len(), 2);
    for classes in ["all", "hash", "1"] {
        let request = format!("lru_crawler metadump {classes}\r\n");
        let lines = ask(&mut ours, &request, "END");
        assert_eq!(lines.first().unwrap(), "OK");
        assert_eq!(dumped(lines), dumped(crawl(&mut theirs, &request)));
    }
    let lines = ask(&mut ours, "lru_crawler metadump all\r\n", "END");
    let now = nuthatch.clock().now().unix_millis / 1000;
    let text = lines
        .iter()
        .find(|line| line.starts_with("key=text"))
        .unwrap();
    assert!(text.contains(&format!(" exp=-1 la={now} cas=")), "{text}");
    assert!(
        text.ends_with(" fetch=yes cls=1 size=70 flags=5 "),
        "{text}"
    );
    let other = lines
        .iter()
        .find(|line| line.starts_with("key=b%3Ax"))
        .unwrap();
    assert!(
        other.contains(&format!(" exp={} la={now} cas=", now + 100)),
        "{other}"
    );
    let encoded = lines
        .iter()
        .find(|line| line.starts_with("key=%00%01%0A "))
        .unwrap();
    assert!(encoded.contains(" fetch=no "), "{encoded}");
    assert_eq!(ask(&mut ours, "lru_crawler metadump 2\r\n", "END"), ["OK"]);
}

#[test]
fn an_mgdump_is_a_list_of_requests() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    fill(&mut peer);
    let lines: BTreeSet<String> = ask(&mut peer, "lru_crawler mgdump hash\r\n", "EN")
        .into_iter()
        .collect();
    let expected = ["OK", "mg text", "mg b:x", "mg AAEK b"].map(str::to_owned);
    assert_eq!(lines, expected.into());
}

#[test]
fn a_cachedump_has_keys_lengths_and_expiries() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    assert_eq!(
        ask(&mut peer, "set text 5 0 3\r\nabc\r\n", "STORED").len(),
        0
    );
    assert_eq!(
        ask(&mut peer, "set b:x 0 100 10\r\n0123456789\r\n", "STORED").len(),
        0
    );
    let lines: BTreeSet<String> = ask(&mut peer, "stats cachedump 1 0\r\n", "END")
        .into_iter()
        .collect();
    let now = nuthatch.clock().now().unix_millis / 1000;
    let timed = format!("ITEM b:x [10 b; {} s]", now + 100);
    assert_eq!(lines, ["ITEM text [3 b; 0 s]".to_owned(), timed].into());
    assert_eq!(ask(&mut peer, "stats cachedump 1 1\r\n", "END").len(), 1);
    // A line feed in a key must not end the line.
    assert_eq!(
        ask(&mut peer, "flush_all\r\nms Cg== 0 b\r\n\r\n", "HD"),
        ["OK"]
    );
    let lines = ask(&mut peer, "stats cachedump 1 0\r\n", "END");
    assert_eq!(lines, ["ITEM Cg== [0 b; 0 s]"]);
    assert_eq!(ask(&mut peer, "stats cachedump 2 0\r\n", "END").len(), 0);
}

#[test]
fn a_cachedump_has_two_mebibytes() {
    const LEN_MAX: usize = 2 * 1024 * 1024;
    // `ITEM `, the key, ` [1 b; 0 s]` and the line end: 256 bytes. There must be room for the end, too.
    let key = |number: usize| format!("{number:0>238}");
    for (items, lines) in [(8191, 8191), (8192, 8191)] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let mut peer = nuthatch.connect().unwrap();
        let requests = (0..items).map(|number| format!("ms {} 1 q\r\nv\r\n", key(number)));
        let requests = requests.chain(["mn\r\n".to_owned()]).collect::<String>();
        assert_eq!(ask(&mut peer, &requests, "MN").len(), 0);
        let listed = ask(&mut peer, "stats cachedump 1 0\r\n", "END");
        assert_eq!(listed.len(), lines, "{items} items");
        let len: usize = listed.iter().map(|line| line.len() + 2).sum();
        assert_eq!(len, lines * 256);
        assert!(len + "END\r\n".len() <= LEN_MAX);
    }
}

#[test]
fn a_long_list_comes_whole_and_other_clients_have_their_turns() {
    let nuthatch = Nuthatch::start(&["-m", "64"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let requests = (0..50_000).map(|number| format!("ms key-{number} 1 q\r\nv\r\n"));
    let requests = requests.chain(["mn\r\n".to_owned()]).collect::<String>();
    assert_eq!(ask(&mut peer, &requests, "MN").len(), 0);
    let mut other = nuthatch.connect().unwrap();
    peer.write_all(b"lru_crawler metadump all\r\n").unwrap();
    assert_eq!(ask(&mut other, "get key-1\r\n", "END").len(), 2);
    let lines = ask(&mut peer, "", "END");
    assert_eq!(lines.len(), 50_001);
    assert!(ask(&mut other, "stats\r\n", "END").iter().any(|line| {
        let yields = line.strip_prefix("STAT conn_yields ");
        yields.is_some_and(|yields| yields.parse::<u64>().unwrap() >= 10)
    }));
}

/// memcached's crawler is a thread that may be busy, so what it answers depends on the moment.
#[test]
fn a_crawler_is_enabled_and_disabled() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    for (request, answer) in [
        ("crawl all", "OK"),
        ("crawl 1,2", "OK"),
        ("crawl 63", "OK"),
        ("crawl 0", "BADCLASS invalid class id"),
        ("crawl 64", "BADCLASS invalid class id"),
        ("crawl x", "BADCLASS invalid class id"),
        ("metadump 99", "BADCLASS invalid class id"),
        ("disable", "OK"),
        ("crawl 1", "CLIENT_ERROR lru crawler disabled"),
        ("metadump all", "CLIENT_ERROR lru crawler disabled"),
        ("mgdump all", "CLIENT_ERROR lru crawler disabled"),
        ("enable", "OK"),
        ("crawl 1", "OK"),
    ] {
        let request = format!("lru_crawler {request}\r\nmn\r\n");
        assert_eq!(ask(&mut peer, &request, "MN"), [answer], "{request}");
    }
}

#[test]
fn requests_are_counted_by_prefix_as_memcached_counts_them() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let memcached = Memcached::start().unwrap();
    let requests = "stats detail on\r\nget a:1\r\nset b:1 0 0 1\r\n1\r\nget b:1 b:2\r\nms c:1 1\r\n1\r\nmg c:1\r\n\
        md c:1\r\nincr e:1 1\r\ntouch f:1 1\r\ngat 1 g:1\r\ndelete h:1\r\nadd b:1 0 0 1\r\n1\r\nget plain\r\n\
        get :x\r\nget a:b:c\r\nappend k:1 0 0 1\r\n1\r\ndelete b:1\r\nstats detail off\r\n\
        get a:1\r\nstats detail\r\nstats detail x\r\nmn\r\n";
    let (mut ours, mut theirs) = (nuthatch.connect().unwrap(), memcached.connect().unwrap());
    assert_eq!(
        ask(&mut ours, requests, "MN"),
        ask(&mut theirs, requests, "MN")
    );
    let dump = "stats detail dump\r\n";
    let [our_dump, their_dump] = [ask(&mut ours, dump, "END"), ask(&mut theirs, dump, "END")];
    let expected = [
        "PREFIX  get 1 hit 0 set 0 del 0",
        "PREFIX a get 2 hit 0 set 0 del 0",
        "PREFIX b get 2 hit 1 set 2 del 1",
        "PREFIX g get 1 hit 0 set 0 del 0",
        "PREFIX h get 0 hit 0 set 0 del 1",
        "PREFIX k get 0 hit 0 set 1 del 0",
    ];
    assert_eq!(our_dump, expected);
    let their_dump: BTreeSet<String> = their_dump.into_iter().collect();
    assert_eq!(their_dump, expected.map(str::to_owned).into());
    let reset = "stats reset\r\nstats detail dump\r\n";
    assert_eq!(ask(&mut ours, reset, "END"), ["RESET"]);
    assert_eq!(ask(&mut theirs, reset, "END"), ["RESET"]);
}

#[test]
fn prefixes_may_end_with_another_character() {
    let nuthatch = Nuthatch::start(&["-D", "/"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let _ = ask(&mut peer, "get a/b:c\r\n", "END");
    let lines = ask(&mut peer, "stats detail dump\r\n", "END");
    assert_eq!(lines, ["PREFIX a get 1 hit 0 set 0 del 0"]);
    let settings = ask(&mut peer, "stats settings\r\n", "END");
    for expected in ["STAT stat_key_prefix /", "STAT detail_enabled yes"] {
        assert!(settings.iter().any(|line| line == expected), "{expected}");
    }
}

#[test]
fn every_socket_is_listed_with_what_it_waits_for() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let mut half = nuthatch.connect().unwrap();
    half.write_all(b"version\r\nset large 0 0 100000\r\nabc")
        .unwrap();
    assert_eq!(ask(&mut half, "", "VERSION 1.6.45-nuthatch-0.1.0").len(), 0);
    nuthatch.clock().advance(std::time::Duration::from_secs(7));
    let own = peer.stream().local_addr().unwrap();
    let address = nuthatch.address();
    // Each socket's lines, without its descriptor.
    let conns = |peer: &mut _| -> Vec<Vec<String>> {
        let lines = ask(peer, "stats conns\r\n", "END");
        let of = |line: &String| {
            let (fd, rest) = line.strip_prefix("STAT ").unwrap().split_once(':').unwrap();
            (fd.parse::<u32>().unwrap(), rest.to_owned())
        };
        let all: Vec<(u32, String)> = lines.iter().map(of).collect();
        assert!(all.is_sorted_by_key(|(fd, _)| *fd));
        let sockets = all.chunk_by(|(one, _), (other, _)| one == other);
        sockets
            .map(|lines| lines.iter().map(|(_, line)| line.clone()).collect())
            .collect()
    };
    let is_seen = (0..100_000).any(|_| {
        let sockets = conns(&mut peer);
        assert_eq!(sockets.len(), 3, "{sockets:?}");
        sockets
            .iter()
            .any(|lines| lines.contains(&"state conn_nread".to_owned()))
    });
    assert!(is_seen);
    let sockets = conns(&mut peer);
    let listening = [
        format!("addr tcp:{address}"),
        "state conn_listening".to_owned(),
        "secs_since_last_cmd 7".to_owned(),
    ];
    assert!(sockets.contains(&listening.into()), "{sockets:?}");
    let asking = [
        format!("addr tcp:{own}"),
        format!("listen_addr tcp:{address}"),
        "state conn_parse_cmd".to_owned(),
        "secs_since_last_cmd 0".to_owned(),
    ];
    assert!(sockets.contains(&asking.into()), "{sockets:?}");
    let waiting = sockets
        .iter()
        .find(|lines| lines.contains(&"state conn_nread".to_owned()));
    assert_eq!(waiting.unwrap().last().unwrap(), "secs_since_last_cmd 7");
    drop(half);
    let is_gone = (0..100_000).any(|_| conns(&mut peer).len() == 2);
    assert!(is_gone);
}
