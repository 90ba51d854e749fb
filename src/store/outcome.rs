//! What the operations answer: outcomes are values, not errors.

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup<R> {
    /// The item was there; what the visitor made of it.
    Hit(R),
    /// No live item has the key.
    Miss(Miss),
}

/// Why a lookup found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Miss {
    /// The key is not stored, or no longer.
    Absent,
    /// An item is still in memory but its time is over.
    Expired,
    /// An item is still in memory but was flushed.
    Flushed,
}

/// What became of a value that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StoreOutcome {
    /// It is stored.
    Stored {
        /// The cas unique of the new item.
        cas: u64,
    },
    /// `add` found an item, or `replace`, `append` or `prepend` found none.
    NotStored,
    /// `cas` found an item with another cas unique.
    Exists,
    /// `cas` found no item.
    NotFound,
    /// The item is larger than [`Config::item_len_max`](crate::Config::item_len_max) allows.
    TooLarge,
    /// The item is larger than the share of the memory limit that its shard has.
    NoMemory,
}

/// What became of an `incr` or `decr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arithmetic {
    /// The number was changed.
    Number {
        /// The new number.
        value: u64,
        /// The new cas unique of the item.
        cas: u64,
    },
    /// No live item has the key.
    NotFound,
    /// The value is not a decimal number of 64 bits without a sign.
    NonNumeric,
    /// The longer number does not fit what memory or item limits leave.
    NoMemory,
}
