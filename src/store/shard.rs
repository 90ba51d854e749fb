//! One shard: its log, and what its writers share: the queues, the budget, the counters.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, TryLockError};

use bytes::Bytes;

use crate::age::{DATES_LEN_MAX, Dates};
use crate::departure::Departures;
use crate::evicted::Evictions;
use crate::ghost::Ghost;
use crate::index::{Index, Place};
use crate::log::{Location, Log};
use crate::namespace::Books;
use crate::prefetch::{CACHE_LINE_LEN, prefetch};
use crate::restore::Written;
use crate::segment::{CLASS_COUNT, Chain, Segment};
use crate::stats::{Counters, Snapshot, count};
use crate::sync::{AtomicU64, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::time::Time;

/// A segment is a 64th of a small shard, and 64 KiB from 8 MiB up: small enough that evicting one is
/// no pause, large enough that a record at its end wastes little.
const SEGMENTS_PER_SHARD: u64 = 64;
const SEGMENT_LEN_MIN: u64 = 4 << 10;
const SEGMENT_LEN_MAX: u64 = 64 << 10;

/// Values from a quarter of a segment up live outside.
const LARGE_PER_SEGMENT: usize = 4;

/// The ghost may take so much of the budget: four bytes for each 512.
const BUDGET_PER_GHOST_SLOT: u64 = 512;

/// One part of the store. Aligned to cache lines: writers of one do not slow readers of the next down.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Shard {
    /// The highest of `marks`, beside the lock that every reader takes: most items are newer, and nobody looks further.
    pub(crate) highest_mark: AtomicU64,
    log: RwLock<Log>,
    writer: Mutex<Writer>,
    /// How often somebody had to wait for the writer.
    pub(crate) waits: AtomicU64,
    /// Why its last keys went.
    pub(crate) departures: Departures,
    /// Of each namespace the cas unique up to which items have been flushed.
    pub(crate) marks: Box<[AtomicU64]>,
    /// How often its items have begun to get other numbers, or all had theirs: what was copied before says nothing of
    /// that.
    pub(crate) renumberings: AtomicU64,
}

/// A large value's place in its queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) place: Option<Place>,
    pub(crate) charge: u64,
    pub(crate) stamp: u64,
}

/// One of the two queues of S3-FIFO: segments and large values, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Sealed ones, in the order in which they were.
    pub(crate) segments: VecDeque<u32>,
    /// Those that records are added to, one for each class of lifetimes.
    pub(crate) open: [Option<u32>; CLASS_COUNT],
    /// The same for what comes back from a snapshot. They become the oldest when they are sealed.
    pub(crate) restored: [Option<u32>; CLASS_COUNT],
    /// Slots with their stamps; one whose stamp has changed is no longer there.
    pub(crate) large: VecDeque<(u32, u64)>,
    pub(crate) large_bytes: u64,
}

impl Queue {
    /// How many segments it has.
    pub(crate) fn segment_count(&self) -> usize {
        let open = self.open.iter().chain(&self.restored);
        self.segments.len() + open.flatten().count()
    }

    /// The segment that the records of a chain are added to.
    pub(crate) fn open_mut(&mut self, chain: Chain) -> Option<&mut Option<u32>> {
        let open = if chain.is_restored {
            &mut self.restored
        } else {
            &mut self.open
        };
        open.get_mut(chain.class)
    }
}

/// The state of a shard that its mutex guards: one writer at a time. Readers take no part in it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) last_cas: u64,
    cas_step: u64,
    /// What the shard may take, in this turn.
    pub(crate) budget: u64,
    pub(crate) segment_len: usize,
    pub(crate) segments: Vec<Segment>,
    /// Segments that have memory and nothing in it.
    pub(crate) free: Vec<u32>,
    /// Segments that have no memory.
    pub(crate) empty: Vec<u32>,
    pub(crate) small: Queue,
    pub(crate) main: Queue,
    pub(crate) slots: Vec<Slot>,
    pub(crate) free_slots: Vec<u32>,
    /// Large values that have been given up while readers held them, and their charges.
    pub(crate) pinned: Vec<(Bytes, u64)>,
    pub(crate) table_bytes: u64,
    pub(crate) ghost: Ghost,
    /// Of the table of departures, which is the shard's.
    departures_bytes: u64,
    /// When which cas unique was given out.
    pub(crate) dates: Dates,
    /// Only while somebody watches them.
    pub(crate) evictions: Option<Box<Evictions>>,
    /// Only while a snapshot comes back.
    pub(crate) written: Option<Box<Written>>,
    pub(crate) sweep_from: usize,
    /// A segment is copied here to be looked through without a lock.
    pub(crate) scratch: Vec<u8>,
    pub(crate) counters: Counters,
    pub(crate) books: Books,
    /// Everything up to this cas unique has been flushed.
    pub(crate) flushed: u64,
}

