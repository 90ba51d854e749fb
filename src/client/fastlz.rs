//! Unpacks fastlz, with which php-memcached compresses unless it is told otherwise: both levels of the format, as
//! version 0.1 of its library writes them.

use crate::Error;
use bytes::Bytes;

/// Up to this many literals follow a byte below it.
const LITERALS_MAX: u8 = 32;

/// The shortest repetition has two bytes more than the number that stands for it.
const LEN_EXTRA: usize = 2;

/// This number in the three bits for a length: more bytes of length follow.
const LEN_GOES_ON: usize = 7;

/// Level 2: from this distance on, which is all ones, two bytes follow with what is added to it.
const FAR: usize = (31 << 8) | 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    One,
    Two,
}

/// What `packed` was, if that is `len` bytes. The caller has found them to be not too many.
pub(crate) fn decompress(packed: &[u8], len: usize) -> Result<Bytes, Error> {
    unpack(packed, len)
        .filter(|bytes| bytes.len() == len)
        .map(Bytes::from)
        .ok_or_else(|| Error::codec("a value compressed by fastlz that is damaged"))
}

/// `None` if it is no fastlz, or would be longer than `len`.
fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut input = Input(packed);
    let mut out = Vec::with_capacity(len);
    let first = input.byte()?;
    let level = match first >> 5 {
        0 => Level::One,
        1 => Level::Two,
        _ => return None,
    };
    // In the first instruction, which is always of literals, the high bits say the level.
    let mut instruction = Some(first & 31);
    while let Some(byte) = instruction {
        if byte < LITERALS_MAX {
            let literals = input.take(usize::from(byte).checked_add(1)?)?;
            if literals.len() > len.checked_sub(out.len())? {
                return None;
            }
            out.extend_from_slice(literals);
        } else {
            let (repeated, distance) = input.repetition(byte, level)?;
            if repeated > len.checked_sub(out.len())? {
                return None;
            }
            repeat(&mut out, repeated, distance)?;
        }
        instruction = input.byte();
    }
    Some(out)
}

