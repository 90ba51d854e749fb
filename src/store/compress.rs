//! Values compressed with LZ4 behind the clients' backs: what goes in comes out, or nothing does.
//!
//! None of it happens while a shard is locked, `append` and `prepend` excepted.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::quality::FixedState;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use crate::item::{LARGE_VALUE_LEN_MIN, NewValue, ValueRef};
use crate::spare::Spare;

/// Compressed values are kept if they are at most so many eighths of what came in: less than that is
/// not worth the time of every get.
const KEPT_EIGHTHS: usize = 7;

/// Of a longer value the beginning is tried first: what does not compress there is taken to be an
/// image or an archive.
const WHOLE_LEN_MAX: usize = 16 << 10;
const PROBE_LEN: usize = 4 << 10;

/// Values below this are not tried, whatever is configured: nothing that short ever gets smaller.
const RAW_LEN_MIN: usize = 64;

/// What it takes to get a compressed value back, and to know that it is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compressed {
    pub(crate) raw_len: u32,
    pub(crate) checksum: u32,
}

/// What became of a value that was to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Nothing is compressed.
    Off,
    /// It is too short to be tried.
    Short,
    /// It would not become smaller by an eighth.
    Incompressible,
    Compressed(Compressed),
}

impl Attempt {
    pub(crate) const fn compressed(self) -> Option<Compressed> {
        match self {
            Self::Compressed(compressed) => Some(compressed),
            Self::Off | Self::Short | Self::Incompressible => None,
        }
    }
}

/// Buffers of a thread, so that a value of up to [`WHOLE_LEN_MAX`] bytes costs no allocation.
#[derive(Default)]
struct Scratch {
    table: CompressTable,
    stored: Vec<u8>,
    raw: Vec<u8>,
}

thread_local! {
    /// Taken while it is in use: whoever needs one meanwhile gets another.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    fn give_back(mut self: Box<Self>) {
        self.stored.clear();
        self.stored
            .shrink_to(get_maximum_output_size(WHOLE_LEN_MAX));
        SCRATCH.set(Some(self));
    }
}

