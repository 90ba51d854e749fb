//! Keys, counts, sizes and times for people.

use std::time::Duration;

/// A key or a value as text that cannot change the terminal.
pub(crate) fn key(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().fold(String::new(), |mut shown, letter| {
            if letter.is_control() {
                shown.extend(letter.escape_default());
            } else {
                shown.push(letter);
            }
            shown
        }),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// A count in at most five letters: `999`, `1.2k`, `45k`, `1.2M`.
pub(crate) fn count(number: f64) -> String {
    scaled(number, 1000.0, ["", "k", "M", "G", "T", "P"])
}

/// Bytes in at most five letters: `512B`, `1.2K`, `45M`.
pub(crate) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, ["B", "K", "M", "G", "T", "P"])
}

/// A number with the unit that makes it short.
fn scaled(number: f64, step: f64, units: [&str; 6]) -> String {
    let mut number = number.max(0.0);
    let mut units = units.into_iter().peekable();
    // What would be rounded up to four digits belongs to the next unit.
    while number >= 999.5 && units.len() > 1 {
        number /= step;
        units.next();
    }
    let is_first = units.len() == 6;
    let unit = units.next().unwrap_or_default();
    if is_first || number >= 9.95 {
        format!("{number:.0}{unit}")
    } else {
        format!("{number:.1}{unit}")
    }
}

/// A time in at most six letters: `85us`, `1.2ms`, `12s`.
pub(crate) fn duration(duration: Duration) -> String {
    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    let seconds = duration.as_secs_f64();
    if duration < MILLI {
        format!("{:.0}us", seconds * 1e6)
    } else if duration < SECOND {
        format!("{:.1}ms", seconds * 1e3)
    } else {
        format!("{seconds:.1}s")
    }
}

/// A share in percent, with one digit behind the point; a dash of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    ratio(part, whole).map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

/// A share; `None` of nothing.
pub(crate) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

/// Close enough for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_change_the_terminal() {
        assert_eq!(key("späß 日本".as_bytes()), "späß 日本");
        assert_eq!(key(b"a\x1b[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(key(b"a\xff\x1b"), "a\\xff\\x1b");
    }

    #[test]
    fn numbers_are_short() {
        for (number, shown) in [
            (0.0, "0"),
            (-1.0, "0"),
            (999.4, "999"),
            (999.5, "1.0k"),
            (1234.0, "1.2k"),
            (9949.0, "9.9k"),
            (9951.0, "10k"),
            (999_499.0, "999k"),
            (999_500.0, "1.0M"),
            (2e15, "2.0P"),
            (2e19, "20000P"),
        ] {
            assert_eq!(count(number), shown, "{number}");
        }
        assert_eq!(bytes(512.0), "512B");
        assert_eq!(bytes(1023.0), "1.0K");
        assert_eq!(bytes(64.0 * 1_048_576.0), "64M");
        let shown = |micros| duration(Duration::from_micros(micros));
        assert_eq!(
            [shown(85), shown(1234), shown(12_345_678)],
            ["85us", "1.2ms", "12.3s"]
        );
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(0, 0), "-");
    }
}
