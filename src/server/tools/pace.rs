//! [`Pace`]: keeps what is copied below a number of bytes per second.

use crate::clock::Clock;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// Bytes per second: a number, with `k`, `m` or `g` for the powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(NonZeroU64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let unit = |letter: char| match letter.to_ascii_lowercase() {
            'k' => Some(10),
            'm' => Some(20),
            'g' => Some(30),
            _ => None,
        };
        let (digits, shift) = match text.char_indices().last() {
            Some((at, letter)) if unit(letter).is_some() => (text.get(..at), unit(letter)),
            _ => (Some(text), None),
        };
        let number = digits.and_then(|digits| digits.parse::<u64>().ok());
        let bytes = number.and_then(|number| number.checked_mul(1 << shift.unwrap_or(0)));
        bytes
            .and_then(NonZeroU64::new)
            .map(Self)
            .ok_or_else(|| "bytes per second above 0, such as 500k or 50m".to_owned())
    }
}

/// How far the copying is, and how far it may be.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<Rate>,
    clock: Clock,
    copied: u64,
}

impl Pace {
    /// `clock` begins now.
    pub(crate) const fn new(rate: Option<Rate>, clock: Clock) -> Self {
        Self {
            rate,
            clock,
            copied: 0,
        }
    }

    /// Most bytes that may be copied without looking at the pace: a tenth of a second's.
    pub(crate) fn burst_len(&self) -> u64 {
        self.rate.map_or(u64::MAX, |rate| rate.0.get() / 10)
    }

    /// So many bytes were copied; waits until they may have been.
    pub(crate) fn copied(&mut self, len: u64) {
        self.copied = self.copied.saturating_add(len);
        let elapsed = Duration::from_millis(self.clock.now().time.as_millis());
        thread::sleep(self.ahead(elapsed));
    }

    /// How much longer it should have taken.
    fn ahead(&self, elapsed: Duration) -> Duration {
        const MILLIS: u128 = 1000;
        let Some(Rate(rate)) = self.rate else {
            return Duration::ZERO;
        };
        let due = u128::from(self.copied) * MILLIS / u128::from(rate.get());
        Duration::from_millis(u64::try_from(due).unwrap_or(u64::MAX)).saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_per_second() {
        let rate = |text: &str| text.parse::<Rate>().ok().map(|rate| rate.0.get());
        assert_eq!(rate("1"), Some(1));
        assert_eq!(rate("500k"), Some(500 << 10));
        assert_eq!(rate(" 50M"), Some(50 << 20));
        assert_eq!(rate("17179869183g"), Some(17_179_869_183 << 30));
        for text in ["", "0", "k", "-1", "1x", "1mb", "17179869184g"] {
            assert_eq!(rate(text), None, "{text:?}");
        }
    }

    #[test]
    fn who_is_ahead_waits_and_who_is_behind_does_not() {
        let mut pace = Pace::new("1k".parse().ok(), Clock::manual());
        pace.copied = 3 << 10;
        assert_eq!(pace.ahead(Duration::ZERO), Duration::from_secs(3));
        assert_eq!(pace.ahead(Duration::from_secs(1)), Duration::from_secs(2));
        assert_eq!(pace.ahead(Duration::from_secs(3)), Duration::ZERO);
        assert_eq!(pace.ahead(Duration::from_secs(9)), Duration::ZERO);
        pace.copied = u64::MAX;
        assert!(pace.ahead(Duration::ZERO) > Duration::from_secs(1 << 50));
        pace.rate = None;
        assert_eq!(pace.ahead(Duration::ZERO), Duration::ZERO);
    }
}
