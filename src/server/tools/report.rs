//! [`Report`]: what a verb says when it has copied what it could.

use super::dump_file::Damage;
use super::error::{EXIT_INCOMPLETE, ToolError};
use super::source::Missed;
use super::target::Added;
use crate::failure::Failure;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// What a verb did, for people, and whether anything was lost.
#[derive(Debug)]
pub(crate) struct Report {
    text: String,
    is_complete: bool,
}

impl Report {
    pub(crate) const fn new(done: String) -> Self {
        Self {
            text: done,
            is_complete: true,
        }
    }

    /// Says how many, if there are any.
    fn left_out(&mut self, count: u64, what: &str) {
        if count > 0 {
            // Writing to memory does not fail.
            let _ = write!(self.text, "; {count} {what}");
        }
    }

    /// The same of what should not have been left out.
    fn lost(&mut self, count: u64, what: &str, first: Option<&String>) {
        self.left_out(count, what);
        self.is_complete &= count == 0;
        if let Some(first) = first {
            let _ = write!(self.text, ", the first one {first}");
        }
    }

    pub(crate) fn missed(mut self, missed: &Missed) -> Self {
        self.left_out(missed.gone, "gone before they were read");
        self.left_out(missed.stale, "stale or being made anew, left out");
        let first = missed.first_unreadable.as_ref();
        self.lost(missed.unreadable, "could not be read", first);
        self
    }

    pub(crate) fn added(mut self, added: &Added) -> Self {
        self.left_out(
            added.present,
            "left as they were: the server had these keys",
        );
        self.left_out(added.expired, "expired, left out");
        self.lost(added.refused, "refused", added.first_refused.as_ref());
        self
    }

    pub(crate) fn damage(mut self, damage: Damage) -> Self {
        if damage.is_none() {
            return self;
        }
        self.is_complete = false;
        self.left_out(damage.blocks, "blocks lost, of 64 KiB or one item each");
        self.left_out(damage.bytes, "bytes damaged");
        if damage.is_truncated {
            self.text.push_str("; the end of the dump is missing");
        }
        self
    }
}

/// Says how it ended, on standard error. What was lost makes it a failure.
pub(crate) fn say(result: Result<Report, ToolError>) -> Result<(), Failure> {
    let report = result?;
    if report.is_complete {
        // Nobody is left to tell if the terminal is gone.
        drop(writeln!(io::stderr(), "{}", report.text));
        Ok(())
    } else {
        Err(Failure::of_tool(EXIT_INCOMPLETE, report.text))
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self::of_tool(error.exit_code(), error.to_string())
    }
}

/// A number of bytes for people.
pub(crate) fn size(len: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match len {
        ..KIB => format!("{len} bytes"),
        KIB..MIB => format!("{} KiB", len / KIB),
        MIB.. => format!("{} MiB", len / MIB),
    }
}
