//! A writer's turn at a shard: what it does until the end of the turn happens at once.

use crate::budget::large_charge;
use crate::departure::Departure;
use crate::index::{Index, Place, Word};
use crate::item::{NamespaceId, NewValue};
use crate::log::{Found, Large, Location};
use crate::namespace::Namespaces;
use crate::outcome::{Lookup, Miss};
use crate::outside::Outside;
use crate::record::{Head, Record};
use crate::segment::{Chain, Span};
use crate::shard::{Shard, Writer};
use crate::stats::count;
use crate::sync::MutexGuard;
use crate::time::{Expiry, Time};

/// The table of a shard that holds one item, with room to spare.
const TABLE_LEN_MIN: u64 = 1024;

/// One segment to write to and one to evict with.
const SEGMENTS_MIN: usize = 2;

/// Holds a shard against other writers.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) index: &'a Index,
    pub(crate) shard: &'a Shard,
    pub(crate) outside: &'a Outside,
    pub(crate) number: usize,
    pub(crate) now: Time,
    pub(crate) evict: bool,
    pub(crate) namespaces: Option<&'a dyn Namespaces>,
    pub(crate) writer: MutexGuard<'a, Writer>,
}

/// An item that shall be stored.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    pub(crate) key: &'a [u8],
    /// With a new cas unique, unless it keeps the one that it has.
    pub(crate) head: Head,
    pub(crate) keeps_cas: bool,
    /// As it shall be stored: compressed or not.
    pub(crate) value: NewValue<'a>,
    pub(crate) fetched: bool,
    /// A client has sent it, so that it is counted.
    pub(crate) is_new: bool,
}

impl<'a> Put<'a> {
    pub(crate) const fn new(key: &'a [u8], head: Head, value: NewValue<'a>) -> Self {
        Self {
            key,
            head,
            keeps_cas: false,
            value,
            fetched: false,
            is_new: false,
        }
    }
}

/// The item that a key has, dead or alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    word: Word,
    gone: Gone,
    is_dead: bool,
}

/// What the books have of an item that is removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) namespace: NamespaceId,
    /// What it takes in a segment, 0 if it is a large one.
    pub(crate) record_len: usize,
}

impl Old {
    pub(crate) fn alive(word: Word, Found { record, shared }: &Found<'_>) -> Self {
        Self {
            word,
            gone: Gone {
                namespace: record.head.namespace,
                record_len: if shared.is_none() { record.len() } else { 0 },
            },
            is_dead: false,
        }
    }
}

