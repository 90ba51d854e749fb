//! The bytes of one line of a transcript: what is sent, and what an answer must look like.
//!
//! Matching does no I/O and reads no clock, so that any harness can use it.
//!
//! | written | means |
//! |---|---|
//! | `\r` `\n` `\t` `\0` `\\` `\{` `\x7f` | that byte |
//! | `{250*'ab\r\n'}` | the quoted bytes, 250 times |
//! | `{name}` | what `name` is bound to; in an answer, a free name is bound to the decimal number found there |
//! | `{name+5}` `{name-5}` | the number that `name` is bound to, plus or minus 5 |

use std::{borrow::Cow, collections::BTreeMap};

/// What the names in a transcript stand for.
#[derive(Clone, Debug, Default)]
pub struct Captures(BTreeMap<String, Vec<u8>>);

impl Captures {
    /// Names known before the first step: `now`, the server's Unix time, and `version`, what it
    /// calls itself.
    pub fn new(now: u64, version: &str) -> Self {
        let known = [("now", now.to_string()), ("version", version.to_owned())];
        Self(
            known
                .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                .into(),
        )
    }

    fn shifted(&self, name: &str, offset: i64) -> Option<Vec<u8>> {
        let bound = self.0.get(name)?;
        if offset == 0 {
            return Some(bound.clone());
        }
        let number: u64 = std::str::from_utf8(bound).ok()?.parse().ok()?;
        Some(number.checked_add_signed(offset)?.to_string().into_bytes())
    }
}

/// How the bytes received so far compare with a pattern.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    /// The pattern is met by this many bytes from the start.
    Whole(usize),
    /// Right so far, but more bytes are needed.
    Partial,
    /// No further bytes can make this right.
    Mismatch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    Name { name: String, offset: i64 },
}

/// Bytes with names in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

impl Pattern {
    /// Reads the notation of the module's table.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let end = closing_brace(inner)?;
                let (braced, after) = inner.split_at(end);
                parts.push(parse_braced(braced)?);
                rest = after.strip_prefix('}').unwrap_or(after);
            } else {
                let end = next_brace(rest);
                let (plain, after) = rest.split_at(end);
                parts.push(Part::Bytes(unescape(plain)?));
                rest = after;
            }
        }
        Ok(Self(parts))
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// Names that are not bound yet.
    pub fn render(&self, captures: &Captures) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            match part {
                Part::Bytes(plain) => bytes.extend_from_slice(plain),
                Part::Name { name, offset } => match captures.shifted(name, *offset) {
                    Some(value) => bytes.extend_from_slice(&value),
                    None => return Err(format!("{{{name}}} is not bound to a number")),
                },
            }
        }
        Ok(bytes)
    }

    /// Compares the start of `got`; binds free names once the whole pattern is met.
    pub fn matches(&self, got: &[u8], captures: &mut Captures) -> Match {
        let mut trial = captures.clone();
        let mut rest = got;
        for part in &self.0 {
            let want = match part {
                Part::Bytes(plain) => Cow::Borrowed(plain.as_slice()),
                Part::Name { name, offset } => match trial.shifted(name, *offset) {
                    Some(value) => Cow::Owned(value),
                    None => match leading_number(rest) {
                        Ok(digits) => {
                            trial.0.insert(name.clone(), digits.clone());
                            Cow::Owned(digits)
                        }
                        Err(outcome) => return outcome,
                    },
                },
            };
            match rest.strip_prefix(want.as_ref()) {
                Some(after) => rest = after,
                None if want.starts_with(rest) => return Match::Partial,
                None => return Match::Mismatch,
            }
        }
        *captures = trial;
        Match::Whole(got.len() - rest.len())
    }
}

/// A number is known to be complete only by the byte that follows it.
fn leading_number(bytes: &[u8]) -> Result<Vec<u8>, Match> {
    let digits: Vec<u8> = bytes
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    match (digits.len() == bytes.len(), digits.is_empty()) {
        (true, _) => Err(Match::Partial),
        (false, true) => Err(Match::Mismatch),
        (false, false) => Ok(digits),
    }
}

