//! [`Census`]: how large, how old and how long-lived the items in memory are, as those of a few shards tell.
//!
//! Counting each item as it comes and goes would cost every request something; this costs who asks a few
//! milliseconds, at most every ten seconds.

use crate::distribution::Distribution;
use crate::nuthatch_metrics::float;
use crate::shared::Shared;
use nuthatch_store::{AGES_MAX, Ages, Expiry, NamespaceId, Store, Time, Walk};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Shards that are looked through: some ten thousand items. A key's hash chooses its shard, so they are a sample.
const SHARDS_MAX: usize = 2;

/// How long a census is told before there is another.
const AGE_MAX: Duration = Duration::from_secs(10);

/// The largest sizes that are counted together, in bytes.
const SIZES_MAX: [u32; 15] = [
    64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288,
    1_048_576,
];

/// What was found, for all shards.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    /// Bytes of keys and values, as clients have given them.
    pub(crate) sizes: Distribution,
    /// Seconds until items expire, of those that do.
    pub(crate) ttls: Distribution,
    pub(crate) without_expiry: u64,
    /// The mean by namespace, where there are any.
    pub(crate) namespace_ttls: BTreeMap<NamespaceId, f64>,
    /// Seconds since they were stored.
    pub(crate) ages: Distribution,
}

/// The last census, and when it was.
#[derive(Debug, Default)]
pub(crate) struct LastCensus(Mutex<Option<(Stamp, Census)>>);

/// When, and what the numbers of namespaces stood for then.
type Stamp = (Time, u64);

impl LastCensus {
    pub(crate) fn read(&self, shared: &Shared) -> Census {
        let now = shared.clock.now().time;
        let namespaces = shared.namespaces.as_ref();
        let revision = namespaces.map_or(0, |known| known.revision());
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(((at, known), census))
                if now < at.saturating_add(AGE_MAX) && *known == revision =>
            {
                census.clone()
            }
            _ => {
                let census = Census::take(&shared.store, now);
                *last = Some(((now, revision), census.clone()));
                census
            }
        }
    }
}

impl Census {
    fn take(store: &Store, now: Time) -> Self {
        let shard_count = usize::try_from(store.snapshot().shard_count).unwrap_or(usize::MAX);
        let looked_through = shard_count.min(SHARDS_MAX);
        let (mut ttls, mut ages) = (Ages::default(), Ages::default());
        let mut sizes = [0; SIZES_MAX.len() + 1];
        let (mut size_sum, mut without_expiry) = (0, 0);
        let mut namespace_ttls: BTreeMap<NamespaceId, (u64, u64)> = BTreeMap::new();
        let mut walk = Walk::default();
        while walk.shard() < looked_through {
            store.walk(&mut walk, now, |item| {
                let len = item.key.len() + item.value_len;
                let bucket = SIZES_MAX.partition_point(|largest| (*largest as usize) < len);
                if let Some(count) = sizes.get_mut(bucket) {
                    *count += 1;
                }
                size_sum += len as u64;
                ages.add(item.age_seconds);
                match item.expiry {
                    Expiry::Never => without_expiry += 1,
                    Expiry::At(at) => {
                        let ttl = at
                            .as_millis()
                            .saturating_sub(now.as_millis())
                            .div_ceil(1000);
                        ttls.add(u32::try_from(ttl).unwrap_or(u32::MAX));
                        let (count, sum) = namespace_ttls.entry(item.namespace).or_default();
                        *count += 1;
                        *sum += ttl;
                    }
                }
            });
        }
        // As many of each as there would be if all shards were like these.
        let scale = |count: u64| {
            let all = count.saturating_mul(shard_count as u64);
            all / (looked_through as u64).max(1)
        };
        let sizes_max = SIZES_MAX.map(f64::from);
        Self {
            sizes: Distribution::new(&sizes_max, &sizes.map(scale), float(scale(size_sum))),
            ttls: of_ages(&ttls, scale),
            without_expiry: scale(without_expiry),
            namespace_ttls: namespace_ttls
                .into_iter()
                .map(|(id, (count, sum))| (id, float(sum) / float(count)))
                .collect(),
            ages: of_ages(&ages, scale),
        }
    }
}

/// Ages, or other times in seconds.
pub(crate) fn of_ages(ages: &Ages, scale: impl Fn(u64) -> u64) -> Distribution {
    let ends = AGES_MAX.map(f64::from);
    let counts = ages.counts.map(&scale);
    Distribution::new(&ends, &counts, float(scale(ages.sum_seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_store::{Config, NewItem, NewValue, StoreOutcome};

    #[test]
    fn a_census_of_some_shards_is_that_of_all() {
        let store = Store::new(&Config {
            memory_limit_bytes: 64 << 20,
            ..Config::default()
        });
        assert!(store.snapshot().shard_count > 4 * SHARDS_MAX as u64);
        let (stored, now) = (Time::from_millis(1000), Time::from_millis(3_000_000));
        for number in 0..20_000_u32 {
            let key = format!("{number:010}");
            let item = NewItem {
                client_flags: 0,
                expiry: match number % 4 {
                    0 => Expiry::Never,
                    _ => Expiry::At(Time::from_millis(3_060_000)),
                },
                value: NewValue::Copied(&[b'v'; 90]),
            };
            let outcome = store.set(key.as_bytes(), item, stored);
            assert!(matches!(outcome, StoreOutcome::Stored { .. }));
        }
        let census = Census::take(&store, now);
        let near = |count: u64, expected: u64| count.abs_diff(expected) < expected / 10;
        assert!(near(census.sizes.counts[1], 20_000), "{:?}", census.sizes);
        assert_eq!(census.sizes.counts[1], census.sizes.count);
        assert!(near(census.without_expiry, 5000), "{census:?}");
        assert_eq!(census.namespace_ttls, BTreeMap::from([(0, 60.0)]));
        // Of 60 seconds that are left, and some 50 minutes that are over.
        assert!(near(census.ttls.counts[3], 15_000), "{:?}", census.ttls);
        assert!(near(census.ages.counts[6], 20_000), "{:?}", census.ages);
    }
}
