//! The suboptions of `-o`: each has memcached's meaning, or none here, or is refused.

use crate::config::{ConfigError, absolute};
use crate::guess::guess;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The flag that takes them.
pub(crate) const FLAG: &str = "extended";

/// What becomes of a suboption.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// It means what it means for memcached.
    Same(fn(&mut Extended, u64)),
    /// So it does, and names a file.
    File(fn(&mut Extended, PathBuf)),
    /// It is checked and has no effect, because of this.
    Note(&'static str),
    /// Nobody should believe that it works, because of this.
    Refused(&'static str),
}

/// What follows the name of a suboption.
#[derive(Clone, Copy, Debug)]
enum Argument {
    /// Nothing.
    None,
    /// A number within these.
    Number(u64, u64),
    /// The same, or nothing.
    NumberOrNone(u64, u64),
    /// A number greater than 0, and not greater than this.
    Fraction(f64),
    /// One of these words, or any if there are none.
    Word(&'static [&'static str]),
}

/// What suboptions have said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extended {
    /// A client that says nothing for so long is disconnected.
    pub idle_timeout: Option<Duration>,
    /// With all connections in use, those who come wait instead of being told.
    pub waits_at_limit: bool,
    /// `stats sizes` counts.
    pub track_sizes: bool,
    /// See [`TlsFiles`](crate::tls::TlsFiles).
    pub ssl_chain_cert: Option<PathBuf>,
    /// The same.
    pub ssl_key: Option<PathBuf>,
    /// The same.
    pub ssl_ca_cert: Option<PathBuf>,
    /// The same.
    pub ssl_verify_mode: u64,
    /// The same.
    pub ssl_min_version: Option<u64>,
}

use Argument::{Fraction, Number, NumberOrNone, Word};
use Verdict::{File, Note, Refused, Same};

const ANY: Argument = Number(0, u64::MAX);
const U32: Argument = Number(0, u32::MAX as u64);
const TEXT: Argument = Word(&[]);

const NO_SLABS: &str = "there are no slabs";
const NO_LRUS: &str = "one policy (S3-FIFO) decides what stays";
const NO_FLASH: &str =
    "there is no flash storage, and a cache without it would be much smaller than you expect";
const NO_PROXY: &str = "there is no proxy: run memcached's, mcrouter or twemproxy in front";
const OWN_CIPHERS: &str = "only those that are safe are there: leave it out";
const OWN_BUFFERS: &str = "buffers have limits of their own";
const OWN_TABLES: &str = "tables grow as they need";

