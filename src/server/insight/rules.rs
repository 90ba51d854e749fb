//! [`Rules`]: which namespace a key belongs to, as `--namespaces` says.

use crate::config::ConfigError;

/// Bytes of a namespace's name. Keys whose namespace would have a longer one are in none.
pub(crate) const NAME_LEN_MAX: usize = 64;

/// Rules that can be given.
const RULES_MAX: usize = 32;

/// Digits of the version in a key of Django's. More are taken for what the key is about.
const VERSION_LEN_MAX: usize = 4;

/// Colons that the prefix of a key of Django's (`KEY_PREFIX`) may have.
const SITE_COLONS_MAX: usize = 3;

/// Hexadecimal digits and dashes in such a number are an identifier: of a session, of a hash.
const IDENTIFIER_LEN_MIN: usize = 16;

/// The first rule that finds a name gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Keys that begin so.
    Prefix { name: Name, prefix: Box<[u8]> },
    /// What is before this byte.
    Delimiter(u8),
    /// What Django, its sessions, cached views and template fragments make of a key.
    Django,
}

/// The name of a namespace: printable ASCII without blanks; other bytes are told as `%` and two digits.
#[derive(Clone, Copy, Hash, PartialEq, Eq)]
pub(crate) struct Name {
    bytes: [u8; NAME_LEN_MAX],
    len: usize,
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Name {
    fn joined<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Option<Self> {
        let mut name = Self {
            bytes: [0; NAME_LEN_MAX],
            len: 0,
        };
        for part in parts {
            for byte in part {
                name.push(*byte)?;
            }
        }
        (name.len > 0).then_some(name)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
        if byte.is_ascii_graphic() && byte != b'%' {
            return self.put(byte);
        }
        let digit = |number: u8| DIGITS.get(usize::from(number)).copied();
        self.put(b'%')?;
        self.put(digit(byte >> 4)?)?;
        self.put(digit(byte & 15)?)
    }

    fn put(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len = self.len.saturating_add(1);
        Some(())
    }

    /// The bytes, with zeros behind them, eight at a time.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        let (words, _) = self.bytes.as_chunks();
        words.iter().map(|word| u64::from_le_bytes(*word))
    }

    /// The name of this length whose words these are.
    pub(crate) fn from_words(words: [u64; NAME_LEN_MAX / 8], len: usize) -> Self {
        let mut bytes = [0; NAME_LEN_MAX];
        let (chunks, _) = bytes.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only ASCII is ever put there.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl Rules {
    /// What the values of `--namespaces` say.
    ///
    /// # Errors
    /// The value that says nothing, and what could stand there.
    pub(crate) fn parse(values: &[String]) -> Result<Self, ConfigError> {
        let mut rules = Vec::new();
        let texts = values.iter().flat_map(|value| value.split(','));
        let mut is_off = false;
        for text in texts.map(str::trim).filter(|text| !text.is_empty()) {
            if text == "off" {
                is_off = true;
            } else {
                rules.push(rule(text)?);
            }
        }
        if is_off && !rules.is_empty() {
            return Err(ConfigError::Usage(
                "there are namespaces or there are none: leave off or the rules away \
                 (--namespaces)"
                    .into(),
            ));
        }
        if rules.len() > RULES_MAX {
            return Err(ConfigError::Value(format!(
                "{} rules are too many (--namespaces): at most {RULES_MAX}",
                rules.len()
            )));
        }
        Ok(Self(rules))
    }

    /// Whether there are none.
    pub(crate) const fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    /// The names that are known before any key is.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().filter_map(|rule| match rule {
            Rule::Prefix { name, .. } => Some(name),
            Rule::Delimiter(_) | Rule::Django => None,
        })
    }

    /// The name of the key's namespace, if it is in one.
    pub(crate) fn name(&self, key: &[u8]) -> Option<Name> {
        self.0.iter().find_map(|rule| match rule {
            Rule::Prefix { name, prefix } => key.starts_with(prefix).then_some(*name),
            Rule::Delimiter(delimiter) => {
                let end = memchr::memchr(*delimiter, key)?;
                group(key.get(..end)?).and_then(|group| Name::joined([group]))
            }
            Rule::Django => django(key),
        })
    }
}

