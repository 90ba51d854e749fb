//! What is known about a segment without looking at its records, and which records go to the same one.

use crate::record::Head;
use crate::time::{Expiry, Time};

/// Classes of lifetimes.
pub(crate) const CLASS_COUNT: usize = 4;

/// The longest lifetime of each class in milliseconds: two minutes, an hour, a day. The last class has no end.
const LIFETIMES_MAX: [u64; CLASS_COUNT - 1] = [120_000, 3_600_000, 86_400_000];

/// Where records are added: a queue, and in it a class of lifetimes. What dies at about the same time
/// leaves whole segments behind, and nothing that lives has to be copied to get them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) is_main: bool,
    pub(crate) class: usize,
    /// It holds what has come back from a snapshot, and goes before everything that has not.
    pub(crate) is_restored: bool,
}

impl Chain {
    pub(crate) fn new(is_main: bool, expiry: Expiry, now: Time) -> Self {
        let class = match expiry {
            Expiry::Never => LIFETIMES_MAX.len(),
            Expiry::At(at) => {
                let lifetime = at.as_millis().saturating_sub(now.as_millis());
                LIFETIMES_MAX.partition_point(|longest| *longest < lifetime)
            }
        };
        Self {
            is_main,
            class,
            is_restored: false,
        }
    }
}

/// The state of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    /// Bytes written.
    pub(crate) fill: usize,
    /// Bytes of records that the index refers to.
    pub(crate) live: usize,
    /// It is in one of the queues.
    pub(crate) used: bool,
    /// The class of its records' lifetimes when they were stored.
    pub(crate) class: usize,
    /// The last cas unique before it was opened, and later before it was sealed; of what comes back from a snapshot
    /// the lowest in it.
    pub(crate) stamp: u64,
    /// When it was opened, in seconds.
    pub(crate) opened_seconds: u32,
    /// That of the books when it was opened, or swept last: of its records none was dead by the flushes of namespaces up
    /// to then, and none had an older number.
    pub(crate) revision: u64,
    pub(crate) span: Span,
}

/// The earliest and the latest of a segment's records, as far as known: none is outside, but those at the
/// ends may be gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    first_cas: u64,
    last_cas: u64,
    first_death: u64,
    last_death: u64,
}

impl Default for Span {
    /// Of no records.
    fn default() -> Self {
        Self {
            first_cas: u64::MAX,
            last_cas: 0,
            first_death: u64::MAX,
            last_death: 0,
        }
    }
}

impl Span {
    pub(crate) fn add(&mut self, head: &Head) {
        self.first_cas = self.first_cas.min(head.cas);
        self.last_cas = self.last_cas.max(head.cas);
        let death = match head.expiry {
            Expiry::Never => u64::MAX,
            Expiry::At(at) => at.as_millis(),
        };
        self.first_death = self.first_death.min(death);
        self.last_death = self.last_death.max(death);
    }

    /// Whether a record may be dead, when those up to the cas unique `mark` have been flushed.
    pub(crate) const fn has_dead(&self, mark: u64, now: Time) -> bool {
        self.first_cas <= mark || self.first_death <= now.as_millis()
    }

    /// Whether all records are dead.
    pub(crate) const fn is_dead(&self, mark: u64, now: Time) -> bool {
        self.last_cas <= mark || self.last_death <= now.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Expiry {
        Expiry::At(Time::from_millis(millis))
    }

    #[test]
    fn lifetimes_have_their_classes() {
        let now = Time::from_millis(5);
        for (expiry, class) in [
            (at(0), 0),
            (at(120_005), 0),
            (at(120_006), 1),
            (at(3_600_005), 1),
            (at(3_600_006), 2),
            (at(86_400_005), 2),
            (at(86_400_006), 3),
            (Expiry::Never, 3),
        ] {
            assert_eq!(Chain::new(true, expiry, now).class, class, "{expiry:?}");
        }
    }

    #[test]
    fn a_span_knows_when_the_first_and_the_last_record_die() {
        let head = |cas, expiry| Head {
            cas,
            expiry,
            ..Head::default()
        };
        let mut span = Span::default();
        span.add(&head(7, at(100)));
        span.add(&head(9, at(300)));
        let of = |mark, millis| {
            let now = Time::from_millis(millis);
            (span.has_dead(mark, now), span.is_dead(mark, now))
        };
        assert_eq!(of(6, 99), (false, false));
        assert_eq!(of(7, 99), (true, false));
        assert_eq!(of(8, 299), (true, false));
        assert_eq!(of(9, 0), (true, true));
        assert_eq!(of(0, 300), (true, true));
        span.add(&head(9, Expiry::Never));
        assert!(!span.is_dead(0, Time::from_millis(u64::MAX - 1)));
    }
}
