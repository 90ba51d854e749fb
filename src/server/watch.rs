//! `watch`: what happens, line by line, to who asks. Whoever reads too slowly loses lines, and is told how many.

use crate::clock::Now;
use crate::dump::put_uri;
use crate::prefix_stats::PrefixStats;
use crate::shared::Shared;
use nix::sys::socket::{SockaddrStorage, getpeername};
use nuthatch_protocol::Tokens;
use nuthatch_store::{Evicted, Expiry, Miss};
use std::io::Write as _;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Clients that may watch at the same time, as in memcached.
const WATCHERS_MAX: usize = 20;

/// Bytes of lines that wait for a watcher; what comes then is skipped.
const LINES_LEN_MAX: usize = 256 << 10;

/// A watcher is sent lines no more often: with the limit above, at most 25 MiB in a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// What can be watched; several are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streams(u32);

impl Streams {
    pub(crate) const FETCHERS: Self = Self(1);
    pub(crate) const MUTATIONS: Self = Self(2);
    pub(crate) const EVICTIONS: Self = Self(4);
    pub(crate) const CONNEVENTS: Self = Self(8);
    pub(crate) const DELETIONS: Self = Self(16);
    pub(crate) const SYSEVENTS: Self = Self(32);
    pub(crate) const RAWCMDS: Self = Self(64);

    /// What the words after `watch` ask for; `None` if there is no such thing.
    pub(crate) fn parse(words: &[u8]) -> Option<Self> {
        let mut streams = 0;
        for word in Tokens::new(words) {
            let Self(stream) = match word {
                b"fetchers" => Self::FETCHERS,
                b"mutations" => Self::MUTATIONS,
                b"evictions" => Self::EVICTIONS,
                b"connevents" => Self::CONNEVENTS,
                b"deletions" => Self::DELETIONS,
                b"sysevents" => Self::SYSEVENTS,
                b"rawcmds" => Self::RAWCMDS,
                _ => return None,
            };
            streams |= stream;
        }
        Some(match streams {
            0 => Self::FETCHERS,
            streams => Self(streams),
        })
    }

    const fn have(self, Self(other): Self) -> bool {
        self.0 & other != 0
    }
}

/// All who watch.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// What anybody watches: read at every request.
    wanted: AtomicU32,
    next_event: AtomicU64,
    all: Mutex<Vec<Arc<Watcher>>>,
    /// Held while the store is told whether to keep what it evicts.
    switch: Mutex<()>,
    /// Lines that nobody had to lose, those that were sent, and those that somebody lost.
    pub(crate) written: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

/// Lines for one client.
#[derive(Debug)]
pub(crate) struct Watcher {
    streams: Streams,
    lines: Mutex<Lines>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
    skipped: u64,
}

/// A client that watches, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watching<'a> {
    shared: &'a Shared,
    watcher: Arc<Watcher>,
}

impl Watchers {
    #[inline]
    pub(crate) fn want(&self, streams: Streams) -> bool {
        Streams(self.wanted.load(Ordering::Relaxed)).have(streams)
    }

