//! Which request comes next: a random mixture of everything that the connection can judge.

use crate::plan::{SMALL_LEN_MAX, Sizes, target_len_max};
use crate::player::Player;
use crate::request::{
    Change, Direction, Expiry, Mode, Reply, Request, Retrieval, Target, WRONG_REQUESTS,
};
use crate::shared::{
    BOARD_COUNT, COUNTER_COUNT, SMALL_BOARD_COUNT, SharedNumber, TICKET_COUNT, board_len_max,
    board_stamp,
};
use crate::slot::{Content, Eviction};
use crate::value::Stamp;

/// A multiget gets no further key when its answer may be this long.
const MULTIGET_LEN_FULL: usize = 16 << 10;

/// `gat` lines stay below the 2048 bytes that memcached buffers of an incomplete line.
const GAT_KEY_COUNT_MAX: usize = 6;

impl Player {
    /// Any request; those for large values only if they may be of any size.
    pub(crate) fn choose(&mut self, sizes: Sizes) -> Request {
        match self.random.below(200) {
            0..=59 => retrieve(Retrieval::Get, vec![Target::Own(self.own(sizes))]),
            60..=77 => retrieve(Retrieval::Gets, vec![Target::Own(self.own(sizes))]),
            78..=91 => self.multiget(),
            92..=99 => self.gat(),
            100..=171 => self.change_own(sizes),
            172..=176 => self.change_missing(),
            177..=188 => self.raise_shared(),
            189..=198 => self.use_board(sizes),
            _ => WRONG_REQUESTS
                .get(self.random.below(WRONG_REQUESTS.len()))
                .map_or_else(|| self.gat(), Request::Wrong),
        }
    }

    fn own(&mut self, sizes: Sizes) -> usize {
        let slot = self.random.below(self.slots.len());
        let small = self
            .slots
            .get(slot)
            .is_some_and(|slot| slot.value_len_max <= SMALL_LEN_MAX);
        // The first slot is always small.
        if small || sizes == Sizes::Any {
            slot
        } else {
            0
        }
    }

    /// Any key, with repetitions; mostly few of them.
    fn multiget(&mut self) -> Request {
        let count_max = if self.random.one_in(10) { 100 } else { 8 };
        let count = 2 + self.random.below(count_max);
        let mut targets = Vec::new();
        let mut answer_len = 0;
        while targets.len() < count && answer_len < MULTIGET_LEN_FULL {
            let target = self.small_target();
            answer_len += target_len_max(self, target);
            targets.push(target);
        }
        let verb = if self.random.one_in(2) {
            Retrieval::Get
        } else {
            Retrieval::Gets
        };
        retrieve(verb, targets)
    }

    fn gat(&mut self) -> Request {
        let count = 1 + self.random.below(GAT_KEY_COUNT_MAX);
        let targets = (0..count).map(|_| self.small_target()).collect();
        let exptime = self.later();
        let verb = if self.random.one_in(2) {
            Retrieval::Gat
        } else {
            Retrieval::Gats
        };
        retrieve(verb(exptime), targets)
    }

    fn small_target(&mut self) -> Target {
        match (self.random.below(10), self.eviction) {
            (0, _) => self.missing(),
            (1, _) => Target::Board(self.random.below(SMALL_BOARD_COUNT)),
            (2, Eviction::Excluded) => Target::Counter(self.random.below(COUNTER_COUNT)),
            (3, Eviction::Excluded) => Target::Ticket(self.random.below(TICKET_COUNT)),
            (_, Eviction::Excluded | Eviction::Possible) => Target::Own(self.own(Sizes::Small)),
        }
    }

    fn missing(&mut self) -> Target {
        Target::Missing(self.random.below(1_000_000))
    }

    fn change_own(&mut self, sizes: Sizes) -> Request {
        let slot = self.own(sizes);
        let change = match self.random.below(36) {
            0..=3 => Change::Touch(self.expiry()),
            4..=7 => Change::Delete,
            8..=9 => self.delta(),
            _ => match self.slots.get(slot).map(|slot| slot.content) {
                Some(Content::Number) if self.random.one_in(2) => self.delta(),
                Some(Content::Number) => self.store_number(slot),
                Some(Content::Text) | None => self.store_text(slot),
            },
        };
        let reply = match change {
            // Whether an unanswered add stored could not be told if the old item may be evicted.
            Change::Store {
                mode: Mode::Add, ..
            } if self.eviction == Eviction::Possible => Reply::Wanted,
            _ => self.reply(),
        };
        Request::Change {
            target: Target::Own(slot),
            change,
            reply,
        }
    }

    fn store_number(&mut self, slot: usize) -> Change {
        let mode = match self.store_mode(slot) {
            Mode::Append | Mode::Prepend => Mode::Set,
            mode => mode,
        };
        let number = self.small_or(9, 2);
        Change::Store {
            mode,
            flags: self.flags(),
            expiry: self.expiry(),
            value: number.to_string().into_bytes(),
        }
    }

