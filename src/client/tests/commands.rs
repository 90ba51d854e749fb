//! Every command, against nuthatch, memcached, and memcached behind a proxy that knows no meta commands.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cognitive_complexity,
    reason = "a test fails by panicking, and asks one thing after the other"
)]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use bytes::Bytes;
use nuthatch_client::{
    CasOutcome, Client, Codec, Distribution, Error, KeyPolicy, NodeAddress, Policy, Source,
    TimeLeft, Timeouts, Ttl,
};
use protocol_tests::memcached::Memcached;
use protocol_tests::nuthatch::Nuthatch;
use protocol_tests::twemproxy::Twemproxy;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use support::{builder, client, client_of, serve, without_meta};
use tokio::net::UnixStream;

async fn storage(client: &Client) {
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
    assert!(!client.replace("k", "x", Ttl::NEVER).await.unwrap());
    assert!(client.add("k", "v", Ttl::NEVER).await.unwrap());
    assert!(!client.add("k", "x", Ttl::NEVER).await.unwrap());
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "v");
    assert!(client.append("k", ">").await.unwrap());
    assert!(client.prepend("k", "<").await.unwrap());
    assert!(!client.append("nothing", "x").await.unwrap());
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "<v>");
    assert!(client.replace("k", "w", Ttl::secs(100)).await.unwrap());

    let item = client.get_item("k").await.unwrap().unwrap();
    let cas = item.cas.unwrap();
    assert_eq!((item.client_flags, item.is_stale), (16, false));
    assert_eq!(item.decode::<Bytes>().unwrap(), "w");
    assert_eq!(
        client.cas("k", "x", Ttl::NEVER, cas).await.unwrap(),
        CasOutcome::Stored
    );
    assert_eq!(
        client.cas("k", "y", Ttl::NEVER, cas).await.unwrap(),
        CasOutcome::Changed
    );
    assert!(client.delete("k").await.unwrap());
    assert!(!client.delete("k").await.unwrap());
    assert_eq!(
        client.cas("k", "z", Ttl::NEVER, cas).await.unwrap(),
        CasOutcome::Gone
    );
}

async fn numbers(client: &Client) {
    assert_eq!(client.incr("n", 1).await.unwrap(), None);
    client.set("n", &41u64, Ttl::NEVER).await.unwrap();
    assert_eq!(client.incr("n", 1).await.unwrap(), Some(42));
    assert_eq!(client.decr("n", 40).await.unwrap(), Some(2));
    assert_eq!(client.decr("n", 3).await.unwrap(), Some(0));
    client.set("n", &u64::MAX, Ttl::NEVER).await.unwrap();
    assert_eq!(client.decr("n", 1).await.unwrap(), Some(u64::MAX - 1));
    assert_eq!(client.get::<u64>("n").await.unwrap(), Some(u64::MAX - 1));
    client.set("n", &10u8, Ttl::NEVER).await.unwrap();
    assert_eq!(client.decr("n", 1).await.unwrap(), Some(9));
    // memcached leaves the length as it was.
    assert_eq!(client.get::<u8>("n").await.unwrap(), Some(9));
    client.set("text", "text", Ttl::NEVER).await.unwrap();
    assert!(matches!(
        client.incr("text", 1).await,
        Err(Error::Server { op: "incr", .. })
    ));
    assert!(matches!(
        client.get::<u64>("text").await,
        Err(Error::Codec(_))
    ));

    let count = async || 100;
    assert_eq!(
        client
            .incr_or_init("m", 5, Ttl::NEVER, count)
            .await
            .unwrap(),
        105
    );
    assert_eq!(
        client
            .incr_or_init("m", 5, Ttl::NEVER, count)
            .await
            .unwrap(),
        110
    );
}

async fn updates(client: &Client) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    let add = |old: Option<u64>| Some(old.unwrap_or(0) + 1);
                    while client.update("u", Ttl::NEVER, add).await.is_err() {}
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(client.get::<u64>("u").await.unwrap(), Some(40));
    let left = client
        .update::<u64>("u", Ttl::NEVER, |_| None)
        .await
        .unwrap();
    assert_eq!(left, None);
}

