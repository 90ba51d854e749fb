//! [`Client::get_or_refresh`]: a value from the cache, loaded by one caller of one process when it is not there or no
//! longer fresh.
//!
//! The lock is for efficiency: it is a key on the entry's node, taken by `add`, and its cas unique is what renews and
//! releases it. The condition of the fill is for correctness: a loaded value is stored only over what was seen before
//! the load began (`flight.rs`, `invalidate.rs`).

use crate::client::Client;
use crate::codec::{LEASE, NOTHING, TOMBSTONE};
use crate::flight::Flight;
use crate::op::{Verb, WireKey};
use crate::place::Place;
use crate::reply::{RawItem, Reply};
use crate::{Decode, Encode, Error, Payload, Policy, TimeLeft, clock, meter};
use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most keys whose lock is remembered as taken.
const BUSY_MAX: usize = 4096;

/// A value, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched<T> {
    /// The value; `None` if the loader found that there is none.
    pub value: Option<T>,
    /// Where it came from.
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The cache.
    Fresh,
    /// The cache; somebody is loading it anew.
    Stale,
    /// This call's loader.
    Loaded,
    /// Somebody else's loader, which this call waited for.
    Shared,
    /// A loader that ran without the lock: the node cannot be asked, or somebody else did not finish in time.
    Local,
}

/// What a loader may want to know.
#[derive(Clone, Debug)]
pub struct LoadContext {
    deadline: Instant,
    lock_lost: Arc<AtomicBool>,
}

impl LoadContext {
    pub(crate) const fn new(deadline: Instant, lock_lost: Arc<AtomicBool>) -> Self {
        Self {
            deadline,
            lock_lost,
        }
    }

    /// When the load is given up.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether somebody else may be loading the same value by now.
    pub fn lock_lost(&self) -> bool {
        self.lock_lost.load(Ordering::Relaxed)
    }
}

/// What a node said of an entry.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Missing,
    /// Somebody is loading it, and keeps its place.
    Leased(Option<u64>),
    Tombstone(RawItem),
    /// The note that there is nothing.
    Nothing(Option<u64>),
    Fresh(RawItem),
    Stale(RawItem),
}

impl Seen {
    pub(crate) fn of(reply: Reply, policy: &Policy) -> Self {
        let Reply::Item(item) = reply else {
            return Self::Missing;
        };
        match (item.client_flags, item.time_left) {
            // Of one that was invalidated meanwhile, nobody keeps the place any more.
            _ if is_place(&item) && item.stale => Self::Tombstone(item),
            _ if is_place(&item) => Self::Leased(item.cas),
            (TOMBSTONE, _) => Self::Tombstone(item),
            (NOTHING, _) => Self::Nothing(item.cas),
            (_, TimeLeft::Seconds(left)) if policy.is_past_fresh(left) => Self::Stale(item),
            _ if item.stale => Self::Stale(item),
            _ => Self::Fresh(item),
        }
    }

    pub(crate) const fn cas(&self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Nothing(cas) | Self::Leased(cas) => *cas,
            Self::Tombstone(item) | Self::Fresh(item) | Self::Stale(item) => item.cas,
        }
    }

    /// How long the mark of an invalidation still has to stop those who load what is outdated, if it is one.
    pub(crate) fn guards_for(&self, tombstone: Duration) -> Duration {
        match self {
            Self::Tombstone(item) | Self::Stale(item)
                if item.stale || item.client_flags == TOMBSTONE =>
            {
                match item.time_left {
                    TimeLeft::Seconds(left) => Duration::from_secs(u64::from(left)),
                    TimeLeft::Unknown | TimeLeft::Forever => tombstone,
                }
            }
            _ => Duration::ZERO,
        }
    }
}

/// Whether an item only keeps the place of a value that somebody is loading.
fn is_place(item: &RawItem) -> bool {
    item.is_place() || item.client_flags == LEASE
}

/// How a flight ended.
pub(crate) type Landed = Result<(Option<Payload>, Source), Error>;

/// What makes a value, once its types are forgotten.
pub(crate) type Loader = Box<dyn FnOnce(LoadContext) -> Loading + Send>;

type Loading = Pin<Box<dyn Future<Output = Result<Option<Payload>, Error>> + Send>>;