    fn store_text(&mut self, index: usize) -> Change {
        let mode = self.store_mode(index);
        let (flags, expiry) = (self.flags(), self.expiry());
        let version = self.next_version();
        let Some(slot) = self.slots.get_mut(index) else {
            return Change::Delete;
        };
        let (mode, len_max) = match mode {
            // A piece that might not fit becomes a fresh value.
            Mode::Append | Mode::Prepend => match slot.value_len_max - slot.sent_len_max {
                0..=19 => (Mode::Set, slot.value_len_max),
                room => (mode, room / 2),
            },
            Mode::Set | Mode::Add | Mode::Replace | Mode::Cas(_) => (mode, slot.value_len_max),
        };
        let len = if self.random.one_in(20) {
            0
        } else {
            self.random.below(len_max + 1)
        };
        slot.sent_len_max = match mode {
            Mode::Append | Mode::Prepend => slot.sent_len_max + len,
            Mode::Set => len,
            Mode::Add | Mode::Replace | Mode::Cas(_) => slot.sent_len_max.max(len),
        };
        let stamp = Stamp {
            key: index,
            writer: self.index,
            version,
            len,
        };
        Change::Store {
            mode,
            flags,
            expiry,
            value: stamp.value(),
        }
    }

    fn store_mode(&mut self, slot: usize) -> Mode {
        let unique = self.slots.get(slot).and_then(|slot| slot.unique_seen);
        match (self.random.below(36), unique) {
            (0..=3, _) => Mode::Add,
            (4..=7, _) => Mode::Replace,
            (8..=12, _) => Mode::Append,
            (13..=16, _) => Mode::Prepend,
            (17..=22, Some(unique)) => Mode::Cas(unique),
            (_, _) => Mode::Set,
        }
    }

    /// A change that cannot store anything.
    fn change_missing(&mut self) -> Request {
        let value = self.random.next().to_string().into_bytes();
        let store = |mode| Change::Store {
            mode,
            flags: 0,
            expiry: Expiry::Never,
            value,
        };
        let change = match self.random.below(7) {
            0 => Change::Delete,
            1 => Change::Touch(self.expiry()),
            2 => store(Mode::Replace),
            3 => store(Mode::Append),
            4 => store(Mode::Prepend),
            5 => store(Mode::Cas(self.random.next())),
            _ => self.delta(),
        };
        Request::Change {
            target: self.missing(),
            change,
            reply: self.reply(),
        }
    }

    /// Counters by `incr`, tickets by `cas`. Both would lose count if they were evicted.
    fn raise_shared(&mut self) -> Request {
        if self.eviction == Eviction::Possible {
            return self.multiget();
        }
        if self.random.one_in(2) {
            let target = Target::Counter(self.random.below(COUNTER_COUNT));
            let amount = 1 + self.random.next() % 1000;
            let change = Change::Delta {
                direction: Direction::Incr,
                amount,
            };
            return Request::Change {
                target,
                change,
                reply: self.reply(),
            };
        }
        let index = self.random.below(TICKET_COUNT);
        let target = Target::Ticket(index);
        let seen = self
            .tickets
            .get_mut(index)
            .and_then(SharedNumber::take_seen);
        let Some((number, unique)) = seen else {
            return retrieve(Retrieval::Gets, vec![target]);
        };
        let value = (number + 1).to_string().into_bytes();
        let mode = Mode::Cas(unique);
        let change = Change::Store {
            mode,
            flags: 0,
            expiry: Expiry::Never,
            value,
        };
        Request::Change {
            target,
            change,
            reply: Reply::Wanted,
        }
    }

    fn use_board(&mut self, sizes: Sizes) -> Request {
        let count = if sizes == Sizes::Any {
            BOARD_COUNT
        } else {
            SMALL_BOARD_COUNT
        };
        let board = self.random.below(count);
        if self.random.one_in(2) {
            return retrieve(Retrieval::Get, vec![Target::Board(board)]);
        }
        let len = self.random.below(board_len_max(board) + 1);
        let stamp = board_stamp(board, self.index, self.next_version(), len);
        let (flags, value) = (stamp.flags(), stamp.value());
        let change = Change::Store {
            mode: Mode::Set,
            flags,
            expiry: Expiry::Never,
            value,
        };
        Request::Change {
            target: Target::Board(board),
            change,
            reply: self.reply(),
        }
    }

    fn delta(&mut self) -> Change {
        let direction = if self.random.one_in(2) {
            Direction::Incr
        } else {
            Direction::Decr
        };
        let amount = self.small_or(7, 10);
        Change::Delta { direction, amount }
    }

    /// The small number, or, once in so many times, any one of up to 2^48.
    ///
    /// Numbers stay below 2^63: memcached 1.6.18 looks behind larger ones for a minus sign, and
    /// calls them non-numeric if it finds one in the remains of an older item.
    fn small_or(&mut self, small: u64, one_in: usize) -> u64 {
        if self.random.one_in(one_in) {
            self.random.next() >> 16
        } else {
            small
        }
    }

    fn expiry(&mut self) -> Expiry {
        match self.random.below(12) {
            0 => Expiry::AtOnce,
            1..=3 => Expiry::Later(self.later()),
            _ => Expiry::Never,
        }
    }

    /// Below 30 days, above which an exptime is a date; long after the end of the run.
    fn later(&mut self) -> u32 {
        86_400 * (1 + u32::try_from(self.random.below(30)).unwrap_or(0))
    }

    fn flags(&mut self) -> u32 {
        if self.random.one_in(3) {
            return 0;
        }
        u32::try_from(self.random.next() >> 32).unwrap_or(u32::MAX)
    }

    fn reply(&mut self) -> Reply {
        if self.random.one_in(8) {
            Reply::Noreply
        } else {
            Reply::Wanted
        }
    }

    const fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

const fn retrieve(verb: Retrieval, targets: Vec<Target>) -> Request {
    Request::Retrieve { verb, targets }
}
