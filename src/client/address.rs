//! [`NodeAddress`]: where a node is, and what the ring calls it.

use crate::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// memcached's port; libmemcached's rings leave it out of a node's name.
pub(crate) const PORT: u16 = 11211;

/// A node as it is configured: its address, its weight, and the name that places keys.
///
/// The text is one of `host`, `host:port`, `[ipv6]:port`, `/path/of/socket`, `unix:/path/of/socket`. A
/// ring sees the text, never what it resolves to: `localhost` and `127.0.0.1` are different nodes.
///
/// ```
/// use nuthatch_client::NodeAddress;
///
/// let node: NodeAddress = "cache-1.internal:11212".parse()?;
/// assert_eq!(node.with_weight(2).to_string(), "cache-1.internal:11212");
/// # Ok::<(), nuthatch_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    endpoint: Endpoint,
    weight: u32,
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl NodeAddress {
    /// A node behind TCP, with weight 1. An IPv6 address stands without brackets.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::new(Endpoint::Tcp {
            host: host.into(),
            port,
        })
    }

    /// A node behind a unix socket, with weight 1.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Endpoint::Unix(path.into()))
    }

    const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            weight: 1,
            name: None,
        }
    }

    /// The same node with another share of the keys; 0 acts as 1, as in libmemcached.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// The same node under a name that places its keys instead of its address, as in twemproxy's
    /// configuration: who replaces the machine and keeps the name keeps the keys where they are.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its share of the keys.
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Its name, if it has one of its own.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What libmemcached hashes: the default port is left out, a unix socket has port 0.
    pub(crate) fn libmemcached_identity(&self) -> String {
        match (&self.name, &self.endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Tcp { host, port: PORT }) => host.clone(),
            (None, Endpoint::Tcp { host, port }) => format!("{host}:{port}"),
            (None, Endpoint::Unix(path)) => format!("{}:0", path.display()),
        }
    }

    /// What everybody else hashes: host and port, always.
    pub(crate) fn full_identity(&self) -> String {
        match (&self.name, &self.endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Tcp { host, port }) => format!("{host}:{port}"),
            (None, Endpoint::Unix(path)) => path.display().to_string(),
        }
    }
}

impl FromStr for NodeAddress {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] if there is no host or no port that is a number.
    fn from_str(text: &str) -> Result<Self, Error> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::unix(Path::new(path)));
        }
        let bad = || {
            Error::config(format!(
                "{text:?} is no node; write host, host:port or /path"
            ))
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(bad)?;
                (host, after.strip_prefix(':'))
            }
            // More colons than one: an IPv6 address by itself.
            None if text.matches(':').nth(1).is_some() => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
            None => PORT,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(bad());
        }
        Ok(Self::tcp(host, port))
    }
}

/// Its name if it has one, else `host:port`, `[ipv6]:port` or the path.
impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.endpoint) {
            (Some(name), _) => f.write_str(name),
            (None, Endpoint::Tcp { host, port }) if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            (None, Endpoint::Tcp { host, port }) => write!(f, "{host}:{port}"),
            (None, Endpoint::Unix(path)) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identities(text: &str) -> (String, String, String) {
        let node: NodeAddress = text.parse().unwrap();
        (
            node.libmemcached_identity(),
            node.full_identity(),
            node.to_string(),
        )
    }

    #[test]
    fn every_form_of_an_address_has_its_identities() {
        for (text, libmemcached, full, shown) in [
            ("a", "a", "a:11211", "a:11211"),
            ("a:11211", "a", "a:11211", "a:11211"),
            ("a:1", "a:1", "a:1", "a:1"),
            ("::1", "::1", "::1:11211", "[::1]:11211"),
            ("[::1]:1", "::1:1", "::1:1", "[::1]:1"),
            ("/run/m.sock", "/run/m.sock:0", "/run/m.sock", "/run/m.sock"),
            ("unix:/m", "/m:0", "/m", "/m"),
        ] {
            let expected = (libmemcached.to_owned(), full.to_owned(), shown.to_owned());
            assert_eq!(identities(text), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "", ":1", "a:", "a:x", "a:0", "a:65536", "[::1", "a b", "a/b",
        ] {
            let refused = text.parse::<NodeAddress>();
            assert!(matches!(refused, Err(Error::Config(_))), "{text}");
        }
    }

    #[test]
    fn a_name_replaces_the_address_in_rings() {
        let node = NodeAddress::tcp("10.0.0.1", 11211).with_name("alpha");
        assert_eq!(node.libmemcached_identity(), "alpha");
        assert_eq!(node.full_identity(), "alpha");
    }
}
