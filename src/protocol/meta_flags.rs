//! [`MetaFlags`]: the flags of a meta command, checked but kept as they were sent, for what is asked for is answered in
//! their order.

use crate::limits::META_OPAQUE_LEN_MAX;
use crate::scan::{self, Tokens};
use crate::{ArithmeticOp, ErrorReply, Exptime};

/// The flags of one meta command: letters, some with an argument. What another meta command would make of a flag
/// is accepted and means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaFlags<'a> {
    /// Every token is a known flag, comes once, and has an argument that can be read.
    tokens: &'a [u8],
    letters: u64,
}

/// What a meta storage command (`ms`) does; the letter of its `M` flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetaMode {
    /// `E`: store it if nothing is there.
    Add,
    /// `A`: put it behind what is there.
    Append,
    /// `P`: put it before what is there.
    Prepend,
    /// `R`: store it if something is there.
    Replace,
    /// `S`: store it whatever is there.
    Set,
}

impl<'a> MetaFlags<'a> {
    /// No flags.
    pub const NONE: Self = Self {
        tokens: &[],
        letters: 0,
    };

    /// Checks flags that are separated by spaces: `v t30 Oopaque`.
    ///
    /// # Errors
    /// memcached's line for a flag that is unknown or comes twice, or whose argument cannot be read.
    pub fn new(tokens: &'a [u8]) -> Result<Self, ErrorReply<'static>> {
        let mut letters = 0;
        // An argument that cannot be read is told only if nothing worse follows; the last one wins.
        let (mut wrong, mut opaque_too_long) = (None, None);
        for token in Tokens::new(tokens) {
            let (&letter, argument) = token.split_first().ok_or(ErrorReply::BAD_FORMAT)?;
            if !letter.is_ascii_alphanumeric() {
                return Err(ErrorReply::BAD_FORMAT);
            }
            if letters & bit(letter) != 0 {
                return Err(ErrorReply::META_DUPLICATE_FLAG);
            }
            letters |= bit(letter);
            match letter {
                b'N' | b'T' | b'R' if scan::parse_i64(argument).is_none() => {
                    wrong = Some(ErrorReply::META_BAD_TOKEN);
                }
                b'C' | b'E' if scan::parse_u64(argument).is_none() => {
                    wrong = Some(ErrorReply::META_BAD_TOKEN);
                }
                b'F' if scan::parse_u64(argument).is_none() => {
                    wrong = wrong.or(Some(ErrorReply::BAD_FORMAT));
                }
                b'J' if scan::parse_u64(argument).is_none() => {
                    wrong = Some(ErrorReply::META_INVALID_INITIAL);
                }
                b'D' if scan::parse_u64(argument).is_none() => {
                    wrong = Some(ErrorReply::META_INVALID_DELTA);
                }
                b'O' if token.len() > META_OPAQUE_LEN_MAX => {
                    opaque_too_long = Some(ErrorReply::META_OPAQUE_TOO_LONG);
                }
                b'b' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't' | b'u' | b'v'
                | b'x' | b'C' | b'D' | b'E' | b'F' | b'I' | b'J' | b'L' | b'M' | b'N' | b'O'
                | b'P' | b'R' | b'T' => {}
                _ => return Err(ErrorReply::META_INVALID_FLAG),
            }
        }
        match wrong.or(opaque_too_long) {
            Some(reply) => Err(reply),
            None => Ok(Self { tokens, letters }),
        }
    }

    /// As they were sent.
    pub(crate) const fn tokens(self) -> &'a [u8] {
        self.tokens
    }

    /// Whether the flag with this letter is there.
    pub const fn has(self, letter: u8) -> bool {
        self.letters & bit(letter) != 0
    }

    /// Each flag and its argument, in the order sent.
    pub fn iter(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        Tokens::new(self.tokens).filter_map(|token| {
            let (letter, argument) = token.split_first()?;
            Some((*letter, argument))
        })
    }

    fn argument(self, letter: u8) -> Option<&'a [u8]> {
        if !self.has(letter) {
            return None;
        }
        let mut flags = self.iter().filter(|(found, _)| *found == letter);
        flags.next().map(|(_, argument)| argument)
    }

    fn exptime(self, letter: u8) -> Option<Exptime> {
        let number = scan::parse_i64(self.argument(letter)?)?;
        Some(Exptime::truncated(number))
    }

    fn number(self, letter: u8) -> Option<u64> {
        scan::parse_u64(self.argument(letter)?)
    }

    /// `T`: the lifetime that the item shall have.
    pub fn new_exptime(self) -> Option<Exptime> {
        self.exptime(b'T')
    }

    /// `N`: the lifetime of an item that is made if there is none.
    pub fn vivify(self) -> Option<Exptime> {
        self.exptime(b'N')
    }

    /// `R`: with less time left than this, one client shall make the item anew.
    pub fn recache(self) -> Option<Exptime> {
        self.exptime(b'R')
    }

    /// `C`: the cas unique to compare with.
    pub fn compare_cas(self) -> Option<u64> {
        self.number(b'C')
    }

    /// `E`: the cas unique that the item shall have.
    pub fn new_cas(self) -> Option<u64> {
        self.number(b'E')
    }

    /// `F`: the client flags of the item.
    pub fn client_flags(self) -> u32 {
        self.argument(b'F').and_then(scan::parse_u32).unwrap_or(0)
    }

    /// `D`: how far a number goes; 1 if it is not said.
    pub fn delta(self) -> u64 {
        self.number(b'D').unwrap_or(1)
    }

    /// `J`: the number that a missing one becomes.
    pub fn initial(self) -> u64 {
        self.number(b'J').unwrap_or(0)
    }

    /// `M` of a storage command.
    ///
    /// # Errors
    /// There is no such mode.
    pub fn mode(self) -> Result<MetaMode, ErrorReply<'static>> {
        match self.argument(b'M').map(<[u8]>::first) {
            None | Some(Some(b'S')) => Ok(MetaMode::Set),
            Some(Some(b'E')) => Ok(MetaMode::Add),
            Some(Some(b'A')) => Ok(MetaMode::Append),
            Some(Some(b'P')) => Ok(MetaMode::Prepend),
            Some(Some(b'R')) => Ok(MetaMode::Replace),
            _ => Err(ErrorReply::META_INVALID_STORAGE_MODE),
        }
    }

    /// `M` of an arithmetic command.
    ///
    /// # Errors
    /// There is no such mode.
    pub fn arithmetic_mode(self) -> Result<ArithmeticOp, ErrorReply<'static>> {
        match self.argument(b'M').map(<[u8]>::first) {
            None | Some(Some(b'I' | b'+')) => Ok(ArithmeticOp::Incr),
            Some(Some(b'D' | b'-')) => Ok(ArithmeticOp::Decr),
            _ => Err(ErrorReply::META_INVALID_ARITHMETIC_MODE),
        }
    }
}

/// A bit for each letter of either case; digits, which no flag has, share others'.
const fn bit(letter: u8) -> u64 {
    1 << (letter.wrapping_sub(b'A') & 63)
}
