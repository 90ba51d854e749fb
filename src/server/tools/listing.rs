//! [`Listing`]: the keys of all items of a server, as it lists them.

use super::connection::Connection;
use super::error::ToolError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuthatch_protocol::Tokens;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};
use std::time::Duration;
use tempfile::SpooledTempFile;

/// How often, and how many times, a server is asked again whose crawler does something else.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_TRIES_MAX: usize = 300;

/// Bytes of a list that are kept in memory: some hundred thousand items. A longer one is in a temporary file.
const MEMORY_LEN_MAX: usize = 16 << 20;

/// One item of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: Vec<u8>,
    /// Whether the list says that the key travels in base64.
    pub(crate) is_encoded: bool,
    /// The Unix time at which it dies, if the list says so.
    pub(crate) expiry: Option<u64>,
}

/// What a list looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `mgdump`: a request for each item.
    Requests,
    /// `metadump`: facts of each item.
    Facts,
}

/// The ways to have a list, the best one first. By the hash table, since lists by LRU miss what moves. memcached may
/// list nothing by the hash table while that grows; releases up to 1.6.18 do not know `mgdump`, others no `hash`.
const WAYS: [(&str, Format); 3] = [
    ("mgdump hash", Format::Requests),
    ("metadump hash", Format::Facts),
    ("metadump all", Format::Facts),
];

/// A list, received whole before the first item is used: a server may not have to wait for who reads it. memcached
/// 1.6.18 holds a lock meanwhile, and others who need that wait too.
pub(crate) struct Listing {
    lines: BufReader<SpooledTempFile>,
    line: Vec<u8>,
    format: Format,
    item_count: u64,
    unreadable: u64,
}

impl Listing {
    /// Has the server list its items. One without meta commands must tell in the list when they die.
    pub(crate) fn receive(
        mut connection: Connection,
        has_meta: bool,
        pause: impl Fn(Duration),
    ) -> Result<Self, ToolError> {
        let mut empty = None;
        for (way, format) in WAYS {
            let is_enough = has_meta || format == Format::Facts;
            if !is_enough || !ask(&mut connection, way, &pause)? {
                continue;
            }
            let listing = Self::rest(&mut connection, format)?;
            if listing.item_count > 0 {
                return Ok(listing);
            }
            empty = Some(listing);
        }
        empty.ok_or_else(|| {
            connection.wrong("it cannot list its keys; memcached can from 1.4.31 on")
        })
    }

    /// Receives a list whose first line has been read.
    fn rest(connection: &mut Connection, format: Format) -> Result<Self, ToolError> {
        let mut spool = BufWriter::new(SpooledTempFile::new(MEMORY_LEN_MAX));
        let mut item_count = 0u64;
        let mut line = connection.same_line();
        while line != format.end() {
            if line.starts_with(format.item()) {
                item_count = item_count.saturating_add(1);
                spool.write_all(line).map_err(not_kept)?;
                spool.write_all(b"\n").map_err(not_kept)?;
            } else if line != b"OK" {
                return Err(connection.out_of_step());
            }
            line = connection.line()?;
        }
        let spool = spool.into_inner().map_err(io::IntoInnerError::into_error);
        let mut spool = spool.map_err(not_kept)?;
        spool.rewind().map_err(not_kept)?;
        Ok(Self {
            lines: BufReader::new(spool),
            line: Vec::new(),
            format,
            item_count,
            unreadable: 0,
        })
    }

    /// How many items there are.
    pub(crate) const fn item_count(&self) -> u64 {
        self.item_count
    }

    /// How many items of those that were passed have no key that could be read.
    pub(crate) const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next item; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Listed>, ToolError> {
        loop {
            self.line.clear();
            let read = self.lines.read_until(b'\n', &mut self.line);
            if read.map_err(not_kept)? == 0 {
                return Ok(None);
            }
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let listed = match self.format {
                Format::Requests => of_request(line),
                Format::Facts => of_facts(line),
            };
            if listed.is_some() {
                return Ok(listed);
            }
            self.unreadable = self.unreadable.saturating_add(1);
        }
    }
}

fn not_kept(error: io::Error) -> ToolError {
    ToolError::File {
        doing: "keep the list of keys; TMPDIR may name another folder for it",
        error,
    }
}

