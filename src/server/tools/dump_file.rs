//! The format of a dump: [`DumpWriter`] and [`DumpReader`], next to each other.
//!
//! ```text
//! dump  = *block end                  several dumps may follow each other
//! block = magic number salt body_len body_checksum head_checksum body
//! end   = a block without a body; the number tells how many blocks came before it
//! body  = 1*item
//! item  = key_len bits client_flags expiry value_len key value
//! ```
//!
//! Numbers are little-endian. The last byte of the magic is the version. The checksums are CRC-32, of the body and of
//! the head before its own checksum. The salt is drawn for each dump, so that a dump inside a value is not taken for
//! blocks when the reader looks for the next block behind damage. An expiry is a Unix time in seconds; 0 is none.

use super::item::{Item, VALUE_LEN_MAX};
use bytes::{Buf as _, BufMut as _};
use nuthatch_protocol::limits::KEY_LEN_MAX;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read, Write};

/// Begins with a byte that no text has; ends with the version.
const MAGIC: [u8; 8] = *b"\x89NHDUMP\x01";

/// Bytes of the head of a block.
const HEAD_LEN: usize = 32;

/// A block is written once it has so many bytes: what damage costs.
const BLOCK_LEN: usize = 64 << 10;

/// Bytes of an item without key and value.
const ITEM_HEAD_LEN: usize = 18;

/// Longest body: of a block that was not full before the largest item came.
const BODY_LEN_MAX: usize = BLOCK_LEN + ITEM_HEAD_LEN + KEY_LEN_MAX + VALUE_LEN_MAX as usize;

/// Bytes that are asked for at once.
const READ_LEN: u64 = 64 << 10;

/// The bits of an item.
const ENCODED: u8 = 1;

/// Writes a dump.
#[derive(Debug)]
pub(crate) struct DumpWriter<W> {
    out: W,
    salt: u64,
    number: u32,
    body: Vec<u8>,
}

impl<W: Write> DumpWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            salt: RandomState::new().build_hasher().finish(),
            number: 0,
            body: Vec::new(),
        }
    }

    /// Adds an item, whose key has 1 to 250 bytes.
    pub(crate) fn add(&mut self, item: &Item) -> io::Result<()> {
        let too_long = |_| io::Error::other("an item is too long for a dump");
        let body = &mut self.body;
        body.put_u8(u8::try_from(item.key.len()).map_err(too_long)?);
        body.put_u8(if item.is_encoded { ENCODED } else { 0 });
        body.put_u32_le(item.client_flags);
        body.put_u64_le(item.expiry.unwrap_or(0));
        body.put_u32_le(u32::try_from(item.value.len()).map_err(too_long)?);
        body.put_slice(&item.key);
        body.put_slice(&item.value);
        if body.len() >= BLOCK_LEN {
            self.block()?;
        }
        Ok(())
    }

    /// Ends the dump.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.body.is_empty() {
            self.block()?;
        }
        self.block()?;
        self.out.flush()
    }

    fn block(&mut self) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.put_slice(&MAGIC);
        head.put_u32_le(self.number);
        head.put_u64_le(self.salt);
        head.put_u32_le(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        head.put_u32_le(crc32fast::hash(&self.body));
        head.put_u32_le(crc32fast::hash(&head));
        self.out.write_all(&head)?;
        self.out.write_all(&self.body)?;
        self.body.clear();
        self.number = self.number.wrapping_add(1);
        Ok(())
    }
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    number: u32,
    salt: u64,
    body_len: usize,
    body_checksum: u32,
}

impl Head {
    /// `None` if this is no head, or a damaged one.
    fn read(bytes: &[u8]) -> Option<Self> {
        let checked = bytes.get(..HEAD_LEN.checked_sub(4)?)?;
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let head = Self {
            number: rest.try_get_u32_le().ok()?,
            salt: rest.try_get_u64_le().ok()?,
            body_len: usize::try_from(rest.try_get_u32_le().ok()?).ok()?,
            body_checksum: rest.try_get_u32_le().ok()?,
        };
        let is_sound = rest.try_get_u32_le().ok()? == crc32fast::hash(checked);
        (is_sound && head.body_len <= BODY_LEN_MAX).then_some(head)
    }
}

/// What of a dump could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Blocks that are missing or do not match their checksum; at least, if the end is missing too.
    pub(crate) blocks: u64,
    /// Bytes that belong to no sound block.
    pub(crate) bytes: u64,
    /// The file ends before the dump does.
    pub(crate) is_truncated: bool,
}

impl Damage {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads a dump; damage costs the blocks that it is in.
#[derive(Debug)]
pub(crate) struct DumpReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done.
    begin: usize,
    /// The salt of the dump that is being read, between its first block and its end.
    salt: Option<u64>,
    /// The number that the next block should have.
    number: u32,
    damage: Damage,
    has_blocks: bool,
}