fn rule(text: &str) -> Result<Rule, ConfigError> {
    let refused = |reason: &str| {
        Err(ConfigError::Value(format!(
            "{text:?} is no namespace rule (--namespaces): {reason}"
        )))
    };
    if text == "django" {
        return Ok(Rule::Django);
    }
    if let Some(delimiter) = text.strip_prefix("delimiter:") {
        return match *delimiter.as_bytes() {
            [byte] if byte.is_ascii_graphic() => Ok(Rule::Delimiter(byte)),
            _ => refused("one character must stand behind delimiter:, and no comma"),
        };
    }
    let Some((name, prefix)) = text.split_once('=') else {
        return refused("it can be django, delimiter:CHAR, NAME=PREFIX or off");
    };
    let is_printable = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'%');
    match Name::joined([name.as_bytes()]).filter(|_| is_printable && name != OTHER) {
        _ if prefix.is_empty() => refused("there is no prefix behind the ="),
        Some(name) => Ok(Rule::Prefix {
            name,
            prefix: prefix.as_bytes().into(),
        }),
        None => refused(
            "the name before the = must have 1 to 64 printable characters, no %, and be another than other",
        ),
    }
}

/// The name of what is in no namespace.
pub(crate) const OTHER: &str = "other";

/// The part of a key, if it can stand for many keys: numbers and hashes name one thing.
fn group(part: &[u8]) -> Option<&[u8]> {
    let is_number = part.iter().all(u8::is_ascii_digit);
    let is_identifier = part.len() >= IDENTIFIER_LEN_MIN
        && part
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    (!is_number && !is_identifier && part != OTHER.as_bytes()).then_some(part)
}

/// `KEY_PREFIX:VERSION:key`, where the key is of a session, a cached view, a template fragment, or has a part of its
/// own before a `:` or `.`. The name begins with the prefix, if there is one: so each site is by itself.
fn django(key: &[u8]) -> Option<Name> {
    let (site, key) = versioned(key).unwrap_or((b"", key));
    let colon: &[u8] = if site.is_empty() { b"" } else { b":" };
    let named = |kind: &'static [u8], what| Name::joined([site, colon, kind, what]);
    if key.starts_with(b"django.contrib.sessions.") {
        return named(b"sessions", b"");
    }
    for views in [
        b"views.decorators.cache.cache_page.".as_slice(),
        b"views.decorators.cache.cache_header.",
    ] {
        if let Some(rest) = key.strip_prefix(views) {
            let prefix = memchr::memchr(b'.', rest)
                .and_then(|end| rest.get(..end))
                .unwrap_or_default();
            return if prefix.is_empty() {
                named(b"views", b"")
            } else {
                named(b"views.", prefix)
            };
        }
    }
    if let Some(rest) = key.strip_prefix(b"template.cache.") {
        // Behind the last one is the hash of what the fragment varies on.
        let end = memchr::memrchr(b'.', rest).unwrap_or(rest.len());
        return named(b"template.", rest.get(..end)?);
    }
    let end = memchr::memchr2(b':', b'.', key)?;
    named(b"", group(key.get(..end)?)?)
}

