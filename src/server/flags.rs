//! [`Flags`]: the command line as typed. What it means is [`Config`](crate::config::Config)'s business.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Parser};
use std::num::ParseIntError;
use std::path::PathBuf;

/// A cache daemon that any memcached client can talk to, over the classic text protocol and the meta protocol
#[derive(Clone, Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
#[command(
    name = "nuthatch",
    version = concat!(env!("CARGO_PKG_VERSION"), " (memcached 1.6.45)"),
    disable_version_flag = true,
    args_override_self = true,
    infer_long_args = true,
    after_help = "Each long flag may also come from the environment, as NUTHATCH_MEMORY_LIMIT for --memory-limit, or \
        from the configuration file, as memory-limit = 64.",
    allow_negative_numbers = true
)]
pub struct Flags {
    /// TCP port; 0 is none, -1 is any free one
    #[arg(short = 'p', long = "port", value_name = "NUM", default_value = "11211", value_parser = number::<i32>)]
    pub port: i32,

    /// UDP port; only 0, which is none: there is no UDP
    #[arg(short = 'U', long = "udp-port", value_name = "NUM", default_value = "0", value_parser = number::<i32>)]
    pub udp_port: i32,

    /// ADDR, ADDR:PORT or `[IPV6]:PORT` to listen on, several by commas or repeats [default: all]
    #[arg(short = 'l', long = "listen", value_name = "ADDR", action = ArgAction::Append)]
    pub listen: Vec<String>,

    /// Unix socket to listen on instead of TCP
    #[arg(short = 's', long = "unix-socket", value_name = "FILE")]
    pub unix_socket: Option<PathBuf>,

