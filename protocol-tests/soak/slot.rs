//! What one connection knows about a private key: a key that nobody else uses, so that every
//! answer about it is known in advance, but for evictions.

use crate::connection::Hit;
use crate::item::{self, Item};
use crate::request::Change;

/// Whether the server may drop items that are neither expired nor deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// The data fits in its memory: every miss of a stored item is wrong.
    Excluded,
    /// A stored item may be gone; but what is there is the newest write, and what was once seen
    /// to be gone stays gone.
    Possible,
}

/// What the values of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    Number,
}

/// A private key and the item that it must have.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Vec<u8>,
    pub(crate) content: Content,
    /// No value of this key becomes longer.
    pub(crate) value_len_max: usize,
    /// The longest that the value can be after everything that was sent so far.
    pub(crate) sent_len_max: usize,
    /// The newest cas unique that was seen, of this item or of an earlier one.
    pub(crate) unique_seen: Option<u64>,
    item: Option<Item>,
}

impl Slot {
    pub(crate) const fn new(key: Vec<u8>, content: Content, value_len_max: usize) -> Self {
        Self {
            key,
            content,
            value_len_max,
            sent_len_max: 0,
            unique_seen: None,
            item: None,
        }
    }

    /// The length of key and value, if there is an item that was not seen to be evicted.
    pub(crate) fn live_len(&self) -> Option<usize> {
        self.item.as_ref().map(|item| self.key.len() + item.len())
    }

    /// Checks what a retrieval found here.
    ///
    /// # Errors
    /// What it should have found.
    pub(crate) fn look(&mut self, hit: Option<&Hit>, eviction: Eviction) -> Result<(), String> {
        let Some(hit) = hit else {
            if self.item.is_some() && eviction == Eviction::Excluded {
                return Err(self.describe());
            }
            self.item = None;
            return Ok(());
        };
        let unseen = hit.unique != self.unique_seen;
        match &mut self.item {
            Some(item) if item.is(hit) => match (hit.unique, item.unique()) {
                (None, _) => Ok(()),
                (Some(shown), Some(known)) if shown == known => Ok(()),
                (Some(shown), None) if unseen => {
                    item.learn(shown);
                    self.unique_seen = Some(shown);
                    Ok(())
                }
                (Some(_), _) => Err(self.describe()),
            },
            Some(_) | None => Err(self.describe()),
        }
    }

    /// Makes a change, and checks its answer if there is to be one.
    ///
    /// # Errors
    /// The right answer.
    pub(crate) fn change(
        &mut self,
        change: &Change,
        line: Option<&[u8]>,
        eviction: Eviction,
    ) -> Result<(), String> {
        if let Some(line) = line {
            let wanted = item::answer(self.item.as_ref(), change);
            if line != wanted {
                let evicted = eviction == Eviction::Possible && line == item::answer(None, change);
                if !evicted {
                    return Err(format!("{} for {}", wanted.escape_ascii(), self.describe()));
                }
                self.item = None;
            }
        }
        item::apply(&mut self.item, change);
        Ok(())
    }