/// Compresses the value if it has at least `len_min` bytes and gets smaller, and hands what shall be
/// stored to `store`.
pub(crate) fn compressing<R>(
    value: NewValue<'_>,
    len_min: Option<usize>,
    store: impl FnOnce(NewValue<'_>, Attempt) -> R,
) -> R {
    let Some(len_min) = len_min else {
        return store(value, Attempt::Off);
    };
    if value.len() < len_min.max(RAW_LEN_MIN) {
        return store(value, Attempt::Short);
    }
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let attempt = compress(value.as_slice(), &mut scratch);
    let result = match attempt {
        Attempt::Compressed(_) if scratch.stored.len() >= LARGE_VALUE_LEN_MIN => {
            drop(value);
            let stored = std::mem::take(&mut scratch.stored).into_boxed_slice();
            store(NewValue::Owned(stored.into()), attempt)
        }
        Attempt::Compressed(_) => {
            // Before the lock: it may be a megabyte.
            drop(value);
            store(NewValue::Copied(&scratch.stored), attempt)
        }
        _ => store(value, attempt),
    };
    scratch.give_back();
    result
}

/// Leaves the compressed value in `scratch.stored`.
fn compress(raw: &[u8], scratch: &mut Scratch) -> Attempt {
    let Ok(raw_len) = u32::try_from(raw.len()) else {
        return Attempt::Incompressible;
    };
    let probe = raw.get(..PROBE_LEN).filter(|_| raw.len() > WHOLE_LEN_MAX);
    let is_promising = probe.is_none_or(|probe| compress_part(probe, scratch));
    if is_promising && compress_part(raw, scratch) {
        Attempt::Compressed(Compressed {
            raw_len,
            checksum: checksum(raw),
        })
    } else {
        Attempt::Incompressible
    }
}

/// Whether it got so small that it is worth it.
fn compress_part(raw: &[u8], scratch: &mut Scratch) -> bool {
    let Scratch { table, stored, .. } = scratch;
    stored.resize(get_maximum_output_size(raw.len()), 0);
    let len = compress_into_with_table(raw, stored, table).unwrap_or(usize::MAX);
    stored.truncate(len);
    len <= raw.len() / 8 * KEPT_EIGHTHS
}

#[expect(clippy::cast_possible_truncation, reason = "a part of the hash")]
fn checksum(raw: &[u8]) -> u32 {
    FixedState::with_seed(0).hash_one(raw) as u32
}

impl Compressed {
    pub(crate) fn raw_len(self) -> usize {
        usize::try_from(self.raw_len).unwrap_or(usize::MAX)
    }

    /// The value that `stored` came from; `None` if it is not what it was when it was stored.
    pub(crate) fn decompress(self, stored: &[u8]) -> Option<Vec<u8>> {
        self.decompress_to(stored, vec![0; self.raw_len()])
    }

    /// The same in a buffer of that length.
    fn decompress_to(self, stored: &[u8], mut raw: Vec<u8>) -> Option<Vec<u8>> {
        self.decompress_into(stored, &mut raw).then_some(raw)
    }

    fn decompress_into(self, stored: &[u8], raw: &mut [u8]) -> bool {
        decompress_into(stored, raw).is_ok_and(|len| len == raw.len())
            && checksum(raw) == self.checksum
    }
}

/// A compressed value on its way out of the store.
pub(crate) struct Outgoing {
    scratch: Box<Scratch>,
    /// A large one is referred to instead of copied.
    shared: Option<Bytes>,
    compressed: Compressed,
}

impl Outgoing {
    pub(crate) fn new(value: ValueRef<'_>, compressed: Compressed) -> Self {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        scratch.stored.clear();
        let shared = match value {
            ValueRef::Shared(bytes) => Some(bytes.clone()),
            ValueRef::Inline(bytes) => {
                scratch.stored.extend_from_slice(bytes);
                None
            }
        };
        Self {
            scratch,
            shared,
            compressed,
        }
    }

    /// Decompresses it and shows it to `visit`, a large one by way of `lend`; `None` if it is damaged.
    pub(crate) fn show<R>(
        mut self,
        spare: &Spare,
        lend: impl FnOnce(Vec<u8>) -> Bytes,
        visit: impl FnOnce(ValueRef<'_>) -> R,
    ) -> Option<R> {
        let Scratch { stored, raw, .. } = &mut *self.scratch;
        let stored = self.shared.as_deref().unwrap_or(stored);
        let shown = if self.compressed.raw_len() < LARGE_VALUE_LEN_MIN {
            raw.resize(self.compressed.raw_len(), 0);
            let is_whole = self.compressed.decompress_into(stored, raw);
            is_whole.then(|| visit(ValueRef::Inline(raw)))
        } else {
            let raw = spare.zeros(self.compressed.raw_len());
            let raw = self.compressed.decompress_to(stored, raw).map(lend);
            raw.map(|raw| visit(ValueRef::Shared(&raw)))
        };
        self.scratch.give_back();
        shown
    }
}

impl fmt::Debug for Outgoing {
    // Values are the client's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compressed.fmt(f)
    }
}

/// The value as it came in; `None` if it is damaged.
pub(crate) fn raw_value(stored: &[u8], compressed: Option<Compressed>) -> Option<Cow<'_, [u8]>> {
    match compressed {
        None => Some(Cow::Borrowed(stored)),
        Some(compressed) => compressed.decompress(stored).map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes that compress to about two thirds.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut text = Vec::new();
        while text.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend_from_slice(format!("{{\"id\":{},\"name\":", state >> 8).as_bytes());
        }
        text.truncate(len);
        text
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(next).collect()
    }

    fn stored(raw: &[u8], len_min: Option<usize>) -> (Vec<u8>, Attempt) {
        compressing(NewValue::Copied(raw), len_min, |value, attempt| {
            (value.as_slice().to_vec(), attempt)
        })
    }

    #[test]
    fn what_goes_in_comes_out_on_both_sides_of_every_length() {
        for len in [
            1023,
            1024,
            1025,
            16_383,
            16_384,
            16_385,
            65_534,
            65_535,
            65_536,
            1 << 20,
        ] {
            let raw = text(len);
            let (stored, attempt) = stored(&raw, Some(1024));
            if len < 1024 {
                assert_eq!((attempt, stored), (Attempt::Short, raw));
                continue;
            }
            let compressed = attempt.compressed().unwrap();
            assert!(stored.len() <= len / 8 * 7, "{len}: {}", stored.len());
            assert_eq!(compressed.decompress(&stored).unwrap(), raw);
            let bytes = Bytes::from(stored.clone());
            for value in [ValueRef::Inline(&stored), ValueRef::Shared(&bytes)] {
                let shown =
                    Outgoing::new(value, compressed).show(&Spare::new(), Bytes::from, |value| {
                        (
                            value.as_slice().to_vec(),
                            matches!(value, ValueRef::Shared(_)),
                        )
                    });
                assert_eq!(shown.unwrap(), (raw.clone(), len >= LARGE_VALUE_LEN_MIN));
            }
        }
    }

    #[test]
    fn what_does_not_compress_stays_as_it_is() {
        for len in [1024, 100_000] {
            let raw = noise(len);
            assert_eq!(stored(&raw, Some(0)), (raw, Attempt::Incompressible));
        }
        assert_eq!(stored(&text(5000), None).1, Attempt::Off);
        assert_eq!(stored(&[0; RAW_LEN_MIN - 1], Some(0)).1, Attempt::Short);
        assert!(stored(&[0; RAW_LEN_MIN], Some(0)).1.compressed().is_some());
    }

    #[test]
    fn a_long_value_is_judged_by_its_beginning() {
        let mut raw = noise(PROBE_LEN);
        raw.resize(WHOLE_LEN_MAX, 0);
        assert!(stored(&raw, Some(0)).1.compressed().is_some());
        raw.push(0);
        assert_eq!(stored(&raw, Some(0)).1, Attempt::Incompressible);
    }

    #[test]
    fn an_eighth_must_be_saved() {
        // Noise, then zeros: what is saved is what the zeros were.
        let attempt = |zeros: usize| {
            let mut raw = noise(8000 - zeros);
            raw.resize(8000, 0);
            let (stored, attempt) = stored(&raw, Some(0));
            (stored.len(), attempt.compressed().is_some())
        };
        for zeros in 900..1200 {
            let (len, is_compressed) = attempt(zeros);
            assert_eq!(is_compressed, len <= 7000, "{zeros}: {len}");
        }
        assert!(!attempt(900).1 && attempt(1199).1);
    }

    #[test]
    fn a_damaged_value_never_comes_out() {
        let raw = text(2000);
        let (stored, attempt) = stored(&raw, Some(0));
        let compressed = attempt.compressed().unwrap();
        for position in 0..stored.len() {
            for bit in 0..8 {
                let mut damaged = stored.clone();
                damaged[position] ^= 1 << bit;
                // Some bits of LZ4 may say the same in another way.
                let came_out = compressed.decompress(&damaged);
                assert!(
                    came_out.is_none_or(|value| value == raw),
                    "{position}.{bit}"
                );
            }
        }
        for len in 0..stored.len() {
            assert_eq!(compressed.decompress(&stored[..len]), None, "{len}");
        }
        let longer = Compressed {
            raw_len: compressed.raw_len + 1,
            ..compressed
        };
        assert_eq!(longer.decompress(&stored), None);
    }
}
