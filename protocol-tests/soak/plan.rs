//! What a connection sends next: batches of requests, bounded so that neither side fills the
//! other's socket.

use crate::player::Player;
use crate::request::{Request, Retrieval, Target};
use crate::shared::board_len_max;

const DEPTH_MAX: usize = 50;

/// A batch is full when its requests or their answers may be this long. With the last request they
/// stay below 64 KiB, but for a large value, which has a batch of its own.
const BATCH_LEN_FULL: usize = 32 << 10;

/// Keys with longer values are large.
pub(crate) const SMALL_LEN_MAX: usize = 4_000;

/// More than `VALUE`, the longest key and the numbers of an answer.
const HEADER_LEN_MAX: usize = 320;

/// Requests that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Each with the end of its bytes.
    pub(crate) requests: Vec<(Request, usize)>,
    answers_len_max: usize,
}

/// Large values are for requests that have a batch of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Any,
    Small,
}

impl Batch {
    fn push(&mut self, player: &Player, request: Request) {
        self.answers_len_max += answer_len_max(player, &request);
        request.write(|target| player.key(target), &mut self.bytes);
        self.requests.push((request, self.bytes.len()));
    }

    fn is_full(&self) -> bool {
        self.bytes.len().max(self.answers_len_max) >= BATCH_LEN_FULL
    }
}

fn answer_len_max(player: &Player, request: &Request) -> usize {
    match request {
        Request::Retrieve { targets, .. } => targets
            .iter()
            .map(|target| target_len_max(player, *target))
            .sum(),
        Request::Change { .. } | Request::Wrong(_) => 80,
    }
}

pub(crate) fn target_len_max(player: &Player, target: Target) -> usize {
    let value_len_max = match target {
        Target::Own(slot) => player.slots.get(slot).map_or(0, |slot| slot.value_len_max),
        Target::Board(board) => board_len_max(board),
        Target::Missing(_) | Target::Counter(_) | Target::Ticket(_) => 20,
    };
    HEADER_LEN_MAX + value_len_max
}

impl Player {
    /// A batch of random depth, at least one request and at most `count_max`.
    pub(crate) fn plan(&mut self, count_max: usize) -> Batch {
        let depth = (1 + self.random.below(DEPTH_MAX)).min(count_max);
        let mut batch = Batch::default();
        let mut sizes = Sizes::Any;
        while batch.requests.len() < depth && !batch.is_full() {
            let request = self.choose(sizes);
            batch.push(self, request);
            sizes = Sizes::Small;
        }
        batch
    }

    /// Retrievals of the private keys from `slot` on, and how many they are.
    pub(crate) fn plan_sweep(&self, slot: usize) -> (Batch, usize) {
        let mut batch = Batch::default();
        for index in (slot..self.slots.len()).take(DEPTH_MAX) {
            let len_max = target_len_max(self, Target::Own(index));
            if len_max > SMALL_LEN_MAX + HEADER_LEN_MAX && !batch.requests.is_empty() {
                break;
            }
            batch.push(
                self,
                Request::Retrieve {
                    verb: Retrieval::Gets,
                    targets: vec![Target::Own(index)],
                },
            );
            if batch.is_full() {
                break;
            }
        }
        let count = batch.requests.len();
        (batch, count)
    }
}
