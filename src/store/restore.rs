//! [`Restore`]: takes the items of a snapshot back into a store that clients already use.
//!
//! What clients have written or deleted meanwhile is newer, and stays as they left it. Nothing is evicted for what a
//! snapshot holds: since its newest items come first, those that find no room are the oldest. Each becomes the oldest
//! of its queue, so that what was older than another item is so again.

use std::collections::HashSet;

use bytes::Bytes;
use foldhash::fast::FixedState;
use lz4_flex::block::decompress_into;

use crate::Store;
use crate::budget::large_charge;
use crate::compress::{Attempt, compressing};
use crate::index::{Place, Word};
use crate::item::NewValue;
use crate::log::{Large, Location};
use crate::outside::Arriving;
use crate::record::{Head, MARKS, Record};
use crate::segment::Chain;
use crate::shard::Queue;
use crate::snapshot::{BlockHeader, Entry, Saved};
use crate::stats::count;
use crate::time::{Expiry, Time};
use crate::turn::Turn;

/// So many keys of a shard may be written while a snapshot comes back; with more, the rest of it stays out there.
const WRITTEN_MAX: usize = 16_384;

/// What has been written to a shard since a snapshot began to come back.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Hashes of keys, which are seeded at random already.
    keys: HashSet<u64, FixedState>,
    is_full: bool,
}

impl Written {
    pub(crate) fn note(&mut self, place: Place) {
        if self.keys.len() < WRITTEN_MAX {
            self.keys.insert(place.hash);
        } else {
            self.is_full |= !self.keys.contains(&place.hash);
        }
    }

    fn may_have(&self, place: Place) -> bool {
        self.is_full || self.keys.contains(&place.hash)
    }
}

/// What became of the items of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Items that are back.
    pub items: u64,
    /// Those that have died since, by their expiry or by a flush.
    pub dead: u64,
    /// Those whose keys have been written since, or may have been.
    pub superseded: u64,
    /// Those that found no room.
    pub no_room: u64,
    /// Blocks that were damaged, and items of which a part was in one.
    pub damaged: u64,
}

/// An item of which a part has come.
#[derive(Debug)]
struct Begun<'s> {
    saved: Saved,
    key: Box<[u8]>,
    value: Vec<u8>,
    /// Charges for the value.
    _arriving: Arriving<'s>,
    /// The block that the next part must be in.
    next: u32,
}

/// Takes blocks back; see [`Store::restore`]. When it is dropped, the store is as any other.
#[derive(Debug)]
pub struct Restore<'s> {
    store: &'s Store,
    keeps_expiry: bool,
    begun: Option<Begun<'s>>,
    raw: Vec<u8>,
    restored: Restored,
}

/// The moment a block comes back, on both clocks.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Time,
    unix_millis: u64,
}

impl Store {
    /// Begins to take a snapshot back. Without `keeps_expiry` its items never die. There is one at a time.
    ///
    /// The store's [`Config::cas_start`](crate::Config::cas_start) must not be below the snapshot's
    /// [`BlockHeader::last_cas`]: items that have a higher cas unique than the store are taken for damaged.
    pub fn restore(&self, keeps_expiry: bool) -> Restore<'_> {
        for shard in &self.shards {
            shard.writer().written = Some(Box::default());
        }
        Restore {
            store: self,
            keeps_expiry,
            begun: None,
            raw: Vec::new(),
            restored: Restored::default(),
        }
    }
}

