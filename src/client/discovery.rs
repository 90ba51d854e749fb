//! [`Discovery`]: who the nodes are, asked again and again.

use crate::client::{Client, Inner};
use crate::stream::{self, Stream};
use crate::{Error, NodeAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
#[cfg(feature = "srv")]
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

/// Longest answer to `config get cluster`.
const CONFIG_LEN_MAX: u64 = 1 << 20;

/// Shortest time between two questions.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Who knows the nodes. An answer that has nodes more is used at once. One that lacks some is used when it comes a second
/// time, and one without any never: a resolver that has lost its memory must not empty the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    source: Source,
    interval: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Dns(String),
    Config(NodeAddress),
    #[cfg(feature = "srv")]
    Srv(String, Vec<SocketAddr>),
}

impl Discovery {
    /// All addresses that `host:port` resolves to, as of a headless service of Kubernetes. They are the nodes' names in
    /// the ring: one that comes back with another address is another node.
    pub fn dns(host_and_port: impl Into<String>) -> Self {
        Self::new(Source::Dns(host_and_port.into()))
    }

    /// The targets of the SRV records of a full name, as `_memcached._tcp.cache.example.org`: those with the lowest
    /// priority, and their weights as shares of the keys. A target is a node's name in the ring, whatever its address: it
    /// is resolved whenever it is connected to.
    #[cfg(feature = "srv")]
    pub fn dns_srv(name: impl Into<String>) -> Self {
        Self::new(Source::Srv(name.into(), Vec::new()))
    }

    /// Asks this name server for SRV records, and not those in `/etc/resolv.conf`. Each call adds one.
    #[cfg(feature = "srv")]
    #[must_use]
    pub fn name_server(mut self, address: SocketAddr) -> Self {
        if let Source::Srv(_, servers) = &mut self.source {
            servers.push(address);
        }
        self
    }

    /// What the configuration endpoint of `ElastiCache` or Memorystore answers to `config get cluster`. The host names
    /// there are the nodes' names in the ring.
    pub const fn config_endpoint(address: NodeAddress) -> Self {
        Self::new(Source::Config(address))
    }

    const fn new(source: Source) -> Self {
        Self {
            source,
            interval: Duration::from_secs(30),
        }
    }

    /// How often it is asked: every 30 s at first, at least 10 ms.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(INTERVAL_MIN);
        self
    }

    /// The first answer, without which there is no client.
    pub(crate) async fn first(&self, patience: Duration) -> Result<Vec<NodeAddress>, Error> {
        let nodes = self.ask(patience).await;
        let nodes =
            nodes.map_err(|error| Error::config(format!("nodes not discovered: {error}")))?;
        Ok(nodes.into_values().collect())
    }

    /// By their names, each once.
    async fn ask(&self, patience: Duration) -> io::Result<BTreeMap<String, NodeAddress>> {
        let asked = async {
            match &self.source {
                Source::Dns(name) => {
                    let found = tokio::net::lookup_host(name).await?;
                    Ok(found
                        .map(|found| NodeAddress::tcp(found.ip().to_string(), found.port()))
                        .collect())
                }
                Source::Config(endpoint) => ask_config(endpoint).await,
                #[cfg(feature = "srv")]
                Source::Srv(name, servers) => crate::srv::ask(name, servers, patience).await,
            }
        };
        let nodes: Vec<NodeAddress> = timeout(patience, asked)
            .await
            .unwrap_or_else(|late| Err(late.into()))?;
        if nodes.is_empty() {
            return Err(io::Error::other("an answer without nodes"));
        }
        let named = nodes.into_iter().map(|node| (node.to_string(), node));
        Ok(named.collect())
    }

    /// Asks until the client is gone.
    pub(crate) fn watch(self, client: &Client, patience: Duration) {
        let client: Weak<Inner> = Arc::downgrade(client.inner());
        tokio::spawn(async move {
            let mut lacking = None;
            loop {
                sleep(self.interval).await;
                let asked = self.ask(patience).await;
                let Some(inner) = client.upgrade() else {
                    return;
                };
                let answer = match asked {
                    Ok(answer) => answer,
                    Err(error) => {
                        tracing::warn!(%error, "nodes not discovered; those that are known stay");
                        continue;
                    }
                };
                let topology = inner.topology.load();
                let known = topology.nodes().iter().map(|node| node.address());
                let (known, nodes) = (identities(known), identities(answer.values()));
                if nodes == known {
                    lacking = None;
                } else if known.is_subset(&nodes) || lacking.as_ref() == Some(&nodes) {
                    let count = nodes.len();
                    let nodes = answer.into_values().collect();
                    match inner.set_nodes(nodes) {
                        Ok(()) => tracing::info!(count, "the nodes have changed"),
                        Err(error) => tracing::warn!(%error, "no ring of the nodes discovered"),
                    }
                    lacking = None;
                } else {
                    lacking = Some(nodes);
                }
            }
        });
    }
}

/// Thanos' words: `dns+host:port`, and with the feature `srv` `dnssrv+name` or, the same here, `dnssrvnoa+name`.
impl FromStr for Discovery {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] for other words.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('+') {
            Some(("dns", name)) if !name.is_empty() => Ok(Self::dns(name)),
            #[cfg(feature = "srv")]
            Some(("dnssrv" | "dnssrvnoa", name)) if !name.is_empty() => Ok(Self::dns_srv(name)),
            _ => Err(Error::config(format!(
                "{text:?} is no discovery; write dns+host:port, or dnssrv+name in a build with the feature srv"
            ))),
        }
    }
}

/// What a ring is made of. Who has another weight is another node.
fn identities<'a>(nodes: impl Iterator<Item = &'a NodeAddress>) -> BTreeSet<(String, u32)> {
    nodes
        .map(|node| (node.to_string(), node.weight()))
        .collect()
}

/// `CONFIG cluster 0 len`, then a version, and in the next line `host|address|port` for each node.
async fn ask_config(endpoint: &NodeAddress) -> io::Result<Vec<NodeAddress>> {
    let mut stream = Stream::connect(endpoint.endpoint()).await?;
    stream.write_all(b"config get cluster\r\n").await?;
    stream.flush().await?;
    let head = stream::read_line(&mut stream).await?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let refused = || io::Error::other(format!("no configuration endpoint, it says: {head}"));
    let len: u64 = match head.split(' ').collect::<Vec<_>>().as_slice() {
        ["CONFIG", "cluster", _, len] => len.parse().ok().filter(|len| *len <= CONFIG_LEN_MAX),
        _ => None,
    }
    .ok_or_else(refused)?;
    let mut text = String::new();
    (&mut stream).take(len).read_to_string(&mut text).await?;
    let nodes = text.lines().nth(1).unwrap_or_default().split_whitespace();
    nodes
        .map(
            |node| match node.split('|').collect::<Vec<_>>().as_slice() {
                [host, address, port] => {
                    let host = if host.is_empty() { address } else { host };
                    let port = port.parse().map_err(io::Error::other)?;
                    Ok(NodeAddress::tcp(*host, port))
                }
                _ => Err(io::Error::other(format!(
                    "{node:?} is no host|address|port"
                ))),
            },
        )
        .collect()
}
