//! The nodes of a cluster, of which a client is told that asks one for all, as it asks ElastiCache.

use crate::clock::Clock;
use crate::config::ConfigError;
use crate::flags::Flags;
use nuthatch_protocol::{Key, Retrieve};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The item under which clients of memcached before 1.4.14 look.
const CLUSTER_KEY: &[u8] = b"AmazonElastiCache:cluster";

/// How the line before its value begins.
pub(crate) const CLUSTER_HEAD: &[u8] = b"VALUE AmazonElastiCache:cluster";

/// What `config get` is asked for.
pub(crate) const CLUSTER_NAME: &[u8] = b"cluster";

/// How often a name is looked up.
const REFRESH: Duration = Duration::from_secs(10);

/// Nodes of a cluster; a list of them stays below 80 KiB.
const NODES_MAX: usize = 256;

/// Longest name of a host (RFC 1035).
const HOST_LEN_MAX: usize = 253;

/// Where the nodes are known from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterSource {
    /// They were given: `host|ip|port`, as clients are told.
    Nodes(Vec<String>),
    /// They are all addresses of a host.
    Dns {
        /// The host.
        host: String,
        /// Of all nodes.
        port: NonZeroU16,
    },
}

impl ClusterSource {
    /// What `--cluster-nodes` and `--cluster-dns` say.
    pub(crate) fn from_flags(flags: &Flags) -> Result<Option<Self>, ConfigError> {
        match (flags.cluster_nodes.as_slice(), &flags.cluster_dns) {
            ([], None) => Ok(None),
            ([], Some(name)) => dns(name).map(Some).ok_or_else(|| {
                let message = format!("no HOST:PORT (--cluster-dns): {name:?}");
                ConfigError::Value(message)
            }),
            (lists, None) => nodes(lists).map(Some),
            (_, Some(_)) => Err(ConfigError::Usage(
                "the nodes are either listed (--cluster-nodes) or looked up (--cluster-dns)".into(),
            )),
        }
    }
}

fn nodes(lists: &[String]) -> Result<ClusterSource, ConfigError> {
    let texts = lists.iter().flat_map(|list| list.split([',', ' ']));
    let mut nodes = Vec::new();
    for text in texts.filter(|text| !text.is_empty()) {
        if !is_node(text) {
            let message = format!("no HOST|IP|PORT (--cluster-nodes): {text:?}");
            return Err(ConfigError::Value(message));
        }
        nodes.push(text.to_owned());
    }
    match nodes.len() {
        0 => Err(ConfigError::Value(
            "there is no node in the list (--cluster-nodes)".into(),
        )),
        1..=NODES_MAX => Ok(ClusterSource::Nodes(nodes)),
        count => Err(ConfigError::Value(format!(
            "{count} nodes are too many (--cluster-nodes): at most {NODES_MAX}"
        ))),
    }
}

/// The IP may be left out, as ElastiCache does outside of a VPC.
fn is_node(text: &str) -> bool {
    let parts: Vec<&str> = text.split('|').collect();
    let [host, ip, port] = *parts else {
        return false;
    };
    is_host(host)
        && (ip.is_empty() || ip.parse::<IpAddr>().is_ok())
        && port.parse::<NonZeroU16>().is_ok()
}

fn is_host(host: &str) -> bool {
    (1..=HOST_LEN_MAX).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic())
}

