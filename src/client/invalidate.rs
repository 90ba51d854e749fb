//! [`Client::invalidate`]: forgets an entry so that no load that began before can bring it back.
//!
//! A delete is not enough: who read the database before the change may store the old value after the delete, and it
//! stays. A tombstone in the entry's place makes every fill fail that has not seen it: an `add` because something is
//! there, a `cas` because it is something else. It must outlive the loads that began before it; a client does not add
//! once that could be over. Those that began after it have seen it, and replace it at once.

use crate::client::Client;
use crate::codec::{Encoded, TOMBSTONE};
use crate::join::join_all;
use crate::key::beside;
use crate::node::Told;
use crate::op::{Op, Verb};
use crate::place::Place;
use crate::reply::Reply;
use crate::{Error, Ttl};
use nuthatch_protocol::StorageMode;

/// What the key of a mark beside an entry ends with.
pub(crate) const SIDE: &str = "nht";

/// What [`Client::invalidate`] leaves behind. All clients of a fleet use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invalidate {
    /// A tombstone in the entry's place: to this client a miss, to others an empty value.
    #[default]
    Tombstone,
    /// A tombstone beside the entry, and no entry: for fleets in which other clients read the same keys. Who fills looks
    /// at it afterwards.
    Side,
    /// The entry, marked as stale: served while one client loads it anew. Where nothing is, or the server has no meta
    /// commands, a tombstone. Empty bytes are not served: they look like a place that is kept for a value.
    Stale,
}

/// What became of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Invalidated {
    /// The node has done it.
    Now,
    /// The node did not answer. It hears of it before this client reads from it again if it is down, and soon if it is
    /// only slow; other clients may read the old value until then, if they can reach it.
    Journalled,
}

impl Client {
    /// Forgets the value of a key, after it was changed in the database: no value that was loaded before stays in the
    /// cache.
    ///
    /// # Errors
    /// [`Error::Key`]; [`Error::Server`] if the node refuses; [`Error::Unavailable`] if it is down and has missed so
    /// much that this is not remembered.
    ///
    /// # Cancel safety
    /// It may be done, or not, and is not remembered then.
    pub async fn invalidate(&self, key: impl AsRef<[u8]>) -> Result<Invalidated, Error> {
        let place = self.inner().place(key.as_ref())?;
        self.invalidate_at(&place).await
    }

    /// The same for several keys, all at once; the first error of any.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`invalidate`](Self::invalidate).
    pub async fn invalidate_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Invalidated, Error> {
        let places = keys.iter().map(|key| self.inner().place(key.as_ref()));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let mut done = Vec::with_capacity(places.len());
        // That one fails is no reason to spare the others.
        for chunk in places.chunks(crate::many::CHUNK_LEN) {
            let chunk = chunk.iter().map(|place| self.invalidate_at(place));
            done.extend(join_all(chunk).await);
        }
        all_of(done)
    }

    async fn invalidate_at(&self, place: &Place) -> Result<Invalidated, Error> {
        self.inner().tally.invalidations.one();
        let _change = self.inner().change(&place.key);
        let (home, gutter) = (place.at_home(), place.in_gutter());
        let here = std::iter::once(place).chain(&home);
        let (here, in_gutter) = tokio::join!(join_all(here.map(|place| self.mark(place))), async {
            match &gutter {
                // Nothing lives there for long: what it does not hear of, it forgets by itself.
                Some(gutter) => self.mark(gutter).await.unwrap_or(Invalidated::Journalled),
                None => Invalidated::Now,
            }
        });
        all_of(here.into_iter().chain([Ok(in_gutter)]))
    }

    /// Has one node forget the entry.
    async fn mark(&self, place: &Place) -> Result<Invalidated, Error> {
        let mut mode = self.inner().options.invalidate;
        if mode == Invalidate::Stale {
            if place.node.dialect().is_meta() {
                let exptime = Ttl::after(self.inner().options.tombstone).exptime();
                match place.node.call(place.op(Verb::MarkStale(exptime))).await {
                    Ok(Reply::Done(_)) => return Ok(Invalidated::Now),
                    // Whoever is loading it would not notice.
                    Ok(_) | Err(Error::Unsupported { .. }) => {}
                    Err(error) => return self.journal(place, Invalidate::Tombstone, error).await,
                }
            }
            mode = Invalidate::Tombstone;
        }
        let replies = match place.node.call_many(self.marks(place, mode)).await {
            Ok(replies) => replies,
            Err(error) => return self.journal(place, mode, error).await,
        };
        for reply in replies {
            place.node.check(reply, "invalidate")?;
        }
        Ok(Invalidated::Now)
    }

    /// What makes the node forget.
    fn marks(&self, place: &Place, mode: Invalidate) -> Vec<Op> {
        let exptime = Ttl::after(self.inner().options.tombstone).exptime();
        let tombstone = Verb::Store(Encoded::mark(TOMBSTONE).store(StorageMode::Set, exptime));
        match mode {
            Invalidate::Tombstone | Invalidate::Stale => vec![place.op(tombstone)],
            Invalidate::Side => vec![
                Op {
                    key: beside(&place.key, SIDE),
                    verb: tombstone,
                },
                place.op(Verb::Delete),
            ],
        }
    }

    async fn journal(
        &self,
        place: &Place,
        mode: Invalidate,
        error: Error,
    ) -> Result<Invalidated, Error> {
        let marks = self.marks(place, mode);
        let told = match error {
            // It may be back.
            Error::Unavailable { .. } | Error::Ambiguous { .. } => place.node.tell(marks).await,
            // It would not answer this either.
            Error::Timeout { .. } if place.node.remember(marks).await => Told::Later,
            _ => Told::TooMuch,
        };
        match told {
            Told::Now => Ok(Invalidated::Now),
            Told::Later => {
                self.inner().tally.journalled.one();
                Ok(Invalidated::Journalled)
            }
            Told::TooMuch => Err(error),
        }
    }
}

/// The first error of any; else that one of them is yet to be heard of, if so.
fn all_of(
    done: impl IntoIterator<Item = Result<Invalidated, Error>>,
) -> Result<Invalidated, Error> {
    done.into_iter().try_fold(Invalidated::Now, |all, one| {
        Ok(match one? {
            Invalidated::Now => all,
            Invalidated::Journalled => Invalidated::Journalled,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;
    use protocol_tests::nuthatch::Nuthatch;

    #[tokio::test]
    async fn a_node_that_came_back_before_it_was_noted_what_it_missed_hears_of_it_at_once() {
        let server = Nuthatch::start(&[]).unwrap();
        let client = Client::builder().node(server.address().to_string());
        let client = client.build().await.unwrap();
        client.set("k", "old", Ttl::NEVER).await.unwrap();
        let place = client.inner().place(b"k").unwrap();
        let down = Error::Unavailable {
            node: std::sync::Arc::clone(place.node.label()),
            why: "it was".to_owned(),
        };
        let done = client.journal(&place, Invalidate::Tombstone, down).await;
        assert_eq!(client.get::<String>("k").await.unwrap(), None);
        assert_eq!(done.unwrap(), Invalidated::Now);
    }
}