fn loader<T, E, F, L>(load: F) -> Loader
where
    T: Encode + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: FnOnce(LoadContext) -> L + Send + 'static,
    L: Future<Output = Result<Option<T>, E>> + Send,
{
    Box::new(|context| {
        Box::pin(async move {
            let loaded = load(context).await;
            let loaded = loaded.map_err(|error| Error::Load(error.into().into()))?;
            loaded.map(|value| value.encode()).transpose()
        })
    })
}

/// The flights of a client: one for each key that is being loaded, however many callers wait for it.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    flying: HashMap<WireKey, watch::Receiver<Option<Landed>>>,
    /// Until when others are known to hold a key's lock.
    busy: HashMap<WireKey, Instant>,
}

impl Flights {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_busy(&self, key: &WireKey, until: Instant) {
        let mut book = self.book();
        if book.busy.len() >= BUSY_MAX {
            book.busy.clear();
        }
        book.busy.insert(key.clone(), until);
    }

    fn is_busy(&self, key: &WireKey) -> bool {
        let mut book = self.book();
        let is_busy = book
            .busy
            .get(key)
            .is_some_and(|until| *until > clock::now());
        if !is_busy {
            book.busy.remove(key);
        }
        is_busy
    }
}

/// Ends a flight however it ends, be it by a panic of the loader.
struct Landing {
    client: Client,
    key: WireKey,
    sender: watch::Sender<Option<Landed>>,
}

impl Landing {
    fn land(self, landed: Landed) {
        self.client.inner().flights.book().flying.remove(&self.key);
        self.sender.send_replace(Some(landed));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            self.client.inner().flights.book().flying.remove(&self.key);
            let why = Arc::from(Box::from("the loader panicked"));
            self.sender.send_replace(Some(Err(Error::Load(why))));
        }
    }
}

