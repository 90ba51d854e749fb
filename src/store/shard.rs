//! What the writers of a shard share: the order of its items, what they are charged, its counters.
//!
//! An item is known here by its cas unique: the numbers grow, so the lowest is the oldest item, and
//! a stale one can never be mistaken for its successor. Readers take no part in any of this.

use std::collections::BTreeMap;

use crate::budget::{TABLE_CHARGE_MIN, charge, table_charge};
use crate::expire::View;
use crate::index::{Index, Place};
use crate::item::Item;
use crate::stats::{Counters, Snapshot, count};

/// The state of one shard that its mutex guards. Lock order: this, then the shard of the index.
#[derive(Debug)]
pub(crate) struct Writer {
    shard: usize,
    /// The hash of each stored item's key by its cas unique: from the oldest item to the newest.
    order: BTreeMap<u64, u64>,
    last_cas: u64,
    cas_step: u64,
    budget: u64,
    items_charged: u64,
    table_charged: u64,
    /// Where the next sweep goes on: the cas unique after the last that was looked at.
    sweep_from: u64,
    counters: Counters,
}

/// What a step of a sweep did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swept {
    pub(crate) looked_at: usize,
    pub(crate) removed: usize,
    /// Whether it reached the newest item; the next step starts again with the oldest.
    pub(crate) is_round_done: bool,
}

impl Writer {
    /// The writer of an empty shard. Its cas uniques are above `last_cas` and `cas_step` apart.
    pub(crate) fn new(index: &Index, shard: usize, last_cas: u64, cas_step: u64) -> Self {
        let mut writer = Self {
            shard,
            order: BTreeMap::new(),
            last_cas,
            cas_step,
            budget: 0,
            items_charged: 0,
            table_charged: 0,
            sweep_from: 0,
            counters: Counters::default(),
        };
        writer.resize_table(index, 1);
        writer
    }

    pub(crate) fn last_cas(&self) -> u64 {
        self.last_cas
    }

    /// Whether an item could be stored if it were alone.
    pub(crate) fn has_room_for(&self, key_len: usize, value_len: usize) -> bool {
        charge(key_len, value_len).saturating_add(TABLE_CHARGE_MIN) <= self.budget
    }

    /// Stores the item in place of the one that has its key, evicts what must go for it, and
    /// returns its cas unique. [`Self::has_room_for`] was asked before.
    pub(crate) fn put(&mut self, view: View<'_>, place: Place, mut item: Box<Item>) -> u64 {
        self.last_cas += self.cas_step;
        item.set_cas(self.last_cas);
        self.items_charged += charge_of(&item);
        self.order.insert(self.last_cas, place.hash);
        // The newest is in before the oldest go: no reader may miss a key that is being rewritten.
        if let Some(old) = view.index.replace(place, item) {
            self.forget(&old);
            self.count_if_dead(view, &old);
        }
        self.make_table_room(view.index);
        self.evict_to_budget(view);
        self.last_cas
    }

    /// Counts an item that `put` stored because a client asked to.
    pub(crate) fn count_stored(&mut self) {
        self.counters.total_items += 1;
    }

    /// Removes the item with the key, dead or alive; returns whether it was alive.
    pub(crate) fn remove(&mut self, view: View<'_>, place: Place, key: &[u8]) -> bool {
        let Some(item) = view.index.take(place, key) else {
            return false;
        };
        self.forget(&item);
        !self.count_if_dead(view, &item)
    }

    /// Changes the shard's share of the memory limit and evicts what is above it.
    pub(crate) fn set_budget(&mut self, view: View<'_>, budget: u64) {
        self.budget = budget;
        self.evict_to_budget(view);
    }

