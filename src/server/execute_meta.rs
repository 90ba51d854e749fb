//! Meta requests x store x now -> reply: no I/O, no clock, nothing remembered but counts.

use crate::counters::Count;
use crate::execute::Context;
use crate::insight::Event as Asked;
use crate::output::Output;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuthatch_protocol::{
    ArithmeticOp, ErrorReply, Exptime, KeyBuffer, Meta, MetaFacts, MetaFlags, MetaMarks, MetaMode,
    MetaReply, MetaStatus, MetaStorage, Response,
};
use nuthatch_store::{
    Arithmetic as ArithmeticOutcome, CountChange, Counted, Create, Expiry, Fetch, Hit, Lookup,
    NewItem, NewValue, Number, Removal, Remove, StoreOutcome, Time, ValueRef, Write, WriteMode,
    item_len,
};

impl Context<'_> {
    /// `mg`; a hit goes to `out`, which must have room for it.
    pub(crate) fn meta_get(&self, request: &Meta<'_>, out: &mut Output) {
        let flags = request.flags;
        let mut buffer = KeyBuffer::default();
        let key = request.key_bytes(&mut buffer);
        let touch = flags.new_exptime().map(|exptime| self.expiry(exptime));
        let fetch = Fetch {
            touch,
            create: flags.vivify().map(|exptime| self.create(exptime, flags)),
            renew_before: flags
                .recache()
                .and_then(|exptime| match self.moment(exptime) {
                    Expiry::At(moment) => Some(moment),
                    Expiry::Never => None,
                }),
            renew_after_touch: is_before(flags, b'T', b'R'),
            unnoticed: flags.has(b'u'),
        };
        let now = self.now.time;
        let looked = self.store.fetch(key, &fetch, now, |mut hit, fetched| {
            hit.cas = self.shown_cas(hit.cas);
            let facts = facts(key, flags, &hit, fetched.expiry_before, now);
            let marks = MetaMarks {
                taken: hit.marks.claimed,
                stale: hit.marks.stale,
                won: fetched.won,
            };
            // Who has the value already need not be sent it again.
            if flags.has(b'v') && flags.compare_cas() != Some(hit.cas) {
                let status = MetaStatus::Value(hit.value.as_slice().len() as u64);
                out.put_meta(status, flags, &facts, marks);
                out.put_value(hit.value);
            } else {
                out.put_meta(MetaStatus::Done, flags, &facts, marks);
            }
            (hit.value.as_slice().len(), hit.namespace)
        });
        let found = match looked {
            Lookup::Hit((value_len, _)) => Ok(value_len),
            Lookup::Miss(miss) => Err(miss),
        };
        self.counters.hot_keys.note(key, found.unwrap_or_default());
        self.watch.fetched(key, found, self.now);
        match looked {
            Lookup::Hit((_, namespace)) => {
                self.counters.namespaces.count(namespace, Asked::GetHit);
                let (count, hits) = if touch.is_some() {
                    (Count::CmdTouch, Count::TouchHits)
                } else {
                    (Count::CmdGet, Count::GetHits)
                };
                self.counters.increment(count);
                self.counters.increment(hits);
            }
            Lookup::Miss(miss) => {
                self.counters.increment(Count::CmdGet);
                self.count_miss(Count::GetMisses, miss, key);
                self.count_asked(key, Asked::GetMiss);
                if !flags.has(b'q') {
                    put(MetaStatus::Miss, request, key, out);
                }
            }
        }
    }

    /// `ms`, when its value has arrived.
    pub(crate) fn meta_store(
        &self,
        request: &MetaStorage<'_>,
        value: NewValue<'_>,
        out: &mut Output,
    ) {
        let meta = &request.meta;
        let flags = meta.flags;
        let mut buffer = KeyBuffer::default();
        let key = meta.key_bytes(&mut buffer);
        let write = self.write(flags);
        self.counters.hot_keys.note(key, value.as_slice().len());
        let item = NewItem {
            client_flags: flags.client_flags(),
            expiry: self.expiry(flags.new_exptime().unwrap_or(Exptime::NEVER)),
            value,
        };
        self.counters.increment(Count::CmdSet);
        let (outcome, value_len) = self.store.write(key, item, &write, self.now.time);
        let exptime = flags.new_exptime().unwrap_or(Exptime::NEVER);
        self.tell_stored(key, outcome, command(&write), (exptime, value_len as u64));
        if write.compare.is_some() && matches!(write.mode, WriteMode::Set | WriteMode::Replace) {
            self.count_cas(outcome);
        }
        let (status, cas) = match outcome {
            StoreOutcome::Stored { .. } if flags.has(b'q') => return,
            StoreOutcome::Stored { cas } => (MetaStatus::Done, cas),
            StoreOutcome::NotStored => (MetaStatus::NotStored, 0),
            StoreOutcome::Exists => (MetaStatus::Exists, 0),
            StoreOutcome::NotFound => (MetaStatus::NotFound, 0),
            // What grew too large is left as it was, and memcached does not say why.
            StoreOutcome::TooLarge | StoreOutcome::NoMemory if is_growth(write.mode) => {
                (MetaStatus::NotStored, 0)
            }
            failure => {
                // As for a set that failed.
                self.store.delete(key, self.now.time);
                return out.put(&match failure {
                    StoreOutcome::TooLarge => self.too_large(),
                    _ => self.no_memory(),
                });
            }
        };
        let facts = MetaFacts {
            key: Some((key, flags.has(b'b'))),
            cas: Some(self.shown_cas(cas)),
            value_len: Some(value_len as u64),
            ..MetaFacts::default()
        };
        out.put_meta(status, flags, &facts, MetaMarks::default());
    }

    /// `md`.
    pub(crate) fn meta_delete(&self, request: &Meta<'_>, out: &mut Output) {
        let flags = request.flags;
        let mut buffer = KeyBuffer::default();
        let key = request.key_bytes(&mut buffer);
        let touch = flags.new_exptime().map(|exptime| self.expiry(exptime));
        let remove = Remove {
            // Without cas uniques all of them are 0.
            compare: flags
                .compare_cas()
                .filter(|unique| self.settings.cas || *unique != 0)
                .map(|unique| self.compared_cas(unique)),
            stale: flags.has(b'I'),
            emptied: flags
                .has(b'x')
                .then(|| (flags.client_flags(), touch.unwrap_or(Expiry::Never))),
            touch,
            cas: flags.new_cas(),
        };
        self.counters.hot_keys.note(key, 0);
        let watched_len = self.watched_len(key);
        let status = match self.store.remove(key, &remove, self.now.time) {
            Removal::Done => {
                if !remove.stale {
                    self.counters.increment(Count::DeleteHits);
                    self.count_asked(key, Asked::DeleteHit);
                    if let Some(len) = watched_len {
                        self.watch.deleted(key, "md", len, self.now);
                    }
                }
                if flags.has(b'q') {
                    return;
                }
                MetaStatus::Done
            }
            Removal::NotFound => {
                self.counters.increment(Count::DeleteMisses);
                self.count_asked(key, Asked::DeleteMiss);
                MetaStatus::NotFound
            }
            Removal::Exists => {
                self.counters.increment(Count::DeleteMisses);
                self.count_asked(key, Asked::DeleteMiss);
                MetaStatus::Exists
            }
            Removal::NoMemory => return out.put(&Response::Error(ErrorReply::OUT_OF_MEMORY)),
        };
        put(status, request, key, out);
    }

    /// `ma`.
    pub(crate) fn meta_arithmetic(&self, request: &Meta<'_>, out: &mut Output) {
        let flags = request.flags;
        let mut buffer = KeyBuffer::default();
        let key = request.key_bytes(&mut buffer);
        self.counters.hot_keys.note(key, 0);
        let up = flags.arithmetic_mode() != Ok(ArithmeticOp::Decr);
        let (hits, misses) = if up {
            (Count::IncrHits, Count::IncrMisses)
        } else {
            (Count::DecrHits, Count::DecrMisses)
        };
        let create = flags.vivify().map(|exptime| self.create(exptime, flags));
        let change = CountChange {
            up,
            delta: flags.delta(),
            // As in memcached, 0 stands for no comparison.
            compare: flags
                .compare_cas()
                .filter(|unique| *unique != 0)
                .map(|unique| self.compared_cas(unique)),
            create: create.map(|create| (flags.initial(), create)),
            touch: flags.new_exptime().map(|exptime| self.expiry(exptime)),
            cas: flags.new_cas(),
        };
        let status = match self.store.count(key, &change, self.now.time) {
            Counted::Number(number) => {
                if !number.created {
                    self.counters.increment(hits);
                }
                if number.created || !flags.has(b'q') {
                    self.put_number(request, key, number, out);
                }
                return;
            }
            Counted::Exists => MetaStatus::Exists,
            Counted::Failed(ArithmeticOutcome::NonNumeric) => {
                return out.put(&Response::Error(ErrorReply::NON_NUMERIC));
            }
            Counted::Failed(ArithmeticOutcome::NoMemory) => {
                self.counters.increment(Count::StoreNoMemory);
                return out.put(&Response::Error(ErrorReply::OUT_OF_MEMORY));
            }
            Counted::Failed(_) => {
                self.counters.increment(misses);
                self.count_asked(key, Asked::ArithMiss);
                MetaStatus::NotFound
            }
        };
        put(status, request, key, out);
    }

    fn put_number(&self, request: &Meta<'_>, key: &[u8], number: Number, out: &mut Output) {
        let flags = request.flags;
        let expiry = if is_before(flags, b't', b'T') {
            number.expiry_before
        } else {
            number.expiry
        };
        let facts = MetaFacts {
            key: Some((key, flags.has(b'b'))),
            cas: Some(self.shown_cas(number.cas)),
            seconds_left: Some(seconds_left(expiry, self.now.time)),
            ..MetaFacts::default()
        };
        let digits = number.value.to_string();
        if flags.has(b'v') {
            let status = MetaStatus::Value(digits.len() as u64);
            out.put_meta(status, flags, &facts, MetaMarks::default());
            out.put_value(ValueRef::Inline(digits.as_bytes()));
        } else {
            out.put_meta(MetaStatus::Done, flags, &facts, MetaMarks::default());
        }
    }

    /// `me`.
    pub(crate) fn meta_debug(&self, request: &Meta<'_>, out: &mut Output) {
        self.counters.increment(Count::CmdMeta);
        let mut buffer = KeyBuffer::default();
        let key = request.key_bytes(&mut buffer);
        let fetch = Fetch {
            unnoticed: true,
            ..Fetch::default()
        };
        let now = self.now.time;
        let looked = self.store.fetch(key, &fetch, now, |hit, _| {
            let facts = format!(
                "exp={} la={} cas={} fetch={} cls=1 size={}",
                seconds_left(hit.expiry, now),
                hit.idle_seconds,
                self.shown_cas(hit.cas),
                if hit.fetched { "yes" } else { "no" },
                item_len(key.len(), hit.client_flags, hit.value.as_slice().len()),
            );
            let key = if hit.marks.encoded_key {
                STANDARD.encode(key).into_bytes()
            } else {
                key.to_vec()
            };
            [key.as_slice(), b" ", facts.as_bytes()].concat()
        });
        match looked {
            Lookup::Hit(facts) => out.put(&Response::MetaDebug(&facts)),
            Lookup::Miss(_) => out.put(&Response::Meta(MetaReply::new(MetaStatus::Miss))),
        }
    }

    fn create(&self, exptime: Exptime, flags: MetaFlags<'_>) -> Create {
        Create {
            expiry: self.expiry(exptime),
            cas: flags.new_cas(),
            encoded_key: flags.has(b'b'),
        }
    }

    fn write(&self, flags: MetaFlags<'_>) -> Write {
        let mode = match flags.mode() {
            Ok(MetaMode::Add) => WriteMode::Add,
            Ok(MetaMode::Append) => WriteMode::Append,
            Ok(MetaMode::Prepend) => WriteMode::Prepend,
            Ok(MetaMode::Replace) => WriteMode::Replace,
            // No other mode is ever decoded.
            _ => WriteMode::Set,
        };
        Write {
            mode,
            compare: flags.compare_cas().map(|unique| self.compared_cas(unique)),
            accept_stale: flags.has(b'I'),
            cas: flags.new_cas(),
            encoded_key: flags.has(b'b'),
            create: flags.vivify().map(|exptime| self.expiry(exptime)),
        }
    }
}

