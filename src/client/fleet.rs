//! Commands about whole nodes: [`Client::flush_all`], [`Client::stats`], [`Client::versions`]; and about where keys are.

use crate::client::Client;
use crate::join::join_all;
use crate::op::{Op, Verb, WireKey};
use crate::reply::Reply;
use crate::{Error, NodeAddress, Ttl};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An answer, or an error, from each node, by its name.
pub type PerNode<T> = BTreeMap<String, Result<T, Error>>;

impl Client {
    /// Empties all nodes, those of the gutter too.
    ///
    /// # Cancel safety
    /// Each node may be emptied, or not.
    pub async fn flush_all(&self) -> PerNode<()> {
        let replies = self.ask_all(&Verb::FlushAll(Ttl::NEVER.exptime())).await;
        if let Some(near) = &self.inner().near {
            near.clear();
        }
        let replies = replies.into_iter();
        replies
            .map(|(node, reply)| (node, reply.map(|_| ())))
            .collect()
    }

    /// The statistics of all nodes, those of the gutter too: `kind` is empty for the general ones, or `items`, `slabs`, ...
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn stats(&self, kind: &str) -> PerNode<BTreeMap<String, String>> {
        // What follows the word goes to the server as it is: no second command.
        let kind = kind.split_whitespace().collect::<Vec<_>>().join(" ");
        let replies = self.ask_all(&Verb::Stats(kind.into())).await.into_iter();
        let replies = replies.map(|(node, reply)| {
            let stats = reply.map(|reply| match reply {
                Reply::Stats(stats) => stats.into_iter().collect(),
                _ => BTreeMap::new(),
            });
            (node, stats)
        });
        replies.collect()
    }

    /// The versions of all nodes, those of the gutter too.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn versions(&self) -> PerNode<String> {
        let replies = self.ask_all(&Verb::Version).await.into_iter();
        let replies = replies.map(|(node, reply)| {
            let version = reply.map(|reply| match reply {
                Reply::Version(version) => version,
                _ => String::new(),
            });
            (node, version)
        });
        replies.collect()
    }

    /// Replaces the nodes. Those that were there before keep their connections; calls that are under way end where they
    /// began.
    ///
    /// # Errors
    /// [`Error::Config`] if there can be no ring of them; the client goes on as it was.
    pub fn set_nodes(&self, nodes: Vec<NodeAddress>) -> Result<(), Error> {
        self.inner().set_nodes(nodes)
    }

    /// The name of the node that a key belongs to.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn locate(&self, key: impl AsRef<[u8]>) -> Result<String, Error> {
        let place = self.inner().place(key.as_ref())?;
        Ok(place.node.label().to_string())
    }

    async fn ask_all(&self, verb: &Verb) -> PerNode<Reply> {
        let topology = self.inner().topology.load_full();
        let asked = topology.everybody().map(|node| async {
            let op = Op {
                key: WireKey {
                    text: Arc::default(),
                    base64: false,
                },
                verb: verb.clone(),
            };
            (node.label().to_string(), node.call(op).await)
        });
        join_all(asked).await.into_iter().collect()
    }
}
