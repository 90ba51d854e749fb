//! [`Item`]: one item on its way from one place to another.

use nuthatch_protocol::Key;

/// Longest value that is carried: the largest item size that a server can be told to take (`-I 1024m`).
pub(crate) const VALUE_LEN_MAX: u32 = 1 << 30;

/// Why a key cannot be sent.
pub(crate) const KEY_NEEDS_META: &str = "its key needs base64, and the server has no meta commands";
pub(crate) const KEY_TOO_LONG: &str = "its key needs base64, and is too long then";

/// An item as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    /// Any bytes.
    pub(crate) key: Vec<u8>,
    /// Whether its key came in base64, and shall be told so.
    pub(crate) is_encoded: bool,
    pub(crate) client_flags: u32,
    /// The Unix time in seconds at which it dies.
    pub(crate) expiry: Option<u64>,
    pub(crate) value: Vec<u8>,
}

impl Item {
    /// Bytes of key and value.
    pub(crate) fn len(&self) -> u64 {
        let len = self.key.len().saturating_add(self.value.len());
        u64::try_from(len).unwrap_or(u64::MAX)
    }
}

/// Whether a key can travel as it is, without base64.
pub(crate) fn is_text(key: &[u8]) -> bool {
    Key::new(key).is_ok()
}
