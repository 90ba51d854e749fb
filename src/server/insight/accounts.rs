//! [`Accounts`]: what each number stands for, and since when.
//!
//! Counters of numbers only grow. What is told of a name is what its number has counted since the name is told; all else
//! is told of `other`: what was counted under 0, and under other numbers while they were about to be told, or had been.
//! A number that changes its part is read once, and what it has counted until then is taken off one side and put on the
//! other: so what is told of `other` neither jumps nor falls.

use crate::insight::names::{COUNT, Names, TOLD_MAX};
use crate::insight::requests::{EVENTS, Sums};
use crate::insight::rules::OTHER;
use crate::insight::{NamespaceRow, Results};
use nuthatch_store::{NamespaceId, NamespaceStats};

/// What a number has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    requests: [u64; EVENTS],
    sets: u64,
    arith_hits: u64,
    evictions: u64,
}

impl Counted {
    fn pairs<'a>(&'a mut self, other: &'a Self) -> impl Iterator<Item = (&'a mut u64, &'a u64)> {
        let here = [&mut self.sets, &mut self.arith_hits, &mut self.evictions];
        let there = [&other.sets, &other.arith_hits, &other.evictions];
        let requests = self.requests.iter_mut().zip(&other.requests);
        here.into_iter().zip(there).chain(requests)
    }

    fn since(mut self, earlier: &Self) -> Self {
        for (sum, before) in self.pairs(earlier) {
            *sum = sum.saturating_sub(*before);
        }
        self
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.pairs(other) {
            *sum = sum.wrapping_add(*more);
        }
    }
}

/// What all numbers have counted, and what they hold.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) stored: Vec<NamespaceStats>,
    pub(crate) requests: Sums,
}

impl Counts {
    fn stored(&self, id: NamespaceId) -> NamespaceStats {
        let stored = self.stored.get(usize::from(id));
        stored.copied().unwrap_or_default()
    }

    fn counted(&self, id: NamespaceId) -> Counted {
        let stored = self.stored(id);
        Counted {
            requests: self.requests.of_number(id),
            sets: stored.stored,
            arith_hits: stored.counted,
            evictions: stored.evictions,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// No name has it, and no item.
    #[default]
    Free,
    /// Its name will be told when all items of it have the number.
    Joins,
    /// By its name, if it has been given to one.
    Told,
    /// No name has it, but there may be items that have.
    Leaves,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    part: Part,
    /// What it had counted when it got this part.
    before: Counted,
}

/// The parts of all numbers.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: [Account; COUNT],
    /// What numbers have counted for `other` that have no such part any more.
    carried: Counted,
}

impl Default for Accounts {
    /// The first numbers are told as soon as they are given to who comes first.
    fn default() -> Self {
        let mut accounts = [Account::default(); COUNT];
        for account in accounts.iter_mut().take(TOLD_MAX + 1).skip(1) {
            account.part = Part::Told;
        }
        Self {
            accounts,
            carried: Counted::default(),
        }
    }
}

impl Accounts {
    fn all(&self) -> impl Iterator<Item = (NamespaceId, &Account)> {
        (0..).zip(&self.accounts).skip(1)
    }

    fn are(&self, part: Part) -> impl Iterator<Item = NamespaceId> {
        let accounts = self.all().filter(move |(_, account)| account.part == part);
        accounts.map(|(id, _)| id)
    }

    /// Those whose names are told.
    pub(crate) fn told(&self, names: &Names) -> impl Iterator<Item = NamespaceId> {
        let first = names.first();
        self.are(Part::Told).filter(move |id| {
            let number = usize::from(*id);
            number <= first || number > TOLD_MAX
        })
    }

    /// Those that can be given to a name.
    pub(crate) fn free(&self) -> Vec<NamespaceId> {
        self.are(Part::Free).collect()
    }

    /// Those that are told as `other`.
    pub(crate) fn other(&self) -> Vec<NamespaceId> {
        let others = self.are(Part::Joins).chain(self.are(Part::Leaves));
        std::iter::once(0).chain(others).collect()
    }

    /// Whether numbers without a name may have items.
    pub(crate) fn has_leaving(&self) -> bool {
        self.are(Part::Leaves).next().is_some()
    }

    /// The name of a told number is no longer told.
    pub(crate) fn leave(&mut self, id: NamespaceId, counts: &Counts) {
        self.begin(id, Part::Leaves, counts);
    }

    /// A free number is given to a name.
    pub(crate) fn join(&mut self, id: NamespaceId, counts: &Counts) {
        self.begin(id, Part::Joins, counts);
    }

    /// All items have the numbers that they should have: who joins is told, and who has left is free if nothing is left.
    pub(crate) fn settle(&mut self, counts: &Counts) {
        let joined: Vec<_> = self.are(Part::Joins).collect();
        for id in joined {
            self.begin(id, Part::Told, counts);
        }
        self.clear(counts);
    }

    /// The same for those that have left only.
    pub(crate) fn clear(&mut self, counts: &Counts) {
        let left: Vec<_> = self.are(Part::Leaves).collect();
        for id in left {
            if counts.stored(id).items == 0 {
                self.begin(id, Part::Free, counts);
            }
        }
    }

    /// The counters begin at 0 again.
    pub(crate) fn reset(&mut self, counts: &Counts) {
        self.carried = Counted::default();
        for (id, account) in (0..).zip(&mut self.accounts) {
            account.before = counts.counted(id);
        }
    }

    fn begin(&mut self, id: NamespaceId, part: Part, counts: &Counts) {
        let Some(account) = self.accounts.get_mut(usize::from(id)) else {
            return;
        };
        let now = counts.counted(id);
        if matches!(account.part, Part::Joins | Part::Leaves) {
            self.carried.add(&now.since(&account.before));
        }
        *account = Account { part, before: now };
    }

    /// What is told, `other` at the end.
    pub(crate) fn rows(&self, names: &Names, counts: &Counts) -> Vec<NamespaceRow> {
        let of = |id: NamespaceId| {
            let account = self.accounts.get(usize::from(id));
            let before = account.map(|account| account.before).unwrap_or_default();
            (counts.counted(id).since(&before), counts.stored(id))
        };
        let told = self.told(names).filter_map(|id| {
            let (counted, held) = of(id);
            Some(row(id, names.name_of(id)?.as_str(), &counted, &held))
        });
        let mut rows: Vec<_> = told.collect();
        let (mut counted, mut held) = (self.carried, NamespaceStats::default());
        for id in self.other() {
            let (more, stored) = of(id);
            counted.add(&more);
            held.items = held.items.wrapping_add(stored.items);
            held.bytes = held.bytes.wrapping_add(stored.bytes);
        }
        rows.push(row(0, OTHER, &counted, &held));
        rows
    }
}

fn row(id: NamespaceId, name: &str, counted: &Counted, held: &NamespaceStats) -> NamespaceRow {
    let [get_hits, get_misses, delete_hits, delete_misses, rest @ ..] = counted.requests;
    let [touch_hits, touch_misses, arith_misses] = rest;
    let results = |hits, misses| Results { hits, misses };
    NamespaceRow {
        id,
        name: name.to_owned(),
        get: results(get_hits, get_misses),
        delete: results(delete_hits, delete_misses),
        touch: results(touch_hits, touch_misses),
        arith: results(counted.arith_hits, arith_misses),
        sets: counted.sets,
        items: held.items,
        bytes: held.bytes,
        evictions: counted.evictions,
    }
}
