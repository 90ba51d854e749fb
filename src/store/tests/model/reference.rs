//! The store as it should be, written as plainly as possible.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use nuthatch_store::{Arithmetic, Expiry, Miss, Namespaces as _, StoreOutcome, Time};

use super::op::{ITEM_LEN_MAX, LastByte, Op};

/// Value, client flags, expiry and cas unique of a hit.
pub(crate) type Shown = (Vec<u8>, u32, Expiry, u64);

/// What an operation answered.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Hit(Shown),
    Miss(Miss),
    Stored(u64),
    Refused(StoreOutcome),
    Number(u64, u64),
    NoNumber(Arithmetic),
    Done(bool),
}

#[derive(Clone)]
struct Item {
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
    cas: u64,
    stored_at: Time,
    is_flushed: bool,
}

#[derive(Default)]
pub(crate) struct Reference {
    items: HashMap<Vec<u8>, Item>,
    pending_flush: Option<Time>,
    was_swept: bool,
    now: Time,
    /// The cas unique of the next item.
    cas: u64,
}

impl Reference {
    pub(crate) fn cas_of(&self, key: &[u8]) -> u64 {
        self.items.get(key).map_or(0, |item| item.cas)
    }

    pub(crate) fn live_count(&mut self, now: Time) -> u64 {
        self.let_flush_come(now);
        let is_live = |item: &&Item| !item.is_flushed && !item.expiry.is_due(now);
        u64::try_from(self.items.values().filter(is_live).count()).unwrap()
    }

    /// Performs the operation and checks the store's answer; cas uniques are taken from it.
    pub(crate) fn check(&mut self, op: &Op, now: Time, answer: &Answer, step: usize) {
        self.let_flush_come(now);
        self.now = now;
        self.cas = match answer {
            Answer::Stored(cas) | Answer::Number(_, cas) => *cas,
            _ => 0,
        };
        let expected = self.perform(op);
        // A sweep may have removed what was dead.
        let is_swept = self.was_swept
            && matches!(expected, Answer::Miss(_))
            && *answer == Answer::Miss(Miss::Absent);
        assert!(
            is_swept || *answer == expected,
            "step {step}, {now:?}, {op:?}: got {answer:?}, expected {expected:?}"
        );
    }

    fn perform(&mut self, op: &Op) -> Answer {
        match op {
            Op::Get(key) => self.look(key),
            Op::GetAndTouch(key, expiry) => {
                // Found as it was, shown with the new expiry, even if that is over already.
                let mut answer = self.look(key);
                if let Answer::Hit(shown) = &mut answer {
                    shown.2 = *expiry;
                    self.touch(key, *expiry);
                }
                answer
            }
            Op::Touch(key, expiry) => Answer::Done(self.touch(key, *expiry)),
            Op::Set(key, flags, expiry, value) => {
                let answer = self.store(key, (value, *flags, *expiry), None);
                if matches!(answer, Answer::Refused(_)) {
                    self.items.remove(key);
                }
                answer
            }
            Op::Add(key, flags, expiry, value) => {
                let refusal = self.live(key).map(|_| StoreOutcome::NotStored);
                self.store(key, (value, *flags, *expiry), refusal)
            }
            Op::Replace(key, flags, expiry, value) => {
                let is_live = self.live(key).is_some();
                let refusal = (!is_live).then_some(StoreOutcome::NotStored);
                self.store(key, (value, *flags, *expiry), refusal)
            }
            Op::Cas(key, value, unique) => {
                let refusal = match self.live(key) {
                    None => Some(StoreOutcome::NotFound),
                    Some(item) if item.cas != *unique => Some(StoreOutcome::Exists),
                    Some(_) => None,
                };
                self.store(key, (value, 0, Expiry::Never), refusal)
            }
            Op::Append(key, value) => self.extend(key, b"", value),
            Op::Prepend(key, value) => self.extend(key, value, b""),
            Op::Incr(key, delta) => self.count(key, |n| n.wrapping_add(*delta)),
            Op::Decr(key, delta) => self.count(key, |n| n.saturating_sub(*delta)),
            Op::Delete(key) => {
                let was_live = self.live(key).is_some();
                self.items.remove(key);
                Answer::Done(was_live)
            }
            Op::Flush(at) => {
                self.pending_flush = (*at > self.now).then_some(*at);
                if *at <= self.now {
                    self.items
                        .values_mut()
                        .for_each(|item| item.is_flushed = true);
                }
                Answer::Done(true)
            }
            Op::FlushNamespace(id) => {
                for (key, item) in &mut self.items {
                    item.is_flushed |= LastByte.of(key) == *id;
                }
                Answer::Done(true)
            }
            Op::Sweep(_) => {
                self.was_swept = true;
                Answer::Done(true)
            }
        }
    }

