//! Numbers as people read them. The page's script writes them the same way.

use crate::nuthatch_metrics::float;
use serde_json::Value;
use std::fmt::Write as _;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Words, or anything that is told as it is.
    Text,
    Count,
    Bytes,
    /// Seconds.
    Duration,
    /// Parts of a hundred.
    Percent,
    /// A part of one.
    Ratio,
    /// Anything with decimals.
    Number,
}

impl Unit {
    /// As the page names it.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "count" => Self::Count,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "percent" => Self::Percent,
            "ratio" => Self::Ratio,
            "number" => Self::Number,
            _ => Self::Text,
        }
    }

    /// The value in words; a dash if there is none.
    pub(crate) fn write(self, value: &Value) -> String {
        match (self, value) {
            (_, Value::Null) => "–".to_owned(),
            (Self::Text, Value::String(text)) => text.clone(),
            (Self::Text, other) => other.to_string(),
            (_, Value::Number(number)) => self.number(number.as_f64().unwrap_or_default()),
            (_, other) => other.to_string(),
        }
    }

    fn number(self, number: f64) -> String {
        match self {
            Self::Text | Self::Number => fixed(number, 2),
            Self::Count => fixed(number, 0),
            Self::Percent => fixed(number, 0) + " %",
            Self::Ratio => fixed(number * 100.0, 2) + " %",
            Self::Bytes => scaled(number, &BYTES),
            Self::Duration => scaled(number, &DURATIONS),
        }
    }
}

/// A unit from which number on, how it is divided for it, decimals, its name.
type Scale = (f64, f64, u32, &'static str);

const BYTES: [Scale; 5] = [
    (0.0, 1.0, 0, "B"),
    (1024.0, 1024.0, 1, "KiB"),
    (1_048_576.0, 1_048_576.0, 1, "MiB"),
    (1_073_741_824.0, 1_073_741_824.0, 1, "GiB"),
    (1_099_511_627_776.0, 1_099_511_627_776.0, 1, "TiB"),
];

const DURATIONS: [Scale; 6] = [
    (0.0, 0.000_001, 1, "µs"),
    (0.001, 0.001, 1, "ms"),
    (1.0, 1.0, 1, "s"),
    (60.0, 60.0, 1, "min"),
    (3600.0, 3600.0, 1, "h"),
    (86_400.0, 86_400.0, 1, "d"),
];

fn scaled(number: f64, scales: &[Scale]) -> String {
    if number <= 0.0 {
        return "0".to_owned();
    }
    let scale = scales.iter().rev().find(|(from, ..)| *from <= number);
    let (_, divisor, decimals, name) = *scale.unwrap_or(&(0.0, 1.0, 0, ""));
    format!("{} {name}", fixed(number / divisor, decimals))
}

/// Rounded half up, with commas between thousands.
fn fixed(number: f64, decimals: u32) -> String {
    let factor = 10_u64.pow(decimals);
    let rounded = (number.abs() * float(factor) + 0.5).floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and not negative; what is too large becomes the largest number"
    )]
    let rounded = rounded as u64;
    let mut text = grouped(rounded / factor);
    if decimals > 0 {
        let rest = rounded % factor;
        let width = decimals as usize;
        // A string has room for everything.
        let _ = write!(text, ".{rest:0width$}");
    }
    if number < 0.0 {
        text.insert(0, '-');
    }
    text
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text where HTML is expected, between tags or in quotation marks.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_units_that_fit_them() {
        for (unit, value, text) in [
            ("count", json!(0), "0"),
            ("count", json!(999), "999"),
            ("count", json!(1_234_567), "1,234,567"),
            ("bytes", json!(0), "0"),
            ("bytes", json!(1023), "1,023 B"),
            ("bytes", json!(1280), "1.3 KiB"),
            ("bytes", json!(5_u64 << 40), "5.0 TiB"),
            ("duration", json!(0.000_012_34), "12.3 µs"),
            ("duration", json!(0.25), "250.0 ms"),
            ("duration", json!(59.94), "59.9 s"),
            ("duration", json!(90), "1.5 min"),
            ("duration", json!(259_200), "3.0 d"),
            ("percent", json!(43), "43 %"),
            ("ratio", json!(0.934_567), "93.46 %"),
            ("ratio", json!(1), "100.00 %"),
            ("number", json!(1.005), "1.00"),
            ("number", json!(-2.5), "-2.50"),
            ("number", json!(null), "–"),
            ("text", json!("a b"), "a b"),
            ("text", json!(7), "7"),
            ("text", json!(["x"]), "[\"x\"]"),
        ] {
            assert_eq!(Unit::named(unit).write(&value), text, "{unit} {value}");
        }
    }

    #[test]
    fn what_is_escaped_is_no_html() {
        assert_eq!(
            escaped(r#"<b title='x' class="y">&"#),
            "&lt;b title=&#39;x&#39; class=&quot;y&quot;&gt;&amp;"
        );
        assert_eq!(escaped("käse"), "käse");
    }
}
