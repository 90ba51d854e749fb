//! [`Builder`]: the settings of a client, each with its default.

use crate::client::{Client, Inner};
use crate::counters::Faults;
use crate::eject::Eject;
use crate::gutter::Gutter;
use crate::node::Settings;
use crate::policy::LIFE_MIN;
use crate::stream::Credentials;
use crate::topology::Topology;
use crate::{Codec, Discovery, Distribution, Error, KeyPolicy, NodeAddress, OnDown, Timeouts};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Most connections to one node.
pub const CONNECTIONS_MAX: usize = 64;

/// Most calls that may wait for a connection, and most loaders that may run without a lock.
const AT_ONCE_MAX: usize = 1 << 20;

/// Settings of a [`Client`]; [`Client::builder`] begins.
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: Vec<Result<NodeAddress, Error>>,
    discovery: Option<Discovery>,
    pub(crate) options: Options,
    timeouts: Timeouts,
    connections: usize,
    queue_len: usize,
    credentials: Option<Credentials>,
    #[cfg(feature = "tls")]
    tls: Option<crate::Tls>,
    flush_after_overflow: bool,
    gutter: Vec<Result<NodeAddress, Error>>,
    gutter_life: Duration,
    eject_after: Option<Duration>,
    #[cfg(feature = "near-cache")]
    near: Option<crate::NearCache>,
}

/// What the client itself looks at.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) distribution: Distribution,
    pub(crate) key_policy: KeyPolicy,
    pub(crate) prefix: String,
    pub(crate) hash_prefix: bool,
    pub(crate) codec: Codec,
    pub(crate) compress_min: usize,
    pub(crate) value_len_max: usize,
    pub(crate) on_down: OnDown,
    pub(crate) invalidate: crate::Invalidate,
    pub(crate) tombstone: Duration,
    pub(crate) strategy: crate::Strategy,
    pub(crate) local_loads_max: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            discovery: None,
            options: Options {
                distribution: Distribution::default(),
                key_policy: KeyPolicy::default(),
                prefix: String::new(),
                hash_prefix: false,
                codec: Codec::default(),
                compress_min: 1024,
                value_len_max: 128 << 20,
                on_down: OnDown::default(),
                invalidate: crate::Invalidate::default(),
                tombstone: Duration::from_secs(12),
                strategy: crate::Strategy::default(),
                local_loads_max: 32,
            },
            timeouts: Timeouts::default(),
            connections: 1,
            queue_len: 1024,
            credentials: None,
            #[cfg(feature = "tls")]
            tls: None,
            flush_after_overflow: false,
            gutter: Vec::new(),
            gutter_life: Duration::from_secs(10),
            eject_after: None,
            #[cfg(feature = "near-cache")]
            near: None,
        }
    }
}

impl Builder {
    /// Adds a node: `host`, `host:port`, `[ipv6]:port`, `/path/of/socket`. What is wrong with it,
    /// [`build`](Self::build) tells.
    #[must_use]
    pub fn node(self, address: impl AsRef<str>) -> Self {
        self.weighted(address, 1)
    }

    /// Adds a node with another share of the keys.
    #[must_use]
    pub fn weighted(mut self, address: impl AsRef<str>, weight: u32) -> Self {
        let node = address.as_ref().parse::<NodeAddress>();
        self.nodes.push(node.map(|node| node.with_weight(weight)));
        self
    }

    /// Asks who the nodes are, now and again, instead of being told.
    #[must_use]
    pub fn discover(mut self, discovery: Discovery) -> Self {
        self.discovery = Some(discovery);
        self
    }

    /// Adds a node that is already an address.
    #[must_use]
    pub fn address(mut self, address: NodeAddress) -> Self {
        self.nodes.push(Ok(address));
        self
    }

    /// How keys are spread over the nodes. The same for all clients of a fleet.
    #[must_use]
    pub fn distribution(mut self, distribution: Distribution) -> Self {
        self.options.distribution = distribution;
        self
    }

