//! What the daemon knows of the keys that are used: namespaces, hot keys, and what other memory would do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use nuthatch::insight::LIMITS;
use protocol_tests::nuthatch::{Nuthatch, TcpPeer};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

const SESSION: &str = ":1:django.contrib.sessions.cache0123456789abcdefghijklmnopqrstuv";
const PAGE: &str =
    ":1:views.decorators.cache.cache_page..GET.d41d8cd98f00b204e9800998ecf8427e.en.UTC";

/// More than so many answers take what the daemon does once in a second.
const ASKED_MAX: usize = 1_000_000;

/// The lines that answer these requests, up to the `MN` behind them.
fn ask(peer: &mut TcpPeer, requests: &str) -> Vec<String> {
    let requests = format!("{requests}mn\r\n");
    peer.write_all(requests.as_bytes()).unwrap();
    let lines = BufReader::with_capacity(1, peer).lines();
    lines
        .map(Result::unwrap)
        .take_while(|line| line != "MN")
        .collect()
}

/// `stats` of some kind.
fn stats(peer: &mut TcpPeer, what: &str) -> BTreeMap<String, String> {
    let mut lines = ask(peer, &format!("stats {what}\r\n"));
    assert_eq!(lines.pop().as_deref(), Some("END"), "{lines:?}");
    let pair = |line: &String| {
        let (name, value) = line.strip_prefix("STAT ").unwrap().split_once(' ').unwrap();
        (name.to_owned(), value.to_owned())
    };
    lines.iter().map(pair).collect()
}