/// Takes prefix and version off a key of Django's.
fn versioned(key: &[u8]) -> Option<(&[u8], &[u8])> {
    memchr::memchr_iter(b':', key)
        .take(SITE_COLONS_MAX + 1)
        .find_map(|end| {
            let (site, rest) = key.split_at_checked(end)?;
            let rest = rest.get(1..)?;
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let rest = rest.get(digits..)?.strip_prefix(b":")?;
            (1..=VERSION_LEN_MAX)
                .contains(&digits)
                .then_some((site, rest))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules::parse(&[text.to_owned()]).unwrap()
    }

    fn name(rules: &Rules, key: &str) -> Option<String> {
        rules
            .name(key.as_bytes())
            .map(|name| name.as_str().to_owned())
    }

    #[test]
    fn keys_of_django_are_known_by_what_they_are_for() {
        let rules = rules("django");
        let hash = "d41d8cd98f00b204e9800998ecf8427e";
        for (key, expected) in [
            (
                ":1:django.contrib.sessions.cacheabcdefghijklmnopqrstuvwxyz012345",
                Some("sessions"),
            ),
            (
                ":1:django.contrib.sessions.cached_dbabcdefghijklmnopqrstuvwx",
                Some("sessions"),
            ),
            (
                "shop:12:django.contrib.sessions.cacheabc",
                Some("shop:sessions"),
            ),
            ("a:b:1:user:7", Some("a:b:user")),
            (
                &format!(":1:views.decorators.cache.cache_page..GET.{hash}.{hash}.en-us.UTC"),
                Some("views"),
            ),
            (
                &format!(":1:views.decorators.cache.cache_header.blog.{hash}.en-us"),
                Some("views.blog"),
            ),
            (
                &format!(":1:template.cache.sidebar.{hash}"),
                Some("template.sidebar"),
            ),
            (
                &format!(":1:template.cache.side.bar.{hash}"),
                Some("template.side.bar"),
            ),
            (":1:user:42:profile", Some("user")),
            (":1:user.42", Some("user")),
            ("user:profile:42", Some("user")),
            ("user:12345:profile", Some("user")),
            (":1:homepage", None),
            ("homepage", None),
            (":1:", None),
            ("", None),
            (":1:42:profile", None),
            (&format!(":1:{hash}.x"), None),
            (":1:6f1c2a34-0e9b-4b1c-8f55-5f2d7c1b9a10:x", None),
            (":1:caf\u{e9}:7", Some("caf%C3%A9")),
            (":1:other:7", None),
        ] {
            assert_eq!(name(&rules, key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_names_a_key() {
        let rules = rules("basket=shop:b, pages=:1:views., delimiter:/ ,django");
        for (key, expected) in [
            ("shop:basket", Some("basket")),
            ("shop:1:user:7", Some("shop:user")),
            (":1:views.decorators.cache.cache_page..GET", Some("pages")),
            ("a/b:c", Some("a")),
            ("a:b", Some("a")),
            ("ab", None),
        ] {
            assert_eq!(name(&rules, key).as_deref(), expected, "{key}");
        }
        let known: Vec<&str> = rules.names().map(Name::as_str).collect();
        assert_eq!(known, ["basket", "pages"]);
    }

    #[test]
    fn a_name_has_64_bytes_at_most() {
        let rules = rules("delimiter:/");
        let of = |part: &str| name(&rules, &format!("{part}/x"));
        assert_eq!(of(&"n".repeat(64)), Some("n".repeat(64)));
        assert_eq!(of(&"n".repeat(65)), None);
        assert_eq!(of(&"%".repeat(21)), Some("%25".repeat(21)));
        assert_eq!(of(&"%".repeat(22)), None);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_could_stand_there() {
        for (text, reason) in [
            ("rails", "django, delimiter:CHAR, NAME=PREFIX or off"),
            ("delimiter:", "one character"),
            ("delimiter:ab", "one character"),
            ("delimiter:,", "one character"),
            ("name=", "no prefix"),
            ("=prefix", "1 to 64"),
            ("a b=prefix", "1 to 64"),
            ("a%=prefix", "1 to 64"),
            ("other=prefix", "other"),
            ("off,django", "leave off"),
        ] {
            let refusal = Rules::parse(&[text.to_owned()]).unwrap_err().to_string();
            assert!(
                refusal.contains(reason) && refusal.contains("--namespaces"),
                "{refusal}"
            );
        }
        assert!(rules("off").is_off() && rules("").is_off() && !rules("django").is_off());
    }

    #[test]
    fn there_are_32_rules_at_most() {
        let many = |count: usize| {
            let rule = |number| format!("name{number}=prefix{number}");
            Rules::parse(&(0..count).map(rule).collect::<Vec<_>>())
        };
        assert!(many(32).is_ok());
        assert!(many(33).unwrap_err().to_string().contains("at most 32"));
    }
}
