//! Where a new item goes: open segments, slots of large values, the table; all within the budget.

use std::sync::atomic::Ordering;

use crate::evict::LIVE_PERCENT_BEFORE_GROWTH;
use crate::index::{Place, Word};
use crate::item::NamespaceId;
use crate::log::{LOG_LEN_MAX, Large, Location};
use crate::segment::{Chain, Segment};
use crate::shard::Slot;
use crate::stats::count;
use crate::turn::Turn;

/// Kept back, so that what survives an eviction has a place to go.
const SEGMENTS_RESERVED: usize = 1;

/// Evictions in a row that may spare what was used since; after that nothing is spared.
const SPARING_STEPS_MAX: usize = 4;

impl Turn<'_> {
    /// Room for a record, making it if there is none.
    pub(crate) fn reserve(&mut self, chain: Chain, len: usize) -> Option<Location> {
        for step in 0..=self.steps_max() {
            self.trim();
            if self.writer.charged() <= self.writer.budget {
                if let Some(location) = self.append(chain, len) {
                    return Some(location);
                }
                let packed =
                    self.writer.free.is_empty() && self.pack_sparsest(LIVE_PERCENT_BEFORE_GROWTH);
                if packed || self.open(chain, SEGMENTS_RESERVED) {
                    continue;
                }
            }
            if !self.reclaim(step >= SPARING_STEPS_MAX) {
                return None;
            }
        }
        None
    }

    /// Makes room for a large value.
    pub(crate) fn reserve_large(&mut self, charge: u64) -> Option<()> {
        for step in 0..=self.steps_max() {
            let kept = SEGMENTS_RESERVED.saturating_sub(self.writer.free.len());
            let kept = (kept * self.writer.segment_len) as u64;
            if self.writer.charged() + charge + kept <= self.writer.budget {
                return Some(());
            }
            if !self.drop_free_segment(SEGMENTS_RESERVED)
                && !self.reclaim(step >= SPARING_STEPS_MAX)
            {
                return None;
            }
        }
        None
    }

    /// Each thing that is stored may be spared a few times, and each free segment dropped.
    pub(crate) fn steps_max(&self) -> usize {
        let stored = self.writer.segments.len() + self.writer.slots.len();
        SPARING_STEPS_MAX + 4 * stored
    }

    /// Room for a record that has survived an eviction.
    pub(crate) fn append_survivor(&mut self, chain: Chain, len: usize) -> Option<Location> {
        if let Some(location) = self.append(chain, len) {
            return Some(location);
        }
        if self.open(chain, 0) {
            self.append(chain, len)
        } else {
            None
        }
    }

    fn append(&mut self, chain: Chain, len: usize) -> Option<Location> {
        let number = (*self.writer.queue(chain.is_main).open_mut(chain)?)?;
        let segment_len = self.writer.segment_len;
        let segment = self.writer.segment_mut(number)?;
        if segment.fill + len > segment_len {
            return None;
        }
        let offset = segment.fill;
        segment.fill += len;
        segment.live += len;
        Some(self.writer.location(number, offset))
    }

    /// Opens another segment, if so many others could still be, and seals the one before it.
    fn open(&mut self, chain: Chain, reserved: usize) -> bool {
        if self.writer.available() <= reserved {
            return false;
        }
        let Some(number) = self.writer.free.pop().or_else(|| self.allocate()) else {
            return false;
        };
        let stamp = self.writer.last_cas;
        let opened_seconds = self.now.as_seconds();
        self.writer.dates.note(stamp, self.now);
        let revision = self.writer.books.revision;
        if let Some(segment) = self.writer.segment_mut(number) {
            *segment = Segment {
                used: true,
                class: chain.class,
                stamp,
                opened_seconds,
                revision,
                ..Segment::default()
            };
        }
        let queue = self.writer.queue(chain.is_main);
        let open = queue.open_mut(chain);
        if let Some(sealed) = open.and_then(|open| open.replace(number)) {
            if chain.is_restored {
                queue.segments.push_front(sealed);
                return true;
            }
            queue.segments.push_back(sealed);
            if let Some(segment) = self.writer.segment_mut(sealed) {
                segment.stamp = stamp;
            }
        }
        true
    }

    fn allocate(&mut self) -> Option<u32> {
        let writer = &mut self.writer;
        let number = if let Some(number) = writer.empty.pop() {
            number
        } else {
            let log_len = (writer.segments.len() as u64 + 1) * writer.segment_len as u64;
            if log_len > LOG_LEN_MAX {
                return None;
            }
            writer.segments.push(Segment::default());
            u32::try_from(writer.segments.len() - 1).ok()?
        };
        let memory = vec![0; writer.segment_len].into_boxed_slice();
        self.shard.log_mut().fill_segment(number, memory);
        Some(number)
    }

    /// Gives memory back that the budget no longer allows.
    pub(crate) fn trim(&mut self) {
        while self.writer.charged() > self.writer.budget && self.drop_free_segment(0) {}
    }

    fn drop_free_segment(&mut self, kept: usize) -> bool {
        if self.writer.free.len() <= kept {
            return false;
        }
        let Some(number) = self.writer.free.pop() else {
            return false;
        };
        self.writer.empty.push(number);
        let memory = self.shard.log_mut().empty_segment(number);
        // After the log's lock.
        drop(memory);
        true
    }

    /// A slot that is the newest of its queue.
    pub(crate) fn add_slot(&mut self, place: Place, is_main: bool, charge: u64) -> u32 {
        let stamp = self.writer.next_cas();
        self.writer.dates.note(stamp, self.now);
        let slot = self.take_slot(place, is_main, (charge, stamp));
        self.writer.queue(is_main).large.push_back((slot, stamp));
        slot
    }

    /// A slot that is in no order yet.
    pub(crate) fn take_slot(
        &mut self,
        place: Place,
        is_main: bool,
        (charge, stamp): (u64, u64),
    ) -> u32 {
        let writer = &mut self.writer;
        let slot = writer.free_slots.pop().unwrap_or_else(|| {
            writer.slots.push(Slot::default());
            u32::try_from(writer.slots.len() - 1).unwrap_or_default()
        });
        if let Some(known) = writer.slots.get_mut(slot as usize) {
            *known = Slot {
                place: Some(place),
                charge,
                stamp,
            };
        }
        writer.queue(is_main).large_bytes += charge;
        slot
    }

    pub(crate) fn free_slot(&mut self, slot: u32, is_main: bool, namespace: NamespaceId) {
        let writer = &mut self.writer;
        let known = writer
            .slots
            .get_mut(slot as usize)
            .map(std::mem::take)
            .unwrap_or_default();
        writer.queue(is_main).large_bytes -= known.charge;
        writer.books.leave(namespace, known.charge);
        writer.free_slots.push(slot);
        let large = self.shard.log_mut().take_large(slot);
        if let Some(Large { value, .. }) = large {
            if value.is_unique() {
                self.outside.recycle(value);
            } else {
                let pinned = &self.outside.pinned;
                pinned.fetch_add(known.charge, Ordering::Relaxed);
                self.writer.pinned.push((value, known.charge));
            }
        }
        self.forget_stale_slots(is_main);
    }

    /// Slots that are gone stay in their queue until it is mostly made of them.
    fn forget_stale_slots(&mut self, is_main: bool) {
        let writer = &mut *self.writer;
        let in_use = writer.slots.len() - writer.free_slots.len();
        let slots = &writer.slots;
        let queue = if is_main {
            &mut writer.main
        } else {
            &mut writer.small
        };
        if queue.large.len() > 2 * in_use + 16 {
            queue.large.retain(|(slot, stamp)| {
                slots
                    .get(*slot as usize)
                    .is_some_and(|known| known.stamp == *stamp)
            });
        }
    }

    /// Makes sure that the table can take one more item without growing by itself; returns whether it
    /// can. Where nothing is evicted, it may not grow into what packing needs.
    pub(crate) fn make_table_room(&mut self) -> bool {
        let table = self.index.table(self.number);
        if table.room > 0 {
            return true;
        }
        let capacity = table.capacity();
        // With an eighth of it free again, a rebuild costs each new item no more than 8 moves.
        if table.len < capacity - capacity / 8 {
            self.resize_table(capacity);
            return true;
        }
        let reserved = count(SEGMENTS_RESERVED * self.writer.segment_len);
        let grown = self.writer.charged() + table.bytes + reserved;
        if !self.evict && grown > self.writer.budget {
            return false;
        }
        self.resize_table(capacity + 1);
        // Paid for by the writes to come, a segment each: to evict all of that at once is a pause.
        let budget = self.writer.budget;
        self.writer.approach(budget);
        true
    }

    /// Makes the table smaller when it is nearly empty.
    pub(crate) fn drop_table_room(&mut self) {
        let table = self.index.table(self.number);
        if table.len < table.capacity() / 8 {
            self.resize_table(table.len * 2);
        }
    }

    pub(crate) fn resize_table(&mut self, capacity: usize) {
        self.index.rebuild(self.number, capacity.max(1));
        self.writer.table_bytes = self.index.table(self.number).bytes;
    }

    /// A survivor's entry refers to where it is now.
    pub(crate) fn relocate(
        &mut self,
        place: Place,
        from: Location,
        to: Location,
        change: impl FnOnce(Word) -> Word,
    ) {
        self.index.update(place, from, |word| change(word).at(to));
    }
}
