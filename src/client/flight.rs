//! [`Flight`]: one attempt of one process to make one entry fresh: the lock, the load, and the guarded fill.

use crate::client::Client;
use crate::codec::{Encoded, NOTHING, TOMBSTONE};
use crate::counters::Tally;
use crate::key::beside;
use crate::lock::{Lock, token};
use crate::op::{Op, Verb};
use crate::place::Place;
use crate::policy::LIFE_MIN;
use crate::refresh::{Landed, Loader, Seen};
use crate::reply::{Reply, Turn as WhoseTurn};
use crate::{Error, Invalidate, LoadContext, OnContention, Payload, Policy, Source, Strategy, Ttl};
use crate::{backoff, clock, meter};
use nuthatch_protocol::StorageMode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

/// The first wait for somebody else's load, and the longest between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_FIRST_MAX: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The longest that a lock that others hold is remembered.
const BUSY_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Flight {
    client: Client,
    pub(crate) place: Place,
    policy: Policy,
    /// The version that is to be replaced though it is fresh.
    outdated: Option<u64>,
}

/// What became of an attempt to take the lock.
enum Turn {
    /// It is ours.
    Won(Lock, Observed),
    /// Somebody else's.
    Lost(Observed),
    /// The node refuses to hold one.
    None(Observed),
}

/// What was seen, and from when on: the condition of a fill.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    seen: Seen,
    at: Instant,
    /// The mark of an earlier invalidation, where these lie beside the entry.
    side: Option<u64>,
}

impl Observed {
    /// The same, of a place that is kept now under this cas unique.
    fn leased(&self, cas: u64) -> Self {
        Self {
            seen: Seen::Leased(Some(cas)),
            ..self.clone()
        }
    }
}

impl Flight {
    pub(crate) fn new(
        client: &Client,
        place: Place,
        policy: &Policy,
        outdated: Option<u64>,
    ) -> Self {
        Self {
            client: client.clone(),
            place,
            policy: policy.clone(),
            outdated,
        }
    }

    pub(crate) async fn run(self, is_reachable: bool, load: Loader) -> Landed {
        if !is_reachable {
            return self.load_without_lock(None, load).await;
        }
        let give_up = clock::after(self.policy.wait_time());
        loop {
            let lost = match self.take_turn().await {
                Ok(Turn::Won(lock, observed)) => {
                    match self.usable(&observed.seen, Source::Shared) {
                        Some(landed) => {
                            lock.release().await;
                            return landed;
                        }
                        None => return self.load_with_lock(lock, observed, load).await,
                    }
                }
                Ok(Turn::Lost(observed)) => observed,
                Ok(Turn::None(observed)) => {
                    return self.load_without_lock(Some(observed), load).await;
                }
                Err(_) => return self.load_without_lock(None, load).await,
            };
            let served = self.usable(&lost.seen, Source::Shared);
            if let Some(landed) = served.or_else(|| self.stale(&lost.seen)) {
                self.note_busy();
                return landed;
            }
            match self.wait(give_up).await {
                Waited::Landed(landed) => return landed,
                Waited::LockGone => {}
                Waited::TooLong if self.policy.on_contention == OnContention::Error => {
                    return Err(Error::Contended);
                }
                Waited::TooLong => return self.load_without_lock(Some(lost), load).await,
            }
        }
    }

    /// Tries to take the lock, and looks at the entry again: somebody may just have filled it.
    async fn take_turn(&self) -> Result<Turn, Error> {
        let is_lease = self.client.inner().options.strategy == Strategy::Lease;
        if is_lease
            && self.place.node.dialect().is_meta()
            && let Some(turn) = self.take_lease().await?
        {
            return Ok(turn);
        }
        let at = clock::now();
        let (lock, op) = Lock::new(&self.place, token(), self.policy.lock_ttl);
        let mut ops = vec![op, self.place.op(Verb::Get)];
        ops.extend(self.side_op());
        let mut replies = self.place.node.call_many(ops).await?.into_iter();
        let (taken, entry) = (replies.next(), replies.next());
        let observed = Observed {
            seen: entry.map_or(Seen::Missing, |reply| Seen::of(reply, &self.policy)),
            at,
            side: replies.next().and_then(|reply| cas_of(&reply)),
        };
        Ok(match taken {
            Some(Reply::Done(cas)) => Turn::Won(lock.taken(cas), observed),
            Some(Reply::NotStored) => Turn::Lost(observed),
            _ => Turn::None(observed),
        })
    }

