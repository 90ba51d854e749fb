//! [`Usage`]: how often names were used lately, told apart or not, as a sample of all requests says; and who should be
//! told in whose place.
//!
//! It keeps what it sees by Space-Saving (Metwally 2005): of a fixed number of names, the one seen least makes room for
//! one not seen before, and its count is the bound of what may have been missed of that. So the least that a name was
//! used is known, and the most, and whoever is to be told must have been used more, at the least, than the other at the
//! most. All counts are halved every minute.

use crate::insight::names::TOLD_MAX;
use crate::insight::rules::Name;
use foldhash::fast::RandomState;
use nuthatch_store::{NamespaceId, Time};
use std::collections::HashMap;

/// Names that are followed.
const NAMES_MAX: usize = 4 * TOLD_MAX;

/// How often counts are halved.
const HALF_LIFE_MILLIS: u64 = 60_000;

/// Who takes another's place must have been seen so many times as often ...
const TIMES: u64 = 2;

/// ... and so many times more, so that it is no chance: among names that are used alike, hardly any changes places.
const MORE_MIN: u64 = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// At the most.
    count: u64,
    /// Of that, what may have been others'.
    missed: u64,
}

/// Whose name shall be told in place of whose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) leaves: NamespaceId,
    pub(crate) joins: Name,
}

/// Names by their use.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    names: HashMap<Name, Seen, RandomState>,
    halved_millis: u64,
}

impl Usage {
    /// Memory that it takes at most, about.
    pub(crate) const BYTES_MAX: usize = 2 * NAMES_MAX * size_of::<(Name, Seen)>();

    /// A name was used so many times.
    pub(crate) fn add(&mut self, name: &Name, count: u64) {
        if !self.names.contains_key(name) {
            let missed = self.make_room();
            let count = missed;
            self.names.insert(*name, Seen { count, missed });
        }
        if let Some(seen) = self.names.get_mut(name) {
            seen.count = seen.count.saturating_add(count);
        }
    }

    /// Forgets the least one if there is no room; returns how often it was seen.
    fn make_room(&mut self) -> u64 {
        if self.names.len() < NAMES_MAX {
            return 0;
        }
        let names = self.names.iter();
        let least = names.min_by_key(|(_, seen)| seen.count);
        let Some((name, count)) = least.map(|(name, seen)| (*name, seen.count)) else {
            return 0;
        };
        self.names.remove(&name);
        count
    }

    /// Halves the counts if it is time.
    pub(crate) fn age(&mut self, now: Time) {
        let elapsed = now.as_millis().saturating_sub(self.halved_millis);
        if elapsed < HALF_LIFE_MILLIS {
            return;
        }
        self.halved_millis = now.as_millis();
        self.names.retain(|_, seen| {
            seen.count /= 2;
            seen.missed /= 2;
            seen.count > 0
        });
    }

    /// How often a name was used at the most.
    fn most(&self, name: &Name) -> u64 {
        let known = self.names.get(name).map(|seen| seen.count);
        known.unwrap_or_else(|| {
            let counts = self.names.values().map(|seen| seen.count);
            let is_full = self.names.len() >= NAMES_MAX;
            counts.min().filter(|_| is_full).unwrap_or_default()
        })
    }

