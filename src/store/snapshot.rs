//! The format of a snapshot: blocks of items, each of which can be read without the others.
//!
//! A block is a header and a body; the body is compressed with LZ4. Numbers are little endian.
//!
//! | bytes | header |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 2 | [`VERSION`] |
//! | 2 | 0 |
//! | 4 | number of the block, from 0 on |
//! | 8 | which snapshot it is of: drawn at random, so that no value can pass for a block |
//! | 8 | when the snapshot was begun, in milliseconds since 1970 |
//! | 8 | no item has a higher cas unique |
//! | 4 | length of the body before it was compressed; 0 in the last block, which has no body |
//! | 4 | length of the body |
//! | 4 | CRC-32 of the body |
//! | 4 | CRC-32 of the header up to here |
//!
//! | bytes | entry of a body, one behind the other |
//! |---|---|
//! | 1 | 0: an item; 1: more of the value of the item that the block before ends with |
//! | 1 | of an item: queue, whether it was fetched, how often, whether a client gave it a cas unique |
//! | 1 | of an item: its marks |
//! | 1 | of an item: length of the key |
//! | 4 | of an item: client flags |
//! | 8 | of an item: when it was written, as a cas unique |
//! | 8 | of an item: the cas unique that a client has given it, or 0 |
//! | 8 | of an item: expiry in milliseconds since 1970; all bits set: never |
//! | 4 | of an item: length of the value |
//! | 4 | length of the part of the value that is here |
//! | | of an item: the key |
//! | | the part of the value |

use bytes::{Buf, BufMut};
use lz4_flex::block::get_maximum_output_size;

/// What every block begins with. No text has it.
pub(crate) const MAGIC: [u8; 8] = *b"\x9dnutsnap";

const VERSION: u16 = 1;

/// How long the body of a block may be before it is compressed.
pub(crate) const RAW_LEN_MAX: usize = 256 << 10;

const FIRST: u8 = 0;
const MORE: u8 = 1;

const IS_MAIN: u8 = 1;
const IS_FETCHED: u8 = 2;
const FREQUENCY_SHIFT: u8 = 2;
const FREQUENCY_MASK: u8 = 3;
const HAS_GIVEN_CAS: u8 = 16;

const NEVER: u64 = u64::MAX;

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockHeader {
    /// Its number, from 0 on.
    pub number: u32,
    /// Which snapshot it is of. Nobody who stored a value knew that, so what looks like a block inside of one has
    /// another number.
    pub snapshot: u64,
    /// When the snapshot was begun, in milliseconds since 1970.
    pub saved_unix_millis: u64,
    /// No item has a higher cas unique: those of a later run begin above it.
    pub last_cas: u64,
    /// Length of the body, in bytes.
    pub body_len: usize,
    pub(crate) raw_len: usize,
    pub(crate) body_checksum: u32,
}

/// Why bytes are not the header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoBlock {
    /// They are something else, or damaged.
    Damaged,
    /// They are that of a block of this later version of the format.
    Version(u16),
}

impl BlockHeader {
    /// Bytes of a header.
    pub const LEN: usize = 56;

    /// What every header begins with: to look for the next one behind a damaged block.
    pub const MAGIC: [u8; 8] = MAGIC;

    /// Reads a header.
    ///
    /// # Errors
    /// [`NoBlock`] says why it is none.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, NoBlock> {
        let (checked, mut checksum) = bytes.split_at(Self::LEN - size_of::<u32>());
        let Some(mut rest) = checked.strip_prefix(&MAGIC) else {
            return Err(NoBlock::Damaged);
        };
        if crc32fast::hash(checked) != checksum.get_u32_le() {
            return Err(NoBlock::Damaged);
        }
        let version = rest.get_u16_le();
        if version != VERSION {
            return Err(NoBlock::Version(version));
        }
        rest.advance(size_of::<u16>());
        let header = Self {
            number: rest.get_u32_le(),
            snapshot: rest.get_u64_le(),
            saved_unix_millis: rest.get_u64_le(),
            last_cas: rest.get_u64_le(),
            raw_len: rest.get_u32_le() as usize,
            body_len: rest.get_u32_le() as usize,
            body_checksum: rest.get_u32_le(),
        };
        let is_possible = header.raw_len <= RAW_LEN_MAX
            && header.body_len <= get_maximum_output_size(header.raw_len);
        is_possible.then_some(header).ok_or(NoBlock::Damaged)
    }

    /// Whether the snapshot ends here.
    pub const fn is_last(&self) -> bool {
        self.raw_len == 0
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "lengths are those of blocks: see RAW_LEN_MAX"
    )]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u32_le(self.number);
        out.put_u64_le(self.snapshot);
        out.put_u64_le(self.saved_unix_millis);
        out.put_u64_le(self.last_cas);
        out.put_u32_le(self.raw_len as u32);
        out.put_u32_le(self.body_len as u32);
        out.put_u32_le(self.body_checksum);
        let checksum = crc32fast::hash(out.get(begin..).unwrap_or_default());
        out.put_u32_le(checksum);
    }
}

/// What a snapshot knows of an item besides its key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) is_main: bool,
    pub(crate) is_fetched: bool,
    pub(crate) frequency: u8,
    pub(crate) marks: u8,
    pub(crate) client_flags: u32,
    pub(crate) cas: u64,
    pub(crate) given_cas: Option<u64>,
    /// In milliseconds since 1970.
    pub(crate) expiry: Option<u64>,
    pub(crate) value_len: u32,
}

/// Bytes of an entry without key and value.
pub(crate) const FIRST_LEN: usize = 40;
pub(crate) const MORE_LEN: usize = 5;