impl Restore<'_> {
    /// What has become of the items so far.
    pub const fn restored(&self) -> Restored {
        self.restored
    }

    /// Counts something that could not be read at all.
    pub const fn count_damage(&mut self) {
        self.restored.damaged += 1;
    }

    /// Takes the items of a block back, or none of them if it is damaged. `body` has
    /// [`BlockHeader::body_len`] bytes; `now` is `unix_millis` after 1970.
    pub fn block(&mut self, header: &BlockHeader, body: &[u8], now: Time, unix_millis: u64) {
        let mut raw = std::mem::take(&mut self.raw);
        raw.resize(header.raw_len, 0);
        let is_whole = crc32fast::hash(body) == header.body_checksum
            && (header.is_last()
                || decompress_into(body, &mut raw).is_ok_and(|len| len == header.raw_len));
        if is_whole {
            let moment = Moment { now, unix_millis };
            let mut rest = raw.as_slice();
            while let Some(entry) = Entry::take(&mut rest) {
                self.entry(entry, header.number, moment);
            }
            if !rest.is_empty() {
                self.count_damage();
            }
        } else {
            self.count_damage();
        }
        if header.is_last() {
            self.give_up_begun();
        }
        self.raw = raw;
    }

    fn give_up_begun(&mut self) {
        if self.begun.take().is_some() {
            self.count_damage();
        }
    }

    fn entry(&mut self, entry: Entry<'_>, block: u32, moment: Moment) {
        match entry {
            Entry::First(saved, key, part) => {
                self.give_up_begun();
                if part.len() == saved.value_len as usize {
                    self.put(&saved, key, NewValue::Copied(part), moment);
                    return;
                }
                let mut arriving = self.store.arriving();
                let fits = self
                    .store
                    .fits(key.len(), saved.client_flags, saved.value_len as usize);
                if !fits || !arriving.grow(saved.value_len.into()) {
                    self.restored.no_room += 1;
                    return;
                }
                // As long as it says: the block's checksum vouches for that.
                let mut value = Vec::with_capacity(saved.value_len as usize);
                value.extend_from_slice(part);
                self.begun = Some(Begun {
                    saved,
                    key: key.into(),
                    value,
                    _arriving: arriving,
                    next: block.wrapping_add(1),
                });
            }
            Entry::More(part) => {
                // None: it found no room, or a part of it was damaged, and that was counted then.
                let Some(mut begun) = self.begun.take() else {
                    return;
                };
                begun.value.extend_from_slice(part);
                let missing = (begun.saved.value_len as usize).checked_sub(begun.value.len());
                match missing {
                    Some(0) if begun.next == block => {
                        let value = NewValue::Owned(Bytes::from(begun.value));
                        self.put(&begun.saved, &begun.key, value, moment);
                    }
                    Some(_) if begun.next == block => {
                        begun.next = block.wrapping_add(1);
                        self.begun = Some(begun);
                    }
                    _ => self.count_damage(),
                }
            }
        }
    }

    fn put(&mut self, saved: &Saved, key: &[u8], value: NewValue<'_>, moment: Moment) {
        let left = saved
            .expiry
            .filter(|_| self.keeps_expiry)
            .map(|at| at.saturating_sub(moment.unix_millis));
        if left == Some(0) {
            self.restored.dead += 1;
            return;
        }
        let expiry = left.map_or(Expiry::Never, |left| {
            let at = moment.now.as_millis().saturating_add(left);
            Expiry::At(Time::from_millis(at))
        });
        let head = Head {
            cas: saved.cas,
            given_cas: saved.given_cas,
            marks: saved.marks & MARKS,
            ..Head::new(saved.client_flags, expiry, moment.now)
        };
        if !self.store.fits(key.len(), saved.client_flags, value.len()) {
            self.restored.no_room += 1;
            return;
        }
        let store = self.store;
        let outcome = compressing(value, store.compress_len_min, |value, attempt| {
            let (place, mut turn) = store.turn_for(key, moment.now)?;
            // Nothing that is there goes for what was.
            turn.evict = false;
            Some(turn.restore(place, key, saved, (head, attempt, value)))
        });
        match outcome {
            Some(Outcome::Back) => self.restored.items += 1,
            Some(Outcome::Dead) => self.restored.dead += 1,
            Some(Outcome::Superseded) => self.restored.superseded += 1,
            Some(Outcome::Damaged) => self.restored.damaged += 1,
            Some(Outcome::NoRoom) | None => self.restored.no_room += 1,
        }
    }
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        for shard in &self.store.shards {
            let writer = &mut *shard.writer();
            let written = writer.written.take();
            writer.small.seal_restored();
            writer.main.seal_restored();
            drop(written);
        }
    }
}

impl Queue {
    fn seal_restored(&mut self) {
        for open in &mut self.restored {
            if let Some(number) = open.take() {
                self.segments.push_front(number);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Back,
    Dead,
    Superseded,
    NoRoom,
    Damaged,
}

impl Turn<'_> {
    /// Stores an item as the oldest of its queue, unless its key has been written since.
    fn restore(
        &mut self,
        place: Place,
        key: &[u8],
        saved: &Saved,
        (mut head, attempt, value): (Head, Attempt, NewValue<'_>),
    ) -> Outcome {
        if saved.cas > self.writer.last_cas {
            return Outcome::Damaged;
        }
        // Whatever has been flushed since, was flushed with all that was written before.
        head.namespace = self.namespaces.map_or(0, |namespaces| namespaces.of(key));
        if self.shard.is_flushed(saved.cas, head.namespace) {
            return Outcome::Dead;
        }
        let written = self.writer.written.as_ref();
        if written.is_none_or(|written| written.may_have(place)) || self.has(place, key) {
            return Outcome::Superseded;
        }
        head.compressed = attempt.compressed();
        let located = if self.has_room_for(key.len(), value.len()) && self.make_table_room() {
            self.restore_at(place, key, saved.is_main, (head, value))
        } else {
            None
        };
        let Some(location) = located else {
            return Outcome::NoRoom;
        };
        let word = Word::new(place, location)
            .main(saved.is_main)
            .fetched(saved.is_fetched)
            .with_frequency(saved.frequency.into());
        self.index.insert(place, word);
        Outcome::Back
    }

    fn restore_at(
        &mut self,
        place: Place,
        key: &[u8],
        is_main: bool,
        (head, value): (Head, NewValue<'_>),
    ) -> Option<Location> {
        if self.is_large(value.len()) {
            let charge = large_charge(key.len(), value.len());
            self.reserve_large(charge)?;
            let slot = self.take_slot(place, is_main, (charge, head.cas));
            let queue = self.writer.queue(is_main);
            queue.large.push_front((slot, head.cas));
            self.writer.books.enter(head.namespace, charge);
            let large = Large::new(head, key, value, &self.outside.spare);
            self.shard.log_mut().put_large(slot, large);
            return Some(Location::large(slot));
        }
        let record = Record {
            head,
            key,
            value: value.as_slice(),
        };
        let chain = Chain {
            is_restored: true,
            ..Chain::new(is_main, head.expiry, self.now)
        };
        let location = self.reserve(chain, record.len())?;
        self.shard.log_mut().write(location, &record);
        self.note(location, |span| span.add(&head));
        self.writer.books.enter(head.namespace, count(record.len()));
        let segment = self.writer.segment_of(location);
        if let Some(segment) = segment.and_then(|number| self.writer.segment_mut(number)) {
            segment.stamp = segment.stamp.min(head.cas);
        }
        Some(location)
    }
}