    /// Up to so many exchanges: of those that may leave, the ones that were used least, for the ones used most that are
    /// not told.
    pub(crate) fn exchanges(
        &self,
        mut told: Vec<(NamespaceId, Name)>,
        is_told: impl Fn(&Name) -> bool,
        exchanges_max: usize,
    ) -> Vec<Exchange> {
        let least = |seen: &Seen| seen.count.saturating_sub(seen.missed);
        let names = self
            .names
            .iter()
            .filter(|(_, seen)| least(seen) >= MORE_MIN);
        let names = names.filter(|(name, _)| !is_told(name));
        let mut joining: Vec<_> = names.map(|(name, seen)| (least(seen), *name)).collect();
        if joining.is_empty() {
            return Vec::new();
        }
        joining.sort_unstable_by(|(one, a), (other, b)| {
            other.cmp(one).then_with(|| a.as_bytes().cmp(b.as_bytes()))
        });
        told.sort_by_cached_key(|(_, name)| self.most(name));
        let pairs = joining.into_iter().zip(told);
        let pairs = pairs.take_while(|((least, _), (_, name))| {
            let most = self.most(name);
            *least >= most.saturating_mul(TIMES).saturating_add(MORE_MIN)
        });
        let exchanges = pairs.map(|((_, joins), (leaves, _))| Exchange { leaves, joins });
        exchanges.take(exchanges_max).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::rules::Rules;
    use std::collections::HashSet;

    fn name(number: u64) -> Name {
        let rules = Rules::parse(&["delimiter:/".to_owned()]).unwrap();
        rules.name(format!("n{number}/").as_bytes()).unwrap()
    }

    fn used(counts: &[u64]) -> Usage {
        let mut usage = Usage::default();
        for (number, count) in (0..).zip(counts) {
            usage.add(&name(number), *count);
        }
        usage
    }

    /// The exchanges when names up to this one are told, under numbers above theirs by one.
    fn exchanges(usage: &Usage, told: u64, exchanges_max: usize) -> Vec<(u8, String)> {
        let numbered = (1..).zip((0..told).map(name)).collect();
        let is_told = |asked: &Name| (0..told).any(|number| name(number) == *asked);
        let found = usage.exchanges(numbered, is_told, exchanges_max);
        let pair = |exchange: &Exchange| (exchange.leaves, exchange.joins.as_str().to_owned());
        found.iter().map(pair).collect()
    }

    #[test]
    fn who_was_used_twice_as_often_and_16_times_more_takes_the_place_of_the_least() {
        assert_eq!(exchanges(&used(&[50, 10, 20, 35]), 3, 4), []);
        let joins = [(2, "n3".to_owned())];
        assert_eq!(exchanges(&used(&[50, 10, 20, 36]), 3, 4), joins);
        // Not used at all is the least.
        assert_eq!(exchanges(&used(&[50, 0, 20, 15]), 3, 4), []);
        assert_eq!(exchanges(&used(&[50, 0, 20, 16]), 3, 4), joins);
        assert_eq!(exchanges(&used(&[50, 10, 20]), 3, 4), []);
    }

    #[test]
    fn those_used_most_come_first_and_so_many_at_a_time() {
        let usage = used(&[9, 8, 7, 100, 300, 200, 33]);
        let joined = |exchanges_max| exchanges(&usage, 3, exchanges_max);
        let all = [(3, "n4"), (2, "n5"), (1, "n3")].map(|(id, name)| (id, name.to_owned()));
        assert_eq!((&joined(2)[..], &joined(4)[..]), (&all[..2], &all[..]));
    }

    #[test]
    fn so_many_names_are_followed_and_what_may_be_others_use_does_not_count() {
        let mut usage = Usage::default();
        for number in 0..NAMES_MAX as u64 {
            usage.add(&name(number), 100 + number);
        }
        let new = name(NAMES_MAX as u64);
        assert_eq!(usage.most(&new), 100);
        usage.add(&new, 20);
        assert_eq!(usage.names.len(), NAMES_MAX);
        let seen = usage.names.get(&new).unwrap();
        assert_eq!((seen.count, seen.missed), (120, 100));
        // Whom it replaced may have been used as often as the least of those that are left.
        assert_eq!(usage.most(&name(0)), 101);
        // It was seen more often than one that is told, but for sure only 20 times.
        let told = vec![(7, name(0))];
        let is_told = |asked: &Name| *asked != new;
        assert_eq!(usage.exchanges(told, is_told, 4), []);
        let told = vec![(7, name(NAMES_MAX as u64 + 9))];
        usage.add(&new, 300);
        assert_eq!(usage.exchanges(told, is_told, 4).len(), 1);
    }

    #[test]
    fn counts_are_halved_every_minute() {
        let mut usage = used(&[50, 40]);
        usage.age(Time::from_millis(HALF_LIFE_MILLIS - 1));
        assert_eq!(usage.most(&name(0)), 50);
        usage.age(Time::from_millis(HALF_LIFE_MILLIS));
        usage.age(Time::from_millis(2 * HALF_LIFE_MILLIS - 1));
        assert_eq!((usage.most(&name(0)), usage.most(&name(1))), (25, 20));
        for halving in 2..8 {
            usage.age(Time::from_millis(halving * HALF_LIFE_MILLIS));
        }
        assert!(usage.names.is_empty());
    }

    /// How many names join in ten minutes in which 200 are used alike, so often in a second in all.
    fn flaps(uses: u64) -> usize {
        let mut usage = Usage::default();
        let names: Vec<Name> = (0..200).map(name).collect();
        let mut told: Vec<(NamespaceId, Name)> = (1..=64).zip(names.iter().copied()).collect();
        let (mut random, mut joined) = (1_u64, 0);
        for second in 0..600 {
            for _ in 0..uses {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                usage.add(&names[usize::try_from(random % 200).unwrap()], 1);
            }
            usage.age(Time::from_millis(second * 1_000));
            let known: HashSet<Name> = told.iter().map(|(_, name)| *name).collect();
            let found = usage.exchanges(told.clone(), |name| known.contains(name), 4);
            joined += found.len();
            for exchange in found {
                let left = told.iter_mut().find(|(id, _)| *id == exchange.leaves);
                left.unwrap().1 = exchange.joins;
            }
        }
        joined
    }

    #[test]
    fn names_that_are_used_alike_keep_their_places() {
        for uses in [1, 10, 50, 200, 1_000] {
            let joined = flaps(uses);
            assert!(joined <= 2, "{joined} with {uses} uses in a second");
        }
    }
}
