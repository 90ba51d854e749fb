//! [`Topology`]: the nodes of a client and the ring over them, replaced as a whole.

use crate::gutter::Gutter;
use crate::node::{Node, Settings, Trips};
use crate::op::WireKey;
use crate::place::{Aside, Place};
use crate::{Distribution, Error, NodeAddress, Ring};
use std::sync::Arc;

/// Nodes, and the ring over them.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    ring: Ring,
    nodes: Vec<Arc<Node>>,
}

impl Pool {
    /// Those of `known` keep their connections, and what they were found to be.
    pub(crate) fn new(
        distribution: Distribution,
        addresses: Vec<NodeAddress>,
        known: &[Arc<Node>],
        settings: &Arc<Settings>,
        trips: &Arc<Trips>,
    ) -> Result<Self, Error> {
        let ring = Ring::new(distribution, &addresses)?;
        trips.set_nodes(addresses.len());
        let nodes = addresses.into_iter().map(|address| {
            let kept = known.iter().find(|node| *node.address() == address);
            kept.map_or_else(|| Arc::new(Node::new(address, settings, trips)), Arc::clone)
        });
        Ok(Self {
            ring,
            nodes: nodes.collect(),
        })
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(crate) fn node(&self, key: &[u8]) -> Option<&Arc<Node>> {
        self.nodes.get(self.ring.locate(key))
    }
}

#[derive(Debug)]
pub(crate) struct Topology {
    distribution: Distribution,
    all: Pool,
    /// Those that are not ejected, while some are.
    live: Option<Pool>,
    gutter: Option<Arc<Gutter>>,
    trips: Arc<Trips>,
}

impl Topology {
    pub(crate) fn new(
        distribution: Distribution,
        addresses: Vec<NodeAddress>,
        settings: &Arc<Settings>,
        gutter: Option<Arc<Gutter>>,
    ) -> Result<Self, Error> {
        let trips = Arc::default();
        Ok(Self {
            distribution,
            all: Pool::new(distribution, addresses, &[], settings, &trips)?,
            live: None,
            gutter,
            trips,
        })
    }

    /// The same client with these nodes, none of which is ejected.
    pub(crate) fn with_nodes(
        &self,
        addresses: Vec<NodeAddress>,
        settings: &Arc<Settings>,
    ) -> Result<Self, Error> {
        let known = self.all.nodes();
        let all = Pool::new(self.distribution, addresses, known, settings, &self.trips)?;
        Ok(self.with(all, None))
    }

    /// The same nodes, these of them ejected.
    pub(crate) fn without(&self, ejected: &[Arc<Node>]) -> Result<Self, Error> {
        let is_ejected = |node: &&Arc<Node>| ejected.iter().any(|other| Arc::ptr_eq(node, other));
        let live = self.nodes().iter().filter(|node| !is_ejected(node));
        let nodes: Vec<Arc<Node>> = live.map(Arc::clone).collect();
        let live = if nodes.len() == self.nodes().len() {
            None
        } else {
            let addresses: Vec<_> = nodes.iter().map(|node| node.address().clone()).collect();
            let ring = Ring::new(self.distribution, &addresses)?;
            Some(Pool { ring, nodes })
        };
        Ok(self.with(self.all.clone(), live))
    }

    fn with(&self, all: Pool, live: Option<Pool>) -> Self {
        Self {
            distribution: self.distribution,
            all,
            live,
            gutter: self.gutter.clone(),
            trips: Arc::clone(&self.trips),
        }
    }

    /// All nodes but those of the gutter.
    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        self.all.nodes()
    }

    /// Those of the gutter too.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Arc<Node>> {
        let gutter = self.gutter.iter().flat_map(|gutter| gutter.nodes());
        self.nodes().iter().chain(gutter)
    }

    pub(crate) fn is_ejected(&self, node: &Arc<Node>) -> bool {
        let is_it = |other: &Arc<Node>| Arc::ptr_eq(node, other);
        let live = self.live.as_ref();
        live.is_some_and(|live| !live.nodes().iter().any(is_it))
    }

    /// Whether an entry may be anywhere but at its node.
    pub(crate) const fn has_aside(&self) -> bool {
        self.live.is_some() || self.gutter.is_some()
    }

    /// Where the entry of a key is, of which the ring sees `hashed`.
    pub(crate) fn place(&self, key: WireKey, hashed: &[u8]) -> Option<Place> {
        if !self.has_aside() {
            let node = Arc::clone(self.all.node(hashed)?);
            return Some(Place::new(node, key, None));
        }
        let home = self.all.node(hashed)?;
        let live = self.live.as_ref();
        let node = live.map_or(Some(home), |live| live.node(hashed))?;
        let gutter = self.gutter.as_ref();
        let aside = Aside {
            home: (!Arc::ptr_eq(home, node)).then(|| Arc::clone(home)),
            gutter: gutter.and_then(|gutter| gutter.spot(hashed)),
        };
        Some(Place::new(Arc::clone(node), key, Some(Box::new(aside))))
    }

    /// Where a key is looked for first.
    pub(crate) fn node(&self, key: &[u8]) -> Option<&Arc<Node>> {
        self.live.as_ref().unwrap_or(&self.all).node(key)
    }
}
