//! The bytes of an item in a segment: packed, without alignment, little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | length of the key |
//! | 1 | which of the options are there |
//! | 4 | length of the value |
//! | 8 | cas unique |
//! | 0 or 6 | expiry in milliseconds; all bits set: never |
//! | 0 or 4 | client flags |
//! | 0 or 8 | of a compressed value: its length before, its checksum before |
//! | | the key, the value |

use bytes::{Buf, BufMut};

use crate::compress::Compressed;
use crate::time::{Expiry, Time};

const FIXED_LEN: usize = 14;
const EXPIRY_LEN: usize = 6;
const CLIENT_FLAGS_LEN: usize = 4;
const COMPRESSED_LEN: usize = 8;

const HAS_EXPIRY: u8 = 1;
const HAS_CLIENT_FLAGS: u8 = 2;
const IS_COMPRESSED: u8 = 4;

/// Six bytes of milliseconds last for 8,900 years.
const NEVER: u64 = (1 << 48) - 1;

/// One item, as it is in memory or about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) cas: u64,
    pub(crate) expiry: Expiry,
    /// An expiry can be changed in place.
    pub(crate) has_expiry: bool,
    pub(crate) client_flags: u32,
    pub(crate) compressed: Option<Compressed>,
    pub(crate) key: &'a [u8],
    /// As it is stored: compressed or not.
    pub(crate) value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Bytes that it takes in a segment.
    pub(crate) fn len(&self) -> usize {
        let mut len = FIXED_LEN + self.key.len() + self.value.len();
        if self.has_expiry {
            len += EXPIRY_LEN;
        }
        if self.client_flags != 0 {
            len += CLIENT_FLAGS_LEN;
        }
        if self.compressed.is_some() {
            len += COMPRESSED_LEN;
        }
        len
    }

    /// The record that `bytes` begin with.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[key_len, options], rest) = bytes.split_first_chunk::<2>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let (cas, rest) = rest.split_first_chunk::<8>()?;
        let has_expiry = options & HAS_EXPIRY != 0;
        let (expiry, rest) = if has_expiry {
            let (millis, rest) = rest.split_first_chunk::<EXPIRY_LEN>()?;
            (expiry_of(*millis), rest)
        } else {
            (Expiry::Never, rest)
        };
        let (client_flags, rest) = if options & HAS_CLIENT_FLAGS != 0 {
            let (flags, rest) = rest.split_first_chunk::<CLIENT_FLAGS_LEN>()?;
            (u32::from_le_bytes(*flags), rest)
        } else {
            (0, rest)
        };
        let (compressed, rest) = if options & IS_COMPRESSED != 0 {
            let (mut field, rest) = rest.split_at_checked(COMPRESSED_LEN)?;
            let (raw_len, checksum) = (field.get_u32_le(), field.get_u32_le());
            (Some(Compressed { raw_len, checksum }), rest)
        } else {
            (None, rest)
        };
        let (key, rest) = rest.split_at_checked(key_len.into())?;
        let value = rest.get(..usize::try_from(u32::from_le_bytes(*value_len)).ok()?)?;
        Some(Self {
            cas: u64::from_le_bytes(*cas),
            expiry,
            has_expiry,
            client_flags,
            compressed,
            key,
            value,
        })
    }

    /// Writes it over the first [`Self::len`] bytes of `out`.
    pub(crate) fn write(&self, mut out: &mut [u8]) {
        let mut options = 0;
        if self.has_expiry {
            options |= HAS_EXPIRY;
        }
        if self.client_flags != 0 {
            options |= HAS_CLIENT_FLAGS;
        }
        if self.compressed.is_some() {
            options |= IS_COMPRESSED;
        }
        // Keys and values are measured before: see `Store::fits`.
        out.put_u8(u8::try_from(self.key.len()).unwrap_or(u8::MAX));
        out.put_u8(options);
        out.put_u32_le(u32::try_from(self.value.len()).unwrap_or(u32::MAX));
        out.put_u64_le(self.cas);
        if self.has_expiry {
            out.put_uint_le(millis(self.expiry), EXPIRY_LEN);
        }
        if self.client_flags != 0 {
            out.put_u32_le(self.client_flags);
        }
        if let Some(compressed) = self.compressed {
            out.put_u32_le(compressed.raw_len);
            out.put_u32_le(compressed.checksum);
        }
        out.put_slice(self.key);
        out.put_slice(self.value);
    }

    /// Changes the expiry of the record that `bytes` begin with; it must have one.
    pub(crate) fn overwrite_expiry(bytes: &mut [u8], expiry: Expiry) {
        if let Some(mut field) = bytes.get_mut(FIXED_LEN..FIXED_LEN + EXPIRY_LEN) {
            field.put_uint_le(millis(expiry), EXPIRY_LEN);
        }
    }
}

fn millis(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never => NEVER,
        Expiry::At(at) => at.as_millis().min(NEVER - 1),
    }
}

fn expiry_of(millis: [u8; EXPIRY_LEN]) -> Expiry {
    match millis.as_slice().get_uint_le(EXPIRY_LEN) {
        NEVER => Expiry::Never,
        millis => Expiry::At(Time::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let long_key = [b'k'; 255];
        for expiry in [
            Expiry::Never,
            Expiry::At(Time::from_millis(7)),
            Expiry::At(Time::from_millis(NEVER - 1)),
        ] {
            for (client_flags, key) in [(0, &b"k"[..]), (u32::MAX, &long_key)] {
                let compressed = (client_flags != 0).then_some(Compressed {
                    raw_len: 7,
                    checksum: u32::MAX,
                });
                for has_expiry in [expiry != Expiry::Never, true] {
                    let record = Record {
                        cas: u64::MAX,
                        expiry,
                        has_expiry,
                        client_flags,
                        compressed,
                        key,
                        value: b"value",
                    };
                    let mut bytes = vec![0xaa; record.len() + 3];
                    record.write(&mut bytes);
                    let read = Record::parse(&bytes).unwrap();
                    assert_eq!(format!("{read:?}"), format!("{record:?}"));
                    assert!(bytes.ends_with(b"value\xaa\xaa\xaa"));
                }
            }
        }
    }

    #[test]
    fn a_record_cut_short_is_none() {
        let record = Record {
            cas: 1,
            expiry: Expiry::Never,
            has_expiry: true,
            client_flags: 1,
            compressed: None,
            key: b"key",
            value: b"value",
        };
        let mut bytes = vec![0; record.len()];
        record.write(&mut bytes);
        for len in 0..bytes.len() {
            assert!(Record::parse(&bytes[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn an_expiry_changes_in_place() {
        let record = Record {
            cas: 1,
            expiry: Expiry::Never,
            has_expiry: true,
            client_flags: 1,
            compressed: None,
            key: b"key",
            value: b"value",
        };
        let mut bytes = vec![0; record.len()];
        record.write(&mut bytes);
        Record::overwrite_expiry(&mut bytes, Expiry::At(Time::from_millis(5)));
        let read = Record::parse(&bytes).unwrap();
        assert_eq!(read.expiry, Expiry::At(Time::from_millis(5)));
        assert_eq!(
            (read.key, read.value, read.client_flags),
            (record.key, record.value, 1)
        );
    }
}
