//! [`Pending`]: uses of keys that the played caches have yet to be told.
//!
//! They have one lock, so that a thread takes it once for a batch. Nobody waits for it on the way of a request: what
//! cannot be noted at once, because another thread is at it, is forgotten. Uses of a key stay in order.

use nuthatch_store::Access;
use std::mem;
use std::sync::{Mutex, PoisonError, TryLockError};

/// Lists of uses; a key's hash says which one it is in.
pub(crate) const LISTS: usize = 16;

/// So many uses are told together ...
const BATCH_LEN: usize = 64;

/// ... and so many of a list are kept while nobody can be told; later ones are forgotten.
const LIST_LEN_MAX: usize = 4 * BATCH_LEN;

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct List(Mutex<Vec<Access>>);

/// All lists.
#[derive(Debug, Default)]
pub(crate) struct Pending([List; LISTS]);

impl Pending {
    /// What it takes at most.
    pub(crate) const BYTES_MAX: usize =
        size_of::<Self>() + LISTS * LIST_LEN_MAX * size_of::<Access>();

    /// Adds a use; returns the number of its list if that has a batch.
    pub(crate) fn push(&self, access: Access) -> Option<usize> {
        let number = usize::try_from(access.hash % (LISTS as u64)).ok()?;
        let mut list = match self.0.get(number)?.0.try_lock() {
            Ok(list) => list,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if list.capacity() == 0 {
            list.reserve_exact(LIST_LEN_MAX);
        }
        if list.len() < LIST_LEN_MAX {
            list.push(access);
        }
        list.len().is_multiple_of(BATCH_LEN).then_some(number)
    }

    /// Gives an empty list for one of the lists. Who may tell must hold the lock of the caches.
    pub(crate) fn swap(&self, number: usize, empty: &mut Vec<Access>) {
        if let Some(List(list)) = self.0.get(number) {
            mem::swap(
                &mut *list.lock().unwrap_or_else(PoisonError::into_inner),
                empty,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_store::{Time, Use};

    fn miss(hash: u64) -> Access {
        Access {
            hash,
            used: Use::Miss,
            item: None,
            now: Time::from_millis(hash),
        }
    }

    #[test]
    fn uses_are_told_by_the_batch_and_in_order() {
        let pending = Pending::default();
        let hashes = (0..BATCH_LEN as u64).map(|number| number * LISTS as u64 + 3);
        let batches: Vec<_> = hashes
            .clone()
            .map(|hash| pending.push(miss(hash)))
            .collect();
        assert_eq!(batches.last(), Some(&Some(3)));
        assert_eq!(batches.iter().flatten().count(), 1);
        let mut batch = Vec::new();
        pending.swap(2, &mut batch);
        assert!(batch.is_empty());
        pending.swap(3, &mut batch);
        assert!(batch.iter().map(|access| access.hash).eq(hashes));
        pending.swap(LISTS, &mut batch);
        assert_eq!(batch.len(), BATCH_LEN);
    }

    #[test]
    fn so_many_are_kept_while_nobody_can_be_told() {
        let pending = Pending::default();
        for _ in 0..=LIST_LEN_MAX {
            let _ = pending.push(miss(0));
        }
        let mut batch = Vec::new();
        pending.swap(0, &mut batch);
        assert_eq!(
            (batch.len(), batch.capacity()),
            (LIST_LEN_MAX, LIST_LEN_MAX)
        );
    }

    #[test]
    fn nobody_waits() {
        let pending = Pending::default();
        let held = pending.0[0].0.lock().unwrap();
        assert_eq!(pending.push(miss(0)), None);
        drop(held);
        let mut batch = Vec::new();
        pending.swap(0, &mut batch);
        assert!(batch.is_empty());
    }
}