    /// How many clients watch.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Watcher>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, watchers: &[Arc<Watcher>]) {
        let all = watchers
            .iter()
            .fold(0, |all, watcher| all | watcher.streams.0);
        self.wanted.store(all, Ordering::Relaxed);
    }

    /// Gives the line that `write` ends to all who watch this.
    pub(crate) fn log(&self, stream: Streams, unix_millis: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let event = self
            .next_event
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        let (seconds, millis) = (unix_millis / 1000, unix_millis % 1000);
        let mut line = format!("ts={seconds}.{millis:03}000 gid={event} ").into_bytes();
        write(&mut line);
        line.push(b'\n');
        self.written.fetch_add(1, Ordering::Relaxed);
        for watcher in self.lock().iter() {
            if watcher.streams.have(stream) && !watcher.push(&line) {
                self.skipped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether there was room.
    fn push(&self, line: &[u8]) -> bool {
        let mut lines = self.lock();
        let has_room = lines.text.len().saturating_add(line.len()) <= LINES_LEN_MAX;
        if has_room {
            if lines.skipped > 0 {
                let skipped = std::mem::take(&mut lines.skipped);
                lines.text.extend(format!("skipped={skipped}\n").bytes());
            }
            lines.text.extend_from_slice(line);
            lines.count = lines.count.saturating_add(1);
        } else {
            lines.skipped = lines.skipped.saturating_add(1);
        }
        drop(lines);
        self.ready.notify_one();
        has_room
    }
}

impl<'a> Watching<'a> {
    /// `None` if there are as many as there may be.
    pub(crate) fn begin(shared: &'a Shared, streams: Streams) -> Option<Self> {
        let mut watchers = shared.observers.watchers.lock();
        if watchers.len() >= WATCHERS_MAX {
            return None;
        }
        let watcher = Arc::new(Watcher {
            streams,
            lines: Mutex::default(),
            ready: Notify::new(),
        });
        watchers.push(Arc::clone(&watcher));
        shared.observers.watchers.changed(&watchers);
        drop(watchers);
        let watching = Self { shared, watcher };
        watching.switch_evictions();
        Some(watching)
    }

    /// Evictions are kept while anybody watches them: whoever comes or goes last decides, by what is wanted then.
    fn switch_evictions(&self) {
        if self.watcher.streams.have(Streams::EVICTIONS) {
            let watchers = &self.shared.observers.watchers;
            let switch = &watchers.switch;
            let _switching = switch.lock().unwrap_or_else(PoisonError::into_inner);
            let store = &self.shared.store;
            store.watch_evictions(watchers.want(Streams::EVICTIONS));
        }
    }

    /// Waits until there are lines.
    pub(crate) async fn ready(&self) {
        self.watcher.ready.notified().await;
    }

    /// Takes what there is.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut lines = self.watcher.lock();
        let count = std::mem::take(&mut lines.count);
        let text = std::mem::take(&mut lines.text);
        drop(lines);
        self.shared
            .observers
            .watchers
            .sent
            .fetch_add(count, Ordering::Relaxed);
        text
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let watchers = &self.shared.observers.watchers;
        let mut all = watchers.lock();
        all.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
        watchers.changed(&all);
        drop(all);
        self.switch_evictions();
    }
}

/// Who wants to know what is asked for.
#[derive(Debug)]
pub(crate) struct Observers {
    pub(crate) watchers: Watchers,
    pub(crate) prefixes: PrefixStats,
}

/// What of a request is told, and to whom; and the client that it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) observers: &'a Observers,
    pub(crate) fd: RawFd,
}

impl Watch<'_> {
    /// Somebody looked for an item; `found` is the length of its value.
    #[inline]
    pub(crate) fn fetched(&self, key: &[u8], found: Result<usize, Miss>, now: Now) {
        if self.observers.watchers.want(Streams::FETCHERS) {
            self.log_fetched(key, found, now);
        }
    }

    #[cold]
    fn log_fetched(&self, key: &[u8], found: Result<usize, Miss>, now: Now) {
        let (status, class, size) = match found {
            Ok(size) => ("found", 1, size),
            Err(Miss::Absent) => ("not_found", 0, 0),
            Err(Miss::Expired) => ("expired", 0, 0),
            Err(Miss::Flushed) => ("flushed", 0, 0),
        };
        let fd = self.fd;
        self.observers
            .watchers
            .log(Streams::FETCHERS, now.unix_millis, |line| {
                line.extend(b"type=item_get key=");
                put_uri(key, line);
                put(
                    line,
                    format_args!(" status={status} clsid={class} cfd={fd} size={size}"),
                );
            });
    }

    /// Somebody wanted to store an item, by this command, with this outcome.
    pub(crate) fn stored(
        &self,
        key: &[u8],
        (status, command): (&str, &str),
        (expiry, size): (Expiry, u64),
        now: Now,
    ) {
        let fd = self.fd;
        let ttl = match expiry {
            Expiry::Never => 0,
            Expiry::At(at) => at
                .as_millis()
                .saturating_sub(now.time.as_millis())
                .div_ceil(1000),
        };
        self.observers
            .watchers
            .log(Streams::MUTATIONS, now.unix_millis, |line| {
                line.extend(b"type=item_store key=");
                put_uri(key, line);
                put(
                    line,
                    format_args!(
                        " status={status} cmd={command} ttl={ttl} clsid=1 cfd={fd} size={size}"
                    ),
                );
            });
    }

    /// Somebody deleted an item, by this command; `size` is the length of its value.
    pub(crate) fn deleted(&self, key: &[u8], command: &str, size: usize, now: Now) {
        self.observers
            .watchers
            .log(Streams::DELETIONS, now.unix_millis, |line| {
                line.extend(b"type=deleted key=");
                put_uri(key, line);
                put(line, format_args!(" cmd={command} clsid=1 size={size}"));
            });
    }

    /// Somebody changed how much may be stored.
    pub(crate) fn limited(&self, bytes: u64, now: Now) {
        let watchers = &self.observers.watchers;
        if watchers.want(Streams::SYSEVENTS) {
            watchers.log(Streams::SYSEVENTS, now.unix_millis, |line| {
                put(line, format_args!("type=memory_limit bytes={bytes}"));
            });
        }
    }

    /// Whether to tell what somebody sends.
    #[inline]
    pub(crate) fn wants_lines(&self) -> bool {
        self.observers.watchers.want(Streams::RAWCMDS)
    }

    /// Somebody sent this line.
    #[cold]
    pub(crate) fn sent(&self, command: &[u8], now: Now) {
        let watchers = &self.observers.watchers;
        watchers.log(Streams::RAWCMDS, now.unix_millis, |line| {
            let command = command.trim_ascii_end().escape_ascii();
            put(line, format_args!("<{} {command}", self.fd));
        });
    }

    /// Somebody has come or, for a reason, gone.
    pub(crate) fn connected(&self, gone: Option<&str>, unix_millis: u64) {
        if !self.observers.watchers.want(Streams::CONNEVENTS) {
            return;
        }
        let peer = getpeername::<SockaddrStorage>(self.fd).ok();
        let peer = peer.as_ref().and_then(|peer| {
            let v4 = peer
                .as_sockaddr_in()
                .map(|v4| (v4.ip().to_string(), v4.port()));
            v4.or_else(|| {
                peer.as_sockaddr_in6()
                    .map(|v6| (v6.ip().to_string(), v6.port()))
            })
        });
        let transport = if peer.is_some() { "tcp" } else { "local" };
        let (ip, port) = peer.unwrap_or_else(|| ("unix".to_owned(), 0));
        self.observers
            .watchers
            .log(Streams::CONNEVENTS, unix_millis, |line| {
                let name = if gone.is_some() {
                    "conn_close"
                } else {
                    "conn_new"
                };
                put(
                    line,
                    format_args!("type={name} rip={ip} rport={port} transport={transport}"),
                );
                if let Some(reason) = gone {
                    put(line, format_args!(" reason={reason}"));
                }
                put(line, format_args!(" cfd={}", self.fd));
            });
    }
}

