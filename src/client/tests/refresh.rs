//! `get_or_refresh`: one load for all who want it, and no invalidation is ever undone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Error, KeyPolicy, OnContention, Policy, Source, Ttl};
use protocol_tests::memcached::Memcached;
use protocol_tests::nuthatch::Nuthatch;
use protocol_tests::twemproxy::Twemproxy;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use support::database::{
    Database, SECOND, fetch, fetch_by, one_refreshes, policy, value, wait_for,
};
use support::server::until;
use support::{builder, client, client_of};

#[tokio::test]
async fn a_value_is_loaded_then_fresh_then_stale_while_it_is_loaded_anew() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let old = Database::new("old");
    assert_eq!(fetch(&client, &old).await, (value("old"), Source::Loaded));
    nuthatch.clock().advance(9 * SECOND);
    assert_eq!(fetch(&client, &old).await, (value("old"), Source::Fresh));
    nuthatch.clock().advance(SECOND);

    let new = Database::closed("new");
    for _ in 0..50 {
        assert_eq!(fetch(&client, &new).await, (value("old"), Source::Stale));
    }
    new.wait_for_loads(1).await;
    assert_eq!((old.loads(), new.loads()), (1, 1));
    new.open();
    wait_for(&client, "new").await;
    assert_eq!(fetch(&client, &old).await, (value("new"), Source::Fresh));
    // The lock has been released.
    until(async || client.get::<String>("k|#|nhl").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn fifty_callers_of_each_of_four_processes_cause_one_load() {
    for process_count in [1, 4, 16] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let database = Database::closed("v");
        let mut calls = Vec::new();
        for _ in 0..process_count {
            let client = client(nuthatch.address()).await;
            for _ in 0..50 {
                let (client, database) = (client.clone(), database.clone());
                calls.push(tokio::spawn(async move { fetch(&client, &database).await }));
            }
        }
        database.wait_for_loads(1).await;
        database.open();
        let mut loaded = 0;
        for call in calls {
            let (found, source) = call.await.unwrap();
            assert_eq!(found, value("v"));
            loaded += usize::from(source == Source::Loaded);
        }
        assert_eq!((database.loads(), loaded), (1, 1), "{process_count}");
    }
}

#[tokio::test]
async fn one_process_refreshes_what_others_are_served_stale() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let clients = [
        client(nuthatch.address()).await,
        client(nuthatch.address()).await,
    ];
    one_refreshes(&nuthatch, &clients).await;
}

#[tokio::test]
async fn against_servers_of_the_classic_protocol_there_is_one_load_too() {
    let memcached = Memcached::start().unwrap();
    let proxy = support::without_meta(memcached.address()).await;
    one_load(&proxy.to_string()).await;
}

#[tokio::test]
async fn through_twemproxy_there_is_one_load_too() {
    let memcacheds: Vec<Memcached> = (0..3).map(|_| Memcached::start().unwrap()).collect();
    let addresses: Vec<_> = memcacheds.iter().map(Memcached::address).collect();
    let proxy = Twemproxy::start(&addresses).unwrap();
    one_load(proxy.address()).await;
}

/// In classic words.
async fn one_load(proxy: &str) {
    let database = Database::closed("v");
    let mut calls = Vec::new();
    for _ in 0..4 {
        let client = client_of(proxy).await;
        for _ in 0..10 {
            let (client, database) = (client.clone(), database.clone());
            calls.push(tokio::spawn(async move { fetch(&client, &database).await }));
        }
    }
    database.wait_for_loads(1).await;
    database.open();
    for call in calls {
        assert_eq!(call.await.unwrap().0, value("v"));
    }
    assert_eq!(database.loads(), 1);
    let client = client_of(proxy).await;
    until(async || client.get::<String>("k|#|nhl").await.unwrap().is_none()).await;
    client.delete("k").await.unwrap();
    let _ = client.invalidate("k").await.unwrap();
    // Nobody can tell how long the tombstone has left, so that it is not replaced by what ends before it may.
    let long = Policy::fresh_for(12 * SECOND);
    for (policy, cached) in [(policy(), None), (long, value("v"))] {
        let fetched = fetch_by(&client, &policy, &database).await.unwrap();
        assert_eq!(
            (fetched.value, fetched.source),
            (value("v"), Source::Loaded)
        );
        assert_eq!(client.get::<String>("k").await.unwrap(), cached);
    }
}

