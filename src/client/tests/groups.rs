//! Many entries at once: namespaces, flags, lists of objects, warmers; and calls that block.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{AT_ONCE_MAX, Error, List, Policy, Source, Ttl, Version};
use protocol_tests::nuthatch::Nuthatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::client;
use support::database::{Database, policy};
use support::server::until;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_namespace_is_forgotten_at_once_and_another_is_not() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let users = client.namespace("user", Version::Key);
    let others = client.namespace("other", Version::Key);
    let fixed = client.namespace("shape", Version::Fixed(3));
    for scoped in [&users, &others, &fixed] {
        scoped.set("1", "v", Ttl::NEVER).await.unwrap();
        assert_eq!(scoped.get::<String>("1").await.unwrap().unwrap(), "v");
    }
    assert_eq!(fixed.key("1").await.unwrap(), b"shape:3:1");
    users.invalidate_all().await.unwrap();
    assert_eq!(users.get::<String>("1").await.unwrap(), None);
    assert_eq!(others.get::<String>("1").await.unwrap().unwrap(), "v");
    assert!(matches!(
        fixed.invalidate_all().await,
        Err(Error::Config(_))
    ));

    // A version that is lost comes back as one that never was.
    users.set("1", "v", Ttl::NEVER).await.unwrap();
    let before = users.key("1").await.unwrap();
    client.delete("user:version").await.unwrap();
    users.invalidate_all().await.unwrap();
    assert_ne!(users.key("1").await.unwrap(), before);
    assert_eq!(users.get::<String>("1").await.unwrap(), None);
    assert!(!users.delete("1").await.unwrap());
    let _ = users.invalidate("1").await.unwrap();
    let load = |_| async { Ok::<_, Error>(Some(7u64)) };
    let policy = Policy::fresh_for(60 * SECOND);
    let loaded = users.get_or_refresh("2", &policy, load).await.unwrap();
    assert_eq!(
        (loaded.value, users.get::<u64>("2").await.unwrap()),
        (Some(7), Some(7))
    );
}

#[tokio::test]
async fn a_flag_is_remembered_for_its_time() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    assert!(!client.is_flagged("wrote:1").await.unwrap());
    client.flag("wrote:1", Ttl::secs(5)).await.unwrap();
    assert!(client.is_flagged("wrote:1").await.unwrap());
    nuthatch.clock().advance(6 * SECOND);
    assert!(!client.is_flagged("wrote:1").await.unwrap());
}

