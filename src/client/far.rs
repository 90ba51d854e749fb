//! What stands in for `near.rs` in a client without the feature `near-cache`: nothing is kept.

use crate::op::WireKey;
use crate::reply::RawItem;

#[derive(Debug)]
pub(crate) enum Near {}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket;

#[derive(Debug)]
pub(crate) struct Change<'a>(#[expect(dead_code, reason = "as there")] &'a Near);

impl Near {
    pub(crate) const fn get(&self, _: &WireKey) -> Option<RawItem> {
        match *self {}
    }

    pub(crate) const fn ticket(&self) -> Ticket {
        match *self {}
    }

    pub(crate) const fn keep(&self, _: &WireKey, _: &RawItem, _: Ticket) {
        match *self {}
    }

    pub(crate) const fn change(&self, _: &WireKey) -> Change<'_> {
        match *self {}
    }

    pub(crate) const fn clear(&self) {
        match *self {}
    }
}