/// Tells who watches what the store has evicted.
pub(crate) fn tell_evicted(shared: &Shared) {
    let watchers = &shared.observers.watchers;
    if !watchers.want(Streams::EVICTIONS) {
        return;
    }
    let now = shared.clock.now();
    // Not while a shard is held.
    let mut all = Vec::new();
    let forgotten = shared.store.take_evicted(|evicted| all.push(evicted));
    watchers.skipped.fetch_add(forgotten, Ordering::Relaxed);
    for Evicted {
        key,
        at,
        expiry,
        fetched,
        idle_seconds,
        value_len,
        ..
    } in all
    {
        let age = now.time.as_millis().saturating_sub(at.as_millis());
        let ttl = match expiry {
            Expiry::Never => -1,
            Expiry::At(death) => {
                let left = death.as_millis().saturating_sub(at.as_millis());
                i64::try_from(left.div_ceil(1000)).unwrap_or(i64::MAX)
            }
        };
        let fetched = if fetched { "yes" } else { "no" };
        watchers.log(
            Streams::EVICTIONS,
            now.unix_millis.saturating_sub(age),
            |line| {
                line.extend(b"type=eviction key=");
                put_uri(&key, line);
                put(
                    line,
                    format_args!(
                        " fetch={fetched} ttl={ttl} la={idle_seconds} clsid=1 size={value_len}"
                    ),
                );
            },
        );
    }
}

fn put(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    drop(line.write_fmt(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named() {
        assert_eq!(Streams::parse(b""), Some(Streams::FETCHERS));
        assert_eq!(Streams::parse(b"evictions  rawcmds"), Some(Streams(68)));
        assert_eq!(Streams::parse(b"fetchers nonsense"), None);
    }

    fn watcher() -> Arc<Watcher> {
        Arc::new(Watcher {
            streams: Streams::FETCHERS,
            lines: Mutex::default(),
            ready: Notify::new(),
        })
    }

    #[test]
    fn who_reads_too_slowly_loses_lines_and_is_told() {
        let watchers = Watchers::default();
        let slow = watcher();
        watchers.lock().push(Arc::clone(&slow));
        assert!(slow.push(&vec![b'x'; LINES_LEN_MAX]));
        assert!(!slow.push(b"x"));
        watchers.log(Streams::FETCHERS, 1_500, |line| line.extend(b"lost"));
        watchers.log(Streams::MUTATIONS, 1_500, |line| line.extend(b"not for it"));
        assert_eq!(slow.lock().text.len(), LINES_LEN_MAX);
        slow.lock().text.clear();
        watchers.log(Streams::FETCHERS, 1_500, |line| line.extend(b"seen"));
        assert_eq!(slow.lock().text, b"skipped=2\nts=1.500000 gid=3 seen\n");
        assert_eq!(watchers.skipped.load(Ordering::Relaxed), 1);
    }
}