#[tokio::test]
async fn of_many_keys_only_those_are_loaded_that_are_missing() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let loads = Arc::new(AtomicUsize::new(0));
    let policy = Policy::fresh_for(60 * SECOND);
    let keys: Vec<String> = (0..200).map(|number| format!("k:{number}")).collect();
    let fetch = async |keys: &[String]| {
        let loads = Arc::clone(&loads);
        let load = move |key: String, _| {
            loads.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, Error>((!key.ends_with('7')).then_some(key)) }
        };
        client.get_or_refresh_many(keys, &policy, load).await
    };
    for (count, expected) in [(50, 50), (200, 200 + 5)] {
        let all = fetch(keys.get(..count).unwrap()).await;
        assert_eq!(all.len(), count);
        for (key, fetched) in keys.iter().zip(all) {
            let there_is_one = !key.ends_with('7');
            assert_eq!(fetched.unwrap().value.as_ref(), there_is_one.then_some(key));
        }
        assert_eq!(loads.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn of_many_keys_no_more_are_loaded_at_once_than_may_be() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let database = Database::closed("v");
    let call = tokio::spawn({
        let (client, database) = (client.clone(), database.clone());
        async move {
            let keys: Vec<String> = (0..=AT_ONCE_MAX).map(|key| format!("k:{key}")).collect();
            let load = move |_: String, _| database.clone().load();
            client.get_or_refresh_many(&keys, &policy(), load).await
        }
    });
    database.wait_for_loads(AT_ONCE_MAX).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.loads(), AT_ONCE_MAX);
    database.open();
    assert!(call.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(database.loads(), AT_ONCE_MAX + 1);
}

#[tokio::test]
async fn a_list_keeps_its_objects_apart() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let policy = Policy::fresh_for(60 * SECOND);
    let object =
        |id: u32, _| async move { Ok::<_, Error>((id != 2).then(|| format!("object {id}"))) };
    let page = async || {
        let ids = |_| async { Ok::<_, Error>(vec![3u32, 1, 2]) };
        let list = List::new("page", "object:", &policy);
        client.get_list(list, ids, object).await.unwrap()
    };
    let first = page().await;
    assert_eq!(first.value.unwrap(), ["object 3", "object 1"]);
    assert_eq!(
        (first.source, page().await.source),
        (Source::Loaded, Source::Fresh)
    );
    client.set("object:3", "changed", Ttl::NEVER).await.unwrap();
    assert_eq!(page().await.value.unwrap(), ["changed", "object 1"]);
    // Ids that would be read back as others.
    for id in ["", "a\nb", "a\r"] {
        let ids = move |_| async move { Ok::<_, Error>(vec!["1".to_owned(), id.to_owned()]) };
        let load = |_: String, _| async { Ok::<Option<String>, Error>(None) };
        let list = List::new("odd", "object:", &policy);
        let refused = client.get_list(list, ids, load).await;
        assert!(matches!(refused, Err(Error::Load(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_warmer_loads_before_anybody_asks_and_stops_when_it_is_dropped() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    let policy = Policy::fresh_for(10 * SECOND).grace(10 * SECOND);
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let load = move |_: &str, _| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Error>(Some(number as u64)) }
    };
    let warmer = client.warmer(vec!["k"], Duration::from_millis(10), &policy, load);
    let wait_for = async |number| {
        until(async || client.get::<u64>("k").await.unwrap() == Some(number)).await;
    };
    wait_for(0).await;
    nuthatch.clock().advance(11 * SECOND);
    wait_for(1).await;
    let before = loads.load(Ordering::SeqCst);
    drop(warmer);
    nuthatch.clock().advance(11 * SECOND);
    // Nobody has the loader any more that could call it.
    until(async || Arc::strong_count(&loads) == 1).await;
    assert_eq!(loads.load(Ordering::SeqCst), before);
}

#[cfg(feature = "blocking")]
#[test]
fn calls_block_in_many_threads_at_once() {
    use nuthatch_client::{CasOutcome, blocking};

    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = blocking::Client::connect(support::builder(nuthatch.address())).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = client.clone();
            scope.spawn(move || {
                for number in 0..100 {
                    let key = format!("{thread}:{number}");
                    client.set(&key, &key, Ttl::NEVER).unwrap();
                    assert_eq!(client.get::<String>(&key).unwrap().unwrap(), key);
                }
            });
        }
    });
    assert!(client.add("n", &1u64, Ttl::NEVER).unwrap());
    assert!(client.replace("n", &2u64, Ttl::NEVER).unwrap());
    assert_eq!(client.incr("n", 3).unwrap(), Some(5));
    assert_eq!(client.decr("n", 1).unwrap(), Some(4));
    assert_eq!(client.incr_or_init("m", 1, Ttl::NEVER, || 9).unwrap(), 10);
    assert!(client.append("n", "2").unwrap() && client.prepend("n", "1").unwrap());
    let cas = client.get_item("n").unwrap().unwrap().cas.unwrap();
    assert_eq!(
        client.cas("n", &7u64, Ttl::NEVER, cas).unwrap(),
        CasOutcome::Stored
    );
    let twice = client.update("n", Ttl::NEVER, |old: Option<u64>| old.map(|old| old * 2));
    assert_eq!(twice.unwrap(), Some(14));
    assert_eq!(
        client.get_and_touch::<u64>("n", Ttl::secs(9)).unwrap(),
        Some(14)
    );
    assert!(client.touch("n", Ttl::NEVER).unwrap() && client.delete("n").unwrap());
    assert!(
        client
            .set_many(&[("a", 1u8), ("b", 2)], Ttl::NEVER)
            .is_empty()
    );
    assert_eq!(client.get_many::<_, u8>(&["a", "b", "c"]).found.len(), 2);
    let policy = Policy::fresh_for(SECOND);
    let loaded = client
        .get_or_refresh("l", &policy, |_| Ok::<_, Error>(Some(3u8)))
        .unwrap();
    assert_eq!(loaded.value, Some(3));
    let panicked = client.get_or_refresh("p", &policy, |_| -> Result<Option<u8>, Error> {
        std::panic::resume_unwind(Box::new("a bug in a loader"))
    });
    assert!(matches!(panicked, Err(Error::Load(_))));
    let _ = client.invalidate("l").unwrap();
    assert_eq!(client.get::<u8>("l").unwrap(), None);
    assert_eq!((client.versions().len(), client.flush_all().len()), (1, 1));
    client.flag("wrote", Ttl::secs(9)).unwrap();
    assert!(client.is_flagged("wrote").unwrap() && !client.is_flagged("read").unwrap());
    let _ = client.invalidate_many(&["a", "wrote"]).unwrap();
    assert!(!client.is_flagged("wrote").unwrap());
    assert!(
        client
            .stats("")
            .into_values()
            .all(|stats| stats.unwrap().len() > 9)
    );
    let users = client.client().namespace("user", Version::Key);
    client.wait(users.set("1", "Ada", Ttl::NEVER)).unwrap();
    let found = client.wait(users.get::<String>("1")).unwrap();
    assert_eq!(found.as_deref(), Some("Ada"));
}

