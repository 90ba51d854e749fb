//! The `stats` command: memcached's names, in memcached's order.

use crate::administer::VERSION;
use crate::clock::Now;
use crate::counters::{Count, Totals};
use crate::dump::Dump;
use crate::output::Output;
use crate::shared::Shared;
use crate::tuning::{CLASSES, is_short_for};
use crate::{insight, stats_conns, stats_items, stats_settings};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nuthatch_protocol::{ErrorReply, Response, Tokens, parse_u32};
use nuthatch_store::Snapshot;
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What statistics are made from: all numbers, at one moment.
pub(crate) struct Sources<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) now: Now,
    pub(crate) totals: Totals,
    pub(crate) store: Snapshot,
}

impl<'a> Sources<'a> {
    pub(crate) fn read(shared: &'a Shared, now: Now) -> Self {
        Self {
            shared,
            now,
            totals: shared.totals(),
            store: shared.store.snapshot(),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Source {
    /// Counted by the threads.
    Counted(Count),
    /// Anything else that is known.
    Known(fn(&Sources<'_>) -> Value),
    /// The name has no meaning here: slabs, the LRU crawler, libevent, UDP, watchers, logins.
    Zero,
}

use Source::{Counted, Known, Zero};

/// Told only where somebody is disconnected for it.
const IDLE_KICKS: &str = "idle_kicks";

/// Told only where clients may say so.
const DRAINING: &str = "draining";

/// Told only with TLS.
const SSL_HANDSHAKE_ERRORS: &str = "ssl_handshake_errors";
const SSL_PROTO_ERRORS: &str = "ssl_proto_errors";
const SSL_CERTIFICATE_AGE: &str = "time_since_server_cert_refresh";

/// Every name, in order.
const GENERAL: &[(&str, Source)] = &[
    ("pid", Known(|_| Value::Number(std::process::id().into()))),
    (
        "uptime",
        Known(|s| Value::Number(s.now.time.as_millis() / 1000)),
    ),
    ("time", Known(|s| Value::Number(s.now.unix_millis / 1000))),
    ("version", Known(|_| Value::Text(VERSION))),
    ("libevent", Zero),
    ("pointer_size", Known(|_| Value::Number(usize::BITS.into()))),
    ("rusage_user", Known(|_| Value::Seconds(usage().0))),
    ("rusage_system", Known(|_| Value::Seconds(usage().1))),
    (
        "max_connections",
        Known(|s| number(s.shared.config.settings.connections_max)),
    ),
    (
        "curr_connections",
        Known(|s| number(sockets(s.shared).saturating_sub(1))),
    ),
    ("total_connections", Counted(Count::TotalConnections)),
    ("rejected_connections", Counted(Count::RejectedConnections)),
    (
        "connection_structures",
        Known(|s| number(sockets(s.shared))),
    ),
    ("response_obj_oom", Zero),
    ("response_obj_count", Zero),
    ("response_obj_bytes", Zero),
    ("read_buf_count", Zero),
    (
        "read_buf_bytes",
        Known(|s| Value::Number(s.store.arriving_bytes)),
    ),
    ("read_buf_bytes_free", Zero),
    ("read_buf_oom", Zero),
    ("reserved_fds", Zero),
    ("cmd_get", Counted(Count::CmdGet)),
    ("cmd_set", Counted(Count::CmdSet)),
    ("cmd_flush", Counted(Count::CmdFlush)),
    ("cmd_touch", Counted(Count::CmdTouch)),
    ("cmd_meta", Counted(Count::CmdMeta)),
    ("get_hits", Counted(Count::GetHits)),
    ("get_misses", Counted(Count::GetMisses)),
    ("get_expired", Counted(Count::GetExpired)),
    ("get_flushed", Counted(Count::GetFlushed)),
    ("delete_misses", Counted(Count::DeleteMisses)),
    ("delete_hits", Counted(Count::DeleteHits)),
    ("incr_misses", Counted(Count::IncrMisses)),
    ("incr_hits", Counted(Count::IncrHits)),
    ("decr_misses", Counted(Count::DecrMisses)),
    ("decr_hits", Counted(Count::DecrHits)),
    ("cas_misses", Counted(Count::CasMisses)),
    ("cas_hits", Counted(Count::CasHits)),
    ("cas_badval", Counted(Count::CasBadval)),
    ("touch_hits", Counted(Count::TouchHits)),
    ("touch_misses", Counted(Count::TouchMisses)),
    ("store_too_large", Counted(Count::StoreTooLarge)),
    ("store_no_memory", Counted(Count::StoreNoMemory)),
    ("auth_cmds", Counted(Count::AuthCmds)),
    ("auth_errors", Counted(Count::AuthErrors)),
    (IDLE_KICKS, Counted(Count::IdleKicks)),
    ("bytes_read", Counted(Count::BytesRead)),
    ("bytes_written", Counted(Count::BytesWritten)),
    (
        "limit_maxbytes",
        Known(|s| Value::Number(s.store.limit_bytes)),
    ),
    (
        "accepting_conns",
        Known(|s| Value::Number(s.shared.accepting.load(Ordering::Relaxed).into())),
    ),
    ("listen_disabled_num", Counted(Count::ListenDisabledNum)),
    (
        "time_in_listen_disabled_us",
        Counted(Count::TimeInListenDisabledUs),
    ),
    (
        "threads",
        Known(|s| number(s.shared.config.settings.threads.get())),
    ),
    ("conn_yields", Counted(Count::ConnYields)),
    (
        "hash_power_level",
        Known(|s| Value::Number(s.store.table_buckets.max(1).ilog2().into())),
    ),
    ("hash_bytes", Known(|s| Value::Number(s.store.table_bytes))),
    ("hash_is_expanding", Zero),
    ("slab_reassign_rescues", Zero),
    ("slab_reassign_chunk_rescues", Zero),
    ("slab_reassign_inline_reclaim", Zero),
    ("slab_reassign_busy_items", Zero),
    ("slab_reassign_busy_deletes", Zero),
    ("slab_reassign_busy_nomem", Zero),
    ("slab_reassign_last_busy_status", Zero),
    ("slab_reassign_running", Zero),
    ("slabs_moved", Zero),
    ("lru_crawler_running", Zero),
    ("lru_crawler_starts", Zero),
    ("lru_maintainer_juggles", Zero),
    ("malloc_fails", Zero),
    ("log_worker_dropped", Zero),
    (
        "log_worker_written",
        Known(|s| Value::Number(s.shared.observers.watchers.written.load(Ordering::Relaxed))),
    ),
    (
        "log_watcher_skipped",
        Known(|s| Value::Number(s.shared.observers.watchers.skipped.load(Ordering::Relaxed))),
    ),
    (
        "log_watcher_sent",
        Known(|s| Value::Number(s.shared.observers.watchers.sent.load(Ordering::Relaxed))),
    ),
    (
        "log_watchers",
        Known(|s| number(s.shared.observers.watchers.count())),
    ),
    (SSL_HANDSHAKE_ERRORS, Counted(Count::SslHandshakeErrors)),
    (SSL_PROTO_ERRORS, Zero),
    (
        SSL_CERTIFICATE_AGE,
        Known(|s| {
            let age = s.shared.access.age_of_certificates(s.now.time);
            Value::Number(age.unwrap_or_default().as_secs())
        }),
    ),
    ("unexpected_napi_ids", Zero),
    ("round_robin_fallback", Zero),
    ("bytes", Known(|s| Value::Number(s.store.bytes))),
    ("curr_items", Known(|s| Value::Number(s.store.curr_items))),
    ("total_items", Known(|s| Value::Number(s.store.total_items))),
    ("slab_global_page_pool", Zero),
    (
        "expired_unfetched",
        Known(|s| Value::Number(s.store.expired_unfetched)),
    ),
    (
        "evicted_unfetched",
        Known(|s| Value::Number(s.store.evicted_unfetched)),
    ),
    ("evicted_active", Zero),
    ("evictions", Known(|s| Value::Number(s.store.evictions))),
    (
        "reclaimed",
        Known(|s| Value::Number(s.store.reclaimed.saturating_sub(s.store.sweep_reclaimed))),
    ),
    (
        "crawler_reclaimed",
        Known(|s| Value::Number(s.store.sweep_reclaimed)),
    ),
    (
        "crawler_items_checked",
        Known(|s| Value::Number(s.store.sweep_items_checked)),
    ),
    ("lrutail_reflocked", Zero),
    ("moves_to_cold", Zero),
    ("moves_to_warm", Zero),
    ("moves_within_lru", Zero),
    ("direct_reclaims", Zero),
    ("lru_bumps_dropped", Zero),
    (
        DRAINING,
        Known(|s| Value::Number(s.shared.draining.load(Ordering::Relaxed).into())),
    ),
];

/// Answers `stats` with its arguments; a list of items is left to the caller.
pub(crate) fn answer(
    shared: &Shared,
    arguments: &[u8],
    now: Now,
    out: &mut Output,
) -> Result<Response<'static>, Dump> {
    let words: Vec<&[u8]> = Tokens::new(arguments).collect();
    let Some((&name, arguments)) = words.split_first() else {
        write_general(shared, now, out);
        return Ok(Response::End);
    };
    let is = |command: &[u8]| is_short_for(name, command);
    if is(b"reset") {
        shared.reset_counters();
        shared.observers.prefixes.reset();
        return Ok(Response::Reset);
    }
    if is(b"detail") {
        return Ok(detail(shared, arguments, out));
    }
    if is(b"settings") {
        stats_settings::each(shared, &mut |name, value| put(name, value, out));
    } else if is(b"cachedump") {
        if !shared.config.settings.allowed.dump {
            return Ok(Response::Error(ErrorReply::CACHEDUMP_NOT_ALLOWED));
        }
        return cachedump(arguments);
    } else if is(b"conns") {
        stats_conns::write(shared, now, out);
    } else if is(b"items") {
        stats_items::write_items(&Sources::read(shared, now), out);
    } else if is(b"slabs") {
        stats_items::write_slabs(&Sources::read(shared, now), out);
    } else if is(b"sizes") {
        if shared.config.settings.extended.track_sizes {
            return Err(Dump::of_sizes());
        }
        put("sizes_status", "disabled", out);
    } else if name == b"namespaces" {
        insight::stats::namespaces(shared, out);
    } else if name == b"advice" {
        insight::stats::advice(shared, out);
    } else if name == b"hotkeys" {
        return Ok(insight::stats::hot_keys(shared, out));
    } else if name == b"compression" {
        write_compression(shared, out);
    } else if name == b"latency" {
        for (name, number) in shared.latencies().stats() {
            put(&name, number, out);
        }
    } else {
        return Ok(Response::Error(ErrorReply::UNKNOWN_COMMAND));
    }
    Ok(Response::End)
}

fn detail(shared: &Shared, arguments: &[&[u8]], out: &mut Output) -> Response<'static> {
    if !shared.config.settings.allowed.dump {
        return Response::Error(ErrorReply::DETAIL_NOT_ALLOWED);
    }
    let mut text = Vec::new();
    let response = shared
        .observers
        .prefixes
        .answer(arguments.first().copied(), &mut text);
    out.put_text(&text);
    response
}

fn cachedump(arguments: &[&[u8]]) -> Result<Response<'static>, Dump> {
    let [class, limit, ..] = arguments else {
        return Ok(Response::Error(ErrorReply::BAD_LINE));
    };
    match (parse_u32(class), parse_u32(limit)) {
        (Some(class), Some(limit)) if class < CLASSES => Err(Dump::of_class(class, limit)),
        (Some(_), Some(_)) => Ok(Response::Error(ErrorReply::ILLEGAL_CLASS)),
        _ => Ok(Response::Error(ErrorReply::BAD_FORMAT)),
    }
}

/// Writes the general statistics, without the `END`.
fn write_general(shared: &Shared, now: Now, out: &mut Output) {
    for (name, value) in general(&Sources::read(shared, now)) {
        put(name, value, out);
    }
}

/// The general statistics, in order.
pub(crate) fn general(sources: &Sources<'_>) -> impl Iterator<Item = (&'static str, Value)> {
    let config = &sources.shared.config;
    let has_kicks = config.settings.extended.idle_timeout.is_some();
    let may_drain = config.settings.allowed.shutdown;
    let has_tls = config.tls.is_some();
    let is_told = move |name| match name {
        IDLE_KICKS => has_kicks,
        DRAINING => may_drain,
        SSL_HANDSHAKE_ERRORS | SSL_PROTO_ERRORS | SSL_CERTIFICATE_AGE => has_tls,
        _ => true,
    };
    let told = GENERAL.iter().filter(move |(name, _)| is_told(name));
    told.map(|(name, source)| {
        let value = match source {
            Counted(count) => Value::Number(sources.totals.get(*count)),
            Known(value) => value(sources),
            Zero => Value::Number(0),
        };
        (*name, value)
    })
}

/// Writes what compression did, without the `END`. memcached has no such statistics.
fn write_compression(shared: &Shared, out: &mut Output) {
    let store = shared.store.snapshot();
    for (name, number) in [
        ("compressed", store.compressed),
        ("compressed_raw_bytes", store.compressed_raw_bytes),
        ("compressed_stored_bytes", store.compressed_stored_bytes),
        ("skipped_short", store.compress_skipped_short),
        (
            "skipped_incompressible",
            store.compress_skipped_incompressible,
        ),
        ("decompress_failures", store.decompress_failures),
    ] {
        put(name, number, out);
    }
}

pub(crate) fn put(name: &str, value: impl fmt::Display, out: &mut Output) {
    let value = value.to_string();
    out.put(&Response::Stat {
        name: name.as_bytes(),
        value: value.as_bytes(),
    });
}

/// A value as memcached prints it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Number(u64),
    Text(&'static str),
    /// `seconds.microseconds`, the latter with six digits.
    Seconds(TimeVal),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::Seconds(time) => write!(f, "{}.{:06}", time.tv_sec(), time.tv_usec()),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Seconds(time) => {
                let micros = u64::try_from(time.num_microseconds()).unwrap_or_default();
                serializer.serialize_f64(Duration::from_micros(micros).as_secs_f64())
            }
        }
    }
}

fn number(count: usize) -> Value {
    Value::Number(count as u64)
}

/// memcached has a connection structure for each listening socket too, and counts all but one of them
/// as connections.
fn sockets(shared: &Shared) -> usize {
    let clients = shared.connections.load(Ordering::Relaxed);
    clients.saturating_add(shared.listeners.load(Ordering::Relaxed))
}

/// CPU time of the process: in its own code, in the kernel.
pub(crate) fn usage() -> (TimeVal, TimeVal) {
    getrusage(UsageWho::RUSAGE_SELF).map_or_else(
        |_| (TimeVal::new(0, 0), TimeVal::new(0, 0)),
        |usage| (usage.user_time(), usage.system_time()),
    )
}