impl Shard {
    /// An empty shard. Its cas uniques are above `last_cas` and `cas_step` apart.
    pub(crate) fn new(budget: u64, (last_cas, cas_step): (u64, u64), namespaces: usize) -> Self {
        let wanted = (budget / SEGMENTS_PER_SHARD).max(1);
        let segment_len = (1 << wanted.ilog2()).clamp(SEGMENT_LEN_MIN, SEGMENT_LEN_MAX);
        let ghost_slots = (budget / BUDGET_PER_GHOST_SLOT)
            .checked_ilog2()
            .map_or(0, |log| 1 << log);
        let segment_len = usize::try_from(segment_len).unwrap_or(usize::MAX);
        let departures = Departures::new(budget);
        let writer = Writer {
            departures_bytes: departures.bytes(),
            last_cas,
            cas_step,
            budget,
            segment_len,
            segments: Vec::new(),
            free: Vec::new(),
            empty: Vec::new(),
            small: Queue::default(),
            main: Queue::default(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            pinned: Vec::new(),
            table_bytes: 0,
            ghost: Ghost::new(ghost_slots),
            dates: Dates::new(last_cas),
            evictions: None,
            written: None,
            sweep_from: 0,
            scratch: Vec::new(),
            counters: Counters::default(),
            books: Books::new(namespaces),
            flushed: 0,
        };
        Self {
            highest_mark: AtomicU64::new(0),
            log: RwLock::new(Log::new(segment_len)),
            writer: Mutex::new(writer),
            waits: AtomicU64::new(0),
            departures,
            marks: (0..namespaces).map(|_| AtomicU64::new(0)).collect(),
            renumberings: AtomicU64::new(0),
        }
    }

    /// Begins to fetch what readers look at, and what writers do besides.
    #[inline]
    pub(crate) fn prefetch(&self, for_writing: bool) {
        let len = if for_writing {
            size_of::<Self>()
        } else {
            offset_of!(Self, writer)
        };
        let shard = std::ptr::from_ref(self).cast::<u8>();
        for line in 0..len.div_ceil(CACHE_LINE_LEN) {
            prefetch(shard.wrapping_add(line * CACHE_LINE_LEN));
        }
    }

    /// Nobody writes to the log meanwhile. Taken before the index, never after it.
    pub(crate) fn log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only by who has the writer. Taken before the index, and never together with the index for writing.
    pub(crate) fn log_mut(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one turn at writing.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic in a visitor must not take the shard away: writers hold no half-done change then.
        match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(writer)) => writer.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waits.fetch_add(1, Ordering::Relaxed);
                self.writer.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }
}

impl Writer {
    pub(crate) fn next_cas(&mut self) -> u64 {
        self.last_cas += self.cas_step;
        self.last_cas
    }

    /// [`LARGE_VALUE_LEN_MIN`](crate::LARGE_VALUE_LEN_MIN), or less in a very small shard.
    pub(crate) const fn large_len_min(&self) -> usize {
        self.segment_len / LARGE_PER_SEGMENT
    }

    pub(crate) fn queue(&mut self, is_main: bool) -> &mut Queue {
        if is_main {
            &mut self.main
        } else {
            &mut self.small
        }
    }

    pub(crate) const fn allocated(&self) -> usize {
        self.segments.len() - self.empty.len()
    }

    /// Bytes charged against the budget.
    pub(crate) fn charged(&self) -> u64 {
        count(self.allocated() * self.segment_len) + self.fixed() + self.large_bytes()
    }

    pub(crate) fn large_bytes(&self) -> u64 {
        self.small.large_bytes + self.main.large_bytes
    }

    /// What is charged even when nothing is stored.
    pub(crate) fn fixed(&self) -> u64 {
        // The scratch buffer is as long as a segment.
        let segments = self.segments.len() * size_of::<Segment>();
        let books = self.segment_len + segments + self.books.bytes() + DATES_LEN_MAX;
        self.table_bytes + self.ghost.bytes() + self.departures_bytes + count(books)
    }

    /// Segments that could be opened, free ones and those that the budget still allows.
    pub(crate) fn available(&self) -> usize {
        let unspent = self.budget.saturating_sub(self.charged()) / count(self.segment_len);
        self.free.len() + usize::try_from(unspent).unwrap_or(usize::MAX)
    }

    /// The segment that a location is in, if it is in one.
    pub(crate) fn segment_of(&self, location: Location) -> Option<u32> {
        match location.slot() {
            Some(_) => None,
            // A segment's length is a power of two.
            None => Some(location.0 >> self.segment_len.ilog2()),
        }
    }

    /// The location of a position in a segment.
    pub(crate) fn location(&self, segment: u32, offset: usize) -> Location {
        Location::new(segment, offset, self.segment_len.ilog2())
    }

    pub(crate) fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.segments.get_mut(number as usize)
    }

    pub(crate) fn add_to(&self, number: usize, index: &Index, snapshot: &mut Snapshot) {
        let table = index.table(number);
        snapshot.curr_items += count(table.len);
        snapshot.shard_items_max = snapshot.shard_items_max.max(count(table.len));
        let live: usize = self.segments.iter().map(|segment| segment.live).sum();
        snapshot.bytes += count(live) + self.large_bytes();
        snapshot.large_bytes += self.large_bytes();
        snapshot.charged_bytes += self.charged();
        snapshot.unused_bytes += count(self.segment_len.saturating_sub(self.scratch.capacity()));
        snapshot.segments += count(self.allocated());
        snapshot.segment_len = count(self.segment_len);
        for segment in self.segments.iter().filter(|segment| segment.used) {
            let opened = Time::from_millis(u64::from(segment.opened_seconds) * 1000);
            snapshot.segments_used += 1;
            snapshot.oldest = Some(snapshot.oldest.map_or(opened, |oldest| oldest.min(opened)));
        }
        snapshot.table_buckets += count(table.buckets);
        snapshot.table_bytes += table.bytes;
        self.counters.add_to(snapshot);
    }
}