    /// Removes the dead among the next items, at most `item_budget`, from where the last sweep ended.
    pub(crate) fn sweep(&mut self, view: View<'_>, item_budget: usize) -> Swept {
        let next: Vec<_> = self
            .order
            .range(self.sweep_from..)
            .take(item_budget)
            .map(|(&cas, &hash)| (cas, hash))
            .collect();
        let is_round_done = next.len() < item_budget;
        self.sweep_from = match next.last() {
            Some((cas, _)) if !is_round_done => cas + 1,
            _ => 0,
        };
        let removed = next
            .iter()
            .filter(|&&(cas, hash)| self.remove_if_dead(view, cas, hash))
            .count();
        self.counters.sweep_items_checked += count(next.len());
        self.counters.sweep_reclaimed += count(removed);
        self.drop_table_room(view.index);
        Swept {
            looked_at: next.len(),
            removed,
            is_round_done,
        }
    }

    pub(crate) fn reset_counters(&mut self) {
        self.counters = Counters::default();
    }

    pub(crate) fn add_to(&self, index: &Index, snapshot: &mut Snapshot) {
        let table = index.table(self.shard);
        snapshot.curr_items += count(self.order.len());
        snapshot.bytes += self.charged();
        snapshot.table_buckets += count(table.buckets);
        snapshot.table_bytes += table.bytes;
        self.counters.add_to(snapshot);
    }

    fn charged(&self) -> u64 {
        self.items_charged + self.table_charged
    }

    fn evict_to_budget(&mut self, view: View<'_>) {
        while self.charged() > self.budget {
            let Some((cas, hash)) = self.order.pop_first() else {
                return;
            };
            let place = self.place(hash);
            if let Some(item) = view.index.take_cas(place, cas) {
                self.forget(&item);
                if !self.count_if_dead(view, &item) {
                    self.counters.evictions += 1;
                    self.counters.evicted_unfetched += u64::from(!item.is_fetched());
                }
            }
            self.drop_table_room(view.index);
        }
    }

    fn remove_if_dead(&mut self, view: View<'_>, cas: u64, hash: u64) -> bool {
        let place = self.place(hash);
        let is_dead = |item: &Item| view.death(place.shard, item).is_some();
        if !view.index.read_cas(place, cas, is_dead).unwrap_or_default() {
            return false;
        }
        if let Some(item) = view.index.take_cas(place, cas) {
            self.forget(&item);
            self.count_if_dead(view, &item);
        }
        true
    }

    /// Takes an item that has left the index off the books.
    fn forget(&mut self, item: &Item) {
        self.order.remove(&item.cas());
        self.items_charged -= charge_of(item);
    }

    fn count_if_dead(&mut self, view: View<'_>, item: &Item) -> bool {
        let is_dead = view.death(self.shard, item).is_some();
        if is_dead {
            self.counters.reclaimed += 1;
            self.counters.expired_unfetched += u64::from(!item.is_fetched());
        }
        is_dead
    }

    /// Makes sure that the table can take one more item without growing by itself.
    fn make_table_room(&mut self, index: &Index) {
        let table = index.table(self.shard);
        if table.room > 0 {
            return;
        }
        let capacity = table.capacity();
        // With an eighth of it free again, a rebuild costs each new item no more than 8 moves.
        if table.len <= capacity - capacity / 8 {
            self.resize_table(index, capacity);
        } else {
            self.resize_table(index, capacity + 1);
        }
    }

    /// Makes the table smaller when it is nearly empty.
    fn drop_table_room(&mut self, index: &Index) {
        let table = index.table(self.shard);
        if table.len < table.capacity() / 8 {
            self.resize_table(index, table.len * 2);
        }
    }

    fn resize_table(&mut self, index: &Index, capacity: usize) {
        index.rebuild(self.shard, capacity.max(1));
        self.table_charged = table_charge(index.table(self.shard).bytes);
    }

    fn place(&self, hash: u64) -> Place {
        Place {
            shard: self.shard,
            hash,
        }
    }
}

fn charge_of(item: &Item) -> u64 {
    charge(item.key().len(), item.value().as_slice().len())
}
