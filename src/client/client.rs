//! [`Client`]: one method for each command about one key.

use crate::builder::{Builder, Options};
use crate::codec::Encoded;
use crate::counters::Tally;
use crate::near::{Change, Near};
use crate::node::Settings;
use crate::op::{Verb, WireKey};
use crate::place::Place;
use crate::refresh::Flights;
use crate::reply::{RawItem, Reply, hit};
use crate::topology::Topology;
use crate::{Decode, Encode, Error, NodeAddress, Payload, TimeLeft, Ttl};
use arc_swap::ArcSwap;
use nuthatch_protocol::{ArithmeticOp, StorageMode};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// A client for a fleet of cache nodes. Cheap to clone; clones share everything.
///
/// # Cancel safety
/// Every call may be dropped at any time: no other call ever receives its reply. A change that was under way may be
/// carried out all the same, or not.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) topology: ArcSwap<Topology>,
    /// Held by who replaces the topology.
    changing: Mutex<()>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) options: Options,
    pub(crate) flights: Flights,
    pub(crate) local_loads: Semaphore,
    pub(crate) near: Option<Near>,
    pub(crate) tally: Tally,
}

/// What a read of a node that is down comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDown {
    /// A miss: the application goes on as with an empty cache.
    #[default]
    Miss,
    /// [`Error::Unavailable`].
    Error,
}

/// An item's cas unique: which version of it this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cas(pub(crate) u64);

/// An item, with what the server knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// The value.
    pub payload: Payload,
    /// As they were stored.
    pub client_flags: u32,
    /// For [`Client::cas`].
    pub cas: Option<Cas>,
    /// How long it has left.
    pub time_left: TimeLeft,
    /// It has been marked as stale.
    pub is_stale: bool,
}

impl Item {
    /// The value as a `T`.
    ///
    /// # Errors
    /// [`Error::Codec`] if it is none.
    pub fn decode<T: Decode>(self) -> Result<T, Error> {
        T::decode(self.payload)
    }
}

/// What became of a [`Client::cas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum CasOutcome {
    /// It was stored.
    Stored,
    /// Somebody stored something else since.
    Changed,
    /// The item is gone.
    Gone,
}

impl From<Inner> for Client {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl Inner {
    pub(crate) fn new(
        topology: Topology,
        settings: Arc<Settings>,
        options: Options,
        near: Option<Near>,
    ) -> Self {
        Self {
            topology: ArcSwap::from_pointee(topology),
            changing: Mutex::default(),
            settings,
            flights: Flights::default(),
            local_loads: Semaphore::new(options.local_loads_max),
            options,
            near,
            tally: Tally::default(),
        }
    }

    /// Whoever holds this is about to change the item of a key.
    pub(crate) fn change(&self, key: &WireKey) -> Option<Change<'_>> {
        self.near.as_ref().map(|near| near.change(key))
    }

    pub(crate) fn set_nodes(&self, nodes: Vec<NodeAddress>) -> Result<(), Error> {
        self.replace_topology(|before| before.with_nodes(nodes, &self.settings))
    }

    /// Others who are about to replace it wait.
    pub(crate) fn replace_topology(
        &self,
        make: impl FnOnce(&Topology) -> Result<Topology, Error>,
    ) -> Result<(), Error> {
        let turn = self.changing.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let after = make(&self.topology.load())?;
        self.topology.store(Arc::new(after));
        Ok(())
    }

    /// The key as it travels, and the bytes that the ring looks at.
    pub(crate) fn wire_key(&self, key: &[u8]) -> Result<(WireKey, Vec<u8>), Error> {
        let options = &self.options;
        if options.prefix.is_empty() {
            let wire = options.key_policy.wire_key(key)?;
            return Ok((wire, key.to_vec()));
        }
        let whole = [options.prefix.as_bytes(), key].concat();
        let wire = options.key_policy.wire_key(&whole)?;
        let hashed = if options.hash_prefix {
            whole
        } else {
            key.to_vec()
        };
        Ok((wire, hashed))
    }

    pub(crate) fn place(&self, key: &[u8]) -> Result<Place, Error> {
        let topology = self.topology.load();
        let options = &self.options;
        let place = if options.prefix.is_empty() {
            topology.place(options.key_policy.wire_key(key)?, key)
        } else {
            let (wire, hashed) = self.wire_key(key)?;
            topology.place(wire, &hashed)
        };
        place.ok_or(Error::Closed)
    }

