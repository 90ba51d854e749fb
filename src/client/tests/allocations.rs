//! What a hit allocates: the key, the channel that its reply comes through, and the value. Of many at once, hardly
//! anything for each.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use allocation_counter::measure;
use bytes::Bytes;
use nuthatch_client::Ttl;
use protocol_tests::nuthatch::Nuthatch;
use support::client;
use tokio::runtime::Builder;

#[test]
fn a_hit_allocates_three_times() {
    const HITS: u64 = 1000;
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(client(nuthatch.address()));
    let get = || {
        let found = runtime.block_on(client.get::<Bytes>("key")).unwrap();
        assert_eq!(found.unwrap().len(), 100);
    };
    let value = vec![b'v'; 100];
    runtime
        .block_on(client.set("key", &value, Ttl::NEVER))
        .unwrap();
    get();
    let counted = measure(|| (0..HITS).for_each(|_| get()));
    // Buffers and queues are allocated again now and then.
    let allowed = 3 * HITS + HITS / 10;
    assert!(
        counted.count_total <= allowed,
        "{} for {HITS} hits",
        counted.count_total
    );
}

#[test]
fn a_hundred_hits_at_once_allocate_thirty_times() {
    const LOOKUPS: u64 = 100;
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(client(nuthatch.address()));
    let names: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name, vec![b'v'; 100])).collect();
    let failed = runtime.block_on(client.set_many(&entries, Ttl::NEVER));
    assert!(failed.is_empty());
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let get_many = || {
        let many = runtime.block_on(client.get_many::<_, Bytes>(&keys));
        assert_eq!(many.found.len(), 100);
    };
    get_many();
    let counted = measure(|| (0..LOOKUPS).for_each(|_| get_many()));
    assert!(
        counted.count_total <= 30 * LOOKUPS,
        "{} for {LOOKUPS} lookups",
        counted.count_total
    );
}
