//! Request x store x now -> reply: no I/O, no clock, nothing remembered but counts.

use crate::clock::Now;
use crate::config::Settings;
use crate::counters::{Count, Counters};
use crate::insight::{Event as Asked, Namespaces};
use crate::output::Output;
use crate::prefix_stats::Event;
use crate::storing::Storing;
use crate::watch::{Streams, Watch};
use nuthatch_protocol::{
    Arithmetic, ArithmeticOp, Delete, ErrorReply, Exptime, FlushAll, FlushNamespace, Key,
    KeyBuffer, Lifetime, Response, Retrieve, Storage, StorageMode, Touch, ValueHeader,
};
use nuthatch_store::{
    Arithmetic as ArithmeticOutcome, Departure, Expiry, Fetch, Hit, Lookup, Miss, NewItem,
    NewValue, Store, StoreOutcome, Time,
};
use std::time::Duration;

/// What every command works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a Store,
    pub(crate) counters: &'a Counters,
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    pub(crate) watch: Watch<'a>,
    pub(crate) namespaces: Option<&'a Namespaces>,
}

impl Context<'_> {
    /// Begins to fetch the items that have these keys, each with whether it will be written: how much of it is not known.
    pub(crate) fn prefetch<'k>(&self, keys: impl Iterator<Item = (&'k [u8], bool)>) {
        let ahead = |(key, writes): (_, bool)| self.store.ahead(key, writes.then_some(0));
        self.store.prefetch(keys.map(ahead));
    }

    /// Looks up one key of a retrieval; a hit goes to `out`, which must have room for it.
    pub(crate) fn retrieve(&self, request: &Retrieve<'_>, key: Key<'_>, out: &mut Output) {
        let mut namespace = 0;
        let visit = |hit: Hit<'_>| {
            let value_len = hit.value.as_slice().len();
            let mut header = ValueHeader::new(key, hit.client_flags, value_len as u64);
            header.cas = request.with_cas.then(|| self.shown_cas(hit.cas));
            out.put_hit(header, hit.value);
            namespace = hit.namespace;
            value_len
        };
        let now = self.now.time;
        let (lookup, hits, misses) = match request.exptime {
            None => {
                self.counters.increment(Count::CmdGet);
                (
                    self.store.get(key.as_bytes(), now, visit),
                    Count::GetHits,
                    Count::GetMisses,
                )
            }
            Some(exptime) => {
                self.counters.increment(Count::CmdTouch);
                let expiry = self.expiry(exptime);
                let lookup = self.store.get_and_touch(key.as_bytes(), expiry, now, visit);
                (lookup, Count::TouchHits, Count::TouchMisses)
            }
        };
        let (event, found) = match lookup {
            Lookup::Hit(value_len) => {
                self.counters.increment(hits);
                self.counters.namespaces.count(namespace, Asked::GetHit);
                (Event::Hit, Ok(value_len))
            }
            Lookup::Miss(miss) => {
                self.count_miss(misses, miss, key.as_bytes());
                self.count_asked(key.as_bytes(), Asked::GetMiss);
                (Event::Miss, Err(miss))
            }
        };
        let bytes = found.unwrap_or_default();
        self.counters.hot_keys.note(key.as_bytes(), bytes);
        self.count_prefix(key.as_bytes(), event);
        self.watch.fetched(key.as_bytes(), found, self.now);
    }

    /// Counts a request in the namespace of its key.
    pub(crate) fn count_asked(&self, key: &[u8], asked: Asked) {
        let namespace = self.namespaces.map_or(0, |known| known.find(key));
        self.counters.namespaces.count(namespace, asked);
    }

    fn count_prefix(&self, key: &[u8], event: Event) {
        let prefixes = &self.watch.observers.prefixes;
        if prefixes.is_on() {
            prefixes.count(key, event);
        }
    }

    pub(crate) fn count_miss(&self, misses: Count, miss: Miss, key: &[u8]) {
        self.counters.increment(misses);
        match miss {
            Miss::Absent => self.count_departure(key),
            Miss::Expired => self.counters.increment(Count::GetExpired),
            Miss::Flushed => self.counters.increment(Count::GetFlushed),
        }
    }

    fn count_departure(&self, key: &[u8]) {
        let count = match self.store.departure(key) {
            None | Some(Departure::Dead(Miss::Absent)) => return,
            Some(Departure::Evicted) => Count::MissEvicted,
            Some(Departure::Deleted) => Count::MissDeleted,
            Some(Departure::Dead(Miss::Expired)) => Count::MissExpired,
            Some(Departure::Dead(Miss::Flushed)) => Count::MissFlushed,
        };
        self.counters.increment(count);
    }

    /// A storage command whose value has arrived.
    pub(crate) fn store(&self, request: &Storing<'_>, value: NewValue<'_>, out: &mut Output) {
        match request {
            Storing::Classic(request) => {
                let response = self.store_classic(request, value);
                if !request.noreply {
                    out.put(&response);
                }
            }
            Storing::Meta(request) => self.meta_store(request, value, out),
        }
    }

    fn store_classic(&self, request: &Storage<'_>, value: NewValue<'_>) -> Response<'static> {
        let (key, now) = (request.key.as_bytes(), self.now.time);
        let item = |value| NewItem {
            client_flags: request.client_flags,
            expiry: self.expiry(request.exptime),
            value,
        };
        self.counters.increment(Count::CmdSet);
        self.count_prefix(key, Event::Set);
        self.counters.hot_keys.note(key, value.as_slice().len());
        let outcome = match request.mode {
            StorageMode::Set => self.store.set(key, item(value), now),
            StorageMode::Add => self.store.add(key, item(value), now),
            StorageMode::Replace => self.store.replace(key, item(value), now),
            StorageMode::Append => self.store.append(key, value.as_slice(), now),
            StorageMode::Prepend => self.store.prepend(key, value.as_slice(), now),
            StorageMode::Cas(unique) => {
                let unique = self.compared_cas(unique);
                let outcome = self.store.cas(key, item(value), unique, now);
                self.count_cas(outcome);
                outcome
            }
            // Non-exhaustive: no other mode is ever decoded.
            _ => return Response::Error(ErrorReply::UNKNOWN_COMMAND),
        };
        let told = (request.exptime, request.value_len);
        self.tell_stored(key, outcome, request.mode.word(), told);
        match outcome {
            StoreOutcome::Stored { .. } => Response::Stored,
            StoreOutcome::NotStored => Response::NotStored,
            StoreOutcome::Exists => Response::Exists,
            StoreOutcome::NotFound => Response::NotFound,
            // What grew too large is left as it was, and memcached does not say why.
            StoreOutcome::TooLarge | StoreOutcome::NoMemory if is_growth(request.mode) => {
                Response::NotStored
            }
            StoreOutcome::TooLarge => self.too_large(),
            StoreOutcome::NoMemory => self.no_memory(),
        }
    }

    /// Tells who watches of a storage command, with exptime and length of the value.
    pub(crate) fn tell_stored(
        &self,
        key: &[u8],
        outcome: StoreOutcome,
        command: &str,
        (exptime, value_len): (Exptime, u64),
    ) {
        if self.watch.observers.watchers.want(Streams::MUTATIONS) {
            let status = match outcome {
                StoreOutcome::Stored { .. } => "stored",
                StoreOutcome::NotStored => "not_stored",
                StoreOutcome::Exists => "exists",
                StoreOutcome::NotFound => "not_found",
                StoreOutcome::TooLarge => "too_large",
                StoreOutcome::NoMemory => "no_memory",
            };
            let expiry = self.expiry(exptime);
            self.watch
                .stored(key, (status, command), (expiry, value_len), self.now);
        }
    }

    /// The length of the value of an item that is about to be deleted, if anybody watches.
    pub(crate) fn watched_len(&self, key: &[u8]) -> Option<usize> {
        if !self.watch.observers.watchers.want(Streams::DELETIONS) {
            return None;
        }
        let unnoticed = Fetch {
            unnoticed: true,
            ..Fetch::default()
        };
        let len = |hit: Hit<'_>, _| hit.value.as_slice().len();
        match self.store.fetch(key, &unnoticed, self.now.time, len) {
            Lookup::Hit(len) => Some(len),
            Lookup::Miss(_) => None,
        }
    }

    /// The cas unique that clients see.
    pub(crate) const fn shown_cas(&self, cas: u64) -> u64 {
        if self.settings.cas { cas } else { 0 }
    }

    /// The cas unique to compare with: none matches if there shall be none.
    pub(crate) const fn compared_cas(&self, unique: u64) -> u64 {
        if self.settings.cas { unique } else { u64::MAX }
    }

    pub(crate) fn count_cas(&self, outcome: StoreOutcome) {
        match outcome {
            StoreOutcome::Stored { .. } => self.counters.increment(Count::CasHits),
            StoreOutcome::Exists => self.counters.increment(Count::CasBadval),
            StoreOutcome::NotFound => self.counters.increment(Count::CasMisses),
            StoreOutcome::NotStored | StoreOutcome::TooLarge | StoreOutcome::NoMemory => {}
        }
    }

    /// Whether the announced item may be stored; if not, what to answer once its value is skipped.
    pub(crate) fn admit(&self, request: &Storing<'_>) -> Result<(), Response<'static>> {
        let value_len = usize::try_from(request.value_len()).unwrap_or(usize::MAX);
        let mut buffer = KeyBuffer::default();
        let key = request.key_bytes(&mut buffer);
        if self
            .store
            .fits(key.len(), request.client_flags(), value_len)
        {
            return Ok(());
        }
        self.forget_replaced(request);
        self.tell_stored(
            key,
            StoreOutcome::TooLarge,
            "set",
            (Exptime::NEVER, request.value_len()),
        );
        Err(self.too_large())
    }

    /// What to answer if no line end is behind the value; memcached counts it like one that was stored.
    pub(crate) fn refuse_unterminated(&self) -> Response<'static> {
        self.counters.increment(Count::CmdSet);
        Response::Error(ErrorReply::BAD_DATA_CHUNK)
    }

    /// What to answer if the value could not be kept while it was arriving.
    pub(crate) fn refuse_value(&self, request: &Storing<'_>) -> Response<'static> {
        self.forget_replaced(request);
        self.no_memory()
    }

    /// A failed set must not leave the old value: the client believes that it has been replaced.
    fn forget_replaced(&self, request: &Storing<'_>) {
        if request.is_set() {
            let mut buffer = KeyBuffer::default();
            let key = request.key_bytes(&mut buffer);
            self.store.delete(key, self.now.time);
        }
    }

    pub(crate) fn too_large(&self) -> Response<'static> {
        self.counters.increment(Count::StoreTooLarge);
        Response::Error(ErrorReply::TOO_LARGE)
    }

    pub(crate) fn no_memory(&self) -> Response<'static> {
        self.counters.increment(Count::StoreNoMemory);
        Response::Error(ErrorReply::NO_MEMORY)
    }

    /// Counts so many times, as far as possible with nobody in between.
    pub(crate) fn arithmetic(
        &self,
        request: &Arithmetic<'_>,
        times: usize,
        mut answer: impl FnMut(Response<'static>),
    ) {
        let (key, delta, now) = (request.key.as_bytes(), request.delta, self.now.time);
        let (mut left, mut hits, mut misses, mut failures) = (times, 0, 0, 0);
        let again = |outcome| {
            answer(match outcome {
                ArithmeticOutcome::Number { value, .. } => {
                    hits += 1;
                    Response::Number(value)
                }
                ArithmeticOutcome::NotFound => {
                    misses += 1;
                    Response::NotFound
                }
                ArithmeticOutcome::NonNumeric => Response::Error(ErrorReply::NON_NUMERIC),
                ArithmeticOutcome::NoMemory => {
                    failures += 1;
                    Response::Error(ErrorReply::OUT_OF_MEMORY)
                }
            });
            left = left.saturating_sub(1);
            left > 0
        };
        let (hit, miss) = match request.op {
            ArithmeticOp::Incr => {
                self.store.incr_while(key, delta, now, again);
                (Count::IncrHits, Count::IncrMisses)
            }
            ArithmeticOp::Decr => {
                self.store.decr_while(key, delta, now, again);
                (Count::DecrHits, Count::DecrMisses)
            }
        };
        self.counters.add(hit, hits);
        self.counters.add(miss, misses);
        self.counters.add(Count::StoreNoMemory, failures);
        for _ in 0..misses {
            self.count_asked(key, Asked::ArithMiss);
        }
        for _ in 0..times {
            self.counters.hot_keys.note(key, 0);
        }
    }

    pub(crate) fn delete(&self, request: &Delete<'_>) -> Response<'static> {
        let key = request.key.as_bytes();
        self.count_prefix(key, Event::Delete);
        self.counters.hot_keys.note(key, 0);
        let watched_len = self.watched_len(key);
        if self.store.delete(key, self.now.time) {
            self.counters.increment(Count::DeleteHits);
            self.count_asked(key, Asked::DeleteHit);
            if let Some(len) = watched_len {
                self.watch.deleted(key, "delete", len, self.now);
            }
            Response::Deleted
        } else {
            self.counters.increment(Count::DeleteMisses);
            self.count_asked(key, Asked::DeleteMiss);
            Response::NotFound
        }
    }

    pub(crate) fn touch(&self, request: &Touch<'_>) -> Response<'static> {
        self.counters.increment(Count::CmdTouch);
        let expiry = self.expiry(request.exptime);
        let key = request.key.as_bytes();
        self.counters.hot_keys.note(key, 0);
        if self.store.touch(key, expiry, self.now.time) {
            self.counters.increment(Count::TouchHits);
            self.count_asked(key, Asked::TouchHit);
            Response::Touched
        } else {
            self.counters.increment(Count::TouchMisses);
            self.count_asked(key, Asked::TouchMiss);
            Response::NotFound
        }
    }

    pub(crate) fn flush_all(&self, request: FlushAll) -> Response<'static> {
        self.counters.increment(Count::CmdFlush);
        if !self.settings.allowed.flush {
            return Response::Error(ErrorReply::FLUSH_NOT_ALLOWED);
        }
        let at = match self.moment(request.delay) {
            Expiry::Never => self.now.time,
            Expiry::At(at) => at,
        };
        self.store.flush(at, self.now.time);
        Response::Ok
    }

    pub(crate) fn flush_namespace(&self, request: FlushNamespace<'_>) -> Response<'static> {
        self.counters.increment(Count::CmdFlush);
        if !self.settings.allowed.flush {
            return Response::Error(ErrorReply::FLUSH_NAMESPACE_NOT_ALLOWED);
        }
        let (name, now) = (request.name.as_bytes(), self.now.time);
        let known = self.namespaces;
        if known.is_some_and(|known| known.flush(name, self.store, now)) {
            Response::Ok
        } else {
            Response::NotFound
        }
    }

    /// When an item dies.
    pub(crate) fn expiry(&self, exptime: Exptime) -> Expiry {
        if self.settings.expiry {
            self.moment(exptime)
        } else {
            Expiry::Never
        }
    }

    /// Absolute times are converted here, once, on arrival: later steps of the wall clock change
    /// nothing that is stored.
    pub(crate) fn moment(&self, exptime: Exptime) -> Expiry {
        let now = self.now.time;
        match exptime.lifetime() {
            Lifetime::Forever => Expiry::Never,
            Lifetime::Seconds(seconds) => Expiry::At(after(now, u64::from(seconds) * 1000)),
            Lifetime::Until(unix) => {
                let unix_millis = u64::from(unix) * 1000;
                Expiry::At(after(now, unix_millis.saturating_sub(self.now.unix_millis)))
            }
            // Also for lifetimes that do not exist yet: what cannot be understood must not live on.
            _ => Expiry::At(now),
        }
    }
}

const fn is_growth(mode: StorageMode) -> bool {
    matches!(mode, StorageMode::Append | StorageMode::Prepend)
}

fn after(now: Time, millis: u64) -> Time {
    now.saturating_add(Duration::from_millis(millis))
}
