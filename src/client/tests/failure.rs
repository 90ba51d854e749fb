//! Nodes that are gone, stopped or back: who waits, who is told, and what a node hears before it is read again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Error, Invalidate, Invalidated, OnDown, Ttl};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::server::{Server, until, unused};
use support::{Peer, builder, echo, opaque, patient, serve};
use tokio::time::timeout;

#[tokio::test]
async fn a_node_that_is_gone_is_a_miss_to_readers_and_an_error_to_writers_until_it_is_back() {
    let server = Server::start(unused());
    let client = builder(server.address).build().await.unwrap();
    let strict = builder(server.address)
        .on_down(OnDown::Error)
        .build()
        .await
        .unwrap();
    client.set("k", "v", Ttl::NEVER).await.unwrap();
    let address = server.stop();
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
    let refused = client.set("k", "v", Ttl::NEVER).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }) && !refused.was_sent());
    assert!(strict.get::<String>("k").await.is_err());
    let many = strict.get_many::<_, String>(&["a", "b"]).await;
    assert_eq!(many.failed.len(), 2);
    let many = client.get_many::<_, String>(&["a", "b"]).await;
    assert_eq!(many.missing.len(), 2);

    let _server = Server::start(address);
    until(async || client.set("k", "w", Ttl::NEVER).await.is_ok()).await;
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "w");
}

#[tokio::test]
async fn a_node_that_is_stopped_is_left_alone_after_three_calls_and_asked_again_later() {
    let server = Server::start(unused());
    let timeouts = patient()
        .with_operation(Duration::from_millis(50))
        .with_connect(Duration::from_millis(50));
    let client = builder(server.address)
        .timeouts(timeouts)
        .on_down(OnDown::Error)
        .build()
        .await
        .unwrap();
    until(async || client.set("k", "v", Ttl::NEVER).await.is_ok()).await;
    server.signal("-STOP");
    let mut timeouts = 0;
    until(async || match client.get::<String>("k").await {
        // It takes a moment to stop; on a busy machine, calls may have been late until then.
        Ok(_) => {
            timeouts = 0;
            false
        }
        Err(Error::Timeout { .. }) => {
            timeouts += 1;
            false
        }
        Err(error) => matches!(error, Error::Unavailable { .. }),
    })
    .await;
    // The third tells the connection, which may take a call more.
    assert!((3..=4).contains(&timeouts), "{timeouts}");
    server.signal("-CONT");
    until(async || {
        client
            .get::<String>("k")
            .await
            .is_ok_and(|found| found.is_some())
    })
    .await;
    server.stop();
}

#[tokio::test]
async fn not_all_nodes_are_left_alone_because_they_are_slow() {
    // Four nodes that never answer: a third of them, but at least one, may be out.
    let mut nodes = Client::builder();
    for _ in 0..4 {
        let (address, _) = serve(|number, mut peer: Peer| async move {
            // Once it has been given up it stays so.
            if number == 0 {
                peer.greet().await;
            }
            while peer.line().await.is_some() {}
        })
        .await;
        nodes = nodes.node(address.to_string());
    }
    let timeouts = patient().with_operation(Duration::from_millis(20));
    let client = nodes
        .timeouts(timeouts)
        .on_down(OnDown::Error)
        .build()
        .await
        .unwrap();
    let mut out = std::collections::BTreeSet::new();
    for round in 0..10 {
        for number in 0..20 {
            let key = format!("k:{number}");
            let error = client.get::<String>(&key).await.unwrap_err();
            if round > 4 && matches!(error, Error::Unavailable { .. }) {
                out.insert(error.node().unwrap().to_owned());
            }
        }
    }
    assert_eq!(out.len(), 1, "{out:?}");
}

#[tokio::test]
async fn who_is_back_makes_room_for_another_to_be_left_alone() {
    let silent = [true; 2].map(|silent| Arc::new(AtomicBool::new(silent)));
    let mut nodes = Client::builder();
    let mut names = Vec::new();
    for silent in &silent {
        let silent = Arc::clone(silent);
        let (address, _) = serve(move |number, mut peer: Peer| {
            let silent = Arc::clone(&silent);
            async move {
                if number == 0 || !silent.load(Ordering::SeqCst) {
                    peer.greet().await;
                }
                while let Some(line) = peer.line().await {
                    if !silent.load(Ordering::SeqCst) {
                        echo(&mut peer, &line).await;
                    }
                }
            }
        })
        .await;
        names.push(address.to_string());
        nodes = nodes.node(address.to_string());
    }
    let timeouts = patient()
        .with_operation(Duration::from_millis(20))
        .with_connect(Duration::from_millis(20))
        .with_stall(Duration::from_mins(10));
    let nodes = nodes.timeouts(timeouts).on_down(OnDown::Error);
    let client = nodes.build().await.unwrap();
    let call = async |node: usize| {
        let mut keys = (0..).map(|number| format!("k:{number}"));
        let key = keys.find(|key| client.locate(key).unwrap() == names[node]);
        client.get::<String>(key.unwrap()).await
    };
    let is_left_alone = async |node| matches!(call(node).await, Err(Error::Unavailable { .. }));
    until(async || is_left_alone(0).await).await;
    // Of two, one may be.
    for _ in 0..10 {
        assert!(!is_left_alone(1).await);
    }
    silent[0].store(false, Ordering::SeqCst);
    until(async || call(0).await.is_ok()).await;
    until(async || is_left_alone(1).await).await;
}

