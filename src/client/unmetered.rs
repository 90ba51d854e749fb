//! What stands in for `meter.rs` in a client without the feature `metrics`: nobody is told.

use crate::{Error, Fetched};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Tell;

impl Tell {
    pub(crate) const fn new(_: &'static str) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn add(&self, _: u64) {}
}

#[derive(Debug)]
pub(crate) struct Meter;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Began;

#[expect(clippy::unused_self, reason = "as with the feature")]
impl Meter {
    pub(crate) const fn new(_: &Arc<str>) -> Self {
        Self
    }

    pub(crate) const fn begin(&self) -> Began {
        Began
    }

    pub(crate) const fn end<T>(&self, _: Began, _: &'static str, _: &Result<T, Error>) {}

    pub(crate) const fn set_up(&self, _: bool) {}
}

pub(crate) const fn refreshed<T>(_: &Result<Fetched<T>, Error>) {}

pub(crate) const fn loaded(_: Duration) {}
