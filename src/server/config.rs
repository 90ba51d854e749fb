//! [`Config`]: the flags as checked. All defaults that a flag's help cannot state are here.

use crate::address::{self, Listen};
use crate::admin::{self, AdminAddress};
use crate::cluster::ClusterSource;
use crate::flags::Flags;
use crate::given::Setting;
use crate::insight::Rules;
use crate::options::{self, Extended};
use crate::snapshot::{self, SnapshotFile};
use crate::tls::TlsFiles;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

/// Requests of one connection before others have their turn. memcached's 20 cost it half of its
/// pipelined throughput; an innocent neighbour does not notice 1,000.
const REQUESTS_PER_TURN: u32 = 1000;

/// Shorter values never become smaller by an eighth, so a threshold below this is a mistake.
const COMPRESS_LEN_MIN: usize = 64;

/// Between the prefix of a key and the rest of it.
pub(crate) const PREFIX_DELIMITER: u8 = b':';

const ITEM_LEN_MIN: u64 = 1024;
const ITEM_LEN_MAX: u64 = 1024 * 1024 * 1024;

/// What a connection needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Requests of one connection before others have their turn.
    pub requests_per_turn: NonZeroU32,
    /// Clients that may be connected at the same time.
    pub connections_max: usize,
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// Whether items die at their exptime.
    pub expiry: bool,
    /// Whether cas uniques are told and compared.
    pub cas: bool,
    /// Whether clients may do these.
    pub allowed: Allowed,
    /// What suboptions have said.
    pub extended: Extended,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "they are permissions")]
pub struct Allowed {
    /// `flush_all`.
    pub flush: bool,
    /// Lists of keys.
    pub dump: bool,
    /// `watch`.
    pub watch: bool,
    /// `shutdown`.
    pub shutdown: bool,
    /// `stats hotkeys`, and whatever else tells keys that are used.
    pub show_keys: bool,
}

/// How to run a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct Config {
    /// What a connection needs to know.
    pub settings: Settings,
    /// Where to listen.
    pub listen: Listen,
    /// Where metrics and health are told, if they are.
    pub admin: Option<AdminAddress>,
    /// The addresses as they were given.
    pub interfaces: Option<String>,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// Bytes of items.
    pub memory_limit_bytes: u64,
    /// Bytes of one item, as memcached counts them.
    pub item_len_max: u64,
    /// Whether live items go when there is no room.
    pub evict: bool,
    /// Values from so many bytes up are compressed.
    pub compress_len_min: Option<usize>,
    /// 0 to 2.
    pub verbosity: u8,
    /// Run in the background.
    pub daemon: bool,
    /// Where to write the process id.
    pub pidfile: Option<PathBuf>,
    /// Whom to become, if root.
    pub user: Option<String>,
    /// What is between the prefix of a key and the rest of it, if requests are to be counted by prefixes.
    pub prefix_delimiter: Option<u8>,
    /// What keys are divided into.
    pub namespaces: Rules,
    /// What was said of the protocol: `auto` or `ascii`.
    pub protocol: String,
    /// Where the nodes are known from that clients are told of, if they are.
    pub cluster: Option<ClusterSource>,
    /// Leave a core when it crashes.
    pub core_dumps: bool,
    /// Keep memory from being swapped out.
    pub lock_memory: bool,
    /// Whether clients may move the clock.
    pub debug_time: bool,
    /// Who may use the daemon, if not everybody.
    pub auth_file: Option<PathBuf>,
    /// How connections are secured, if they are.
    pub tls: Option<TlsFiles>,
    /// Where everything is kept over a restart.
    pub snapshot: Option<SnapshotFile>,
    /// Flags that have no effect, and why.
    pub notes: Vec<String>,
    /// What was given for each flag, and where; empty if nobody knows.
    pub origins: Vec<Setting>,
}

/// Why flags cannot be followed; the exit codes are memcached's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that makes no sense by itself: exit code 1.
    #[error("{0}")]
    Value(String),
    /// Values that do not go together, or are not supported: exit code 64.
    #[error("{0}")]
    Usage(String),
    /// A name that does not resolve: exit code 71.
    #[error("{0}")]
    Address(String),
}