#[tokio::test]
async fn the_error_of_a_loader_is_everybodys_and_the_loader_is_left_alone_for_a_while() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let clients = [
        client(nuthatch.address()).await,
        client(nuthatch.address()).await,
    ];
    let fail = |_| async { Err::<Option<String>, _>("no database") };
    let failed = clients[0].get_or_refresh("k", &policy(), fail).await;
    assert!(
        matches!(&failed, Err(Error::Load(why)) if why.to_string() == "no database"),
        "{failed:?}"
    );
    let impatient = policy()
        .wait(Duration::from_millis(30))
        .on_contention(OnContention::Error);
    let database = Database::new("v");
    let refused = fetch_by(&clients[1], &impatient, &database).await;
    assert!(matches!(refused, Err(Error::Contended)), "{refused:?}");
    assert_eq!(database.loads(), 0);
    nuthatch.clock().advance(3 * SECOND);
    assert_eq!(
        fetch(&clients[1], &database).await,
        (value("v"), Source::Loaded)
    );
}

#[tokio::test]
async fn a_stale_value_is_better_than_an_error() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    fetch(&client, &Database::new("old")).await;
    nuthatch.clock().advance(10 * SECOND);
    let fail = |_| async { Err::<Option<String>, _>("no database") };
    for _ in 0..5 {
        let fetched = client.get_or_refresh("k", &policy(), fail).await.unwrap();
        assert_eq!(
            (fetched.value, fetched.source),
            (value("old"), Source::Stale)
        );
    }
}

#[tokio::test]
async fn a_panic_in_a_loader_is_an_error_and_the_lock_is_released() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
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
async fn a_load_goes_on_when_its_caller_has_gone() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let database = Database::closed("v");
    let call = tokio::spawn({
        let (client, database) = (client.clone(), database.clone());
        async move { fetch(&client, &database).await }
    });
    database.wait_for_loads(1).await;
    call.abort();
    database.open();
    wait_for(&client, "v").await;
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_if_the_policy_says_so() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let loads = Arc::new(AtomicUsize::new(0));
    let nothing = async |policy: Policy| {
        let loads = Arc::clone(&loads);
        let load = |_| async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Error>(None::<String>)
        };
        let fetched = client.get_or_refresh("k", &policy, load).await.unwrap();
        assert_eq!(fetched.value, None);
        fetched.source
    };
    assert_eq!(nothing(policy()).await, Source::Loaded);
    assert_eq!(nothing(policy()).await, Source::Loaded);
    let negative = policy().negative_ttl(5 * SECOND);
    assert_eq!(nothing(negative.clone()).await, Source::Loaded);
    assert_eq!(nothing(negative.clone()).await, Source::Fresh);
    assert_eq!(client.get::<String>("k").await.unwrap(), None);
    nuthatch.clock().advance(6 * SECOND);
    assert_eq!(nothing(negative).await, Source::Loaded);
    assert_eq!(loads.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_lock_that_others_hold_is_left_alone_for_a_while() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let clients = [
        client(nuthatch.address()).await,
        client(nuthatch.address()).await,
    ];
    fetch(&clients[0], &Database::new("old")).await;
    nuthatch.clock().advance(10 * SECOND);
    let closed = Database::closed("new");
    fetch(&clients[0], &closed).await;
    closed.wait_for_loads(1).await;
    let stores = async || {
        let stats = clients[1].stats("").await.into_values().next().unwrap();
        stats.unwrap()["cmd_set"].parse::<u64>().unwrap()
    };
    let before = stores().await;
    for _ in 0..200 {
        let stale = fetch(&clients[1], &closed).await;
        assert_eq!(stale, (value("old"), Source::Stale));
    }
    // One of each call would be one of every few.
    let tried = stores().await - before;
    assert!((1..5).contains(&tried), "{tried}");
    assert_eq!(closed.loads(), 1);
}

#[tokio::test]
async fn a_lock_that_has_become_anothers_is_not_released() {
    let memcached = Memcached::start().unwrap();
    let classic = support::without_meta(memcached.address()).await;
    for address in [memcached.address(), classic] {
        let client = client(address).await;
        let thief = client.clone();
        let load = |_| async move {
            thief.set("k|#|nhl", "another's", Ttl::NEVER).await?;
            Ok::<_, Error>(value("v"))
        };
        let fetched = client.get_or_refresh("k", &policy(), load).await.unwrap();
        assert_eq!(fetched.source, Source::Loaded);
        let lock = client.get::<String>("k|#|nhl").await.unwrap();
        assert_eq!(lock, value("another's"), "{address}");
        assert!(client.flush_all().await.values().all(Result::is_ok));
    }
}

#[tokio::test]
async fn a_lock_is_renewed_while_the_load_goes_on_and_its_loss_is_told() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let (renewed, mut renewals) = tokio::sync::mpsc::channel(1);
    let policy = policy().lock_ttl(2 * SECOND);
    let probe = client.clone();
    let call = client.get_or_refresh("k", &policy, move |context| async move {
        let cas = async || {
            probe
                .get_item("k|#|nhl")
                .await
                .unwrap()
                .and_then(|item| item.cas)
        };
        let first = cas().await;
        while cas().await == first {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!context.lock_lost());
        // Somebody else takes it.
        probe
            .set("k|#|nhl", "another's", Ttl::secs(100))
            .await
            .unwrap();
        while !context.lock_lost() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        renewed.send(()).await.unwrap();
        Ok::<_, Error>(value("v"))
    });
    assert_eq!(call.await.unwrap().source, Source::Loaded);
    renewals.recv().await.unwrap();
    let lock = client.get::<String>("k|#|nhl").await.unwrap();
    assert_eq!(lock, value("another's"), "another's lock was released");
    assert_eq!(client.get::<String>("k").await.unwrap(), value("v"));
}

