//! Namespaces: parts of the keys, as the caller divides them, that are counted and flushed by themselves.
//!
//! Each record has the number of its namespace in its head, so that whoever removes it knows what to take off which
//! book, and whoever reads it whether it has been flushed, without a look at the key.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::Store;
use crate::item::NamespaceId;
use crate::shard::Shard;
use crate::time::Time;

/// Says which namespace a key belongs to.
pub trait Namespaces: fmt::Debug + Send + Sync {
    /// All numbers are below this one, which is the same for as long as the store lives; at most 256.
    fn count(&self) -> usize;

    /// The number of the key, which is about to be stored. Who lets it become another one for keys that may have been
    /// stored calls [`Store::renumber`] then.
    ///
    /// It is asked under a shard's lock, so it should be quick.
    fn of(&self, key: &[u8]) -> NamespaceId;
}

/// What is known of the items of one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceStats {
    /// Items in memory, those included that are dead but not yet removed.
    pub items: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Items stored so far.
    pub stored: u64,
    /// Numbers changed so far.
    pub counted: u64,
    /// Live items removed to stay within the limit.
    pub evictions: u64,
}

impl NamespaceStats {
    const fn add(&mut self, other: &Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.stored += other.stored;
        self.counted += other.counted;
        self.evictions += other.evictions;
    }
}

/// The namespaces of one shard, as its writers know them.
#[derive(Debug)]
pub(crate) struct Books {
    namespaces: Box<[NamespaceStats]>,
    /// Where items were stored last, and how many of them are not in `namespaces` yet: those are on a cache line that
    /// whoever overwrites an item needs for nothing else.
    stored_last: (NamespaceId, u64),
    /// How often one has been flushed, or keys have got other numbers.
    pub(crate) revision: u64,
    /// The revision in which keys have got other numbers last.
    pub(crate) renumbered: u64,
    /// There may be items that do not have the number of their key yet.
    pub(crate) is_renumbering: bool,
    /// Since then, items have kept another number because they would have died by getting that of their key.
    pub(crate) has_exceptions: bool,
    /// There may be items that do not have the number of their key, for one reason or the other.
    pub(crate) is_mixed: bool,
}

impl Books {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            namespaces: vec![NamespaceStats::default(); count].into_boxed_slice(),
            stored_last: (0, 0),
            revision: 0,
            renumbered: 0,
            is_renumbering: false,
            has_exceptions: false,
            is_mixed: false,
        }
    }

    /// Bytes that they take, with the marks of flushes.
    pub(crate) const fn bytes(&self) -> usize {
        self.namespaces.len() * (size_of::<NamespaceStats>() + size_of::<u64>())
    }

    pub(crate) const fn count(&self) -> usize {
        self.namespaces.len()
    }

    pub(crate) fn all(&mut self) -> &[NamespaceStats] {
        self.count_stored_last();
        &self.namespaces
    }

    #[cold]
    fn count_stored_last(&mut self) {
        let (id, count) = std::mem::take(&mut self.stored_last);
        self.change(id, |namespace| namespace.stored += count);
    }

    fn change(&mut self, id: NamespaceId, change: impl FnOnce(&mut NamespaceStats)) {
        if let Some(namespace) = self.namespaces.get_mut(usize::from(id)) {
            change(namespace);
        }
    }

    pub(crate) fn enter(&mut self, id: NamespaceId, bytes: u64) {
        self.change(id, |namespace| {
            namespace.items += 1;
            namespace.bytes += bytes;
        });
    }

    pub(crate) fn leave(&mut self, id: NamespaceId, bytes: u64) {
        self.change(id, |namespace| {
            namespace.items -= 1;
            namespace.bytes -= bytes;
        });
    }

    /// An item gets another number.
    pub(crate) fn transfer(&mut self, from: NamespaceId, to: NamespaceId, bytes: u64) {
        self.leave(from, bytes);
        self.enter(to, bytes);
    }

    pub(crate) fn count_stored(&mut self, id: NamespaceId) {
        if self.stored_last.0 != id {
            self.count_stored_last();
            self.stored_last.0 = id;
        }
        self.stored_last.1 += 1;
    }

    pub(crate) fn count_counted(&mut self, id: NamespaceId) {
        self.change(id, |namespace| namespace.counted += 1);
    }

    pub(crate) fn count_evicted(&mut self, id: NamespaceId) {
        self.change(id, |namespace| namespace.evictions += 1);
    }

    pub(crate) fn reset_counters(&mut self) {
        self.stored_last = (0, 0);
        for namespace in &mut self.namespaces {
            *namespace = NamespaceStats {
                items: namespace.items,
                bytes: namespace.bytes,
                ..NamespaceStats::default()
            };
        }
    }
}

