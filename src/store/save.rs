//! [`Save`]: turns everything stored into the blocks of a snapshot, what is newest first.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lz4_flex::block::{compress_into, get_maximum_output_size};

use crate::Store;
use crate::index::{Place, Word};
use crate::item::ValueRef;
use crate::log::{Found, Location};
use crate::record::Packed;
use crate::shard::{Queue, Writer};
use crate::snapshot::{BlockHeader, Entry, FIRST_LEN, MORE_LEN, RAW_LEN_MAX, Saved};
use crate::stats::count;
use crate::time::{Expiry, Time};

/// Values up to this length are never divided among blocks: what damages one block costs no item of another.
const WHOLE_LEN_MAX: usize = 16 << 10;

/// Where items are.
#[derive(Clone, Copy, Debug)]
enum Source {
    Segment { shard: usize, number: u32 },
    Large { shard: usize, slot: u32 },
}

/// A segment, as it was, and how far it has been saved.
#[derive(Debug, Default)]
struct Open {
    shard: usize,
    number: u32,
    /// The shard's renumberings then.
    renumberings: u64,
    begin: Option<Location>,
    bytes: Vec<u8>,
    offset: usize,
}

/// A copy of what is to be saved next, where it does not fit the block.
#[derive(Debug)]
struct Item {
    saved: Saved,
    key: Box<[u8]>,
    value: Bytes,
    /// So many bytes of the value have been saved, with the rest before them.
    done: Option<usize>,
}

/// Makes the blocks of a snapshot; see [`Store::save`].
#[derive(Debug)]
pub struct Save<'s> {
    store: &'s Store,
    now: Time,
    snapshot: u64,
    unix_millis: u64,
    last_cas: u64,
    /// The newest at the end.
    sources: Vec<Source>,
    source_count: usize,
    open: Open,
    item: Option<Item>,
    items: u64,
    number: u32,
    is_over: bool,
    raw: Vec<u8>,
    block: Vec<u8>,
}

impl Store {
    /// Begins a snapshot of what lives at `now`, which is `unix_millis` after 1970.
    ///
    /// What is stored or moved while it is made may be in it twice, or not at all.
    pub fn save(&self, now: Time, unix_millis: u64) -> Save<'_> {
        self.pending_flush.fire(&self.shards, now);
        let mut ranked = Vec::new();
        let mut last_cas = 0;
        for (number, shard) in self.shards.iter().enumerate() {
            let writer = shard.writer();
            last_cas = last_cas.max(writer.last_cas);
            for queue in [&writer.small, &writer.main] {
                rank_segments(queue, number, &mut ranked);
                rank_large(queue, &writer, number, &mut ranked);
            }
        }
        ranked.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        let sources: Vec<Source> = ranked.into_iter().map(|(_, source)| source).collect();
        Save {
            store: self,
            now,
            snapshot: RandomState::new().build_hasher().finish(),
            unix_millis,
            last_cas,
            source_count: sources.len(),
            sources,
            open: Open::default(),
            item: None,
            items: 0,
            number: 0,
            is_over: false,
            raw: Vec::new(),
            block: Vec::new(),
        }
    }
}

/// How far towards the end of its queue something is, in 2^32 parts: the newest of all queues come first.
fn age(position: usize, count: usize) -> u64 {
    ((position as u64) << u32::BITS) / (count.max(1) as u64)
}

fn rank_segments(queue: &Queue, shard: usize, ranked: &mut Vec<(u64, Source)>) {
    let count = queue.segment_count();
    let open = queue.open.iter().flatten();
    let sealed = queue.segments.iter().rev();
    let restored = queue.restored.iter().flatten();
    for (position, number) in open.chain(sealed).chain(restored).enumerate() {
        let number = *number;
        ranked.push((age(position, count), Source::Segment { shard, number }));
    }
}

fn rank_large(queue: &Queue, writer: &Writer, shard: usize, ranked: &mut Vec<(u64, Source)>) {
    for (position, (slot, stamp)) in queue.large.iter().rev().enumerate() {
        let known = writer.slots.get(*slot as usize);
        if known.is_some_and(|known| known.stamp == *stamp) {
            let slot = *slot;
            ranked.push((
                age(position, queue.large.len()),
                Source::Large { shard, slot },
            ));
        }
    }
}

