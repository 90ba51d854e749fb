//! All byte loops of the protocol: the end of a line, tokens, integers.

/// Splits a line at runs of spaces; tokens are never empty.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// The tokens of `line`.
    pub const fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// What has not been split yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|&byte| byte != b' ')?;
        let (_, from_token) = self.rest.split_at_checked(start)?;
        let (token, rest) = from_token.split_at_checked(token_len(from_token))?;
        self.rest = rest;
        Some(token)
    }
}

/// How many bytes come before the first space. Eight at a time: tokens are too short for a call of memchr.
#[inline]
fn token_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // A byte of 0 where there is a space, and the top bit of its place set where there is a 0 first.
        let word = u64::from_le_bytes(*word) ^ (ONES * 0x20);
        let zeros = word.wrapping_sub(ONES) & !word & (ONES * 0x80);
        if zeros != 0 {
            return number
                .saturating_mul(8)
                .saturating_add(zeros.trailing_zeros() as usize / 8);
        }
    }
    let rest_len = rest
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(rest.len());
    bytes
        .len()
        .saturating_sub(rest.len())
        .saturating_add(rest_len)
}

/// The first line of `buf`, its line feed included. Without one, `searched_len` remembers how much
/// need not be searched again.
pub(crate) fn line<'a>(buf: &'a [u8], searched_len: &mut usize) -> Option<&'a [u8]> {
    let searched = std::mem::replace(searched_len, buf.len());
    let position = memchr::memchr(b'\n', buf.get(searched..)?)?;
    *searched_len = 0;
    buf.get(..=searched.checked_add(position)?)
}

/// Splits off the first token; the line must begin with it.
#[inline]
pub(crate) fn command(line: &[u8]) -> (&[u8], &[u8]) {
    line.split_at_checked(token_len(line))
        .unwrap_or((line, &[]))
}

/// The same if the first token has at most seven bytes and something behind it.
#[inline]
pub(crate) fn short_command(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const HEAD_LEN: usize = 8;
    let head = line.get(..HEAD_LEN).unwrap_or(line);
    let (command, arguments) = line.split_at_checked(token_len(head))?;
    (command.len() < head.len()).then_some((command, arguments))
}

/// The line without its line feed, and without one carriage return before that.
pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Reads a number as C's `strtol` does, up to the end or a blank; `None` where memcached's
/// `safe_strtol` refuses.
pub(crate) fn parse_i64(token: &[u8]) -> Option<i64> {
    let (negative, magnitude) = parse_magnitude(token)?;
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Reads a number as C's `strtoull` does, up to the end or a blank; `None` where memcached's
/// `safe_strtoull` refuses.
pub(crate) fn parse_u64(token: &[u8]) -> Option<u64> {
    let (negative, magnitude) = parse_magnitude(token)?;
    if !negative {
        return Some(magnitude);
    }
    // strtoull wraps a negative number; memcached refuses it only if the result has its top bit set.
    let wrapped = magnitude.wrapping_neg();
    i64::try_from(wrapped).is_ok().then_some(wrapped)
}

/// Reads a number as C's `strtoull` does, up to the end or a blank, and cuts it to 32 bits, as memcached does; `None`
/// where memcached refuses.
#[expect(
    clippy::cast_possible_truncation,
    reason = "memcached assigns an unsigned long to a u32"
)]
pub fn parse_u32(token: &[u8]) -> Option<u32> {
    parse_u64(token).map(|number| number as u32)
}

/// Reads digits and nothing else.
pub(crate) fn parse_digits(token: &[u8]) -> Option<u64> {
    if token.iter().all(u8::is_ascii_digit) {
        parse_u64(token)
    } else {
        None
    }
}

/// C's `isspace`.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Sign and absolute value.
fn parse_magnitude(token: &[u8]) -> Option<(bool, u64)> {
    match parse_short(token) {
        Some(number) => Some((false, number)),
        None => parse_strange(token),
    }
}

