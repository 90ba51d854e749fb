//! The table of differences: everything on the wire in which the servers do not agree.

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The name by which transcripts refer to it.
    pub id: &'static str,
    /// What memcached 1.6.18 does.
    pub memcached_1_6_18: &'static str,
    /// What memcached 1.6.45 does.
    pub memcached_1_6_45: &'static str,
    /// What nuthatch does.
    pub nuthatch: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// All rows, ordered by id.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        id: "blank-number",
        memcached_1_6_18: "incr and decr of a value of only blanks read on, into digits that a deleted item left behind",
        memcached_1_6_45: "as 1.6.18",
        nuthatch: "CLIENT_ERROR cannot increment or decrement non-numeric value",
        reason: "bytes of another item must never be seen",
    },
    Difference {
        id: "leading-space",
        memcached_1_6_18: "leading spaces are skipped",
        memcached_1_6_45: "ERROR",
        nuthatch: "as 1.6.45",
        reason: "one rule for where a command begins",
    },
    Difference {
        id: "length-as-strtol",
        memcached_1_6_18: "the length of a value may have a plus sign or a leading tab",
        memcached_1_6_45: "digits only, after an optional minus sign",
        nuthatch: "as 1.6.45",
        reason: "the length decides where the next command begins: one form, no others",
    },
    Difference {
        id: "length-wraps",
        memcached_1_6_18: "a length of 4294967299 is taken for 3",
        memcached_1_6_45: "CLIENT_ERROR bad command line format",
        nuthatch: "as 1.6.45",
        reason: "a body taken for shorter than said runs as commands",
    },
    Difference {
        id: "meta-debug",
        memcached_1_6_18: "me tells the seconds left as a negative number",
        memcached_1_6_45: "as a positive one",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "meta-flag-errors",
        memcached_1_6_18: "md has one error line for all wrong flags; ms has one for a mode of the wrong length; a line has 19 tokens",
        memcached_1_6_45: "only ma has one error line for all, also for a key that is too long; a line has 20 tokens",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "meta-newer-flags",
        memcached_1_6_18: "no x and E, no C of mg, no s, C and N of an append",
        memcached_1_6_45: "all of them",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "negative-seconds-left",
        memcached_1_6_18: "t of an item that was made dead is a number near 2^32",
        memcached_1_6_45: "as 1.6.18",
        nuthatch: "t0",
        reason: "nothing is left",
    },
    Difference {
        id: "noreply-and-length",
        memcached_1_6_18: "noreply silences a bad or missing length",
        memcached_1_6_45: "the error is sent",
        nuthatch: "as 1.6.45",
        reason: "the stream may be out of step, and the client must hear of it",
    },
    Difference {
        id: "nul-ends-line",
        memcached_1_6_18: "a NUL byte ends the line",
        memcached_1_6_45: "a NUL byte is a byte of the key",
        nuthatch: "as 1.6.45",
        reason: "two readers must not see two different keys",
    },
    Difference {
        id: "refused-body",
        memcached_1_6_18: "the body of a storage command that is refused for its key, flags, exptime or cas unique is run as commands",
        memcached_1_6_45: "the body is swallowed",
        nuthatch: "as 1.6.45",
        reason: "values must never run as commands",
    },
    Difference {
        id: "short-line",
        memcached_1_6_18: "ERROR",
        memcached_1_6_45: "a line of fewer than four bytes is CLIENT_ERROR bad command line format",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "shutdown-disabled",
        memcached_1_6_18: "ERROR: shutdown not enabled",
        memcached_1_6_45: "SERVER_ERROR: shutdown not enabled",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "stray-empty-line",
        memcached_1_6_18: "a multiget with a bad key is answered with one error line",
        memcached_1_6_45: "the error line is followed by an empty line",
        nuthatch: "as 1.6.18",
        reason: "the empty line would be taken for the next answer",
    },
    Difference {
        id: "surplus-arguments",
        memcached_1_6_18: "more words than a command knows are ERROR, for delete a line on its usage",
        memcached_1_6_45: "they are ignored",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "too-few-arguments",
        memcached_1_6_18: "ERROR, and END for gat without a key",
        memcached_1_6_45: "CLIENT_ERROR bad command line format",
        nuthatch: "as 1.6.45",
        reason: "the contract is the newer version",
    },
    Difference {
        id: "withheld-replies",
        memcached_1_6_18: "answers that are due wait until the value of the next command has arrived",
        memcached_1_6_45: "as 1.6.18",
        nuthatch: "answers are sent as soon as their command is done",
        reason: "a client may wait for an answer before it sends the rest",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Step, load};
    use std::collections::BTreeSet;

    #[test]
    fn every_row_is_used_and_every_use_has_a_row() {
        let files = load().unwrap();
        let steps = files.iter().flatten().flat_map(|test| &test.steps);
        let used: BTreeSet<&str> = steps
            .filter_map(|(_, step)| match step {
                Step::Expect(expectation) => Some(expectation.differences()),
                Step::Send(_) | Step::Wait(_) | Step::Leave => None,
            })
            .flatten()
            .collect();
        let rows: Vec<&str> = DIFFERENCES.iter().map(|row| row.id).collect();
        assert_eq!(rows, used.into_iter().collect::<Vec<_>>());
    }
}