impl Store {
    /// Kills exactly what was stored in these namespaces before the call. It costs the same however much is stored:
    /// sweeps take the memory back.
    pub fn flush_namespaces(&self, ids: &[NamespaceId], now: Time) {
        self.pending_flush.fire(&self.shards, now);
        for shard in &self.shards {
            shard.flush_namespaces(ids);
        }
        if let Some(sampler) = &self.sampler {
            for id in ids {
                sampler.flushed(Some(*id));
            }
        }
    }

    /// What is known of each namespace, in the order of their numbers.
    pub fn namespaces(&self) -> Vec<NamespaceStats> {
        let mut sums = vec![NamespaceStats::default(); self.namespace_count()];
        for shard in &self.shards {
            for (sum, namespace) in sums.iter_mut().zip(shard.writer().books.all().iter()) {
                sum.add(namespace);
            }
        }
        sums
    }

    pub(crate) fn namespace_count(&self) -> usize {
        count(self.namespaces.as_deref())
    }
}

/// How many namespaces there are: without any, everything is in the first.
pub(crate) fn count(namespaces: Option<&dyn Namespaces>) -> usize {
    const COUNT_MAX: usize = 1 << NamespaceId::BITS;
    namespaces.map_or(1, |namespaces| namespaces.count().clamp(1, COUNT_MAX))
}

impl Shard {
    /// Whether the item with this cas unique was stored before its namespace was flushed.
    #[inline]
    pub(crate) fn is_flushed(&self, cas: u64, id: NamespaceId) -> bool {
        cas <= self.highest_mark.load(Ordering::Acquire) && cas <= self.mark(id)
    }

    /// Items of the namespace up to this cas unique have been flushed.
    fn mark(&self, id: NamespaceId) -> u64 {
        let mark = self.marks.get(usize::from(id));
        mark.map_or(0, |mark| mark.load(Ordering::Acquire))
    }

    fn flush_namespaces(&self, ids: &[NamespaceId]) {
        let mut writer = self.writer();
        for id in ids {
            if let Some(mark) = self.marks.get(usize::from(*id)) {
                mark.store(writer.last_cas, Ordering::Release);
            }
        }
        // After those: whoever sees this sees them.
        self.highest_mark.store(writer.last_cas, Ordering::Release);
        writer.books.revision += 1;
    }

    /// Flushes everything.
    pub(crate) fn flush(&self) {
        let mut writer = self.writer();
        writer.flushed = writer.last_cas;
        for mark in &self.marks {
            mark.store(writer.last_cas, Ordering::Release);
        }
        // After those: whoever sees this sees them.
        self.highest_mark.store(writer.last_cas, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_counted_where_it_is_in_whatever_order_it_comes() {
        let mut books = Books::new(3);
        let stored = |books: &mut Books| books.all().iter().map(|one| one.stored).collect();
        for id in [0, 1, 1, 2, 0, 2, 2] {
            books.count_stored(id);
        }
        let told: Vec<u64> = stored(&mut books);
        assert_eq!(told, [2, 2, 3]);
        books.count_stored(1);
        let told: Vec<u64> = stored(&mut books);
        assert_eq!(told, [2, 3, 3]);
        books.count_stored(1);
        books.reset_counters();
        let told: Vec<u64> = stored(&mut books);
        assert_eq!(told, [0, 0, 0]);
    }
}