/// The name of what it would be among the classic commands.
const fn command(write: &Write) -> &'static str {
    match write.mode {
        WriteMode::Add => "add",
        WriteMode::Append => "append",
        WriteMode::Prepend => "prepend",
        WriteMode::Replace => "replace",
        WriteMode::Set if write.compare.is_some() => "cas",
        WriteMode::Set => "set",
    }
}

const fn is_growth(mode: WriteMode) -> bool {
    matches!(mode, WriteMode::Append | WriteMode::Prepend)
}

/// Whether both flags are there, in this order.
fn is_before(flags: MetaFlags<'_>, first: u8, second: u8) -> bool {
    let position = |wanted| flags.iter().position(|(letter, _)| letter == wanted);
    matches!((position(first), position(second)), (Some(first), Some(second)) if first < second)
}

/// A reply that tells nothing of the item but its key.
fn put(status: MetaStatus, request: &Meta<'_>, key: &[u8], out: &mut Output) {
    let facts = MetaFacts {
        key: Some((key, request.flags.has(b'b'))),
        ..MetaFacts::default()
    };
    out.put_meta(status, request.flags, &facts, MetaMarks::default());
}

fn facts<'a>(
    key: &'a [u8],
    flags: MetaFlags<'_>,
    hit: &Hit<'_>,
    expiry_before: Expiry,
    now: Time,
) -> MetaFacts<'a> {
    let expiry = if is_before(flags, b't', b'T') {
        expiry_before
    } else {
        hit.expiry
    };
    MetaFacts {
        key: Some((key, hit.marks.encoded_key)),
        value_len: Some(hit.value.as_slice().len() as u64),
        client_flags: Some(hit.client_flags),
        cas: Some(hit.cas),
        seconds_left: Some(seconds_left(expiry, now)),
        seconds_idle: Some(hit.idle_seconds.into()),
        fetched: Some(hit.fetched),
    }
}

/// Begun seconds until an item dies, -1 if it never does.
fn seconds_left(expiry: Expiry, now: Time) -> i64 {
    match expiry {
        Expiry::Never => -1,
        Expiry::At(at) => {
            let millis = at.as_millis().saturating_sub(now.as_millis());
            i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX)
        }
    }
}
