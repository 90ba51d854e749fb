//! A writer's turn at a shard: what it does until the end of the turn happens at once.

use std::sync::MutexGuard;

use crate::expire::View;
use crate::index::Place;
use crate::item::Item;
use crate::outcome::Lookup;
use crate::shard::Writer;

/// Holds the shard of one key against other writers.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) view: View<'a>,
    pub(crate) place: Place,
    pub(crate) key: &'a [u8],
    pub(crate) writer: MutexGuard<'a, Writer>,
}

impl Turn<'_> {
    /// Shows the live item to `visit`.
    pub(crate) fn look<R>(&self, visit: impl FnOnce(&Item) -> R) -> Lookup<R> {
        self.view.look(self.place, self.key, visit)
    }

    /// The cas unique of the live item.
    pub(crate) fn live_cas(&self) -> Option<u64> {
        match self.look(Item::cas) {
            Lookup::Hit(cas) => Some(cas),
            Lookup::Miss(_) => None,
        }
    }

    pub(crate) fn has_room_for(&self, value_len: usize) -> bool {
        self.writer.has_room_for(self.key.len(), value_len)
    }

    /// Stores the item, which has the turn's key, and returns its cas unique.
    pub(crate) fn put(&mut self, item: Box<Item>) -> u64 {
        self.writer.put(self.view, self.place, item)
    }

    /// The same for an item that a client stores, as opposed to one whose number changed.
    pub(crate) fn put_counted(&mut self, item: Box<Item>) -> u64 {
        self.writer.count_stored();
        self.put(item)
    }

    /// Removes the item, dead or alive; returns whether it was alive.
    pub(crate) fn remove(&mut self) -> bool {
        self.writer.remove(self.view, self.place, self.key)
    }
}
