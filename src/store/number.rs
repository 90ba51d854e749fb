//! Numbers as text: what `incr` and `decr` read and write. They are read as C's `strtoull` does.

/// Decimal digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// Reads the number that a value starts with: blanks and one `+` may come before the digits, a
/// blank, a NUL or the end of the value must follow. `None` for anything else and above 64 bits.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    parse_digits(value).or_else(|| parse_padded(value))
}

/// Reads what [`format`] writes as long as numbers do not become shorter: digits and nothing else.
#[inline]
fn parse_digits(value: &[u8]) -> Option<u64> {
    // One digit more may be too large for 64 bits.
    if value.is_empty() || value.len() >= DIGITS_MAX {
        return None;
    }
    let mut number = 0;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

fn parse_padded(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(|&byte| !is_blank(byte))?;
    let text = value.get(start..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if rest
        .first()
        .is_some_and(|&byte| byte != 0 && !is_blank(byte))
        || digits.is_empty()
    {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// The value that replaces one of `value_len` bytes: it does not become shorter but gets blanks on
/// the right, and becomes as long as the number needs.
pub(crate) fn format(number: u64, value_len: usize) -> Text {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let len = value_len.max(digits.len());
    let mut text = if len <= DIGITS_MAX {
        Text::Short([b' '; DIGITS_MAX], len)
    } else {
        Text::Long(vec![b' '; len])
    };
    if let Some(begin) = text.as_mut_slice().get_mut(..digits.len()) {
        begin.copy_from_slice(digits);
    }
    text
}

/// A number as a value, on the stack unless it is filled up with blanks.
#[derive(Debug)]
pub(crate) enum Text {
    Short([u8; DIGITS_MAX], usize),
    Long(Vec<u8>),
}

impl Text {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(text, len) => text.get(..*len).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Short(text, _) => text,
            Self::Long(text) => text,
        }
    }
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtoull_reads_them() {
        for (value, expected) in [
            (&b"0"[..], 0),
            (b"42", 42),
            (b"007", 7),
            (b"+5", 5),
            (b"  \t\n\x0b\x0c\r+5", 5),
            (b"10 x", 10),
            (b"10\r\n", 10),
            (b"10\x00x", 10),
            (b"18446744073709551615", u64::MAX),
            (b"00000000000000000000000000000001", 1),
        ] {
            assert_eq!(parse(value), Some(expected), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn anything_else_is_no_number() {
        for value in [
            &b""[..],
            b" ",
            b"   \r\n",
            b"x",
            b"-1",
            b" -1",
            b"-0",
            b"++1",
            b"+",
            b"+ 1",
            b"10x",
            b"1.5",
            b"0x10",
            b"\x0010",
            b"18446744073709551616",
            b"99999999999999999999999",
        ] {
            assert_eq!(parse(value), None, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_value_grows_but_never_shrinks() {
        assert_eq!(format(9, 2).as_slice(), b"9 ");
        assert_eq!(format(100, 2).as_slice(), b"100");
        assert_eq!(format(0, 0).as_slice(), b"0");
        assert_eq!(format(u64::MAX, 1).as_slice(), b"18446744073709551615");
        for len in [19, 20, 21] {
            let text = [b"7".to_vec(), vec![b' '; len - 1]].concat();
            assert_eq!(format(7, len).as_slice(), text);
        }
        assert_eq!(parse(format(7, 40).as_slice()), Some(7));
    }
}