impl<R: Read> DumpReader<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            begin: 0,
            salt: None,
            number: 0,
            damage: Damage {
                blocks: 0,
                bytes: 0,
                is_truncated: false,
            },
            has_blocks: false,
        }
    }

    /// The items of the next sound block; `None` at the end of the input.
    pub(crate) fn items(&mut self) -> io::Result<Option<Vec<Item>>> {
        loop {
            self.fill(HEAD_LEN)?;
            if self.rest().is_empty() {
                self.damage.is_truncated |= self.salt.is_some() || !self.has_blocks;
                return Ok(None);
            }
            let Some(head) = Head::read(self.rest()).filter(|head| self.is_next(head)) else {
                self.skip_to_magic();
                continue;
            };
            let block_len = HEAD_LEN.saturating_add(head.body_len);
            self.fill(block_len)?;
            let body = self.rest().get(HEAD_LEN..block_len);
            let sound = body.filter(|body| crc32fast::hash(body) == head.body_checksum);
            let Some(items) = sound.and_then(read_items) else {
                // The next block may begin before this one should end.
                self.skip_to_magic();
                continue;
            };
            self.begin = self.begin.saturating_add(block_len);
            self.count(&head);
            if !items.is_empty() {
                return Ok(Some(items));
            }
        }
    }

    /// What could not be read so far.
    pub(crate) const fn damage(&self) -> Damage {
        self.damage
    }

    /// Whether the block belongs to the dump that is being read and was not read yet.
    fn is_next(&self, head: &Head) -> bool {
        match self.salt {
            Some(salt) => head.salt == salt && head.number >= self.number,
            None => true,
        }
    }

    /// Notes which blocks should have come before this one, and which one comes next.
    fn count(&mut self, head: &Head) {
        let missing = head.number.saturating_sub(self.number);
        self.damage.blocks = self.damage.blocks.saturating_add(missing.into());
        self.has_blocks = true;
        let is_end = head.body_len == 0;
        self.salt = (!is_end).then_some(head.salt);
        self.number = if is_end {
            0
        } else {
            head.number.saturating_add(1)
        };
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.begin..).unwrap_or_default()
    }

    /// Reads until so many bytes are there, or all.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        if self.rest().len() >= len {
            return Ok(());
        }
        self.buffer.drain(..self.begin);
        self.begin = 0;
        while self.buffer.len() < len {
            let mut some = self.input.by_ref().take(READ_LEN);
            if some.read_to_end(&mut self.buffer)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Goes on at the next place of the buffer where a block may begin.
    fn skip_to_magic(&mut self) {
        let rest = self.rest();
        let behind = rest.get(1..).unwrap_or_default();
        let skipped = match memchr::memmem::find(behind, &MAGIC) {
            Some(position) => position.saturating_add(1),
            // The beginning of one may be the end of what is there.
            None => rest.len().saturating_sub(MAGIC.len() - 1).max(1),
        };
        self.begin = self.begin.saturating_add(skipped);
        let skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
        self.damage.bytes = self.damage.bytes.saturating_add(skipped);
    }
}