/// Every suboption of memcached 1.6.45.
const SUBOPTIONS: &[(&str, Argument, Verdict)] = &[
    (
        "maxconns_fast",
        Argument::None,
        Same(|to, _| to.waits_at_limit = false),
    ),
    (
        "no_maxconns_fast",
        Argument::None,
        Same(|to, _| to.waits_at_limit = true),
    ),
    (
        "idle_timeout",
        U32,
        Same(|to, seconds| {
            to.idle_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
        }),
    ),
    (
        "track_sizes",
        Argument::None,
        Same(|to, _| to.track_sizes = true),
    ),
    ("modern", Argument::None, Note("these are the defaults")),
    (
        "no_modern",
        Argument::None,
        Note("there is one way to do it"),
    ),
    ("hashpower", Number(12, 32), Note(OWN_TABLES)),
    ("no_hashexpand", Argument::None, Note(OWN_TABLES)),
    (
        "hash_algorithm",
        Word(&["jenkins", "murmur3", "xxh3"]),
        Note("keys are hashed with a seed of the process"),
    ),
    (
        "tail_repair_time",
        Number(10, u32::MAX as u64),
        Note(NO_SLABS),
    ),
    ("slab_reassign", Argument::None, Note(NO_SLABS)),
    ("no_slab_reassign", Argument::None, Note(NO_SLABS)),
    ("slab_automove", NumberOrNone(0, 2), Note(NO_SLABS)),
    ("no_slab_automove", Argument::None, Note(NO_SLABS)),
    ("slab_automove_ratio", Fraction(1.0), Note(NO_SLABS)),
    (
        "slab_automove_window",
        Number(3, u32::MAX as u64),
        Note(NO_SLABS),
    ),
    ("slab_automove_freeratio", TEXT, Refused(NO_FLASH)),
    ("slab_sizes", TEXT, Note(NO_SLABS)),
    ("slab_chunk_max", TEXT, Note(NO_SLABS)),
    ("no_chunked_items", Argument::None, Note(NO_SLABS)),
    ("inline_ascii_resp", Argument::None, Note("it is obsolete")),
    (
        "no_inline_ascii_resp",
        Argument::None,
        Note("it is obsolete"),
    ),
    ("lru_crawler", Argument::None, Note("sweeps are always on")),
    (
        "no_lru_crawler",
        Argument::None,
        Note("sweeps are always on"),
    ),
    (
        "lru_crawler_sleep",
        Number(0, 1_000_000),
        Note("sweeps set their own pace"),
    ),
    (
        "lru_crawler_tocrawl",
        U32,
        Note("sweeps set their own pace"),
    ),
    ("lru_maintainer", Argument::None, Note(NO_LRUS)),
    ("no_lru_maintainer", Argument::None, Note(NO_LRUS)),
    ("hot_lru_pct", Number(1, 79), Note(NO_LRUS)),
    ("warm_lru_pct", Number(1, 79), Note(NO_LRUS)),
    ("hot_max_factor", Fraction(f64::MAX), Note(NO_LRUS)),
    ("warm_max_factor", Fraction(f64::MAX), Note(NO_LRUS)),
    ("temporary_ttl", U32, Note(NO_LRUS)),
    ("read_buf_mem_limit", ANY, Note(OWN_BUFFERS)),
    ("resp_obj_mem_limit", Argument::None, Note(OWN_BUFFERS)),
    ("watcher_logbuf_size", ANY, Note(OWN_BUFFERS)),
    ("worker_logbuf_size", ANY, Note(OWN_BUFFERS)),
    ("sock_cookie_id", U32, Note("sockets carry no cookie")),
    (
        "drop_privileges",
        Argument::None,
        Note("let the unit's SystemCallFilter do it"),
    ),
    (
        "no_drop_privileges",
        Argument::None,
        Note("none are dropped"),
    ),
    (
        "relaxed_privileges",
        Argument::None,
        Note("let the unit's SystemCallFilter do it"),
    ),
    ("ext_path", TEXT, Refused(NO_FLASH)),
    ("ext_page_size", TEXT, Refused(NO_FLASH)),
    ("ext_wbuf_size", TEXT, Refused(NO_FLASH)),
    ("ext_threads", TEXT, Refused(NO_FLASH)),
    ("ext_io_depth", TEXT, Refused(NO_FLASH)),
    ("ext_item_size", TEXT, Refused(NO_FLASH)),
    ("ext_item_age", TEXT, Refused(NO_FLASH)),
    ("ext_low_ttl", TEXT, Refused(NO_FLASH)),
    ("ext_recache_rate", TEXT, Refused(NO_FLASH)),
    ("ext_compact_under", TEXT, Refused(NO_FLASH)),
    ("ext_drop_under", TEXT, Refused(NO_FLASH)),
    ("ext_max_sleep", TEXT, Refused(NO_FLASH)),
    ("ext_max_frag", TEXT, Refused(NO_FLASH)),
    ("ext_drop_unread", Argument::None, Refused(NO_FLASH)),
    ("proxy_config", TEXT, Refused(NO_PROXY)),
    ("proxy_arg", TEXT, Refused(NO_PROXY)),
    ("proxy_uring", Argument::None, Refused(NO_PROXY)),
    ("proxy_memprofile", Argument::None, Refused(NO_PROXY)),
    (
        "ssl_chain_cert",
        TEXT,
        File(|to, path| to.ssl_chain_cert = Some(path)),
    ),
    ("ssl_key", TEXT, File(|to, path| to.ssl_key = Some(path))),
    (
        "ssl_ca_cert",
        TEXT,
        File(|to, path| to.ssl_ca_cert = Some(path)),
    ),
    (
        "ssl_verify_mode",
        Number(0, 3),
        Same(|to, mode| to.ssl_verify_mode = mode),
    ),
    (
        "ssl_min_version",
        Number(0, 3),
        Same(|to, version| to.ssl_min_version = Some(version)),
    ),
    ("ssl_keyformat", Number(1, 1), Note("keys are PEM")),
    ("ssl_ciphers", TEXT, Refused(OWN_CIPHERS)),
    ("ssl_wbuf_size", U32, Note(OWN_BUFFERS)),
    ("ssl_session_cache", Argument::None, Note("it is always on")),
    ("ssl_kernel_tls", Argument::None, Note("the daemon does it")),
];

/// Reads the arguments of all `-o`, and says of which suboptions nobody should expect anything.
///
/// # Errors
/// A suboption that there is not, that is refused, or whose argument is wrong.
pub(crate) fn read(lists: &[String]) -> Result<(Extended, Vec<String>), ConfigError> {
    let mut extended = Extended::default();
    let mut notes = Vec::new();
    let suboptions = lists.iter().flat_map(|list| list.split(','));
    for suboption in suboptions.map(str::trim).filter(|text| !text.is_empty()) {
        let (name, argument) = match suboption.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (suboption, None),
        };
        let found = SUBOPTIONS.iter().find(|(known, _, _)| *known == name);
        let Some((_, expected, verdict)) = found else {
            let guess = guess(name, SUBOPTIONS.iter().map(|(known, _, _)| *known));
            return Err(ConfigError::Value(format!(
                "illegal suboption {name:?} (-o){guess}"
            )));
        };
        let number = expected.check(name, argument)?;
        match verdict {
            Same(set) => set(&mut extended, number),
            File(set) => {
                let path = Path::new(argument.unwrap_or_default());
                set(&mut extended, absolute(path));
            }
            Note(why) => notes.push(format!("-o {name} has no effect: {why}")),
            Refused(why) => return Err(ConfigError::Usage(format!("-o {name}: {why}"))),
        }
    }
    Ok((extended, notes))
}

