//! Who goes when there is no room: S3-FIFO (SOSP '23) over segments instead of items.
//!
//! New items begin in the small queue. From its oldest segment those that were used go on to the main
//! queue, the others go, and a ghost remembers their keys. From the main queue's oldest segment those
//! that were used begin again with one use less. Before anything that lives goes, segments that are
//! half dead are packed.

use crate::departure::Departure;
use crate::index::{Place, Word};
use crate::log::Location;
use crate::outcome::Miss;
use crate::record::{Head, Record};
use crate::segment::{Chain, Segment};
use crate::stats::count;
use crate::time::Expiry;
use crate::time::Time;
use crate::turn::Turn;

/// The small queue's share of the budget: a tenth, as in the paper.
const SMALL_SHARE: u64 = 10;

/// How many percent of a segment may be live for it to be packed: before anything that lives is
/// evicted ...
const LIVE_PERCENT_BEFORE_EVICTION: usize = 50;

/// ... where nothing is evicted, and packing is all that can make room ...
const LIVE_PERCENT_WITHOUT_EVICTION: usize = 90;

/// ... and before another segment is allocated, or when a sweep has made it so.
pub(crate) const LIVE_PERCENT_BEFORE_GROWTH: usize = 25;

/// What becomes of a live item in a segment that is given up.
#[derive(Clone, Copy, Debug)]
enum Policy {
    /// Packing: everything stays, in its queue.
    Keep,
    /// The end of the small queue.
    Promote,
    /// The end of the main queue.
    SecondChance,
    /// Nothing is spared.
    Drop,
}

impl Policy {
    /// The item's word if it stays.
    const fn spare(self, word: Word) -> Option<Word> {
        match self {
            Self::Keep => Some(word),
            Self::Promote if word.frequency() > 0 => Some(word.main(true).with_frequency(0)),
            Self::SecondChance if word.frequency() > 0 => {
                Some(word.with_frequency(word.frequency() - 1))
            }
            Self::Promote | Self::SecondChance | Self::Drop => None,
        }
    }
}