    /// How long anything may take: [`Timeouts::lan`] at first.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Connections to each node, 1 to [`CONNECTIONS_MAX`]. One is enough for most: all calls share it. Large values are
    /// stored over one more.
    #[must_use]
    pub fn connections_per_node(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many calls may wait for their turn on a connection, 1 to 1,048,576: 1,024 at first. Beyond that calls wait, and
    /// then fail.
    #[must_use]
    pub fn queue_len(mut self, calls: usize) -> Self {
        self.queue_len = calls;
        self
    }

    /// Name and password, for servers that were started with `-Y`.
    #[must_use]
    pub fn credentials(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials {
            name: name.into(),
            password: password.into(),
        });
        self
    }

    /// Keeps what is asked for all the time in the process, for moments.
    #[cfg(feature = "near-cache")]
    #[must_use]
    pub fn near_cache(mut self, near: crate::NearCache) -> Self {
        self.near = Some(near);
        self
    }

    /// Encrypts what leaves the machine.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: crate::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What becomes of keys that no line can hold.
    #[must_use]
    pub fn key_policy(mut self, policy: KeyPolicy) -> Self {
        self.options.key_policy = policy;
        self
    }

    /// Goes before every key. As in libmemcached, the ring looks at the key without it; see
    /// [`hash_prefix`](Self::hash_prefix).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.options.prefix = prefix.into();
        self
    }

    /// Whether the ring looks at the prefix too (libmemcached's `HASH_WITH_PREFIX_KEY`).
    #[must_use]
    pub fn hash_prefix(mut self, hash_prefix: bool) -> Self {
        self.options.hash_prefix = hash_prefix;
        self
    }

    /// Whose client flags are written and read.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.options.codec = codec;
        self
    }

    /// From how many bytes on values are compressed, if the codec can: 1,024 at first, `usize::MAX` for never. Only
    /// what saves 12 % is stored compressed.
    #[must_use]
    pub fn compress_min(mut self, bytes: usize) -> Self {
        self.options.compress_min = bytes;
        self
    }

    /// Longest value that is sent or accepted: 128 MiB at first.
    #[must_use]
    pub fn value_len_max(mut self, bytes: usize) -> Self {
        self.options.value_len_max = bytes;
        self
    }

    /// What a read of a node that is down comes to.
    #[must_use]
    pub fn on_down(mut self, on_down: OnDown) -> Self {
        self.options.on_down = on_down;
        self
    }

    /// What [`Client::invalidate`] does. The same for all clients of a fleet.
    #[must_use]
    pub fn invalidate(mut self, invalidate: crate::Invalidate) -> Self {
        self.options.invalidate = invalidate;
        self
    }

    /// How long the mark of an invalidation lives: longer than the longest load, what replicas of the database lag
    /// behind, and two seconds. 12 s at first, at least 3 s. The same for all clients of a fleet.
    #[must_use]
    pub fn tombstone(mut self, life: Duration) -> Self {
        self.options.tombstone = life;
        self
    }

    /// How [`Client::get_or_refresh`] decides which client loads. The same for all clients of a fleet.
    #[must_use]
    pub fn strategy(mut self, strategy: crate::Strategy) -> Self {
        self.options.strategy = strategy;
        self
    }

    /// How many loaders run at once without a lock, for all keys together, when a node cannot be asked, 1 to 1,048,576:
    /// 32 at first.
    #[must_use]
    pub fn local_loads_max(mut self, loads: usize) -> Self {
        self.options.local_loads_max = loads;
        self
    }

    /// Whether a node that missed more than 10,000 invalidations is emptied before it is read again. Without this it
    /// may serve what it should have forgotten, until that expires.
    #[must_use]
    pub fn flush_after_overflow(mut self, flush: bool) -> Self {
        self.flush_after_overflow = flush;
        self
    }

    /// Adds a node to the gutter: a few that stand in for any node that is down, so that its keys are not all loaded from
    /// the database. Values that are read, set or deleted go there, and what
    /// [`get_or_refresh`](Client::get_or_refresh) loads, for seconds. Numbers, cas, `add` and what depends on what is
    /// there do not: these need one truth, and fail as without a gutter. A node that comes back forgets what was set or
    /// deleted in the gutter before it is read; invalidations go to both, always.
    ///
    /// What was set in the gutter is gone when the node is back.
    #[must_use]
    pub fn gutter(mut self, address: impl AsRef<str>) -> Self {
        self.gutter.push(address.as_ref().parse());
        self
    }

    /// How long anything lives in the gutter: 10 s at first, at least 2 s. If a node goes down twice within this time, what
    /// was kept in the gutter the first time may be read again.
    #[must_use]
    pub fn gutter_life(mut self, life: Duration) -> Self {
        self.gutter_life = life;
        self
    }

    /// Leaves nodes that have been down for this long out of the ring until they are back, as libmemcached's
    /// `AUTO_EJECT_HOSTS` does: their keys belong to the others meanwhile. At most a third of the nodes, at least one, and
    /// never all.
    ///
    /// Mind what this does: clients that cannot reach the same nodes store the same key in different places, and what
    /// the others kept for a node is there still when it is ejected again. A node that comes back forgets what this client
    /// has changed before it is read; of other clients' changes it knows nothing. What has to be right is invalidated, and
    /// has a lifetime. A [`gutter`](Self::gutter) has neither problem for longer than seconds.
    #[must_use]
    pub fn auto_eject(mut self, after: Duration) -> Self {
        self.eject_after = Some(after);
        self
    }

    /// The client. Connects when it is first asked something.
    ///
    /// # Errors
    /// [`Error::Config`] says which setting cannot be.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn build(self) -> Result<Client, Error> {
        if Handle::try_current().is_err() {
            return Err(Error::config("a client needs a tokio runtime"));
        }
        self.check()?;
        let mut nodes = self.nodes.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(discovery) = &self.discovery {
            if !nodes.is_empty() {
                return Err(Error::config(
                    "nodes are either named or discovered, not both",
                ));
            }
            nodes = discovery.first(self.timeouts.connect).await?;
        }
        let settings = Arc::new(Settings {
            timeouts: self.timeouts,
            connections: self.connections,
            queue_len: self.queue_len,
            value_len_max: self.options.value_len_max,
            credentials: self.credentials,
            faults: Faults::default(),
            #[cfg(feature = "tls")]
            tls: self.tls.map(crate::Tls::connector).transpose()?,
            flush_after_overflow: self.flush_after_overflow,
        });
        let distribution = self.options.distribution;
        let gutter = self.gutter.into_iter().collect::<Result<Vec<_>, _>>()?;
        let gutter = (!gutter.is_empty())
            .then(|| Gutter::new(distribution, gutter, self.gutter_life, &settings))
            .transpose()?;
        let topology = Topology::new(distribution, nodes, &settings, gutter.map(Arc::new))?;
        #[cfg(feature = "near-cache")]
        let near = self.near.map(crate::near::Near::new);
        #[cfg(not(feature = "near-cache"))]
        let near = None;
        let client = Client::from(Inner::new(topology, settings, self.options, near));
        if let Some(after) = self.eject_after {
            Eject::watch(&client, after);
        }
        if let Some(discovery) = self.discovery {
            discovery.watch(&client, self.timeouts.connect);
        }
        Ok(client)
    }

    fn check(&self) -> Result<(), Error> {
        let Timeouts {
            connect,
            operation,
            stall,
        } = self.timeouts;
        if connect.is_zero() || operation.is_zero() || stall < operation {
            return Err(Error::config(
                "timeouts are longer than nothing, and stall at least as long as operation",
            ));
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(Error::config(format!(
                "connections_per_node is 1 to {CONNECTIONS_MAX}"
            )));
        }
        let at_once = [self.queue_len, self.options.local_loads_max];
        if at_once.iter().any(|most| !(1..=AT_ONCE_MAX).contains(most)) {
            return Err(Error::config(format!(
                "queue_len and local_loads_max are 1 to {AT_ONCE_MAX}"
            )));
        }
        if self.gutter_life < LIFE_MIN {
            return Err(Error::config("gutter_life is at least 2 s"));
        }
        if self.options.tombstone < Duration::from_secs(3) {
            return Err(Error::config("a tombstone lives for at least 3 s"));
        }
        Ok(())
    }
}