    fn let_flush_come(&mut self, now: Time) {
        let Some(at) = self.pending_flush.filter(|at| *at <= now) else {
            return;
        };
        for item in self.items.values_mut().filter(|item| item.stored_at < at) {
            item.is_flushed = true;
        }
        self.pending_flush = None;
    }

    fn live(&mut self, key: &[u8]) -> Option<&mut Item> {
        let now = self.now;
        let item = self.items.get_mut(key)?;
        (!item.is_flushed && !item.expiry.is_due(now)).then_some(item)
    }

    fn look(&mut self, key: &[u8]) -> Answer {
        match self.items.get(key) {
            None => Answer::Miss(Miss::Absent),
            Some(item) if item.is_flushed => Answer::Miss(Miss::Flushed),
            Some(item) if item.expiry.is_due(self.now) => Answer::Miss(Miss::Expired),
            Some(item) => Answer::Hit((item.value.clone(), item.flags, item.expiry, item.cas)),
        }
    }

    fn touch(&mut self, key: &[u8], expiry: Expiry) -> bool {
        self.live(key).map(|item| item.expiry = expiry).is_some()
    }

    fn store(
        &mut self,
        key: &[u8],
        (value, flags, expiry): (&[u8], u32, Expiry),
        refusal: Option<StoreOutcome>,
    ) -> Answer {
        if item_len(key, flags, value) > ITEM_LEN_MAX {
            return Answer::Refused(StoreOutcome::TooLarge);
        }
        if let Some(outcome) = refusal {
            return Answer::Refused(outcome);
        }
        let item = Item {
            value: value.to_vec(),
            flags,
            expiry,
            cas: self.cas,
            stored_at: self.now,
            is_flushed: false,
        };
        self.items.insert(key.to_vec(), item);
        Answer::Stored(self.cas)
    }

    fn extend(&mut self, key: &[u8], before: &[u8], behind: &[u8]) -> Answer {
        let Some(item) = self.live(key) else {
            return Answer::Refused(StoreOutcome::NotStored);
        };
        let value = [before, &item.value, behind].concat();
        let (flags, expiry) = (item.flags, item.expiry);
        self.store(key, (&value, flags, expiry), None)
    }

    fn count(&mut self, key: &[u8], change: impl Fn(u64) -> u64) -> Answer {
        let (now, cas) = (self.now, self.cas);
        let Some(item) = self.live(key) else {
            return Answer::NoNumber(Arithmetic::NotFound);
        };
        let Some(number) = parse(&item.value) else {
            return Answer::NoNumber(Arithmetic::NonNumeric);
        };
        let number = change(number);
        let len = item.value.len();
        item.value = format!("{number:<len$}").into_bytes();
        item.cas = cas;
        item.stored_at = now;
        Answer::Number(number, cas)
    }
}

fn item_len(key: &[u8], flags: u32, value: &[u8]) -> u64 {
    let flags_len = if flags == 0 { 0 } else { 4 };
    u64::try_from(48 + 8 + key.len() + 1 + flags_len + value.len() + 2).unwrap()
}

fn parse(value: &[u8]) -> Option<u64> {
    let until_nul = value.split(|byte| *byte == 0).next()?;
    let text = str::from_utf8(until_nul).ok()?;
    // Rust's own parser takes one leading plus and nothing else.
    text.split_whitespace().next()?.parse().ok()
}