impl Turn<'_> {
    /// Shows the item with the key to `visit`, dead or alive.
    fn find<R>(
        &self,
        place: Place,
        key: &[u8],
        visit: impl FnOnce(Word, Found<'_>) -> R,
    ) -> Option<R> {
        let log = self.shard.log();
        let pick = |location| log.find_key(location, key);
        let (word, spot) = self.index.find(place, pick)?;
        Some(visit(word, spot.item()))
    }

    /// Shows the live item with the key to `visit`.
    pub(crate) fn look<R>(
        &self,
        place: Place,
        key: &[u8],
        visit: impl FnOnce(Word, Found<'_>) -> R,
    ) -> Lookup<R> {
        let looked = self.find(place, key, |word, found| {
            match self.shard.death(&found.record.head, self.now) {
                Some(miss) => Lookup::Miss(miss),
                None => Lookup::Hit(visit(word, found)),
            }
        });
        looked.unwrap_or(Lookup::Miss(Miss::Absent))
    }

    /// What is known of the live item.
    pub(crate) fn live_head(&self, place: Place, key: &[u8]) -> Option<Head> {
        match self.look(place, key, |_, found| found.record.head) {
            Lookup::Hit(head) => Some(head),
            Lookup::Miss(_) => None,
        }
    }

    fn old(&self, place: Place, key: &[u8]) -> Option<Old> {
        self.find(place, key, |word, found| Old {
            is_dead: self.shard.death(&found.record.head, self.now).is_some(),
            ..Old::alive(word, &found)
        })
    }

    /// Whether the item could be stored if it were alone.
    pub(crate) fn has_room_for(&self, key_len: usize, value_len: usize) -> bool {
        let writer = &self.writer;
        let is_large = self.is_large(value_len);
        // Nearly always: what is charged is a segment above the budget at most.
        if !is_large && writer.allocated() > SEGMENTS_MIN {
            return true;
        }
        let needed = if is_large {
            large_charge(key_len, value_len)
        } else {
            0
        };
        let segments = (SEGMENTS_MIN * writer.segment_len) as u64;
        // The table shrinks when everything else goes.
        let fixed = writer.fixed() - writer.table_bytes + TABLE_LEN_MIN;
        fixed.saturating_add(needed).saturating_add(segments) <= writer.budget
    }

    pub(crate) fn is_large(&self, value_len: usize) -> bool {
        value_len >= self.writer.large_len_min()
    }

    /// Stores the item and returns the cas unique that clients see; `None` if there is no room.
    pub(crate) fn put(&mut self, place: Place, put: Put<'_>) -> Option<u64> {
        let old = self.old(place, put.key);
        self.put_over(place, old, put)
    }

    /// The same, for who knows the item that the key has.
    pub(crate) fn put_over(
        &mut self,
        place: Place,
        old: Option<Old>,
        mut put: Put<'_>,
    ) -> Option<u64> {
        self.note_written(place);
        if !put.keeps_cas {
            put.head.cas = self.writer.next_cas();
        }
        put.head.namespace = match (old, self.namespaces) {
            (Some(old), _) => self.number(put.key, put.head.cas, old.gone.namespace),
            (None, Some(namespaces)) => namespaces.of(put.key),
            (None, None) => 0,
        };
        let stored_in = put.is_new.then_some(put.head.namespace);
        let unique = put.head.unique();
        let value = put.value.as_slice();
        if self.is_large(value.len()) {
            self.put_large(place, put, old)?;
            return Some(self.count_put(stored_in, unique));
        }
        let record = Record {
            head: put.head,
            key: put.key,
            value,
        };
        if let Some(old) = old
            && old.gone.record_len == record.len()
        {
            self.overwrite(place, old, &record, put.fetched);
            return Some(self.count_put(stored_in, unique));
        }
        let is_main = self.queue_for(place, old)?;
        let chain = Chain::new(is_main, record.head.expiry, self.now);
        let location = self.reserve(chain, record.len())?;
        self.shard.log_mut().write(location, &record);
        self.note(location, |span| span.add(&record.head));
        let word = Word::new(place, location)
            .main(is_main)
            .fetched(put.fetched);
        let len = count(record.len());
        self.writer.books.enter(record.head.namespace, len);
        self.publish(place, put.key, word);
        Some(self.count_put(stored_in, unique))
    }

    /// Counts an item of a client's; returns its cas unique.
    fn count_put(&mut self, stored_in: Option<NamespaceId>, unique: u64) -> u64 {
        if let Some(namespace) = stored_in {
            self.writer.books.count_stored(namespace);
        }
        unique
    }

    /// Writes a record over the one that has its key and its length.
    fn overwrite(&mut self, place: Place, old: Old, record: &Record<'_>, fetched: bool) {
        let location = old.word.location();
        if old.gone.namespace != record.head.namespace {
            let (from, to) = (old.gone.namespace, record.head.namespace);
            self.writer.books.transfer(from, to, count(record.len()));
        }
        self.shard.log_mut().write(location, record);
        if old.word.is_fetched() != fetched {
            self.index
                .update(place, location, |word| word.fetched(fetched));
        }
        self.note(location, |span| span.add(&record.head));
        self.count_dead(old.word, old.is_dead);
    }

    fn put_large(&mut self, place: Place, put: Put<'_>, old: Option<Old>) -> Option<()> {
        let charge = large_charge(put.key.len(), put.value.len());
        let is_main = self.queue_for(place, old)?;
        self.reserve_large(charge)?;
        let slot = self.add_slot(place, is_main, charge);
        self.writer.books.enter(put.head.namespace, charge);
        let large = Large::new(put.head, put.key, put.value, &self.outside.spare);
        self.shard.log_mut().put_large(slot, large);
        let word = Word::new(place, Location::large(slot))
            .main(is_main)
            .fetched(put.fetched);
        self.publish(place, put.key, word);
        Some(())
    }

    /// The queue of a new item: main if it was evicted not long ago. One that is rewritten stays where
    /// it is. Makes room in the table for a new one.
    fn queue_for(&mut self, place: Place, old: Option<Old>) -> Option<bool> {
        if let Some(old) = old {
            return Some(old.word.is_main());
        }
        if !self.make_table_room() || self.writer.budget < self.writer.fixed() {
            return None;
        }
        Some(self.writer.ghost.take(place.hash))
    }

    /// Lets the index refer to an item that has been written, instead of to its predecessor.
    fn publish(&mut self, place: Place, key: &[u8], word: Word) {
        // Asked again: what made room may have moved or evicted the predecessor.
        match self.old(place, key) {
            Some(old) => {
                let successor = |old: Word| word.with_frequency(old.frequency());
                self.index.update(place, old.word.location(), successor);
                self.kill(old.word, old.gone);
                self.count_dead(old.word, old.is_dead);
            }
            None => self.index.insert(place, word),
        }
    }

    /// Removes the item with the key, dead or alive; returns whether it was alive.
    pub(crate) fn remove(&mut self, place: Place, key: &[u8]) -> bool {
        self.note_written(place);
        let Some(old) = self.old(place, key) else {
            return false;
        };
        self.index.remove(place, old.word.location());
        self.shard.departures.note(place.hash, Departure::Deleted);
        self.kill(old.word, old.gone);
        self.count_dead(old.word, old.is_dead);
        self.drop_table_room();
        !old.is_dead
    }

    /// Gives the live item another expiry; returns why not if there is none.
    pub(crate) fn touch(&mut self, place: Place, key: &[u8], expiry: Expiry) -> Option<Miss> {
        let used_seconds = self.now.as_seconds();
        let touched = self.amend(place, key, |head| {
            head.expiry = expiry;
            head.used_seconds = used_seconds;
        });
        match touched {
            // Without room it keeps the expiry that it has.
            Lookup::Hit(_) => None,
            Lookup::Miss(miss) => Some(miss),
        }
    }

    /// Changes the head of the live item, in place if it stays as long as it was. Returns it as it was, and as it is:
    /// the same if there is no room for a longer one.
    pub(crate) fn amend(
        &mut self,
        place: Place,
        key: &[u8],
        change: impl FnOnce(&mut Head),
    ) -> Lookup<(Head, Head)> {
        let looked = self.look(place, key, |word, Found { record, .. }| {
            let old = record.head;
            let mut new = old;
            change(&mut new);
            new.has_expiry |= new.expiry != Expiry::Never;
            let is_in_place = word.location().slot().is_some() || new.len() == old.len();
            // As it is stored, compressed or not.
            let value = (!is_in_place).then(|| record.value.to_vec());
            (word, old, new, value)
        });
        let (word, old, new, value) = match looked {
            Lookup::Hit(seen) => seen,
            Lookup::Miss(miss) => return Lookup::Miss(miss),
        };
        let Some(value) = value else {
            let location = word.location();
            self.shard.log_mut().overwrite_head(location, &new);
            self.note(location, |span| span.add(&new));
            return Lookup::Hit((old, new));
        };
        let put = Put {
            keeps_cas: true,
            fetched: word.is_fetched(),
            ..Put::new(key, new, NewValue::Copied(&value))
        };
        match self.put(place, put) {
            Some(_) => Lookup::Hit((old, new)),
            None => Lookup::Hit((old, old)),
        }
    }

    /// Tells eviction that somebody uses the item.
    pub(crate) fn mark_used(&self, place: Place, key: &[u8]) {
        let log = self.shard.log();
        let pick = |location| log.find_key(location, key);
        self.index.use_item(place, pick, |_, _| ((), true));
    }

    /// What a snapshot has for the key is out of date.
    fn note_written(&mut self, place: Place) {
        if let Some(written) = &mut self.writer.written {
            written.note(place);
        }
    }

    /// Whether the key has an item, dead or alive.
    pub(crate) fn has(&self, place: Place, key: &[u8]) -> bool {
        self.find(place, key, |_, _| ()).is_some()
    }

    /// Notes a change of a segment's records.
    pub(crate) fn note(&mut self, location: Location, change: impl FnOnce(&mut Span)) {
        let segment = self.writer.segment_of(location);
        if let Some(segment) = segment.and_then(|number| self.writer.segment_mut(number)) {
            change(&mut segment.span);
        }
    }

    /// Takes an item that the index no longer refers to off the books.
    pub(crate) fn kill(&mut self, word: Word, gone: Gone) {
        if let Some(slot) = word.location().slot() {
            self.free_slot(slot, word.is_main(), gone.namespace);
            return;
        }
        let len = count(gone.record_len);
        self.writer.books.leave(gone.namespace, len);
        let segment = self.writer.segment_of(word.location());
        if let Some(segment) = segment.and_then(|number| self.writer.segment_mut(number)) {
            segment.live -= gone.record_len;
        }
    }

    pub(crate) fn count_dead(&mut self, word: Word, is_dead: bool) {
        if is_dead {
            self.writer.counters.reclaimed += 1;
            self.writer.counters.expired_unfetched += u64::from(!word.is_fetched());
        }
    }
}
