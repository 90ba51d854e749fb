//! `get_or_refresh` where the server keeps the place of what is missing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Error, Invalidate, OnContention, Policy, Source, Strategy, Ttl};
use protocol_tests::memcached::Memcached;
use protocol_tests::nuthatch::Nuthatch;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use support::database::{Database, SECOND, fetch, fetch_by, one_refreshes, policy, value};
use support::server::until;
use support::{builder, opaque, serve, without_meta};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

async fn client(address: SocketAddr) -> Client {
    let builder = builder(address).strategy(Strategy::Lease);
    builder.build().await.unwrap()
}

/// The first line of the answer.
async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    stream.get_mut().write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    answer.trim_end().to_owned()
}

#[tokio::test]
async fn four_callers_of_two_clients_cause_one_load_for_each_expiry() {
    const EXPIRIES: u64 = 20;
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let clients = [
        client(nuthatch.address()).await,
        client(nuthatch.address()).await,
    ];
    let loads = Arc::new(AtomicUsize::new(0));
    let version = Arc::new(AtomicU64::new(0));
    let policy = Policy::fresh_for(10 * SECOND).wait(20 * SECOND);
    for expiry in 1..=EXPIRIES {
        version.store(expiry, Ordering::SeqCst);
        nuthatch.clock().advance(11 * SECOND);
        let calls = clients.iter().cycle().take(8).map(|client| {
            let (loads, version) = (Arc::clone(&loads), Arc::clone(&version));
            let (client, policy) = (client.clone(), policy.clone());
            tokio::spawn(async move {
                let load = |_| async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, Error>(Some(version.load(Ordering::SeqCst)))
                };
                client
                    .get_or_refresh("k", &policy, load)
                    .await
                    .unwrap()
                    .value
            })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap(), Some(expiry));
        }
        assert_eq!(loads.load(Ordering::SeqCst) as u64, expiry);
    }
}

#[tokio::test]
async fn a_place_that_is_kept_is_a_miss_and_its_holder_renews_it() {
    for server in [None, Some(Memcached::start().unwrap())] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let address = server
            .as_ref()
            .map_or_else(|| nuthatch.address(), Memcached::address);
        let client = client(address).await;
        let database = Database::closed("v");
        let brief = policy().lock_ttl(2 * SECOND);
        let call = tokio::spawn({
            let (client, database) = (client.clone(), database.clone());
            async move { fetch_by(&client, &brief, &database).await.unwrap() }
        });
        database.wait_for_loads(1).await;
        // First as the server made it, then as its holder has renewed it.
        for is_renewed in [false, true] {
            let has_state = async || {
                let answer = ask(address, "mg k f\r\n").await;
                is_renewed == answer.starts_with("HD f1308622851")
            };
            until(has_state).await;
            assert_eq!(client.get::<String>("k").await.unwrap(), None);
            assert_eq!(client.get_item("k").await.unwrap(), None);
            let many = client.get_many::<_, String>(&["k", "other"]).await;
            assert_eq!(many.missing.len(), 2, "{many:?}");
            assert!(!client.add("k", "w", Ttl::NEVER).await.unwrap());
        }
        database.open();
        assert_eq!(call.await.unwrap().source, Source::Loaded);
        assert_eq!(client.get::<String>("k").await.unwrap(), value("v"));
        // Nothing else was ever there.
        assert_eq!(client.get::<String>("k|#|nhl").await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_deleted_or_invalidated_during_a_load_is_not_stored() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    for how in ["delete", "invalidate", "both"] {
        let client = client(nuthatch.address()).await;
        let database = Database::closed("old");
        let call = tokio::spawn({
            let (client, database) = (client.clone(), database.clone());
            async move { fetch(&client, &database).await }
        });
        database.wait_for_loads(1).await;
        if how != "delete" {
            let _ = client.invalidate("k").await.unwrap();
        }
        if how != "invalidate" {
            client.delete("k").await.unwrap();
        }
        database.open();
        assert_eq!(call.await.unwrap(), (value("old"), Source::Loaded));
        assert_eq!(client.get::<String>("k").await.unwrap(), None, "{how}");
        assert_eq!(client.counters().fills_refused, 1);
        let new = Database::new("new");
        assert_eq!(fetch(&client, &new).await, (value("new"), Source::Loaded));
        client.delete("k").await.unwrap();
    }
}

#[tokio::test]
async fn a_place_that_is_marked_as_stale_is_nobodys() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let builder = builder(nuthatch.address()).strategy(Strategy::Lease);
    let client = builder.invalidate(Invalidate::Stale).build().await.unwrap();
    let database = Database::closed("old");
    let call = tokio::spawn({
        let (client, database) = (client.clone(), database.clone());
        async move { fetch(&client, &database).await }
    });
    database.wait_for_loads(1).await;
    let _ = client.invalidate("k").await.unwrap();
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
    database.open();
    assert_eq!(call.await.unwrap().0, value("old"));
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
    // Nobody is waited for.
    let impatient = policy()
        .wait(Duration::ZERO)
        .on_contention(OnContention::Error);
    let fetched = fetch_by(&client, &impatient, &Database::new("new"))
        .await
        .unwrap();
    assert_eq!(
        (fetched.value, fetched.source),
        (value("new"), Source::Loaded)
    );
}

