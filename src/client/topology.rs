//! [`Topology`]: the nodes of a client and the ring over them, replaced as a whole.

use crate::node::{Node, Settings, Trips};
use crate::{Distribution, Error, NodeAddress, Ring};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Topology {
    ring: Ring,
    nodes: Vec<Arc<Node>>,
}

impl Topology {
    /// Nodes that were there before keep their connections, and what they were found to be.
    pub(crate) fn new(
        distribution: Distribution,
        addresses: Vec<NodeAddress>,
        settings: &Arc<Settings>,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let ring = Ring::new(distribution, &addresses)?;
        let trips = Trips::new(addresses.len());
        let known = before.map(Self::nodes).unwrap_or_default();
        let nodes = addresses.into_iter().map(|address| {
            let kept = known.iter().find(|node| *node.address() == address);
            kept.map_or_else(
                || Arc::new(Node::new(address, settings, &trips)),
                Arc::clone,
            )
        });
        Ok(Self {
            ring,
            nodes: nodes.collect(),
        })
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(crate) fn locate(&self, key: &[u8]) -> usize {
        self.ring.locate(key)
    }

    pub(crate) fn node(&self, key: &[u8]) -> Option<&Arc<Node>> {
        self.nodes.get(self.locate(key))
    }
}
