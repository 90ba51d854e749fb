//! [`Place`]: where an entry is: its key as it travels, its node, and where else it may be while that is down.

use crate::Error;
use crate::gutter::Spot;
use crate::node::Node;
use crate::op::{Op, Verb, WireKey};
use crate::reply::{RawItem, Reply};
use std::sync::Arc;
use std::time::Duration;

/// A key, checked, and the node that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: Arc<Node>,
    pub(crate) key: WireKey,
    /// In a client with a gutter, or while a node is ejected.
    aside: Option<Box<Aside>>,
}

/// Where else an entry may be.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    /// The node that the key belongs to when nobody is ejected, if that is another one.
    pub(crate) home: Option<Arc<Node>>,
    pub(crate) gutter: Option<Spot>,
}

impl Place {
    pub(crate) const fn new(node: Arc<Node>, key: WireKey, aside: Option<Box<Aside>>) -> Self {
        Self { node, key, aside }
    }

    pub(crate) fn op(&self, verb: Verb) -> Op {
        Op {
            key: self.key.clone(),
            verb,
        }
    }

    /// Asks the node, or the gutter if that is down.
    pub(crate) async fn call(&self, verb: Verb) -> Result<Reply, Error> {
        match &self.aside {
            None => self.node.call(self.op(verb)).await,
            // Boxed: few need it, and all would pay for its size.
            Some(aside) => Box::pin(self.call_or_aside(aside, verb)).await,
        }
    }

    async fn call_or_aside(&self, aside: &Aside, verb: Verb) -> Result<Reply, Error> {
        if !verb.is_read()
            && let Some(home) = &aside.home
            && !self.outdate(home).await
        {
            return Err(unavailable(home, "has missed more than is remembered"));
        }
        let spot = aside.gutter.as_ref();
        let detour = spot.and_then(|spot| Some((spot, verb.in_gutter(spot.life_max)?)));
        let called = self.node.call(self.op(verb)).await;
        let (Err(down @ Error::Unavailable { .. }), Some((spot, verb))) = (&called, detour) else {
            return called;
        };
        if !self.node.is_down() {
            return called;
        }
        if !verb.is_read() && !self.outdate(&self.node).await {
            return called;
        }
        self.node.count_detour();
        match spot.node.call(self.op(verb)).await {
            // Its cas unique is nothing that the node could compare with.
            Ok(Reply::Item(item)) => Ok(Reply::Item(RawItem { cas: None, ..item })),
            // That the gutter is down too is not what is wrong.
            Err(Error::Unavailable { .. }) => Err(down.clone()),
            called => called,
        }
    }

    /// What a node that is down has of the key is about to be outdated: it forgets it before it is read again. Whether it
    /// is sure to.
    async fn outdate(&self, node: &Arc<Node>) -> bool {
        node.remember(vec![self.op(Verb::Delete)]).await || node.is_flushed_after_overflow()
    }

    /// The same key in the gutter, and how long anything lives there, if its node is down.
    pub(crate) fn detour(&self) -> Option<(Self, Duration)> {
        let spot = self.aside.as_ref()?.gutter.as_ref()?;
        let is_down = self.node.is_down();
        is_down.then(|| (self.at(&spot.node), spot.life_max))
    }

    /// Why a change cannot be made without [`call`](Self::call): a node that is ejected has to hear of it too.
    pub(crate) fn ejected(&self) -> Option<Error> {
        let home = self.aside.as_ref()?.home.as_ref()?;
        Some(unavailable(home, "is asked in another way"))
    }

    /// The same key at the node that is ejected, and belongs to it.
    pub(crate) fn at_home(&self) -> Option<Self> {
        self.aside.as_ref()?.home.as_ref().map(|node| self.at(node))
    }

    /// The same key in the gutter, where other clients may look who cannot reach the node.
    pub(crate) fn in_gutter(&self) -> Option<Self> {
        let spot = self.aside.as_ref()?.gutter.as_ref();
        spot.map(|spot| self.at(&spot.node))
    }

    fn at(&self, node: &Arc<Node>) -> Self {
        Self::new(Arc::clone(node), self.key.clone(), None)
    }
}

fn unavailable(home: &Node, what: &str) -> Error {
    Error::Unavailable {
        node: Arc::clone(home.label()),
        why: format!("it is ejected, and {what}"),
    }
}