#[tokio::test]
async fn what_is_stale_is_served_while_one_client_loads() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let clients = [
        client(nuthatch.address()).await,
        client(nuthatch.address()).await,
    ];
    one_refreshes(&nuthatch, &clients).await;
}

#[tokio::test]
async fn a_loader_that_fails_or_finds_nothing_leaves_no_place_behind_for_long() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let nothing = |_| async { Ok::<_, Error>(None::<String>) };
    let fetched = client
        .get_or_refresh("k", &policy(), nothing)
        .await
        .unwrap();
    assert_eq!((fetched.value, fetched.source), (None, Source::Loaded));
    assert_eq!(ask(nuthatch.address(), "mg k v\r\n").await, "EN");
    let fail = |_| async { Err::<Option<String>, _>("no database") };
    let failed = client.get_or_refresh("k", &policy(), fail).await;
    assert!(matches!(failed, Err(Error::Load(_))), "{failed:?}");
    // It is left alone for a while.
    assert!(
        ask(nuthatch.address(), "mg k t\r\n")
            .await
            .starts_with("HD t")
    );
    nuthatch.clock().advance(3 * SECOND);
    assert_eq!(ask(nuthatch.address(), "mg k t\r\n").await, "EN");
    let panic = async |_| -> Result<Option<String>, Error> { panic!("a bug in a loader") };
    let failed = client.get_or_refresh("k", &policy(), panic).await;
    assert!(matches!(failed, Err(Error::Load(_))), "{failed:?}");
    let database = Database::new("v");
    assert_eq!(
        fetch(&client, &database).await,
        (value("v"), Source::Loaded)
    );
}

#[tokio::test]
async fn the_place_of_what_a_node_refuses_to_store_is_given_up() {
    let (told, mut hears) = tokio::sync::mpsc::channel(10);
    let (address, _) = serve(move |_, mut peer| {
        let told = told.clone();
        async move {
            peer.greet().await;
            while let Some(line) = peer.line().await {
                let (words, opaque) = (line.split(" O").next().unwrap(), opaque(&line));
                match words.split(' ').next().unwrap() {
                    "mg" if words.contains(" N") => {
                        peer.send(format!("VA 0 f0 c7 t5 W O{opaque}\r\n\r\n"))
                            .await;
                    }
                    "mg" => peer.send(format!("EN O{opaque}\r\n")).await,
                    "ms" => {
                        peer.value(1).await;
                        peer.send("SERVER_ERROR out of memory storing object\r\n")
                            .await;
                    }
                    _ => peer.send(format!("HD O{opaque}\r\n")).await,
                }
                told.send(words.to_owned()).await.unwrap();
            }
        }
    })
    .await;
    let client = client(address).await;
    let database = Database::new("v");
    assert_eq!(
        fetch(&client, &database).await,
        (value("v"), Source::Loaded)
    );
    client.delete("end").await.unwrap();
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "md end") {
        lines.push(hears.recv().await.unwrap());
    }
    assert!(lines[2].starts_with("ms k 1 "), "{lines:?}");
    assert_eq!(lines[3..], ["md k C7", "md end"]);
}

#[tokio::test]
async fn servers_without_meta_commands_have_the_lock() {
    let memcached = Memcached::start().unwrap();
    let proxy = without_meta(memcached.address()).await;
    let database = Database::closed("v");
    let mut calls = Vec::new();
    for _ in 0..2 {
        let client = client(proxy).await;
        for _ in 0..4 {
            let (client, database) = (client.clone(), database.clone());
            calls.push(tokio::spawn(async move { fetch(&client, &database).await }));
        }
    }
    database.wait_for_loads(1).await;
    assert_ne!(ask(memcached.address(), "get k|#|nhl\r\n").await, "END");
    database.open();
    for call in calls {
        assert_eq!(call.await.unwrap().0, value("v"));
    }
    assert_eq!(database.loads(), 1);
}
