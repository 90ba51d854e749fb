//! The items of a simulated cache, in a few doubly linked lists.
#![expect(
    clippy::indexing_slicing,
    reason = "a wrong link is a bug that must stop the simulation"
)]

use std::collections::HashMap;

const NONE: usize = usize::MAX;

/// An item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) bytes: u64,
    pub(crate) list: usize,
    /// How often it was used since the policy last looked at it.
    pub(crate) used: u8,
    newer: usize,
    older: usize,
}

#[derive(Clone, Copy, Debug)]
struct List {
    newest: usize,
    oldest: usize,
    bytes: u64,
}

/// `N` lists and an index.
#[derive(Debug)]
pub(crate) struct Lists<const N: usize> {
    index: HashMap<u64, usize, foldhash::fast::RandomState>,
    nodes: Vec<Node>,
    unused: Vec<usize>,
    ends: [List; N],
}

impl<const N: usize> Default for Lists<N> {
    fn default() -> Self {
        let empty = List {
            newest: NONE,
            oldest: NONE,
            bytes: 0,
        };
        Self {
            index: HashMap::default(),
            nodes: Vec::new(),
            unused: Vec::new(),
            ends: [empty; N],
        }
    }
}

impl<const N: usize> Lists<N> {
    pub(crate) fn find(&self, id: u64) -> Option<usize> {
        self.index.get(&id).copied()
    }

    pub(crate) fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    pub(crate) fn bytes(&self, list: usize) -> u64 {
        self.ends[list].bytes
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.ends.iter().map(|list| list.bytes).sum()
    }

    pub(crate) fn oldest(&self, list: usize) -> Option<usize> {
        some(self.ends[list].oldest)
    }

    pub(crate) fn newer(&self, number: usize) -> Option<usize> {
        some(self.nodes[number].newer)
    }

    /// Adds an item as the newest of a list.
    pub(crate) fn insert(&mut self, list: usize, id: u64, bytes: u64) {
        let node = Node {
            id,
            bytes,
            list,
            used: 0,
            newer: NONE,
            older: NONE,
        };
        let number = self.unused.pop().unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        self.nodes[number] = node;
        self.index.insert(id, number);
        self.link(number, list);
    }

    /// Makes an item the newest of a list.
    pub(crate) fn move_to(&mut self, list: usize, number: usize) {
        self.unlink(number);
        self.link(number, list);
    }

    pub(crate) fn remove(&mut self, number: usize) -> Node {
        self.unlink(number);
        let node = self.nodes[number];
        self.index.remove(&node.id);
        self.unused.push(number);
        node
    }

    fn link(&mut self, number: usize, to: usize) {
        let list = &mut self.ends[to];
        let node = &mut self.nodes[number];
        (node.list, node.newer, node.older) = (to, NONE, list.newest);
        list.bytes += node.bytes;
        let older = std::mem::replace(&mut list.newest, number);
        if older == NONE {
            list.oldest = number;
        } else {
            self.nodes[older].newer = number;
        }
    }

    fn unlink(&mut self, number: usize) {
        let node = self.nodes[number];
        let list = &mut self.ends[node.list];
        list.bytes -= node.bytes;
        match some(node.newer) {
            Some(newer) => self.nodes[newer].older = node.older,
            None => list.newest = node.older,
        }
        match some(node.older) {
            Some(older) => self.nodes[older].newer = node.newer,
            None => list.oldest = node.newer,
        }
    }
}

fn some(number: usize) -> Option<usize> {
    (number != NONE).then_some(number)
}
