//! [`PrefixStats`]: requests counted by the first part of their keys, for `stats detail`.

use dashmap::DashMap;
use nuthatch_protocol::{ErrorReply, Response};
use std::sync::atomic::{AtomicBool, Ordering};

/// Prefixes that are told apart; keys of any further one are not counted.
const PREFIXES_MAX: usize = 65_536;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Hit,
    Miss,
    Set,
    Delete,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    get: u64,
    hit: u64,
    set: u64,
    delete: u64,
}

/// The counts of each prefix.
#[derive(Debug)]
pub(crate) struct PrefixStats {
    delimiter: u8,
    is_on: AtomicBool,
    counts: DashMap<Box<[u8]>, Counts>,
}

impl PrefixStats {
    pub(crate) fn new(delimiter: u8, is_on: bool) -> Self {
        Self {
            delimiter,
            is_on: AtomicBool::new(is_on),
            counts: DashMap::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Counts a request; keys without delimiter are not counted.
    pub(crate) fn count(&self, key: &[u8], event: Event) {
        let Some(len) = memchr::memchr(self.delimiter, key) else {
            return;
        };
        let prefix = key.get(..len).unwrap_or_default();
        if let Some(mut counts) = self.counts.get_mut(prefix) {
            counts.add(event);
        } else if self.counts.len() < PREFIXES_MAX {
            self.counts.entry(prefix.into()).or_default().add(event);
        }
    }

    pub(crate) fn reset(&self) {
        self.counts.clear();
    }

    /// `stats detail on|off|dump`; a dump goes to `out`.
    pub(crate) fn answer(&self, argument: Option<&[u8]>, out: &mut Vec<u8>) -> Response<'static> {
        match argument {
            Some(b"on") => self.is_on.store(true, Ordering::Relaxed),
            Some(b"off") => self.is_on.store(false, Ordering::Relaxed),
            Some(b"dump") => {
                self.dump(out);
                return Response::End;
            }
            _ => return Response::Error(ErrorReply::STATS_DETAIL_USAGE),
        }
        Response::Ok
    }

    fn dump(&self, out: &mut Vec<u8>) {
        let copy = |entry: dashmap::mapref::multiple::RefMulti<'_, Box<[u8]>, Counts>| {
            (entry.key().clone(), *entry.value())
        };
        let mut all: Vec<_> = self.counts.iter().map(copy).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (prefix, counts) in all {
            let Counts {
                get,
                hit,
                set,
                delete,
            } = counts;
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(&prefix);
            out.extend_from_slice(
                format!(" get {get} hit {hit} set {set} del {delete}\r\n").as_bytes(),
            );
        }
    }
}

impl Counts {
    const fn add(&mut self, event: Event) {
        let count = match event {
            Event::Hit => {
                self.hit = self.hit.wrapping_add(1);
                &mut self.get
            }
            Event::Miss => &mut self.get,
            Event::Set => &mut self.set,
            Event::Delete => &mut self.delete,
        };
        *count = count.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_prefixes_are_told_apart_and_no_more() {
        let stats = PrefixStats::new(b':', true);
        for number in 0..=PREFIXES_MAX {
            stats.count(format!("{number}:key").as_bytes(), Event::Set);
        }
        assert_eq!(stats.counts.len(), PREFIXES_MAX);
        stats.count(b"0:other", Event::Set);
        assert_eq!(stats.counts.get(b"0".as_slice()).unwrap().set, 2);
    }
}
