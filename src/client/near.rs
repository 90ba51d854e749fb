//! [`NearCache`]: values that are asked for all the time, kept in the process for moments.

use crate::clock;
use crate::op::WireKey;
use crate::reply::RawItem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A small cache in the process, before the nodes, for values that are asked for all the time.
///
/// What it gives may be as old as its life, whatever others have done meanwhile. This client's own changes are seen at
/// once. [`Client::get`](crate::Client::get), [`get_item`](crate::Client::get_item) and
/// [`get_or_refresh`](crate::Client::get_or_refresh) look into it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearCache {
    bytes: u64,
    life: Duration,
}

impl NearCache {
    /// Room for so many bytes of keys and values, each kept for at most this long: a second or less for most.
    pub const fn new(bytes: u64, life: Duration) -> Self {
        Self { bytes, life }
    }
}

/// Charged for each entry beside its key and value.
const ENTRY_LEN: usize = 128;

#[derive(Debug)]
pub(crate) struct Near {
    items: moka::sync::Cache<WireKey, RawItem>,
    /// Raised by every change that this client makes.
    changes: AtomicU64,
}

/// How many changes there had been when a value was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

/// A change under way, be it carried out or not.
#[derive(Debug)]
pub(crate) struct Change<'a>(&'a Near, WireKey);

impl Near {
    pub(crate) fn new(settings: NearCache) -> Self {
        let weigh = |key: &WireKey, item: &RawItem| {
            let len = key.text.len().saturating_add(item.value.len());
            u32::try_from(len.saturating_add(ENTRY_LEN)).unwrap_or(u32::MAX)
        };
        Self {
            items: moka::sync::Cache::builder()
                .max_capacity(settings.bytes)
                .time_to_live(settings.life.min(clock::FOR_EVER))
                .weigher(weigh)
                .build(),
            changes: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, key: &WireKey) -> Option<RawItem> {
        self.items.get(key)
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.changes.load(Ordering::SeqCst))
    }

    /// Keeps what was asked for, unless this client has changed anything since: it could be what was there before.
    pub(crate) fn keep(&self, key: &WireKey, item: &RawItem, asked: Ticket) {
        if self.ticket().0 != asked.0 {
            return;
        }
        // A large value is a part of a larger buffer, which it would keep alive.
        let mut item = item.clone();
        item.value = bytes::Bytes::copy_from_slice(&item.value);
        self.items.insert(key.clone(), item);
        // A change that began in between may have forgotten the key before it was inserted.
        if self.ticket().0 != asked.0 {
            self.items.invalidate(key);
        }
    }

    /// Forgets the key now and when the change has ended.
    pub(crate) fn change(&self, key: &WireKey) -> Change<'_> {
        self.forget(key);
        Change(self, key.clone())
    }

    fn forget(&self, key: &WireKey) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.items.invalidate(key);
    }

    pub(crate) fn clear(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.items.invalidate_all();
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.forget(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> WireKey {
        WireKey {
            text: b"k"[..].into(),
            base64: false,
        }
    }

    #[test]
    fn what_was_asked_for_before_a_change_is_not_kept() {
        let near = Near::new(NearCache::new(1 << 20, Duration::from_mins(1)));
        let item = RawItem::default();
        let before = near.ticket();
        let change = near.change(&key());
        near.keep(&key(), &item, before);
        assert_eq!(near.get(&key()), None);
        let during = near.ticket();
        near.keep(&key(), &item, during);
        assert_eq!(near.get(&key()), Some(item.clone()));
        drop(change);
        assert_eq!(near.get(&key()), None);
        near.keep(&key(), &item, during);
        assert_eq!(near.get(&key()), None);
        near.keep(&key(), &item, near.ticket());
        assert_eq!(near.get(&key()), Some(item.clone()));
        // Nor does it take the place of what is right.
        near.keep(&key(), &RawItem::default(), during);
        assert_eq!(near.get(&key()), Some(item));
        near.clear();
        assert_eq!(near.get(&key()), None);
    }

    #[test]
    fn it_holds_as_many_bytes_as_it_may_for_as_long_as_it_may_and_no_buffer_of_others() {
        let life = Duration::from_secs(3);
        let room = 10 * (ENTRY_LEN as u64 + 1 + 72);
        let near = Near::new(NearCache::new(room, life));
        assert_eq!(near.items.policy().time_to_live(), Some(life));
        let buffer = bytes::Bytes::from(vec![0; 1000]);
        let item = RawItem {
            value: buffer.slice(..72),
            ..RawItem::default()
        };
        let key = |number: u8| WireKey {
            text: [number][..].into(),
            base64: false,
        };
        for number in 0..10 {
            near.keep(&key(number), &item, near.ticket());
        }
        near.items.run_pending_tasks();
        assert_eq!(near.items.weighted_size(), room);
        assert!((0..10).all(|number| near.get(&key(number)).is_some()));
        near.keep(&key(10), &item, near.ticket());
        near.items.run_pending_tasks();
        assert!(near.items.weighted_size() <= room);
        drop(item);
        assert!(buffer.is_unique());
    }
}
