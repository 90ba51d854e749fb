//! The memory of one shard: segments full of records, and slots for large values.
//!
//! It knows no order and no key: the writer says where, the index knows why.

use std::borrow::Cow;

use bytes::Bytes;

use crate::compress::raw_value;
use crate::item::{NewValue, ValueRef};
use crate::prefetch::{CACHE_LINE_LEN, prefetch};
use crate::record::{self, Head, Packed, Record};
use crate::spare::Spare;

/// Where an item is: a position in the segments put end to end, or a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location(pub(crate) u32);

const LARGE: u32 = 1 << 31;

/// What is fetched of a record ahead of time: a key and a hundred bytes of value. The processor sees by itself
/// that a longer value is being read, but not soon enough that it is being written.
const PREFETCHED_LINES: usize = 3;

/// What is fetched besides of a value that will be written: 2 KiB.
const WRITTEN_LINES_MAX: usize = 32;

/// Bytes of segments that locations can name.
pub(crate) const LOG_LEN_MAX: u64 = 1 << 31;

impl Location {
    pub(crate) const fn large(slot: u32) -> Self {
        Self(LARGE | slot)
    }

    /// Where the record behind one of that length begins.
    pub(crate) fn after(self, record_len: usize) -> Self {
        Self(self.0 + u32::try_from(record_len).unwrap_or_default())
    }

    /// That of a position in a segment, of segments whose length is two to the power of `segment_shift`.
    pub(crate) fn new(segment: u32, offset: usize, segment_shift: u32) -> Self {
        let position = ((segment as usize) << segment_shift) + offset;
        Self(u32::try_from(position).unwrap_or(LARGE - 1))
    }

    /// The slot, if it is that of a large value.
    pub(crate) const fn slot(self) -> Option<u32> {
        if self.0 & LARGE == 0 {
            None
        } else {
            Some(self.0 & !LARGE)
        }
    }
}

/// A large value and what belongs to it.
#[derive(Debug)]
pub(crate) struct Large {
    pub(crate) head: Head,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Bytes,
}

impl Large {
    pub(crate) fn new(head: Head, key: &[u8], value: NewValue<'_>, spare: &Spare) -> Self {
        Self {
            head,
            key: key.into(),
            value: match value {
                NewValue::Owned(value) => value,
                NewValue::Copied(value) => spare.copy(value).into(),
            },
        }
    }
}

/// Where an item is, found by its key and not taken apart yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot<'a> {
    Packed(Packed<'a>),
    Large(&'a Large),
}

impl<'a> Spot<'a> {
    const fn key(&self) -> &'a [u8] {
        match self {
            Self::Packed(packed) => packed.key,
            Self::Large(large) => &large.key,
        }
    }

    /// The item.
    #[inline]
    pub(crate) fn item(self) -> Found<'a> {
        match self {
            Self::Packed(packed) => Found {
                record: packed.record(),
                shared: None,
            },
            Self::Large(large) => Found {
                record: Record {
                    head: large.head,
                    key: &large.key,
                    value: &large.value,
                },
                shared: Some(&large.value),
            },
        }
    }
}

/// An item that was found; `shared` is its value if that is large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) shared: Option<&'a Bytes>,
}

impl<'a> Found<'a> {
    /// The value as it is stored.
    pub(crate) fn value(&self) -> ValueRef<'a> {
        self.shared
            .map_or(ValueRef::Inline(self.record.value), ValueRef::Shared)
    }

    /// The value as clients know it; `None` if it is damaged.
    pub(crate) fn raw_value(&self) -> Option<Cow<'a, [u8]>> {
        raw_value(self.record.value, self.record.head.compressed)
    }
}

/// The lines of a value, of which so many bytes will be written, that are worth fetching.
fn written_lines(written_len: usize) -> usize {
    (written_len / CACHE_LINE_LEN).min(WRITTEN_LINES_MAX)
}

/// Begins to fetch the first lines of a record side by side.
#[inline]
fn prefetch_lines(bytes: &[u8], lines: usize) {
    for line in 0..lines {
        prefetch(bytes.as_ptr().wrapping_add(line * CACHE_LINE_LEN));
    }
}

/// Segments and slots.
#[derive(Debug)]
pub(crate) struct Log {
    /// The length of a segment is two to this power.
    segment_shift: u32,
    segments: Vec<Box<[u8]>>,
    large: Vec<Option<Large>>,
}

impl Log {
    /// Without memory yet; a segment's length is a power of two.
    pub(crate) const fn new(segment_len: usize) -> Self {
        Self {
            segment_shift: segment_len.ilog2(),
            segments: Vec::new(),
            large: Vec::new(),
        }
    }

