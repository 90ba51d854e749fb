//! The bytes of an item in a segment: packed, without alignment, little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | length of the key |
//! | 1 | marks, and which of the options are there |
//! | 2 | length of the value: longer ones are not in segments |
//! | 4 | when it was last used, in seconds |
//! | 7 | cas unique |
//! | 1 | number of the namespace |
//! | 0 or 6 | expiry in milliseconds; all bits set: never |
//! | 0 or 4 | client flags |
//! | 0 or 8 | of a compressed value: its length before, its checksum before |
//! | 0 or 8 | the cas unique that a client has given it |
//! | | the key, the value |

use bytes::{Buf, BufMut};

use crate::compress::Compressed;
use crate::item::{Marks, NamespaceId};
use crate::time::{Expiry, Time};

const FIXED_LEN: usize = 16;

/// Where the cas unique is.
const CAS_BEGIN: usize = 8;

/// Bits of the eight bytes that cas unique and namespace share.
const CAS_BITS: u32 = 56;
const CAS: u64 = (1 << CAS_BITS) - 1;
const EXPIRY_LEN: usize = 6;
const CLIENT_FLAGS_LEN: usize = 4;
const COMPRESSED_LEN: usize = 8;
const GIVEN_CAS_LEN: usize = 8;

const HAS_EXPIRY: u8 = 1;
const HAS_CLIENT_FLAGS: u8 = 2;
const IS_COMPRESSED: u8 = 4;
const HAS_GIVEN_CAS: u8 = 8;

/// See [`Marks`].
pub(crate) const IS_STALE: u8 = 16;
pub(crate) const IS_CLAIMED: u8 = 32;
pub(crate) const HAS_ENCODED_KEY: u8 = 64;
pub(crate) const MARKS: u8 = IS_STALE | IS_CLAIMED | HAS_ENCODED_KEY;

/// The length of what these options put behind the fixed part of a head.
const fn options_len(options: u8) -> usize {
    const fn has(options: u8, option: u8) -> usize {
        (options & option != 0) as usize
    }
    EXPIRY_LEN * has(options, HAS_EXPIRY)
        + CLIENT_FLAGS_LEN * has(options, HAS_CLIENT_FLAGS)
        + COMPRESSED_LEN * has(options, IS_COMPRESSED)
        + GIVEN_CAS_LEN * has(options, HAS_GIVEN_CAS)
}

/// Six bytes of milliseconds last for 8,900 years.
const NEVER: u64 = (1 << 48) - 1;

/// What is known of an item besides its key and its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    /// When it was written, among all items of its shard.
    pub(crate) cas: u64,
    /// What clients see instead of that.
    pub(crate) given_cas: Option<u64>,
    pub(crate) expiry: Expiry,
    /// There is room for an expiry, even if there is none.
    pub(crate) has_expiry: bool,
    pub(crate) client_flags: u32,
    pub(crate) compressed: Option<Compressed>,
    /// [`IS_STALE`] and so on.
    pub(crate) marks: u8,
    pub(crate) used_seconds: u32,
    pub(crate) namespace: NamespaceId,
}

/// One item, as it is in memory or about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) head: Head,
    pub(crate) key: &'a [u8],
    /// As it is stored: compressed or not.
    pub(crate) value: &'a [u8],
}

impl Head {
    pub(crate) fn new(client_flags: u32, expiry: Expiry, now: Time) -> Self {
        Self {
            expiry,
            has_expiry: expiry != Expiry::Never,
            client_flags,
            used_seconds: now.as_seconds(),
            ..Self::default()
        }
    }

    /// Of the item when its value changes: client flags and expiry stay.
    pub(crate) fn renewed(&self, now: Time) -> Self {
        Self {
            has_expiry: self.has_expiry,
            marks: self.marks & HAS_ENCODED_KEY,
            namespace: self.namespace,
            ..Self::new(self.client_flags, self.expiry, now)
        }
    }

