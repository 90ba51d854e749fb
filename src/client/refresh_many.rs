//! [`Client::get_or_refresh`] for many keys, for lists of objects, and ahead of time.

use crate::client::Client;
use crate::join::join_all;
use crate::{Decode, Encode, Error, Fetched, LoadContext, Policy, Source, clock};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What ends an id where a list of them is kept.
const LINE_ENDS: [char; 2] = ['\n', '\r'];

/// How many entries are looked at or loaded at once.
pub const AT_ONCE_MAX: usize = 64;

impl Client {
    /// [`get_or_refresh`](Self::get_or_refresh) for many keys, [`AT_ONCE_MAX`] at a time: each key's result, in the order
    /// of the keys. `load` is called for each key that has to be loaded.
    ///
    /// # Cancel safety
    /// As [`get_or_refresh`](Self::get_or_refresh).
    pub async fn get_or_refresh_many<K, T, E, F, L>(
        &self,
        keys: &[K],
        policy: &Policy,
        load: F,
    ) -> Vec<Result<Fetched<T>, Error>>
    where
        K: AsRef<[u8]> + Clone + Send + 'static,
        T: Encode + Decode + Unpin + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: Fn(K, LoadContext) -> L + Clone + Send + 'static,
        L: Future<Output = Result<Option<T>, E>> + Send,
    {
        let mut all = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(AT_ONCE_MAX) {
            let fetched = chunk.iter().map(|key| {
                let (load, of) = (load.clone(), key.clone());
                self.get_or_refresh(key, policy, move |context| load(of, context))
            });
            all.extend(join_all(fetched).await);
        }
        all
    }

    /// A list of objects, as a page of search results: its ids are one entry, each object is one of its own, under
    /// `prefix` and its id. An object that has gone is left out.
    ///
    /// # Errors
    /// As [`get_or_refresh`](Self::get_or_refresh), of the list or of any object; [`Error::Load`] too for an id that is
    /// empty as text, or has a line end.
    ///
    /// # Cancel safety
    /// As [`get_or_refresh`](Self::get_or_refresh).
    pub async fn get_list<I, T, E, F, L, G, M>(
        &self,
        list: List<'_>,
        load_ids: F,
        load_object: G,
    ) -> Result<Fetched<Vec<T>>, Error>
    where
        I: Display + std::str::FromStr + Clone + Send + 'static,
        T: Encode + Decode + Unpin + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: FnOnce(LoadContext) -> L + Send + 'static,
        L: Future<Output = Result<Vec<I>, E>> + Send,
        G: Fn(I, LoadContext) -> M + Clone + Send + 'static,
        M: Future<Output = Result<Option<T>, E>> + Send,
    {
        let ids = self
            .get_or_refresh::<String, _, _, _>(list.key, list.policy, |context| async {
                let ids = load_ids(context).await.map_err(Into::into)?;
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                if ids.iter().any(|id| id.is_empty() || id.contains(LINE_ENDS)) {
                    return Err("an id is empty or has a line end, which no list can hold".into());
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Some(ids.join("\n")))
            })
            .await?;
        let (text, source) = (ids.value.unwrap_or_default(), ids.source);
        let ids: Vec<I> = text
            .lines()
            .map(|line| line.parse().ok())
            .collect::<Option<_>>()
            .ok_or_else(|| Error::codec("a list of ids of another kind"))?;
        let mut objects = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(AT_ONCE_MAX) {
            let fetched = chunk.iter().map(|id| {
                let (load, of) = (load_object.clone(), id.clone());
                let key = format!("{}{id}", list.prefix);
                self.get_or_refresh(key, list.policy, move |context| load(of, context))
            });
            for object in join_all(fetched).await {
                objects.extend(object?.value);
            }
        }
        Ok(Fetched {
            value: Some(objects),
            source,
        })
    }

    /// Keeps entries fresh, so that no caller ever waits for a load: looks at each of `keys` in every `interval`, at least
    /// 10 ms, [`AT_ONCE_MAX`] at a time, and loads what is missing or no longer fresh. An error is a warning in the log,
    /// and the next round tries again. Ends when what this returns is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn warmer<K, T, E, F, L>(
        &self,
        keys: Vec<K>,
        interval: Duration,
        policy: &Policy,
        load: F,
    ) -> Warmer
    where
        K: AsRef<[u8]> + Clone + Send + Sync + 'static,
        T: Encode + Decode + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
        F: Fn(K, LoadContext) -> L + Clone + Send + Sync + 'static,
        L: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let (client, policy) = (self.clone(), policy.clone());
        let interval = interval.max(INTERVAL_MIN);
        let task = tokio::spawn(async move {
            loop {
                let began = clock::now();
                let results: Vec<Result<Fetched<T>, Error>> = client
                    .get_or_refresh_many(&keys, &policy, load.clone())
                    .await;
                for error in results.into_iter().filter_map(Result::err) {
                    tracing::warn!(%error, "an entry could not be kept warm");
                }
                sleep(interval.saturating_sub(clock::now() - began)).await;
            }
        });
        Warmer(Arc::new(Abort(task)))
    }
}

/// Shortest time between two rounds of a [`Warmer`].
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The list of a [`Client::get_list`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct List<'a> {
    /// The key of the list of ids.
    pub key: &'a str,
    /// What the keys of the objects begin with.
    pub prefix: &'a str,
    /// For the list and the objects.
    pub policy: &'a Policy,
}

impl<'a> List<'a> {
    /// A list of ids under `key`, of objects under `prefix` and their ids.
    pub const fn new(key: &'a str, prefix: &'a str, policy: &'a Policy) -> Self {
        Self {
            key,
            prefix,
            policy,
        }
    }
}

impl<T> Fetched<T> {
    /// Whether it came from the cache and was right.
    pub fn is_fresh(&self) -> bool {
        self.source == Source::Fresh
    }
}

/// Keeps entries fresh until it, and all its clones, are dropped.
#[derive(Clone, Debug)]
pub struct Warmer(#[expect(dead_code, reason = "kept to be dropped")] Arc<Abort>);

#[derive(Debug)]
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}
