//! What one connection knows about the keys that all connections use: numbers that only grow, and
//! values that describe themselves.

use std::borrow::Cow;

use crate::connection::{Hit, decimal, excerpt};
use crate::request::Target;
use crate::slot::Eviction;
use crate::value::{STAMP_LEN_MAX, Stamp};

pub(crate) const COUNTER_COUNT: usize = 16;
pub(crate) const TICKET_COUNT: usize = 64;
pub(crate) const BOARD_COUNT: usize = 64;

/// The last boards hold values of up to 100 KB, the others of up to 2 KB.
pub(crate) const SMALL_BOARD_COUNT: usize = 56;

/// Stamps of boards and of private keys must differ.
const BOARD_STAMP_BASE: usize = 1 << 30;

/// All shared keys.
pub(crate) fn targets() -> impl Iterator<Item = Target> {
    let counters = (0..COUNTER_COUNT).map(Target::Counter);
    let tickets = (0..TICKET_COUNT).map(Target::Ticket);
    let boards = (0..BOARD_COUNT).map(Target::Board);
    counters.chain(tickets).chain(boards)
}

/// The key of a target that is no private key.
pub(crate) fn key(target: Target) -> Cow<'static, [u8]> {
    let text = match target {
        Target::Counter(index) => format!("soak:counter:{index}"),
        Target::Ticket(index) => format!("soak:ticket:{index}"),
        Target::Board(index) => format!("soak:board:{index}"),
        Target::Own(index) | Target::Missing(index) => format!("soak:missing:{index}"),
    };
    Cow::Owned(text.into_bytes())
}

/// A shared number as one connection has seen and raised it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNumber {
    added: u64,
    seen: u64,
    unique: Option<u64>,
}

impl SharedNumber {
    /// By how much this connection raised the number.
    pub(crate) const fn added(&self) -> u64 {
        self.added
    }

    /// The number and the cas unique that a `gets` showed, for one attempt to raise it by `cas`.
    pub(crate) fn take_seen(&mut self) -> Option<(u64, u64)> {
        self.unique.take().map(|unique| (self.seen, unique))
    }

    /// Checks what a retrieval found: the number never falls.
    ///
    /// # Errors
    /// What it should have found.
    pub(crate) fn look(&mut self, hit: Option<&Hit>) -> Result<(), String> {
        let number = hit
            .filter(|hit| hit.flags == 0)
            .and_then(|hit| decimal(&hit.value));
        match number {
            Some(number) if number >= self.seen => {
                self.seen = number;
                self.unique = hit.and_then(|hit| hit.unique);
                Ok(())
            }
            Some(_) | None => Err(format!("flags 0 and a number of at least {}", self.seen)),
        }
    }

    /// Counts an `incr`, and checks its answer if there is to be one.
    ///
    /// # Errors
    /// The right answer.
    pub(crate) fn incr(&mut self, amount: u64, line: Option<&[u8]>) -> Result<(), String> {
        let least = self.seen + amount;
        let number = line
            .map_or(Some(least), decimal)
            .filter(|number| *number >= least);
        self.seen = number.ok_or_else(|| format!("a number of at least {least}"))?;
        self.added += amount;
        Ok(())
    }

    /// Counts a `cas` that raised the number by one, if it did.
    ///
    /// # Errors
    /// The right answers.
    pub(crate) fn cas(&mut self, line: &[u8]) -> Result<(), String> {
        match line {
            b"STORED" => self.added += 1,
            b"EXISTS" => {}
            _ => return Err("STORED or EXISTS".to_owned()),
        }
        Ok(())
    }
}

/// The most bytes that a value of this board has.
pub(crate) const fn board_len_max(board: usize) -> usize {
    if board < SMALL_BOARD_COUNT {
        2_000
    } else {
        100_000
    }
}

/// What a connection writes to a board; the length is raised to what the stamp needs.
pub(crate) fn board_stamp(board: usize, writer: usize, version: u64, len: usize) -> Stamp {
    Stamp {
        key: BOARD_STAMP_BASE + board,
        writer,
        version,
        len: len.max(STAMP_LEN_MAX),
    }
}

/// Checks what a retrieval of a board found: a whole value that somebody wrote to this board, with
/// the client flags of the same write.
///
/// # Errors
/// What it should have found.
pub(crate) fn look_at_board(
    board: usize,
    hit: Option<&Hit>,
    eviction: Eviction,
) -> Result<(), String> {
    let right = match hit {
        None => eviction == Eviction::Possible,
        Some(hit) => Stamp::of(&hit.value).is_some_and(|stamp| {
            stamp.key == BOARD_STAMP_BASE + board && stamp.flags() == hit.flags
        }),
    };
    if right {
        return Ok(());
    }
    let found = hit.map(|hit| excerpt(&hit.value)).unwrap_or_default();
    Err(format!(
        "a whole value of k{} with its flags, not {found}",
        BOARD_STAMP_BASE + board
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(flags: u32, value: &[u8]) -> Hit {
        Hit {
            flags,
            value: value.to_vec(),
            ..Hit::default()
        }
    }

    #[test]
    fn a_shared_number_never_falls() {
        let mut number = SharedNumber::default();
        number.look(Some(&hit(0, b"5"))).unwrap();
        number.incr(3, Some(b"7")).unwrap_err();
        number.incr(3, Some(b"9")).unwrap();
        number.incr(3, None).unwrap();
        number.look(Some(&hit(0, b"11"))).unwrap_err();
        number.look(None).unwrap_err();
        assert_eq!(number.added, 6);
    }

    #[test]
    fn only_a_cas_that_stored_counts() {
        let mut number = SharedNumber::default();
        number.cas(b"STORED").unwrap();
        number.cas(b"EXISTS").unwrap();
        number.cas(b"NOT_FOUND").unwrap_err();
        assert_eq!(number.added, 1);
    }

    #[test]
    fn a_board_shows_only_whole_values_of_its_own() {
        let stamp = board_stamp(2, 9, 4, 500);
        let (flags, value) = (stamp.flags(), stamp.value());
        let check = |board, hit: &Hit| look_at_board(board, Some(hit), Eviction::Excluded);
        check(2, &hit(flags, &value)).unwrap();
        check(3, &hit(flags, &value)).unwrap_err();
        check(2, &hit(flags ^ 1, &value)).unwrap_err();
        check(2, &hit(flags, &value[1..])).unwrap_err();
        look_at_board(2, None, Eviction::Excluded).unwrap_err();
        look_at_board(2, None, Eviction::Possible).unwrap();
    }
}
