//! A client for programs without a runtime: the same calls, each of which blocks until it is done.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let daemon = protocol_tests::nuthatch::Nuthatch::start(&[])?;
//! # let address = daemon.address().to_string();
//! use nuthatch_client::{Ttl, blocking};
//!
//! let client = blocking::Client::connect(nuthatch_client::Client::builder().node(address))?;
//! client.set("greeting", "hello", Ttl::secs(60))?;
//! assert_eq!(client.get::<String>("greeting")?.as_deref(), Some("hello"));
//! # Ok(())
//! # }
//! ```

use crate::{
    Builder, Cas, CasOutcome, Decode, Encode, Error, Fetched, Invalidated, Item, LoadContext, Many,
    PerNode, Policy, Ttl,
};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use tokio::runtime::{self, Runtime};

/// A client whose calls block. Cheap to clone; clones share everything, and may be used by many threads at once.
///
/// Its connections are served by one thread of their own.
///
/// # Panics
/// Each call does, and the drop of the last clone, in asynchronous code: it would block the runtime that runs it. There,
/// use [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

impl Client {
    /// A client with these settings.
    ///
    /// # Errors
    /// [`Error::Config`] says which setting cannot be, or why there can be no thread.
    pub fn connect(builder: Builder) -> Result<Self, Error> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("nuthatch-client")
            .enable_all()
            .build()
            .map_err(|error| Error::config(format!("no thread for connections: {error}")))?;
        let client = runtime.block_on(builder.build())?;
        Ok(Self {
            client,
            runtime: Arc::new(runtime),
        })
    }

    /// See [`crate::Client::get`].
    ///
    /// # Errors
    /// The same.
    pub fn get<T: Decode>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        self.wait(self.client.get(key))
    }

    /// See [`crate::Client::get_item`].
    ///
    /// # Errors
    /// The same.
    pub fn get_item(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, Error> {
        self.wait(self.client.get_item(key))
    }

    /// See [`crate::Client::get_and_touch`].
    ///
    /// # Errors
    /// The same.
    pub fn get_and_touch<T: Decode>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Ttl,
    ) -> Result<Option<T>, Error> {
        self.wait(self.client.get_and_touch(key, ttl))
    }

    /// See [`crate::Client::get_many`].
    pub fn get_many<K, T>(&self, keys: &[K]) -> Many<K, T>
    where
        K: AsRef<[u8]> + Clone + Eq + Hash,
        T: Decode,
    {
        self.wait(self.client.get_many(keys))
    }

    /// See [`crate::Client::set_many`].
    pub fn set_many<K, T>(&self, entries: &[(K, T)], ttl: Ttl) -> HashMap<K, Error>
    where
        K: AsRef<[u8]> + Clone + Eq + Hash,
        T: Encode,
    {
        self.wait(self.client.set_many(entries, ttl))
    }

    /// See [`crate::Client::set`].
    ///
    /// # Errors
    /// The same.
    pub fn set<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<(), Error> {
        self.wait(self.client.set(key, value, ttl))
    }

    /// See [`crate::Client::add`].
    ///
    /// # Errors
    /// The same.
    pub fn add<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<bool, Error> {
        self.wait(self.client.add(key, value, ttl))
    }

    /// See [`crate::Client::replace`].
    ///
    /// # Errors
    /// The same.
    pub fn replace<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<bool, Error> {
        self.wait(self.client.replace(key, value, ttl))
    }

    /// See [`crate::Client::append`].
    ///
    /// # Errors
    /// The same.
    pub fn append(&self, key: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.wait(self.client.append(key, bytes))
    }

    /// See [`crate::Client::prepend`].
    ///
    /// # Errors
    /// The same.
    pub fn prepend(&self, key: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.wait(self.client.prepend(key, bytes))
    }

    /// See [`crate::Client::cas`].
    ///
    /// # Errors
    /// The same.
    pub fn cas<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
        cas: Cas,
    ) -> Result<CasOutcome, Error> {
        self.wait(self.client.cas(key, value, ttl, cas))
    }

    /// See [`crate::Client::update`].
    ///
    /// # Errors
    /// The same.
    pub fn update<T: Encode + Decode>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Ttl,
        change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.wait(self.client.update(key, ttl, change))
    }

    /// See [`crate::Client::incr`].
    ///
    /// # Errors
    /// The same.
    pub fn incr(&self, key: impl AsRef<[u8]>, by: u64) -> Result<Option<u64>, Error> {
        self.wait(self.client.incr(key, by))
    }

    /// See [`crate::Client::decr`].
    ///
    /// # Errors
    /// The same.
    pub fn decr(&self, key: impl AsRef<[u8]>, by: u64) -> Result<Option<u64>, Error> {
        self.wait(self.client.decr(key, by))
    }

    /// See [`crate::Client::incr_or_init`].
    ///
    /// # Errors
    /// The same.
    pub fn incr_or_init(
        &self,
        key: impl AsRef<[u8]>,
        by: u64,
        ttl: Ttl,
        init: impl Fn() -> u64,
    ) -> Result<u64, Error> {
        self.wait(self.client.incr_or_init(key, by, ttl, async || init()))
    }

    /// See [`crate::Client::touch`].
    ///
    /// # Errors
    /// The same.
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<bool, Error> {
        self.wait(self.client.touch(key, ttl))
    }

    /// See [`crate::Client::delete`].
    ///
    /// # Errors
    /// The same.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.wait(self.client.delete(key))
    }

    /// See [`crate::Client::invalidate`].
    ///
    /// # Errors
    /// The same.
    pub fn invalidate(&self, key: impl AsRef<[u8]>) -> Result<Invalidated, Error> {
        self.wait(self.client.invalidate(key))
    }

    /// See [`crate::Client::get_or_refresh`]. The loader runs on a thread for blocking work.
    ///
    /// # Errors
    /// The same.
    pub fn get_or_refresh<T, E, F>(
        &self,
        key: impl AsRef<[u8]>,
        policy: &Policy,
        load: F,
    ) -> Result<Fetched<T>, Error>
    where
        T: Encode + Decode + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: FnOnce(LoadContext) -> Result<Option<T>, E> + Send + 'static,
    {
        let load = |context| async move {
            let loaded = tokio::task::spawn_blocking(|| load(context).map_err(Into::into));
            loaded.await.unwrap_or_else(|panicked| Err(panicked.into()))
        };
        self.wait(self.client.get_or_refresh(key, policy, load))
    }

    /// See [`crate::Client::flush_all`].
    pub fn flush_all(&self) -> PerNode<()> {
        self.wait(self.client.flush_all())
    }

    /// See [`crate::Client::versions`].
    pub fn versions(&self) -> PerNode<String> {
        self.wait(self.client.versions())
    }

    /// See [`crate::Client::invalidate_many`].
    ///
    /// # Errors
    /// The same.
    pub fn invalidate_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Invalidated, Error> {
        self.wait(self.client.invalidate_many(keys))
    }

    /// See [`crate::Client::flag`].
    ///
    /// # Errors
    /// The same.
    pub fn flag(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<(), Error> {
        self.wait(self.client.flag(key, ttl))
    }

    /// See [`crate::Client::is_flagged`].
    ///
    /// # Errors
    /// The same.
    pub fn is_flagged(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.wait(self.client.is_flagged(key))
    }

    /// See [`crate::Client::stats`].
    pub fn stats(&self, kind: &str) -> PerNode<BTreeMap<String, String>> {
        self.wait(self.client.stats(kind))
    }

    /// The client whose calls these are: for what does not wait, and, with [`wait`](Self::wait), for namespaces, lists
    /// and warmers.
    pub const fn client(&self) -> &crate::Client {
        &self.client
    }

    /// Blocks until this is done, on the client's own runtime.
    pub fn wait<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }
}
