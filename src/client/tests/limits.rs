//! What ends at a limit: tries, lines of statistics, greetings, values that share memory, keys in one line.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use bytes::Bytes;
use nuthatch_client::{Client, Error, OnDown, Ttl, UPDATES_MAX};
use protocol_tests::nuthatch::Nuthatch;
use std::net::SocketAddr;
use support::server::{Server, unused};
use support::{builder, client, opaque, serve};
use tokio::sync::mpsc;

async fn strict(address: SocketAddr) -> Client {
    builder(address)
        .on_down(OnDown::Error)
        .build()
        .await
        .unwrap()
}

#[tokio::test]
async fn who_is_always_slower_than_others_gives_up() {
    let (address, _) = serve(|_, mut peer| async move {
        peer.greet().await;
        while let Some(line) = peer.line().await {
            let number = opaque(&line);
            let is_key = |key| line.split(' ').nth(1) == Some(key);
            match line.get(..2) {
                Some("mg") => {
                    peer.send(format!("VA 1 f2 c1 t-1 O{number}\r\n1\r\n"))
                        .await;
                }
                Some("ma") => peer.send(format!("NF O{number}\r\n")).await,
                _ => {
                    peer.value(1).await;
                    let status = if is_key("comes_and_goes") { "NS" } else { "EX" };
                    peer.send(format!("{status} O{number}\r\n")).await;
                }
            }
        }
    })
    .await;
    let client = strict(address).await;
    let mut tries = 0;
    let change = |_: Option<u8>| {
        tries += 1;
        Some(2u8)
    };
    let given_up = client.update("k", Ttl::NEVER, change).await;
    assert!(matches!(given_up, Err(Error::Conflict(UPDATES_MAX))));
    assert_eq!(tries, UPDATES_MAX);
    let count = async || 1;
    let given_up = client
        .incr_or_init("comes_and_goes", 1, Ttl::NEVER, count)
        .await;
    assert!(matches!(given_up, Err(Error::Conflict(UPDATES_MAX))));
}

/// Statistics of so many lines.
async fn stats(lines: usize) -> Result<usize, Error> {
    let (address, _) = serve(move |_, mut peer| async move {
        peer.greet().await;
        peer.line().await;
        for number in 0..lines {
            peer.send(format!("STAT {number} 1\r\n")).await;
        }
        peer.send("END\r\n").await;
        peer.line().await;
    })
    .await;
    let mut stats = strict(address).await.stats("").await;
    let stats = stats.remove(&address.to_string()).unwrap();
    stats.map(|stats| stats.len())
}

#[tokio::test]
async fn statistics_have_an_end() {
    assert_eq!(stats(65_536).await.unwrap(), 65_536);
    assert!(matches!(
        stats(65_537).await,
        Err(Error::Unavailable { .. })
    ));
}

/// A server whose first line is so long.
async fn greeting(len: usize) -> Result<Option<String>, Error> {
    let (address, _) = serve(move |_, mut peer| async move {
        peer.line().await;
        peer.line().await;
        peer.send("x".repeat(len)).await;
        peer.send("\r\nVERSION 1\r\n").await;
        while let Some(line) = peer.line().await {
            assert_eq!(line, "gets k");
            peer.send("END\r\n").await;
        }
    })
    .await;
    strict(address).await.get("k").await
}

#[tokio::test]
async fn a_greeting_has_an_end() {
    assert_eq!(greeting(4094).await.unwrap(), None);
    let refused = greeting(4095).await.unwrap_err().to_string();
    assert!(refused.contains("without end"), "{refused}");
}

