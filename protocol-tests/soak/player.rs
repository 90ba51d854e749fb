//! One connection's part in the soak: what it knows, and whether an answer agrees with that.

use std::borrow::Cow;

use crate::connection::{Answer, Hit};
use crate::item;
use crate::random::Random;
use crate::request::{Change, Mode, Request, Retrieval, Target};
use crate::shared::{self, COUNTER_COUNT, SharedNumber, TICKET_COUNT};
use crate::slot::{Eviction, Slot};

#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) index: usize,
    pub(crate) random: Random,
    pub(crate) eviction: Eviction,
    pub(crate) slots: Vec<Slot>,
    pub(crate) counters: Vec<SharedNumber>,
    pub(crate) tickets: Vec<SharedNumber>,
    /// The number of values written, so that no two are alike.
    pub(crate) version: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl Player {
    pub(crate) fn new(index: usize, seed: u64, slots: Vec<Slot>, eviction: Eviction) -> Self {
        Self {
            index,
            random: Random::new(seed, index),
            eviction,
            slots,
            counters: vec![SharedNumber::default(); COUNTER_COUNT],
            tickets: vec![SharedNumber::default(); TICKET_COUNT],
            version: 0,
            hits: 0,
            misses: 0,
        }
    }

    pub(crate) fn key(&self, target: Target) -> Cow<'_, [u8]> {
        match target {
            Target::Own(index) => {
                Cow::Borrowed(self.slots.get(index).map_or(&[], |slot| &*slot.key))
            }
            Target::Missing(_) | Target::Counter(_) | Target::Ticket(_) | Target::Board(_) => {
                shared::key(target)
            }
        }
    }

    /// Checks an answer, and learns from it. A request with noreply has none.
    ///
    /// # Errors
    /// What should have been answered.
    pub(crate) fn judge(
        &mut self,
        request: &Request,
        answer: Option<&Answer>,
    ) -> Result<(), String> {
        let line = answer.map(|answer| &*answer.line);
        let hits = answer.map_or(&[][..], |answer| &answer.hits);
        match request {
            Request::Retrieve { verb, targets } => {
                self.judge_hits(*verb, targets, hits)?;
                expect(b"END", line)
            }
            Request::Change { .. } | Request::Wrong(_) if !hits.is_empty() => {
                Err("no values".to_owned())
            }
            Request::Change { target, change, .. } => self.judge_change(*target, change, line),
            Request::Wrong(wrong) => expect(wrong.answer, line),
        }
    }

    /// Finds out which of the keys were found, in the order of the request.
    fn judge_hits(
        &mut self,
        verb: Retrieval,
        targets: &[Target],
        hits: &[Hit],
    ) -> Result<(), String> {
        let mut hits = hits.iter().peekable();
        for target in targets {
            let key = self.key(*target);
            let hit = hits.next_if(|hit| hit.key == *key);
            if hit.is_some_and(|hit| hit.unique.is_some() != verb.shows_unique()) {
                return Err("cas uniques in gets and gats, and only there".to_owned());
            }
            match hit {
                Some(_) => self.hits += 1,
                None => self.misses += 1,
            }
            self.look(*target, hit)
                .map_err(|wanted| format!("{}: {wanted}", self.key(*target).escape_ascii()))?;
        }
        match hits.next() {
            Some(hit) => Err(format!("no value of {} here", hit.key.escape_ascii())),
            None => Ok(()),
        }
    }

    fn look(&mut self, target: Target, hit: Option<&Hit>) -> Result<(), String> {
        match target {
            Target::Own(index) => {
                let slot = self.slots.get_mut(index);
                slot.map_or(Ok(()), |slot| slot.look(hit, self.eviction))
            }
            Target::Counter(index) => self
                .counters
                .get_mut(index)
                .map_or(Ok(()), |counter| counter.look(hit)),
            Target::Ticket(index) => self
                .tickets
                .get_mut(index)
                .map_or(Ok(()), |ticket| ticket.look(hit)),
            Target::Board(index) => shared::look_at_board(index, hit, self.eviction),
            Target::Missing(_) if hit.is_some() => Err("a miss".to_owned()),
            Target::Missing(_) => Ok(()),
        }
    }

    fn judge_change(
        &mut self,
        target: Target,
        change: &Change,
        line: Option<&[u8]>,
    ) -> Result<(), String> {
        match (target, change) {
            (Target::Own(index), _) => {
                let slot = self.slots.get_mut(index);
                slot.map_or(Ok(()), |slot| slot.change(change, line, self.eviction))
            }
            (Target::Counter(index), Change::Delta { amount, .. }) => {
                let counter = self.counters.get_mut(index);
                counter.map_or(Ok(()), |counter| counter.incr(*amount, line))
            }
            (
                Target::Ticket(index),
                Change::Store {
                    mode: Mode::Cas(_), ..
                },
            ) => {
                let ticket = self.tickets.get_mut(index);
                ticket.map_or(Ok(()), |ticket| ticket.cas(line.unwrap_or_default()))
            }
            (
                Target::Board(_),
                Change::Store {
                    mode: Mode::Set, ..
                },
            ) => expect(b"STORED", line),
            // Nothing else is planned for the others, and nothing that stores for these.
            (_, change) => expect(&item::answer(None, change), line),
        }
    }

    /// The private items that must be there, and the length of their keys and values.
    pub(crate) fn live(&self) -> (u64, u64) {
        let lens = self.slots.iter().filter_map(Slot::live_len);
        lens.fold((0, 0), |(count, bytes), len| {
            (count + 1, bytes + len as u64)
        })
    }
}

fn expect(wanted: &[u8], line: Option<&[u8]>) -> Result<(), String> {
    match line {
        Some(line) if line != wanted => Err(wanted.escape_ascii().to_string()),
        Some(_) | None => Ok(()),
    }
}