    pub(crate) const fn is_marked(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    pub(crate) const fn mark(&mut self, mark: u8, is_marked: bool) {
        if is_marked {
            self.marks |= mark;
        } else {
            self.marks &= !mark;
        }
    }

    pub(crate) const fn marks(&self) -> Marks {
        Marks {
            stale: self.is_marked(IS_STALE),
            claimed: self.is_marked(IS_CLAIMED),
            encoded_key: self.is_marked(HAS_ENCODED_KEY),
        }
    }

    /// The cas unique that clients know.
    pub(crate) const fn unique(&self) -> u64 {
        match self.given_cas {
            Some(given) => given,
            None => self.cas,
        }
    }

    /// Bytes that it takes in a segment.
    pub(crate) const fn len(&self) -> usize {
        FIXED_LEN + options_len(self.options())
    }

    const fn options(&self) -> u8 {
        let mut options = self.marks;
        if self.has_expiry {
            options |= HAS_EXPIRY;
        }
        if self.client_flags != 0 {
            options |= HAS_CLIENT_FLAGS;
        }
        if self.compressed.is_some() {
            options |= IS_COMPRESSED;
        }
        if self.given_cas.is_some() {
            options |= HAS_GIVEN_CAS;
        }
        options
    }

    fn write(&self, key_len: u8, value_len: u16, out: &mut impl BufMut) {
        out.put_u8(key_len);
        out.put_u8(self.options());
        out.put_u16_le(value_len);
        out.put_u32_le(self.used_seconds);
        out.put_u64_le(self.cas & CAS | u64::from(self.namespace) << CAS_BITS);
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
        if let Some(given) = self.given_cas {
            out.put_u64_le(given);
        }
    }

    /// What is always there.
    #[inline]
    fn parse_fixed(bytes: &[u8; FIXED_LEN]) -> Self {
        let [_, options, _, _, s0, s1, s2, s3, cas @ ..] = *bytes;
        let [.., namespace] = cas;
        Self {
            cas: u64::from_le_bytes(cas) & CAS,
            namespace,
            marks: options & MARKS,
            used_seconds: u32::from_le_bytes([s0, s1, s2, s3]),
            ..Self::default()
        }
    }

    /// And what may be behind it. Most items have none of that, or an expiry.
    fn parse_options(&mut self, options: u8, mut bytes: &[u8]) {
        if options & HAS_EXPIRY != 0 {
            self.has_expiry = true;
            self.expiry = match bytes.get_uint_le(EXPIRY_LEN) {
                NEVER => Expiry::Never,
                millis => Expiry::At(Time::from_millis(millis)),
            };
        }
        if options & HAS_CLIENT_FLAGS != 0 {
            self.client_flags = bytes.get_u32_le();
        }
        if options & IS_COMPRESSED != 0 {
            let (raw_len, checksum) = (bytes.get_u32_le(), bytes.get_u32_le());
            self.compressed = Some(Compressed { raw_len, checksum });
        }
        if options & HAS_GIVEN_CAS != 0 {
            self.given_cas = Some(bytes.get_u64_le());
        }
    }

    /// Writes it over the head, as long as this one, of the record that `bytes` begin with.
    pub(crate) fn overwrite(&self, bytes: &mut [u8]) {
        if let Some((&mut [key_len, _, low, high], _)) = bytes.split_first_chunk_mut::<4>() {
            let mut out = bytes;
            self.write(key_len, u16::from_le_bytes([low, high]), &mut out);
        }
    }
}

/// Gives a record another cas unique and another value, as long as its own.
#[inline]
pub(crate) fn renew(record: &mut [u8], cas: u64, value: &[u8]) {
    let [unique @ .., _] = cas.to_le_bytes();
    if let Some(old) = record.get_mut(CAS_BEGIN..CAS_BEGIN + unique.len()) {
        old.copy_from_slice(&unique);
    }
    let value_begin = record.len().saturating_sub(value.len());
    if let Some(old) = record.get_mut(value_begin..) {
        old.copy_from_slice(value);
    }
}

/// A record in a segment of which only the key has been looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'a> {
    fixed: &'a [u8; FIXED_LEN],
    /// As long as the options say.
    options: &'a [u8],
    pub(crate) key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Packed<'a> {
    /// The record that `bytes` begin with.
    #[inline]
    pub(crate) fn find(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_LEN>()?;
        let [key_len, options, low, high, ..] = *fixed;
        let (options, rest) = rest.split_at_checked(options_len(options))?;
        let (key, rest) = rest.split_at_checked(key_len.into())?;
        let value = rest.get(..u16::from_le_bytes([low, high]).into())?;
        Some(Self {
            fixed,
            options,
            key,
            value,
        })
    }