impl Client {
    /// The value of a key. If it is not there, or no longer fresh, `load` makes it: in one caller of one process of the
    /// fleet, while the others wait, or are served what is there if the policy has a grace. The load goes on if this
    /// call is dropped.
    ///
    /// A loaded value is not stored if the entry was invalidated or changed after the load began; callers get it all
    /// the same. `load` may find that there is no value: `None`.
    ///
    /// Against servers without meta commands, nothing is served stale: they do not say how long an item has left.
    ///
    /// # Errors
    /// [`Error::Load`] with the loader's error, [`Error::Contended`] if the policy says so, [`Error::Codec`] if what is
    /// stored is no `T`, [`Error::Config`] for a policy that cannot be, [`Error::Key`]. That a node is down is no error:
    /// the value is loaded then.
    ///
    /// # Cancel safety
    /// Others who wait for the same load are not affected.
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
        let fetched = self.fetch(key.as_ref(), policy, || loader(load)).await;
        let fetched = fetched.and_then(|(payload, source)| {
            let value = payload.map(T::decode).transpose()?;
            Ok(Fetched { value, source })
        });
        meter::refreshed(&fetched);
        fetched
    }

    /// The same, of a value that is no `T` yet.
    async fn fetch(&self, key: &[u8], policy: &Policy, load: impl FnOnce() -> Loader) -> Landed {
        policy.check(self.inner().options.tombstone)?;
        let mut place = self.inner().place(key)?;
        let near = self.inner().near.as_ref();
        let tally = &self.inner().tally;
        if let Some(item) = near.and_then(|near| near.get(&place.key))
            && let Seen::Fresh(item) = Seen::of(Reply::Item(item), policy)
        {
            tally.hits.one();
            return Ok((Some(self.inner().decode(item)?), Source::Fresh));
        }
        let asked = near.map(|near| (near, near.ticket()));
        let mut policy = Cow::Borrowed(policy);
        let reply = self.first_look(&mut place, &mut policy).await?;
        let is_reachable = reply.is_some();
        match reply.map_or(Seen::Missing, |reply| Seen::of(reply, &policy)) {
            Seen::Fresh(item) => {
                tally.hits.one();
                if let Some((near, ticket)) = asked {
                    near.keep(&place.key, &item, ticket);
                }
                if let TimeLeft::Seconds(left) = item.time_left
                    && policy.is_early(left)
                {
                    self.refresh_behind(place, &policy, item.cas, load);
                }
                Ok((Some(self.inner().decode(item)?), Source::Fresh))
            }
            Seen::Stale(item) => {
                tally.stale.one();
                self.refresh_behind(place, &policy, None, load);
                Ok((Some(self.inner().decode(item)?), Source::Stale))
            }
            Seen::Nothing(_) => {
                tally.hits.one();
                Ok((None, Source::Fresh))
            }
            Seen::Missing | Seen::Leased(_) | Seen::Tombstone(_) => {
                tally.misses.add(u64::from(is_reachable));
                let flight = Flight::new(self, place, &policy, None);
                self.fly(flight, is_reachable, load).await
            }
        }
    }

    /// What there is; `None` if nobody can be asked. All that follows happens in the gutter if the entry's node is down:
    /// the lock, the fill, and what they look at.
    async fn first_look(
        &self,
        place: &mut Place,
        policy: &mut Cow<'_, Policy>,
    ) -> Result<Option<Reply>, Error> {
        let mut reply = place.node.call(place.op(Verb::Get)).await;
        if let Err(Error::Unavailable { .. }) = reply
            && let Some((there, life_max)) = place.detour()
        {
            place.node.count_detour();
            *policy = Cow::Owned(policy.at_most(life_max));
            *place = there;
            reply = place.node.call(place.op(Verb::Get)).await;
        }
        match reply {
            Ok(reply) => Ok(Some(reply)),
            // A proxy says so of a node that is down.
            Err(Error::Unavailable { .. } | Error::Timeout { .. } | Error::Server { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Refreshes without anybody waiting for it.
    fn refresh_behind(
        &self,
        place: Place,
        policy: &Policy,
        cas: Option<u64>,
        load: impl FnOnce() -> Loader,
    ) {
        if !self.inner().flights.is_busy(&place.key) {
            self.board(Flight::new(self, place, policy, cas), true, load);
        }
    }

    async fn fly(
        &self,
        flight: Flight,
        is_reachable: bool,
        load: impl FnOnce() -> Loader,
    ) -> Landed {
        let (mut landed, is_own) = self.board(flight, is_reachable, load);
        let landed = match landed.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            Err(_) => None,
        };
        let (payload, source) = landed.unwrap_or(Err(Error::Closed))?;
        let source = match source {
            Source::Loaded | Source::Local if !is_own => Source::Shared,
            source => source,
        };
        Ok((payload, source))
    }

    /// Joins the flight of this key, or starts one; whether it is this call's own.
    fn board(
        &self,
        flight: Flight,
        is_reachable: bool,
        load: impl FnOnce() -> Loader,
    ) -> (watch::Receiver<Option<Landed>>, bool) {
        let key = flight.place.key.clone();
        let (sender, receiver) = watch::channel(None);
        {
            let mut book = self.inner().flights.book();
            if let Some(flying) = book.flying.get(&key) {
                return (flying.clone(), false);
            }
            book.flying.insert(key.clone(), receiver.clone());
        }
        let landing = Landing {
            client: self.clone(),
            key,
            sender,
        };
        let load = load();
        tokio::spawn(async move {
            let landed = flight.run(is_reachable, load).await;
            landing.land(landed);
        });
        (receiver, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyPolicy;

    #[test]
    fn as_many_busy_locks_are_remembered_as_there_may_be() {
        let flights = Flights::default();
        let key = |number: usize| {
            KeyPolicy::Hash
                .wire_key(format!("k:{number}").as_bytes())
                .unwrap()
        };
        let until = clock::now() + Duration::from_mins(1);
        for number in 0..BUSY_MAX {
            flights.note_busy(&key(number), until);
        }
        assert!((0..BUSY_MAX).all(|number| flights.is_busy(&key(number))));
        // One more, and all others are forgotten: somebody tries once too often.
        flights.note_busy(&key(BUSY_MAX), until);
        assert!(flights.is_busy(&key(BUSY_MAX)) && !flights.is_busy(&key(0)));
        assert_eq!(flights.book().busy.len(), 1);
        // What is over is not remembered.
        flights.note_busy(&key(0), clock::now());
        assert!(!flights.is_busy(&key(0)));
        assert_eq!(flights.book().busy.len(), 1);
    }
}
