//! [`Journal`]: the invalidations that a node has missed. It hears them before anybody reads from it again.

use crate::op::{Dialect, Op, Verb, WireKey};
use crate::reply::Reply;
use nuthatch_protocol::Exptime;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
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
    overflowed: bool,
}

/// What a node is told of what it missed.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) ops: Vec<Op>,
    pub(crate) scope: Scope,
}

/// Which part of the journal a replay is. What was added since is not in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    end: u64,
    pub(crate) overflowed: bool,
}

impl Replay {
    /// The refusal of one of them, if there is any.
    pub(crate) fn refusal(replies: &[Reply]) -> Option<&str> {
        replies.iter().find_map(|reply| match reply {
            Reply::Refused(line) => Some(line.as_str()),
            _ => None,
        })
    }
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

    /// All of it, or that the node shall forget everything if that is not all. What cannot be said to the node is of
    /// keys that cannot be read from it either.
    pub(crate) fn replay(&self, dialect: Dialect, flush_after_overflow: bool) -> Replay {
        let flush = Op {
            key: WireKey {
                text: Arc::default(),
                base64: false,
            },
            verb: Verb::FlushAll(Exptime::NEVER),
        };
        let is_flush = self.overflowed && flush_after_overflow && flush.is_sayable(dialect);
        let ops = if is_flush {
            vec![flush]
        } else {
            let ops = self.ops.values().filter(|op| op.is_sayable(dialect));
            ops.cloned().collect()
        };
        let scope = Scope {
            end: self.next,
            overflowed: self.overflowed,
        };
        Replay { ops, scope }
    }

    /// The node has heard what was replayed.
    pub(crate) fn heard(&mut self, scope: Scope) {
        self.ops = self.ops.split_off(&scope.end);
        self.turns.retain(|_, turn| *turn >= scope.end);
        self.overflowed &= !scope.overflowed;
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
    use crate::KeyPolicy;
    use crate::codec::{Encoded, TOMBSTONE};
    use nuthatch_protocol::StorageMode;

    fn op(key: usize, verb: Verb) -> Op {
        let key = KeyPolicy::Reject.wire_key(format!("k:{key}").as_bytes());
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
        let ops = missed.replay(Dialect::Meta, true).ops;
        assert_eq!(ops.len(), JOURNAL_MAX);
        assert!(ops.iter().all(|op| matches!(op.verb, Verb::Store(_))));
        let last: Vec<&WireKey> = ops.iter().rev().take(2).map(|op| &op.key).collect();
        assert_eq!(last, [&op(0, Verb::Get).key, &op(1, Verb::Get).key]);
        assert!(!missed.overflowed);
        drop(missed);
        assert!(!journal.add(vec![op(JOURNAL_MAX, tombstone())]).await);
        assert!(journal.lock().await.overflowed);
    }

    #[tokio::test]
    async fn what_was_added_while_a_node_heard_the_rest_is_not_forgotten() {
        let journal = Journal::default();
        assert!(
            journal
                .add(vec![op(0, tombstone()), op(1, tombstone())])
                .await
        );
        let replay = journal.lock().await.replay(Dialect::Meta, true);
        assert_eq!(replay.ops.len(), 2);
        // One of the same keys, and one more than there may be.
        assert!(journal.add(vec![op(1, Verb::Delete)]).await);
        journal.lock().await.overflowed = true;
        let mut missed = journal.lock().await;
        missed.heard(replay.scope);
        assert!(missed.overflowed && missed.ops.len() == 1 && missed.turns.len() == 1);
        let replay = missed.replay(Dialect::Meta, true);
        assert!(matches!(replay.ops.as_slice(), [op] if matches!(op.verb, Verb::FlushAll(_))));
        missed.heard(replay.scope);
        assert!(missed.is_empty() && missed.turns.is_empty());
    }

    #[tokio::test]
    async fn a_node_is_told_what_it_understands() {
        let base64 = KeyPolicy::Base64.wire_key(b"a b").unwrap();
        let journal = Journal::default();
        let unsayable = Op {
            key: base64,
            verb: tombstone(),
        };
        assert!(journal.add(vec![unsayable, op(0, tombstone())]).await);
        let mut missed = journal.lock().await;
        let told = |missed: &Missed, dialect, flush| missed.replay(dialect, flush).ops.len();
        assert_eq!(told(&missed, Dialect::Meta, true), 2);
        assert_eq!(told(&missed, Dialect::Classic, true), 1);
        missed.overflowed = true;
        assert_eq!(told(&missed, Dialect::Meta, false), 2);
        assert_eq!(told(&missed, Dialect::Meta, true), 1);
        // A proxy flushes nobody.
        let replay = missed.replay(Dialect::Proxy, true);
        assert!(matches!(replay.ops.as_slice(), [op] if matches!(op.verb, Verb::Store(_))));
    }
}