async fn lifetimes(client: &Client, has_meta: bool) {
    let time_left = async |key: &str| {
        client
            .get_item(key)
            .await
            .unwrap()
            .map(|item| item.time_left)
    };
    client.set("k", "v", Ttl::secs(100)).await.unwrap();
    let expected = if has_meta {
        TimeLeft::Seconds(100)
    } else {
        TimeLeft::Unknown
    };
    let left = time_left("k").await.unwrap();
    assert!(
        left == expected || left == TimeLeft::Seconds(99),
        "{left:?}"
    );
    assert!(client.touch("k", Ttl::NEVER).await.unwrap());
    assert!(!client.touch("nothing", Ttl::NEVER).await.unwrap());
    let expected = if has_meta {
        TimeLeft::Forever
    } else {
        TimeLeft::Unknown
    };
    assert_eq!(time_left("k").await.unwrap(), expected);
    let past = Ttl::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    assert_eq!(
        client
            .get_and_touch::<String>("k", past)
            .await
            .unwrap()
            .unwrap(),
        "v"
    );
    assert_eq!(time_left("k").await, None);
    assert_eq!(
        client.get_and_touch::<String>("k", past).await.unwrap(),
        None
    );
    client.set("k", "v", Ttl::secs(0)).await.unwrap();
    assert_eq!(time_left("k").await, None);
}

async fn many(client: &Client) {
    // More than one node is asked for in one go.
    let entries: Vec<(String, String)> = (0..2500)
        .map(|n| (format!("many:{n}"), format!("{n}")))
        .collect();
    assert!(client.set_many(&entries, Ttl::NEVER).await.is_empty());
    let mut keys: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
    keys.extend(["absent".to_owned(), "not legal".to_owned()]);
    let found = client.get_many::<_, String>(&keys).await;
    assert_eq!(found.missing, ["absent"]);
    assert_eq!(found.failed.keys().collect::<Vec<_>>(), ["not legal"]);
    assert_eq!(found.found.len(), 2500);
    assert!(
        entries
            .iter()
            .all(|(key, value)| found.found[key] == *value)
    );
    let failed = client.set_many(&[("not legal", "x")], Ttl::NEVER).await;
    assert!(matches!(failed["not legal"], Error::Key(_)));
    assert!(
        client
            .get_many::<String, String>(&[])
            .await
            .found
            .is_empty()
    );
}

async fn large(client: &Client) {
    for len in [8191, 8192, 8193, 16_383, 16_384, 65_535, 65_536, 900_000] {
        let value = vec![b'x'; len];
        client.set("large", &value, Ttl::NEVER).await.unwrap();
        assert_eq!(
            client.get::<Vec<u8>>("large").await.unwrap().unwrap(),
            value
        );
    }
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(1_100_000)
        .collect();
    let refused = client.set("large", &noise, Ttl::NEVER).await;
    assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
    assert_eq!(client.get::<Vec<u8>>("large").await.unwrap(), None);
}

async fn whole_nodes(client: &Client, address: SocketAddr) {
    let node = address.to_string();
    assert_eq!(client.locate("k").unwrap(), node);
    let stats = client.stats("").await.remove(&node).unwrap().unwrap();
    assert!(stats.contains_key("cmd_get"));
    assert!(
        client
            .stats("nonsense\r\nflush_all")
            .await
            .contains_key(&node)
    );
    let versions = client.versions().await;
    assert!(!versions[&node].as_ref().unwrap().is_empty());
    client.set("k", "v", Ttl::NEVER).await.unwrap();
    assert!(client.flush_all().await.remove(&node).unwrap().is_ok());
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
}

async fn every_command(address: SocketAddr, has_meta: bool) {
    let client = client(address).await;
    storage(&client).await;
    numbers(&client).await;
    updates(&client).await;
    lifetimes(&client, has_meta).await;
    many(&client).await;
    large(&client).await;
    whole_nodes(&client, address).await;
}

#[tokio::test]
async fn every_command_works_against_nuthatch() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    every_command(nuthatch.address(), true).await;
}

#[tokio::test]
async fn every_command_works_against_memcached() {
    let memcached = Memcached::start().unwrap();
    every_command(memcached.address(), true).await;
}

#[tokio::test]
async fn every_command_works_in_classic_words() {
    let memcached = Memcached::start().unwrap();
    every_command(without_meta(memcached.address()).await, false).await;
}

async fn what_twemproxy_forwards(servers: &[SocketAddr]) {
    let proxy = Twemproxy::start(servers).unwrap();
    let client = client_of(proxy.address()).await;
    storage(&client).await;
    numbers(&client).await;
    updates(&client).await;
    many(&client).await;
    large(&client).await;
    client.set("k", "v", Ttl::secs(100)).await.unwrap();
    assert!(client.touch("k", Ttl::NEVER).await.unwrap());
    assert!(!client.touch("nothing", Ttl::NEVER).await.unwrap());
}

