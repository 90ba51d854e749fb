//! Calls that are dropped at any point: none of their replies reaches another call.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Ttl};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use support::{client, echo, opaque, serve};
use tokio::sync::Semaphore;

#[tokio::test]
async fn what_was_dropped_before_it_was_written_is_never_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let server_gate = Arc::clone(&gate);
    let (address, _) = serve(move |_, mut peer| {
        let gate = Arc::clone(&server_gate);
        async move {
            let _permit = gate.acquire().await;
            peer.greet().await;
            let line = peer.line().await.unwrap();
            assert!(line.starts_with("mg kept"), "{line}");
            echo(&mut peer, &line).await;
        }
    })
    .await;
    let client = client(address).await;
    for _ in 0..10 {
        let dropped = client.set("dropped", "v", Ttl::NEVER);
        assert!(drop_after(3, dropped).await.is_none());
    }
    gate.add_permits(1);
    assert_eq!(client.get::<String>("kept").await.unwrap().unwrap(), "kept");
}

/// Polls a future this many times at most; `None` if it was dropped before it was ready.
async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = polls;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Calls that are dropped at random points; each value names its key.
async fn storm(client: Client, calls: usize) {
    const TASKS: usize = 50;
    for number in 0..100 {
        let key = format!("key:{number}");
        client.set(&key, &key, Ttl::NEVER).await.unwrap();
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|seed| {
            let client = client.clone();
            let mut random = fastrand::Rng::with_seed(seed as u64);
            tokio::spawn(async move {
                let mut finished = 0;
                for _ in 0..calls / TASKS {
                    let key = format!("key:{}", random.u8(..100));
                    // One in eight is waited for.
                    let polls = match random.u8(..8) {
                        0 => usize::MAX,
                        size => random.usize(..1 << size),
                    };
                    let call = client.get::<String>(&key);
                    if let Some(value) = drop_after(polls, call).await {
                        assert_eq!(value.unwrap().unwrap(), key);
                        finished += 1;
                    }
                }
                finished
            })
        })
        .collect();
    let mut finished = 0;
    for task in tasks {
        finished += task.await.unwrap();
    }
    assert!(
        finished > 0 && finished < calls,
        "{finished} of {calls} finished"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_dropped_calls_gives_nobody_anothers_value() {
    let nuthatch = protocol_tests::nuthatch::Nuthatch::start(&[]).unwrap();
    storm(client(nuthatch.address()).await, 100_000).await;
    let memcached = protocol_tests::memcached::Memcached::start().unwrap();
    storm(client(memcached.address()).await, 100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_against_a_slow_server_gives_nobody_anothers_value() {
    let (address, connections) = serve(|_, mut peer| async move {
        peer.greet().await;
        let mut random = fastrand::Rng::with_seed(1);
        while let Some(line) = peer.line().await {
            for _ in 0..random.u8(..4) {
                tokio::task::yield_now().await;
            }
            if line.starts_with("ms") {
                let len = line.split(' ').nth(2).unwrap().parse().unwrap();
                peer.value(len).await;
                peer.send(format!("HD O{}\r\n", opaque(&line))).await;
            } else {
                echo(&mut peer, &line).await;
            }
        }
    })
    .await;
    storm(client(address).await, 100_000).await;
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
