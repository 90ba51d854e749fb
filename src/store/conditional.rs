//! Changes with conditions and with what else a client may want to decide about an item: its cas unique, what
//! becomes of it if it is not there, whether it stays as a stale one.

use crate::Store;
use crate::fetch::Create;
use crate::index::Place;
use crate::item::{NewItem, NewValue};
use crate::number;
use crate::outcome::{Arithmetic, Lookup, StoreOutcome};
use crate::record::{HAS_ENCODED_KEY, Head, IS_CLAIMED, IS_STALE};
use crate::sample::Use;
use crate::time::{Expiry, Time};
use crate::turn::{Put, Turn};

/// When a [`Store::write`] stores, and what becomes of the value that was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no other way")]
pub enum WriteMode {
    /// Whatever is there.
    #[default]
    Set,
    /// If nothing is there.
    Add,
    /// If something is there.
    Replace,
    /// Behind what is there, whose client flags and expiry stay.
    Append,
    /// Before what is there, whose client flags and expiry stay.
    Prepend,
}

/// How a [`Store::write`] stores.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Write {
    /// When, and what becomes of the value that was there.
    pub mode: WriteMode,
    /// Only over an item with this cas unique. Means nothing for [`WriteMode::Add`].
    pub compare: Option<u64>,
    /// A set or replace is also accepted over an item with a higher cas unique; the new value is stale then, and dies
    /// when the old one would have.
    pub accept_stale: bool,
    /// The cas unique of the item, if that is not to be a new one.
    pub cas: Option<u64>,
    /// See [`Marks::encoded_key`](crate::Marks::encoded_key).
    pub encoded_key: bool,
    /// An append or prepend stores its value as an item with this expiry if nothing is there.
    pub create: Option<Expiry>,
}

/// What a [`Store::remove`] leaves behind.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Remove {
    /// Only an item with this cas unique.
    pub compare: Option<u64>,
    /// It stays, as a stale one with a new cas unique.
    pub stale: bool,
    /// It stays, without value, with these client flags and this expiry.
    pub emptied: Option<(u32, Expiry)>,
    /// The expiry of one that stays as a stale one.
    pub touch: Option<Expiry>,
    /// The cas unique of one that stays.
    pub cas: Option<u64>,
}

/// What became of a [`Store::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "there is no other way")]
pub enum Removal {
    /// It is done.
    Done,
    /// No live item has the key.
    NotFound,
    /// The item has another cas unique.
    Exists,
    /// There is no room for what shall be left behind; the item is as it was.
    NoMemory,
}

/// How a [`Store::count`] counts.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct CountChange {
    /// Adds, wrapping at 2^64, or else subtracts, stopping at 0.
    pub up: bool,
    /// How much.
    pub delta: u64,
    /// Only an item with this cas unique.
    pub compare: Option<u64>,
    /// What becomes of an item that is not there: it gets this number, which is not changed.
    pub create: Option<(u64, Create)>,
    /// Gives the item this expiry.
    pub touch: Option<Expiry>,
    /// The cas unique of the item, if that is not to be a new one.
    pub cas: Option<u64>,
}

/// What became of a [`Store::count`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "there is no other way")]
pub enum Counted {
    /// It has been changed, or made.
    Number(Number),
    /// The item has another cas unique.
    Exists,
    /// Nothing was done, for this reason.
    Failed(Arithmetic),
}

/// A number that was counted, and its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Number {
    /// What it is now.
    pub value: u64,
    /// The cas unique of the item.
    pub cas: u64,
    /// When it would have died before it was touched.
    pub expiry_before: Expiry,
    /// When it dies.
    pub expiry: Expiry,
    /// There was none.
    pub created: bool,
}

impl Write {
    /// Without further conditions.
    pub(crate) fn new(mode: WriteMode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// A value and what an append or prepend adds to it.
    pub(crate) fn joined(&self, old: &[u8], added: &[u8]) -> Vec<u8> {
        match self.mode {
            WriteMode::Prepend => [added, old].concat(),
            _ => [old, added].concat(),
        }
    }

    /// The head of the new item, where `old` is; or why there will be none.
    fn head(&self, old: Option<Head>, mut new: Head) -> Result<Head, StoreOutcome> {
        new.given_cas = self.cas;
        new.mark(HAS_ENCODED_KEY, self.encoded_key);
        match (self.mode, self.compare, old) {
            (WriteMode::Add, _, Some(_)) | (WriteMode::Replace, None, None) => {
                Err(StoreOutcome::NotStored)
            }
            (WriteMode::Add, _, None) | (_, None, _) => Ok(new),
            (_, Some(_), None) => Err(StoreOutcome::NotFound),
            (_, Some(unique), Some(old)) if unique == old.unique() => Ok(new),
            (_, Some(unique), Some(old)) if self.accept_stale && unique < old.unique() => {
                new.expiry = old.expiry;
                new.has_expiry |= old.has_expiry;
                new.mark(IS_STALE, true);
                new.mark(IS_CLAIMED, old.is_marked(IS_CLAIMED));
                Ok(new)
            }
            (_, Some(_), Some(_)) => Err(StoreOutcome::Exists),
        }
    }
}

impl Store {
    /// Stores the item as `write` says. Returns also how long the value is then; if nothing was stored, that of `item`.
    ///
    /// Unlike [`Self::set`], it leaves what was there if there is no room.
    pub fn write(
        &self,
        key: &[u8],
        item: NewItem<'_>,
        write: &Write,
        now: Time,
    ) -> (StoreOutcome, usize) {
        let value_len = item.value.len();
        match write.mode {
            WriteMode::Set | WriteMode::Add | WriteMode::Replace => {
                let outcome = self.store_if(key, item, now, |turn, place, new| {
                    let is_free = write.mode == WriteMode::Set && write.compare.is_none();
                    let old = if is_free {
                        None
                    } else {
                        turn.live_head(place, key)
                    };
                    write.head(old, new)
                });
                (outcome, value_len)
            }
            WriteMode::Append | WriteMode::Prepend => self.extend(key, &item, write, now),
        }
    }