    /// The record taken apart.
    #[inline]
    pub(crate) fn record(self) -> Record<'a> {
        let mut record = Record {
            head: Head::parse_fixed(self.fixed),
            key: self.key,
            value: self.value,
        };
        if !self.options.is_empty() {
            let &[_, options, ..] = self.fixed;
            record.head.parse_options(options, self.options);
        }
        record
    }
}

impl<'a> Record<'a> {
    /// Bytes that it takes in a segment.
    pub(crate) const fn len(&self) -> usize {
        self.head.len() + self.key.len() + self.value.len()
    }

    /// The record that `bytes` begin with.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        Packed::find(bytes).map(Packed::record)
    }

    /// Writes it over the first [`Self::len`] bytes of `out`.
    pub(crate) fn write(&self, mut out: &mut [u8]) {
        // Keys and values are measured before: see `Store::fits`, and `Writer::large_len_min`.
        let key_len = u8::try_from(self.key.len()).unwrap_or(u8::MAX);
        let value_len = u16::try_from(self.value.len()).unwrap_or(u16::MAX);
        self.head.write(key_len, value_len, &mut out);
        out.put_slice(self.key);
        out.put_slice(self.value);
    }
}

fn millis(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never => NEVER,
        Expiry::At(at) => at.as_millis().min(NEVER - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads with and without each of the options.
    fn heads() -> Vec<Head> {
        let mut heads = Vec::new();
        for expiry in [
            Expiry::Never,
            Expiry::At(Time::from_millis(7)),
            Expiry::At(Time::from_millis(NEVER - 1)),
        ] {
            for bits in 0..32 {
                let has = |bit| bits & 1 << bit != 0;
                heads.push(Head {
                    cas: CAS,
                    namespace: u8::MAX,
                    given_cas: has(0).then_some(u64::MAX - 1),
                    expiry,
                    has_expiry: has(1) || expiry != Expiry::Never,
                    client_flags: if has(2) { u32::MAX } else { 0 },
                    compressed: has(3).then_some(Compressed {
                        raw_len: 7,
                        checksum: u32::MAX,
                    }),
                    marks: if has(4) { IS_STALE } else { HAS_ENCODED_KEY },
                    used_seconds: 5,
                });
            }
        }
        heads
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for head in heads() {
            for key in [b"k".as_slice(), &[b'k'; 255]] {
                let value = b"value";
                let record = Record { head, key, value };
                let mut bytes = vec![0xaa; record.len() + 3];
                record.write(&mut bytes);
                let read = Record::parse(&bytes).unwrap();
                assert_eq!(format!("{read:?}"), format!("{record:?}"));
                assert!(bytes.ends_with(b"value\xaa\xaa\xaa"));
            }
        }
    }

    #[test]
    fn a_record_cut_short_is_none() {
        for head in heads() {
            let (key, value) = (b"key".as_slice(), b"value".as_slice());
            let record = Record { head, key, value };
            let mut bytes = vec![0; record.len()];
            record.write(&mut bytes);
            for len in 0..bytes.len() {
                assert!(Record::parse(&bytes[..len]).is_none(), "{len}");
            }
        }
    }

    #[test]
    fn a_head_changes_in_place() {
        for head in heads() {
            let (key, value) = (b"key".as_slice(), b"value".as_slice());
            let record = Record { head, key, value };
            let mut bytes = vec![0; record.len()];
            record.write(&mut bytes);
            let changed = Head {
                cas: 3,
                expiry: if head.has_expiry {
                    Expiry::At(Time::from_millis(5))
                } else {
                    Expiry::Never
                },
                marks: IS_CLAIMED,
                used_seconds: 9,
                ..head
            };
            changed.overwrite(&mut bytes);
            let read = Record::parse(&bytes).unwrap();
            assert_eq!(format!("{:?}", read.head), format!("{changed:?}"));
            assert_eq!((read.key, read.value), (key, value));
        }
    }
}