/// What twemproxy hangs up on, each refused before it is sent.
async fn refused_for_twemproxy(client: &Client) {
    let touched = client.get_and_touch::<String>("k", Ttl::NEVER).await;
    let mut refused = vec![touched.map(|_| ())];
    refused.extend(client.flush_all().await.into_values());
    refused.extend(
        client
            .stats("")
            .await
            .into_values()
            .map(|it| it.map(|_| ())),
    );
    refused.extend(
        client
            .versions()
            .await
            .into_values()
            .map(|it| it.map(|_| ())),
    );
    assert_eq!(refused.len(), 4);
    for it in refused {
        assert!(matches!(it, Err(Error::Unsupported { .. })), "{it:?}");
    }
}

#[tokio::test]
async fn what_twemproxy_does_not_know_is_not_sent_to_it() {
    let memcached = Memcached::start().unwrap();
    let proxy = Twemproxy::start(&[memcached.address()]).unwrap();
    let path = proxy.address().to_owned();
    let (relay, connections) = serve(move |_, peer| {
        let path = path.clone();
        async move { peer.forward(UnixStream::connect(path).await.unwrap()).await }
    })
    .await;
    let client = client(relay).await;
    // Of a connection, these are the first calls: one that hung up each time would be of no use.
    refused_for_twemproxy(&client).await;
    refused_for_twemproxy(&client).await;
    client.set("k", "v", Ttl::NEVER).await.unwrap();
    // Nor do they disturb those who share the connection.
    let (found, ()) = tokio::join!(client.get::<String>("k"), refused_for_twemproxy(&client));
    assert_eq!(found.unwrap().unwrap(), "v");
    // One asked what it is, and was hung up on; the other is in use.
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn every_command_that_twemproxy_knows_works_through_it() {
    let memcacheds: Vec<Memcached> = (0..2).map(|_| Memcached::start().unwrap()).collect();
    let addresses: Vec<_> = memcacheds.iter().map(Memcached::address).collect();
    what_twemproxy_forwards(&addresses).await;
    let nuthatches: Vec<Nuthatch> = (0..2).map(|_| Nuthatch::start(&[]).unwrap()).collect();
    let addresses: Vec<_> = nuthatches.iter().map(Nuthatch::address).collect();
    what_twemproxy_forwards(&addresses).await;
}

#[tokio::test]
async fn keys_and_values_of_any_bytes_survive() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    for policy in [KeyPolicy::Base64, KeyPolicy::Hash] {
        let client = builder(nuthatch.address())
            .key_policy(policy)
            .build()
            .await
            .unwrap();
        for len in [1, 2, 3, 100, 186] {
            let key = vec![b'\n'; len];
            client.set(&key, &key, Ttl::NEVER).await.unwrap();
            assert_eq!(client.get::<Vec<u8>>(&key).await.unwrap().unwrap(), key);
            assert!(client.delete(&key).await.unwrap());
        }
    }
    let client = client(nuthatch.address()).await;
    let bytes: Vec<u8> = (0..=255)
        .filter(|byte| !b" \n".contains(byte))
        .take(250)
        .collect();
    client.set(&bytes, &bytes, Ttl::NEVER).await.unwrap();
    assert_eq!(client.get::<Vec<u8>>(&bytes).await.unwrap().unwrap(), bytes);
    let injection = "k 0 0 1\r\nx\r\nflush_all";
    assert!(matches!(
        client.get::<String>(injection).await,
        Err(Error::Key(_))
    ));
}