/// Asks for a list, again while the crawler is busy; returns whether there is one of this kind.
fn ask(
    connection: &mut Connection,
    way: &str,
    pause: &impl Fn(Duration),
) -> Result<bool, ToolError> {
    let command = ["lru_crawler ", way, "\r\n"].concat();
    for _ in 0..BUSY_TRIES_MAX {
        connection.out.extend_from_slice(command.as_bytes());
        connection.send()?;
        let line = connection.line()?;
        let says = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
        if line.starts_with(b"BUSY") {
            pause(BUSY_PAUSE);
        } else if says(b"disabled") {
            return Err(connection.wrong("send it `lru_crawler enable`"));
        } else if says(b"not allowed") {
            return Err(connection.wrong("it was started with -X, which forbids to list keys"));
        } else {
            let is_item = |format: Format| line.starts_with(format.item());
            let is_end = |format: Format| line == format.end();
            let is_list = |format| is_item(format) || is_end(format);
            return Ok(line == b"OK" || is_list(Format::Requests) || is_list(Format::Facts));
        }
    }
    Err(connection.wrong("its crawler is at work: try again later"))
}

impl Format {
    /// What the line of an item begins with.
    const fn item(self) -> &'static [u8] {
        match self {
            Self::Requests => b"mg ",
            Self::Facts => b"key=",
        }
    }

    /// The line behind the last item.
    const fn end(self) -> &'static [u8] {
        match self {
            Self::Requests => b"EN",
            Self::Facts => b"END",
        }
    }
}

/// `mg key`, or `mg base64 b`.
fn of_request(line: &[u8]) -> Option<Listed> {
    let tokens: Vec<&[u8]> = Tokens::new(line).collect();
    let (key, is_encoded) = match *tokens {
        [b"mg", key] => (key.to_vec(), false),
        [b"mg", key, b"b"] => (STANDARD.decode(key).ok()?, true),
        // A key with spaces in it, of the binary protocol.
        _ => return None,
    };
    Some(Listed {
        key,
        is_encoded,
        expiry: None,
    })
}

