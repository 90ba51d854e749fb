//! [`Span`]: a length of time as people type it.

use std::str::FromStr;
use std::time::Duration;

/// `30` and `30s` are seconds; `500ms`, `5m`, `2h` and `7d` are what they look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// More is a mistake.
const SECONDS_MAX: u64 = 100 * 365 * 24 * 60 * 60;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let millis_of_unit = match text.strip_prefix(digits) {
            Some("ms") => Some(1),
            Some("" | "s") => Some(1000),
            Some("m") => Some(60 * 1000),
            Some("h") => Some(60 * 60 * 1000),
            Some("d") => Some(24 * 60 * 60 * 1000),
            _ => None,
        };
        // A sign is no number.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<u64>().ok().filter(|_| is_number);
        number
            .zip(millis_of_unit)
            .and_then(|(number, unit)| number.checked_mul(unit))
            .map(Duration::from_millis)
            .filter(|span| *span <= Duration::from_secs(SECONDS_MAX))
            .map(Self)
            .ok_or_else(|| "a time such as 30s, 500ms, 5m, 2h or 7d, up to 100 years".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit_or_is_in_seconds() {
        let millis = |text: &str| text.parse::<Span>().ok().map(|span| span.0.as_millis());
        assert_eq!(millis("0"), Some(0));
        assert_eq!(millis(" 30 "), Some(30_000));
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("5m"), Some(300_000));
        assert_eq!(millis("2h"), Some(7_200_000));
        assert_eq!(millis("36500d"), Some(3_153_600_000_000));
        for wrong in [
            "",
            "s",
            "-1",
            "+1",
            "1.5s",
            "1 s",
            "1w",
            "1S",
            "36501d",
            "99999999999999999999",
        ] {
            assert_eq!(millis(wrong), None, "{wrong:?}");
        }
    }
}
