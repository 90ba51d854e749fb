//! [`Gutter`]: nodes that stand in for those that are down, for moments.
//!
//! What is kept there lives for seconds, so that nothing outdated is found there when it is needed again. Only what may
//! be lost or late goes there: values that are read, set and deleted, and what `get_or_refresh` loads. Numbers, cas and
//! `add` promise that there is one truth, which two nodes are not: these fail as without a gutter.

use crate::client::Client;
use crate::join::join_all;
use crate::node::{Node, Settings};
use crate::op::{Store, Verb};
use crate::reply::Reply;
use crate::topology::Pool;
use crate::ttl::at_most;
use crate::{Distribution, Error, NodeAddress, Strategy};
use nuthatch_protocol::StorageMode;
use std::sync::Arc;
use std::time::Duration;

/// Most keys of a call about many that are asked for in the gutter at once.
const AT_ONCE_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Gutter {
    pool: Pool,
    life_max: Duration,
}

/// A key's node in the gutter, and how long anything lives there.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) node: Arc<Node>,
    pub(crate) life_max: Duration,
}

impl Gutter {
    pub(crate) fn new(
        distribution: Distribution,
        addresses: Vec<NodeAddress>,
        life_max: Duration,
        settings: &Arc<Settings>,
    ) -> Result<Self, Error> {
        let trips = Arc::default();
        Ok(Self {
            pool: Pool::new(distribution, addresses, &[], settings, &trips)?,
            life_max,
        })
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        self.pool.nodes()
    }

    pub(crate) fn spot(&self, hashed: &[u8]) -> Option<Spot> {
        let node = Arc::clone(self.pool.node(hashed)?);
        let life_max = self.life_max;
        Some(Spot { node, life_max })
    }
}

impl Verb {
    /// What is asked of the gutter instead, if it may be.
    pub(crate) fn in_gutter(&self, life_max: Duration) -> Option<Self> {
        match self {
            Self::Get | Self::GetAndTouch(_) => Some(Self::Get),
            Self::Delete => Some(Self::Delete),
            Self::Store(store) if store.mode == StorageMode::Set => Some(Self::Store(Store {
                exptime: at_most(store.exptime, life_max),
                ..store.clone()
            })),
            _ => None,
        }
    }
}

impl Client {
    /// Of a call about many keys, has those again one by one whose node is down, since a place knows where else to go, and
    /// those whose empty value may be a place that is kept, which the answer to many keys does not tell.
    pub(crate) async fn ask_aside<'a>(
        &self,
        replies: Vec<(usize, Result<Reply, Error>)>,
        again: impl Fn(usize) -> Option<(&'a [u8], Verb)>,
    ) -> Vec<(usize, Result<Reply, Error>)> {
        let is_lease = self.inner().options.strategy == Strategy::Lease;
        let has_aside = self.inner().topology.load().has_aside();
        let is_unclear = |(_, reply): &(usize, Result<Reply, Error>)| match reply {
            Ok(Reply::Item(item)) => is_lease && item.client_flags == 0 && item.value.is_empty(),
            reply => has_aside && matches!(reply, Err(Error::Unavailable { .. })),
        };
        let (down, mut done): (Vec<_>, Vec<_>) = replies.into_iter().partition(is_unclear);
        for chunk in down.chunks(AT_ONCE_MAX) {
            let asked = chunk.iter().map(|(position, down)| {
                let asked = again(*position);
                async move {
                    let reply = match asked {
                        Some((key, verb)) => self.change(key, verb).await,
                        None => down.clone(),
                    };
                    (*position, reply)
                }
            });
            done.extend(join_all(asked).await);
        }
        done
    }
}
