//! How items are written: what the storing operations have in common, each in one turn.

use crate::Store;
use crate::compress::{Attempt, compressing};
use crate::conditional::Write;
use crate::index::Place;
use crate::item::{NewItem, NewValue};
use crate::number;
use crate::outcome::{Arithmetic, Lookup, StoreOutcome};
use crate::record::{HAS_ENCODED_KEY, Head};
use crate::sample::Use;
use crate::time::Time;
use crate::turn::{Old, Put, Turn};

impl Store {
    /// Stores the item with the head that `decide` makes of the one given to it, or answers what it says instead.
    pub(crate) fn store_if(
        &self,
        key: &[u8],
        new: NewItem<'_>,
        now: Time,
        decide: impl FnOnce(&Turn<'_>, Place, Head) -> Result<Head, StoreOutcome>,
    ) -> StoreOutcome {
        if !self.fits(key.len(), new.client_flags, new.value.len()) {
            return StoreOutcome::TooLarge;
        }
        let head = Head::new(new.client_flags, new.expiry, now);
        compressing(new.value, self.compress_len_min, |value, attempt| {
            let Some((place, mut turn)) = self.turn_for(key, now) else {
                return StoreOutcome::NoMemory;
            };
            if !turn.has_room_for(key.len(), value.len()) {
                return StoreOutcome::NoMemory;
            }
            let outcome = match decide(&turn, place, head) {
                Ok(head) => turn.store(place, Put::new(key, head, value), attempt),
                Err(outcome) => outcome,
            };
            drop(turn);
            if self.is_sampled(place) {
                self.sample(place, key, Use::Set, now);
            }
            outcome
        })
    }

    /// Stores the live item again with a value that is longer by that of `new`; returns also the length of what it
    /// stored, or would have.
    pub(crate) fn extend(
        &self,
        key: &[u8],
        new: &NewItem<'_>,
        write: &Write,
        now: Time,
    ) -> (StoreOutcome, usize) {
        let added = new.value.as_slice();
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return (StoreOutcome::NotStored, added.len());
        };
        let extended = turn.look(place, key, |_, found| {
            let head = found.record.head;
            if write.compare.is_some_and(|unique| unique != head.unique()) {
                return Err(StoreOutcome::Exists);
            }
            let old = found.raw_value().ok_or(StoreOutcome::NotStored)?;
            let value_len = old.len().saturating_add(added.len());
            if !self.fits(key.len(), head.client_flags, value_len) {
                return Err(StoreOutcome::TooLarge);
            }
            Ok((head.renewed(now), write.joined(&old, added)))
        });
        let (mut head, value) = match (extended, write.create) {
            (Lookup::Miss(_), Some(expiry)) => {
                let mut head = Head::new(new.client_flags, expiry, now);
                head.mark(HAS_ENCODED_KEY, write.encoded_key);
                (head, added.to_vec())
            }
            (Lookup::Miss(_), None) => return (StoreOutcome::NotStored, added.len()),
            (Lookup::Hit(Err(outcome)), _) => return (outcome, added.len()),
            (Lookup::Hit(Ok(extended)), _) => extended,
        };
        head.given_cas = write.cas;
        let value_len = value.len();
        let value = NewValue::Owned(value.into());
        let outcome = compressing(value, self.compress_len_min, |value, attempt| {
            if !turn.has_room_for(key.len(), value.len()) {
                return StoreOutcome::NoMemory;
            }
            turn.store(place, Put::new(key, head, value), attempt)
        });
        (outcome, value_len)
    }

    /// Stores the live item again with another number, as long as `again` says so of what became of that: in one turn
    /// as long as that is quick.
    pub(crate) fn arithmetic(
        &self,
        key: &[u8],
        now: Time,
        change: impl Fn(u64) -> u64,
        mut again: impl FnMut(Arithmetic) -> bool,
    ) {
        loop {
            let mut outcome = Arithmetic::NotFound;
            if let Some((place, mut turn)) = self.turn_for(key, now) {
                while let Some((value, cas)) = turn.rewrite_number(place, key, &change) {
                    if !again(Arithmetic::Number { value, cas }) {
                        return;
                    }
                }
                outcome = self.renew_number(&mut turn, place, key, &change);
            }
            if !again(outcome) {
                return;
            }
        }
    }