    pub(crate) fn encode<T: Encode + ?Sized>(&self, value: &T) -> Result<Encoded, Error> {
        let options = &self.options;
        let encoded = options.codec.encode(value.encode()?, options.compress_min);
        let (len, max) = (encoded.value.len(), options.value_len_max);
        if len > max {
            return Err(Error::TooLarge { len, max });
        }
        Ok(encoded)
    }

    pub(crate) fn decode(&self, item: RawItem) -> Result<Payload, Error> {
        let encoded = Encoded {
            client_flags: item.client_flags,
            value: item.value,
        };
        let options = &self.options;
        options.codec.decode(encoded, options.value_len_max)
    }
}

impl Client {
    /// Settings for a client.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// The value of a key; a miss is `None`.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::Codec`] are the caller's; a node that is down is a miss, unless
    /// [`OnDown`] says otherwise; [`Error::Timeout`] and [`Error::Server`] may pass.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn get<T: Decode>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        match self.look_up(key.as_ref(), Verb::Get).await? {
            Some(item) => T::decode(self.0.decode(item)?).map(Some),
            None => Ok(None),
        }
    }

    /// The same with all that the server knows of the item.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn get_item(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, Error> {
        let found = self.look_up(key.as_ref(), Verb::Get).await?;
        found.map(|item| self.item(item)).transpose()
    }

    /// The value of a key, which lives for `ttl` from now on.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// The item may have its new lifetime, or not.
    pub async fn get_and_touch<T: Decode>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Ttl,
    ) -> Result<Option<T>, Error> {
        let verb = Verb::GetAndTouch(ttl.exptime());
        match self.look_up(key.as_ref(), verb).await? {
            Some(item) => T::decode(self.0.decode(item)?).map(Some),
            None => Ok(None),
        }
    }

    async fn look_up(&self, key: &[u8], verb: Verb) -> Result<Option<RawItem>, Error> {
        let place = self.0.place(key)?;
        let near = self.0.near.as_ref();
        let near = near.filter(|_| matches!(verb, Verb::Get));
        if let Some(item) = near.and_then(|near| near.get(&place.key)) {
            self.0.tally.hits.one();
            return Ok(Some(item));
        }
        let asked = near.map(|near| (near, near.ticket()));
        match place.call(verb).await {
            Ok(reply) => {
                let found = hit(reply);
                let tally = &self.0.tally;
                found.as_ref().map_or(&tally.misses, |_| &tally.hits).one();
                if let (Some(item), Some((near, ticket))) = (&found, asked) {
                    near.keep(&place.key, item, ticket);
                }
                Ok(found)
            }
            Err(Error::Unavailable { .. }) if self.0.options.on_down == OnDown::Miss => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs an op that may change something.
    pub(crate) async fn change(&self, key: &[u8], verb: Verb) -> Result<Reply, Error> {
        let place = self.0.place(key)?;
        let _change = (!verb.is_read()).then(|| self.0.change(&place.key));
        place.call(verb).await
    }

    pub(crate) fn item(&self, item: RawItem) -> Result<Item, Error> {
        Ok(Item {
            client_flags: item.client_flags,
            cas: item.cas.map(Cas),
            time_left: item.time_left,
            is_stale: item.stale,
            payload: self.0.decode(item)?,
        })
    }

    /// Stores a value, whatever is there.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::Codec`] and [`Error::TooLarge`] are the caller's, and nothing was sent;
    /// [`Error::Unavailable`]: nothing was stored; [`Error::Ambiguous`] and [`Error::Timeout`]: it may have been.
    ///
    /// # Cancel safety
    /// The value may be stored, or not.
    pub async fn set<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<(), Error> {
        let stored = self.store(key.as_ref(), StorageMode::Set, value, ttl);
        stored.await.map(|_| ())
    }

    /// Stores a value if nothing is there; whether it did.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// As [`set`](Self::set).
    pub async fn add<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<bool, Error> {
        let stored = self.store(key.as_ref(), StorageMode::Add, value, ttl);
        Ok(stored.await? == CasOutcome::Stored)
    }

    /// Stores a value if something is there; whether it did.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// As [`set`](Self::set).
    pub async fn replace<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<bool, Error> {
        let stored = self.store(key.as_ref(), StorageMode::Replace, value, ttl);
        Ok(stored.await? == CasOutcome::Stored)
    }

    /// Puts bytes behind a value; whether there was one. Its lifetime stays. A value that was stored compressed cannot be
    /// read any more after that: let values that grow be stored by a client whose
    /// [`compress_min`](crate::Builder::compress_min) is above their length.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// As [`set`](Self::set).
    pub async fn append(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.extend(key.as_ref(), StorageMode::Append, bytes.as_ref())
            .await
    }

    /// Puts bytes before a value; whether there was one. Its lifetime stays. Not for values that were stored compressed; see
    /// [`append`](Self::append).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// As [`set`](Self::set).
    pub async fn prepend(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.extend(key.as_ref(), StorageMode::Prepend, bytes.as_ref())
            .await
    }

    /// As they are: no flags are written, and what was compressed here could not be read behind what is there.
    async fn extend(&self, key: &[u8], mode: StorageMode, bytes: &[u8]) -> Result<bool, Error> {
        let encoded = Encoded {
            client_flags: 0,
            value: bytes::Bytes::copy_from_slice(bytes),
        };
        let verb = Verb::Store(encoded.store(mode, Ttl::NEVER.exptime()));
        let reply = self.change(key, verb).await?;
        Ok(matches!(reply, Reply::Done(_)))
    }

    /// Stores a value if the item is still the one that was read.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// As [`set`](Self::set).
    pub async fn cas<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
        cas: Cas,
    ) -> Result<CasOutcome, Error> {
        self.store(key.as_ref(), StorageMode::Cas(cas.0), value, ttl)
            .await
    }

    pub(crate) async fn store<T: Encode + ?Sized>(
        &self,
        key: &[u8],
        mode: StorageMode,
        value: &T,
        ttl: Ttl,
    ) -> Result<CasOutcome, Error> {
        let place = self.0.place(key)?;
        self.store_at(&place, mode, value, ttl).await
    }

    pub(crate) async fn store_at<T: Encode + ?Sized>(
        &self,
        place: &Place,
        mode: StorageMode,
        value: &T,
        ttl: Ttl,
    ) -> Result<CasOutcome, Error> {
        let store = self.0.encode(value)?.store(mode, ttl.exptime());
        let _change = self.0.change(&place.key);
        let reply = place.call(Verb::Store(store)).await?;
        Ok(match reply {
            Reply::Done(_) => CasOutcome::Stored,
            Reply::NotFound => CasOutcome::Gone,
            _ => CasOutcome::Changed,
        })
    }

    /// Adds to a number, wrapping at 2^64; the new number, or `None` if nothing is there.
    ///
    /// # Errors
    /// [`Error::Server`] if what is there is no number; else as [`set`](Self::set).
    ///
    /// # Cancel safety
    /// The number may have changed, or not.
    pub async fn incr(&self, key: impl AsRef<[u8]>, by: u64) -> Result<Option<u64>, Error> {
        self.arithmetic(key.as_ref(), ArithmeticOp::Incr, by).await
    }

    /// Takes from a number, stopping at 0; the new number, or `None` if nothing is there.
    ///
    /// # Errors
    /// As [`incr`](Self::incr).
    ///
    /// # Cancel safety
    /// As [`incr`](Self::incr).
    pub async fn decr(&self, key: impl AsRef<[u8]>, by: u64) -> Result<Option<u64>, Error> {
        self.arithmetic(key.as_ref(), ArithmeticOp::Decr, by).await
    }

    async fn arithmetic(
        &self,
        key: &[u8],
        op: ArithmeticOp,
        by: u64,
    ) -> Result<Option<u64>, Error> {
        let reply = self.change(key, Verb::Arithmetic(op, by)).await?;
        Ok(match reply {
            Reply::Number(number) => Some(number),
            _ => None,
        })
    }

    /// Gives an item a new lifetime; whether there is one.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// The item may have its new lifetime, or not.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<bool, Error> {
        let verb = Verb::Touch(ttl.exptime());
        let reply = self.change(key.as_ref(), verb).await?;
        Ok(matches!(reply, Reply::Done(_)))
    }

    /// Deletes an item; whether there was one. Of what is loaded from a database, use
    /// [`invalidate`](Self::invalidate): a delete does not stop who is about to store the old value, and
    /// takes away the mark of an invalidation that does.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// The item may be gone, or not.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let reply = self.change(key.as_ref(), Verb::Delete).await?;
        Ok(matches!(reply, Reply::Done(_)))
    }
}
