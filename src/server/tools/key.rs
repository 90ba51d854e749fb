//! [`KeyText`]: a key on the command line.

use nuthatch_protocol::Key;
use std::fmt;
use std::str::FromStr;

/// A key that travels as it is.
#[derive(Clone, Debug)]
pub(crate) struct KeyText(String);

impl FromStr for KeyText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match Key::new(text.as_bytes()) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("a key is 1 to 250 bytes, without spaces and control characters"),
        }
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_break_a_line() {
        let longest = "k".repeat(250);
        for right in ["k", "späß", &longest] {
            assert!(right.parse::<KeyText>().is_ok(), "{right}");
        }
        for wrong in ["", "a b", "a\r\nflush_all", &"k".repeat(251)] {
            assert!(wrong.parse::<KeyText>().is_err(), "{wrong}");
        }
    }
}
