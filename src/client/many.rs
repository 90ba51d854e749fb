//! [`Client::get_many`] and [`Client::set_many`]: many keys at once, each node asked once and all of them together.

use crate::client::{Client, OnDown, hit};
use crate::join::join_all;
use crate::node::Node;
use crate::op::{Op, Verb, WireKey};
use crate::place::Place;
use crate::reply::Reply;
use crate::{Decode, Encode, Error, Ttl};
use nuthatch_protocol::StorageMode;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Most keys that one node is asked for in one go.
pub(crate) const CHUNK_LEN: usize = 1000;

/// What became of the keys of a [`Client::get_many`]: partial by design, for a node that is down shall not cost the
/// answers of the others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Many<K, T> {
    /// The hits.
    pub found: HashMap<K, T>,
    /// The misses.
    pub missing: Vec<K>,
    /// The keys that nothing is known of, and why.
    pub failed: HashMap<K, Error>,
}

/// The positions of keys that one node is asked for, and the ops about them.
struct Chunk {
    node: Arc<Node>,
    positions: Vec<usize>,
    ops: Vec<Op>,
}

impl Chunk {
    /// The reply to each, or the error of each.
    async fn ask(self) -> Vec<(usize, Result<Reply, Error>)> {
        let node = self.node;
        let name = self.ops.first().map_or("get", |op| op.verb.name());
        let is_one_line = |op: &Op| matches!(op.verb, Verb::Get) && !op.key.base64;
        let replies = if self.ops.len() > 1 && self.ops.iter().all(is_one_line) {
            look_up(&node, self.ops).await
        } else {
            node.call_many(self.ops).await
        };
        match replies {
            Ok(replies) => {
                let replies = self.positions.into_iter().zip(replies);
                replies
                    .map(|(position, reply)| (position, node.check(reply, name)))
                    .collect()
            }
            Err(error) => {
                let positions = self.positions.into_iter();
                positions
                    .map(|position| (position, Err(error.clone())))
                    .collect()
            }
        }
    }
}

/// Many keys in one line.
async fn look_up(node: &Node, ops: Vec<Op>) -> Result<Vec<Reply>, Error> {
    let keys = ops.into_iter().map(|op| op.key.text).collect();
    let op = Op {
        key: WireKey {
            text: Arc::default(),
            base64: false,
        },
        verb: Verb::GetMany(keys),
    };
    let Reply::Items(items) = node.call(op).await? else {
        return Ok(Vec::new());
    };
    let replies = items.into_iter();
    Ok(replies
        .map(|item| item.map_or(Reply::Miss, Reply::Item))
        .collect())
}

impl Client {
    /// The values of many keys. Each node is asked once, all at the same time.
    ///
    /// Errors are part of the result: of a key that cannot travel, of a value that is no `T`, of a node that does not
    /// answer. The keys of a node that is down are missing, unless [`OnDown`] says otherwise.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn get_many<K, T>(&self, keys: &[K]) -> Many<K, T>
    where
        K: AsRef<[u8]> + Clone + Eq + Hash,
        T: Decode,
    {
        let replies = self
            .ask_many(keys.iter().map(|key| (key.as_ref(), Ok(Verb::Get))))
            .await;
        let again = |position: usize| Some((keys.get(position)?.as_ref(), Verb::Get));
        let replies = self.ask_aside(replies, again).await;
        let mut many = Many {
            found: HashMap::with_capacity(keys.len()),
            missing: Vec::new(),
            failed: HashMap::new(),
        };
        let tally = &self.inner().tally;
        for (position, reply) in replies {
            let Some(key) = keys.get(position) else {
                continue;
            };
            let value = match reply {
                Ok(reply) => {
                    if let Some(item) = hit(reply) {
                        tally.hits.one();
                        self.inner().decode(item).and_then(T::decode).map(Some)
                    } else {
                        tally.misses.one();
                        Ok(None)
                    }
                }
                Err(Error::Unavailable { .. }) if self.inner().options.on_down == OnDown::Miss => {
                    Ok(None)
                }
                Err(error) => Err(error),
            };
            match value {
                Ok(Some(value)) => drop(many.found.insert(key.clone(), value)),
                Ok(None) => many.missing.push(key.clone()),
                Err(error) => drop(many.failed.insert(key.clone(), error)),
            }
        }
        many
    }

    /// Stores many values; what could not be stored, and why.
    ///
    /// # Cancel safety
    /// Each value may be stored, or not.
    pub async fn set_many<K, T>(&self, entries: &[(K, T)], ttl: Ttl) -> HashMap<K, Error>
    where
        K: AsRef<[u8]> + Clone + Eq + Hash,
        T: Encode,
    {
        let store = |value| {
            let encoded = self.inner().encode(value)?;
            Ok(Verb::Store(encoded.store(StorageMode::Set, ttl.exptime())))
        };
        let ops = entries
            .iter()
            .map(|(key, value)| (key.as_ref(), store(value)));
        let replies = self.ask_many(ops).await;
        let again = |position: usize| {
            let (key, value): &(K, T) = entries.get(position)?;
            Some((key.as_ref(), store(value).ok()?))
        };
        let replies = self.ask_aside(replies, again).await.into_iter();
        replies
            .filter_map(|(position, reply)| {
                let (key, _) = entries.get(position)?;
                Some((key.clone(), reply.err()?))
            })
            .collect()
    }

    /// The reply to each, by its position.
    async fn ask_many<'a>(
        &self,
        ops: impl Iterator<Item = (&'a [u8], Result<Verb, Error>)>,
    ) -> Vec<(usize, Result<Reply, Error>)> {
        let (mut done, mut changes) = (Vec::new(), Vec::new());
        let mut full: Vec<Chunk> = Vec::new();
        // The chunk that is being filled for each node; most clients have a few.
        let mut open: Vec<Chunk> = Vec::new();
        for (position, (key, verb)) in ops.enumerate() {
            let (place, verb) = match (self.inner().place(key), verb) {
                (Ok(place), Ok(verb)) => (place, verb),
                (Err(error), _) | (_, Err(error)) => {
                    done.push((position, Err(error)));
                    continue;
                }
            };
            if !verb.is_read() {
                if let Some(ejected) = place.ejected() {
                    done.push((position, Err(ejected)));
                    continue;
                }
                changes.extend(self.inner().change(&place.key));
            }
            let Place { node, key, .. } = place;
            let op = Op { key, verb };
            match open
                .iter_mut()
                .find(|chunk| Arc::ptr_eq(&chunk.node, &node))
            {
                Some(chunk) => {
                    chunk.positions.push(position);
                    chunk.ops.push(op);
                }
                None => open.push(Chunk {
                    node,
                    positions: vec![position],
                    ops: vec![op],
                }),
            }
            full.extend(open.extract_if(.., |chunk| chunk.ops.len() >= CHUNK_LEN));
        }
        full.extend(open);
        done.extend(
            join_all(full.into_iter().map(Chunk::ask))
                .await
                .into_iter()
                .flatten(),
        );
        done
    }
}