/// Fields of one namespace, in the order in which they are asked for.
fn fields<const N: usize>(
    stats: &BTreeMap<String, String>,
    name: &str,
    fields: [&str; N],
) -> [u64; N] {
    fields.map(|field| stats[&format!("{name}:{field}")].parse().unwrap())
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn requests_and_items_are_counted_by_namespace() {
    let nuthatch = Nuthatch::start(&["--admin", "127.0.0.1:0"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let value = "v".repeat(20_000);
    ask(
        &mut peer,
        &format!(
            "get {SESSION}\r\nset {SESSION} 0 0 3\r\nabc\r\nset {SESSION} 0 0 5\r\nabcde\r\nget {SESSION}\r\n\
             mg {SESSION} v\r\ngat 60 {SESSION}\r\ntouch {SESSION} 0\r\n\
             ms {PAGE} 20000\r\n{value}\r\nget {PAGE}\r\nmd {PAGE}\r\ndelete {PAGE}\r\n\
             set shop:1:hits:x 0 0 1\r\n1\r\nincr shop:1:hits:x 1\r\nma shop:1:hits:x\r\nincr shop:1:hits:y 1\r\n\
             set plain 0 0 1\r\nx\r\nget plain\r\nget nothing:1\r\n"
        ),
    );
    let told = stats(&mut peer, "namespaces");
    let of = |name| {
        let counted = [
            "get",
            "hit",
            "set",
            "delete",
            "touch",
            "arith",
            "items",
            "evictions",
        ];
        fields(&told, name, counted)
    };
    // The session was asked for before anything was stored there: that counts for other.
    assert_eq!(of("sessions"), [3, 3, 2, 0, 1, 0, 1, 0]);
    assert_eq!(of("views"), [1, 1, 1, 2, 0, 0, 0, 0]);
    assert_eq!(of("shop:hits"), [0, 0, 1, 0, 0, 3, 1, 0]);
    assert_eq!(of("other"), [3, 1, 1, 0, 0, 0, 1, 0]);
    assert_eq!(told.len(), 4 * 9);
    let bytes = |name| fields(&told, name, ["bytes"])[0];
    let all = ["sessions", "views", "shop:hits", "other"].map(bytes);
    assert_eq!(
        all.iter().sum::<u64>().to_string(),
        stats(&mut peer, "")["bytes"]
    );
    let page = metrics(nuthatch.admin_address().unwrap());
    for series in [
        "requests_total{namespace=\"sessions\",command=\"get\",result=\"hit\"} 3",
        "requests_total{namespace=\"views\",command=\"delete\",result=\"miss\"} 1",
        "requests_total{namespace=\"shop:hits\",command=\"arith\",result=\"hit\"} 2",
        "requests_total{namespace=\"other\",command=\"set\",result=\"hit\"} 1",
        "items{namespace=\"sessions\"} 1",
        "evictions_total{namespace=\"other\"} 0",
    ] {
        assert!(
            page.contains(&format!("\nnuthatch_namespace_{series}\n")),
            "{series}: {page}"
        );
    }
    assert_eq!(ask(&mut peer, "stats reset\r\n"), ["RESET"]);
    let told = stats(&mut peer, "namespaces");
    assert_eq!(
        fields(&told, "sessions", ["get", "set", "items"]),
        [0, 0, 1]
    );
}

#[test]
fn the_mean_time_to_live_is_told_of_those_that_expire() {
    // With so few shards all of them are looked at.
    let nuthatch = Nuthatch::start(&[
        "--admin",
        "127.0.0.1:0",
        "--namespaces",
        "delimiter:/",
        "-m",
        "2",
        "-I",
        "1k",
    ])
    .unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let sets = "set a/1 0 60 1\r\n1\r\nset a/2 0 120 1\r\n2\r\nset a/3 0 0 1\r\n3\r\nset b/1 0 0 1\r\n4\r\n";
    assert_eq!(ask(&mut peer, sets), ["STORED"; 4]);
    let page = metrics(nuthatch.admin_address().unwrap());
    let told = page
        .lines()
        .filter(|line| line.starts_with("nuthatch_namespace_ttl_seconds"));
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["nuthatch_namespace_ttl_seconds{namespace=\"a\"} 90"]
    );
}

#[test]
fn evictions_are_counted_where_they_are() {
    let nuthatch = Nuthatch::start(&["-m", "2", "-I", "1k"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let value = "v".repeat(900);
    for number in 0..4_000 {
        let name = if number % 4 == 0 { "few" } else { "many" };
        let set = format!("set {name}:{number} 0 0 900\r\n{value}\r\n");
        assert_eq!(ask(&mut peer, &set), ["STORED"]);
    }
    let told = stats(&mut peer, "namespaces");
    let [few, many] = ["few", "many"].map(|name| fields(&told, name, ["evictions"])[0]);
    let evictions: u64 = stats(&mut peer, "")["evictions"].parse().unwrap();
    assert_eq!(few + many, evictions);
    assert!(few > 300 && many > 2 * few, "{few} and {many}");
}

#[test]
fn the_65th_namespace_is_told_with_the_others() {
    let nuthatch = Nuthatch::start(&["--namespaces", "delimiter:/"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    for number in 0..65 {
        ask(
            &mut peer,
            &format!("set n{number}/x 0 0 1\r\nx\r\nget n{number}/x\r\n"),
        );
    }
    let told = stats(&mut peer, "namespaces");
    assert_eq!(told.len(), 65 * 9);
    assert_eq!(fields(&told, "n63", ["get", "items"]), [1, 1]);
    assert_eq!(fields(&told, "other", ["get", "items"]), [1, 1]);
    assert!(!told.contains_key("n64:get"));
    // It cannot be flushed by its name, but with the others.
    assert_eq!(ask(&mut peer, "flush_namespace n64\r\n"), ["NOT_FOUND"]);
    assert_eq!(
        ask(&mut peer, "flush_namespace other\r\nget n64/x\r\n"),
        ["OK", "END"]
    );
}

/// Gets the first item of a namespace until it is told; returns what is told then, and how many gets that were.
fn ask_until_told(peer: &mut TcpPeer, name: &str) -> (BTreeMap<String, String>, u64) {
    let mut gets = 0;
    let told = (0..ASKED_MAX).find_map(|_| {
        ask(peer, &format!("get {name}/0\r\n").repeat(1_000));
        gets += 1_000;
        let told = stats(peer, "namespaces");
        told.contains_key(&format!("{name}:get")).then_some(told)
    });
    (told.unwrap(), gets)
}

#[test]
fn the_70th_namespace_is_told_once_it_is_used_most() {
    let flags = ["--namespaces", "delimiter:/", "--admin", "127.0.0.1:0"];
    let nuthatch = Nuthatch::start(&flags).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    for number in 0..70 {
        let set = |key| format!("set n{number}/{key} 0 0 1\r\nx\r\n");
        ask(&mut peer, &(0..10).map(set).collect::<String>());
    }
    let told = stats(&mut peer, "namespaces");
    assert_eq!(fields(&told, "other", ["set", "items"]), [60, 60]);
    assert_eq!(ask(&mut peer, "flush_namespace n69\r\n"), ["NOT_FOUND"]);
    let (told, gets) = ask_until_told(&mut peer, "n69");
    // With all its items, and its requests from that moment on; all others are still counted.
    assert_eq!(fields(&told, "n69", ["set", "items"]), [0, 10]);
    let mut alike = (10..64).map(|number| format!("n{number}"));
    let alike = alike
        .find(|name| told.contains_key(&format!("{name}:get")))
        .unwrap();
    assert_eq!(
        fields(&told, "n69", ["bytes"]),
        fields(&told, &alike, ["bytes"])
    );
    let [got] = fields(&told, "n69", ["get"]);
    assert_eq!(
        fields(&told, "other", ["get", "set", "items"]),
        [gets - got, 60, 60]
    );
    assert_eq!(told.len(), 65 * 9);
    let left: Vec<_> = (0..69)
        .filter(|number| !told.contains_key(&format!("n{number}:get")))
        .collect();
    assert_eq!(
        (
            left.len(),
            left.iter().filter(|number| **number < 64).count()
        ),
        (6, 1)
    );
    let loser = left[0];
    ask(
        &mut peer,
        &format!(
            "get n69/1\r\nget n{loser}/1\r\nset n69/new 0 0 1\r\nx\r\nset n{loser}/new 0 0 1\r\nx\r\n"
        ),
    );
    let told = stats(&mut peer, "namespaces");
    let of = ["get", "hit", "set", "items"];
    assert_eq!(fields(&told, "n69", of), [got + 1, got + 1, 1, 11]);
    let others = gets - got + 1;
    assert_eq!(fields(&told, "other", of), [others, others, 61, 61]);
    let page = metrics(nuthatch.admin_address().unwrap());
    assert!(
        page.contains("\nnuthatch_namespace_items{namespace=\"n69\"} 11\n"),
        "{page}"
    );
    assert!(!page.contains(&format!("namespace=\"n{loser}\"")), "{page}");
    let loser = format!("n{loser}");
    assert_eq!(
        ask(&mut peer, &format!("flush_namespace {loser}\r\n")),
        ["NOT_FOUND"]
    );
    let flushed = format!("flush_namespace n69\r\nget n69/1\r\nget n69/new\r\nget {loser}/1\r\n");
    let hit = format!("VALUE {loser}/1 0 1");
    assert_eq!(
        ask(&mut peer, &flushed),
        ["OK", "END", "END", hit.as_str(), "x", "END"]
    );
    let flushed = format!("flush_namespace other\r\nget {loser}/1\r\nget n68/1\r\n");
    assert_eq!(ask(&mut peer, &flushed), ["OK", "END", "END"]);
}

#[test]
fn a_namespace_is_flushed_and_no_other() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let store = format!("set {SESSION} 0 0 1\r\ns\r\nset {PAGE} 0 0 1\r\np\r\n");
    assert_eq!(
        ask(&mut peer, "flush_namespace sessions\r\n"),
        ["NOT_FOUND"]
    );
    ask(&mut peer, &store);
    let hits = |peer: &mut TcpPeer| {
        let get = format!("get {SESSION} {PAGE}\r\n");
        ask(peer, &get)
            .iter()
            .filter(|line| line.starts_with("VALUE"))
            .count()
    };
    assert_eq!(hits(&mut peer), 2);
    assert_eq!(ask(&mut peer, "flush_namespace sessions\r\n"), ["OK"]);
    assert_eq!(hits(&mut peer), 1);
    assert_eq!(stats(&mut peer, "")["get_flushed"], "1");
    ask(&mut peer, &store);
    assert_eq!(hits(&mut peer), 2);
    assert_eq!(ask(&mut peer, "flush_namespace views noreply\r\n").len(), 0);
    assert_eq!(hits(&mut peer), 1);
    for wrong in ["flush_namespace\r\n", "flush_namespace  \r\n"] {
        assert_eq!(
            ask(&mut peer, wrong),
            ["CLIENT_ERROR bad command line format"]
        );
    }
    assert_eq!(ask(&mut peer, "flush_namespace view\r\n"), ["NOT_FOUND"]);
}

#[test]
fn who_may_not_flush_may_not_flush_a_namespace() {
    let nuthatch = Nuthatch::start(&["-F"]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let answers = ask(
        &mut peer,
        "set a:b 0 0 1\r\nx\r\nflush_namespace a\r\nget a:b\r\n",
    );
    let refused = "CLIENT_ERROR flush_namespace not allowed";
    assert_eq!(answers, ["STORED", refused, "VALUE a:b 0 1", "x", "END"]);
}

#[test]
fn there_may_be_no_namespaces() {
    let flags = ["--namespaces", "off", "--admin", "127.0.0.1:0"];
    let nuthatch = Nuthatch::start(&flags).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let answers = ask(
        &mut peer,
        "set a:b 0 0 1\r\nx\r\nflush_namespace a\r\nflush_namespace other\r\n",
    );
    assert_eq!(answers, ["STORED", "NOT_FOUND", "NOT_FOUND"]);
    assert_eq!(stats(&mut peer, "namespaces"), BTreeMap::new());
    let page = metrics(nuthatch.admin_address().unwrap());
    assert!(!page.contains("nuthatch_namespace"), "{page}");
}

/// A third of the gets are for one key.
fn use_keys(peer: &mut TcpPeer) {
    assert_eq!(ask(peer, "set very-hot 0 0 5\r\nabcde\r\n"), ["STORED"]);
    for round in 0..300 {
        let get = |number: u32| match number % 3 {
            0 => "get very-hot\r\n".to_owned(),
            _ => format!("get k{}\r\n", (round * 100 + number) % 7_919),
        };
        ask(peer, &(0..100).map(get).collect::<String>());
    }
}

#[test]
fn hot_keys_are_told_to_who_asked_for_it() {
    let flags = ["--show-keys", "--admin", "127.0.0.1:0"];
    let nuthatch = Nuthatch::start(&flags).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    use_keys(&mut peer);
    let told = stats(&mut peer, "hotkeys");
    assert_eq!(told["1:key"], "very-hot");
    let share: f64 = told["1:share"].parse().unwrap();
    assert!((0.2..0.45).contains(&share), "{share}");
    let operations: u64 = told["1:operations"].parse().unwrap();
    assert!((5_000..15_000).contains(&operations), "{operations}");
    let bytes: u64 = told["1:bytes"].parse().unwrap();
    assert_eq!(bytes, 5 * operations);
    // Numbers are told everywhere, keys are not.
    let page = metrics(nuthatch.admin_address().unwrap());
    assert!(
        page.contains("\nnuthatch_hot_key_share_ratio{rank=\"1\"} 0."),
        "{page}"
    );
    assert!(!page.contains("very-hot"));
}

#[test]
fn hot_keys_are_not_told_to_everybody() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    use_keys(&mut peer);
    let refused = "CLIENT_ERROR stats hotkeys tells keys: start the server with --show-keys";
    assert_eq!(ask(&mut peer, "stats hotkeys\r\n"), [refused]);
}

#[test]
fn advice_is_given_once_enough_is_known() {
    let flags = ["-m", "64", "--admin", "127.0.0.1:0"];
    let nuthatch = Nuthatch::start(&flags).unwrap();
    let mut peer = nuthatch.connect().unwrap();
    let told = stats(&mut peer, "advice");
    assert_eq!(told["sampled_keys"], "0");
    assert!(told["advice"].starts_with("too few keys"), "{told:?}");
    assert!(!told.contains_key("1x:hit_ratio"));
    // Everything fits in half of the memory, so that only the first gets miss: one of five.
    for round in 0..5 {
        for batch in 0..100 {
            let key = |number: u32| format!("get key-{}\r\n", batch * 100 + number);
            let mut requests: String = (0..100).map(key).collect();
            if round == 0 {
                let set = |number: u32| format!("set key-{} 0 0 1\r\nx\r\n", batch * 100 + number);
                requests.extend((0..100).map(set));
            }
            ask(&mut peer, &requests);
        }
    }
    let told = (0..ASKED_MAX).find_map(|_| {
        let told = stats(&mut peer, "advice");
        let is_there = |(limit, _): &(&str, u64)| {
            let ratio = told.get(&format!("{limit}:hit_ratio"));
            ratio.is_some_and(|ratio| (0.79..0.81).contains(&ratio.parse::<f64>().unwrap()))
        };
        // Gets are counted once in a second.
        LIMITS.iter().all(is_there).then_some(told)
    });
    let told = told.unwrap();
    let keys: u32 = told["sampled_keys"].parse().unwrap();
    assert!((200..450).contains(&keys), "{told:?}");
    assert!(
        told["advice"].starts_with("half the memory would do"),
        "{told:?}"
    );
    let page = metrics(nuthatch.admin_address().unwrap());
    assert!(
        page.contains("\nnuthatch_memory_advice_hit_ratio{limit=\"0.5x\"} 0."),
        "{page}"
    );
}
