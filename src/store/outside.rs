//! Memory that belongs to no shard: values that are still arriving, and values that only readers hold, because
//! they have been given up, or decompressed for them. All shards make room for it, each the same.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::Store;
use crate::spare::Spare;
use crate::stats::count;
use crate::sync::AtomicU64;

/// Values that are still arriving may take this part of the memory limit: what is stored must keep its
/// place.
const ARRIVING_PART: u64 = 2;

/// From this part of the memory limit on, readers who hold values of their own are too slow.
const PINNED_PART: u64 = 4;

/// Bytes outside the shards.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Of these and all shards.
    pub(crate) limit: AtomicU64,
    pub(crate) arriving: AtomicU64,
    pub(crate) pinned: AtomicU64,
    pub(crate) spare: Spare,
}

impl Outside {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            arriving: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            spare: Spare::new(),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// All of them.
    pub(crate) fn bytes(&self) -> u64 {
        let arriving = self.arriving.load(Ordering::Relaxed);
        let pinned = self.pinned.load(Ordering::Relaxed);
        arriving
            .saturating_add(pinned)
            .saturating_add(self.spare.bytes())
    }

    /// A large value that is gone: whoever comes next may have its memory.
    pub(crate) fn recycle(&self, value: Bytes) {
        self.spare.give(value, self.limit());
    }

    /// A value for a reader alone, charged until it is let go of.
    pub(crate) fn lend(self: &Arc<Self>, value: Vec<u8>) -> Bytes {
        self.pinned.fetch_add(count(value.len()), Ordering::Relaxed);
        Bytes::from_owner(Lent {
            value,
            outside: Arc::clone(self),
        })
    }
}

struct Lent {
    value: Vec<u8>,
    outside: Arc<Outside>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Self { value, outside } = self;
        outside
            .pinned
            .fetch_sub(count(value.len()), Ordering::Relaxed);
        outside.spare.give_buffer(mem::take(value), outside.limit());
    }
}

impl Store {
    /// An account for a value that is still arriving.
    pub fn arriving(&self) -> Arriving<'_> {
        Arriving {
            store: self,
            bytes: 0,
        }
    }

    /// Whether readers alone hold on to so many bytes of values (more than a quarter of the memory limit)
    /// that those who do not come forward should be cut off.
    pub fn is_held_up(&self) -> bool {
        self.outside.pinned.load(Ordering::Relaxed) > self.outside.limit() / PINNED_PART
    }
}

/// Charges the memory limit for a value that is still arriving, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Arriving<'a> {
    store: &'a Store,
    bytes: u64,
}

impl Arriving<'_> {
    /// Charges for so many bytes more; returns whether that was possible. All arriving values together
    /// may take half of the memory limit.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.store.outside.limit() / ARRIVING_PART;
        let arriving = &self.store.outside.arriving;
        let before = arriving.fetch_add(bytes, Ordering::Relaxed);
        let is_possible = before.saturating_add(bytes) <= limit;
        if is_possible {
            self.bytes += bytes;
        } else {
            arriving.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_possible
    }

    /// An empty buffer with room for `len` bytes that another value has left, charged for; `None` if there is none.
    pub fn take_buffer(&mut self, len: usize) -> Option<Vec<u8>> {
        let outside = &self.store.outside;
        let buffer = outside.spare.take(len)?;
        if self.grow(count(buffer.capacity())) {
            return Some(buffer);
        }
        outside.spare.give_buffer(buffer, outside.limit());
        None
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let arriving = &self.store.outside.arriving;
        arriving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
