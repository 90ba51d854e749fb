//! Keys that were evicted before anybody came back for them: who comes back now is let into the main
//! queue at once (S3-FIFO, SOSP '23, section 4.1).

/// How many slots one round of the age takes; ages have 16 bits.
const AGES_PER_ROUND: u64 = 16;

/// A table of fingerprints with ages, four bytes for each key, where the newer key wins a slot.
#[derive(Debug, Default)]
pub(crate) struct Ghost {
    slots: Box<[u32]>,
    inserted: u64,
}

impl Ghost {
    /// Remembers about `slots` keys, a power of two.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: vec![0; slots].into(),
            inserted: 0,
        }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.slots) as u64
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        self.inserted += 1;
        let word = u32::from(self.age()) << 16 | u32::from(fingerprint(hash));
        if let Some(slot) = self.slot(hash) {
            *slot = word;
        }
    }

    /// Whether the key is remembered; it is forgotten then.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        let now = self.age();
        let Some(slot) = self.slot(hash) else {
            return false;
        };
        let [low, high] = [*slot & 0xffff, *slot >> 16];
        let age = u64::from(u32::from(now).wrapping_sub(high) & 0xffff);
        let known = *slot != 0 && low == u32::from(fingerprint(hash)) && age <= AGES_PER_ROUND;
        if known {
            *slot = 0;
        }
        known
    }

    #[expect(clippy::cast_possible_truncation, reason = "ages wrap")]
    fn age(&self) -> u16 {
        (self.inserted * AGES_PER_ROUND / (self.slots.len() as u64).max(1)) as u16
    }

    fn slot(&mut self, hash: u64) -> Option<&mut u32> {
        let mask = self.slots.len().checked_sub(1)?;
        self.slots
            .get_mut(usize::try_from(hash >> 20).unwrap_or_default() & mask)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a part of the hash")]
const fn fingerprint(hash: u64) -> u16 {
    hash as u16 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_once_and_not_for_ever() {
        let mut ghost = Ghost::new(64);
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ghost.insert(hash(1));
        assert!(ghost.take(hash(1)));
        assert!(!ghost.take(hash(1)));
        ghost.insert(hash(1));
        for _ in 0..70 {
            ghost.insert(hash(2));
        }
        assert!(!ghost.take(hash(1)));
        assert!(!Ghost::default().take(hash(1)));
    }
}