impl Turn<'_> {
    /// Gives up one segment or one large value; returns whether there was one to give up. With
    /// `is_last_resort` nothing in the main queue is spared because it was used.
    pub(crate) fn reclaim(&mut self, is_last_resort: bool) -> bool {
        if !self.evict {
            return self.give_up_dead() || self.pack_sparsest(LIVE_PERCENT_WITHOUT_EVICTION);
        }
        if self.give_up_dead() || self.pack_sparsest(LIVE_PERCENT_BEFORE_EVICTION) {
            return true;
        }
        let is_main = !self.is_small_due();
        let policy = match (is_main, is_last_resort) {
            // Each item goes this way once at most, so this ends.
            (false, _) => Policy::Promote,
            (true, false) => Policy::SecondChance,
            (true, true) => Policy::Drop,
        };
        self.evict_oldest(is_main, policy)
    }

    fn is_small_due(&self) -> bool {
        let writer = &self.writer;
        let small =
            (writer.small.segment_count() * writer.segment_len) as u64 + writer.small.large_bytes;
        let main_is_empty = writer.main.segment_count() == 0 && writer.main.large_bytes == 0;
        main_is_empty || (small > 0 && small * SMALL_SHARE > writer.budget)
    }

    /// Gives up a segment in which everything is dead; returns whether there was one.
    fn give_up_dead(&mut self) -> bool {
        let (mark, now) = (self.writer.flushed, self.now);
        self.seal_dead(mark, now);
        let dead = self.sealed(|segment| segment.span.is_dead(mark, now).then_some(()));
        self.pack_found(dead)
    }

    fn seal_dead(&mut self, mark: u64, now: Time) {
        let writer = &mut *self.writer;
        for queue in [&mut writer.small, &mut writer.main] {
            for open in queue.open.iter_mut().chain(&mut queue.restored) {
                let segment = open.and_then(|number| writer.segments.get(number as usize));
                if segment.is_some_and(|segment| segment.span.is_dead(mark, now)) {
                    queue.segments.extend(open.take());
                }
            }
        }
    }

    /// Packs the sealed segment with the fewest live bytes, if that is not too many; returns whether
    /// there was one.
    pub(crate) fn pack_sparsest(&mut self, live_percent: usize) -> bool {
        let sparsest = self.sealed(|segment| {
            (segment.live * 100 <= segment.fill * live_percent).then_some(segment.live)
        });
        self.pack_found(sparsest)
    }

    /// The sealed segment with the lowest rank.
    fn sealed<R: Ord>(&self, rank: impl Fn(&Segment) -> Option<R>) -> Option<(u32, bool)> {
        let writer = &self.writer;
        let queues = [(&writer.small, false), (&writer.main, true)];
        let numbers = queues.into_iter().flat_map(|(queue, is_main)| {
            queue.segments.iter().map(move |number| (*number, is_main))
        });
        let ranked = numbers.filter_map(|(number, is_main)| {
            let segment = writer.segments.get(number as usize)?;
            Some((rank(segment)?, number, is_main))
        });
        ranked.min().map(|(_, number, is_main)| (number, is_main))
    }

    fn pack_found(&mut self, sealed: Option<(u32, bool)>) -> bool {
        let Some((number, is_main)) = sealed else {
            return false;
        };
        self.pack(number, is_main);
        true
    }

    /// Empties a sealed segment, without loss.
    pub(crate) fn pack(&mut self, number: u32, is_main: bool) {
        let queue = self.writer.queue(is_main);
        queue.segments.retain(|sealed| *sealed != number);
        self.give_up(number, is_main, Policy::Keep);
    }

    fn evict_oldest(&mut self, is_main: bool, policy: Policy) -> bool {
        let writer = &mut *self.writer;
        let queue = if is_main {
            &mut writer.main
        } else {
            &mut writer.small
        };
        while let Some((slot, stamp)) = queue.large.front() {
            if writer
                .slots
                .get(*slot as usize)
                .is_some_and(|known| known.stamp == *stamp)
            {
                break;
            }
            queue.large.pop_front();
        }
        let large = queue.large.front().map(|(_, stamp)| *stamp);
        if queue.segments.is_empty() && queue.large.is_empty() {
            // What is open is all that there is.
            let open = queue.restored.iter_mut().chain(&mut queue.open);
            let open = open.into_iter().find_map(Option::take);
            queue.segments.extend(open);
        }
        let segment = queue
            .segments
            .front()
            .and_then(|number| writer.segments.get(*number as usize));
        match (large, segment.map(|segment| segment.stamp)) {
            (None, None) => false,
            (Some(large), segment) if segment.is_none_or(|segment| large < segment) => {
                let Some((slot, _)) = queue.large.pop_front() else {
                    return false;
                };
                self.give_up_slot(slot, is_main, policy);
                true
            }
            _ => {
                let Some(number) = queue.segments.pop_front() else {
                    return false;
                };
                self.give_up(number, is_main, policy);
                true
            }
        }
    }

    /// Empties a segment that has been taken out of its queue.
    fn give_up(&mut self, number: u32, was_main: bool, policy: Policy) {
        let scratch = self.copy_segment(number);
        // Survivors keep their class: in one chain they need one more segment at most, which is reserved.
        let class = self
            .writer
            .segment_mut(number)
            .map_or(0, |segment| segment.class);
        let mut offset = 0;
        while let Some(record) = scratch.get(offset..).and_then(Record::parse) {
            let location = self.writer.location(number, offset);
            offset += record.len();
            let place = self.index.place(record.key);
            let Some(word) = self.index.find_at(place, location) else {
                continue;
            };
            let death = self.shard.death(&record.head, self.now);
            let is_dead = death.is_some();
            let spared = if is_dead { None } else { policy.spare(word) };
            let room = spared.and_then(|word| {
                let is_main = word.is_main();
                let chain = Chain {
                    is_main,
                    class,
                    is_restored: false,
                };
                self.append_survivor(chain, record.len())
            });
            if let Some(to) = room {
                let namespace = self.renumber(&record);
                let head = Head {
                    namespace,
                    ..record.head
                };
                self.shard.log_mut().write(to, &Record { head, ..record });
                self.note(to, |span| span.add(&record.head));
                self.relocate(place, location, to, |word| {
                    policy.spare(word).unwrap_or(word)
                });
                continue;
            }
            if !is_dead {
                self.note_evicted(word, location);
            }
            self.index.remove(place, location);
            let len = count(record.len());
            self.writer.books.leave(record.head.namespace, len);
            self.count_gone((place, word), &record.head, death);
            if !is_dead && !was_main {
                self.writer.ghost.insert(place.hash);
            }
        }
        self.writer.scratch = scratch;
        if let Some(segment) = self.writer.segment_mut(number) {
            *segment = Segment::default();
        }
        self.writer.free.push(number);
        self.drop_table_room();
    }

    pub(crate) fn copy_segment(&mut self, number: u32) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.writer.scratch);
        let fill = self
            .writer
            .segment_mut(number)
            .map_or(0, |segment| segment.fill);
        scratch.clear();
        scratch.reserve_exact(self.writer.segment_len);
        scratch.extend_from_slice(self.shard.log().segment(number, fill));
        scratch
    }

    fn give_up_slot(&mut self, slot: u32, was_main: bool, policy: Policy) {
        let location = Location::large(slot);
        let known = self
            .writer
            .slots
            .get(slot as usize)
            .copied()
            .unwrap_or_default();
        let Some(place) = known.place else { return };
        let Some(word) = self.index.find_at(place, location) else {
            return;
        };
        let head = self.head_at(location).unwrap_or_default();
        let death = self.shard.death(&head, self.now);
        let is_dead = death.is_some();
        let spared = if is_dead { None } else { policy.spare(word) };
        if let Some(spared) = spared {
            let stamp = self.writer.next_cas();
            if let Some(known) = self.writer.slots.get_mut(slot as usize) {
                known.stamp = stamp;
            }
            self.writer.queue(was_main).large_bytes -= known.charge;
            let queue = self.writer.queue(spared.is_main());
            queue.large_bytes += known.charge;
            queue.large.push_back((slot, stamp));
            self.index
                .update(place, location, |word| policy.spare(word).unwrap_or(word));
            return;
        }
        if !is_dead {
            self.note_evicted(word, location);
        }
        self.index.remove(place, location);
        self.free_slot(slot, was_main, head.namespace);
        self.count_gone((place, word), &head, death);
        if !is_dead && !was_main {
            self.writer.ghost.insert(place.hash);
        }
    }

    pub(crate) fn head_at(&self, location: Location) -> Option<Head> {
        let log = self.shard.log();
        log.find(location).map(|spot| spot.item().record.head)
    }

    fn count_gone(&mut self, (place, word): (Place, Word), head: &Head, death: Option<Miss>) {
        let is_dead = death.is_some();
        let why = death.map_or(Departure::Evicted, Departure::Dead);
        self.shard.departures.note(place.hash, why);
        self.count_dead(word, is_dead);
        if !is_dead {
            let idle_seconds = self.now.as_seconds().saturating_sub(head.used_seconds);
            let age_seconds = self.writer.dates.age(head.cas, self.now);
            self.writer.books.count_evicted(head.namespace);
            let counters = &mut self.writer.counters;
            counters.evicted_ages.add(age_seconds);
            counters.evicted_idle.add(idle_seconds);
            counters.evictions += 1;
            counters.evicted_unfetched += u64::from(!word.is_fetched());
            counters.evicted_with_expiry += u64::from(head.expiry != Expiry::Never);
            counters.evicted_idle_seconds = idle_seconds;
        }
    }
}