fn dns(name: &str) -> Option<ClusterSource> {
    let (host, port) = name.trim().rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    is_host(host).then_some(ClusterSource::Dns {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

/// The nodes as they are known now.
#[derive(Debug)]
pub(crate) struct Cluster {
    source: ClusterSource,
    list: Mutex<List>,
}

/// What clients are told.
#[derive(Debug, Default)]
struct List {
    /// The larger one is the later one, also after a restart: the Unix time in seconds of the change.
    version: u64,
    /// With spaces between them; none are known while it is empty.
    nodes: String,
}

impl Cluster {
    pub(crate) fn new(source: ClusterSource, clock: &Clock) -> Self {
        let cluster = Self {
            source,
            list: Mutex::default(),
        };
        if let ClusterSource::Nodes(nodes) = &cluster.source {
            cluster.set(nodes.join(" "), clock);
        }
        cluster
    }

    /// What stands between the first line of the answer and `END`; `None` while no node is known.
    pub(crate) fn body(&self) -> Option<String> {
        let list = self.lock();
        (!list.nodes.is_empty()).then(|| format!("{}\n{}\n", list.version, list.nodes))
    }

    /// Takes what a look-up has found. No answer is no change: clients go on with the nodes that they know.
    fn resolved(&self, port: NonZeroU16, mut ips: Vec<IpAddr>, clock: &Clock) -> bool {
        // Resolvers turn the order about.
        ips.sort_unstable();
        ips.dedup();
        if ips.len() > NODES_MAX {
            tracing::warn!("only {NODES_MAX} of {} cluster nodes are told", ips.len());
            ips.truncate(NODES_MAX);
        }
        let mut nodes = String::new();
        for ip in &ips {
            let space = if nodes.is_empty() { "" } else { " " };
            // Writing to memory does not fail.
            let _ = write!(nodes, "{space}{ip}|{ip}|{port}");
        }
        !nodes.is_empty() && self.set(nodes, clock)
    }

    /// Returns whether the nodes are others than before.
    fn set(&self, nodes: String, clock: &Clock) -> bool {
        let mut list = self.lock();
        if list.nodes == nodes {
            return false;
        }
        let version = list.version.saturating_add(1);
        *list = List {
            version: version.max(clock.now().unix_millis / 1000),
            nodes,
        };
        true
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to look the nodes up, if they come from a name. On a thread of its own: a look-up waits for as long as the
/// resolver of the system does.
pub(crate) fn keep_up(cluster: &Arc<Cluster>, clock: Clock) -> io::Result<()> {
    if matches!(cluster.source, ClusterSource::Dns { .. }) {
        let cluster = Arc::downgrade(cluster);
        thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || refresh(&cluster, &clock, look_up, thread::sleep))?;
    }
    Ok(())
}

/// Looks the nodes up again and again, for as long as somebody else has the cluster.
fn refresh(
    cluster: &Weak<Cluster>,
    clock: &Clock,
    mut look_up: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
    mut pause: impl FnMut(Duration),
) {
    let mut failed = false;
    while let Some(cluster) = cluster.upgrade() {
        let ClusterSource::Dns { host, port } = &cluster.source else {
            return;
        };
        match look_up(host) {
            Ok(ips) => {
                failed = false;
                if cluster.resolved(*port, ips, clock) {
                    tracing::info!(host, nodes = ?cluster.lock().nodes, "the cluster has changed");
                }
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(host, %error, "no cluster nodes found: is that name in DNS?");
                }
                failed = true;
            }
        }
        drop(cluster);
        pause(REFRESH);
    }
}

/// All addresses of a host.
fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let sockets = (host, 0).to_socket_addrs()?;
    Ok(sockets.map(|socket| socket.ip()).collect())
}

/// `get AmazonElastiCache:cluster`.
pub(crate) fn is_asked(request: &Retrieve<'_>, key: Key<'_>) -> bool {
    key.as_bytes() == CLUSTER_KEY && !request.with_cas && request.exptime.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn source(arguments: &[&str]) -> Result<Option<ClusterSource>, ConfigError> {
        let arguments = ["nuthatch"].iter().chain(arguments);
        ClusterSource::from_flags(&Flags::try_parse_from(arguments).unwrap())
    }

    #[test]
    fn nodes_are_listed_or_looked_up() {
        assert_eq!(source(&[]), Ok(None));
        let nodes = |list: &[&str]| {
            let nodes = list.iter().map(|&node| node.to_owned()).collect();
            Ok(Some(ClusterSource::Nodes(nodes)))
        };
        assert_eq!(
            source(&["--cluster-nodes", "a|10.0.0.1|11211, b.c||1,d|::1|65535"]),
            nodes(&["a|10.0.0.1|11211", "b.c||1", "d|::1|65535"])
        );
        assert_eq!(
            source(&["--cluster-nodes=a||1", "--cluster-nodes=b||1"]),
            nodes(&["a||1", "b||1"])
        );
        for (name, host) in [("cache:11211", "cache"), (" [::1]:11211", "::1")] {
            let source = source(&["--cluster-dns", name]);
            let expected = ClusterSource::Dns {
                host: host.to_owned(),
                port: NonZeroU16::new(11211).unwrap(),
            };
            assert_eq!(source, Ok(Some(expected)));
        }
    }

    #[test]
    fn what_is_no_node_is_refused() {
        for list in [
            "",
            "a",
            "a|b|1",
            "a||0",
            "a||65536",
            "|10.0.0.1|1",
            "a||1|",
            "\u{e4}||1",
        ] {
            let refused = source(&["--cluster-nodes", list]);
            assert!(matches!(refused, Err(ConfigError::Value(_))), "{list:?}");
        }
        for name in ["", "cache", "cache:0", ":11211", "cache:x"] {
            let refused = source(&["--cluster-dns", name]);
            assert!(matches!(refused, Err(ConfigError::Value(_))), "{name:?}");
        }
        let both = source(&["--cluster-dns", "a:1", "--cluster-nodes", "a||1"]);
        assert!(matches!(both, Err(ConfigError::Usage(_))));
    }

    #[test]
    fn a_list_has_a_longest_length() {
        let list = |count: usize| vec!["a||1"; count].join(",");
        assert!(source(&["--cluster-nodes", &list(NODES_MAX)]).is_ok());
        assert!(source(&["--cluster-nodes", &list(NODES_MAX + 1)]).is_err());
        let host = |len: usize| format!("{}:1", "a".repeat(len));
        assert!(source(&["--cluster-dns", &host(HOST_LEN_MAX)]).is_ok());
        assert!(source(&["--cluster-dns", &host(HOST_LEN_MAX + 1)]).is_err());
    }

    /// The bodies after each of these look-ups.
    fn bodies(found: Vec<io::Result<Vec<IpAddr>>>, clock: &Clock) -> Vec<Option<String>> {
        let source = ClusterSource::Dns {
            host: "cache".to_owned(),
            port: NonZeroU16::new(11211).unwrap(),
        };
        let cluster = Arc::new(Cluster::new(source, clock));
        let (weak, mut cluster) = (Arc::downgrade(&cluster), Some(cluster));
        let (mut left, mut found) = (found.len(), found.into_iter());
        let mut bodies = Vec::new();
        let look_up = |host: &str| {
            assert_eq!(host, "cache");
            found.next().unwrap()
        };
        refresh(&weak, clock, look_up, |pause| {
            assert_eq!(pause, REFRESH);
            bodies.push(cluster.as_ref().unwrap().body());
            left -= 1;
            if left == 0 {
                cluster = None;
            }
        });
        bodies
    }

    #[test]
    fn the_version_grows_when_the_nodes_change_and_only_then() {
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        let clock = Clock::manual();
        let now = clock.now().unix_millis / 1000;
        let bodies = bodies(
            vec![
                Err(io::ErrorKind::NotFound.into()),
                Ok(vec![ip(2), ip(1)]),
                Ok(vec![ip(1), ip(2), ip(1)]),
                Err(io::ErrorKind::NotFound.into()),
                Ok(vec![]),
                Ok(vec![ip(1)]),
                Ok(vec![ip(1), "fe80::1".parse().unwrap()]),
            ],
            &clock,
        );
        let two = "10.0.0.1|10.0.0.1|11211 10.0.0.2|10.0.0.2|11211";
        let both = "10.0.0.1|10.0.0.1|11211 fe80::1|fe80::1|11211";
        let body = |version: u64, nodes: &str| Some(format!("{version}\n{nodes}\n"));
        assert_eq!(
            bodies,
            [
                None,
                body(now, two),
                body(now, two),
                body(now, two),
                body(now, two),
                body(now + 1, "10.0.0.1|10.0.0.1|11211"),
                body(now + 2, both),
            ]
        );
    }

    #[test]
    fn a_look_up_may_find_too_many_nodes() {
        let ips = |count: usize| {
            Ok((0..count as u128)
                .map(|n| IpAddr::from(n.to_be_bytes()))
                .collect())
        };
        let bodies = bodies(vec![ips(NODES_MAX + 1), ips(NODES_MAX)], &Clock::manual());
        assert_eq!(bodies[0], bodies[1]);
        assert_eq!(
            bodies[0].as_ref().unwrap().matches("|11211").count(),
            NODES_MAX
        );
        assert!(bodies[0].as_ref().unwrap().len() < 80 << 10);
    }
}