#[tokio::test]
async fn a_node_hears_the_invalidations_it_missed_before_it_is_read() {
    for mode in [Invalidate::Tombstone, Invalidate::Side, Invalidate::Stale] {
        let address = unused();
        let client = builder(address).invalidate(mode).build().await.unwrap();
        // Nobody is there.
        assert_eq!(client.get::<String>("k:0").await.unwrap(), None);
        let keys: Vec<String> = (0..100).map(|number| format!("k:{number}")).collect();
        assert_eq!(
            client.invalidate_many(&keys).await.unwrap(),
            Invalidated::Journalled
        );
        // It is back, with what it had.
        let server = Server::start(address);
        let other = builder(address).build().await.unwrap();
        for key in &keys {
            other.set(key, "old", Ttl::NEVER).await.unwrap();
        }
        other.set("kept", "v", Ttl::NEVER).await.unwrap();
        until(async || client.get::<String>("kept").await.unwrap().is_some()).await;
        for key in &keys {
            assert_eq!(
                other.get::<String>(key).await.unwrap(),
                None,
                "{mode:?} {key}"
            );
        }
        server.stop();
    }
}

#[tokio::test]
async fn what_does_not_fit_into_the_journal_is_an_error_and_may_empty_the_node() {
    let address = unused();
    let client = builder(address)
        .flush_after_overflow(true)
        .build()
        .await
        .unwrap();
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
    let keys: Vec<String> = (0..10_000).map(|number| format!("k:{number}")).collect();
    assert_eq!(
        client.invalidate_many(&keys).await.unwrap(),
        Invalidated::Journalled
    );
    let refused = client.invalidate("another").await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    let server = Server::start(address);
    let other = builder(address).build().await.unwrap();
    other.set("other", "v", Ttl::NEVER).await.unwrap();
    until(async || client.set("new", "v", Ttl::NEVER).await.is_ok()).await;
    assert_eq!(other.get::<String>("other").await.unwrap(), None);
    server.stop();
}

#[tokio::test]
async fn a_node_that_was_only_slow_hears_of_it_soon() {
    let (heard, mut hears) = tokio::sync::mpsc::channel(10);
    let (address, _) = serve(move |_, mut peer| {
        let heard = heard.clone();
        async move {
            peer.greet().await;
            // The first goes unanswered, until the next has come.
            let mut late = None;
            while let Some(line) = peer.line().await {
                peer.value(0).await;
                heard.send(line.clone()).await.unwrap();
                match late.replace(opaque(&line)) {
                    None => {}
                    Some(before) => {
                        peer.send(format!("HD O{before}\r\nHD O{}\r\n", opaque(&line)))
                            .await;
                    }
                }
            }
        }
    })
    .await;
    let timeouts = patient().with_operation(Duration::from_millis(50));
    let client = builder(address).timeouts(timeouts).build().await.unwrap();
    assert_eq!(
        client.invalidate("k").await.unwrap(),
        Invalidated::Journalled
    );
    for _ in 0..2 {
        let line = timeout(Duration::from_mins(1), hears.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(line.starts_with("ms k 0 c MS"), "{line}");
    }
}

#[tokio::test]
async fn what_a_slow_node_refuses_is_told_again() {
    let (told, mut hears) = tokio::sync::mpsc::channel(1);
    let (address, _) = serve(move |_, mut peer| {
        let told = told.clone();
        async move {
            peer.greet().await;
            let late = peer.line().await.unwrap();
            peer.value(0).await;
            // The first replay, after which the late answer comes too.
            peer.line().await.unwrap();
            peer.value(0).await;
            let refusal = "SERVER_ERROR out of memory storing object";
            peer.send(format!("HD O{}\r\n{refusal}\r\n", opaque(&late)))
                .await;
            told.send(peer.line().await.unwrap()).await.unwrap();
        }
    })
    .await;
    let timeouts = patient().with_operation(Duration::from_millis(50));
    let client = builder(address).timeouts(timeouts).build().await.unwrap();
    let _ = client.invalidate("k").await.unwrap();
    let again = timeout(Duration::from_mins(1), hears.recv()).await;
    assert!(again.unwrap().unwrap().starts_with("ms k 0 c MS"));
}

#[tokio::test]
async fn nodes_come_and_go_without_losing_calls() {
    let (first, second) = (Server::start(unused()), Server::start(unused()));
    let client = builder(first.address).build().await.unwrap();
    let calls: Vec<_> = (0..20)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..200 {
                    let key = format!("{task}:{number}");
                    client.set(&key, &key, Ttl::NEVER).await.unwrap();
                }
            })
        })
        .collect();
    let address = |server: &Server| server.address.to_string().parse().unwrap();
    for _ in 0..20 {
        client
            .set_nodes(vec![address(&first), address(&second)])
            .unwrap();
        tokio::task::yield_now().await;
        client.set_nodes(vec![address(&second)]).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        client.set_nodes(Vec::new()),
        Err(Error::Config(_))
    ));
    for call in calls {
        call.await.unwrap();
    }
    first.stop();
    assert!(client.set("k", "v", Ttl::NEVER).await.is_ok());
    second.stop();
}