/// Nearly all numbers: a few digits.
#[inline]
fn parse_short(token: &[u8]) -> Option<u64> {
    // The largest power of ten that 64 bits hold has 20 digits.
    const DIGITS_MAX: usize = 19;
    if token.is_empty() || token.len() > DIGITS_MAX {
        return None;
    }
    let mut number = 0u64;
    for byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(digit.into());
    }
    Some(number)
}

fn parse_strange(token: &[u8]) -> Option<(bool, u64)> {
    let blanks = token.iter().take_while(|byte| is_blank(**byte)).count();
    let number = token.get(blanks..)?;
    let negative = number.first() == Some(&b'-');
    let digits = number
        .strip_prefix(b"-")
        .or_else(|| number.strip_prefix(b"+"))
        .unwrap_or(number);
    let mut magnitude: Option<u64> = None;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte.wrapping_sub(b'0'));
                let so_far = magnitude.unwrap_or(0);
                magnitude = Some(so_far.checked_mul(10)?.checked_add(digit)?);
            }
            // A NUL ends the C string that memcached parses.
            0 => break,
            byte if is_blank(byte) => break,
            _ => return None,
        }
    }
    Some((negative, magnitude?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(line: &[u8]) -> Vec<&[u8]> {
        Tokens::new(line).collect()
    }

    #[test]
    fn runs_of_spaces_count_as_one() {
        assert_eq!(
            tokens(b"  a  bc \td\t  "),
            [b"a".as_slice(), b"bc", b"\td\t"]
        );
        assert_eq!(tokens(b""), Vec::<&[u8]>::new());
        assert_eq!(tokens(b"   "), Vec::<&[u8]>::new());
    }

    #[test]
    fn a_token_ends_at_the_first_space_wherever_that_is() {
        for len in 0..40 {
            for after in [&b""[..], b" ", b"  a", b" !\x1f\x21 ~~~~~~~"] {
                for byte in [b'!', 0, 0x1f, 0x21, 0x7f, 0x80, 0xa0, 0xff] {
                    let line = [&vec![byte; len][..], after].concat();
                    assert_eq!(token_len(&line), len, "{}", line.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn one_carriage_return_is_dropped() {
        assert_eq!(trim_line_end(b"a\r\r\n"), b"a\r");
        assert_eq!(trim_line_end(b"a\n"), b"a");
        assert_eq!(trim_line_end(b"\n"), b"");
    }

    #[test]
    fn signed_numbers_have_64_bits() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0", Some(0)),
            (b"-0", Some(0)),
            (b"+7", Some(7)),
            (b"\t 12", Some(12)),
            (b"12\tx", Some(12)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"9223372036854775808", None),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"-9223372036854775809", None),
            (b"99999999999999999999", None),
            (b"", None),
            (b"-", None),
            (b"--1", None),
            (b"1x", None),
            (b"x", None),
            (b"0x10", None),
        ];
        for (token, expected) in cases {
            assert_eq!(parse_i64(token), *expected, "{}", token.escape_ascii());
        }
    }

    #[test]
    fn digits_stand_alone() {
        assert_eq!(parse_digits(b"0012"), Some(12));
        for token in [
            b"".as_slice(),
            b"+1",
            b"-1",
            b"1\t",
            b" 1",
            b"18446744073709551616",
        ] {
            assert_eq!(parse_digits(token), None, "{}", token.escape_ascii());
        }
    }

    #[test]
    fn unsigned_numbers_wrap_a_sign_as_strtoull_does() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"-1", None),
            (b"-0", Some(0)),
            (b"-18446744073709551615", Some(1)),
            (b"10 x", Some(10)),
            (b"10\0x", Some(10)),
            (b"1.5", None),
        ];
        for (token, expected) in cases {
            assert_eq!(parse_u64(token), *expected, "{}", token.escape_ascii());
        }
    }
}
