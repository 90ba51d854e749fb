//! Lookups that change what they find: a new expiry, an empty item where there is none, and one client among many
//! who is told to make the item anew.

use crate::Store;
use crate::compress::Attempt;
use crate::index::Place;
use crate::item::{Hit, Marks, NewValue};
use crate::outcome::{Lookup, Miss};
use crate::read::{Glance, Viewer};
use crate::record::{HAS_ENCODED_KEY, Head, IS_CLAIMED, IS_STALE};
use crate::sample::Use;
use crate::time::{Expiry, Time};
use crate::turn::{Put, Turn};

/// What a [`Store::fetch`] does besides showing the item.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Fetch {
    /// Gives the item this expiry.
    pub touch: Option<Expiry>,
    /// Makes an empty item if there is none. Who asked for it shall fill it.
    pub create: Option<Create>,
    /// Tells the first who finds an item that dies before this to make it anew.
    pub renew_before: Option<Time>,
    /// The item dies when `touch` says, if `renew_before` is compared with that.
    pub renew_after_touch: bool,
    /// Does not count as use of the item.
    pub unnoticed: bool,
}

/// An item that is made because there is none.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Create {
    /// When it dies.
    pub expiry: Expiry,
    /// Its cas unique, if that is not to be a new one.
    pub cas: Option<u64>,
    /// See [`Marks::encoded_key`].
    pub encoded_key: bool,
}

/// What a [`Store::fetch`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The item has been made.
    pub created: bool,
    /// Who asked has been chosen to make the item anew: nobody else will be until it is stored again.
    pub won: bool,
    /// When the item would have died before it was touched.
    pub expiry_before: Expiry,
}

/// The item as it was before a fetch changed it.
#[derive(Clone, Copy, Debug)]
struct Before {
    marks: Marks,
    idle_seconds: u32,
}

impl Fetch {
    const fn changes_nothing(&self) -> bool {
        self.touch.is_none() && self.create.is_none() && self.renew_before.is_none()
    }

    fn is_soon_dead(&self, expiry: Expiry) -> bool {
        let expiry = match self.touch {
            Some(expiry) if self.renew_after_touch => expiry,
            _ => expiry,
        };
        match (self.renew_before, expiry) {
            (Some(moment), Expiry::At(death)) => death < moment,
            _ => false,
        }
    }
}

impl Store {
    /// Shows the live item with the key to `visit`, with its marks and its idle time as they were before, and does
    /// what `fetch` says, at once. Of those who find an item that is stale, one is chosen to make it anew.
    ///
    /// `visit` runs under the shard's locks as for [`Self::get`]. Without memory for what `fetch` adds, nothing
    /// is added.
    pub fn fetch<R>(
        &self,
        key: &[u8],
        fetch: &Fetch,
        now: Time,
        visit: impl FnOnce(Hit<'_>, Fetched) -> R,
    ) -> Lookup<R> {
        let mut visit = Some(visit);
        if fetch.changes_nothing() {
            let looked = self.get_as(key, fetch.unnoticed, now, |hit| {
                // The one who is chosen must be noted, which a reader cannot do.
                if hit.marks.stale && !hit.marks.claimed {
                    return None;
                }
                let expiry_before = hit.expiry;
                let fetched = Fetched {
                    expiry_before,
                    ..Fetched::default()
                };
                visit.take().map(|visit| visit(hit, fetched))
            });
            match looked {
                Lookup::Hit(Some(result)) => return Lookup::Hit(result),
                Lookup::Hit(None) => {}
                Lookup::Miss(miss) => return Lookup::Miss(miss),
            }
        }
        let (Some(visit), Some((place, mut turn))) = (visit, self.turn_for(key, now)) else {
            return Lookup::Miss(Miss::Absent);
        };
        let (fetched, before) = match turn.fetch(place, key, fetch) {
            Lookup::Hit(fetched) => fetched,
            Lookup::Miss(miss) => {
                drop(turn);
                if self.is_sampled(place) {
                    self.sample(place, key, Use::Miss, now);
                }
                return Lookup::Miss(miss);
            }
        };
        let mut viewer = Viewer::new(|mut hit: Hit<'_>| {
            hit.marks = before.marks;
            hit.idle_seconds = before.idle_seconds;
            visit(hit, fetched)
        });
        let glance = Glance {
            place,
            key,
            unnoticed: fetch.unnoticed,
            now,
        };
        // Shown even if it is dead by now: this is what it was touched for.
        let seen = self.look(glance, |_, _| None, &mut viewer);
        drop(turn);
        // What was made because there was none is no hit.
        let used = if fetched.created { Use::Set } else { Use::Hit };
        if self.is_sampled(place) {
            self.sample(place, key, Use::Touch, now);
            self.sample(place, key, used, now);
        }
        self.show(seen, viewer, key, now)
    }
}

impl Turn<'_> {
    fn fetch(&mut self, place: Place, key: &[u8], fetch: &Fetch) -> Lookup<(Fetched, Before)> {
        let (old, created) = match self.look(place, key, |_, found| found.record.head) {
            Lookup::Hit(head) => (head, false),
            Lookup::Miss(miss) => {
                let create = |create: &Create| self.create(place, key, &[], create).is_some();
                let Some(created) = fetch.create.filter(create) else {
                    return Lookup::Miss(miss);
                };
                let mut head = Head::new(0, Expiry::Never, self.now);
                head.mark(HAS_ENCODED_KEY, created.encoded_key);
                (head, true)
            }
        };
        let is_due = old.is_marked(IS_STALE) || fetch.is_soon_dead(old.expiry);
        let won = created || is_due && !old.is_marked(IS_CLAIMED);
        if won || fetch.touch.is_some() {
            let used_seconds = self.now.as_seconds();
            let _ = self.amend(place, key, |head| {
                head.expiry = fetch.touch.unwrap_or(head.expiry);
                head.mark(IS_CLAIMED, won || head.is_marked(IS_CLAIMED));
                if !fetch.unnoticed {
                    head.used_seconds = used_seconds;
                }
            });
        }
        let fetched = Fetched {
            created,
            won,
            expiry_before: old.expiry,
        };
        let idle_seconds = self.now.as_seconds().saturating_sub(old.used_seconds);
        let before = Before {
            marks: old.marks(),
            idle_seconds,
        };
        Lookup::Hit((fetched, before))
    }

    /// Stores an item where there is none, and returns its cas unique if there is room.
    pub(crate) fn create(
        &mut self,
        place: Place,
        key: &[u8],
        value: &[u8],
        create: &Create,
    ) -> Option<u64> {
        if !self.has_room_for(key.len(), value.len()) {
            return None;
        }
        let mut head = Head::new(0, create.expiry, self.now);
        head.given_cas = create.cas;
        head.mark(HAS_ENCODED_KEY, create.encoded_key);
        let put = Put {
            is_new: true,
            ..Put::new(key, head, NewValue::Copied(value))
        };
        let unique = self.put(place, put)?;
        self.writer.counters.count_stored(Attempt::Off, value.len());
        Some(unique)
    }
}