    fn describe(&self) -> String {
        let Some(item) = &self.item else {
            return "a miss".to_owned();
        };
        let unique = match (item.unique(), self.unique_seen) {
            (Some(unique), _) => format!("cas {unique}"),
            (None, Some(seen)) => format!("a cas other than {seen}"),
            (None, None) => "any cas".to_owned(),
        };
        format!("an item with {unique}, {}", item.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Direction, Expiry, Mode};

    const KEPT: Eviction = Eviction::Excluded;
    const LOSSY: Eviction = Eviction::Possible;

    fn store(mode: Mode, value: &str) -> Change {
        Change::Store {
            mode,
            flags: 5,
            expiry: Expiry::Never,
            value: value.into(),
        }
    }

    fn hit(value: &str, unique: Option<u64>) -> Hit {
        Hit {
            key: b"k".to_vec(),
            flags: 5,
            unique,
            value: value.into(),
        }
    }

    fn slot_with(value: &str) -> Slot {
        let mut slot = Slot::new(b"k".to_vec(), Content::Text, 100);
        slot.change(&store(Mode::Set, value), Some(b"STORED"), KEPT)
            .unwrap();
        slot
    }

    #[test]
    fn only_the_newest_write_is_right() {
        let mut slot = slot_with("old");
        slot.change(&store(Mode::Set, "new"), None, KEPT).unwrap();
        slot.look(Some(&hit("new", None)), KEPT).unwrap();
        for eviction in [KEPT, LOSSY] {
            slot.look(Some(&hit("old", None)), eviction).unwrap_err();
            slot.look(
                Some(&Hit {
                    flags: 4,
                    ..hit("new", None)
                }),
                eviction,
            )
            .unwrap_err();
        }
    }

    #[test]
    fn a_miss_is_right_only_where_the_server_may_evict_and_then_for_good() {
        let mut slot = slot_with("v");
        slot.look(None, KEPT).unwrap_err();
        slot.change(&Change::Delete, Some(b"NOT_FOUND"), KEPT)
            .unwrap_err();
        slot.look(None, LOSSY).unwrap();
        slot.look(Some(&hit("v", None)), LOSSY).unwrap_err();
        slot.change(&store(Mode::Add, "w"), Some(b"NOT_STORED"), LOSSY)
            .unwrap_err();
    }

    #[test]
    fn an_eviction_shows_in_the_answer_to_a_change() {
        let mut slot = slot_with("v");
        slot.change(&store(Mode::Append, "w"), Some(b"STORED"), LOSSY)
            .unwrap();
        slot.change(&store(Mode::Add, "x"), Some(b"STORED"), LOSSY)
            .unwrap();
        slot.look(Some(&hit("x", None)), LOSSY).unwrap();
    }

    #[test]
    fn a_cas_unique_stays_until_the_next_store_and_never_returns() {
        let mut slot = slot_with("v");
        slot.look(Some(&hit("v", Some(7))), KEPT).unwrap();
        slot.change(&Change::Touch(Expiry::Never), Some(b"TOUCHED"), KEPT)
            .unwrap();
        slot.look(Some(&hit("v", Some(8))), KEPT).unwrap_err();
        slot.change(&store(Mode::Cas(7), "w"), Some(b"EXISTS"), KEPT)
            .unwrap_err();
        slot.change(&store(Mode::Cas(7), "w"), Some(b"STORED"), KEPT)
            .unwrap();
        slot.change(&store(Mode::Cas(7), "x"), Some(b"STORED"), KEPT)
            .unwrap_err();
        slot.look(Some(&hit("w", Some(7))), KEPT).unwrap_err();
        slot.look(Some(&hit("w", Some(9))), KEPT).unwrap();
    }

    #[test]
    fn a_number_that_got_shorter_may_have_blanks_behind() {
        let mut slot = slot_with("10");
        let decr = Change::Delta {
            direction: Direction::Decr,
            amount: 1,
        };
        slot.change(&decr, Some(b"10"), KEPT).unwrap_err();
        slot.change(&decr, Some(b"9"), KEPT).unwrap();
        slot.look(Some(&hit("9 ", None)), KEPT).unwrap();
        slot.look(Some(&hit("9", None)), KEPT).unwrap();
        slot.look(Some(&hit("10", None)), KEPT).unwrap_err();
    }

    #[test]
    fn an_item_that_expired_at_once_is_a_miss() {
        let mut slot = slot_with("v");
        slot.change(&Change::Touch(Expiry::AtOnce), Some(b"TOUCHED"), KEPT)
            .unwrap();
        slot.look(Some(&hit("v", None)), KEPT).unwrap_err();
        slot.change(&store(Mode::Replace, "w"), Some(b"NOT_STORED"), KEPT)
            .unwrap();
    }
}
