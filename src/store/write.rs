//! How items are written: what the storing operations have in common, each in one turn.

use crate::Store;
use crate::index::Place;
use crate::item::{NewItem, NewValue};
use crate::number;
use crate::outcome::{Arithmetic, Lookup, StoreOutcome};
use crate::time::{Expiry, Time};
use crate::turn::{Put, Turn};

impl Store {
    /// Stores the item unless there is a refusal.
    pub(crate) fn store_unless(
        &self,
        key: &[u8],
        new: NewItem<'_>,
        now: Time,
        refusal: impl FnOnce(&Turn<'_>, Place) -> Option<StoreOutcome>,
    ) -> StoreOutcome {
        let value_len = new.value.len();
        if !self.fits(key.len(), new.client_flags, value_len) {
            return StoreOutcome::TooLarge;
        }
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return StoreOutcome::NoMemory;
        };
        if !turn.has_room_for(key.len(), value_len) {
            return StoreOutcome::NoMemory;
        }
        if let Some(outcome) = refusal(&turn, place) {
            return outcome;
        }
        let put = Put {
            key,
            client_flags: new.client_flags,
            expiry: new.expiry,
            has_expiry: new.expiry != Expiry::Never,
            value: new.value,
            fetched: false,
            cas: None,
        };
        match turn.put(place, put) {
            Some(cas) => {
                turn.writer.counters.total_items += 1;
                StoreOutcome::Stored { cas }
            }
            None => StoreOutcome::NoMemory,
        }
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
            let old = found.record;
            let value_len = old.value.len().saturating_add(added_len);
            if !self.fits(key.len(), old.client_flags, value_len) {
                return Err(StoreOutcome::TooLarge);
            }
            if !turn.has_room_for(key.len(), value_len) {
                return Err(StoreOutcome::NoMemory);
            }
            Ok((
                old.client_flags,
                old.expiry,
                old.has_expiry,
                join(old.value),
            ))
        });
        let (client_flags, expiry, has_expiry, value) = match extended {
            Lookup::Miss(_) => return StoreOutcome::NotStored,
            Lookup::Hit(Err(outcome)) => return outcome,
            Lookup::Hit(Ok(extended)) => extended,
        };
        let value = NewValue::Owned(value.into());
        let put = Put {
            key,
            client_flags,
            expiry,
            has_expiry,
            value,
            fetched: false,
            cas: None,
        };
        match turn.put(place, put) {
            Some(cas) => {
                turn.writer.counters.total_items += 1;
                StoreOutcome::Stored { cas }
            }
            None => StoreOutcome::NoMemory,
        }
    }

    /// Stores the live item again with another number.
    pub(crate) fn arithmetic(
        &self,
        key: &[u8],
        now: Time,
        change: impl FnOnce(u64) -> u64,
    ) -> Arithmetic {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return Arithmetic::NotFound;
        };
        let changed = turn.look(place, key, |word, found| {
            let old = found.record;
            let number = number::parse(old.value).ok_or(Arithmetic::NonNumeric)?;
            let number = change(number);
            let value = number::format(number, old.value.len());
            if !self.fits(key.len(), old.client_flags, value.len())
                || !turn.has_room_for(key.len(), value.len())
            {
                return Err(Arithmetic::NoMemory);
            }
            Ok((
                number,
                value,
                old.client_flags,
                old.expiry,
                old.has_expiry,
                word.is_fetched(),
            ))
        });
        let (number, value, client_flags, expiry, has_expiry, fetched) = match changed {
            Lookup::Miss(_) => return Arithmetic::NotFound,
            Lookup::Hit(Err(outcome)) => return outcome,
            Lookup::Hit(Ok(changed)) => changed,
        };
        let value = NewValue::Copied(&value);
        let put = Put {
            key,
            client_flags,
            expiry,
            has_expiry,
            value,
            fetched,
            cas: None,
        };
        match turn.put(place, put) {
            Some(cas) => Arithmetic::Number { value: number, cas },
            None => Arithmetic::NoMemory,
        }
    }
}
