//! [`Exptime`]: a lifetime as it travels, and what it means.

use crate::limits::EXPTIME_RELATIVE_MAX;

/// An exptime as it travels: a signed 32-bit number.
///
/// Wider numbers are cut to 32 bits, as memcached does: pylibmc sends 4294967295 for -1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Exptime(i32);

/// What an [`Exptime`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lifetime {
    /// It lives until it is deleted or evicted.
    Forever,
    /// It is expired from the start.
    Expired,
    /// It lives for that many seconds from now, at most [`EXPTIME_RELATIVE_MAX`].
    Seconds(u32),
    /// It lives until that Unix time in seconds, which may be past.
    Until(u32),
}

impl Exptime {
    /// Never expires.
    pub const NEVER: Self = Self(0);

    /// The number as it travels.
    pub const fn new(wire: i32) -> Self {
        Self(wire)
    }

    /// The number as it travels.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// Cuts a wider number to its low 32 bits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "memcached assigns a long to an int32_t"
    )]
    pub(crate) const fn truncated(number: i64) -> Self {
        Self(number as i32)
    }

    /// What the number means.
    pub const fn lifetime(self) -> Lifetime {
        match self.0 {
            0 => Lifetime::Forever,
            ..0 => Lifetime::Expired,
            seconds @ 1.. if seconds.unsigned_abs() <= EXPTIME_RELATIVE_MAX => {
                Lifetime::Seconds(seconds.unsigned_abs())
            }
            seconds => Lifetime::Until(seconds.unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_are_the_last_relative_number() {
        assert_eq!(
            Exptime::new(2_592_000).lifetime(),
            Lifetime::Seconds(2_592_000)
        );
        assert_eq!(
            Exptime::new(2_592_001).lifetime(),
            Lifetime::Until(2_592_001)
        );
        assert_eq!(
            Exptime::new(i32::MAX).lifetime(),
            Lifetime::Until(2_147_483_647)
        );
        assert_eq!(Exptime::new(0).lifetime(), Lifetime::Forever);
        assert_eq!(Exptime::new(i32::MIN).lifetime(), Lifetime::Expired);
    }

    #[test]
    fn wider_numbers_are_cut_to_32_bits() {
        assert_eq!(
            Exptime::truncated(4_294_967_295).lifetime(),
            Lifetime::Expired
        );
        assert_eq!(
            Exptime::truncated(4_294_967_296).lifetime(),
            Lifetime::Forever
        );
        assert_eq!(Exptime::truncated(4_795_227_563).get(), 500_260_267);
    }
}