/// Appends `len` bytes that begin so far before the end. They may overlap what they become.
fn repeat(out: &mut Vec<u8>, len: usize, distance: usize) -> Option<()> {
    let begin = out.len().checked_sub(distance)?;
    let mut left = len;
    while left > 0 {
        let end = begin.checked_add(left)?.min(out.len());
        left = left.checked_sub(end.checked_sub(begin)?)?;
        out.extend_from_within(begin..end);
    }
    Some(())
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// How many bytes come again, and from how far back.
    fn repetition(&mut self, first: u8, level: Level) -> Option<(usize, usize)> {
        let mut len = usize::from(first >> 5);
        if len == LEN_GOES_ON {
            loop {
                let more = self.byte()?;
                len = len.checked_add(usize::from(more))?;
                if level == Level::One || more < u8::MAX {
                    break;
                }
            }
        }
        let mut distance = (usize::from(first & 31) << 8) | usize::from(self.byte()?);
        if level == Level::Two && distance == FAR {
            let (high, low) = (self.byte()?, self.byte()?);
            distance = distance.checked_add(usize::from(u16::from_be_bytes([high, low])))?;
        }
        Some((len.checked_add(LEN_EXTRA)?, distance.checked_add(1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One instruction.
    #[derive(Clone, Debug)]
    enum Step {
        Literals(Vec<u8>),
        Repeat { len: usize, distance: usize },
    }

    /// The longest repetition that level 1 has, and the longest distances of both.
    const LEN_MAX_ONE: usize = 7 + 255 + 2;
    const DISTANCE_MAX_ONE: usize = 8192;
    const DISTANCE_MAX_TWO: usize = 8191 + 65_535 + 1;

    fn small(number: usize) -> u8 {
        u8::try_from(number).unwrap()
    }

    fn pack(level: Level, steps: &[Step]) -> Vec<u8> {
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Literals(bytes) => {
                    out.push(small(bytes.len() - 1));
                    out.extend(bytes);
                }
                Step::Repeat { len, distance } => {
                    let (number, back) = (len - 2, distance - 1);
                    let near = back.min(FAR);
                    out.push(small((number.min(7) << 5) | (near >> 8)));
                    if number >= 7 {
                        let more = number - 7;
                        if level == Level::Two {
                            out.extend(std::iter::repeat_n(255, more / 255));
                        }
                        out.push(small(if level == Level::Two {
                            more % 255
                        } else {
                            more
                        }));
                    }
                    out.push(small(near & 255));
                    if level == Level::Two && near == FAR {
                        let rest = u16::try_from(back - FAR).unwrap();
                        out.extend(rest.to_be_bytes());
                    }
                }
            }
        }
        out[0] |= if level == Level::Two { 32 } else { 0 };
        out
    }

    /// Byte by byte, as the format is explained.
    fn expand(steps: &[Step]) -> Vec<u8> {
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Literals(bytes) => out.extend(bytes),
                Step::Repeat { len, distance } => {
                    for _ in 0..*len {
                        out.push(out[out.len() - distance]);
                    }
                }
            }
        }
        out
    }

    /// Literals first, and every repetition of something that is there.
    fn steps(level: Level) -> impl Strategy<Value = Vec<Step>> {
        let (len_max, distance_max) = match level {
            Level::One => (LEN_MAX_ONE, DISTANCE_MAX_ONE),
            Level::Two => (70_000, DISTANCE_MAX_TWO),
        };
        let literals = || prop::collection::vec(any::<u8>(), 1..=32);
        let step = prop_oneof![
            literals().prop_map(Step::Literals),
            (3..=len_max, any::<usize>())
                .prop_map(|(len, distance)| Step::Repeat { len, distance }),
        ];
        (literals(), prop::collection::vec(step, 0..20)).prop_map(move |(first, mut steps)| {
            let mut there = first.len();
            for step in &mut steps {
                there += match step {
                    Step::Literals(bytes) => bytes.len(),
                    Step::Repeat { len, distance } => {
                        *distance = *distance % there.min(distance_max) + 1;
                        *len
                    }
                };
            }
            steps.insert(0, Step::Literals(first));
            steps
        })
    }

    fn check(level: Level, steps: &[Step]) {
        let (packed, bytes) = (pack(level, steps), expand(steps));
        assert_eq!(decompress(&packed, bytes.len()).unwrap(), bytes);
        for len in [bytes.len() - 1, bytes.len() + 1] {
            assert!(decompress(&packed, len).is_err(), "{len}");
        }
        assert_eq!(unpack(&packed, bytes.len() - 1), None);
    }

    proptest! {
        // A failure is not kept: its file would lie beside the crates, and be taken for one.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_level_is_unpacked(one in steps(Level::One), two in steps(Level::Two)) {
            check(Level::One, &one);
            check(Level::Two, &two);
        }

        #[test]
        fn nothing_is_longer_than_it_says(packed in prop::collection::vec(any::<u8>(), 0..300), len in 0_usize..2000) {
            if let Some(bytes) = unpack(&packed, len) {
                prop_assert!(bytes.len() <= len && bytes.capacity() <= len);
            }
        }
    }

    #[test]
    fn the_edges_of_the_format_are_unpacked() {
        let noise = || {
            let mut random = fastrand::Rng::with_seed(3);
            let chunks = (0..2400).map(move |_| (0..32).map(|_| random.u8(..)).collect());
            chunks.map(Step::Literals)
        };
        for (level, len, distance) in [
            (Level::One, 3, 1),
            (Level::One, 8, 1),
            (Level::One, 9, 1),
            (Level::One, LEN_MAX_ONE, DISTANCE_MAX_ONE),
            (Level::Two, 9, FAR),
            (Level::Two, 9 + 254, FAR + 1),
            (Level::Two, 9 + 255, FAR + 2),
            (Level::Two, 9 + 3 * 255, DISTANCE_MAX_TWO),
        ] {
            let mut steps: Vec<_> = noise().collect();
            steps.extend([
                Step::Repeat { len, distance },
                Step::Literals(b"end".to_vec()),
            ]);
            check(level, &steps);
        }
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        for packed in [
            &b""[..],
            b"\x00",              // A literal that is not there.
            b"\x05abc",           // Or half of them.
            b"\x00a\x20",         // A repetition without its distance.
            b"\x00a\x20\x01",     // Of what is before the beginning.
            b"\x00a\xe0",         // Without its length.
            b"\x20a\xe0\xff\xff", // Whose length does not end.
            b"\x20a\x3f\xff\x00", // Half of a far distance.
            b"\x40a",             // A level that there is not.
        ] {
            for len in [0, 1, 4, 300] {
                assert!(decompress(packed, len).is_err(), "{packed:?}");
            }
        }
        assert_eq!(decompress(b"\x00a\x20\x00", 4).unwrap(), &b"aaaa"[..]);
    }
}