    /// The same once, in a turn.
    pub(crate) fn change_number(
        &self,
        turn: &mut Turn<'_>,
        place: Place,
        key: &[u8],
        change: impl Fn(u64) -> u64,
    ) -> Arithmetic {
        match turn.rewrite_number(place, key, &change) {
            Some((value, cas)) => Arithmetic::Number { value, cas },
            None => self.renew_number(turn, place, key, &change),
        }
    }

    /// Stores a number anew that cannot be written where it is.
    fn renew_number(
        &self,
        turn: &mut Turn<'_>,
        place: Place,
        key: &[u8],
        change: impl Fn(u64) -> u64,
    ) -> Arithmetic {
        let changed = turn.look(place, key, |word, found| {
            let old = found.raw_value().ok_or(Arithmetic::NotFound)?;
            let number = number::parse(&old).ok_or(Arithmetic::NonNumeric)?;
            let number = change(number);
            let value = number::format(number, old.len());
            let value_len = value.as_slice().len();
            if !self.fits(key.len(), found.record.head.client_flags, value_len)
                || !turn.has_room_for(key.len(), value_len)
            {
                return Err(Arithmetic::NoMemory);
            }
            Ok((
                number,
                value,
                found.record.head.renewed(turn.now),
                word.is_fetched(),
                Old::alive(word, &found),
            ))
        });
        let (number, value, head, fetched, old) = match changed {
            Lookup::Miss(_) => return Arithmetic::NotFound,
            Lookup::Hit(Err(outcome)) => return outcome,
            Lookup::Hit(Ok(changed)) => changed,
        };
        let put = Put {
            fetched,
            ..Put::new(key, head, NewValue::Copied(value.as_slice()))
        };
        match turn.put_over(place, Some(old), put) {
            Some(cas) => {
                turn.writer.books.count_counted(head.namespace);
                Arithmetic::Number { value: number, cas }
            }
            None => Arithmetic::NoMemory,
        }
    }
}

impl Turn<'_> {
    /// Changes the number of a live item in place, finding and writing it under one lock, if it is as long after as
    /// before: nearly always. Returns it and the new cas unique.
    fn rewrite_number(
        &mut self,
        place: Place,
        key: &[u8],
        change: impl Fn(u64) -> u64,
    ) -> Option<(u64, u64)> {
        let shard = self.shard;
        let mut log = shard.log_mut();
        let (word, spot) = self
            .index
            .find(place, |location| log.find_key(location, key))?;
        let found = spot.item();
        let old = found.record;
        let is_alive = shard.death(&old.head, self.now).is_none();
        if !is_alive
            || found.shared.is_some()
            || old.head.compressed.is_some()
            || old.head.given_cas.is_some()
        {
            return None;
        }
        let number = change(number::parse(old.value)?);
        let value = number::format(number, old.value.len());
        if value.as_slice().len() != old.value.len() {
            return None;
        }
        let cas = self.writer.next_cas();
        let (location, record_len) = (word.location(), old.len());
        let head = Head { cas, ..old.head };
        log.renew(location, record_len, cas, value.as_slice());
        drop(log);
        self.note(location, |span| span.add(&head));
        self.writer.books.count_counted(head.namespace);
        Some((number, cas))
    }

    /// Stores the item and counts it.
    fn store(&mut self, place: Place, mut put: Put<'_>, attempt: Attempt) -> StoreOutcome {
        put.head.compressed = attempt.compressed();
        put.is_new = true;
        let stored_len = put.value.len();
        match self.put(place, put) {
            Some(cas) => {
                self.writer.counters.count_stored(attempt, stored_len);
                StoreOutcome::Stored { cas }
            }
            None => StoreOutcome::NoMemory,
        }
    }
}
