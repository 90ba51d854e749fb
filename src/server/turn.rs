//! [`Turn`]: how much one connection may do before others have theirs.

use crate::clock::Now;
use crate::execute::Context;
use crate::worker::Worker;
use nuthatch_protocol::repeats;
use std::os::fd::RawFd;

/// Keys looked up before other connections have their turn.
const TURN_KEYS_MAX: u32 = 4096;

/// Bytes sent before other connections have their turn.
const TURN_OUTPUT_LEN_MAX: usize = 256 * 1024;

/// What is left of a connection's turn, and the moment it works in.
pub(crate) struct Turn<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) requests_left: u32,
    pub(crate) keys_left: u32,
    pub(crate) output_left: usize,
}

impl<'a> Turn<'a> {
    pub(crate) fn begin(worker: &'a Worker, fd: RawFd, now: Now) -> Self {
        Self {
            context: worker.context(fd, now),
            requests_left: worker.settings().requests_per_turn.get(),
            keys_left: TURN_KEYS_MAX,
            output_left: TURN_OUTPUT_LEN_MAX,
        }
    }

    /// How often in a row the request may be executed whose line `unread` begins with: as often as it has been sent. It
    /// counts as so many.
    pub(crate) fn repeats(&mut self, line_len: usize, unread: &[u8]) -> usize {
        if self.context.watch.wants_lines() {
            return 1;
        }
        let left = usize::try_from(self.requests_left).unwrap_or(usize::MAX);
        let more = repeats(unread, line_len).min(left.saturating_sub(1));
        self.requests_left = self
            .requests_left
            .saturating_sub(u32::try_from(more).unwrap_or(u32::MAX));
        more.saturating_add(1)
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.requests_left == 0 || self.keys_left == 0 || self.output_left == 0
    }
}
