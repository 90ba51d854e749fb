//! [`Namespaces`]: the namespaces that are told apart, how their keys are asked for, and which ones they are: those that
//! are used most.
//!
//! The store counts items, bytes, what is stored, counted and evicted, exactly: each record has the number of its
//! namespace. Requests are counted by the threads that answer them, on cache lines of their own; a hit knows its
//! namespace from the record, and only where there is none the key is looked at.
//!
//! Names are told from their first store on until there are too many ([`Names`]). Then a name that is used much more than
//! one that is told takes its place, as a sample of the requests says ([`Usage`]): the one that leaves is no longer looked
//! up, the one that joins gets a number that no item has, and the store gives all items the numbers that their keys have
//! now (`Store::renumber`). When it has, the new name is told ([`Accounts`]): from the first moment with all its items, so
//! that it can be flushed.

use crate::insight::NamespaceRow;
use crate::insight::accounts::{Accounts, Counts};
use crate::insight::hot_keys::Sampler as HotKeySampler;
use crate::insight::names::{COUNT, Names};
use crate::insight::recent::Recent;
use crate::insight::requests::Sums;
use crate::insight::rules::{OTHER, Rules};
use crate::insight::usage::Usage;
use nuthatch_store::{NamespaceId, Store, Time};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names that join at a time: all items are looked through for them.
const EXCHANGES_MAX: usize = 4;

/// If so many names have left that all spare numbers are still on items, these are looked through again after so long.
const RETRY_MILLIS: u64 = 60_000;

/// What has been counted of namespaces.
pub(crate) struct Source<'a> {
    pub(crate) store: &'a Store,
    /// By all threads.
    pub(crate) requests: &'a dyn Fn() -> Sums,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Source<'_> {
    fn counts(&self) -> Counts {
        Counts {
            stored: self.store.namespaces(),
            requests: (self.requests)(),
        }
    }
}

/// Who is told apart.
#[derive(Debug)]
pub(crate) struct Namespaces {
    names: Names,
    /// Locked before the shards of the store, and never under their locks.
    state: Mutex<State>,
    /// How often numbers have begun to stand for something else, or have been told as that; the lowest bit is set while
    /// it is being done.
    revision: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    accounts: Accounts,
    usage: Usage,
    recent: Recent,
    /// When items were last looked through.
    settled_millis: u64,
}

impl Namespaces {
    /// `None` if they are off.
    pub(crate) fn new(rules: &Rules) -> Option<Self> {
        (!rules.is_off()).then(|| Self {
            names: Names::new(rules),
            state: Mutex::default(),
            revision: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a key; 0 if its namespace is not told apart.
    pub(crate) fn find(&self, key: &[u8]) -> NamespaceId {
        self.names.find(key)
    }

    /// All that are told, what is not at the end.
    pub(crate) fn rows(&self, source: &Source<'_>) -> Vec<NamespaceRow> {
        let state = self.lock();
        state.accounts.rows(&self.names, &source.counts())
    }

    /// Lets all counters begin at 0, with those of the store.
    pub(crate) fn reset(&self, source: &Source<'_>) {
        let mut state = self.lock();
        source.store.reset_counters();
        state.accounts.reset(&source.counts());
    }

    /// Flushes what is told by this name; returns whether there is one. Its numbers stand for nothing else meanwhile.
    pub(crate) fn flush(&self, name: &[u8], store: &Store, now: Time) -> bool {
        let state = self.lock();
        if name == OTHER.as_bytes() {
            store.flush_namespaces(&state.accounts.other(), now);
            return true;
        }
        let is_named = |id: &NamespaceId| {
            let known = self.names.name_of(*id);
            known.is_some_and(|known| known.as_bytes() == name)
        };
        let id = state.accounts.told(&self.names).find(is_named);
        if let Some(id) = id {
            store.flush_namespaces(&[id], now);
        }
        id.is_some()
    }

    /// Changes whenever a number stands for something else.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Whether items are being looked through for names that join and leave.
    pub(crate) fn is_exchanging(&self) -> bool {
        self.revision() % 2 == 1
    }

    /// Looks at what threads have sampled since the last time.
    pub(crate) fn note<'a>(&self, threads: impl IntoIterator<Item = &'a HotKeySampler>) {
        let state = &mut *self.lock();
        for thread in threads {
            thread.take_recent(&mut state.recent);
            let weight = state.recent.weight();
            for key in state.recent.keys() {
                if let Some(name) = self.names.name(key) {
                    state.usage.add(&name, weight);
                }
            }
        }
    }

    /// Goes on with exchanges of names. New ones begin only if they may: while a snapshot comes back, what has been
    /// flushed since it was written is known by the numbers.
    ///
    /// To be called about once in a second, by one thread.
    pub(crate) fn exchange(&self, source: &Source<'_>, now: Time, may_begin: bool) {
        let state = &mut *self.lock();
        state.usage.age(now);
        if self.is_exchanging() {
            if source.store.is_renumbered() {
                state.accounts.settle(&source.counts());
                state.settled_millis = now.as_millis();
                self.revision.fetch_add(1, Ordering::Release);
            }
        } else if may_begin && self.names.is_full() {
            self.begin(state, source, now);
        }
    }

    fn begin(&self, state: &mut State, source: &Source<'_>, now: Time) {
        if state.accounts.has_leaving() {
            state.accounts.clear(&source.counts());
        }
        let told = state.accounts.told(&self.names);
        let told = told.filter(|id| !self.names.is_fixed(*id));
        let told = told.filter_map(|id| Some((id, self.names.name_of(id)?)));
        let is_told = |name: &_| self.names.number(name).is_some();
        let exchanges = state
            .usage
            .exchanges(told.collect(), is_told, EXCHANGES_MAX);
        let free = state.accounts.free();
        let passed = now.as_millis().saturating_sub(state.settled_millis);
        if exchanges.is_empty() || free.is_empty() && passed < RETRY_MILLIS {
            return;
        }
        // Before the first request can be counted for a name that joins, and all that are for one that leaves.
        let counts = source.counts();
        let mut leaving = Vec::new();
        let mut joining = Vec::new();
        for (exchange, joins) in exchanges.into_iter().zip(free) {
            state.accounts.leave(exchange.leaves, &counts);
            state.accounts.join(joins, &counts);
            leaving.push(exchange.leaves);
            joining.push((joins, exchange.joins));
        }
        self.names.exchange(&leaving, &joining);
        self.revision.fetch_add(1, Ordering::Release);
        // After the names: see there.
        let fresh: Vec<_> = joining.iter().map(|(id, _)| *id).collect();
        source.store.renumber(&fresh);
    }

    /// Memory that it takes besides what the store and the threads have.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            .saturating_add(Usage::BYTES_MAX)
            .saturating_add(self.lock().recent.bytes())
    }
}

impl nuthatch_store::Namespaces for Namespaces {
    fn count(&self) -> usize {
        COUNT
    }

    fn of(&self, key: &[u8]) -> NamespaceId {
        self.names.of(key)
    }
}

#[cfg(test)]
mod tests;
