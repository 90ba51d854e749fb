//! Reproducible random numbers (splitmix64, Steele, Lea and Flood 2014): the same seed gives the
//! same run.

/// A stream of random numbers.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Two streams with different seeds or different indexes have nothing in common.
    pub(crate) fn new(seed: u64, index: usize) -> Self {
        Self(Self(seed).next() ^ Self(index as u64).next().rotate_left(32))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number of `0..bound`, and 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let word = self.next().checked_rem(bound as u64).unwrap_or(0);
        usize::try_from(word).unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}
