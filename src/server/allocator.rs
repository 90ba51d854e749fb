//! What the allocator says of itself.

/// Bytes that it has from the system, by what it does with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllocatorStats {
    /// In pages that are in use, what nobody uses.
    pub(crate) fragmented_bytes: u64,
    /// Its own books.
    pub(crate) metadata_bytes: u64,
}

impl AllocatorStats {
    /// None if it is not jemalloc, which alone counts all that.
    #[cfg(feature = "jemalloc")]
    pub(crate) fn read() -> Option<Self> {
        use tikv_jemalloc_ctl::{epoch, stats};
        let bytes = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        // Numbers are those of the last epoch.
        epoch::advance().ok()?;
        let allocated = stats::allocated::read().ok().map(bytes)?;
        let active = stats::active::read().ok().map(bytes)?;
        Some(Self {
            fragmented_bytes: active.saturating_sub(allocated),
            metadata_bytes: stats::metadata::read().ok().map(bytes)?,
        })
    }

    /// None if it is not jemalloc, which alone counts all that.
    #[cfg(not(feature = "jemalloc"))]
    pub(crate) const fn read() -> Option<Self> {
        None
    }
}