    /// Access mask of the Unix socket, in octal
    #[arg(
        short = 'a',
        long = "unix-mask",
        value_name = "MASK",
        default_value = "700"
    )]
    pub unix_mask: String,

    /// Memory for items, in megabytes
    #[arg(short = 'm', long = "memory-limit", value_name = "NUM", default_value = "64", value_parser = megabytes)]
    pub memory_limit: u32,

    /// Keep everything over a restart in this file; its format is not memcached's
    #[arg(short = 'e', long = "memory-file", value_name = "FILE")]
    pub memory_file: Option<PathBuf>,

    /// The same, in a file in this folder
    #[arg(long = "snapshot", value_name = "DIR")]
    pub snapshot: Option<PathBuf>,

    /// Do not restore what was saved longer ago than so many seconds; 0 is no limit
    #[arg(long = "restore-max-age", value_name = "NUM", default_value = "300", value_parser = number::<u32>)]
    pub restore_max_age: u32,

    /// Refuse to store when there is no room, instead of evicting
    #[arg(short = 'M', long = "disable-evictions")]
    pub disable_evictions: bool,

    /// Refuse what needs cas uniques; all of them read 0
    #[arg(short = 'C', long = "disable-cas")]
    pub disable_cas: bool,

    /// Refuse `flush_all`
    #[arg(short = 'F', long = "disable-flush-all", help = "Refuse flush_all")]
    pub disable_flush_all: bool,

    /// Refuse to list keys: cachedump, metadump, mgdump, stats detail
    #[arg(short = 'X', long = "disable-dumping")]
    pub disable_dumping: bool,

    /// Refuse watch
    #[arg(short = 'W', long = "disable-watch")]
    pub disable_watch: bool,

    /// Obey shutdown
    #[arg(short = 'A', long = "enable-shutdown")]
    pub enable_shutdown: bool,

    /// Obey debugtime, which moves the clock: for tests
    #[arg(long = "enable-debugtime", hide = true)]
    pub enable_debugtime: bool,

    /// Compress values from so many bytes up, if that saves an eighth of them; 0 is none
    #[arg(long = "compress-min", value_name = "NUM", default_value = "0", value_parser = number::<u32>)]
    pub compress_min: u32,

    /// Ignore exptimes: everything lives until it is deleted, flushed or evicted
    #[arg(long = "no-expiry")]
    pub no_expiry: bool,

    /// Nodes that clients are told of when they ask for the cluster, as HOST|IP|PORT by commas
    #[arg(long = "cluster-nodes", value_name = "LIST", action = ArgAction::Append)]
    pub cluster_nodes: Vec<String>,

    /// HOST:PORT whose addresses are these nodes, looked up every 10 seconds
    #[arg(long = "cluster-dns", value_name = "NAME")]
    pub cluster_dns: Option<String>,

    /// Most connections at the same time
    #[arg(short = 'c', long = "conn-limit", value_name = "NUM", default_value = "1024", value_parser = number::<i32>)]
    pub conn_limit: i32,

    /// Worker threads [default: as many as cores]
    #[arg(short = 't', long = "threads", value_name = "NUM", value_parser = number::<i32>)]
    pub threads: Option<i32>,

    /// Largest item, in bytes or with k or m: 1k to 1024m, at most half of the memory
    #[arg(
        short = 'I',
        long = "max-item-size",
        value_name = "NUM",
        default_value = "1m"
    )]
    pub max_item_size: String,

    /// Requests of one connection before others have their turn [default: 1000]
    #[arg(short = 'R', long = "max-reqs-per-event", value_name = "NUM", value_parser = number::<i32>)]
    pub max_reqs_per_event: Option<i32>,

    /// Connections that may wait to be accepted
    #[arg(short = 'b', long = "listen-backlog", value_name = "NUM", default_value = "1024", value_parser = number::<i32>)]
    pub listen_backlog: i32,

    /// Count requests by the prefix of their key, up to this character; see `stats detail`
    #[arg(
        short = 'D',
        long = "stats-prefix",
        value_name = "CHAR",
        value_parser = NonEmptyStringValueParser::new(),
        help = "Count requests by the prefix of their key, up to this character (stats detail)"
    )]
    pub prefix_delimiter: Option<String>,

    /// Tell apart and flush keys by what they begin with: rules by commas, the first that fits. They are django (what is
    /// behind its prefix and version; fits most other keys too), delimiter:CHAR, NAME=PREFIX; or off
    #[arg(
        long = "namespaces",
        value_name = "RULES",
        action = ArgAction::Append,
        default_value = "django",
        help = "Tell keys apart by what they begin with; rules by commas, the first that fits: django (what is behind its prefix and version, up to : or .), delimiter:CHAR, NAME=PREFIX; or off"
    )]
    pub namespaces: Vec<String>,

    /// Tell the keys that are used most to everybody who asks for statistics
    #[arg(long = "show-keys")]
    pub show_keys: bool,

    /// Protocol: ascii, or auto, which is the same; there is no binary protocol
    #[arg(
        short = 'B',
        long = "protocol",
        value_name = "NAME",
        default_value = "auto"
    )]
    pub protocol: String,

    /// Where metrics and health are told over HTTP, or none [default: 127.0.0.1:9150, if that is free]
    #[arg(long = "admin", value_name = "ADDR:PORT")]
    pub admin: Option<String>,

    /// Let in only who logs in with a line `user:password` of this file; read again at SIGHUP
    #[arg(short = 'Y', long = "auth-file", value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// TLS on all TCP sockets but those of `-l notls:ADDR`; see the suboptions
    #[arg(
        short = 'Z',
        long = "enable-ssl",
        help = "TLS on all TCP sockets but those of -l notls:ADDR; see -o ssl_chain_cert"
    )]
    pub enable_ssl: bool,

    /// SASL logins; there are none, and it is refused
    #[arg(short = 'S', long = "enable-sasl", hide = true)]
    pub enable_sasl: bool,

    /// Growth of slabs; no effect: there are none
    #[arg(
        short = 'f',
        long = "slab-growth-factor",
        value_name = "NUM",
        hide = true
    )]
    pub slab_growth_factor: Option<String>,

    /// Least room for an item; no effect: there are no slabs
    #[arg(short = 'n', long = "slab-min-size", value_name = "NUM", hide = true)]
    pub slab_min_size: Option<String>,

    /// Steering of network queues; no effect
    #[arg(short = 'N', long = "napi-ids", value_name = "NUM", hide = true)]
    pub napi_ids: Option<String>,

    /// Large memory pages; no effect
    #[arg(short = 'L', long = "enable-largepages", hide = true)]
    pub enable_largepages: bool,

    /// Leave a core when it crashes, however large
    #[arg(short = 'r', long = "enable-coredumps")]
    pub enable_coredumps: bool,

    /// Keep all memory from being swapped out
    #[arg(short = 'k', long = "lock-memory")]
    pub lock_memory: bool,

    /// Suboptions, by commas.
    #[arg(
        short = 'o',
        long = "extended",
        value_name = "LIST",
        action = ArgAction::Append,
        help = "Suboptions by commas: idle_timeout=SECONDS, no_maxconns_fast, track_sizes; ssl_chain_cert=FILE, ssl_key=FILE, ssl_ca_cert=FILE, ssl_verify_mode=0-3, ssl_min_version=2-3 (-Z); and others of memcached, without effect"
    )]
    pub extended: Vec<String>,

    /// Read flags from this file, in TOML: memory-limit = 64 for --memory-limit
    #[arg(long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the licence
    #[arg(short = 'i', long = "license")]
    pub license: bool,

    /// Words that are no flags are skipped
    #[arg(hide = true)]
    pub words: Vec<String>,

    /// Log more: -v connections, -vv requests with their keys
    #[arg(short = 'v', long = "verbose", action = ArgAction::Count)]
    pub verbose: u8,

    /// Run in the background
    #[arg(short = 'd', long = "daemon")]
    pub daemon: bool,

    /// Write the process id to this file
    #[arg(short = 'P', long = "pidfile", value_name = "FILE")]
    pub pidfile: Option<PathBuf>,

    /// Become this user; only, and always, needed by root
    #[arg(short = 'u', long = "user", value_name = "USER")]
    pub user: Option<String>,

    /// Print the version
    #[arg(short = 'V', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
}

/// People and unit files write `-m " 1024"`; memcached skips the blank.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

/// Compose files write `-m 64m`, of which memcached reads the digits.
fn megabytes(text: &str) -> Result<u32, ParseIntError> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.strip_suffix("mb").or_else(|| text.strip_suffix('m'));
    number(digits.unwrap_or(&text))
}
