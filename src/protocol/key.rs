//! [`Key`]: the only way to hold a checked key, and [`Keys`]: those of one retrieval.

use crate::limits::KEY_LEN_MAX;
use crate::scan::Tokens;
use std::fmt;

/// A key that may travel: 1 to [`KEY_LEN_MAX`] bytes without space or line feed.
///
/// Every other byte is legal on the wire, NUL, tab and bytes above 127 included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`KeyError`] says which rule the key breaks; it cannot be sent.
    pub fn new(bytes: &'a [u8]) -> Result<Self, KeyError> {
        if bytes.is_empty() {
            Err(KeyError::Empty)
        } else if bytes.len() > KEY_LEN_MAX {
            Err(KeyError::TooLong)
        } else if memchr::memchr2(b' ', b'\n', bytes).is_some() {
            Err(KeyError::Separator)
        } else {
            Ok(Self(bytes))
        }
    }

    /// A token of a line: it holds no separator and is not empty, so only its length is checked.
    pub(crate) const fn from_token(token: &'a [u8]) -> Option<Self> {
        if token.len() <= KEY_LEN_MAX {
            Some(Self(token))
        } else {
            None
        }
    }

    /// The key's bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(\"{}\")", self.0.escape_ascii())
    }
}

/// Why bytes cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no byte.
    #[error("a key has at least one byte")]
    Empty,
    /// There are more than [`KEY_LEN_MAX`] bytes.
    #[error("a key has at most {KEY_LEN_MAX} bytes")]
    TooLong,
    /// A space or line feed would end the key on the wire.
    #[error("a key holds no space and no line feed")]
    Separator,
}

/// The keys of one retrieval, at least one, in the order asked for; repeats are kept.
#[derive(Clone, Copy)]
pub struct Keys<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Checked: every token is a key.
    Line(&'a [u8]),
    List(&'a [Key<'a>]),
}

impl<'a> Keys<'a> {
    /// The keys to ask for; `None` if there are none, which no request can say.
    pub const fn new(keys: &'a [Key<'a>]) -> Option<Self> {
        if keys.is_empty() {
            None
        } else {
            Some(Self(Source::List(keys)))
        }
    }

    /// The rest of a decoded line. `None` unless it holds at least one token and each is a key.
    pub(crate) fn from_line(rest: &'a [u8]) -> Option<Self> {
        // In a short line no token can be too long.
        if rest.len() <= KEY_LEN_MAX {
            let any = rest.iter().any(|byte| *byte != b' ');
            return any.then_some(Self(Source::Line(rest)));
        }
        let mut any = false;
        for token in Tokens::new(rest) {
            Key::from_token(token)?;
            any = true;
        }
        any.then_some(Self(Source::Line(rest)))
    }
}

impl<'a> IntoIterator for Keys<'a> {
    type Item = Key<'a>;
    type IntoIter = KeysIter<'a>;

    fn into_iter(self) -> KeysIter<'a> {
        KeysIter(match self.0 {
            Source::Line(rest) => Cursor::Line(Tokens::new(rest)),
            Source::List(keys) => Cursor::List(keys.iter()),
        })
    }
}

impl PartialEq for Keys<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.into_iter().eq(*other)
    }
}

impl Eq for Keys<'_> {}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// Iterates over [`Keys`].
#[derive(Clone, Debug)]
pub struct KeysIter<'a>(Cursor<'a>);

#[derive(Clone, Debug)]
enum Cursor<'a> {
    Line(Tokens<'a>),
    List(std::slice::Iter<'a, Key<'a>>),
}

impl KeysIter<'_> {
    /// Whether nothing at all is left; after the last key there may still be spaces.
    pub fn is_exhausted(&self) -> bool {
        match &self.0 {
            Cursor::Line(tokens) => tokens.rest().is_empty(),
            Cursor::List(keys) => keys.len() == 0,
        }
    }
}

impl<'a> Iterator for KeysIter<'a> {
    type Item = Key<'a>;

    fn next(&mut self) -> Option<Key<'a>> {
        match &mut self.0 {
            Cursor::Line(tokens) => tokens.next().and_then(Key::from_token),
            Cursor::List(keys) => keys.next().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_250_bytes() {
        assert_eq!(Key::new(b""), Err(KeyError::Empty));
        assert!(Key::new(&[b'k'; 250]).is_ok());
        assert_eq!(Key::new(&[b'k'; 251]), Err(KeyError::TooLong));
    }

    #[test]
    fn only_space_and_line_feed_are_refused() {
        for byte in 0..=255u8 {
            let key = [b'k', byte];
            assert_eq!(
                Key::new(&key).is_ok(),
                byte != b' ' && byte != b'\n',
                "byte {byte}"
            );
        }
    }

    #[test]
    fn keys_of_a_line_are_all_checked_before_the_first_is_used() {
        assert_eq!(Keys::from_line(b""), None);
        assert_eq!(Keys::from_line(b"   "), None);
        let long = [b'k'; 251];
        assert_eq!(Keys::from_line(&[b"ok ".as_slice(), &long].concat()), None);
        let ok = [b"ok ".as_slice(), &long[..250]].concat();
        let mut keys = Keys::from_line(&ok).unwrap().into_iter();
        assert!(keys.next().is_some() && !keys.is_exhausted());
        assert!(keys.next().is_some() && keys.is_exhausted());
        assert!(keys.next().is_none());
    }

    #[test]
    fn an_empty_list_is_no_request() {
        assert_eq!(Keys::new(&[]), None);
    }
}
