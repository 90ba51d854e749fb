//! [`Contender`]: the clients that are compared, and how each is asked as its documentation asks it.

use std::net::SocketAddr;
use std::time::Duration;

use async_memcached::AsciiProtocol as _;
use bytes::Bytes;
use memcache::exp::{AsyncMemcache, Memcache};
use nuthatch_client::{Client, Timeouts};

use crate::Failure;

/// A busy machine is slow, and its servers are not down.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many daemons keys are spread over where there are several: as many as [`Caller::get_many`] asks at once.
pub(crate) const NODES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// One connection for each node, whatever the number of tasks.
    Nuthatch,
    /// A connection for each task and node.
    Memcache,
    /// Likewise. It knows no fleets: the benchmark says which node has which key.
    AsyncMemcached,
}

impl Contender {
    /// The first one is compared with each of the others.
    pub(crate) const ALL: [Self; 3] = [Self::Nuthatch, Self::Memcache, Self::AsyncMemcached];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nuthatch => "nuthatch-client",
            Self::Memcache => "memcache 0.21",
            Self::AsyncMemcached => "async-memcached 0.9",
        }
    }

    /// One caller for each task.
    pub(crate) async fn callers(
        self,
        nodes: &[SocketAddr],
        tasks: usize,
    ) -> Result<Vec<Caller>, Failure> {
        let mut callers = Vec::new();
        match self {
            Self::Nuthatch => {
                let client = connect(nodes).await?;
                callers.extend((0..tasks).map(|_| Caller::Nuthatch(client.clone())));
            }
            Self::Memcache => {
                // Its default keeps 8 and opens the others anew each time.
                let client = Memcache::builder().max_idle(tasks).connect_async(nodes);
                let client = client.await?;
                callers.extend((0..tasks).map(|_| Caller::Memcache(client.clone())));
            }
            Self::AsyncMemcached => {
                for _ in 0..tasks {
                    let mut clients = Vec::new();
                    for node in nodes {
                        clients.push(async_memcached::Client::new(format!("tcp://{node}")).await?);
                    }
                    callers.push(Caller::AsyncMemcached(clients));
                }
            }
        }
        Ok(callers)
    }
}

pub(crate) async fn connect(nodes: &[SocketAddr]) -> Result<Client, Failure> {
    let builder = Client::builder().timeouts(
        Timeouts::lan()
            .with_connect(PATIENCE)
            .with_operation(PATIENCE)
            .with_stall(PATIENCE),
    );
    let builder = nodes
        .iter()
        .fold(builder, |builder, node| builder.node(node.to_string()));
    Ok(builder.build().await?)
}

/// Keys that are asked for at once, and the same by their nodes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) keys: Vec<String>,
    pub(crate) by_node: Vec<Vec<String>>,
}

pub(crate) enum Caller {
    Nuthatch(Client),
    Memcache(AsyncMemcache),
    AsyncMemcached(Vec<async_memcached::Client>),
}

impl Caller {
    /// The length of a value that is there.
    pub(crate) async fn get(&mut self, key: &str) -> Result<usize, Failure> {
        let len = match self {
            Self::Nuthatch(client) => client.get::<Bytes>(key).await?.map(|value| value.len()),
            Self::Memcache(client) => client.get::<Vec<u8>>(key).await?.map(|value| value.len()),
            Self::AsyncMemcached(clients) => {
                let client = clients.first_mut().ok_or("no node")?;
                let value = client.get(key).await?.and_then(|value| value.data);
                value.map(|value| value.len())
            }
        };
        len.ok_or_else(|| "a miss".into())
    }

    /// How many of the keys are there.
    pub(crate) async fn get_many(&mut self, batch: &Batch) -> Result<usize, Failure> {
        match self {
            Self::Nuthatch(client) => {
                let keys: Vec<&str> = batch.keys.iter().map(String::as_str).collect();
                Ok(client.get_many::<_, Bytes>(&keys).await.found.len())
            }
            Self::Memcache(client) => {
                let keys = batch.keys.iter().map(String::as_str);
                Ok(client.get_many::<Vec<u8>, _>(keys).await?.len())
            }
            Self::AsyncMemcached(clients) => match (&mut clients[..], &batch.by_node[..]) {
                ([client], _) => Ok(client.get_multi(&batch.keys).await?.len()),
                ([first, second, third], [one, two, three]) => {
                    let (one, two, three) = tokio::try_join!(
                        first.get_multi(one),
                        second.get_multi(two),
                        third.get_multi(three)
                    )?;
                    Ok(one.len() + two.len() + three.len())
                }
                _ => Err("neither one node nor three".into()),
            },
        }
    }
}
