//! [`Journal`]: the invalidations that a node has missed. It hears them before anybody reads from it again.

use crate::op::{Op, Verb, WireKey};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::{Mutex, MutexGuard};

/// Most ops that are remembered for a node.
pub(crate) const JOURNAL_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Missed>);

#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// One for each key, in the order in which they are to be carried out.
    ops: BTreeMap<u64, Op>,
    turns: HashMap<WireKey, u64>,
    next: u64,
    /// There were more than [`JOURNAL_MAX`].
    pub(crate) overflowed: bool,
}

impl Journal {
    /// Whoever holds it keeps others from reading the node.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Missed> {
        self.0.lock().await
    }

    /// Whether all of them are remembered.
    pub(crate) async fn add(&self, ops: Vec<Op>) -> bool {
        let mut missed = self.lock().await;
        let is_new = |op: &&Op| !missed.turns.contains_key(&op.key);
        let more = ops.iter().filter(is_new).count();
        if missed.ops.len().saturating_add(more) > JOURNAL_MAX {
            missed.overflowed = true;
            return false;
        }
        for op in ops {
            missed.put(op);
        }
        true
    }
}

impl Missed {
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.overflowed
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.ops.values().cloned().collect()
    }

    /// The node has heard them.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A key's last op is the one that counts, but no delete takes a tombstone's place.
    fn put(&mut self, mut op: Op) {
        let turn = self.next;
        self.next = turn.saturating_add(1);
        let before = self.turns.insert(op.key.clone(), turn);
        let before = before.and_then(|turn| self.ops.remove(&turn));
        if let Some(before) = before
            && matches!(before.verb, Verb::Store(_))
            && matches!(op.verb, Verb::Delete)
        {
            op = before;
        }
        self.ops.insert(turn, op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Encoded, TOMBSTONE};
    use nuthatch_protocol::{Exptime, StorageMode};

    fn op(key: usize, verb: Verb) -> Op {
        let key = crate::KeyPolicy::Reject.wire_key(format!("k:{key}").as_bytes());
        Op {
            key: key.unwrap(),
            verb,
        }
    }

    fn tombstone() -> Verb {
        Verb::Store(Encoded::mark(TOMBSTONE).store(StorageMode::Set, Exptime::new(12)))
    }

    #[tokio::test]
    async fn a_key_counts_once_and_keeps_its_tombstone() {
        let journal = Journal::default();
        assert!(journal.add(vec![op(0, Verb::Delete)]).await);
        for number in 1..JOURNAL_MAX {
            assert!(journal.add(vec![op(number, tombstone())]).await);
        }
        assert!(journal.add(vec![op(1, Verb::Delete)]).await);
        assert!(journal.add(vec![op(0, tombstone())]).await);
        let missed = journal.lock().await;
        let ops = missed.ops();
        assert_eq!(ops.len(), JOURNAL_MAX);
        assert!(ops.iter().all(|op| matches!(op.verb, Verb::Store(_))));
        let last: Vec<&WireKey> = ops.iter().rev().take(2).map(|op| &op.key).collect();
        assert_eq!(last, [&op(0, Verb::Get).key, &op(1, Verb::Get).key]);
        assert!(!missed.overflowed);
        drop(missed);
        assert!(!journal.add(vec![op(JOURNAL_MAX, tombstone())]).await);
        let mut missed = journal.lock().await;
        assert!(missed.overflowed && missed.ops().len() == JOURNAL_MAX);
        missed.clear();
        assert!(missed.is_empty());
    }
}