#[tokio::test]
async fn a_prefix_goes_before_every_key_and_moves_none() {
    let nodes: Vec<Nuthatch> = (0..3).map(|_| Nuthatch::start(&[]).unwrap()).collect();
    let builder = || {
        nodes.iter().fold(Client::builder(), |builder, node| {
            builder.node(node.address().to_string())
        })
    };
    let plain = builder().build().await.unwrap();
    let with_prefix = builder().prefix("app:").build().await.unwrap();
    let hashed = builder()
        .prefix("app:")
        .hash_prefix(true)
        .build()
        .await
        .unwrap();
    let keys: Vec<String> = (0..300).map(|number| format!("k:{number}")).collect();
    let mut moved = 0;
    for key in &keys {
        with_prefix.set(key, key, Ttl::NEVER).await.unwrap();
        assert_eq!(with_prefix.locate(key).unwrap(), plain.locate(key).unwrap());
        assert_eq!(
            hashed.locate(key).unwrap(),
            plain.locate(format!("app:{key}")).unwrap()
        );
        moved += usize::from(hashed.locate(key).unwrap() != plain.locate(key).unwrap());
    }
    assert!(moved > 100);
    assert_eq!(
        with_prefix.get_many::<_, String>(&keys).await.found.len(),
        300
    );
    assert_eq!(plain.get_many::<_, String>(&keys).await.missing.len(), 300);
    let used: BTreeSet<String> = keys.iter().map(|key| plain.locate(key).unwrap()).collect();
    assert_eq!(used.len(), 3);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_with_a_reason() {
    let node = || Client::builder().node("a");
    for (builder, reason) in [
        (Client::builder(), "0 nodes"),
        (node().node("a:11211"), "twice"),
        (node().node("a b"), "no node"),
        (node().connections_per_node(0), "connections_per_node"),
        (node().connections_per_node(65), "connections_per_node"),
        (node().queue_len(0), "queue_len"),
        (node().queue_len((1 << 20) + 1), "queue_len"),
        (node().local_loads_max(0), "local_loads_max"),
        (node().local_loads_max(usize::MAX), "local_loads_max"),
        (node().tombstone(Duration::from_secs(2)), "tombstone"),
        (
            node().timeouts(support::patient().with_operation(Duration::ZERO)),
            "timeouts",
        ),
        (
            node().weighted("b", 2).distribution(Distribution::Jump),
            "weights",
        ),
    ] {
        let Err(Error::Config(text)) = builder.build().await else {
            panic!("{reason} was accepted")
        };
        assert!(text.contains(reason), "{text}");
    }
    let named = NodeAddress::tcp("a", 1).with_name("alpha");
    let client = Client::builder()
        .address(named)
        .connections_per_node(64)
        .queue_len(1 << 20)
        .local_loads_max(1 << 20)
        .build()
        .await
        .unwrap();
    assert_eq!(client.locate("k").unwrap(), "alpha");
}

#[tokio::test]
async fn values_above_the_limit_are_neither_sent_nor_accepted() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let small = builder(nuthatch.address())
        .codec(Codec::Python)
        .value_len_max(10)
        .build()
        .await
        .unwrap();
    small.set("k", &[0u8; 10][..], Ttl::NEVER).await.unwrap();
    assert_eq!(small.get::<Vec<u8>>("k").await.unwrap().unwrap().len(), 10);
    let refused = small.set("k", &[0u8; 11][..], Ttl::NEVER).await;
    assert!(matches!(refused, Err(Error::TooLarge { len: 11, max: 10 })));
    let other = client(nuthatch.address()).await;
    other.set("k", &[0u8; 11][..], Ttl::NEVER).await.unwrap();
    assert_eq!(small.get::<Vec<u8>>("k").await.unwrap(), None);
}

#[tokio::test]
async fn times_may_be_longer_than_any_time_there_is() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let timeouts = Timeouts::lan()
        .with_connect(Duration::MAX)
        .with_operation(Duration::MAX)
        .with_stall(Duration::MAX);
    let client = builder(nuthatch.address())
        .timeouts(timeouts)
        .tombstone(Duration::MAX)
        .gutter("a")
        .gutter_life(Duration::MAX)
        .auto_eject(Duration::MAX);
    #[cfg(feature = "near-cache")]
    let client = client.near_cache(nuthatch_client::NearCache::new(1 << 20, Duration::MAX));
    let client = client.build().await.unwrap();
    let policy = Policy::fresh_for(Duration::MAX)
        .grace(Duration::from_hours(1))
        .lock_ttl(Duration::MAX)
        .wait(Duration::MAX)
        .load_deadline(Duration::MAX)
        .error_backoff(Duration::MAX)
        .negative_ttl(Duration::MAX);
    for expected in [Source::Loaded, Source::Fresh] {
        let load = |_| async { Ok::<_, Error>(Some(1)) };
        let fetched = client.get_or_refresh("k", &policy, load).await.unwrap();
        assert_eq!((fetched.value, fetched.source), (Some(1), expected));
    }
    let _ = client.invalidate("k").await.unwrap();
}
