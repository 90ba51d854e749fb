//! What has been invalidated stays so, whoever loaded before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Invalidate, Invalidated, Policy, Source, Ttl};
use protocol_tests::nuthatch::Nuthatch;
use support::builder;
use support::database::{Database, SECOND, fetch, fetch_by, value, wait_for};

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
