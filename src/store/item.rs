//! An item: its key, value and what belongs to them, and how it is handed in and out.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::time::{Expiry, Time};

/// Values from this length up live in their own [`Bytes`] and are handed out by reference.
pub const LARGE_VALUE_LEN_MIN: usize = 16 << 10;

/// Longest key in bytes that any item can have. memcached's own limit, 250, is the caller's business.
pub const KEY_LEN_MAX: usize = u16::MAX as usize;

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
    /// Its value.
    pub value: ValueRef<'a>,
}

/// The value of a live item.
#[derive(Clone, Copy)]
#[must_use]
pub enum ValueRef<'a> {
    /// Fewer than [`LARGE_VALUE_LEN_MIN`] bytes: copy them.
    Inline(&'a [u8]),
    /// At least [`LARGE_VALUE_LEN_MIN`] bytes: clone the handle, which copies nothing. What is held
    /// so outlives the item and is then outside the memory limit.
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

/// `Expiry::Never` in [`Item::expires_at`].
const NEVER: u64 = u64::MAX;

/// A stored item.
pub(crate) struct Item {
    cas: u64,
    stored_at: Time,
    /// Milliseconds; an atomic because a touch changes it under a shard's read lock.
    expires_at: AtomicU64,
    /// The key, then the value unless it is large.
    bytes: Box<[u8]>,
    large: Option<Box<Bytes>>,
    client_flags: u32,
    key_len: u16,
    fetched: AtomicBool,
}

impl Item {
    /// An item without a cas unique yet; `None` if the key is longer than [`KEY_LEN_MAX`].
    pub(crate) fn new(key: &[u8], new: NewItem<'_>, now: Time) -> Option<Box<Self>> {
        let key_len = u16::try_from(key.len()).ok()?;
        let (bytes, large) = match new.value {
            value if value.len() < LARGE_VALUE_LEN_MIN => {
                ([key, value.as_slice()].concat().into_boxed_slice(), None)
            }
            NewValue::Copied(value) => {
                let large = Bytes::copy_from_slice(value);
                (Box::from(key), Some(Box::new(large)))
            }
            NewValue::Owned(value) => (Box::from(key), Some(Box::new(value))),
        };
        Some(Box::new(Self {
            cas: 0,
            stored_at: now,
            expires_at: AtomicU64::new(millis(new.expiry)),
            bytes,
            large,
            client_flags: new.client_flags,
            key_len,
            fetched: AtomicBool::new(false),
        }))
    }

    /// The item with another value and nothing else changed, but the cas unique, which is yet to come.
    pub(crate) fn with_value(&self, value: Vec<u8>, now: Time) -> Option<Box<Self>> {
        let new = NewItem {
            client_flags: self.client_flags,
            expiry: self.expiry(),
            value: NewValue::Owned(Bytes::from(value)),
        };
        Self::new(self.key(), new, now)
    }

    pub(crate) fn key(&self) -> &[u8] {
        let key_len = usize::from(self.key_len);
        self.bytes.get(..key_len).unwrap_or_default()
    }

    pub(crate) fn value(&self) -> ValueRef<'_> {
        if let Some(large) = &self.large {
            return ValueRef::Shared(large);
        }
        let key_len = usize::from(self.key_len);
        ValueRef::Inline(self.bytes.get(key_len..).unwrap_or_default())
    }

    pub(crate) fn hit(&self) -> Hit<'_> {
        Hit {
            client_flags: self.client_flags,
            cas: self.cas,
            expiry: self.expiry(),
            value: self.value(),
        }
    }

    pub(crate) fn client_flags(&self) -> u32 {
        self.client_flags
    }

    pub(crate) fn cas(&self) -> u64 {
        self.cas
    }

    pub(crate) fn set_cas(&mut self, cas: u64) {
        self.cas = cas;
    }

    pub(crate) fn stored_at(&self) -> Time {
        self.stored_at
    }

    pub(crate) fn expiry(&self) -> Expiry {
        match self.expires_at.load(Ordering::Relaxed) {
            NEVER => Expiry::Never,
            at => Expiry::At(Time::from_millis(at)),
        }
    }

    pub(crate) fn touch(&self, expiry: Expiry) {
        self.expires_at.store(millis(expiry), Ordering::Relaxed);
    }

    pub(crate) fn is_fetched(&self) -> bool {
        self.fetched.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_fetched(&self) {
        // A popular item must not dirty its cache line on every get.
        if !self.is_fetched() {
            self.fetched.store(true, Ordering::Relaxed);
        }
    }
}

fn millis(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never => NEVER,
        Expiry::At(at) => at.as_millis().min(NEVER - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &[u8], value: NewValue<'_>) -> Option<Box<Item>> {
        let new = NewItem {
            client_flags: 7,
            expiry: Expiry::At(Time::from_millis(u64::MAX)),
            value,
        };
        Item::new(key, new, Time::from_millis(3))
    }

    #[test]
    fn values_are_shared_from_the_threshold_up_whoever_owned_them() {
        let bytes = vec![7; LARGE_VALUE_LEN_MIN];
        let small = &bytes[1..];
        for (value, is_shared) in [
            (NewValue::Copied(small), false),
            (NewValue::Owned(Bytes::copy_from_slice(small)), false),
            (NewValue::Copied(&bytes), true),
            (NewValue::Owned(Bytes::copy_from_slice(&bytes)), true),
        ] {
            let expected = value.as_slice().to_vec();
            let item = item(b"key", value).unwrap();
            assert_eq!(item.key(), b"key");
            assert_eq!(item.value().as_slice(), expected);
            assert_eq!(matches!(item.value(), ValueRef::Shared(_)), is_shared);
        }
    }

    #[test]
    fn a_large_owned_value_is_not_copied() {
        let bytes = Bytes::from(vec![1; LARGE_VALUE_LEN_MIN]);
        let address = bytes.as_ptr();
        let item = item(b"k", NewValue::Owned(bytes)).unwrap();
        assert_eq!(item.value().as_slice().as_ptr(), address);
    }

    #[test]
    fn the_longest_key_fits_and_one_byte_more_does_not() {
        let key = vec![b'k'; KEY_LEN_MAX + 1];
        let longest = item(&key[1..], NewValue::Copied(b"v")).unwrap();
        assert_eq!(longest.key().len(), KEY_LEN_MAX);
        assert_eq!(longest.value().as_slice(), b"v");
        assert!(item(&key, NewValue::Copied(b"v")).is_none());
    }

    #[test]
    fn the_last_moment_is_not_never() {
        let item = item(b"k", NewValue::Copied(b"")).unwrap();
        assert!(matches!(item.expiry(), Expiry::At(_)));
        item.touch(Expiry::Never);
        assert_eq!(item.expiry(), Expiry::Never);
    }
}