impl Save<'_> {
    /// Items that have been saved.
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// How much of what there is has been saved, from 0 to 100.
    pub fn percent(&self) -> usize {
        let done = self.source_count - self.sources.len();
        (done * 100).checked_div(self.source_count).unwrap_or(100)
    }

    /// The next block, header and body; `None` when the snapshot is whole.
    pub fn next_block(&mut self) -> Option<&[u8]> {
        if self.is_over {
            return None;
        }
        self.raw.clear();
        while self.fill() {}
        self.is_over = self.raw.is_empty();
        self.block.clear();
        self.block.resize(
            BlockHeader::LEN + get_maximum_output_size(self.raw.len()),
            0,
        );
        let body = self.block.get_mut(BlockHeader::LEN..).unwrap_or_default();
        let body_len = if self.is_over {
            0
        } else {
            // There is room for whatever comes out.
            compress_into(&self.raw, body).unwrap_or_default()
        };
        let body = body.get(..body_len).unwrap_or_default();
        let header = BlockHeader {
            number: self.number,
            snapshot: self.snapshot,
            saved_unix_millis: self.unix_millis,
            last_cas: self.last_cas,
            raw_len: self.raw.len(),
            body_len,
            body_checksum: crc32fast::hash(body),
        };
        self.number += 1;
        self.block.truncate(BlockHeader::LEN + body_len);
        let mut head = Vec::with_capacity(BlockHeader::LEN);
        header.write(&mut head);
        if let Some(begin) = self.block.get_mut(..BlockHeader::LEN) {
            begin.copy_from_slice(&head);
        }
        Some(&self.block)
    }

    /// Adds the next item to the block, or what fits of it; returns whether there may be more that fits.
    fn fill(&mut self) -> bool {
        if self.item.is_none() {
            self.item = self.next_item();
        }
        let Some(item) = &mut self.item else {
            return false;
        };
        let room = RAW_LEN_MAX - self.raw.len();
        let (head_len, rest) = match item.done {
            None => (FIRST_LEN + item.key.len(), item.value.as_ref()),
            Some(done) => (MORE_LEN, item.value.get(done..).unwrap_or_default()),
        };
        if head_len + rest.len().min(WHOLE_LEN_MAX) > room {
            return false;
        }
        let part = rest.get(..rest.len().min(room - head_len));
        let part = part.unwrap_or_default();
        match item.done {
            None => Entry::First(item.saved, &item.key, part).write(&mut self.raw),
            Some(_) => Entry::More(part).write(&mut self.raw),
        }
        let done = item.done.unwrap_or_default() + part.len();
        if done < item.value.len() {
            item.done = Some(done);
            return false;
        }
        self.item = None;
        self.items += 1;
        true
    }

    fn next_item(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.next_of_segment() {
                return Some(item);
            }
            match self.sources.pop()? {
                Source::Segment { shard, number } => self.open_segment(shard, number),
                Source::Large { shard, slot } => {
                    let item = self.large(shard, slot);
                    if item.is_some() {
                        return item;
                    }
                }
            }
        }
    }

    fn open_segment(&mut self, shard: usize, number: u32) {
        self.open.begin = None;
        let Some(turn) = self.store.turn(shard, self.now) else {
            return;
        };
        let segment = turn.writer.segments.get(number as usize);
        let fill = segment.map_or(0, |segment| segment.fill);
        let log = turn.shard.log();
        self.open.bytes.clear();
        self.open.bytes.extend_from_slice(log.segment(number, fill));
        self.open.begin = Some(log.location(number, 0));
        self.open.shard = shard;
        self.open.number = number;
        self.open.renumberings = turn.shard.renumberings.load(Ordering::Acquire);
        self.open.offset = 0;
    }

    /// The next live item of the open segment. The copy may be of what is no more: the index knows.
    fn next_of_segment(&mut self) -> Option<Item> {
        let shard = self.store.shards.get(self.open.shard)?;
        while let Some(record) = self
            .open
            .bytes
            .get(self.open.offset..)
            .and_then(Packed::find)
            .map(Packed::record)
        {
            let location = self.open.begin?.after(self.open.offset);
            self.open.offset += record.len();
            let is_dead = shard.death(&record.head, self.now).is_some();
            if !shard.is_numbered_since(self.open.renumberings) {
                self.open_segment(self.open.shard, self.open.number);
                continue;
            }
            if is_dead {
                continue;
            }
            let place = self.store.index.place(record.key);
            let Some(word) = self.store.index.find_at(place, location) else {
                continue;
            };
            let found = Found {
                record,
                shared: None,
            };
            if let Some(item) = self.item(word, found) {
                return Some(item);
            }
        }
        self.open.begin = None;
        None
    }

    fn large(&self, shard: usize, slot: u32) -> Option<Item> {
        let shard = self.store.shards.get(shard)?;
        let location = Location::large(slot);
        let log = shard.log();
        let found = log.find(location)?.item();
        let place: Place = self.store.index.place(found.record.key);
        let word = self.store.index.find_at(place, location)?;
        if shard.death(&found.record.head, self.now).is_some() {
            return None;
        }
        self.item(word, found)
    }

    /// A copy, as clients know the item; `None` if it is damaged.
    fn item(&self, word: Word, found: Found<'_>) -> Option<Item> {
        let head = &found.record.head;
        let value = match (head.compressed, found.value()) {
            (None, ValueRef::Shared(value)) => value.clone(),
            _ => Bytes::from(found.raw_value()?.into_owned()),
        };
        let saved = Saved {
            is_main: word.is_main(),
            is_fetched: word.is_fetched(),
            frequency: u8::try_from(word.frequency()).unwrap_or_default(),
            marks: head.marks,
            client_flags: head.client_flags,
            cas: head.cas,
            given_cas: head.given_cas,
            expiry: match head.expiry {
                Expiry::Never => None,
                Expiry::At(at) => {
                    let left = at.as_millis().saturating_sub(self.now.as_millis());
                    Some(self.unix_millis.saturating_add(left))
                }
            },
            value_len: u32::try_from(count(value.len())).ok()?,
        };
        Some(Item {
            saved,
            key: found.record.key.into(),
            value,
            done: None,
        })
    }
}
