//! [`Requests`]: an endless stream of requests as bytes.

use bytes::BufMut as _;
use nuthatch_protocol::{
    Arithmetic, ArithmeticOp, Key, Keys, Request, Retrieve, Storage, StorageMode,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

use crate::workload::{Lengths, Operation, Popularity, Workload};

/// Keys are drawn before the clock runs, and again in the same order when these have been used.
const DRAWN_KEYS: usize = 1 << 20;

const ZIPF_EXPONENT: f64 = 0.99;

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// memcached's classic text protocol.
    Memcached,
    /// Redis' RESP2.
    Resp,
}

/// Draws and encodes requests.
#[derive(Debug)]
pub(crate) struct Requests {
    dialect: Dialect,
    workload: Workload,
    /// The longest value; the others are its beginning.
    value: Vec<u8>,
    lengths: Lengths,
    drawn: Vec<u32>,
    next: usize,
    random: SmallRng,
    /// The keys of the request in hand, one behind the other.
    keys: Vec<u8>,
}

impl Requests {
    /// Requests of a workload; the same ones each time.
    pub(crate) fn new(dialect: Dialect, workload: &Workload, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let count = workload.keys.max(1);
        // A Zipf distribution of at least one element with a positive exponent exists.
        let zipf = Zipf::new(f64::from(count), ZIPF_EXPONENT).ok();
        let drawn = (0..DRAWN_KEYS).map(|_| match (workload.popularity, &zipf) {
            (Popularity::Zipf, Some(zipf)) => spread(rank(zipf.sample(&mut random)), count),
            (Popularity::Hot, _) => 0,
            _ => random.random_range(0..count),
        });
        Self {
            dialect,
            drawn: drawn.collect(),
            workload: workload.clone(),
            value: vec![b'v'; workload.value_len.max()],
            lengths: workload.value_len,
            next: 0,
            random,
            keys: Vec::new(),
        }
    }

    /// Stores every key once, in order.
    pub(crate) fn storing_all(dialect: Dialect, workload: &Workload) -> Self {
        let (value, lengths) = match workload.operation {
            Operation::Incr => (b"0".to_vec(), Lengths::all(1)),
            Operation::Get | Operation::Set => {
                (vec![b'v'; workload.value_len.max()], workload.value_len)
            }
        };
        let workload = Workload {
            operation: Operation::Set,
            ..workload.clone()
        };
        Self {
            dialect,
            drawn: (0..workload.keys).collect(),
            value,
            lengths,
            workload,
            next: 0,
            random: SmallRng::seed_from_u64(0),
            keys: Vec::new(),
        }
    }

    /// Appends the next request; returns its operation.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) -> Operation {
        let is_set = self.workload.set_percent > 0
            && self.random.random_range(0..100) < self.workload.set_percent;
        let operation = if is_set {
            Operation::Set
        } else {
            self.workload.operation
        };
        let key_count = match operation {
            Operation::Get => self.workload.multiget.max(1),
            Operation::Set | Operation::Incr => 1,
        };
        self.keys.clear();
        let mut value_len = 0;
        for _ in 0..key_count {
            let number = self.drawn.get(self.next).copied().unwrap_or_default();
            self.next = (self.next + 1) % self.drawn.len().max(1);
            value_len = self.lengths.of(number);
            write_key(number, self.workload.key_len.into(), &mut self.keys);
        }
        match self.dialect {
            Dialect::Memcached => self.write_text(operation, value_len, out),
            Dialect::Resp => self.write_resp(operation, value_len, out),
        }
        operation
    }

    fn write_text(&self, operation: Operation, value_len: usize, out: &mut Vec<u8>) {
        let keys = self.keys.chunks(self.workload.key_len.into());
        let keys: Vec<_> = keys.filter_map(|key| Key::new(key).ok()).collect();
        let (Some(key), Some(all)) = (keys.first(), Keys::new(&keys)) else {
            return;
        };
        match operation {
            Operation::Get => Request::Retrieve(Retrieve::new(all)).encode(out),
            Operation::Incr => {
                Request::Arithmetic(Arithmetic::new(ArithmeticOp::Incr, *key, 1)).encode(out);
            }
            Operation::Set => {
                let value = self.value.get(..value_len).unwrap_or(&self.value);
                let len = value.len() as u64;
                Request::Store(Storage::new(StorageMode::Set, *key, len)).encode(out);
                out.put_slice(value);
                out.put_slice(b"\r\n");
            }
        }
    }

    fn write_resp(&self, operation: Operation, value_len: usize, out: &mut Vec<u8>) {
        let keys = self.keys.chunks(self.workload.key_len.into());
        let set = [self.value.get(..value_len).unwrap_or(&self.value)];
        let (command, value): (&[u8], &[&[u8]]) = match operation {
            Operation::Get if keys.len() > 1 => (b"MGET", &[]),
            Operation::Get => (b"GET", &[]),
            Operation::Incr => (b"INCR", &[]),
            Operation::Set => (b"SET", &set),
        };
        let len = 1 + keys.len() + value.len();
        out.put_slice(format!("*{len}\r\n").as_bytes());
        for word in [command]
            .into_iter()
            .chain(keys)
            .chain(value.iter().copied())
        {
            out.put_slice(format!("${}\r\n", word.len()).as_bytes());
            out.put_slice(word);
            out.put_slice(b"\r\n");
        }
    }
}

/// `k` and the number, filled up with zeros.
fn write_key(mut number: u32, len: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + len, b'0');
    let (Some(first), digits) = out
        .get_mut(begin..)
        .and_then(<[u8]>::split_first_mut)
        .map_or((None, &mut [][..]), |(first, digits)| (Some(first), digits))
    else {
        return;
    };
    *first = b'k';
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// Popular keys shall not be neighbours.
fn spread(rank: u32, count: u32) -> u32 {
    let mixed = u64::from(rank).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    u32::try_from(mixed % u64::from(count)).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank from 1 to the number of keys"
)]
fn rank(sample: f64) -> u32 {
    sample as u32
}
