//! What must always be true, for tests: the books agree with the memory.

use crate::Store;
use crate::log::Location;
use crate::namespace::Books;
use crate::record::{Head, Record};
use crate::stats::count;
use crate::time::Time;
use crate::turn::Turn;

impl Store {
    /// Looks through everything and compares it with what is written about it. For tests: it holds each
    /// shard for as long as it takes.
    ///
    /// # Errors
    /// The first thing that does not agree.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        for number in 0..self.shards.len() {
            if let Some(mut turn) = self.turn(number, Time::default()) {
                let outcome = turn.check();
                outcome.map_err(|what| format!("shard {number}: {what}"))?;
            }
        }
        Ok(())
    }
}

impl Turn<'_> {
    /// Each entry leads to one record or slot, each live record and slot has one entry.
    fn check(&mut self) -> Result<(), String> {
        let mut items = 0;
        let mut found = Books::new(self.writer.books.count());
        for number in 0..self.writer.segments.len() {
            let number = u32::try_from(number).map_err(|error| error.to_string())?;
            items += self.check_segment(number, &mut found)?;
        }
        items += self.check_slots(&mut found)?;
        self.check_books(found)?;
        let table = self.index.table(self.number);
        same("entries and items", table.len, items)?;
        same("bytes of the table", self.writer.table_bytes, table.bytes)?;
        let queued = self.writer.small.segment_count() + self.writer.main.segment_count();
        let used = self
            .writer
            .segments
            .iter()
            .filter(|segment| segment.used)
            .count();
        same("queued and used segments", queued, used)?;
        let known = used + self.writer.free.len() + self.writer.empty.len();
        same("segments", self.writer.segments.len(), known)?;
        let (charged, budget) = (self.writer.charged(), self.writer.budget);
        // A table that grows is paid for by the next item.
        if charged > budget + table.bytes {
            return Err(format!("{charged} bytes charged of {budget}"));
        }
        Ok(())
    }

    /// Each namespace has what is written in its book.
    fn check_books(&mut self, mut found: Books) -> Result<(), String> {
        let held = |books: &mut Books| -> Vec<(u64, u64)> {
            let namespaces = books.all().iter();
            namespaces.map(|one| (one.items, one.bytes)).collect()
        };
        let (written, found) = (held(&mut self.writer.books), held(&mut found));
        if written == found {
            Ok(())
        } else {
            Err(format!(
                "items and bytes of namespaces: {written:?} written, {found:?} found"
            ))
        }
    }

    /// How many items a segment holds.
    fn check_segment(&mut self, number: u32, found: &mut Books) -> Result<usize, String> {
        let segment = self
            .writer
            .segments
            .get(number as usize)
            .copied()
            .unwrap_or_default();
        let scratch = self.copy_segment(number);
        let (mut offset, mut live, mut items) = (0, 0, 0);
        while let Some(record) = scratch.get(offset..).and_then(Record::parse) {
            let location = self.writer.location(number, offset);
            offset += record.len();
            let place = self.index.place(record.key);
            if self.index.find_at(place, location).is_some() {
                live += record.len();
                if !self.is_outdated(number) {
                    self.check_number(record.key, &record.head)?;
                }
                found.enter(record.head.namespace, count(record.len()));
                items += 1;
            }
        }
        self.writer.scratch = scratch;
        same("end of the records", segment.fill, offset)?;
        same("live bytes", segment.live, live)?;
        Ok(items)
    }

    /// An item has the number of its key, unless it would be dead with that.
    fn check_number(&self, key: &[u8], head: &Head) -> Result<(), String> {
        let known = self.namespaces;
        let expected = known.map_or(0, |namespaces| namespaces.of(key));
        if head.namespace != expected && !self.shard.is_flushed(head.cas, expected) {
            let number = head.namespace;
            return Err(format!("{key:?} has the number {number}, not {expected}"));
        }
        Ok(())
    }

    /// How many items the slots hold.
    fn check_slots(&self, found: &mut Books) -> Result<usize, String> {
        let (mut items, mut charged) = (0, 0);
        for (slot, known) in (0..).zip(&self.writer.slots) {
            let Some(place) = known.place else { continue };
            let location = Location::large(slot);
            if self.index.find_at(place, location).is_none() {
                return Err(format!("slot {slot} has no entry"));
            }
            items += 1;
            charged += known.charge;
            let log = self.shard.log();
            let record = log.find(location).map(|spot| spot.item().record);
            let record = record.ok_or_else(|| format!("slot {slot} is empty"))?;
            found.enter(record.head.namespace, known.charge);
            if !self.writer.books.is_renumbering {
                self.check_number(record.key, &record.head)?;
            }
        }
        same("bytes of large values", self.writer.large_bytes(), charged)?;
        Ok(items)
    }
}

fn same<T: PartialEq + Copy + std::fmt::Debug>(
    what: &str,
    written: T,
    found: T,
) -> Result<(), String> {
    if written == found {
        Ok(())
    } else {
        Err(format!("{what}: {written:?} written, {found:?} found"))
    }
}