/// `key=percent-encoded exp=-1|unixtime ...`.
fn of_facts(line: &[u8]) -> Option<Listed> {
    let fact = |name: &[u8]| Tokens::new(line).find_map(|token| token.strip_prefix(name));
    let key = percent_decoded(fact(b"key=")?)?;
    let expiry = match fact(b"exp=")? {
        b"-1" => None,
        digits => Some(std::str::from_utf8(digits).ok()?.parse().ok()?),
    };
    Some(Listed {
        key,
        is_encoded: false,
        expiry,
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = text.iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        if byte == b'%' {
            let digits = [*bytes.next()?, *bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    (!decoded.is_empty()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::connection::{ANSWER_PATIENCE, scripted};
    use crate::tools::credentials::Credentials;

    #[test]
    fn a_line_of_mgdump_names_a_key() {
        let listed = |line: &[u8]| of_request(line).map(|listed| (listed.key, listed.is_encoded));
        assert_eq!(listed(b"mg k:1"), Some((b"k:1".to_vec(), false)));
        assert_eq!(listed(b"mg YSBi b"), Some((b"a b".to_vec(), true)));
        for line in [&b"mg"[..], b"mg a b c", b"mg !! b", b"mg YSBi v"] {
            assert_eq!(listed(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_line_of_metadump_names_a_key_and_its_end() {
        let listed = |line: &[u8]| of_facts(line).map(|listed| (listed.key, listed.expiry));
        assert_eq!(
            listed(b"key=a%20%0A%ff exp=-1 la=1 "),
            Some((b"a \n\xff".to_vec(), None))
        );
        assert_eq!(
            listed(b"key=a exp=1795286286"),
            Some((b"a".to_vec(), Some(1_795_286_286)))
        );
        for line in [
            &b"key= exp=1"[..],
            b"key=a",
            b"key=%2 exp=-1",
            b"key=%zz exp=-1",
        ] {
            assert_eq!(listed(line), None, "{}", line.escape_ascii());
        }
    }

    const MGDUMP: &str = "lru_crawler mgdump hash\r\n";
    const BY_HASH: &str = "lru_crawler metadump hash\r\n";
    const ALL: &str = "lru_crawler metadump all\r\n";
    const ONE: &str = "key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=1\nEND\r\n";
    const UNKNOWN: &str = "ERROR\r\n";

    /// The keys of a server that answers these in turn, and how many could not be read.
    fn listed(
        script: &[(&'static str, &str)],
        has_meta: bool,
    ) -> Result<(Vec<String>, u64), ToolError> {
        let script = script.iter();
        let script = script.map(|(request, answer)| (*request, (*answer).into()));
        let (address, server) = scripted::serve(script.collect());
        let mut listing = Listing::receive(
            Connection::open(&address, &Credentials::default(), ANSWER_PATIENCE)?,
            has_meta,
            |_| (),
        )?;
        server.join().unwrap();
        let mut keys = Vec::new();
        while let Some(listed) = listing.next()? {
            keys.push(String::from_utf8(listed.key).unwrap());
        }
        let count = u64::try_from(keys.len()).unwrap() + listing.unreadable();
        assert_eq!(listing.item_count(), count);
        Ok((keys, listing.unreadable()))
    }

    #[test]
    fn the_best_list_is_taken_that_a_server_has() {
        for (script, has_meta) in [
            (&[(MGDUMP, "OK\r\nmg a\r\nEN\r\n")][..], true),
            (&[(MGDUMP, UNKNOWN), (BY_HASH, ONE)], true),
            (&[(BY_HASH, ONE)], false),
            (&[(BY_HASH, "BADCLASS no\r\n"), (ALL, ONE)], false),
            // While the hash table grows, nothing is listed by it.
            (
                &[(MGDUMP, "OK\r\nEN\r\n"), (BY_HASH, "END\r\n"), (ALL, ONE)],
                true,
            ),
        ] {
            let found = listed(script, has_meta).unwrap();
            assert_eq!(found, (vec!["a".to_owned()], 0), "{script:?}");
        }
        let empty = [(BY_HASH, "OK\r\nEND\r\n"), (ALL, "OK\r\nEND\r\n")];
        assert_eq!(listed(&empty, false).unwrap(), (vec![], 0));
        let none = listed(&[(BY_HASH, UNKNOWN), (ALL, UNKNOWN)], false);
        let error = none.unwrap_err().to_string();
        assert!(error.contains("cannot list its keys"), "{error}");
    }

    #[test]
    fn lines_without_a_key_are_counted() {
        let script = [(MGDUMP, "OK\r\nmg a b c\r\nmg d\r\nmg \r\nEN\r\n")];
        assert_eq!(listed(&script, true).unwrap(), (vec!["d".to_owned()], 2));
    }

    #[test]
    fn a_busy_crawler_is_waited_for_but_not_for_ever() {
        let busy = (ALL, "BUSY currently processing crawler request\r\n");
        let script = |times: usize| {
            let mut script = vec![(BY_HASH, UNKNOWN)];
            script.extend(vec![busy; times]);
            script
        };
        let found = [script(BUSY_TRIES_MAX - 1), vec![(ALL, ONE)]].concat();
        assert_eq!(listed(&found, false).unwrap().0, ["a"]);
        let error = listed(&script(BUSY_TRIES_MAX), false).unwrap_err();
        assert!(error.to_string().contains("try again later"));
    }

    #[test]
    fn a_list_that_is_none_is_an_error() {
        let strange = [(BY_HASH, "key=a exp=-1 la=1\nBUSY\r\n")];
        let error = listed(&strange, false).unwrap_err();
        assert!(error.to_string().contains("is it a memcached?"));
        let cut = listed(&[(BY_HASH, "key=a exp=-1 la=1\n")], false);
        assert!(matches!(cut, Err(ToolError::Lost { .. })));
    }

    #[test]
    fn a_list_may_be_longer_than_what_is_kept_in_memory() {
        let line = format!("mg {:0>250}\r\n", 1);
        for count in [MEMORY_LEN_MAX / 254, MEMORY_LEN_MAX / 254 + 1] {
            let answer = format!("OK\r\n{}EN\r\n", line.repeat(count));
            let (keys, _) = listed(&[(MGDUMP, &answer)], true).unwrap();
            assert_eq!(keys.len(), count);
            assert!(keys.iter().all(|key| key.len() == 250));
        }
    }
}
