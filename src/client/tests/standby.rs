//! Nodes that go down in a client with a gutter, or one that ejects them: killed, stopped, and back again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{
    Builder, Client, Error, Invalidated, NodeAddress, OnDown, Policy, Ring, Source, TimeLeft, Ttl,
};
use std::net::SocketAddr;
use std::time::Duration;
use support::database::{Database, fetch, value};
use support::server::{Road, Server, until, unused};
use support::{builder, patient};

const LIFE: Duration = Duration::from_secs(4);

/// A client of one node, with a gutter.
async fn with_gutter(node: SocketAddr, gutter: &Server) -> Client {
    let builder = builder(node).gutter(gutter.address.to_string());
    let timeouts = patient().with_operation(Duration::from_millis(200));
    let builder = builder.gutter_life(LIFE).timeouts(timeouts);
    builder.on_down(OnDown::Error).build().await.unwrap()
}

async fn plain(server: &Server) -> Client {
    builder(server.address).build().await.unwrap()
}

async fn read(client: &Client, key: &str) -> Option<String> {
    client.get::<String>(key).await.unwrap()
}

#[tokio::test]
async fn values_of_a_node_that_was_killed_are_kept_in_the_gutter_for_seconds() {
    let (node, gutter) = (Server::start(unused()), Server::start(unused()));
    let road = Road::to(&node).await;
    let client = with_gutter(road.address, &gutter).await;
    let there = plain(&gutter).await;
    for key in ["set", "deleted", "kept"] {
        client.set(key, "before", Ttl::NEVER).await.unwrap();
    }
    assert_eq!(read(&there, "set").await, None, "the node is up");
    let cas = client.get_item("set").await.unwrap().unwrap().cas;
    drop(node);
    let address = road.close().await;
    until(async || client.get::<String>("k").await.is_ok()).await;

    client.set("set", "meanwhile", Ttl::NEVER).await.unwrap();
    assert_eq!(read(&client, "set").await, value("meanwhile"));
    let item = there.get_item("set").await.unwrap().unwrap();
    let seen = client.get_item("set").await.unwrap().unwrap();
    assert_eq!(seen.cas, None, "it would be compared with the node's");
    let TimeLeft::Seconds(left) = item.time_left else {
        panic!("{item:?}");
    };
    assert!(u64::from(left) <= LIFE.as_secs(), "{left}");
    assert!(!client.delete("deleted").await.unwrap());
    assert_eq!(read(&client, "kept").await, None);
    let entries = [("many:1", "a"), ("many:2", "b")];
    assert!(client.set_many(&entries, Ttl::secs(2)).await.is_empty());
    let many = client
        .get_many::<_, String>(&["many:1", "many:2", "many:3"])
        .await;
    assert_eq!((many.found.len(), many.missing), (2, vec!["many:3"]));
    // There is one truth about these, and it is down.
    let refused = [
        client.incr("set", 1).await.map(drop),
        client.add("add", "v", Ttl::NEVER).await.map(drop),
        client
            .cas("set", "v", Ttl::NEVER, cas.unwrap())
            .await
            .map(drop),
        client.touch("set", Ttl::NEVER).await.map(drop),
        client.append("set", "v").await.map(drop),
        client
            .update("set", Ttl::NEVER, |_: Option<String>| value("v"))
            .await
            .map(drop),
    ];
    for refused in refused {
        let node = refused.unwrap_err().node().map(str::to_owned);
        assert_eq!(node, Some(address.to_string()));
    }
    assert!(client.counters().detours > 0);

    // It comes back with what it had, as after a network that was down.
    let node = Server::start(unused());
    let other = plain(&node).await;
    for key in ["set", "deleted", "kept"] {
        other.set(key, "before", Ttl::NEVER).await.unwrap();
    }
    let _road = Road::open(address, &node).await;
    until(async || read(&client, "kept").await.is_some()).await;
    assert_eq!(read(&client, "set").await, None);
    assert_eq!(read(&client, "deleted").await, None);
}