    /// The location of a position in a segment.
    pub(crate) fn location(&self, segment: u32, offset: usize) -> Location {
        Location::new(segment, offset, self.segment_shift)
    }

    /// All large values.
    pub(crate) fn large(&self) -> impl Iterator<Item = (Location, &Large)> {
        let slots = (0..).zip(&self.large);
        slots.filter_map(|(slot, large)| Some((Location::large(slot), large.as_ref()?)))
    }

    /// The item at a location that the index names, if it has this key.
    #[inline]
    pub(crate) fn find_key(&self, location: Location, key: &[u8]) -> Option<Spot<'_>> {
        self.find(location).filter(|spot| spot.key() == key)
    }

    /// Begins to fetch the record at a location, of whose value so many bytes will be written.
    #[inline]
    pub(crate) fn prefetch(&self, location: Location, written_len: usize) {
        if location.slot().is_none()
            && let Some(record) = self.bytes(location)
        {
            prefetch_lines(record, PREFETCHED_LINES + written_lines(written_len));
        }
    }

    /// The item at a location that the index names.
    #[inline]
    pub(crate) fn find(&self, location: Location) -> Option<Spot<'_>> {
        match location.slot() {
            None => {
                let bytes = self.bytes(location)?;
                prefetch_lines(bytes, PREFETCHED_LINES);
                Packed::find(bytes).map(Spot::Packed)
            }
            Some(slot) => self.large.get(slot as usize)?.as_ref().map(Spot::Large),
        }
    }

    const fn split(&self, Location(position): Location) -> (usize, usize) {
        let offset = position & ((1 << self.segment_shift) - 1);
        ((position >> self.segment_shift) as usize, offset as usize)
    }

    fn bytes(&self, location: Location) -> Option<&[u8]> {
        let (segment, offset) = self.split(location);
        self.segments.get(segment)?.get(offset..)
    }

    fn bytes_mut(&mut self, location: Location) -> Option<&mut [u8]> {
        let (segment, offset) = self.split(location);
        self.segments.get_mut(segment)?.get_mut(offset..)
    }

    pub(crate) fn write(&mut self, location: Location, record: &Record<'_>) {
        if let Some(bytes) = self.bytes_mut(location) {
            record.write(bytes);
        }
    }

    /// Gives the record at a location, `record_len` long, another cas unique and another value as long as its own.
    pub(crate) fn renew(&mut self, location: Location, record_len: usize, cas: u64, value: &[u8]) {
        let bytes = self.bytes_mut(location);
        if let Some(record) = bytes.and_then(|bytes| bytes.get_mut(..record_len)) {
            record::renew(record, cas, value);
        }
    }

    /// Changes the head of an item; the new one must be as long as the old one.
    pub(crate) fn overwrite_head(&mut self, location: Location, head: &Head) {
        if let Some(slot) = location.slot() {
            if let Some(Some(large)) = self.large.get_mut(slot as usize) {
                large.head = *head;
            }
        } else if let Some(bytes) = self.bytes_mut(location) {
            head.overwrite(bytes);
        }
    }

    /// The first `len` bytes of a segment.
    pub(crate) fn segment(&self, segment: u32, len: usize) -> &[u8] {
        let bytes = self.segments.get(segment as usize);
        bytes.and_then(|bytes| bytes.get(..len)).unwrap_or_default()
    }

    /// Gives the segment memory.
    pub(crate) fn fill_segment(&mut self, segment: u32, memory: Box<[u8]>) {
        while self.segments.len() <= segment as usize {
            self.segments.push(Box::default());
        }
        if let Some(place) = self.segments.get_mut(segment as usize) {
            *place = memory;
        }
    }

    /// Takes the memory of a segment that nothing refers to.
    pub(crate) fn empty_segment(&mut self, segment: u32) -> Box<[u8]> {
        self.segments
            .get_mut(segment as usize)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub(crate) fn put_large(&mut self, slot: u32, large: Large) {
        while self.large.len() <= slot as usize {
            self.large.push(None);
        }
        if let Some(place) = self.large.get_mut(slot as usize) {
            *place = Some(large);
        }
    }

    pub(crate) fn take_large(&mut self, slot: u32) -> Option<Large> {
        self.large.get_mut(slot as usize)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_kilobytes_that_will_be_written_are_fetched_and_no_more() {
        let most = WRITTEN_LINES_MAX * CACHE_LINE_LEN;
        assert_eq!(written_lines(0), 0);
        assert_eq!(written_lines(most - 1), WRITTEN_LINES_MAX - 1);
        assert_eq!(written_lines(most), WRITTEN_LINES_MAX);
        assert_eq!(written_lines(most + CACHE_LINE_LEN), WRITTEN_LINES_MAX);
    }
}