impl Config {
    /// Checks the flags.
    ///
    /// # Errors
    /// [`ConfigError`] says which flag to change.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigError> {
        if flags.udp_port != 0 {
            return Err(ConfigError::Usage(
                "there is no UDP: leave -U out, or say -U 0".into(),
            ));
        }
        check_protocol(flags)?;
        let (extended, mut notes) = options::read(&flags.extended)?;
        notes.extend(without_effect(flags)?);
        let tls = if flags.enable_ssl {
            Some(TlsFiles::from_options(&extended).map_err(ConfigError::Usage)?)
        } else {
            None
        };
        let memory_limit_bytes = u64::from(flags.memory_limit) << 20;
        let threads = match flags.threads {
            Some(threads) => positive(threads, "number of threads (-t)")?,
            None => available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        let requests_per_turn = match flags.max_reqs_per_event {
            Some(requests) => positive(requests, "number of requests per event (-R)")?,
            None => NonZeroUsize::MIN.saturating_add(REQUESTS_PER_TURN as usize - 1),
        };
        Ok(Self {
            settings: Settings {
                requests_per_turn: requests_per_turn.try_into().unwrap_or(NonZeroU32::MAX),
                connections_max: positive(flags.conn_limit, "maximum of connections (-c)")?.get(),
                threads,
                expiry: !flags.no_expiry,
                cas: !flags.disable_cas,
                allowed: Allowed {
                    flush: !flags.disable_flush_all,
                    dump: !flags.disable_dumping,
                    watch: !flags.disable_watch,
                    shutdown: flags.enable_shutdown,
                    show_keys: flags.show_keys,
                },
                extended,
            },
            listen: address::listen(flags, tls.as_ref())?,
            admin: admin::address(flags.admin.as_deref())?,
            interfaces: (!flags.listen.is_empty()).then(|| flags.listen.join(",")),
            backlog: flags.listen_backlog,
            memory_limit_bytes,
            item_len_max: item_len_max(&flags.max_item_size, memory_limit_bytes)?,
            evict: !flags.disable_evictions,
            compress_len_min: compress_len_min(flags.compress_min)?,
            verbosity: flags.verbose,
            daemon: flags.daemon,
            pidfile: flags.pidfile.as_deref().map(absolute),
            user: flags.user.clone(),
            prefix_delimiter: flags
                .prefix_delimiter
                .as_ref()
                .and_then(|text| text.bytes().next()),
            namespaces: Rules::parse(&flags.namespaces)?,
            protocol: flags.protocol.clone(),
            cluster: ClusterSource::from_flags(flags)?,
            core_dumps: flags.enable_coredumps,
            lock_memory: flags.lock_memory,
            debug_time: flags.enable_debugtime,
            auth_file: flags.auth_file.as_deref().map(absolute),
            tls,
            snapshot: snapshot(flags)?,
            notes,
            origins: Vec::new(),
        })
    }
}

fn check_protocol(flags: &Flags) -> Result<(), ConfigError> {
    let refused = |text: &str| Err(ConfigError::Usage(text.to_owned()));
    if flags.enable_sasl {
        return refused("there are no SASL logins (-S): they need the binary protocol");
    }
    match flags.protocol.as_str() {
        "auto" | "ascii" => Ok(()),
        "binary" => refused(
            "there is no binary protocol (-B): let pylibmc have binary=False, \
             Dalli protocol: :meta, spymemcached Protocol.TEXT",
        ),
        other => refused(&format!(
            "no protocol (-B) is called {other:?}: auto or ascii"
        )),
    }
}

/// Says of each flag that is there for memcached's sake alone why it has no effect.
fn without_effect(flags: &Flags) -> Result<Vec<String>, ConfigError> {
    let mut notes = Vec::new();
    for (flag, value, least, what) in [
        ("-f", &flags.slab_growth_factor, 1.0, "growth factor"),
        ("-n", &flags.slab_min_size, 0.0, "chunk size"),
        ("-N", &flags.napi_ids, 0.0, "number of NAPI IDs"),
    ] {
        let Some(value) = value else { continue };
        if !value
            .trim()
            .parse::<f64>()
            .is_ok_and(|number| number > least)
        {
            let message = format!("the {what} ({flag}) must be greater than {least}");
            return Err(ConfigError::Value(message));
        }
        notes.push(format!("{flag} has no effect: there is nothing to set"));
    }
    if flags.enable_largepages {
        notes.push("-L has no effect: the allocator decides about pages".to_owned());
    }
    Ok(notes)
}

fn snapshot(flags: &Flags) -> Result<Option<SnapshotFile>, ConfigError> {
    let max_age = Duration::from_secs(flags.restore_max_age.into());
    let path = match (&flags.memory_file, &flags.snapshot) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::Usage(
                "there can be one snapshot: give either -e or --snapshot".into(),
            ));
        }
        (Some(file), None) => absolute(file),
        (None, Some(folder)) => absolute(folder).join(snapshot::FILE_NAME),
        (None, None) => return Ok(None),
    };
    Ok(Some(SnapshotFile {
        path,
        max_age: (!max_age.is_zero()).then_some(max_age),
    }))
}

