//! Writers that change a database and invalidate, readers that load and fill, in every order that there is: what is
//! cached in the end is never older than the database, against a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Error, Fetched, Invalidate, Policy, Strategy, Ttl};
use protocol_tests::nuthatch::Nuthatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Who takes a step: each has its own, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Writer(usize),
    Reader(usize),
}

/// Commit, invalidate.
const WRITER_STEPS: usize = 2;

/// Observe, read the database, fill.
const READER_STEPS: usize = 3;

/// All orders in which these take their steps.
fn orders(writers: usize, readers: usize) -> Vec<Vec<Who>> {
    fn extend(order: &mut Vec<Who>, left: &mut [(Who, usize)], all: &mut Vec<Vec<Who>>) {
        if left.iter().all(|(_, steps)| *steps == 0) {
            all.push(order.clone());
        }
        for position in 0..left.len() {
            let Some((who, steps)) = left.get_mut(position).filter(|(_, steps)| *steps > 0) else {
                continue;
            };
            *steps -= 1;
            order.push(*who);
            extend(order, left, all);
            order.pop();
            if let Some((_, steps)) = left.get_mut(position) {
                *steps += 1;
            }
        }
    }
    let writers = (0..writers).map(|number| (Who::Writer(number), WRITER_STEPS));
    let readers = (0..readers).map(|number| (Who::Reader(number), READER_STEPS));
    let mut left: Vec<_> = writers.chain(readers).collect();
    let mut all = Vec::new();
    extend(&mut Vec::new(), &mut left, &mut all);
    all
}

/// A reader that is stopped before it reads the database, and before it returns what it read.
struct Reader {
    client: Client,
    call: Option<JoinHandle<Result<Fetched<u64>, Error>>>,
    /// Lets it go on; `None` once it has been.
    steps: Vec<oneshot::Sender<()>>,
    /// What it has reached.
    reached: mpsc::Receiver<()>,
}

impl Reader {
    fn new(client: Client) -> Self {
        let (_, reached) = mpsc::channel(1);
        Self {
            client,
            call: None,
            steps: Vec::new(),
            reached,
        }
    }

    async fn step(&mut self, key: &str, database: &Arc<AtomicU64>) {
        if self.call.is_none() {
            self.observe(key, database).await;
        } else if let Some(go) = self.steps.pop() {
            let _ = go.send(());
            if self.steps.is_empty() {
                self.finish().await;
            } else {
                // It has read, or was done before.
                self.reached.recv().await;
            }
        }
    }

    /// The lock is for efficiency only: it is taken away, so that both load.
    async fn observe(&mut self, key: &str, database: &Arc<AtomicU64>) {
        self.client.delete(format!("{key}|#|nhl")).await.unwrap();
        let (reach, reached) = mpsc::channel(2);
        let (read, may_read) = oneshot::channel();
        let (fill, may_fill) = oneshot::channel();
        self.steps = vec![fill, read];
        self.reached = reached;
        let database = Arc::clone(database);
        let load = move |_| async move {
            reach.send(()).await?;
            may_read.await?;
            let version = database.load(Ordering::SeqCst);
            reach.send(()).await?;
            may_fill.await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Some(version))
        };
        let (client, key) = (self.client.clone(), key.to_owned());
        self.call = Some(tokio::spawn(async move {
            // Who holds nothing loads at once.
            let policy = Policy::fresh_for(Duration::from_secs(100)).wait(Duration::ZERO);
            client.get_or_refresh(key, &policy, load).await
        }));
        // Nothing comes from one that was served and dropped its loader.
        self.reached.recv().await;
    }

    async fn finish(&mut self) {
        if let Some(call) = &mut self.call {
            call.await.unwrap().unwrap();
        }
    }
}

/// Takes the steps in this order; whether what is cached in the end is outdated.
async fn is_stale(clients: &[Client], key: &str, order: &[Who], fleet: Fleet) -> bool {
    let database = Arc::new(AtomicU64::new(1));
    let client = clients.first().unwrap();
    if fleet.is_filled {
        client.set(key, &1u64, Ttl::secs(100)).await.unwrap();
        // What is there is about to be loaded anew.
        fleet.forget(client, key).await;
    }
    let mut committed = [false; 2];
    let mut readers: Vec<Reader> = clients.iter().cloned().map(Reader::new).collect();
    for who in order {
        match who {
            Who::Writer(number) => {
                let committed = committed.get_mut(*number).unwrap();
                if *committed {
                    fleet.forget(client, key).await;
                } else {
                    database.fetch_add(1, Ordering::SeqCst);
                    *committed = true;
                }
            }
            Who::Reader(number) => {
                let reader = readers.get_mut(*number).unwrap();
                reader.step(key, &database).await;
            }
        }
    }
    let item = client.get_item(key).await.unwrap();
    item.is_some_and(|item| {
        !item.is_stale && item.decode::<u64>().unwrap() != database.load(Ordering::SeqCst)
    })
}

/// What all clients do.
#[derive(Clone, Copy, Default)]
struct Fleet {
    mode: Invalidate,
    strategy: Strategy,
    /// Writers delete, as those of other languages do.
    deletes: bool,
    /// There is a value at first.
    is_filled: bool,
}

impl Fleet {
    async fn forget(self, client: &Client, key: &str) {
        if self.deletes {
            client.delete(key).await.unwrap();
        } else {
            let _ = client.invalidate(key).await.unwrap();
        }
    }
}

async fn stale_ends(mode: Invalidate, is_filled: bool) -> (usize, usize) {
    let fleet = Fleet {
        mode,
        is_filled,
        ..Fleet::default()
    };
    stale_ends_of(fleet).await
}

async fn stale_ends_of(fleet: Fleet) -> (usize, usize) {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = async || {
        let builder = builder(nuthatch.address()).invalidate(fleet.mode);
        builder.strategy(fleet.strategy).build().await.unwrap()
    };
    let clients = [client().await, client().await];
    let mut all: Vec<Vec<Who>> = [(1, 2), (2, 1)]
        .into_iter()
        .flat_map(|(writers, readers)| orders(writers, readers))
        .collect();
    assert_eq!(all.len(), 560 + 210);
    let mut more = orders(2, 2);
    fastrand::Rng::with_seed(7).shuffle(&mut more);
    all.extend(more.into_iter().take(1000));
    let mut stale = 0;
    for (number, order) in all.iter().enumerate() {
        let key = format!("k:{number}");
        stale += usize::from(is_stale(&clients, &key, order, fleet).await);
    }
    (stale, all.len())
}

#[tokio::test]
async fn a_tombstone_is_never_undone() {
    assert_eq!(stale_ends(Invalidate::Tombstone, false).await, (0, 1770));
    assert_eq!(stale_ends(Invalidate::Tombstone, true).await, (0, 1770));
}

#[tokio::test]
async fn a_mark_beside_the_entry_is_never_overlooked() {
    assert_eq!(stale_ends(Invalidate::Side, false).await, (0, 1770));
    assert_eq!(stale_ends(Invalidate::Side, true).await, (0, 1770));
}

#[tokio::test]
async fn what_was_marked_as_stale_is_never_replaced_by_what_is_older() {
    assert_eq!(stale_ends(Invalidate::Stale, false).await, (0, 1770));
}

#[tokio::test]
async fn with_leases_not_even_a_delete_is_undone() {
    for (deletes, is_filled) in [(true, false), (true, true), (false, false), (false, true)] {
        let fleet = Fleet {
            strategy: Strategy::Lease,
            deletes,
            is_filled,
            ..Fleet::default()
        };
        assert_eq!(stale_ends_of(fleet).await, (0, 1770));
    }
}
