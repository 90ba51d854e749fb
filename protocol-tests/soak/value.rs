//! Values that describe themselves: who wrote them to which key, so that a torn or foreign value
//! is recognised by its bytes alone.

use crate::random::Random;

/// What a value says about itself, in its first bytes and in its client flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) key: usize,
    pub(crate) writer: usize,
    pub(crate) version: u64,
    pub(crate) len: usize,
}

/// A value of this length or more holds its whole stamp.
pub(crate) const STAMP_LEN_MAX: usize = 84;

impl Stamp {
    /// The stamp as text, then bytes that depend on all of it, cut to the length.
    ///
    /// Starts with a letter: `incr` must find it non-numeric.
    pub(crate) fn value(&self) -> Vec<u8> {
        let Self {
            key,
            writer,
            version,
            len,
        } = self;
        let mut value = format!("k{key}.w{writer}.v{version}.l{len}.").into_bytes();
        let mut filler = self.random();
        value.reserve(len + 16);
        while value.len() < *len {
            // Twice, so that a server that compresses has something to do.
            let bytes = filler.next().to_le_bytes();
            value.extend_from_slice(&bytes);
            value.extend_from_slice(&bytes);
        }
        value.truncate(*len);
        value
    }

    /// The client flags that belong to the value.
    pub(crate) fn flags(&self) -> u32 {
        let [a, b, c, d, ..] = (!self.random().next()).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The stamp of a value, if every byte of it is as that stamp wants it.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let mut fields = value.splitn(5, |byte| *byte == b'.');
        let mut field = |letter: u8| {
            let digits = fields.next()?.strip_prefix(&[letter])?;
            str::from_utf8(digits).ok()?.parse::<u64>().ok()
        };
        let stamp = Self {
            key: usize::try_from(field(b'k')?).ok()?,
            writer: usize::try_from(field(b'w')?).ok()?,
            version: field(b'v')?,
            len: usize::try_from(field(b'l')?).ok()?,
        };
        (stamp.len == value.len() && stamp.value() == value).then_some(stamp)
    }

    fn random(&self) -> Random {
        let key_and_len = Random::new(self.key as u64, self.len).next();
        Random::new(key_and_len ^ self.version, self.writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        key: 3,
        writer: 7,
        version: 11,
        len: 1000,
    };

    #[test]
    fn a_value_gives_its_stamp_back() {
        assert_eq!(Stamp::of(&STAMP.value()), Some(STAMP));
        let max = usize::MAX;
        let longest = Stamp {
            key: max,
            writer: max,
            version: u64::MAX,
            len: STAMP_LEN_MAX,
        };
        assert_eq!(Stamp::of(&longest.value()), Some(longest));
    }

    #[test]
    fn a_value_torn_anywhere_has_no_stamp() {
        let newer = Stamp {
            version: 12,
            ..STAMP
        };
        for cut in [0, 9, 30, 500, 990] {
            let torn = [&newer.value()[..cut], &STAMP.value()[cut..]].concat();
            assert_eq!(Stamp::of(&torn).is_some(), cut == 0, "cut at {cut}");
        }
        assert_eq!(Stamp::of(&STAMP.value()[..999]), None);
    }
}
