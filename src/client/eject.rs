//! [`Eject`]: leaves nodes that are down out of the ring, as libmemcached does, and takes them back.

use crate::client::{Client, Inner};
use crate::clock;
use crate::node::Node;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest and the shortest time between two looks at the nodes.
const LOOK_LAST: Duration = Duration::from_secs(1);
const LOOK_FIRST: Duration = Duration::from_millis(10);

/// How many of so many nodes may be ejected at once: a third, at least one, and never all.
fn ejected_max(nodes: usize) -> usize {
    (nodes / 3).max(1).min(nodes.saturating_sub(1))
}

/// Of all these nodes, those that have been down for so long, in the order in which they went down, as many as may be.
fn overdue<N: Clone>(down: &[(N, Instant)], now: Instant, after: Duration, nodes: usize) -> Vec<N> {
    let long = down
        .iter()
        .filter(|(_, since)| now.saturating_duration_since(*since) >= after);
    let long = long.take(ejected_max(nodes));
    long.map(|(node, _)| node.clone()).collect()
}

pub(crate) struct Eject {
    /// How long a node is down before it is ejected.
    after: Duration,
    /// The nodes that are down, and since when.
    down: Vec<(Arc<Node>, Instant)>,
}

impl Eject {
    /// Looks until the client is gone.
    pub(crate) fn watch(client: &Client, after: Duration) {
        let client: Weak<Inner> = Arc::downgrade(client.inner());
        let mut eject = Self {
            after,
            down: Vec::new(),
        };
        tokio::spawn(async move {
            loop {
                sleep((after / 4).clamp(LOOK_FIRST, LOOK_LAST)).await;
                let Some(inner) = client.upgrade() else {
                    return;
                };
                eject.look(&inner).await;
            }
        });
    }

    async fn look(&mut self, inner: &Inner) {
        let topology = inner.topology.load_full();
        let nodes = topology.nodes();
        let now = clock::now();
        // In the order in which they went down: who is ejected stays so while others go down too.
        let is_node = |node: &Arc<Node>| nodes.iter().any(|other| Arc::ptr_eq(node, other));
        self.down
            .retain(|(node, _)| node.is_down() && is_node(node));
        for node in nodes.iter().filter(|node| node.is_down()) {
            if !self.down.iter().any(|(known, _)| Arc::ptr_eq(known, node)) {
                self.down.push((Arc::clone(node), now));
            }
        }
        let mut ejected = overdue(&self.down, now, self.after, nodes.len());
        for node in nodes.iter().filter(|node| topology.is_ejected(node)) {
            // It is back, but has not heard yet what changed meanwhile.
            if !node.is_down() && !node.replay().await {
                ejected.push(Arc::clone(node));
            }
        }
        let is_changed = |node: &Arc<Node>| {
            topology.is_ejected(node) != ejected.iter().any(|other| Arc::ptr_eq(node, other))
        };
        if !nodes.iter().any(is_changed) {
            return;
        }
        for node in nodes.iter().filter(|node| is_changed(node)) {
            if topology.is_ejected(node) {
                tracing::info!(node = %node.label(), "node is in the ring again");
            } else {
                inner.tally.ejections.one();
                tracing::warn!(node = %node.label(), "node is ejected from the ring");
            }
        }
        // Nodes that were replaced meanwhile are looked at the next time.
        let replaced = inner.replace_topology(|before| before.without(&ejected));
        if let Err(error) = replaced {
            tracing::warn!(%error, "no ring without the nodes that are down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Verb;
    use crate::place::tests::{home, places};
    use protocol_tests::nuthatch::Nuthatch;
    use tokio::sync::Semaphore;

    #[test]
    fn a_third_may_be_ejected_at_least_one_and_never_all() {
        let most: Vec<usize> = [0, 1, 2, 3, 5, 6, 9, 100].map(ejected_max).into();
        assert_eq!(most, [0, 0, 1, 1, 1, 2, 3, 33]);
    }

    #[test]
    fn a_node_is_ejected_when_it_has_been_down_for_so_long_and_the_first_stays_so() {
        let began = clock::now();
        let at = |millis| began + Duration::from_millis(millis);
        let down = [("a", at(0)), ("b", at(1)), ("c", at(1))];
        let ejected = |now, nodes| overdue(&down, at(now), Duration::from_millis(100), nodes);
        assert!(ejected(99, 9).is_empty());
        assert_eq!(ejected(100, 9), ["a"]);
        assert_eq!(ejected(101, 9), ["a", "b", "c"]);
        assert_eq!(ejected(101, 8), ["a", "b"]);
        assert!(ejected(101, 1).is_empty());
    }

    #[tokio::test]
    async fn a_node_that_does_not_hear_what_it_missed_stays_out_of_the_ring() {
        let other = Nuthatch::start(&[]).unwrap();
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let (address, mut hears) = home("SERVER_ERROR no\r\n", gate).await;
        tokio::spawn(async move { while hears.recv().await.is_some() {} });
        let (client, places) = places(&address, &other, 1).await;
        let node = places[0].at_home().unwrap().node;
        let inner = client.inner();
        let ejected = [Arc::clone(&node)];
        inner
            .replace_topology(|before| before.without(&ejected))
            .unwrap();
        let mut eject = Eject {
            after: Duration::from_secs(1),
            down: Vec::new(),
        };
        assert!(node.remember(vec![places[0].op(Verb::Delete)]).await);
        eject.look(inner).await;
        assert!(!node.is_down() && inner.topology.load().is_ejected(&node));
    }
}
