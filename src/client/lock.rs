//! [`Lock`]: a key beside an entry, on the entry's node, held by who added it. Its cas unique is the holder's token:
//! nobody renews or releases a lock that has become another's.

use crate::codec::LEASE;
use crate::key::beside;
use crate::op::{Op, Store, Verb, WireKey};
use crate::place::Place;
use crate::reply::Reply;
use crate::ttl::Ttl;
use bytes::Bytes;
use nuthatch_protocol::StorageMode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// What a lock's key ends with.
const SUFFIX: &str = "nhl";

/// Sixteen random bytes, and who it is, for people.
pub(crate) fn token() -> Bytes {
    let token = fastrand::u128(..);
    Bytes::from(format!("{token:032x} pid {}", std::process::id()))
}

pub(crate) struct Lock {
    place: Place,
    key: WireKey,
    client_flags: u32,
    token: Bytes,
    ttl: Duration,
    /// Of the lock as it is now. `None`: not known, as after an `add` in the classic dialect.
    cas: Mutex<Option<u64>>,
    lost: Arc<AtomicBool>,
    is_held: AtomicBool,
}

impl Lock {
    pub(crate) fn key(place: &Place) -> WireKey {
        beside(&place.key, SUFFIX)
    }

    /// A lock that is not held yet, and the op that takes it.
    pub(crate) fn new(place: &Place, token: Bytes, ttl: Duration) -> (Self, Op) {
        let lock = Self::at(place, Self::key(place), token, ttl);
        let op = lock.store(StorageMode::Add, ttl);
        (lock, op)
    }

    /// The place that the server keeps for the holder: the entry itself.
    pub(crate) fn lease(place: &Place, ttl: Duration, cas: Option<u64>) -> Self {
        let mut lease = Self::at(place, place.key.clone(), token(), ttl);
        lease.client_flags = LEASE;
        lease.taken(cas)
    }

    fn at(place: &Place, key: WireKey, token: Bytes, ttl: Duration) -> Self {
        Self {
            place: place.clone(),
            key,
            client_flags: 0,
            token,
            ttl,
            cas: Mutex::new(None),
            lost: Arc::default(),
            is_held: AtomicBool::new(false),
        }
    }

    /// Whether what is loaded takes its place.
    pub(crate) const fn is_lease(&self) -> bool {
        self.client_flags == LEASE
    }

    /// The same lock, held.
    pub(crate) fn taken(self, cas: Option<u64>) -> Self {
        self.set_cas(cas);
        self.is_held.store(true, Ordering::Relaxed);
        self
    }

    pub(crate) fn lost_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.lost)
    }

    fn store(&self, mode: StorageMode, ttl: Duration) -> Op {
        Op {
            key: self.key.clone(),
            verb: Verb::Store(Store {
                mode,
                client_flags: self.client_flags,
                exptime: Ttl::after(ttl).exptime(),
                value: self.token.clone(),
            }),
        }
    }

    fn cas(&self) -> Option<u64> {
        *self.cas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_cas(&self, cas: Option<u64>) {
        *self.cas.lock().unwrap_or_else(PoisonError::into_inner) = cas;
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        self.is_held.store(false, Ordering::Relaxed);
    }

    /// Renews it every third of its life until `done`, or until it is another's.
    pub(crate) async fn keep(&self, done: &Notify) {
        loop {
            tokio::select! {
                biased;
                () = done.notified() => return,
                () = sleep(self.ttl / 3) => {}
            }
            if !self.store_again(self.ttl).await {
                return;
            }
        }
    }

    /// Ends in `ttl` and not before, unless it is another's.
    pub(crate) async fn shorten(self, ttl: Duration) {
        self.store_again(ttl).await;
        self.is_held.store(false, Ordering::Relaxed);
    }

    /// Whether it is still ours, as far as is known.
    async fn store_again(&self, ttl: Duration) -> bool {
        let Some(cas) = self.current_cas().await else {
            return !self.lost.load(Ordering::Relaxed);
        };
        let op = self.store(StorageMode::Cas(cas), ttl);
        match self.place.node.call(op).await {
            Ok(Reply::Done(cas)) => self.set_cas(cas),
            Ok(_) => {
                self.lose();
                return false;
            }
            // Not known: the next renewal will tell, if there is time for one.
            Err(_) => self.set_cas(None),
        }
        true
    }

    /// What it is now, asked if it is not known; `None` if it cannot be known or is another's.
    pub(crate) async fn current_cas(&self) -> Option<u64> {
        if !self.is_held.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(cas) = self.cas() {
            return Some(cas);
        }
        let get = Op {
            key: self.key.clone(),
            verb: Verb::Get,
        };
        match self.place.node.call(get).await {
            Ok(Reply::Item(item)) if item.value == self.token => item.cas,
            Ok(_) => {
                self.lose();
                None
            }
            Err(_) => None,
        }
    }

    /// The op that releases it, if that is known without asking.
    pub(crate) fn release_op(&self) -> Option<Op> {
        if !self.place.node.dialect().is_meta() || !self.is_held.load(Ordering::Relaxed) {
            return None;
        }
        let cas = self.cas()?;
        self.is_held.store(false, Ordering::Relaxed);
        Some(self.delete(cas))
    }

    fn delete(&self, cas: u64) -> Op {
        Op {
            key: self.key.clone(),
            verb: Verb::DeleteCas(cas),
        }
    }

    /// Releases it if it is still ours; else it ends by itself.
    pub(crate) async fn release(self) {
        if let Some(cas) = self.current_cas().await {
            self.is_held.store(false, Ordering::Relaxed);
            let _ = self.place.node.call(self.delete(cas)).await;
        }
        self.is_held.store(false, Ordering::Relaxed);
    }
}

/// Of a loader that panicked.
impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_held.load(Ordering::Relaxed)
            && let Some(cas) = self.cas()
        {
            self.place.node.send_and_forget(self.delete(cas));
        }
    }
}
