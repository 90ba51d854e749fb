//! How items are written: what the storing operations have in common, each in one turn.

use crate::Store;
use crate::compress::{Attempt, compressing};
use crate::expire::death;
use crate::index::Place;
use crate::item::{NewItem, NewValue};
use crate::number;
use crate::outcome::{Arithmetic, Lookup, StoreOutcome};
use crate::record::Record;
use crate::time::{Expiry, Time};
use crate::turn::{Kept, Old, Put, Turn};

impl Store {
    /// Stores the item unless there is a refusal.
    pub(crate) fn store_unless(
        &self,
        key: &[u8],
        new: NewItem<'_>,
        now: Time,
        refusal: impl FnOnce(&Turn<'_>, Place) -> Option<StoreOutcome>,
    ) -> StoreOutcome {
        if !self.fits(key.len(), new.client_flags, new.value.len()) {
            return StoreOutcome::TooLarge;
        }
        let kept = Kept {
            client_flags: new.client_flags,
            expiry: new.expiry,
            has_expiry: new.expiry != Expiry::Never,
        };
        compressing(new.value, self.compress_len_min, |value, attempt| {
            let Some((place, mut turn)) = self.turn_for(key, now) else {
                return StoreOutcome::NoMemory;
            };
            if !turn.has_room_for(key.len(), value.len()) {
                return StoreOutcome::NoMemory;
            }
            if let Some(outcome) = refusal(&turn, place) {
                return outcome;
            }
            let put = Put::new(key, kept, value, attempt);
            turn.store(place, put, attempt)
        })
    }

    /// Stores the live item again with a value that is `added_len` bytes longer.
    pub(crate) fn extend(
        &self,
        key: &[u8],
        added_len: usize,
        now: Time,
        join: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> StoreOutcome {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return StoreOutcome::NotStored;
        };
        let extended = turn.look(place, key, |_, found| {
            let old = found.raw_value().ok_or(StoreOutcome::NotStored)?;
            let value_len = old.len().saturating_add(added_len);
            if !self.fits(key.len(), found.record.client_flags, value_len) {
                return Err(StoreOutcome::TooLarge);
            }
            Ok((Kept::of(&found.record), join(&old)))
        });
        let (kept, value) = match extended {
            Lookup::Miss(_) => return StoreOutcome::NotStored,
            Lookup::Hit(Err(outcome)) => return outcome,
            Lookup::Hit(Ok(extended)) => extended,
        };
        let value = NewValue::Owned(value.into());
        compressing(value, self.compress_len_min, |value, attempt| {
            if !turn.has_room_for(key.len(), value.len()) {
                return StoreOutcome::NoMemory;
            }
            let put = Put::new(key, kept, value, attempt);
            turn.store(place, put, attempt)
        })
    }

    /// Stores the live item again with another number.
    pub(crate) fn arithmetic(
        &self,
        key: &[u8],
        now: Time,
        change: impl Fn(u64) -> u64,
    ) -> Arithmetic {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return Arithmetic::NotFound;
        };
        if let Some((value, cas)) = turn.rewrite_number(place, key, &change) {
            return Arithmetic::Number { value, cas };
        }
        let changed = turn.look(place, key, |word, found| {
            let old = found.raw_value().ok_or(Arithmetic::NotFound)?;
            let number = number::parse(&old).ok_or(Arithmetic::NonNumeric)?;
            let number = change(number);
            let value = number::format(number, old.len());
            let value_len = value.as_slice().len();
            if !self.fits(key.len(), found.record.client_flags, value_len)
                || !turn.has_room_for(key.len(), value_len)
            {
                return Err(Arithmetic::NoMemory);
            }
            let kept = Kept::of(&found.record);
            Ok((
                number,
                value,
                kept,
                word.is_fetched(),
                Old::alive(word, &found),
            ))
        });
        let (number, value, kept, fetched, old) = match changed {
            Lookup::Miss(_) => return Arithmetic::NotFound,
            Lookup::Hit(Err(outcome)) => return outcome,
            Lookup::Hit(Ok(changed)) => changed,
        };
        let put = Put {
            fetched,
            ..Put::new(key, kept, NewValue::Copied(value.as_slice()), Attempt::Off)
        };
        match turn.put_over(place, Some(old), put) {
            Some(cas) => Arithmetic::Number { value: number, cas },
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
        let (word, found) = self
            .index
            .find(place, |location| log.find_key(location, key))?;
        let old = found.record;
        let is_alive = death(shard.mark(), &old, self.now).is_none();
        if !is_alive || found.shared.is_some() || old.compressed.is_some() {
            return None;
        }
        let number = change(number::parse(old.value)?);
        let value = number::format(number, old.value.len());
        if value.as_slice().len() != old.value.len() {
            return None;
        }
        let cas = self.writer.next_cas();
        let new = Record {
            cas,
            key,
            value: value.as_slice(),
            ..old
        };
        let location = word.location();
        log.write(location, &new);
        drop(log);
        self.note(location, |span| span.add(&new));
        Some((number, cas))
    }

    /// Stores the item and counts it.
    fn store(&mut self, place: Place, put: Put<'_>, attempt: Attempt) -> StoreOutcome {
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