/// Takes suboptions that there are not out of the arguments of all `-o`, and gives their names.
pub(crate) fn take_unknown(lists: &mut Vec<String>) -> Vec<String> {
    let mut unknown = Vec::new();
    for list in lists {
        let is_known = |suboption: &&str| {
            let name = suboption.split('=').next().unwrap_or_default().trim();
            name.is_empty() || SUBOPTIONS.iter().any(|(known, _, _)| *known == name)
        };
        let (kept, taken): (Vec<&str>, Vec<&str>) = list.split(',').partition(is_known);
        unknown.extend(taken.into_iter().map(str::to_owned));
        *list = kept.join(",");
    }
    unknown
}

impl Argument {
    fn check(self, name: &str, argument: Option<&str>) -> Result<u64, ConfigError> {
        let missing = || ConfigError::Value(format!("missing argument for {name} (-o)"));
        match self {
            Self::None => Ok(0),
            NumberOrNone(least, most) => match argument {
                None | Some("") => Ok(0),
                Some(_) => Number(least, most).check(name, argument),
            },
            Fraction(most) => {
                let text = argument.ok_or_else(missing)?;
                let number = text.trim().parse::<f64>();
                if number.is_ok_and(|number| number > 0.0 && number <= most) {
                    return Ok(0);
                }
                Err(ConfigError::Value(format!(
                    "{name} (-o) must be a number greater than 0, and at most {most}, not {text:?}"
                )))
            }
            Number(least, most) => {
                let text = argument.ok_or_else(missing)?;
                let number = text.trim().parse::<u64>().ok();
                number
                    .filter(|number| (least..=most).contains(number))
                    .ok_or_else(|| {
                        let range = format!("a number from {least} to {most}");
                        ConfigError::Value(format!("{name} (-o) must be {range}, not {text:?}"))
                    })
            }
            Word(allowed) => {
                let word = argument.ok_or_else(missing)?;
                if allowed.is_empty() || allowed.contains(&word) {
                    return Ok(0);
                }
                let allowed = allowed.join(", ");
                Err(ConfigError::Value(format!(
                    "{name} (-o) must be one of {allowed}, not {word:?}"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &str) -> Result<(Extended, Vec<String>), ConfigError> {
        read(&[list.to_owned()])
    }

    #[test]
    fn what_has_a_meaning_is_taken() {
        let (extended, notes) = options("idle_timeout=30,no_maxconns_fast,track_sizes").unwrap();
        assert_eq!(extended.idle_timeout, Some(Duration::from_secs(30)));
        assert!(extended.waits_at_limit && extended.track_sizes && notes.is_empty());
        assert_eq!(options("idle_timeout=0").unwrap().0.idle_timeout, None);
    }

    #[test]
    fn what_has_none_is_said() {
        let (extended, notes) = options("modern,hot_lru_pct=79,,slab_automove=2").unwrap();
        assert_eq!((extended, notes.len()), (Extended::default(), 3));
        // Old unit files.
        let (_, notes) = options("slab_reassign,slab_automove,no_slab_automove").unwrap();
        assert_eq!(notes.len(), 3);
        let (_, notes) = options("slab_automove_ratio=1,hot_max_factor=0.2").unwrap();
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn what_is_unknown_can_be_taken_out() {
        let mut lists = vec![
            "modern,new_one=5, idle_timeout=3".to_owned(),
            "other".into(),
        ];
        assert_eq!(take_unknown(&mut lists), ["new_one=5", "other"]);
        assert_eq!(lists, ["modern, idle_timeout=3", ""]);
        assert_eq!(read(&lists).unwrap().1.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for list in [
            "nonsense",
            "idle_timeout",
            "idle_timeout=x",
            "hot_lru_pct=80",
            "hash_algorithm=md5",
            "slab_automove=3",
            "slab_automove_ratio=0",
            "slab_automove_ratio=1.1",
            "slab_automove_ratio=NaN",
            "hot_max_factor",
            "warm_max_factor=x",
        ] {
            assert!(
                matches!(options(list), Err(ConfigError::Value(_))),
                "{list}"
            );
        }
        for list in ["ext_path=/tmp/x:1m", "proxy_config=x", "ssl_ciphers=x"] {
            assert!(
                matches!(options(list), Err(ConfigError::Usage(_))),
                "{list}"
            );
        }
    }
}
