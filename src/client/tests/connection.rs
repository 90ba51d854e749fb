//! No reply ever reaches another call: servers that answer wrongly, late, twice or not at all; calls that are dropped.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Error, OnDown, Phase, Ttl};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::server::until;
use support::{Peer, builder, client, echo, echo_all, key, opaque, patient, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

async fn strict(address: SocketAddr) -> Client {
    builder(address)
        .on_down(OnDown::Error)
        .build()
        .await
        .unwrap()
}

fn is_unavailable(result: &Result<Option<String>, Error>) -> bool {
    matches!(result, Err(Error::Unavailable { .. }))
}

#[tokio::test]
async fn calls_share_one_connection_and_each_gets_its_own_reply() {
    let (address, connections) = serve(|_, peer| echo_all(peer)).await;
    let client = client(address).await;
    let calls: Vec<_> = (0..1000)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let key = format!("key:{number}");
                assert_eq!(client.get::<String>(&key).await.unwrap(), Some(key));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reply_with_the_number_of_another_request_ends_the_connection() {
    let (address, connections) = serve(|number, mut peer| async move {
        if number > 0 {
            return echo_all(peer).await;
        }
        peer.greet().await;
        // Two lookups, answered in the wrong order.
        let first = peer.line().await.unwrap();
        let second = peer.line().await.unwrap();
        echo(&mut peer, &second).await;
        echo(&mut peer, &first).await;
    })
    .await;
    let client = strict(address).await;
    let (alice, bob) = tokio::join!(client.get::<String>("alice"), client.get::<String>("bob"));
    // A read is tried again once, on a new connection.
    assert_eq!(alice.unwrap().unwrap(), "alice");
    assert_eq!(bob.unwrap().unwrap(), "bob");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// Sends `reply` (with `#` for the right number) to the first request of each connection.
async fn first_get(reply: &'static [u8]) -> Result<Option<String>, Error> {
    let (address, _) = serve(move |_, mut peer| async move {
        peer.greet().await;
        let Some(line) = peer.line().await else {
            return;
        };
        let number = opaque(&line).to_string();
        let text = String::from_utf8_lossy(reply).replace('#', &number);
        peer.send(text).await;
        peer.line().await;
    })
    .await;
    strict(address).await.get::<String>("k").await
}

#[tokio::test]
async fn what_cannot_be_the_reply_is_not_taken_for_it() {
    assert_eq!(first_get(b"EN O#\r\n").await.unwrap(), None);
    assert_eq!(
        first_get(b"VA 1 f16 O#\r\nv\r\n").await.unwrap().unwrap(),
        "v"
    );
    for reply in [
        &b"VA 1 f0 O77\r\nv\r\n"[..],
        b"VA 1 f0\r\nv\r\n",
        b"EN\r\n",
        b"EN O77\r\n",
        b"HD O#\r\n",
        b"NS O#x\r\n",
        b"END\r\n",
        b"VALUE k 0 1\r\nv\r\nEND\r\n",
        b"STORED\r\n",
        b"VA 1 f0 O#\r\nvv\r\n",
        b"VA 99999999999 f0 O#\r\n",
        b"VA x O#\r\n",
        b"hello\r\n",
        b"\0\0\r\n",
    ] {
        let result = first_get(reply).await;
        assert!(is_unavailable(&result), "{}", reply.escape_ascii());
    }
}

#[tokio::test]
async fn what_nobody_asked_for_ends_the_connection_before_it_is_taken_for_a_reply() {
    let (told, mut asked) = mpsc::channel(1);
    let (address, _) = serve(move |number, mut peer| {
        let told = told.clone();
        async move {
            if number > 0 {
                return echo_all(peer).await;
            }
            peer.greet().await;
            let line = peer.line().await.unwrap();
            echo(&mut peer, &line).await;
            // What a proxy meant for another connection.
            peer.send("VA 6 f0 O1\r\nsecret\r\n").await;
            told.send(peer.line().await).await.unwrap();
        }
    })
    .await;
    let client = client(address).await;
    assert_eq!(client.get::<String>("a").await.unwrap().unwrap(), "a");
    let asked = timeout(Duration::from_mins(1), asked.recv()).await;
    assert_eq!(asked.unwrap(), Some(None), "it went on");
    assert_eq!(client.get::<String>("b").await.unwrap().unwrap(), "b");
}

#[tokio::test]
async fn a_node_whose_connections_are_of_no_use_is_left_alone() {
    let (address, connections) = serve(|_, mut peer| async move {
        peer.greet().await;
        peer.line().await;
        peer.send("hello\r\n").await;
    })
    .await;
    let client = strict(address).await;
    let mut calls = 0;
    while calls < 1000 {
        assert!(is_unavailable(&client.get("k").await));
        calls += 1;
    }
    // A few, with waits between them, and not one for each call.
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections < 20, "{connections}");
}

#[tokio::test]
async fn an_error_line_is_one_callers_and_the_connection_goes_on() {
    let (address, connections) = serve(|_, mut peer| async move {
        peer.greet().await;
        peer.line().await.unwrap();
        peer.send("SERVER_ERROR out of memory\r\n").await;
        while let Some(line) = peer.line().await {
            echo(&mut peer, &line).await;
        }
    })
    .await;
    let client = client(address).await;
    let refused = client.get::<String>("a").await;
    let Err(Error::Server { message, op, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (message.as_str(), op),
        ("SERVER_ERROR out of memory", "get")
    );
    assert_eq!(client.get::<String>("b").await.unwrap().unwrap(), "b");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_storage_command_that_is_not_understood_ends_the_connection() {
    // The server may take the value for commands, and answer those.
    let (address, _) = serve(|_, mut peer| async move {
        peer.greet().await;
        peer.line().await.unwrap();
        peer.send("CLIENT_ERROR bad command line format\r\nERROR\r\n")
            .await;
        peer.line().await;
    })
    .await;
    let client = client(address).await;
    let lost = client.set("a", "mg b v O1", Ttl::NEVER).await;
    assert!(
        matches!(lost, Err(Error::Ambiguous { op: "set", .. })),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_change_is_ambiguous_if_the_connection_is_lost_and_a_read_is_not() {
    let (address, _) = serve(|_, mut peer| async move {
        peer.greet().await;
        peer.line().await;
    })
    .await;
    let client = strict(address).await;
    let lost = client.incr("k", 1).await.unwrap_err();
    assert!(lost.was_sent() && lost.is_retryable());
    assert_eq!(lost.node(), Some(address.to_string().as_str()));
    assert!(is_unavailable(&client.get("k").await));
}

#[tokio::test]
async fn a_call_that_times_out_leaves_the_connection_to_the_others() {
    let (address, connections) = serve(|_, mut peer| async move {
        peer.greet().await;
        let mut late = peer.line().await.unwrap();
        while key(&late) != "alice" {
            echo(&mut peer, &late).await;
            late = peer.line().await.unwrap();
        }
        // The next request comes once the first has been given up.
        let line = peer.line().await.unwrap();
        echo(&mut peer, &late).await;
        echo(&mut peer, &line).await;
        while let Some(line) = peer.line().await {
            echo(&mut peer, &line).await;
        }
    })
    .await;
    let timeouts = patient().with_operation(Duration::from_millis(50));
    let client = builder(address).timeouts(timeouts).build().await.unwrap();
    // The connection may take longer than a call.
    until(async || client.get::<String>("first").await.is_ok()).await;
    let late = client.get::<String>("alice").await;
    assert!(
        matches!(
            late,
            Err(Error::Timeout {
                phase: Phase::Reply,
                ..
            })
        ),
        "{late:?}"
    );
    for key in ["bob", "carol"] {
        // On a busy machine these may be late too, but never another's.
        match client.get::<String>(key).await {
            Ok(value) => assert_eq!(value.unwrap(), key),
            Err(error) => assert!(matches!(error, Error::Timeout { .. }), "{error}"),
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_owes_replies_and_is_silent_is_given_up() {
    let (address, connections) = serve(|number, mut peer| async move {
        if number > 0 {
            return echo_all(peer).await;
        }
        peer.greet().await;
        while peer.line().await.is_some() {}
    })
    .await;
    let timeouts = patient()
        .with_operation(Duration::from_millis(40))
        .with_stall(Duration::from_millis(80));
    let client = builder(address).timeouts(timeouts).build().await.unwrap();
    until(async || {
        let _ = client.get::<String>("k").await;
        connections.load(Ordering::SeqCst) >= 2
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_then_fail() {
    let (address, _) = serve(|_, peer| async move {
        // Never greets, so that nothing is taken from the queue but the first.
        let _peer = peer;
        std::future::pending::<()>().await;
    })
    .await;
    let timeouts = patient().with_operation(Duration::from_millis(50));
    let client = builder(address)
        .queue_len(4)
        .timeouts(timeouts)
        .build()
        .await
        .unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.get::<String>("k").await.unwrap_err() }
            })
        })
        .collect();
    let mut phases = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Error::Timeout { phase, .. } => phases.push(phase),
            error => panic!("{error}"),
        }
    }
    let connecting = phases.iter().filter(|phase| **phase == Phase::Connect);
    // One is out of the queue, waiting for the connection that is being opened.
    assert_eq!(connecting.count(), 5, "{phases:?}");
}

#[tokio::test]
async fn old_servers_and_proxies_are_spoken_to_in_classic_words() {
    async fn classic(mut peer: Peer) {
        while let Some(line) = peer.line().await {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["get", _] => peer.send("END\r\n").await,
                ["gets", key] => {
                    peer.send(format!("VALUE {key} 16 1 7\r\nv\r\nEND\r\n"))
                        .await;
                }
                ["set", _, _, _, len] => {
                    peer.value(len.parse().unwrap()).await;
                    peer.send("STORED\r\n").await;
                }
                ["mn"] => return,
                _ => peer.send("ERROR\r\n").await,
            }
        }
    }
    let (proxy, connections) = serve(|_, peer| classic(peer)).await;
    let client = client(proxy).await;
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "v");
    client.set("k", "v", Ttl::NEVER).await.unwrap();
    assert_eq!(
        client.get_item("k").await.unwrap().unwrap().client_flags,
        16
    );
    assert_eq!(connections.load(Ordering::SeqCst), 2);

    let (old, connections) = serve(|_, mut peer| async move {
        peer.line().await.unwrap();
        peer.line().await.unwrap();
        peer.send("ERROR\r\nVERSION 1.4.5\r\n").await;
        classic(peer).await;
    })
    .await;
    let client = support::client(old).await;
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "v");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_with_too_many_connections_is_not_taken_for_an_old_one() {
    let (address, connections) = serve(|number, mut peer| async move {
        if number > 0 {
            return echo_all(peer).await;
        }
        peer.line().await.unwrap();
        peer.send("ERROR Too many open connections\r\n").await;
    })
    .await;
    let client = strict(address).await;
    let Err(Error::Unavailable { why, .. }) = client.get::<String>("k").await else {
        panic!("there was no room")
    };
    assert!(why.contains("Too many open connections"), "{why}");
    until(async || client.get::<String>("k").await.is_ok()).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn in_classic_words_the_value_of_another_key_is_never_taken() {
    let (address, _) = serve(|_, mut peer| async move {
        while let Some(line) = peer.line().await {
            if !line.starts_with("gets") {
                peer.send("END\r\n").await;
                continue;
            }
            assert_eq!(line, "gets alice");
            peer.send("VALUE bob 0 6 1\r\nsecret\r\nEND\r\n").await;
        }
    })
    .await;
    let client = strict(address).await;
    assert!(is_unavailable(&client.get("alice").await));
}

#[tokio::test]
async fn credentials_go_before_everything_else() {
    let (address, _) = serve(|_, mut peer| async move {
        assert_eq!(peer.line().await.unwrap(), "set auth 0 0 11");
        let is_right = peer.value(11).await == b"user secret";
        peer.send(if is_right {
            "STORED\r\n"
        } else {
            "CLIENT_ERROR authentication failure\r\n"
        })
        .await;
        echo_all(peer).await;
    })
    .await;
    let right = builder(address).credentials("user", "secret");
    assert!(!format!("{right:?}").contains("secret"));
    let client = right.build().await.unwrap();
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "k");
    let wrong = builder(address)
        .on_down(OnDown::Error)
        .credentials("user", "wrong!");
    let refused = wrong.build().await.unwrap().get::<String>("k").await;
    let Err(Error::Unavailable { why, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("authentication failure"), "{why}");
}

#[tokio::test]
async fn a_large_value_goes_its_own_way_and_calls_spread_over_several_connections() {
    let (address, connections) = serve(|_, mut peer| async move {
        peer.greet().await;
        while let Some(line) = peer.line().await {
            if line.starts_with("ms") {
                // It stays away for long: what is small is not held up by it.
                let len = line.split(' ').nth(2).unwrap().parse().unwrap();
                peer.value(len).await;
                std::future::pending::<()>().await;
            }
            echo(&mut peer, &line).await;
        }
    })
    .await;
    let client = builder(address)
        .connections_per_node(3)
        .compress_min(usize::MAX)
        .build()
        .await
        .unwrap();
    let large = tokio::spawn({
        let client = client.clone();
        async move { client.set("k", &vec![0u8; 65_536], Ttl::NEVER).await }
    });
    until(async || connections.load(Ordering::SeqCst) > 0).await;
    for _ in 0..6 {
        assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "k");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    assert!(!large.is_finished());
    large.abort();
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_any() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 256];
        for answer in ["MN\r\nVERSION 1.6.45\r\n", ""] {
            let len = stream.read(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(buffer.get(..len).unwrap()).into_owned();
            let answer = if answer.is_empty() {
                format!("VA 1 f0 O{}\r\nv\r\n", opaque(text.trim_end()))
            } else {
                answer.to_owned()
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let path = path.display().to_string();
    let client = Client::builder()
        .node(&path)
        .timeouts(patient())
        .build()
        .await
        .unwrap();
    assert_eq!(client.locate("k").unwrap(), path);
    assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "v");
}
