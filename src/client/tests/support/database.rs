//! A database to load from, and calls that do.

use super::server::until;
use nuthatch_client::{Client, Error, Fetched, Policy, Source};
use protocol_tests::nuthatch::Nuthatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Fresh for ten seconds, and served for a hundred more.
pub(crate) fn policy() -> Policy {
    Policy::fresh_for(10 * SECOND)
        .grace(100 * SECOND)
        .wait(20 * SECOND)
}

/// A database that counts how often it is asked, and answers when it is let.
#[derive(Clone)]
pub(crate) struct Database {
    value: &'static str,
    loads: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Database {
    pub(crate) fn new(value: &'static str) -> Self {
        Self {
            value,
            loads: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    /// One that answers only after [`open`](Self::open).
    pub(crate) fn closed(value: &'static str) -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            ..Self::new(value)
        }
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(1_000_000);
    }

    pub(crate) async fn load(self) -> Result<Option<String>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        Ok(Some(self.value.to_owned()))
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    pub(crate) async fn wait_for_loads(&self, count: usize) {
        until(async || self.loads() >= count).await;
    }
}

pub(crate) async fn fetch_by(
    client: &Client,
    policy: &Policy,
    database: &Database,
) -> Result<Fetched<String>, Error> {
    let database = database.clone();
    client
        .get_or_refresh("k", policy, |_| database.load())
        .await
}

pub(crate) async fn fetch(client: &Client, database: &Database) -> (Option<String>, Source) {
    let fetched = fetch_by(client, &policy(), database).await.unwrap();
    (fetched.value, fetched.source)
}

/// Of two clients, one loads anew what is stale, and all are served what was there.
pub(crate) async fn one_refreshes(nuthatch: &Nuthatch, clients: &[Client; 2]) {
    fetch(&clients[0], &Database::new("old")).await;
    nuthatch.clock().advance(10 * SECOND);
    let new = Database::closed("new");
    for client in clients.iter().cycle().take(20) {
        assert_eq!(fetch(client, &new).await, (value("old"), Source::Stale));
    }
    new.wait_for_loads(1).await;
    new.open();
    wait_for(&clients[1], "new").await;
    assert_eq!(new.loads(), 1);
}

/// As `get` and loaders give it.
#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with what may be nothing"
)]
pub(crate) fn value(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Waits until the value has been replaced, which nobody does who is waited for.
pub(crate) async fn wait_for(client: &Client, text: &str) {
    until(async || client.get::<String>("k").await.unwrap().as_deref() == Some(text)).await;
}
