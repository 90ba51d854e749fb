//! Moments as the store sees them: an argument of every operation, never read from a clock.

use std::time::Duration;

/// A moment: milliseconds since the process started, on a clock that never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub struct Time(u64);

impl Time {
    /// The moment that many milliseconds after the start of the process.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start of the process.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the start of the process; they last for 136 years.
    pub(crate) fn as_seconds(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }

    /// The moment `duration` later, in whole milliseconds; the last one there is instead of an overflow.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// When an item stops being served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use]
pub enum Expiry {
    /// It lives until it is deleted, flushed or evicted.
    #[default]
    Never,
    /// It is dead from this moment on, this moment included.
    At(Time),
}

impl Expiry {
    /// Whether the item is dead at `now`.
    pub fn is_due(self, now: Time) -> bool {
        match self {
            Self::Never => false,
            Self::At(at) => at <= now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_dead_from_the_very_moment_of_its_expiry() {
        let expiry = Expiry::At(Time::from_millis(10));
        assert!(!expiry.is_due(Time::from_millis(9)));
        assert!(expiry.is_due(Time::from_millis(10)));
        assert!(!Expiry::Never.is_due(Time::from_millis(u64::MAX)));
    }

    #[test]
    fn adding_saturates() {
        let soon = Time::from_millis(1).saturating_add(Duration::from_micros(2_500));
        assert_eq!(soon.as_millis(), 3);
        let end = Time::from_millis(5).saturating_add(Duration::MAX);
        assert_eq!(end.as_millis(), u64::MAX);
    }
}
