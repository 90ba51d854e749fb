//! What has been invalidated stays so, whoever loaded before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Error, Invalidate, Invalidated, Policy, Source, Ttl};
use protocol_tests::nuthatch::Nuthatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::database::{Database, SECOND, fetch, fetch_by, value, wait_for};
use support::{builder, opaque, serve};

#[tokio::test]
async fn an_invalidated_value_is_gone_for_readers_and_loaded_anew() {
    for mode in [Invalidate::Tombstone, Invalidate::Side, Invalidate::Stale] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let client = builder(nuthatch.address())
            .invalidate(mode)
            .build()
            .await
            .unwrap();
        fetch(&client, &Database::new("old")).await;
        assert_eq!(client.invalidate("k").await.unwrap(), Invalidated::Now);
        let new = Database::new("new");
        if mode == Invalidate::Stale {
            assert_eq!(fetch(&client, &new).await, (value("old"), Source::Stale));
            wait_for(&client, "new").await;
        } else {
            assert_eq!(client.get::<String>("k").await.unwrap(), None);
            assert_eq!(fetch(&client, &new).await, (value("new"), Source::Loaded));
        }
        // It can be cached again at once: the load began after the invalidation.
        assert_eq!(
            fetch(&client, &new).await,
            (value("new"), Source::Fresh),
            "{mode:?}"
        );
        let keys: Vec<String> = (0..1200).map(|number| format!("k:{number}")).collect();
        assert_eq!(
            client.invalidate_many(&keys).await.unwrap(),
            Invalidated::Now
        );
    }
}

#[tokio::test]
async fn a_value_that_ends_early_does_not_let_an_older_load_through() {
    for mode in [Invalidate::Tombstone, Invalidate::Stale, Invalidate::Side] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let new_client = async || {
            builder(nuthatch.address())
                .invalidate(mode)
                .build()
                .await
                .unwrap()
        };
        let (slow, quick) = (new_client().await, new_client().await);
        // Begins before the change, while nothing is there.
        let old = Database::closed("old");
        let loading = tokio::spawn({
            let (client, database) = (slow.clone(), old.clone());
            async move { fetch(&client, &database).await }
        });
        old.wait_for_loads(1).await;
        if mode == Invalidate::Stale {
            quick.set("k", "older", Ttl::secs(100)).await.unwrap();
        }
        let _ = quick.invalidate("k").await.unwrap();
        // Somebody else loads what is right, for a second; its lock was lost.
        quick.delete("k|#|nhl").await.unwrap();
        let brief = Policy::fresh_for(SECOND);
        let new = Database::new("new");
        fetch_by(&quick, &brief, &new).await.unwrap();
        new.wait_for_loads(1).await;
        nuthatch.clock().advance(3 * SECOND);
        old.open();
        assert_eq!(loading.await.unwrap(), (value("old"), Source::Loaded));
        let found = quick.get::<String>("k").await.unwrap();
        assert_ne!(found, value("old"), "{mode:?}");
    }
}

#[tokio::test]
async fn nothing_is_added_so_late_that_a_tombstone_may_be_over() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = async || {
        let client = builder(nuthatch.address()).tombstone(3 * SECOND);
        client.build().await.unwrap()
    };
    let (holder, other) = (client().await, client().await);
    let policy = Policy::fresh_for(10 * SECOND).load_deadline(SECOND);
    // Holds the lock for longer than the other waits.
    let closed = Database::closed("v");
    let loading = tokio::spawn({
        let (client, policy, database) = (holder.clone(), policy.clone(), closed.clone());
        async move { fetch_by(&client, &policy, &database).await }
    });
    closed.wait_for_loads(1).await;
    // It saw that nothing was there, and adds within one second of that.
    let late = policy.clone().wait(SECOND + SECOND / 10);
    let fetched = fetch_by(&other, &late, &Database::new("v")).await.unwrap();
    assert_eq!((fetched.value, fetched.source), (value("v"), Source::Local));
    assert_eq!(other.get::<String>("k").await.unwrap(), None);
    let counters = other.counters();
    assert_eq!((counters.fills, counters.fills_refused), (0, 1));
    assert!(loading.await.unwrap().is_err());
}

#[tokio::test]
async fn what_was_done_is_counted() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = builder(nuthatch.address()).build().await.unwrap();
    let database = Database::new("v");
    fetch(&client, &database).await;
    fetch(&client, &database).await;
    nuthatch.clock().advance(10 * SECOND);
    fetch(&client, &Database::new("w")).await;
    wait_for(&client, "w").await;
    assert!(client.get::<String>("nothing").await.unwrap().is_none());
    let _ = client.invalidate("k").await.unwrap();
    client.get_many::<_, String>(&["k", "nothing"]).await;
    // Changed while it is loaded.
    let closed = Database::closed("x");
    let loading = tokio::spawn({
        let (client, database) = (client.clone(), closed.clone());
        async move { fetch(&client, &database).await }
    });
    closed.wait_for_loads(1).await;
    let _ = client.invalidate("k").await.unwrap();
    closed.open();
    loading.await.unwrap();
    let counters = client.counters();
    assert_eq!(
        (counters.loads, counters.local_loads, counters.load_errors),
        (3, 0, 0)
    );
    assert_eq!((counters.fills, counters.fills_refused), (2, 1));
    assert_eq!(
        (counters.stale, counters.invalidations, counters.journalled),
        (1, 2, 0)
    );
    assert_eq!((counters.timeouts, counters.unavailable), (0, 0));
    // The miss that loaded, two and one of them after an invalidation, and that of "nothing" alone.
    assert_eq!(counters.misses, 5);
    assert!(counters.hits >= 2);
}

#[tokio::test]
async fn that_a_node_refuses_one_key_spares_no_other() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let (address, _) = serve(move |_, mut peer| {
        let count = Arc::clone(&count);
        async move {
            peer.greet().await;
            while let Some(line) = peer.line().await {
                peer.value(0).await;
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                let number = opaque(&line);
                let reply = if first {
                    "SERVER_ERROR out of memory\r\n".to_owned()
                } else {
                    format!("HD O{number}\r\n")
                };
                peer.send(reply).await;
            }
        }
    })
    .await;
    let client = builder(address).build().await.unwrap();
    // More than are under way at once.
    let keys: Vec<String> = (0..1001).map(|number| format!("k:{number}")).collect();
    let refused = client.invalidate_many(&keys).await;
    assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
    assert_eq!(heard.load(Ordering::SeqCst), 1001);
}