    /// Has the node choose who loads what is missing. `None` if something is there that is to be replaced: the server's
    /// choice of who does so is made once, and dies with who it is.
    ///
    /// A round trip of its own, though the look that every call begins with could keep the place too: a caller that is
    /// dropped, or times out, before it has the answer would leave a place that nobody fills, and all others would wait
    /// for it until the lock's time is over. Only a flight outlives its callers, and a task for each hit is too much for
    /// one round trip of each load; also, whoever was chosen would have to give the lease to a flight that is under way.
    async fn take_lease(&self) -> Result<Option<Turn>, Error> {
        let at = clock::now();
        let life = Ttl::after(self.policy.lock_ttl).exptime();
        let mut ops = vec![self.place.op(Verb::GetOrLease(life))];
        ops.extend(self.side_op());
        let mut replies = self.place.node.call_many(ops).await?.into_iter();
        let Some(Reply::Item(item)) = replies.next() else {
            return Ok(None);
        };
        let (turn, cas) = (item.turn, item.cas);
        let observed = Observed {
            seen: Seen::of(Reply::Item(item), &self.policy),
            at,
            side: replies.next().and_then(|reply| cas_of(&reply)),
        };
        Ok(match observed.seen {
            Seen::Leased(_) if turn == WhoseTurn::Own => {
                let lease = Lock::lease(&self.place, self.policy.lock_ttl, cas);
                Some(Turn::Won(lease, observed))
            }
            Seen::Leased(_) => Some(Turn::Lost(observed)),
            _ => None,
        })
    }

    /// Looks at the mark that an invalidation leaves beside the entry, if it does so.
    fn side_op(&self) -> Option<Op> {
        let is_side = self.client.inner().options.invalidate == Invalidate::Side;
        is_side.then(|| Op {
            key: beside(&self.place.key, crate::invalidate::SIDE),
            verb: Verb::Get,
        })
    }

    /// What can be served as it is.
    fn usable(&self, seen: &Seen, source: Source) -> Option<Landed> {
        match seen {
            Seen::Fresh(item) if self.outdated.is_none() || self.outdated != item.cas => {
                Some(self.landed(item, source))
            }
            Seen::Nothing(_) => Some(Ok((None, source))),
            Seen::Fresh(_)
            | Seen::Stale(_)
            | Seen::Missing
            | Seen::Leased(_)
            | Seen::Tombstone(_) => None,
        }
    }

    /// What is better than nothing.
    fn stale(&self, seen: &Seen) -> Option<Landed> {
        match seen {
            Seen::Fresh(item) | Seen::Stale(item) => Some(self.landed(item, Source::Stale)),
            Seen::Nothing(_) | Seen::Missing | Seen::Leased(_) | Seen::Tombstone(_) => None,
        }
    }

    fn landed(&self, item: &crate::reply::RawItem, source: Source) -> Landed {
        let payload = self.client.inner().decode(item.clone())?;
        Ok((Some(payload), source))
    }

    fn note_busy(&self) {
        let until = clock::after((self.policy.lock_ttl / 4).min(BUSY_MAX));
        let flights = &self.client.inner().flights;
        flights.note_busy(&self.place.key, until);
    }