    /// Removes the item with the key, or leaves of it what `remove` says.
    pub fn remove(&self, key: &[u8], remove: &Remove, now: Time) -> Removal {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return Removal::NotFound;
        };
        let Some(old) = turn.live_head(place, key) else {
            return Removal::NotFound;
        };
        if remove.compare.is_some_and(|unique| unique != old.unique()) {
            return Removal::Exists;
        }
        let is_done = match (remove.emptied, remove.stale) {
            (None, false) => turn.remove(place, key),
            (None, true) => turn.make_stale(place, key, remove),
            (Some(emptied), stale) => {
                let put = Put {
                    keeps_cas: true,
                    ..Put::new(key, remove.head(old, emptied, now), NewValue::Copied(&[]))
                };
                turn.put(place, put).is_some() && (!stale || turn.make_stale(place, key, remove))
            }
        };
        drop(turn);
        if self.is_sampled(place) {
            self.sample(place, key, Use::Delete, now);
        }
        if is_done {
            Removal::Done
        } else {
            Removal::NoMemory
        }
    }

    /// Changes the number that is the value of a live item, as [`Self::incr`] and [`Self::decr`] do.
    pub fn count(&self, key: &[u8], count: &CountChange, now: Time) -> Counted {
        let Some((place, mut turn)) = self.turn_for(key, now) else {
            return Counted::Failed(Arithmetic::NotFound);
        };
        let old = turn.live_head(place, key);
        let compare = count.compare.zip(old);
        if compare.is_some_and(|(unique, old)| unique != old.unique()) {
            return Counted::Exists;
        }
        let (value, cas, expiry_before) = match (old, count.create) {
            (None, Some((initial, create))) => {
                let create = Create {
                    cas: count.cas,
                    ..create
                };
                let text = number::format(initial, 0);
                match turn.create(place, key, text.as_slice(), &create) {
                    Some(cas) => (initial, cas, Expiry::Never),
                    None => return Counted::Failed(Arithmetic::NoMemory),
                }
            }
            _ => match self.change_number(&mut turn, place, key, |number| count.change(number)) {
                Arithmetic::Number { value, cas } => {
                    (value, cas, old.map_or(Expiry::Never, |old| old.expiry))
                }
                failure => return Counted::Failed(failure),
            },
        };
        let expiry = match (old, count.create) {
            (None, Some((_, create))) => create.expiry,
            _ => expiry_before,
        };
        let mut number = Number {
            value,
            cas,
            expiry_before,
            expiry,
            created: old.is_none(),
        };
        if (count.touch.is_some() || count.cas.is_some())
            && let Lookup::Hit((_, new)) = turn.amend(place, key, |head| {
                head.expiry = count.touch.unwrap_or(head.expiry);
                head.given_cas = count.cas;
            })
        {
            number.cas = new.unique();
            number.expiry = new.expiry;
        }
        Counted::Number(number)
    }
}

impl Remove {
    /// Of the item without value that replaces `old`: it keeps its cas unique unless it is given another one.
    fn head(&self, old: Head, (client_flags, expiry): (u32, Expiry), now: Time) -> Head {
        let mut head = Head {
            cas: old.cas,
            given_cas: self.cas.or(old.given_cas),
            ..Head::new(client_flags, expiry, now)
        };
        head.mark(HAS_ENCODED_KEY, old.is_marked(HAS_ENCODED_KEY));
        head
    }
}

impl CountChange {
    const fn change(&self, number: u64) -> u64 {
        if self.up {
            number.wrapping_add(self.delta)
        } else {
            number.saturating_sub(self.delta)
        }
    }
}

impl Turn<'_> {
    /// Marks the live item as stale, for somebody to make it anew.
    fn make_stale(&mut self, place: Place, key: &[u8], remove: &Remove) -> bool {
        let cas = self.writer.next_cas();
        let amended = self.amend(place, key, |head| {
            head.cas = cas;
            head.given_cas = remove.cas;
            head.mark(IS_STALE, true);
            head.mark(IS_CLAIMED, false);
            head.expiry = remove.touch.unwrap_or(head.expiry);
        });
        // Without room it is as it was.
        matches!(amended, Lookup::Hit((_, new)) if new.is_marked(IS_STALE))
    }
}
