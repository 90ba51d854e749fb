//! Takes back the memory of dead items that nobody asks for, and gives those that live the numbers of their keys where
//! these have become others (`renumber.rs`).

use std::sync::atomic::Ordering;

use crate::Store;
use crate::departure::Departure;
use crate::evict::LIVE_PERCENT_BEFORE_GROWTH;
use crate::log::Location;
use crate::record::Record;
use crate::segment::{Segment, Span};
use crate::shard::Queue;
use crate::time::Time;
use crate::turn::{Gone, Turn};

/// What a step of a sweep did.
#[derive(Clone, Copy, Debug, Default)]
struct Swept {
    looked_at: usize,
    removed: usize,
    /// Whether it reached the end of the shard; the next step starts again at its beginning.
    is_round_done: bool,
}

impl Store {
    /// Looks at up to `item_budget` items and the rest of one segment, from where the last sweep ended,
    /// and removes the dead ones. Segments in which nothing can be dead are passed over. Returns how
    /// many items it removed.
    pub fn sweep(&self, now: Time, item_budget: usize) -> usize {
        self.pending_flush.fire(&self.shards, now);
        let (mut looked_at, mut removed, mut rounds_done) = (0, 0, 0);
        while looked_at < item_budget && rounds_done < self.shards.len() {
            let number = self.sweep_shard.load(Ordering::Relaxed) % self.shards.len();
            let Some(mut turn) = self.turn(number, now) else {
                break;
            };
            let swept = turn.sweep_step();
            looked_at += swept.looked_at;
            removed += swept.removed;
            if swept.is_round_done {
                rounds_done += 1;
                self.sweep_shard.store(number + 1, Ordering::Relaxed);
            }
        }
        removed
    }
}

impl Turn<'_> {
    /// Sweeps the next segment in which something can be dead, or all large values.
    fn sweep_step(&mut self) -> Swept {
        let (mark, revision) = (self.writer.flushed, self.writer.books.revision);
        let from = self.writer.sweep_from;
        let now = self.now;
        let due = |segment: &Segment| {
            segment.used && (segment.revision < revision || segment.span.has_dead(mark, now))
        };
        let next = self.writer.segments.iter().skip(from).position(due);
        let next = next.and_then(|skipped| u32::try_from(from + skipped).ok());
        let mut swept = if let Some(number) = next {
            self.writer.sweep_from = number as usize + 1;
            self.sweep_segment(number)
        } else {
            self.writer.sweep_from = 0;
            let swept = Swept {
                is_round_done: true,
                ..self.sweep_slots()
            };
            self.end_renumbering();
            swept
        };
        self.drop_table_room();
        self.writer.counters.sweep_items_checked += swept.looked_at as u64;
        self.writer.counters.sweep_reclaimed += swept.removed as u64;
        // Even nothing is something: a step is work.
        swept.looked_at += 1;
        swept
    }

    fn sweep_segment(&mut self, number: u32) -> Swept {
        let mut swept = Swept::default();
        let mut span = Span::default();
        let is_outdated = self.is_outdated(number);
        let scratch = self.copy_segment(number);
        let mut offset = 0;
        while let Some(record) = scratch.get(offset..).and_then(Record::parse) {
            let location = self.writer.location(number, offset);
            offset += record.len();
            swept.looked_at += 1;
            let Some(death) = self.shard.death(&record.head, self.now) else {
                span.add(&record.head);
                if is_outdated {
                    self.renumber_record(location, &record);
                }
                continue;
            };
            let place = self.index.place(record.key);
            if let Some(word) = self.index.remove(place, location) {
                let gone = Gone {
                    namespace: record.head.namespace,
                    record_len: record.len(),
                };
                self.kill(word, gone);
                self.count_dead(word, true);
                self.shard
                    .departures
                    .note(place.hash, Departure::Dead(death));
                swept.removed += 1;
            }
        }
        self.writer.scratch = scratch;
        let revision = self.writer.books.revision;
        if let Some(segment) = self.writer.segment_mut(number) {
            segment.span = span;
            segment.revision = revision;
        }
        if swept.removed > 0 {
            self.pack_if_sparse(number);
        }
        swept
    }

    /// A sealed segment that is mostly dead makes room at once.
    fn pack_if_sparse(&mut self, number: u32) {
        let writer = &self.writer;
        let Some(segment) = writer.segments.get(number as usize) else {
            return;
        };
        if segment.live * 100 > segment.fill * LIVE_PERCENT_BEFORE_GROWTH {
            return;
        }
        let is_sealed = |queue: &Queue| queue.segments.contains(&number);
        let is_main = is_sealed(&writer.main);
        if is_main || is_sealed(&writer.small) {
            self.pack(number, is_main);
        }
    }

    fn sweep_slots(&mut self) -> Swept {
        let mut swept = Swept::default();
        for slot in 0..self.writer.slots.len() {
            let known = self.writer.slots.get(slot).copied().unwrap_or_default();
            let (Some(place), Ok(slot)) = (known.place, u32::try_from(slot)) else {
                continue;
            };
            swept.looked_at += 1;
            let location = Location::large(slot);
            let head = self.head_at(location).unwrap_or_default();
            let Some(death) = self.shard.death(&head, self.now) else {
                self.renumber_large(location, known.charge);
                continue;
            };
            if let Some(word) = self.index.remove(place, location) {
                let gone = Gone {
                    namespace: head.namespace,
                    record_len: 0,
                };
                self.kill(word, gone);
                self.count_dead(word, true);
                self.shard
                    .departures
                    .note(place.hash, Departure::Dead(death));
                swept.removed += 1;
            }
        }
        swept
    }
}
