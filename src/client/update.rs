//! Changes that depend on what is there: [`Client::update`], [`Client::incr_or_init`].

use crate::backoff::Backoff;
use crate::client::{CasOutcome, Client};
use crate::place::Place;
use crate::reply::{Reply, hit};
use crate::{Decode, Encode, Error, Ttl};
use nuthatch_protocol::StorageMode;
use std::time::Duration;
use tokio::time::sleep;

/// How often a change is tried that others get in the way of.
pub const UPDATES_MAX: u32 = 16;

/// The first wait before the next try, and the longest.
const WAIT_FIRST: Duration = Duration::from_millis(1);
const WAIT_LAST: Duration = Duration::from_millis(50);

impl Client {
    /// Replaces a value by what `change` makes of it, and again if somebody else was faster. `change` is given `None`
    /// for a miss, and answers `None` to leave things as they are. What is there in the end: the new value, or `None`
    /// if nothing was stored.
    ///
    /// # Errors
    /// [`Error::Conflict`] after [`UPDATES_MAX`] tries; else as [`set`](Self::set).
    ///
    /// # Cancel safety
    /// The value may be replaced, or not.
    pub async fn update<T: Encode + Decode>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Ttl,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let key = key.as_ref();
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
        for _ in 0..UPDATES_MAX {
            // The same for both: another node's cas uniques are other numbers.
            let place = self.inner().place(key)?;
            let (old, cas) = self.for_update(&place).await?;
            let Some(new) = change(old) else {
                return Ok(None);
            };
            let mode = cas.map_or(StorageMode::Add, StorageMode::Cas);
            if self.store_at(&place, mode, &new, ttl).await? == CasOutcome::Stored {
                return Ok(Some(new));
            }
            sleep(backoff.wait()).await;
        }
        Err(Error::Conflict(UPDATES_MAX))
    }

    /// The value and what to compare with. A tombstone has no value, but is there to be replaced. A node that is down is
    /// an error: an update must not begin from nothing.
    async fn for_update<T: Decode>(
        &self,
        place: &Place,
    ) -> Result<(Option<T>, Option<u64>), Error> {
        // Not in the gutter: what is to be compared is at the node.
        let reply = place.node.call(place.op(crate::op::Verb::Get)).await?;
        let cas = match &reply {
            Reply::Item(item) => item.cas,
            _ => None,
        };
        let old = match hit(reply) {
            Some(item) => Some(T::decode(self.inner().decode(item)?)?),
            None => None,
        };
        Ok((old, cas))
    }

    /// Adds to a number; where there is none, `init` says what it was before, as after a count in the database. The new
    /// number.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the number comes and goes [`UPDATES_MAX`] times; else as [`incr`](Self::incr).
    ///
    /// # Cancel safety
    /// The number may have changed, or not.
    pub async fn incr_or_init(
        &self,
        key: impl AsRef<[u8]>,
        by: u64,
        ttl: Ttl,
        init: impl AsyncFn() -> u64,
    ) -> Result<u64, Error> {
        let key = key.as_ref();
        for _ in 0..UPDATES_MAX {
            if let Some(number) = self.incr(key, by).await? {
                return Ok(number);
            }
            let first = init().await.wrapping_add(by);
            if self.add(key, &first, ttl).await? {
                return Ok(first);
            }
        }
        Err(Error::Conflict(UPDATES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol_tests::memcached::Memcached;

    #[tokio::test]
    async fn what_was_read_from_one_node_is_not_compared_with_what_another_has() {
        let servers = [0; 2].map(|_| Memcached::start().unwrap());
        let nodes = servers.iter().map(|server| server.address().to_string());
        let client = nodes.fold(Client::builder(), crate::Builder::node);
        let client = client.build().await.unwrap();
        let topology = client.inner().topology.load_full();
        // Of the same key, with the same cas unique.
        let mut uniques = Vec::new();
        for server in &servers {
            let other = Client::builder().node(server.address().to_string());
            let other = other.build().await.unwrap();
            other.set("k", "old", Ttl::NEVER).await.unwrap();
            uniques.push(other.get_item("k").await.unwrap().unwrap().cas);
        }
        assert_eq!(uniques[0], uniques[1]);
        let home = std::sync::Arc::clone(topology.node(b"k").unwrap());
        let change = |old: Option<String>| {
            let ejected = [std::sync::Arc::clone(&home)];
            let replaced = client
                .inner()
                .replace_topology(|before| before.without(&ejected));
            replaced.unwrap();
            old.map(|old| old + "er")
        };
        let updated = client.update("k", Ttl::NEVER, change).await.unwrap();
        assert_eq!(updated.unwrap(), "older");
        // It is where it was read, and the other node has what it had.
        assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "old");
        client
            .inner()
            .replace_topology(|before| before.without(&[]))
            .unwrap();
        assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "older");
    }
}
