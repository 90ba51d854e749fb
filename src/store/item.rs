//! How items are handed in and out.

use std::fmt;

use bytes::Bytes;

use crate::time::Expiry;

/// Values from this length up live in their own [`Bytes`] and are handed out by reference.
pub const LARGE_VALUE_LEN_MIN: usize = 16 << 10;

/// Longest key in bytes that any item can have. memcached's own limit, 250, is the caller's business.
pub const KEY_LEN_MAX: usize = u8::MAX as usize;

/// The number of a namespace, see [`Namespaces`](crate::Namespaces).
pub type NamespaceId = u8;

/// An item to be stored.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewItem<'a> {
    /// The client's 32 bits, kept as they are.
    pub client_flags: u32,
    /// When it dies.
    pub expiry: Expiry,
    /// Its value.
    pub value: NewValue<'a>,
}

impl<'a> NewItem<'a> {
    /// Without client flags, and it never dies.
    pub const fn copied(value: &'a [u8]) -> Self {
        Self {
            client_flags: 0,
            expiry: Expiry::Never,
            value: NewValue::Copied(value),
        }
    }
}

/// A value to be stored.
#[derive(Clone)]
#[must_use]
pub enum NewValue<'a> {
    /// Bytes that the store copies.
    Copied(&'a [u8]),
    /// Bytes that the store keeps without a copy if there are at least [`LARGE_VALUE_LEN_MIN`].
    /// They must have an allocation of their own and of about their length: the memory limit
    /// counts only what it sees.
    Owned(Bytes),
}

impl NewValue<'_> {
    /// The bytes of the value.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }
}

impl fmt::Debug for NewValue<'_> {
    // Values are the client's secrets and may be large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewValue({} bytes)", self.len())
    }
}

/// What has been said of an item since it was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Marks {
    /// Its value is no longer right, but better than none.
    pub stale: bool,
    /// Somebody has been told to make it anew.
    pub claimed: bool,
    /// Who stored it had encoded the key, and wants to see it so.
    pub encoded_key: bool,
}

/// A live item, as a lookup shows it.
#[derive(Clone, Copy, Debug)]
#[must_use]
#[non_exhaustive]
pub struct Hit<'a> {
    /// The client's 32 bits.
    pub client_flags: u32,
    /// Changes with every change of the value; unique within the process, never 0.
    pub cas: u64,
    /// When it dies.
    pub expiry: Expiry,
    /// What has been said of it.
    pub marks: Marks,
    /// Whether anybody got it since it was stored.
    pub fetched: bool,
    /// For how many seconds nobody has used it; known to a minute, or exactly to who always asks.
    pub idle_seconds: u32,
    /// What its key belongs to.
    pub namespace: NamespaceId,
    /// Its value.
    pub value: ValueRef<'a>,
}

/// The value of a live item.
#[derive(Clone, Copy)]
#[must_use]
pub enum ValueRef<'a> {
    /// Fewer than [`LARGE_VALUE_LEN_MIN`] bytes: copy them.
    Inline(&'a [u8]),
    /// At least [`LARGE_VALUE_LEN_MIN`] bytes, or fewer in a store of a few megabytes: clone the
    /// handle, which copies nothing. What is held so outlives the item, and is charged until
    /// it has been let go of (and [`Store::shrink`](crate::Store::shrink) has found that).
    Shared(&'a Bytes),
}

impl ValueRef<'_> {
    /// The bytes of the value.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueRef({} bytes)", self.as_slice().len())
    }
}