#[tokio::test]
async fn what_is_loaded_while_a_node_is_stopped_is_loaded_once_and_invalidated_in_both() {
    let (node, gutter) = (Server::start(unused()), Server::start(unused()));
    let clients = [
        with_gutter(node.address, &gutter).await,
        with_gutter(node.address, &gutter).await,
    ];
    let there = plain(&gutter).await;
    assert_eq!(
        fetch(&clients[0], &Database::new("before")).await.0,
        value("before")
    );
    node.signal("-STOP");
    for client in &clients {
        // Three calls wait in vain, then it is left alone.
        until(async || client.get::<String>("other").await.is_ok()).await;
    }
    let database = Database::closed("meanwhile");
    let mut calls = Vec::new();
    for client in clients.iter().cycle().take(20) {
        let (client, database) = (client.clone(), database.clone());
        calls.push(tokio::spawn(async move { fetch(&client, &database).await }));
    }
    database.wait_for_loads(1).await;
    database.open();
    for call in calls {
        assert_eq!(call.await.unwrap().0, value("meanwhile"));
    }
    assert_eq!(database.loads(), 1);
    let left = there.get_item("k").await.unwrap().unwrap().time_left;
    assert!(matches!(left, TimeLeft::Seconds(left) if u64::from(left) <= LIFE.as_secs()));

    assert_eq!(
        clients[1].invalidate("k").await.unwrap(),
        Invalidated::Journalled
    );
    assert_eq!(read(&there, "k").await, None);
    let after = Database::new("after");
    assert_eq!(
        fetch(&clients[0], &after).await,
        (value("after"), Source::Loaded)
    );
    node.signal("-CONT");
    let direct = plain(&node).await;
    until(async || {
        clients[1].set("up", "v", Ttl::NEVER).await.is_ok() && read(&direct, "up").await.is_some()
    })
    .await;
    assert_eq!(read(&clients[1], "k").await, None, "it was invalidated");
}

#[tokio::test]
async fn an_invalidation_reaches_the_gutter_though_its_node_is_up() {
    let (node, gutter) = (Server::start(unused()), Server::start(unused()));
    let client = with_gutter(node.address, &gutter).await;
    // As another client did that cannot reach the node.
    let there = plain(&gutter).await;
    there.set("k", "old", Ttl::secs(100)).await.unwrap();
    assert_eq!(client.invalidate("k").await.unwrap(), Invalidated::Now);
    assert_eq!(read(&there, "k").await, None);
    there.set("k", "old", Ttl::secs(100)).await.unwrap();
    assert!(client.flush_all().await.values().all(Result::is_ok));
    assert_eq!(read(&there, "k").await, None);
}

#[tokio::test]
async fn a_gutter_that_is_down_too_changes_nothing() {
    let client = builder(unused()).gutter(unused().to_string());
    let client = client.on_down(OnDown::Error).build().await.unwrap();
    let node = client.locate("k").unwrap();
    for _ in 0..3 {
        let refused = client.get::<String>("k").await.unwrap_err();
        assert_eq!(refused.node(), Some(node.as_str()));
        let refused = client.set("k", "v", Ttl::NEVER).await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    }
    let policy = Policy::fresh_for(LIFE);
    let load = |_| async { Ok::<_, Error>(Some(1u8)) };
    let fetched = client.get_or_refresh("k", &policy, load).await.unwrap();
    assert_eq!((fetched.value, fetched.source), (Some(1), Source::Local));
}

const KEYS: usize = 300;

/// Where each key is.
fn places(client: &Client) -> Vec<String> {
    let keys = (0..KEYS).map(|number| client.locate(format!("k:{number}")));
    keys.map(Result::unwrap).collect()
}

/// Where each key would be in a ring of these.
fn expected(nodes: &[SocketAddr]) -> Vec<String> {
    let nodes = nodes.iter().map(|node| node.to_string().parse().unwrap());
    let nodes: Vec<NodeAddress> = nodes.collect();
    let ring = Ring::new(nuthatch_client::Distribution::Ketama, &nodes).unwrap();
    let keys = (0..KEYS).map(|number| ring.locate(format!("k:{number}").as_bytes()));
    keys.map(|position| nodes.get(position).unwrap().to_string())
        .collect()
}

