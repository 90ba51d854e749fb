//! [`Scoped`]: keys of one kind, all forgotten at once by a new version. Flag keys: [`Client::flag`].

use crate::client::Client;
use crate::op::Verb;
use crate::reply::hit;
use crate::{Decode, Encode, Error, Fetched, Invalidated, LoadContext, Policy, Ttl, clock};

/// Where the version of a [`Scoped`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// A key in the cache, asked for before each call: one question more, and
    /// [`invalidate_all`](Scoped::invalidate_all) forgets everything at once.
    Key,
    /// This number, which changes with the program: for a new shape of the values.
    Fixed(u64),
}

/// A part of the keys, under a name: `name:version:key`.
#[derive(Clone, Debug)]
pub struct Scoped {
    client: Client,
    name: String,
    version: Version,
}

impl Client {
    /// The keys under this name.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let daemon = protocol_tests::nuthatch::Nuthatch::start(&[])?;
    /// # let address = daemon.address().to_string();
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use nuthatch_client::{Client, Ttl, Version};
    ///
    /// let client = Client::builder().node(address).build().await?;
    /// let users = client.namespace("user", Version::Key);
    /// users.set("1", "Ada", Ttl::secs(60)).await?;
    /// assert_eq!(users.get::<String>("1").await?.as_deref(), Some("Ada"));
    /// users.invalidate_all().await?;
    /// assert_eq!(users.get::<String>("1").await?, None);
    /// # Ok::<(), nuthatch_client::Error>(())
    /// # })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn namespace(&self, name: impl Into<String>, version: Version) -> Scoped {
        Scoped {
            client: self.clone(),
            name: name.into(),
            version,
        }
    }

    /// Remembers something for a while, as that a user has just written and shall read from the primary database.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// It may be remembered, or not.
    pub async fn flag(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<(), Error> {
        self.set(key, &true, ttl).await
    }

    /// Whether it is remembered. A node that is down remembers nothing, unless [`OnDown`](crate::OnDown) says otherwise.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn is_flagged(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.get::<bytes::Bytes>(key).await?.is_some())
    }
}

impl Scoped {
    /// The key as all see it.
    ///
    /// # Errors
    /// As [`Client::set`], of the key that holds the version. A node that is down is an error: a version that was made
    /// up would find what has been forgotten.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn key(&self, key: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let version = match self.version {
            Version::Fixed(version) => version,
            Version::Key => self.current_version().await?,
        };
        let prefix = format!("{}:{version}:", self.name);
        Ok([prefix.as_bytes(), key.as_ref()].concat())
    }

    fn version_key(&self) -> String {
        format!("{}:version", self.name)
    }

    /// One that was evicted comes back as the time, and so never as one that was there before.
    async fn current_version(&self) -> Result<u64, Error> {
        let key = self.version_key();
        for _ in 0..crate::UPDATES_MAX {
            let place = self.client.inner().place(key.as_bytes())?;
            if let Some(item) = hit(place.node.call(place.op(Verb::Get)).await?) {
                return u64::decode(self.client.inner().decode(item)?);
            }
            let now = new_version();
            if self.client.add(&key, &now, Ttl::NEVER).await? {
                return Ok(now);
            }
        }
        Err(Error::Conflict(crate::UPDATES_MAX))
    }

    /// Forgets everything under this name: nothing is deleted, but nothing that is there is found any more.
    ///
    /// # Errors
    /// [`Error::Config`] if the version is fixed; else as [`Client::set`]. Without success, everything is as it was.
    ///
    /// # Cancel safety
    /// It may be done, or not.
    pub async fn invalidate_all(&self) -> Result<(), Error> {
        if self.version != Version::Key {
            return Err(Error::config(
                "a fixed version changes with the program; use Version::Key",
            ));
        }
        let key = self.version_key();
        if self.client.incr(&key, 1).await?.is_none() {
            // Whoever adds one at this moment adds one that nobody has used.
            self.client.add(&key, &new_version(), Ttl::NEVER).await?;
        }
        Ok(())
    }

    /// See [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`] and [`key`](Self::key).
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub async fn get<T: Decode>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        self.client.get(self.key(key).await?).await
    }

    /// See [`Client::set`].
    ///
    /// # Errors
    /// As [`Client::set`] and [`key`](Self::key).
    ///
    /// # Cancel safety
    /// As [`Client::set`].
    pub async fn set<T: Encode + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Ttl,
    ) -> Result<(), Error> {
        self.client.set(self.key(key).await?, value, ttl).await
    }

    /// See [`Client::delete`].
    ///
    /// # Errors
    /// As [`Client::delete`] and [`key`](Self::key).
    ///
    /// # Cancel safety
    /// As [`Client::delete`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.client.delete(self.key(key).await?).await
    }

    /// See [`Client::invalidate`].
    ///
    /// # Errors
    /// As [`Client::invalidate`] and [`key`](Self::key).
    ///
    /// # Cancel safety
    /// As [`Client::invalidate`].
    pub async fn invalidate(&self, key: impl AsRef<[u8]>) -> Result<Invalidated, Error> {
        self.client.invalidate(self.key(key).await?).await
    }

    /// See [`Client::get_or_refresh`].
    ///
    /// # Errors
    /// As [`Client::get_or_refresh`] and [`key`](Self::key).
    ///
    /// # Cancel safety
    /// As [`Client::get_or_refresh`].
    pub async fn get_or_refresh<T, E, F, L>(
        &self,
        key: impl AsRef<[u8]>,
        policy: &Policy,
        load: F,
    ) -> Result<Fetched<T>, Error>
    where
        T: Encode + Decode + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: FnOnce(LoadContext) -> L + Send + 'static,
        L: Future<Output = Result<Option<T>, E>> + Send,
    {
        let key = self.key(key).await?;
        self.client.get_or_refresh(key, policy, load).await
    }
}

/// The time in microseconds: larger than any version before it, were it raised a million times a second.
fn new_version() -> u64 {
    u64::try_from(clock::unix_time().as_micros()).unwrap_or(u64::MAX)
}