/// Up to the next brace that no backslash escapes.
fn next_brace(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => return index,
            _ => {}
        }
    }
    text.len()
}

/// Braces within quotes do not count.
fn closing_brace(text: &str) -> Result<usize, String> {
    let mut quoted = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'}' if !quoted => return Ok(index),
            _ => {}
        }
    }
    Err(format!("no closing brace: {{{text}"))
}

fn parse_braced(text: &str) -> Result<Part, String> {
    if let Some((count, quoted)) = text.split_once('*') {
        let count: usize = count
            .parse()
            .map_err(|error| format!("{{{text}}}: {error}"))?;
        let inner = quoted
            .strip_prefix('\'')
            .and_then(|tail| tail.strip_suffix('\''));
        let inner = inner.ok_or_else(|| format!("{{{text}}}: quote what is repeated"))?;
        return Ok(Part::Bytes(unescape(inner)?.repeat(count)));
    }
    let (name, offset) = match text.find(['+', '-']) {
        Some(sign) => text.split_at(sign),
        None => (text, "0"),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("{{{text}}}: a name has lower case letters only"));
    }
    let offset = offset
        .parse()
        .map_err(|error| format!("{{{text}}}: {error}"))?;
    Ok(Part::Name {
        name: name.to_owned(),
        offset,
    })
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        if next != '\\' {
            bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match chars.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('x') => {
                let hex: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&hex, 16).map_err(|error| format!("\\x{hex}: {error}"))?
            }
            Some(same @ ('\\' | '{')) => same as u8,
            other => return Err(format!("no such escape: \\{}", other.unwrap_or(' '))),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, got: &[u8], captures: &mut Captures) -> Match {
        Pattern::parse(pattern).unwrap().matches(got, captures)
    }

    #[test]
    fn escapes_and_repeats_are_bytes() {
        let pattern = Pattern::parse(r"a\r\n\t\0\\\{}\xff{3*'x\n'}{2*'}'}é").unwrap();
        let bytes = pattern.render(&Captures::default()).unwrap();
        assert_eq!(bytes, b"a\r\n\t\0\\{}\xffx\nx\nx\n}}\xc3\xa9");
    }

    #[test]
    fn mistakes_in_the_notation_are_refused() {
        for text in [
            r"\q", r"\xg0", r"\", "{3*x}", "{x*'a'}", "{open", "{}", "{a+}", "{A}",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_free_name_takes_a_number_and_keeps_it() {
        let mut captures = Captures::default();
        assert_eq!(
            matched(r"a {cas}\r\n", b"a 12\r\nrest", &mut captures),
            Match::Whole(6)
        );
        assert_eq!(matched("{cas};", b"12;", &mut captures), Match::Whole(3));
        assert_eq!(matched("{cas};", b"13;", &mut captures), Match::Mismatch);
        assert_eq!(matched("{cas+1};", b"13;", &mut captures), Match::Whole(3));
    }

    #[test]
    fn an_answer_cut_short_is_partial_and_binds_nothing() {
        let mut captures = Captures::default();
        for got in ["", "a", "a ", "a 1", "a 12", "a 12\r"] {
            assert_eq!(
                matched(r"a {cas}\r\n", got.as_bytes(), &mut captures),
                Match::Partial
            );
        }
        assert!(captures.0.is_empty());
        assert_eq!(
            matched(r"a {cas}\r\n", b"a x", &mut captures),
            Match::Mismatch
        );
        assert_eq!(matched("ab", b"b", &mut captures), Match::Mismatch);
    }

    #[test]
    fn unbound_names_cannot_be_sent() {
        let pattern = Pattern::parse("{cas}").unwrap();
        assert!(pattern.render(&Captures::default()).is_err());
        let pattern = Pattern::parse("{now-7}").unwrap();
        assert_eq!(pattern.render(&Captures::new(10, "x")).unwrap(), b"3");
    }
}