/// The background has another current folder.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn positive(number: i32, what: &str) -> Result<NonZeroUsize, ConfigError> {
    usize::try_from(number)
        .ok()
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| ConfigError::Value(format!("the {what} must be greater than 0")))
}

fn compress_len_min(bytes: u32) -> Result<Option<usize>, ConfigError> {
    match usize::try_from(bytes).unwrap_or(usize::MAX) {
        0 => Ok(None),
        len if len < COMPRESS_LEN_MIN => Err(ConfigError::Usage(format!(
            "values of {len} bytes (--compress-min) are too short to be compressed: \
             at least {COMPRESS_LEN_MIN}, or 0 for none"
        ))),
        len => Ok(Some(len)),
    }
}

fn item_len_max(text: &str, memory_limit_bytes: u64) -> Result<u64, ConfigError> {
    let text = text.trim();
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1 << 20),
            None => (text, 1),
        },
    };
    let len = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| ConfigError::Value(format!("the item size (-I) is no size: {text:?}")))?;
    let half = memory_limit_bytes / 2;
    if len < ITEM_LEN_MIN {
        Err(ConfigError::Usage(format!(
            "the item size (-I) of {len} bytes is below {ITEM_LEN_MIN}"
        )))
    } else if len > half {
        Err(ConfigError::Usage(format!(
            "the item size (-I) of {len} bytes is above half of the memory (-m), {half} bytes"
        )))
    } else if len > ITEM_LEN_MAX {
        Err(ConfigError::Usage(format!(
            "the item size (-I) of {len} bytes is above a gigabyte"
        )))
    } else {
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
        let arguments = ["nuthatch"].iter().chain(arguments);
        Config::from_flags(&Flags::try_parse_from(arguments).unwrap())
    }

    #[test]
    fn the_defaults_are_memcacheds() {
        let config = config(&[]).unwrap();
        assert_eq!(config.memory_limit_bytes, 64 << 20);
        assert_eq!(config.item_len_max, 1 << 20);
        assert_eq!(config.settings.connections_max, 1024);
        assert_eq!(config.backlog, 1024);
    }

    #[test]
    fn numbers_may_have_a_leading_blank_and_the_last_one_counts() {
        assert_eq!(
            config(&["-m", " 100", "-m", " 128"])
                .unwrap()
                .memory_limit_bytes,
            128 << 20
        );
        assert_eq!(config(&["-m1024", "-I 2m"]).unwrap().item_len_max, 2 << 20);
        assert_eq!(config(&["-vv"]).unwrap().verbosity, 2);
    }

    #[test]
    fn sizes_are_checked_at_their_limits() {
        assert_eq!(config(&["-I", "1024"]).unwrap().item_len_max, 1024);
        assert!(matches!(
            config(&["-I", "1023"]),
            Err(ConfigError::Usage(_))
        ));
        assert_eq!(
            config(&["-m", "2", "-I", "1m"]).unwrap().item_len_max,
            1 << 20
        );
        assert!(matches!(
            config(&["-m", "2", "-I", "1048577"]),
            Err(ConfigError::Usage(_))
        ));
        assert_eq!(
            config(&["-m", "4096", "-I", "1024m"]).unwrap().item_len_max,
            1 << 30
        );
        assert!(matches!(
            config(&["-m", "4096", "-I", "1025m"]),
            Err(ConfigError::Usage(_))
        ));
        assert!(matches!(config(&["-I", "x"]), Err(ConfigError::Value(_))));
    }

    #[test]
    fn a_threshold_of_compression_is_checked_at_its_limit() {
        let len_min = |text| config(&["--compress-min", text]).map(|c| c.compress_len_min);
        assert_eq!(len_min("0").unwrap(), None);
        assert_eq!(len_min("64").unwrap(), Some(64));
        assert!(matches!(len_min("63"), Err(ConfigError::Usage(_))));
    }

    #[test]
    fn zero_and_negative_counts_are_refused() {
        for flags in [
            ["-c", "0"],
            ["-c", "-1"],
            ["-t", "0"],
            ["-R", "0"],
            ["-p", "65536"],
        ] {
            assert!(
                matches!(config(&flags), Err(ConfigError::Value(_))),
                "{flags:?}"
            );
        }
        assert!(matches!(
            config(&["-U", "11211"]),
            Err(ConfigError::Usage(_))
        ));
    }
}
