//! A naive model of one item: what each change of it answers and leaves behind.

use crate::connection::{Hit, decimal, excerpt};
use crate::request::{Change, Direction, Expiry, Mode};

#[derive(Debug)]
pub(crate) struct Item {
    flags: u32,
    value: Vec<u8>,
    /// Unknown after each store, until a `gets` shows it.
    unique: Option<u64>,
    /// The value is the result of `incr` or `decr`: blanks may follow. Whether they do depends
    /// on whether memcached could overwrite the old number in place.
    padded: bool,
}

/// The line that answers a change of a key that has this item.
pub(crate) fn answer(item: Option<&Item>, change: &Change) -> Vec<u8> {
    let line: &[u8] = match (change, item) {
        (Change::Store { mode, .. }, item) => match (mode, item) {
            (mode, item) if stores(*mode, item) => b"STORED",
            (Mode::Cas(_), Some(_)) => b"EXISTS",
            (Mode::Cas(_), None) => b"NOT_FOUND",
            (_, _) => b"NOT_STORED",
        },
        (Change::Touch(_) | Change::Delete | Change::Delta { .. }, None) => b"NOT_FOUND",
        (Change::Touch(_), Some(_)) => b"TOUCHED",
        (Change::Delete, Some(_)) => b"DELETED",
        (Change::Delta { direction, amount }, Some(item)) => match decimal(&item.value) {
            Some(number) => return direction.of(number, *amount).to_string().into_bytes(),
            None => b"CLIENT_ERROR cannot increment or decrement non-numeric value",
        },
    };
    line.to_vec()
}

/// Makes the change, if this item allows it.
pub(crate) fn apply(item: &mut Option<Item>, change: &Change) {
    match change {
        Change::Delete | Change::Touch(Expiry::AtOnce) => *item = None,
        Change::Touch(Expiry::Never | Expiry::Later(_)) => {}
        Change::Delta { direction, amount } => {
            if let Some(item) = item {
                item.count(*direction, *amount);
            }
        }
        Change::Store { mode, .. } if !stores(*mode, item.as_ref()) => {}
        Change::Store {
            mode,
            flags,
            expiry,
            value,
        } => match (mode, item) {
            (Mode::Append, Some(item)) => item.rewrite([&item.value, &**value].concat()),
            (Mode::Prepend, Some(item)) => item.rewrite([&**value, &item.value].concat()),
            (_, item) => *item = (*expiry != Expiry::AtOnce).then(|| Item::new(*flags, value)),
        },
    }
}

fn stores(mode: Mode, item: Option<&Item>) -> bool {
    match mode {
        Mode::Set => true,
        Mode::Add => item.is_none(),
        Mode::Replace | Mode::Append | Mode::Prepend => item.is_some(),
        Mode::Cas(unique) => item.is_some_and(|item| item.unique == Some(unique)),
    }
}

impl Item {
    fn new(flags: u32, value: &[u8]) -> Self {
        Self {
            flags,
            value: value.to_vec(),
            unique: None,
            padded: false,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.value.len()
    }

    pub(crate) const fn unique(&self) -> Option<u64> {
        self.unique
    }

    /// Remembers the cas unique, which stays the same until the next store.
    pub(crate) fn learn(&mut self, unique: u64) {
        self.unique = Some(unique);
    }

    /// Whether a retrieval that finds this item looks like that, the cas unique aside.
    pub(crate) fn is(&self, hit: &Hit) -> bool {
        let value_is_right = if self.padded {
            hit.value.len() <= 20 && hit.value.trim_ascii_end() == self.value
        } else {
            hit.value == self.value
        };
        hit.flags == self.flags && value_is_right
    }

    pub(crate) fn describe(&self) -> String {
        let Self {
            flags,
            value,
            padded,
            ..
        } = self;
        let blanks = if *padded { ", maybe blanks" } else { "" };
        format!(
            "flags {flags}, {} bytes{blanks} | {}",
            value.len(),
            excerpt(value)
        )
    }

    fn rewrite(&mut self, value: Vec<u8>) {
        self.value = value;
        self.unique = None;
    }

    fn count(&mut self, direction: Direction, amount: u64) {
        if let Some(number) = decimal(&self.value) {
            self.rewrite(direction.of(number, amount).to_string().into_bytes());
            self.padded = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(mode: Mode) -> Change {
        Change::Store {
            mode,
            flags: 0,
            expiry: Expiry::Never,
            value: b"5".to_vec(),
        }
    }

    /// The answer, and the value afterwards.
    fn check(value: Option<&str>, change: &Change, wanted: (&str, Option<&str>)) {
        let mut item = value.map(|value| Item::new(0, value.as_bytes()));
        if let Some(item) = &mut item {
            item.learn(7);
        }
        let line = answer(item.as_ref(), change);
        apply(&mut item, change);
        let after = item
            .as_ref()
            .map(|item| item.value.escape_ascii().to_string());
        assert_eq!(
            (&*line, after.as_deref()),
            (wanted.0.as_bytes(), wanted.1),
            "{change:?}"
        );
        let unique = item.and_then(|item| item.unique);
        let kept = after.is_some() && after.as_deref() == value;
        assert_eq!(unique, kept.then_some(7), "{change:?}");
    }

    #[test]
    fn each_change_answers_and_acts_as_memcached_does() {
        use Direction::{Decr, Incr};
        let delta = |direction, amount| Change::Delta { direction, amount };
        for (change, absent, present) in [
            (
                store(Mode::Set),
                ("STORED", Some("5")),
                ("STORED", Some("5")),
            ),
            (
                store(Mode::Add),
                ("STORED", Some("5")),
                ("NOT_STORED", Some("9")),
            ),
            (
                store(Mode::Replace),
                ("NOT_STORED", None),
                ("STORED", Some("5")),
            ),
            (
                store(Mode::Append),
                ("NOT_STORED", None),
                ("STORED", Some("95")),
            ),
            (
                store(Mode::Prepend),
                ("NOT_STORED", None),
                ("STORED", Some("59")),
            ),
            (
                store(Mode::Cas(7)),
                ("NOT_FOUND", None),
                ("STORED", Some("5")),
            ),
            (
                store(Mode::Cas(6)),
                ("NOT_FOUND", None),
                ("EXISTS", Some("9")),
            ),
            (delta(Incr, 1), ("NOT_FOUND", None), ("10", Some("10"))),
            (delta(Incr, u64::MAX), ("NOT_FOUND", None), ("8", Some("8"))),
            (delta(Decr, 10), ("NOT_FOUND", None), ("0", Some("0"))),
            (
                Change::Touch(Expiry::Later(1)),
                ("NOT_FOUND", None),
                ("TOUCHED", Some("9")),
            ),
            (
                Change::Touch(Expiry::AtOnce),
                ("NOT_FOUND", None),
                ("TOUCHED", None),
            ),
            (Change::Delete, ("NOT_FOUND", None), ("DELETED", None)),
        ] {
            check(None, &change, absent);
            check(Some("9"), &change, present);
        }
        let refused = "CLIENT_ERROR cannot increment or decrement non-numeric value";
        check(Some("k9"), &delta(Incr, 1), (refused, Some("k9")));
        check(Some(""), &delta(Decr, 1), (refused, Some("")));
    }
}
