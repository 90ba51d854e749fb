//! [`Journal`]: the invalidations that a node has missed. It hears them before anybody reads from it again.

use crate::op::Op;
use tokio::sync::{Mutex, MutexGuard};

/// Most ops that are remembered for a node.
pub(crate) const JOURNAL_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Missed>);

#[derive(Debug, Default)]
pub(crate) struct Missed {
    pub(crate) ops: Vec<Op>,
    /// There were more than [`JOURNAL_MAX`].
    pub(crate) overflowed: bool,
}

impl Journal {
    /// Whoever holds it keeps others from reading the node.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Missed> {
        self.0.lock().await
    }

    /// Whether all of them are remembered.
    pub(crate) async fn add(&self, ops: &[Op]) -> bool {
        let mut missed = self.lock().await;
        if missed.ops.len().saturating_add(ops.len()) > JOURNAL_MAX {
            missed.overflowed = true;
            return false;
        }
        missed.ops.extend_from_slice(ops);
        true
    }
}

impl Missed {
    pub(crate) const fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.overflowed
    }
}