/// The items of a body; `None` if it holds anything else.
fn read_items(mut body: &[u8]) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    while !body.is_empty() {
        let key_len = usize::from(body.try_get_u8().ok()?);
        let is_encoded = body.try_get_u8().ok()? & ENCODED != 0;
        let client_flags = body.try_get_u32_le().ok()?;
        let expiry = body.try_get_u64_le().ok()?;
        let value_len = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
        let (key, rest) = body.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        body = rest;
        if !(1..=KEY_LEN_MAX).contains(&key_len) {
            return None;
        }
        items.push(Item {
            key: key.to_vec(),
            is_encoded,
            client_flags,
            expiry: (expiry > 0).then_some(expiry),
            value: value.to_vec(),
        });
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u32, value_len: usize) -> Item {
        Item {
            key: format!("key {number:03}").into_bytes(),
            is_encoded: number.is_multiple_of(2),
            client_flags: number,
            expiry: number
                .is_multiple_of(3)
                .then_some(u64::from(number) + 1_800_000_000),
            value: vec![number.to_le_bytes()[0]; value_len],
        }
    }

    /// Five blocks: four of items of 30,000 bytes, three of them in each, and the end.
    fn items() -> Vec<Item> {
        (0..12).map(|number| item(number, 30_000)).collect()
    }

    const ITEMS_IN_BLOCK: usize = 3;

    fn written(items: &[Item]) -> Vec<u8> {
        let mut dump = Vec::new();
        let mut writer = DumpWriter::new(&mut dump);
        for item in items {
            writer.add(item).unwrap();
        }
        writer.finish().unwrap();
        dump
    }

    fn read(dump: &[u8]) -> (Vec<Item>, Damage) {
        let mut reader = DumpReader::new(dump);
        let mut all = Vec::new();
        while let Some(items) = reader.items().unwrap() {
            all.extend(items);
        }
        (all, reader.damage())
    }

    fn block_len(dump: &[u8]) -> usize {
        HEAD_LEN + Head::read(dump).unwrap().body_len
    }

    #[test]
    fn what_was_written_is_read() {
        for items in [
            Vec::new(),
            vec![item(1, 0)],
            vec![item(2, 200_000)],
            items(),
        ] {
            assert!(read(&written(&items)) == (items, Damage::default()));
        }
        let longest = Item {
            key: vec![b'k'; KEY_LEN_MAX],
            ..item(u32::MAX, 1)
        };
        let longest = [longest];
        assert!(read(&written(&longest)).0 == longest);
    }

    #[test]
    fn dumps_may_follow_each_other() {
        let dump = [written(&items()), written(&[item(99, 1)])].concat();
        let both = [items(), vec![item(99, 1)]].concat();
        assert!(read(&dump) == (both, Damage::default()));
    }

    #[test]
    fn a_changed_byte_costs_its_block_and_nothing_else() {
        let dump = written(&items());
        let block_len = block_len(&dump);
        let end = dump.len() - HEAD_LEN;
        for position in (0..dump.len()).filter(|at| at % 997 == 0 || at % block_len < HEAD_LEN) {
            let mut damaged = dump.clone();
            damaged[position] ^= 0x10;
            let mut left = items();
            let block = position / block_len * ITEMS_IN_BLOCK;
            let mut expected = Damage {
                bytes: HEAD_LEN as u64,
                ..Damage::default()
            };
            if position < end {
                left.drain(block..block + ITEMS_IN_BLOCK);
                expected.blocks = 1;
                expected.bytes = block_len as u64;
            } else {
                expected.is_truncated = true;
            }
            let (found, damage) = read(&damaged);
            assert!(found == left, "byte {position}");
            assert_eq!(damage, expected, "byte {position}");
        }
    }

    #[test]
    fn a_truncated_dump_gives_its_whole_blocks_and_says_so() {
        let dump = written(&items());
        let block_len = block_len(&dump);
        for len in (0..dump.len()).filter(|at| at % 997 == 0 || at % block_len < HEAD_LEN) {
            let (left, damage) = read(&dump[..len]);
            let whole = (len / block_len).min(4) * ITEMS_IN_BLOCK;
            assert!(left == items()[..whole], "{len} bytes");
            assert!(damage.is_truncated, "{len} bytes");
            let rest = len - len / block_len * block_len;
            assert_eq!(damage.bytes, rest as u64, "{len} bytes");
        }
    }

    #[test]
    fn bytes_that_are_missing_or_too_many_cost_their_block() {
        let dump = written(&items());
        let block_len = block_len(&dump);
        let lost = |dump: &[u8]| (read(dump).0.len(), read(dump).1.blocks);
        let inside = block_len + 5000;
        let missing = [&dump[..inside], &dump[inside + 100..]].concat();
        assert_eq!(lost(&missing), (9, 1));
        let strange = [&dump[..inside], &MAGIC, &dump[inside..]].concat();
        assert_eq!(lost(&strange), (9, 1));
        let between = [&dump[..block_len], b"rubbish", &dump[block_len..]].concat();
        assert_eq!(lost(&between), (12, 0));
        assert_eq!(read(&between).1.bytes, 7);
        // Twice the same block is read once.
        let twice = [&dump[..block_len], &dump].concat();
        assert_eq!(lost(&twice), (12, 0));
    }

    #[test]
    fn a_dump_in_a_value_is_not_taken_for_blocks() {
        let within = Item {
            value: written(&[item(666, 10)]),
            ..item(1, 0)
        };
        let mut dump = written(&[item(0, BLOCK_LEN), within]);
        let second = block_len(&dump);
        dump[second + HEAD_LEN + 3] ^= 1;
        assert!(read(&dump).0 == [item(0, BLOCK_LEN)]);
        assert_eq!(read(&dump).1.blocks, 1);
    }

    #[test]
    fn another_version_and_other_files_are_no_dump() {
        let mut dump = written(&items());
        for position in 0..dump.len() - HEAD_LEN {
            if dump[position..].starts_with(&MAGIC) {
                dump[position + 7] = 2;
            }
        }
        let last = dump.len() - HEAD_LEN;
        for other in [&dump[..last], b"set a 0 0 1\r\na\r\n", b""] {
            let (left, damage) = read(other);
            assert_eq!(left, []);
            assert!(damage.is_truncated);
            assert_eq!(damage.bytes, other.len() as u64);
        }
    }

    #[test]
    fn a_body_has_a_longest_length() {
        let head = |body_len: usize| {
            let mut head = MAGIC.to_vec();
            head.put_u32_le(0);
            head.put_u64_le(1);
            head.put_u32_le(u32::try_from(body_len).unwrap());
            head.put_u32_le(0);
            head.put_u32_le(crc32fast::hash(&head));
            Head::read(&head).map(|head| head.body_len)
        };
        assert_eq!(head(BODY_LEN_MAX), Some(BODY_LEN_MAX));
        assert_eq!(head(BODY_LEN_MAX + 1), None);
    }
}
