//! [`Storing`]: a request of either protocol whose value follows its line.

use nuthatch_protocol::{KeyBuffer, MetaStorage, Storage, StorageMode};

/// A storage command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storing<'a> {
    /// `set` and its like.
    Classic(Storage<'a>),
    /// `ms`.
    Meta(MetaStorage<'a>),
}

impl<'a> Storing<'a> {
    pub(crate) const fn value_len(&self) -> u64 {
        match self {
            Self::Classic(request) => request.value_len,
            Self::Meta(request) => request.value_len,
        }
    }

    /// Of errors too. A meta command keeps none to itself.
    pub(crate) const fn noreply(&self) -> bool {
        match self {
            Self::Classic(request) => request.noreply,
            Self::Meta(_) => false,
        }
    }

    pub(crate) fn client_flags(&self) -> u32 {
        match self {
            Self::Classic(request) => request.client_flags,
            Self::Meta(request) => request.meta.flags.client_flags(),
        }
    }

    /// Whether a failure leaves nothing of what was there.
    pub(crate) fn is_set(&self) -> bool {
        match self {
            Self::Classic(request) => request.mode == StorageMode::Set,
            // Whatever its mode, as in memcached.
            Self::Meta(_) => true,
        }
    }

    pub(crate) fn key_bytes<'b>(&self, buffer: &'b mut KeyBuffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Classic(request) => request.key.as_bytes(),
            Self::Meta(request) => request.meta.key_bytes(buffer),
        }
    }
}
