//! How old items are: [`Dates`] knows when a cas unique was given out, and [`Ages`] counts by age.

use crate::time::Time;

/// The longest ages that are counted together, in seconds; what is older is counted last.
pub const AGES_MAX: [u32; 14] = [
    1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 259_200, 604_800, 1_209_600, 2_592_000,
];

/// How many there were of each age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ages {
    /// One for each of [`AGES_MAX`], and one more.
    pub counts: [u64; AGES_MAX.len() + 1],
    /// All ages together.
    pub sum_seconds: u64,
}

impl Ages {
    /// Counts one in.
    pub fn add(&mut self, seconds: u32) {
        let bucket = AGES_MAX.partition_point(|longest| *longest < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.sum_seconds += u64::from(seconds);
        }
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_seconds += other.sum_seconds;
    }
}

/// So many dates are kept for a shard.
const DATES_MAX: usize = 64;

/// Bytes that they take.
pub(crate) const DATES_LEN_MAX: usize = DATES_MAX * size_of::<(u64, u32)>();

/// When which cas unique was the last one that had been given out, the first one first. Where there is no room for
/// another, the one goes that says least: they become sparser the older they are, and ages
/// are too high by a third at most.
#[derive(Clone, Debug)]
pub(crate) struct Dates(Vec<(u64, u32)>);

impl Dates {
    /// Everything up to `last_cas` is as old as the shard, at least.
    pub(crate) fn new(last_cas: u64) -> Self {
        let mut dates = Vec::with_capacity(DATES_MAX);
        dates.push((last_cas, 0));
        Self(dates)
    }

    pub(crate) fn note(&mut self, last_cas: u64, now: Time) {
        let seconds = now.as_seconds();
        if self.0.last().is_some_and(|(_, last)| *last >= seconds) {
            return;
        }
        if self.0.len() >= DATES_MAX {
            let gap = |(index, dates): (usize, &[(u64, u32)])| match dates {
                [(_, before), (_, seconds_then), (_, after)] => {
                    let age = u64::from(seconds - seconds_then);
                    let gap = u64::from(after - before);
                    // By how much ages would be less certain, in thousandths.
                    Some((gap * 1000 / age.max(1), index + 1))
                }
                _ => None,
            };
            let least = self.0.windows(3).enumerate().filter_map(gap).min();
            self.0.remove(least.map_or(1, |(_, index)| index));
        }
        self.0.push((last_cas, seconds));
    }

    /// For how many seconds an item may have been there at most.
    pub(crate) fn age(&self, cas: u64, now: Time) -> u32 {
        let later = self.0.partition_point(|(last_cas, _)| *last_cas < cas);
        let date = later.checked_sub(1).and_then(|index| self.0.get(index));
        let seconds = date.map_or(0, |(_, seconds)| *seconds);
        now.as_seconds().saturating_sub(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn an_age_is_counted_with_those_up_to_the_same_end() {
        let mut ages = Ages::default();
        for (seconds, bucket) in [(0, 0), (1, 0), (2, 1), (2_592_000, 13), (2_592_001, 14)] {
            let before = ages;
            ages.add(seconds);
            assert_eq!(ages.counts[bucket], before.counts[bucket] + 1, "{seconds}");
        }
        assert_eq!(ages.sum_seconds, 5_184_004);
    }

    #[test]
    fn what_is_older_than_the_shard_is_as_old_as_it() {
        let dates = Dates::new(100);
        assert_eq!(dates.age(7, at(50)), 50);
        assert_eq!(dates.age(101, at(50)), 50);
    }

    #[test]
    fn ages_are_known_to_a_third_however_long_it_was() {
        let mut dates = Dates::new(0);
        // A cas unique in each second, for ten days.
        let end = 864_000;
        for second in 1..=end {
            dates.note(second, at(second));
            assert!(dates.0.len() <= DATES_MAX);
        }
        for age in [1, 10, 100, 1000, 10_000, 100_000, 500_000] {
            let told = u64::from(dates.age(end - age, at(end)));
            assert!((age..=age + age / 3 + 1).contains(&told), "{age} {told}");
        }
    }

    #[test]
    fn a_second_has_one_date() {
        let mut dates = Dates::new(0);
        for cas in 1..1000 {
            dates.note(cas, at(3));
        }
        assert_eq!(dates.0.len(), 2);
    }
}
