//! [`Recent`]: keys of requests that a thread has looked at, until somebody takes them.

use std::mem;

/// So many are kept; of further ones it is only counted how many they were.
const KEYS_MAX: u64 = 256;

/// Keys, one behind the other, each behind its length.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    keys: Vec<u8>,
    kept: u64,
    seen: u64,
}

impl Recent {
    /// Adds a key.
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.seen = self.seen.wrapping_add(1);
        if self.kept < KEYS_MAX
            && let Ok(len) = u8::try_from(key.len())
        {
            self.kept = self.kept.wrapping_add(1);
            self.keys.push(len);
            self.keys.extend_from_slice(key);
        }
    }

    /// Moves what there is to `taken`, and begins anew with its memory.
    pub(crate) fn take(&mut self, taken: &mut Self) {
        taken.keys.clear();
        (taken.kept, taken.seen) = (0, 0);
        mem::swap(self, taken);
    }

    /// For how many keys each one stands that was kept.
    pub(crate) fn weight(&self) -> u64 {
        self.seen.checked_div(self.kept).unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.keys.as_slice();
        std::iter::from_fn(move || {
            let (len, behind) = rest.split_first()?;
            let (key, next) = behind.split_at_checked(usize::from(*len))?;
            rest = next;
            Some(key)
        })
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_keys_are_kept_and_the_others_counted() {
        let (mut recent, mut taken) = (Recent::default(), Recent::default());
        recent.take(&mut taken);
        assert_eq!((taken.keys().count(), taken.weight()), (0, 0));
        let longest = [b'k'; 250];
        recent.push(b"");
        recent.push(&longest);
        recent.push(b"key");
        recent.take(&mut taken);
        assert!(taken.keys().eq([&b""[..], &longest, b"key"]));
        assert_eq!(taken.weight(), 1);
        for _ in 0..2 * KEYS_MAX {
            recent.push(b"key");
        }
        recent.take(&mut taken);
        assert_eq!((taken.keys().count(), taken.weight()), (256, 2));
        recent.take(&mut taken);
        assert_eq!(taken.keys().count(), 0);
    }
}
