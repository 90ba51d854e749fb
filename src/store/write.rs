//! How items are written: what the storing operations have in common, each in one turn.

use crate::Store;
use crate::item::{Item, NewItem};
use crate::number;
use crate::outcome::{Arithmetic, Lookup, StoreOutcome};
use crate::time::Time;
use crate::turn::Turn;

impl Store {
    /// Stores the item unless there is a refusal.
    pub(crate) fn store_unless(
        &self,
        key: &[u8],
        new: NewItem<'_>,
        now: Time,
        refusal: impl FnOnce(&Turn<'_>) -> Option<StoreOutcome>,
    ) -> StoreOutcome {
        let value_len = new.value.len();
        if !self.fits(key.len(), new.client_flags, value_len) {
            return StoreOutcome::TooLarge;
        }
        // Made before the turn: nobody waits for the copy.
        let Some(item) = Item::new(key, new, now) else {
            return StoreOutcome::TooLarge;
        };
        let mut turn = self.turn(key, now);
        if !turn.has_room_for(value_len) {
            return StoreOutcome::NoMemory;
        }
        if let Some(outcome) = refusal(&turn) {
            return outcome;
        }
        StoreOutcome::Stored {
            cas: turn.put_counted(item),
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
        let mut turn = self.turn(key, now);
        let extended = turn.look(|old| {
            let value = old.value();
            let value_len = value.as_slice().len().saturating_add(added_len);
            if !self.fits(key.len(), old.client_flags(), value_len) {
                return Err(StoreOutcome::TooLarge);
            }
            if !turn.has_room_for(value_len) {
                return Err(StoreOutcome::NoMemory);
            }
            old.with_value(join(value.as_slice()), now)
                .ok_or(StoreOutcome::TooLarge)
        });
        match extended {
            Lookup::Miss(_) => StoreOutcome::NotStored,
            Lookup::Hit(Err(outcome)) => outcome,
            Lookup::Hit(Ok(item)) => StoreOutcome::Stored {
                cas: turn.put_counted(item),
            },
        }
    }

    /// Stores the live item again with another number.
    pub(crate) fn arithmetic(
        &self,
        key: &[u8],
        now: Time,
        change: impl FnOnce(u64) -> u64,
    ) -> Arithmetic {
        let mut turn = self.turn(key, now);
        let changed = turn.look(|old| {
            let old_value = old.value();
            let number = number::parse(old_value.as_slice()).ok_or(Arithmetic::NonNumeric)?;
            let number = change(number);
            let value = number::format(number, old_value.as_slice().len());
            let value_len = value.len();
            if !self.fits(key.len(), old.client_flags(), value_len) || !turn.has_room_for(value_len)
            {
                return Err(Arithmetic::NoMemory);
            }
            let item = old.with_value(value, now).ok_or(Arithmetic::NoMemory)?;
            if old.is_fetched() {
                item.mark_fetched();
            }
            Ok((number, item))
        });
        match changed {
            Lookup::Miss(_) => Arithmetic::NotFound,
            Lookup::Hit(Err(outcome)) => outcome,
            Lookup::Hit(Ok((value, item))) => Arithmetic::Number {
                value,
                cas: turn.put(item),
            },
        }
    }
}