    /// Looks now and then whether somebody else has finished, or given up.
    async fn wait(&self, give_up: Instant) -> Waited {
        let expected = self.policy.load_time().unwrap_or(PAUSE_FIRST_MAX) / 4;
        let first = expected.clamp(PAUSE_MIN, PAUSE_FIRST_MAX);
        let mut pause = first / 2 + backoff::jitter(first / 2);
        let lock = Op {
            key: Lock::key(&self.place),
            verb: Verb::Get,
        };
        loop {
            let left = give_up.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Waited::TooLong;
            }
            sleep(pause.min(left)).await;
            // "Decorrelated jitter": between the first pause and three times the last.
            pause = (first + backoff::jitter(pause.saturating_mul(3))).min(PAUSE_MAX);
            let ops = vec![self.place.op(Verb::Get), lock.clone()];
            let Ok(replies) = self.place.node.call_many(ops).await else {
                // It may have gone down; taking the lock will tell.
                return Waited::LockGone;
            };
            let mut replies = replies.into_iter();
            let entry = replies.next().unwrap_or(Reply::Miss);
            let seen = Seen::of(entry, &self.policy);
            let served = self.usable(&seen, Source::Shared);
            if let Some(landed) = served.or_else(|| self.stale(&seen)) {
                return Waited::Landed(landed);
            }
            let is_locked = matches!(replies.next(), Some(Reply::Item(_)));
            if !is_locked && !matches!(seen, Seen::Leased(_)) {
                return Waited::LockGone;
            }
        }
    }

    async fn load_with_lock(self, lock: Lock, observed: Observed, load: Loader) -> Landed {
        let done = Notify::new();
        let lock_lost = lock.lost_flag();
        // Both end by themselves: a renewal under way is waited for, so that its lock can be released.
        let (loaded, ()) = tokio::join!(
            async {
                let loaded = self.load(lock_lost, load).await;
                done.notify_one();
                loaded
            },
            lock.keep(&done)
        );
        match loaded {
            Ok(payload) => {
                self.store(&observed, payload.as_ref(), Some(lock)).await;
                Ok((payload, Source::Loaded))
            }
            Err(error) => {
                // Others leave the loader alone until the lock is gone.
                lock.shorten(self.policy.error_backoff).await;
                self.stale(&observed.seen).unwrap_or(Err(error))
            }
        }
    }

    /// With a bound on how many do so at once.
    async fn load_without_lock(self, observed: Option<Observed>, load: Loader) -> Landed {
        let permits = &self.client.inner().local_loads;
        let Ok(Ok(_permit)) = timeout(self.policy.load_deadline, permits.acquire()).await else {
            return Err(Error::Contended);
        };
        self.client.inner().tally.local_loads.one();
        match self.load(Arc::new(AtomicBool::new(true)), load).await {
            Ok(payload) => {
                if let Some(observed) = observed {
                    self.store(&observed, payload.as_ref(), None).await;
                }
                Ok((payload, Source::Local))
            }
            Err(error) => Err(error),
        }
    }

    async fn load(
        &self,
        lock_lost: Arc<AtomicBool>,
        load: Loader,
    ) -> Result<Option<Payload>, Error> {
        let tally = &self.client.inner().tally;
        tally.loads.one();
        let began = clock::now();
        let patience = self.policy.load_deadline;
        let context = LoadContext::new(clock::after(patience), lock_lost);
        let span = tracing::debug_span!("load", node = %self.place.node.label());
        let late = |_| {
            let why = format!("it took longer than {patience:?}");
            Err(Error::Load(Arc::from(Box::from(why))))
        };
        let loaded = timeout(patience, load(context)).instrument(span).await;
        let loaded = loaded.unwrap_or_else(late).inspect_err(|error| {
            if matches!(error, Error::Load(_)) {
                tally.load_errors.one();
            }
        })?;
        let took = clock::now() - began;
        self.policy.note_load(took);
        meter::loaded(took);
        Ok(loaded)
    }

    /// The op that stores what was loaded, on condition that nothing has changed since the entry was seen; `None` if
    /// there is none that can be sure of it.
    fn fill(&self, observed: &Observed, payload: Option<&Payload>) -> Option<Op> {
        let options = &self.client.inner().options;
        let (encoded, life) = match (payload, self.policy.negative_ttl) {
            (Some(payload), _) => {
                // A server that cannot tell how long an item has left cannot tell that it is stale.
                let grace = if self.place.node.dialect().is_meta() {
                    self.policy.grace
                } else {
                    Duration::ZERO
                };
                let encoded = options.codec.encode(payload.clone(), options.compress_min);
                (encoded, self.policy.fresh.saturating_add(grace))
            }
            (None, Some(ttl)) => (Encoded::mark(NOTHING), ttl),
            // Nothing is to be remembered, but what is there is no longer true.
            (None, None) if matches!(observed.seen, Seen::Leased(_)) => return None,
            (None, None) if observed.seen.cas().is_some() => {
                (Encoded::mark(TOMBSTONE), options.tombstone)
            }
            (None, None) => return None,
        };
        let age = clock::now() - observed.at;
        let mode = if let Some(cas) = observed.seen.cas() {
            // What takes a tombstone's place must stop the same adds, for as long.
            if life < observed.seen.guards_for(options.tombstone) {
                return None;
            }
            StorageMode::Cas(cas)
        } else if age + LIFE_MIN < options.tombstone {
            StorageMode::Add
        } else {
            // A tombstone written since would stop an add, but it may be over.
            return None;
        };
        let store = encoded.store(mode, Ttl::after(life).exptime());
        Some(self.place.op(Verb::Store(store)))
    }

    /// Fills and releases. Whatever goes wrong, the value has been loaded, and the lock ends by itself.
    async fn store(&self, observed: &Observed, payload: Option<&Payload>, lock: Option<Lock>) {
        let _change = self.client.inner().change(&self.place.key);
        let mut ops = Vec::new();
        let lease = lock.as_ref().filter(|lock| lock.is_lease());
        let fill = match lease {
            // It has changed with each renewal.
            Some(lease) => match lease.current_cas().await {
                Some(cas) => self.fill(&observed.leased(cas), payload),
                None => None,
            },
            None => self.fill(observed, payload),
        };
        if let Some(fill) = fill {
            ops.push(fill);
            ops.extend(self.side_op());
        }
        let (is_fill, checks_side) = (!ops.is_empty(), ops.len() > 1);
        // Of a lease too: it does nothing to what was stored in its place, and a node may refuse to store.
        let release = lock.as_ref().and_then(Lock::release_op);
        // Where that takes a question first.
        let release_later = lock.filter(|_| release.is_none());
        ops.extend(release);
        let tally = &self.client.inner().tally;
        if !is_fill && payload.is_some() {
            tally.fills_refused.one();
        }
        if !ops.is_empty()
            && let Ok(replies) = self.place.node.call_many(ops).await
            && is_fill
            && count_fill(tally, &replies)
            && checks_side
            && let [Reply::Done(filled), side @ Reply::Item(_), ..] = replies.as_slice()
            && cas_of(side) != observed.side
        {
            // Invalidated while it was loaded: either this sees the mark, or the writer's delete comes after the fill.
            let verb = filled.map_or(Verb::Delete, Verb::DeleteCas);
            let _ = self.place.call(verb).await;
        }
        if let Some(lock) = release_later {
            lock.release().await;
        }
    }
}

/// Whether it was stored.
fn count_fill(tally: &Tally, replies: &[Reply]) -> bool {
    let is_stored = matches!(replies.first(), Some(Reply::Done(_)));
    let count = if is_stored {
        &tally.fills
    } else {
        &tally.fills_refused
    };
    count.one();
    is_stored
}

const fn cas_of(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::Item(item) => item.cas,
        _ => None,
    }
}

/// How a wait for somebody else ended.
enum Waited {
    Landed(Landed),
    LockGone,
    TooLong,
}