#[cfg(feature = "near-cache")]
#[tokio::test]
async fn a_near_cache_answers_for_the_nodes_and_knows_of_all_own_changes() {
    use nuthatch_client::NearCache;

    let nuthatch = Nuthatch::start(&[]).unwrap();
    let near = NearCache::new(1 << 20, 60 * SECOND);
    let client = support::builder(nuthatch.address())
        .near_cache(near)
        .build()
        .await
        .unwrap();
    let other = support::client(nuthatch.address()).await;
    let policy = Policy::fresh_for(60 * SECOND);
    let get = async || client.get::<u64>("k").await.unwrap();
    client.set("k", &1u64, Ttl::NEVER).await.unwrap();
    assert_eq!(get().await, Some(1));
    // Others' changes are not seen until its life is over.
    other.set("k", &2u64, Ttl::NEVER).await.unwrap();
    assert_eq!(get().await, Some(1));
    assert_eq!(
        client
            .get_item("k")
            .await
            .unwrap()
            .unwrap()
            .decode::<u64>()
            .unwrap(),
        1
    );
    let load = |_| async { Ok::<_, Error>(Some(9u64)) };
    let fetched = client.get_or_refresh("k", &policy, load).await.unwrap();
    assert_eq!(fetched.value, Some(1));

    client.set("k", &3u64, Ttl::NEVER).await.unwrap();
    assert_eq!(get().await, Some(3));
    client.incr("k", 1).await.unwrap();
    assert_eq!(get().await, Some(4));
    client.append("k", "0").await.unwrap();
    assert_eq!(get().await, Some(40));
    assert!(client.set_many(&[("k", 5u64)], Ttl::NEVER).await.is_empty());
    assert_eq!(get().await, Some(5));
    client.touch("k", Ttl::secs(0)).await.unwrap();
    assert_eq!(get().await, None);
    client.set("k", &6u64, Ttl::NEVER).await.unwrap();
    assert_eq!(get().await, Some(6));
    let _ = client.invalidate("k").await.unwrap();
    assert_eq!(get().await, None);
    client.get_or_refresh("k", &policy, load).await.unwrap();
    assert_eq!(get().await, Some(9));
    client.delete("k").await.unwrap();
    assert_eq!(get().await, None);
    client.set("k", &7u64, Ttl::NEVER).await.unwrap();
    assert_eq!(get().await, Some(7));
    client.flush_all().await;
    assert_eq!(get().await, None);
}