#[tokio::test]
async fn no_more_than_16384_requests_wait_for_replies() {
    const IN_FLIGHT_MAX: usize = 16_384;
    let (address, _) = serve(|_, mut peer| async move {
        peer.greet().await;
        let mut waiting = std::collections::VecDeque::new();
        while waiting.len() < IN_FLIGHT_MAX {
            waiting.push_back(opaque(&peer.line().await.unwrap()));
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!peer.has_line().await, "one more was sent");
        // With the first reply there is room for one more.
        let first = waiting.pop_front().unwrap();
        peer.send(format!("EN O{first}\r\n")).await;
        waiting.push_back(opaque(&peer.line().await.unwrap()));
        for number in waiting {
            peer.send(format!("EN O{number}\r\n")).await;
        }
        peer.line().await;
    })
    .await;
    let client = builder(address).queue_len(2 * IN_FLIGHT_MAX);
    let client = client.on_down(OnDown::Error).build().await.unwrap();
    let calls: Vec<_> = (0..=IN_FLIGHT_MAX)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get::<String>("k").await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), None);
    }
}

/// Whether two values of this length, looked up at once, lie one behind the other.
async fn share_memory(client: &Client, len: usize) -> bool {
    // Not to be compressed.
    let mut random = fastrand::Rng::with_seed(1);
    let value: Bytes = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
    let entries = [("a", value.clone()), ("b", value)];
    assert!(client.set_many(&entries, Ttl::NEVER).await.is_empty());
    let found = client.get_many::<_, Bytes>(&["a", "b"]).await.found;
    found["a"].as_ptr_range().end == found["b"].as_ptr()
}

#[tokio::test]
async fn of_many_values_the_small_ones_share_memory() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    assert!(share_memory(&client, 1024).await);
    assert!(!share_memory(&client, 1025).await);
}

#[tokio::test]
async fn a_line_asks_for_a_thousand_keys() {
    let (hear, mut heard) = mpsc::unbounded_channel();
    let (address, _) = serve(move |_, mut peer| {
        let hear = hear.clone();
        async move {
            peer.greet().await;
            while let Some(line) = peer.line().await {
                hear.send(line.split(' ').count() - 1).unwrap();
                peer.send("END\r\n").await;
            }
        }
    })
    .await;
    let client = client(address).await;
    let keys: Vec<String> = (0..1001).map(|number| format!("k{number}")).collect();
    for (count, lines) in [(1000, vec![1000]), (1001, vec![1000, 1])] {
        let many = client.get_many::<_, String>(&keys[..count]).await;
        assert_eq!((many.missing.len(), many.failed.len()), (count, 0));
        for line in lines {
            assert_eq!(heard.recv().await, Some(line));
        }
    }
}

#[tokio::test]
async fn memcached_lets_in_who_knows_the_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "ada:lovelace\n").unwrap();
    let flags = ["-Y", file.path().to_str().unwrap()];
    let server = Server::start_with(unused(), &flags);
    let address = server.address;
    let known = builder(address).credentials("ada", "lovelace");
    let known = known.build().await.unwrap();
    known.set("k", "v", Ttl::NEVER).await.unwrap();
    assert_eq!(known.get::<String>("k").await.unwrap().unwrap(), "v");
    let stranger = builder(address).credentials("ada", "byron");
    let stranger = stranger.on_down(OnDown::Error).build().await.unwrap();
    let refused = stranger.get::<String>("k").await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
}

#[tokio::test]
async fn values_of_a_lookup_are_of_its_keys_in_their_order() {
    for (answer, is_right) in [
        ("VALUE a 0 1\r\n1\r\nVALUE c 0 1\r\n3\r\nEND\r\n", true),
        ("VALUE c 0 1\r\n3\r\nVALUE a 0 1\r\n1\r\nEND\r\n", false),
        ("VALUE a 0 1\r\n1\r\nVALUE a 0 1\r\n1\r\nEND\r\n", false),
        ("VALUE a 0 1\r\n1\r\nVALUE x 0 1\r\n1\r\nEND\r\n", false),
    ] {
        let (address, _) = serve(move |_, mut peer| async move {
            peer.greet().await;
            while peer.line().await.is_some() {
                peer.send(answer).await;
            }
        })
        .await;
        let client = strict(address).await;
        let many = client.get_many::<_, String>(&["a", "b", "c"]).await;
        if is_right {
            assert_eq!((&*many.found["a"], &*many.found["c"]), ("1", "3"));
            assert_eq!(many.missing, ["b"]);
        } else {
            assert_eq!(many.failed.len(), 3, "{answer}");
        }
    }
}