/// Of these nodes, leaving them out soon.
fn ejecting(nodes: &[SocketAddr]) -> Builder {
    let add = |builder: Builder, node: &SocketAddr| builder.node(node.to_string());
    let nodes = nodes.iter().fold(Client::builder(), add);
    let timeouts = patient().with_operation(Duration::from_millis(200));
    nodes
        .timeouts(timeouts)
        .auto_eject(Duration::from_millis(100))
}

/// Asks every node, until the keys are where they would be with these.
async fn until_ring_of(client: &Client, nodes: &[SocketAddr]) {
    let expected = expected(nodes);
    until(async || {
        for number in 0..20 {
            let _ = client.get::<String>(format!("k:{number}")).await;
        }
        places(client) == expected
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_killed_leaves_the_ring_and_comes_back_without_what_changed() {
    let servers = [0; 3].map(|_| Server::start(unused()));
    let [a, b, c] = servers;
    let road = Road::to(&c).await;
    let all = [a.address, b.address, road.address];
    let client = ejecting(&all).build().await.unwrap();
    until_ring_of(&client, &all).await;
    let mine = places(&client)
        .iter()
        .position(|node| *node == road.address.to_string());
    let key = format!("k:{}", mine.unwrap());
    drop(c);
    let address = road.close().await;
    until_ring_of(&client, &[a.address, b.address]).await;
    assert_eq!(client.counters().ejections, 1);

    // All commands go on, elsewhere.
    client.set(&key, "1", Ttl::NEVER).await.unwrap();
    assert_eq!(client.incr(&key, 1).await.unwrap(), Some(2));
    let keys: Vec<String> = (0..KEYS).map(|number| format!("k:{number}")).collect();
    let (many, invalidated) = keys.split_at(KEYS / 2);
    let entries: Vec<_> = many.iter().map(|key| (key.clone(), "new")).collect();
    assert!(client.set_many(&entries, Ttl::NEVER).await.is_empty());
    let _ = client.invalidate_many(invalidated).await.unwrap();

    // It is back with what it had before.
    let c = Server::start(unused());
    let other = plain(&c).await;
    for key in &keys {
        other.set(key, "old", Ttl::NEVER).await.unwrap();
    }
    let _road = Road::open(address, &c).await;
    until_ring_of(&client, &all).await;
    for key in &keys {
        assert_ne!(read(&client, key).await, value("old"), "{key}");
    }
}

#[tokio::test]
async fn a_node_that_is_stopped_leaves_the_ring_until_it_goes_on() {
    let servers = [0; 2].map(|_| Server::start(unused()));
    let [a, b] = servers.each_ref().map(|server| server.address);
    let client = ejecting(&[a, b]).build().await.unwrap();
    until_ring_of(&client, &[a, b]).await;
    servers[1].signal("-STOP");
    until_ring_of(&client, &[a]).await;
    // There is nowhere else.
    servers[1].signal("-CONT");
    until_ring_of(&client, &[a, b]).await;
}

#[tokio::test]
async fn no_more_than_a_third_of_the_nodes_leave_the_ring() {
    let servers = [0; 4].map(|_| Server::start(unused()));
    let [a, b, c, d] = servers.each_ref().map(|server| server.address);
    let client = ejecting(&[a, b, c, d]).build().await.unwrap();
    until_ring_of(&client, &[a, b, c, d]).await;
    let [_a, _b, stopped, gone] = servers;
    drop(gone);
    until_ring_of(&client, &[a, b, c]).await;
    stopped.signal("-STOP");
    // Of two that are down, the first stays out, and the second stays in: its keys are misses.
    let refused = async |number: usize| {
        let key = format!("k:{number}");
        let set = client.set(key, "v", Ttl::NEVER).await;
        matches!(set, Err(Error::Unavailable { .. }))
    };
    until(async || {
        let mut any = false;
        for number in 0..20 {
            any |= refused(number).await;
        }
        any
    })
    .await;
    for _ in 0..50 {
        for number in 0..20 {
            let _ = client.get::<String>(format!("k:{number}")).await;
        }
        assert_eq!(places(&client), expected(&[a, b, c]));
    }
    assert_eq!(client.counters().ejections, 1);
    stopped.signal("-CONT");
    let _back = Server::start(d);
    until_ring_of(&client, &[a, b, c, d]).await;
}
