//! Keys get other numbers: those of their items follow, a little at a time.
//!
//! [`Namespaces::of`](crate::Namespaces::of) says another number for some keys from some moment on, and
//! [`Store::renumber`] is called after that. It takes each shard's lock, and `of` is asked under that lock alone. So
//! whoever was answered by what was before has written his record before the shard's revision rises, to a segment that
//! was opened in an older revision, which the sweep has to look through; and whoever writes in the new revision has been
//! answered, or asks again, by what is now. That holds for all that writes records with a number: what is stored
//! (`put_over` takes the number of the item before it only while nothing is renumbered), what comes back from a snapshot,
//! and what moves when a segment is packed. Hence: in a segment of the present revision each live item has the number
//! of its key, and once all segments and all slots are looked through, all items have. A number that `of` no longer says
//! is then no longer anywhere, and never will be again, but for one exception.
//!
//! It is that an item must not die by getting a number: if its new number has been flushed after it was stored, it keeps
//! the old one. Who wants to use a number again therefore looks at its book first. Dead items keep their numbers anyway,
//! or they could live again; the sweep removes them on its way. And a number that is used again forgets, under the same
//! locks, up to where it has been flushed when it stood for something else.
//!
//! Readers have no part in this. One that looks at an item holds the locks of the log and the index, so the number that
//! it sees has an item, and its mark is not forgotten meanwhile. Those that look at copies (`walk.rs`, `save.rs`) see in
//! `Shard::renumberings` that numbers may have changed since, and copy again.

use std::sync::atomic::Ordering;

use crate::Store;
use crate::item::NamespaceId;
use crate::log::Location;
use crate::record::{Head, Record};
use crate::shard::Shard;
use crate::stats::count;
use crate::turn::Turn;

impl Store {
    /// To be called after [`Namespaces::of`](crate::Namespaces::of) has begun to say other numbers than before: sweeps
    /// give the items of those keys their numbers. No item may have one of the numbers `fresh`, and `of` must not have
    /// said one of them since the last call ended and before this one was about to be made: they have never been flushed.
    pub fn renumber(&self, fresh: &[NamespaceId]) {
        for shard in &self.shards {
            shard.begin_renumbering(fresh);
        }
    }

    /// Whether all items have the numbers of their keys, or cannot have them because what has these was flushed since
    /// they were stored. They are asked for one shard after the other, so none may begin to be renumbered meanwhile.
    pub fn is_renumbered(&self) -> bool {
        let mut shards = self.shards.iter();
        shards.all(|shard| !shard.writer().books.is_renumbering)
    }
}

impl Shard {
    fn begin_renumbering(&self, fresh: &[NamespaceId]) {
        let mut writer = self.writer();
        // Before the marks: who sees one of these sees that.
        self.renumberings.fetch_add(1, Ordering::Release);
        for id in fresh {
            if let Some(mark) = self.marks.get(usize::from(*id)) {
                mark.store(writer.flushed, Ordering::Release);
            }
        }
        let books = &mut writer.books;
        books.revision += 1;
        books.renumbered = books.revision;
        books.is_renumbering = true;
        books.is_mixed = true;
        books.has_exceptions = false;
    }

    /// Whether numbers in what was copied after so many renumberings are still those of the items.
    pub(crate) fn is_numbered_since(&self, renumberings: u64) -> bool {
        self.renumberings.load(Ordering::Acquire) == renumberings
    }
}

impl Turn<'_> {
    /// The number of an item of this key that has the number `old`.
    #[inline]
    pub(crate) fn number(&mut self, key: &[u8], cas: u64, old: NamespaceId) -> NamespaceId {
        if self.writer.books.is_mixed {
            self.new_number(key, cas, old)
        } else {
            old
        }
    }

    #[cold]
    fn new_number(&mut self, key: &[u8], cas: u64, old: NamespaceId) -> NamespaceId {
        let number = self.namespaces.map_or(old, |namespaces| namespaces.of(key));
        if number != old && self.shard.is_flushed(cas, number) {
            self.writer.books.has_exceptions = true;
            return old;
        }
        number
    }

    /// The number that a live record gets, which is about to be moved; the books know it then.
    pub(crate) fn renumber(&mut self, record: &Record<'_>) -> NamespaceId {
        let old = record.head.namespace;
        let number = self.number(record.key, record.head.cas, old);
        if number != old {
            self.writer.books.transfer(old, number, count(record.len()));
        }
        number
    }

    /// Whether items of the segment may have another number than their keys.
    pub(crate) fn is_outdated(&self, segment: u32) -> bool {
        let renumbered = self.writer.books.renumbered;
        let segment = self.writer.segments.get(segment as usize);
        segment.is_some_and(|segment| segment.revision < renumbered)
    }

    /// Gives a record that is not dead the number of its key, if the index still refers to it.
    pub(crate) fn renumber_record(&mut self, location: Location, record: &Record<'_>) {
        let old = record.head;
        let number = self.number(record.key, old.cas, old.namespace);
        if number == old.namespace {
            return;
        }
        let place = self.index.place(record.key);
        if self.index.find_at(place, location).is_some() {
            self.transfer(location, &old, number, count(record.len()));
        }
    }

    /// The same for a large one.
    pub(crate) fn renumber_large(&mut self, location: Location, charge: u64) {
        if !self.writer.books.is_renumbering {
            return;
        }
        let shard = self.shard;
        let log = shard.log();
        let renumbered = log.find(location).map(|spot| {
            let record = spot.item().record;
            let old = record.head;
            (old, self.number(record.key, old.cas, old.namespace))
        });
        drop(log);
        if let Some((old, number)) = renumbered
            && number != old.namespace
        {
            self.transfer(location, &old, number, charge);
        }
    }

    fn transfer(&mut self, location: Location, old: &Head, number: NamespaceId, charge: u64) {
        self.writer.books.transfer(old.namespace, number, charge);
        let head = Head {
            namespace: number,
            ..*old
        };
        self.shard.log_mut().overwrite_head(location, &head);
    }

    /// To be called when all slots have just been looked through: the shard is done if all segments are.
    pub(crate) fn end_renumbering(&mut self) {
        let books = &self.writer.books;
        let renumbered = books.renumbered;
        let mut segments = self.writer.segments.iter();
        if books.is_renumbering
            && segments.all(|segment| !segment.used || segment.revision >= renumbered)
        {
            let books = &mut self.writer.books;
            books.is_renumbering = false;
            books.is_mixed = books.has_exceptions;
            self.shard.renumberings.fetch_add(1, Ordering::Release);
        }
    }
}