#[tokio::test]
async fn a_load_that_takes_too_long_is_given_up() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let policy = policy().load_deadline(Duration::from_millis(30));
    let failed = fetch_by(&client, &policy, &Database::closed("v")).await;
    assert!(matches!(&failed, Err(Error::Load(why)) if why.to_string().contains("longer")));
}

#[tokio::test]
async fn without_a_node_values_are_loaded_by_a_bounded_number_of_callers_at_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = builder(nobody).local_loads_max(3).build().await.unwrap();
    let database = Database::closed("v");
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let (client, database) = (client.clone(), database.clone());
            tokio::spawn(async move {
                let key = format!("k:{}", number % 10);
                let load = |_| database.load();
                client
                    .get_or_refresh::<String, _, _, _>(key, &policy(), load)
                    .await
                    .unwrap()
            })
        })
        .collect();
    database.wait_for_loads(3).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.loads(), 3);
    database.open();
    for call in calls {
        let fetched = call.await.unwrap();
        assert_eq!(fetched.value, value("v"));
        assert!(matches!(fetched.source, Source::Local | Source::Shared));
    }
    assert_eq!(database.loads(), 10);
}

#[tokio::test]
async fn what_is_about_to_end_is_refreshed_early_if_the_policy_says_so() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    fetch(&client, &Database::new("old")).await;
    let new = Database::new("new");
    let eager = policy().xfetch(1e12);
    // Nothing is known of how long loads take.
    assert_eq!(
        fetch_by(&client, &eager, &new).await.unwrap().source,
        Source::Fresh
    );
    let other = eager.clone();
    let load = |_| async { Ok::<_, Error>(Some(1u8)) };
    client.get_or_refresh("other", &other, load).await.unwrap();
    assert_eq!(new.loads(), 0);
    assert_eq!(
        fetch_by(&client, &eager, &new).await.unwrap().source,
        Source::Fresh
    );
    wait_for(&client, "new").await;
}

#[tokio::test]
async fn keys_that_look_alike_on_the_wire_share_no_load() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let builder = builder(nuthatch.address()).key_policy(KeyPolicy::Base64);
    let client = builder.build().await.unwrap();
    // The one is the base64 of the other.
    let (plain, bytes) = (Database::closed("plain"), Database::closed("bytes"));
    let calls = [("YSBi", &plain), ("a b", &bytes)].map(|(key, database)| {
        let (client, database) = (client.clone(), database.clone());
        tokio::spawn(async move {
            let load = |_| database.load();
            let fetched = client.get_or_refresh(key, &policy(), load).await.unwrap();
            fetched.value
        })
    });
    plain.wait_for_loads(1).await;
    plain.open();
    bytes.open();
    let mut found = Vec::new();
    for call in calls {
        found.push(call.await.unwrap());
    }
    assert_eq!(found, [value("plain"), value("bytes")]);
}

#[tokio::test]
async fn over_a_hundred_expiries_there_is_one_load_for_each() {
    const EXPIRIES: u64 = 100;
    for process_count in [1, 4, 16] {
        let nuthatch = Nuthatch::start(&[]).unwrap();
        let mut clients = Vec::new();
        for _ in 0..process_count {
            clients.push(client(nuthatch.address()).await);
        }
        let loads = Arc::new(AtomicUsize::new(0));
        let database = Arc::new(AtomicU64::new(0));
        for expiry in 1..=EXPIRIES {
            // A load that somebody began to want before finds what there is when it runs.
            database.store(expiry, Ordering::SeqCst);
            nuthatch.clock().advance(11 * SECOND);
            let mut is_new = false;
            while !is_new {
                for client in &clients {
                    let (loads, database) = (Arc::clone(&loads), Arc::clone(&database));
                    let load = move |_| async move {
                        loads.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok::<_, Error>(Some(database.load(Ordering::SeqCst)))
                    };
                    let fetched = client.get_or_refresh("k", &policy(), load).await.unwrap();
                    assert!(fetched.value >= Some(expiry - 1));
                    is_new = fetched.source == Source::Fresh || expiry == 1;
                }
            }
        }
        assert_eq!(
            loads.load(Ordering::SeqCst) as u64,
            EXPIRIES,
            "{process_count}"
        );
    }
}