/// What is in the body of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// An item and the first part of its value: all of it, or what fits the block.
    First(Saved, &'a [u8], &'a [u8]),
    /// The next part of the value that the block before ends with.
    More(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// Adds it to a body.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "keys have up to 255 bytes, and a part of a value fits a block"
    )]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::First(saved, key, part) => {
                out.put_u8(FIRST);
                out.put_u8(saved.bits());
                out.put_u8(saved.marks);
                out.put_u8(key.len() as u8);
                out.put_u32_le(saved.client_flags);
                out.put_u64_le(saved.cas);
                out.put_u64_le(saved.given_cas.unwrap_or_default());
                out.put_u64_le(saved.expiry.unwrap_or(NEVER));
                out.put_u32_le(saved.value_len);
                out.put_u32_le(part.len() as u32);
                out.put_slice(key);
                out.put_slice(part);
            }
            Self::More(part) => {
                out.put_u8(MORE);
                out.put_u32_le(part.len() as u32);
                out.put_slice(part);
            }
        }
    }

    /// Takes the first entry off a body; `None` if there is no whole one.
    pub(crate) fn take(body: &mut &'a [u8]) -> Option<Self> {
        match body.try_get_u8().ok()? {
            FIRST => {
                let (mut head, rest) = body.split_at_checked(FIRST_LEN - 1)?;
                let bits = head.get_u8();
                let marks = head.get_u8();
                let key_len = head.get_u8();
                let client_flags = head.get_u32_le();
                let cas = head.get_u64_le();
                let given_cas = head.get_u64_le();
                let expiry = head.get_u64_le();
                let value_len = head.get_u32_le();
                let part_len = head.get_u32_le();
                let (key, rest) = rest.split_at_checked(key_len.into())?;
                let (part, rest) = rest.split_at_checked(part_len as usize)?;
                *body = rest;
                let saved = Saved {
                    is_main: bits & IS_MAIN != 0,
                    is_fetched: bits & IS_FETCHED != 0,
                    frequency: bits >> FREQUENCY_SHIFT & FREQUENCY_MASK,
                    marks,
                    client_flags,
                    cas,
                    given_cas: (bits & HAS_GIVEN_CAS != 0).then_some(given_cas),
                    expiry: (expiry != NEVER).then_some(expiry),
                    value_len,
                };
                (part_len <= value_len).then_some(Self::First(saved, key, part))
            }
            MORE => {
                let part_len = body.try_get_u32_le().ok()?;
                let (part, rest) = body.split_at_checked(part_len as usize)?;
                *body = rest;
                Some(Self::More(part))
            }
            _ => None,
        }
    }
}

impl Saved {
    const fn bits(&self) -> u8 {
        let mut bits = self.frequency << FREQUENCY_SHIFT;
        if self.is_main {
            bits |= IS_MAIN;
        }
        if self.is_fetched {
            bits |= IS_FETCHED;
        }
        if self.given_cas.is_some() {
            bits |= HAS_GIVEN_CAS;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: BlockHeader = BlockHeader {
        number: 7,
        snapshot: u64::MAX - 3,
        saved_unix_millis: u64::MAX - 1,
        last_cas: u64::MAX - 2,
        raw_len: RAW_LEN_MAX,
        body_len: 5,
        body_checksum: 9,
    };

    fn written(header: &BlockHeader) -> [u8; BlockHeader::LEN] {
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.try_into().unwrap()
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_no_damage_passes() {
        let bytes = written(&HEADER);
        assert_eq!(BlockHeader::parse(&bytes), Ok(HEADER));
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes;
                damaged[position] ^= 1 << bit;
                assert_eq!(BlockHeader::parse(&damaged), Err(NoBlock::Damaged));
            }
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let mut bytes = written(&HEADER).to_vec();
        bytes[8] = 2;
        bytes.truncate(BlockHeader::LEN - 4);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        let bytes = bytes.try_into().unwrap();
        assert_eq!(BlockHeader::parse(&bytes), Err(NoBlock::Version(2)));
    }

    #[test]
    fn lengths_are_limited() {
        let most = get_maximum_output_size(RAW_LEN_MAX);
        for (raw_len, body_len, is_possible) in [
            (RAW_LEN_MAX, most, true),
            (RAW_LEN_MAX, most + 1, false),
            (RAW_LEN_MAX + 1, 1, false),
        ] {
            let header = BlockHeader {
                body_len,
                raw_len,
                ..HEADER
            };
            let parsed = BlockHeader::parse(&written(&header));
            assert_eq!(parsed.is_ok(), is_possible, "{raw_len} {body_len}");
        }
    }

    #[test]
    fn entries_are_read_as_they_were_written_and_not_when_cut_short() {
        let saved = Saved {
            is_main: true,
            is_fetched: true,
            frequency: 3,
            marks: 0x70,
            client_flags: u32::MAX,
            cas: 3,
            given_cas: Some(0),
            expiry: Some(NEVER - 1),
            value_len: 9,
        };
        let plain = Saved {
            is_main: false,
            is_fetched: false,
            frequency: 0,
            marks: 0,
            given_cas: None,
            expiry: None,
            ..saved
        };
        for entry in [
            Entry::First(saved, b"key", b"part"),
            Entry::First(plain, &[7; 255], b"the value"),
            Entry::More(b""),
            Entry::More(b"more"),
        ] {
            let mut body = Vec::new();
            entry.write(&mut body);
            for len in 0..body.len() {
                assert_eq!(Entry::take(&mut &body[..len]), None);
            }
            body.push(0xff);
            let mut rest = body.as_slice();
            assert_eq!(Entry::take(&mut rest), Some(entry));
            assert_eq!(rest, [0xff]);
        }
        let mut body = Vec::new();
        Entry::First(saved, b"key", b"longer than it is").write(&mut body);
        assert_eq!(Entry::take(&mut body.as_slice()), None);
    }
}
