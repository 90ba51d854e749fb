//! [`Client::get_many`] and [`Client::set_many`]: many keys at once, each node asked once and all of them together.

use crate::client::{Client, OnDown};
use crate::join::join_all;
use crate::node::Node;
use crate::op::{KeyLine, Op, Verb, WireKey};
use crate::place::Place;
use crate::reply::{Reply, hit};
use crate::{Decode, Encode, Error, Ttl};
use nuthatch_protocol::{Key, StorageMode};
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
        let replies = node.call_many(self.ops).await;
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

/// The keys that one node is asked for in one line, and their positions.
struct Lookup {
    node: Arc<Node>,
    positions: Vec<usize>,
    keys: KeyLine,
}

impl Lookup {
    fn new(node: &Arc<Node>, keys: usize) -> Self {
        Self {
            node: Arc::clone(node),
            positions: Vec::with_capacity(keys),
            keys: KeyLine::with_capacity(keys),
        }
    }

    /// The reply to each, or the error of each.
    async fn ask(self) -> Vec<(usize, Result<Reply, Error>)> {
        let op = Op {
            key: WireKey {
                text: Arc::default(),
                base64: false,
            },
            verb: Verb::GetMany(Arc::new(self.keys)),
        };
        let positions = self.positions.into_iter();
        match self.node.call(op).await {
            Ok(Reply::Items(items)) => {
                let replies = items
                    .into_iter()
                    .map(|item| Ok(item.map_or(Reply::Miss, Reply::Item)));
                positions.zip(replies).collect()
            }
            Ok(_) => Vec::new(),
            Err(error) => positions
                .map(|position| (position, Err(error.clone())))
                .collect(),
        }
    }
}

impl Client {
    /// The values of many keys. Each node is asked once, all at the same time.
    ///
    /// Errors are part of the result: of a key that cannot travel, of a value that is no `T`, of a node that does not
    /// answer. The keys of a node that is down are missing, unless [`OnDown`] says otherwise.
    ///
    /// Small values may share buffers of 16 KiB: who keeps one of many as [`Bytes`](bytes::Bytes) for long copies it.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn get_many<K, T>(&self, keys: &[K]) -> Many<K, T>
    where
        K: AsRef<[u8]> + Clone + Eq + Hash,
        T: Decode,
    {
        let replies = self.look_up_many(keys).await;
        let again = |position: usize| Some((keys.get(position)?.as_ref(), Verb::Get));
        let replies = self.ask_aside(replies, again).await;
        let mut many = Many {
            found: HashMap::with_capacity(keys.len()),
            missing: Vec::new(),
            failed: HashMap::new(),
        };
        let (mut hits, mut misses) = (0, 0);
        for (position, reply) in replies {
            let Some(key) = keys.get(position) else {
                continue;
            };
            let value = match reply {
                Ok(reply) => {
                    if let Some(item) = hit(reply) {
                        hits += 1;
                        self.inner().decode(item).and_then(T::decode).map(Some)
                    } else {
                        misses += 1;
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
        self.inner().tally.hits.add(hits);
        self.inner().tally.misses.add(misses);
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
    async fn look_up_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<(usize, Result<Reply, Error>)> {
        let (lookups, odd) = self.lookups(keys);
        let odd_keys = odd.iter().filter_map(|position| keys.get(*position));
        let odd_ops = odd_keys.map(|key| (key.as_ref(), Ok(Verb::Get)));
        let (replies, odd_replies) = tokio::join!(
            join_all(lookups.into_iter().map(Lookup::ask)),
            self.ask_many(odd_ops)
        );
        let odd_replies = odd_replies
            .into_iter()
            .filter_map(|(place, reply)| Some((*odd.get(place)?, reply)));
        replies.into_iter().flatten().chain(odd_replies).collect()
    }

    /// What each node is asked for in one line, and the positions of the keys that do not travel as they are.
    fn lookups<K: AsRef<[u8]>>(&self, keys: &[K]) -> (Vec<Lookup>, Vec<usize>) {
        let topology = self.inner().topology.load();
        let options = &self.inner().options;
        let each = (keys.len() / topology.nodes().len().max(1)).min(CHUNK_LEN);
        // More than an even share: no ring is even.
        let room = each + each / 4 + 1;
        let (mut open, mut full, mut odd) = (Vec::<Lookup>::new(), Vec::new(), Vec::new());
        let mut whole = options.prefix.as_bytes().to_vec();
        for (position, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            whole.truncate(options.prefix.len());
            whole.extend_from_slice(key);
            let hashed = if options.hash_prefix {
                whole.as_slice()
            } else {
                key
            };
            let (Ok(plain), Some(node)) = (Key::new(&whole), topology.node(hashed)) else {
                odd.push(position);
                continue;
            };
            let known = open
                .iter()
                .position(|lookup| Arc::ptr_eq(&lookup.node, node));
            let known = known.unwrap_or_else(|| {
                open.push(Lookup::new(node, room));
                open.len() - 1
            });
            if let Some(lookup) = open.get_mut(known) {
                lookup.positions.push(position);
                lookup.keys.push(plain);
                if lookup.keys.len() >= CHUNK_LEN {
                    full.push(open.swap_remove(known));
                }
            }
        }
        full.extend(open);
        (full, odd)
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
