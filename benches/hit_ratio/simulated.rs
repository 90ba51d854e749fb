//! Policies item by item, as their authors describe them.

use crate::lists::Lists;
use crate::policy::{Policy, bytes};
use crate::trace::Request;

/// The least recently used one goes.
pub(crate) struct Lru(Lists<1>, u64);

impl Lru {
    pub(crate) fn new(capacity: u64) -> Self {
        Self(Lists::default(), capacity)
    }
}

impl Policy for Lru {
    fn get(&mut self, request: Request) -> bool {
        let found = self.0.find(request.id);
        if let Some(number) = found {
            self.0.move_to(0, number);
        }
        found.is_some()
    }

    fn set(&mut self, request: Request) {
        self.0.insert(0, request.id, bytes(request));
        while self.0.total_bytes() > self.1
            && let Some(oldest) = self.0.oldest(0)
        {
            self.0.remove(oldest);
        }
    }
}

/// memcached's segmented LRU (`doc/new_lru.txt`): hot, warm and cold, for one size class. An item is
/// active from its second use.
pub(crate) struct Slru(Lists<3>, u64);

const HOT: usize = 0;
const WARM: usize = 1;
const COLD: usize = 2;
const HOT_PERCENT: u64 = 20;
const WARM_PERCENT: u64 = 40;
const FETCHED: u8 = 1;
const ACTIVE: u8 = 2;

impl Slru {
    pub(crate) fn new(capacity: u64) -> Self {
        Self(Lists::default(), capacity)
    }

    /// Moves what a segment has too much of: active items to warm, others to cold.
    fn balance(&mut self, list: usize, percent: u64) {
        while self.0.bytes(list) > self.1 * percent / 100
            && let Some(oldest) = self.0.oldest(list)
        {
            self.demote(oldest);
        }
    }

    fn demote(&mut self, number: usize) {
        let node = self.0.node(number);
        let to = if node.used == ACTIVE { WARM } else { COLD };
        node.used = node.used.min(FETCHED);
        self.0.move_to(to, number);
    }
}

impl Policy for Slru {
    fn get(&mut self, request: Request) -> bool {
        let Some(number) = self.0.find(request.id) else {
            return false;
        };
        let node = self.0.node(number);
        node.used = (node.used + 1).min(ACTIVE);
        if node.list == COLD && node.used == ACTIVE {
            self.demote(number);
        }
        true
    }

    fn set(&mut self, request: Request) {
        self.0.insert(HOT, request.id, bytes(request));
        self.balance(HOT, HOT_PERCENT);
        self.balance(WARM, WARM_PERCENT);
        while self.0.total_bytes() > self.1 {
            let oldest = [COLD, HOT, WARM].map(|list| self.0.oldest(list));
            let Some(number) = oldest.into_iter().flatten().next() else {
                break;
            };
            self.0.remove(number);
        }
    }
}

/// SIEVE (NSDI '24): a hand spares what was used since it last came by.
pub(crate) struct Sieve {
    items: Lists<1>,
    capacity: u64,
    hand: Option<usize>,
}

impl Sieve {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            items: Lists::default(),
            capacity,
            hand: None,
        }
    }

    fn evict(&mut self) -> bool {
        let Some(mut at) = self.hand.or_else(|| self.items.oldest(0)) else {
            return false;
        };
        while self.items.node(at).used > 0 {
            self.items.node(at).used = 0;
            let Some(next) = self.items.newer(at).or_else(|| self.items.oldest(0)) else {
                return false;
            };
            at = next;
        }
        self.hand = self.items.newer(at);
        self.items.remove(at);
        true
    }
}

impl Policy for Sieve {
    fn get(&mut self, request: Request) -> bool {
        let found = self.items.find(request.id);
        if let Some(number) = found {
            self.items.node(number).used = 1;
        }
        found.is_some()
    }

    fn set(&mut self, request: Request) {
        self.items.insert(0, request.id, bytes(request));
        while self.items.total_bytes() > self.capacity && self.evict() {}
    }
}

/// S3-FIFO (SOSP '23), item by item and with the paper's parameters: a tenth for the small queue,
/// two uses to go on to the main queue, a ghost for as many bytes as the main queue has.
pub(crate) struct S3Fifo {
    items: Lists<2>,
    ghost: Lists<1>,
    capacity: u64,
}

const SMALL: usize = 0;
const MAIN: usize = 1;
const USED_MAX: u8 = 3;

impl S3Fifo {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            items: Lists::default(),
            ghost: Lists::default(),
            capacity,
        }
    }

    fn evict(&mut self) {
        let small_is_due = self.items.bytes(SMALL) >= self.capacity / 10;
        let main = self.items.oldest(MAIN);
        if let Some(oldest) = self.items.oldest(SMALL)
            && (small_is_due || main.is_none())
        {
            if std::mem::take(&mut self.items.node(oldest).used) > 1 {
                self.items.move_to(MAIN, oldest);
            } else {
                let gone = self.items.remove(oldest);
                self.ghost.insert(0, gone.id, gone.bytes);
                self.trim_ghost();
            }
        } else if let Some(oldest) = main {
            let node = self.items.node(oldest);
            if node.used > 0 {
                node.used -= 1;
                self.items.move_to(MAIN, oldest);
            } else {
                self.items.remove(oldest);
            }
        }
    }

    fn trim_ghost(&mut self) {
        while self.ghost.total_bytes() > self.capacity / 10 * 9
            && let Some(oldest) = self.ghost.oldest(0)
        {
            self.ghost.remove(oldest);
        }
    }
}

impl Policy for S3Fifo {
    fn get(&mut self, request: Request) -> bool {
        let found = self.items.find(request.id);
        if let Some(number) = found {
            let node = self.items.node(number);
            node.used = (node.used + 1).min(USED_MAX);
        }
        found.is_some()
    }

    fn set(&mut self, request: Request) {
        let ghost = self.ghost.find(request.id);
        let list = if let Some(number) = ghost {
            self.ghost.remove(number);
            MAIN
        } else {
            SMALL
        };
        self.items.insert(list, request.id, bytes(request));
        while self.items.total_bytes() > self.capacity {
            self.evict();
        }
    }
}
