//! [`KeyPolicy`]: what becomes of keys that no line can hold.

use crate::Error;
use crate::op::WireKey;
use nuthatch_protocol::limits::KEY_LEN_MAX;
use nuthatch_protocol::{Key, put_base64};

/// What becomes of a key that is empty, has more than 250 bytes, or holds a space or a line feed. All others travel as
/// they are, under every policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPolicy {
    /// The call fails with [`Error::Key`].
    #[default]
    Reject,
    /// Up to 186 bytes travel in base64 and are stored as they are; it takes a server with meta commands. Longer ones
    /// are rejected.
    Base64,
    /// The XXH3 sum of the key, with 128 bits, stands for it. Not for keys that strangers choose: they can find two
    /// with one sum.
    Hash,
}

/// The longest key that fits into a line in base64.
const BASE64_KEY_LEN_MAX: usize = KEY_LEN_MAX / 4 * 3;

impl KeyPolicy {
    /// The key as it travels.
    pub(crate) fn wire_key(self, key: &[u8]) -> Result<WireKey, Error> {
        let refused = match Key::new(key) {
            Ok(key) => {
                return Ok(WireKey {
                    text: key.as_bytes().into(),
                    base64: false,
                });
            }
            Err(refused) => refused,
        };
        match self {
            Self::Base64 if !key.is_empty() && key.len() <= BASE64_KEY_LEN_MAX => {
                let mut text = Vec::with_capacity(KEY_LEN_MAX);
                put_base64(key, &mut text);
                Ok(WireKey {
                    text: text.as_slice().into(),
                    base64: true,
                })
            }
            Self::Hash if !key.is_empty() => {
                let sum = twox_hash::XxHash3_128::oneshot(key);
                Ok(WireKey {
                    text: format!("nhk:{sum:032x}").as_bytes().into(),
                    base64: false,
                })
            }
            Self::Reject | Self::Base64 | Self::Hash => Err(Error::Key(refused)),
        }
    }
}

/// A key of the client's own beside an entry: in another server's eyes a key like any other. It goes to the entry's
/// node, whatever the ring would say.
pub(crate) fn beside(entry: &WireKey, suffix: &str) -> WireKey {
    let whole = [&entry.text[..], b"|#|", suffix.as_bytes()].concat();
    let text = if whole.len() <= KEY_LEN_MAX {
        whole.into()
    } else {
        let sum = twox_hash::XxHash3_128::oneshot(&entry.text);
        format!("{suffix}:{sum:032x}").as_bytes().into()
    };
    WireKey {
        text,
        base64: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_keys_travel_as_they_are_under_every_policy() {
        for policy in [KeyPolicy::Reject, KeyPolicy::Base64, KeyPolicy::Hash] {
            let key = policy.wire_key(&[b'k'; 250]).unwrap();
            assert_eq!((key.text.len(), key.base64), (250, false));
        }
    }

    #[test]
    fn other_keys_do_what_the_policy_says() {
        let wire = |policy: KeyPolicy, key: &[u8]| policy.wire_key(key);
        assert!(matches!(
            wire(KeyPolicy::Reject, b"a b"),
            Err(Error::Key(_))
        ));
        assert!(matches!(
            wire(KeyPolicy::Reject, &[b'k'; 251]),
            Err(Error::Key(_))
        ));
        let key = wire(KeyPolicy::Base64, b"a b").unwrap();
        assert_eq!((&key.text[..], key.base64), (&b"YSBi"[..], true));
        assert!(wire(KeyPolicy::Base64, &[b' '; BASE64_KEY_LEN_MAX]).is_ok());
        let long = wire(KeyPolicy::Base64, &[b' '; BASE64_KEY_LEN_MAX + 1]);
        assert!(matches!(long, Err(Error::Key(_))));
        let one = wire(KeyPolicy::Hash, &[b'k'; 251]).unwrap();
        let other = wire(KeyPolicy::Hash, &[b'k'; 252]).unwrap();
        assert!(one != other && Key::new(&one.text).is_ok());
        for policy in [KeyPolicy::Reject, KeyPolicy::Base64, KeyPolicy::Hash] {
            assert!(matches!(policy.wire_key(b""), Err(Error::Key(_))));
        }
    }

    #[test]
    fn a_key_beside_a_long_one_is_short_enough() {
        for len in [1, 240, 241, 242, 243, 244, 250] {
            let entry = KeyPolicy::Reject.wire_key(&vec![b'k'; len]).unwrap();
            assert!(Key::new(&beside(&entry, "nhlock").text).is_ok(), "{len}");
        }
    }
}
