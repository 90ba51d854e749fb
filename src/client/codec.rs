//! [`Codec`]: client flags, by which each language says what the bytes of a value are. They collide: 2 is an integer to
//! Python and a compressed value to Ruby. What a codec does not know is an error, never garbage.

use crate::{Error, Kind, Payload, fastlz};
use bytes::Bytes;
use nuthatch_protocol::Exptime;

/// Whose client flags are written and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// This client's: bytes are 0, text 16 and integers 2, as Python's; JSON and LZ4 compression have bits above those
    /// that others use.
    #[default]
    Native,
    /// pylibmc's and pymemcache's, which agree. Never unpickles; reads zlib with the feature `zlib`.
    Python,
    /// php-memcached's. Never unserializes; reads fastlz, its default, and zlib with the feature `zlib`. zstd is an error.
    Php,
    /// Dalli's (Ruby). Never unmarshals; reads zlib with the feature `zlib`.
    Dalli,
}

/// An item that says: there was something, and it is no longer right.
pub(crate) const TOMBSTONE: u32 = 0x4e00_0001;

/// An item that says: there is nothing.
pub(crate) const NOTHING: u32 = 0x4e00_0002;

/// Of a place kept for a value that somebody is loading.
pub(crate) const LEASE: u32 = 0x4e00_0003;

const NATIVE_JSON: u32 = 0x0001_0000;
const NATIVE_LZ4: u32 = 0x0002_0000;

const PYTHON_PICKLE: u32 = 1;
const PYTHON_INTEGER: u32 = 2;
const PYTHON_LONG: u32 = 4;
const PYTHON_ZLIB: u32 = 8;
const PYTHON_TEXT: u32 = 16;

/// php-memcached: a type in the low four bits, then bits for compression.
const PHP_STRING: u32 = 0;
const PHP_LONG: u32 = 1;
const PHP_DOUBLE: u32 = 2;
const PHP_BOOL: u32 = 3;
const PHP_SERIALIZED: u32 = 4;
const PHP_IGBINARY: u32 = 5;
const PHP_JSON: u32 = 6;
const PHP_MSGPACK: u32 = 7;
const PHP_ZLIB: u32 = 16 | 32;
const PHP_FASTLZ: u32 = 16 | 64;
const PHP_ZSTD: u32 = 16 | 128;

const DALLI_MARSHAL: u32 = 1;
const DALLI_ZLIB: u32 = 2;
const DALLI_TEXT: u32 = 4;

/// Of a compressed value, this many percent of the bytes must be saved.
const SAVED_PERCENT_MIN: usize = 12;

/// A value as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) client_flags: u32,
    pub(crate) value: Bytes,
}

impl Encoded {
    pub(crate) const fn mark(client_flags: u32) -> Self {
        Self {
            client_flags,
            value: Bytes::new(),
        }
    }

    pub(crate) fn store(
        self,
        mode: nuthatch_protocol::StorageMode,
        exptime: Exptime,
    ) -> crate::op::Store {
        crate::op::Store {
            mode,
            client_flags: self.client_flags,
            exptime,
            value: self.value,
        }
    }
}

impl Codec {
    /// Compresses from `compress_min` bytes up, where it pays.
    pub(crate) fn encode(self, payload: Payload, compress_min: usize) -> Encoded {
        let client_flags = match (self, payload.kind) {
            (Self::Native | Self::Python, Kind::Bytes)
            | (Self::Dalli, Kind::Bytes | Kind::Integer) => 0,
            (Self::Native | Self::Python, Kind::Integer) => PYTHON_INTEGER,
            (Self::Native, Kind::Json) => NATIVE_JSON,
            (Self::Native, Kind::Text) | (Self::Python, Kind::Text | Kind::Json) => PYTHON_TEXT,
            (Self::Php, Kind::Bytes | Kind::Text) => PHP_STRING,
            (Self::Php, Kind::Integer) => PHP_LONG,
            (Self::Php, Kind::Json) => PHP_JSON,
            (Self::Dalli, Kind::Text | Kind::Json) => DALLI_TEXT,
        };
        let may_shrink = self == Self::Native && payload.kind != Kind::Integer;
        if may_shrink && payload.bytes.len() >= compress_min {
            let small = lz4_flex::compress_prepend_size(&payload.bytes);
            let limit = payload.bytes.len() / 100 * (100 - SAVED_PERCENT_MIN);
            if small.len() <= limit {
                return Encoded {
                    client_flags: client_flags | NATIVE_LZ4,
                    value: small.into(),
                };
            }
        }
        Encoded {
            client_flags,
            value: payload.bytes,
        }
    }

    /// What others stored, or this client.
    pub(crate) fn decode(self, encoded: Encoded, len_max: usize) -> Result<Payload, Error> {
        let Encoded {
            client_flags: flags,
            value,
        } = encoded;
        let packing = flags & self.packings();
        let kind = self.kind(flags & !packing)?;
        let bytes = match (self, packing) {
            // PHP's `false`.
            (Self::Php, 0) if kind == Kind::Integer && value.is_empty() => Bytes::from_static(b"0"),
            (_, 0) => value,
            (Self::Native, NATIVE_LZ4) => lz4(&value, len_max)?,
            (Self::Python, PYTHON_ZLIB) | (Self::Dalli, DALLI_ZLIB) => zlib(&value, len_max)?,
            (Self::Php, PHP_ZLIB) => php(&value, len_max, |packed, _| zlib(packed, len_max))?,
            (Self::Php, PHP_FASTLZ) => php(&value, len_max, fastlz::decompress)?,
            (Self::Php, PHP_ZSTD) => {
                return Err(Error::codec(
                    "a value compressed by zstd; set memcached.compression_type of PHP to fastlz or zlib",
                ));
            }
            _ => return Err(unknown(self, flags)),
        };
        Ok(Payload::new(kind, bytes))
    }

    /// The bits that say whether and how a value is compressed.
    const fn packings(self) -> u32 {
        match self {
            Self::Native => NATIVE_LZ4,
            Self::Python => PYTHON_ZLIB,
            Self::Php => PHP_ZLIB | PHP_FASTLZ | PHP_ZSTD,
            Self::Dalli => DALLI_ZLIB,
        }
    }

    fn kind(self, flags: u32) -> Result<Kind, Error> {
        let serialized = |whose| Err(Error::codec(format!("a {whose} can read it")));
        match (self, flags) {
            (Self::Native | Self::Python | Self::Dalli, 0)
            | (Self::Php, PHP_STRING | PHP_DOUBLE) => Ok(Kind::Bytes),
            (Self::Native | Self::Python, PYTHON_TEXT) | (Self::Dalli, DALLI_TEXT) => {
                Ok(Kind::Text)
            }
            (Self::Native | Self::Python, PYTHON_INTEGER | PYTHON_LONG)
            | (Self::Php, PHP_LONG | PHP_BOOL) => Ok(Kind::Integer),
            (Self::Native, NATIVE_JSON) | (Self::Php, PHP_JSON) => Ok(Kind::Json),
            (Self::Python, PYTHON_PICKLE) => serialized("pickled value; only Python"),
            (Self::Php, PHP_SERIALIZED | PHP_IGBINARY | PHP_MSGPACK) => {
                serialized("serialized value; only PHP")
            }
            (Self::Dalli, DALLI_MARSHAL) => serialized("marshalled value; only Ruby"),
            _ => Err(unknown(self, flags)),
        }
    }
}

/// The length of what was compressed comes first, in the order of the machine that PHP runs on: those that are in use
/// have the low byte first. On another the length does not fit what follows, which is an error.
fn php(
    value: &[u8],
    len_max: usize,
    decompress: impl FnOnce(&[u8], usize) -> Result<Bytes, Error>,
) -> Result<Bytes, Error> {
    let (len, packed) = value
        .split_first_chunk::<4>()
        .ok_or_else(|| Error::codec("a compressed value that was cut"))?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    if len > len_max {
        return Err(Error::TooLarge { len, max: len_max });
    }
    let bytes = decompress(packed, len)?;
    if bytes.len() != len {
        return Err(Error::codec("a compressed value of another length"));
    }
    Ok(bytes)
}

fn unknown(codec: Codec, flags: u32) -> Error {
    Error::codec(format!(
        "client flags {flags:#x}, which {codec:?} does not know; another client stored this value"
    ))
}

/// The length comes first, and is looked at before anything is allocated.
fn lz4(value: &[u8], len_max: usize) -> Result<Bytes, Error> {
    let (len, _) = lz4_flex::block::uncompressed_size(value)
        .map_err(|error| Error::codec(format!("a compressed value that was cut: {error}")))?;
    if len > len_max {
        return Err(Error::TooLarge { len, max: len_max });
    }
    lz4_flex::decompress_size_prepended(value)
        .map(Bytes::from)
        .map_err(|error| Error::codec(format!("a compressed value that is damaged: {error}")))
}

#[cfg(feature = "zlib")]
fn zlib(value: &[u8], len_max: usize) -> Result<Bytes, Error> {
    use std::io::Read as _;
    let limit = u64::try_from(len_max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(value)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::codec(format!("a compressed value that is damaged: {error}")))?;
    if bytes.len() > len_max {
        return Err(Error::TooLarge {
            len: bytes.len(),
            max: len_max,
        });
    }
    Ok(bytes.into())
}

#[cfg(not(feature = "zlib"))]
fn zlib(_: &[u8], _: usize) -> Result<Bytes, Error> {
    Err(Error::codec(
        "a value compressed by zlib; build nuthatch-client with its feature zlib",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(client_flags: u32, value: &[u8]) -> Encoded {
        Encoded {
            client_flags,
            value: Bytes::copy_from_slice(value),
        }
    }

    fn kind(codec: Codec, flags: u32) -> Option<Kind> {
        codec
            .decode(stored(flags, b"1"), 100)
            .ok()
            .map(|payload| payload.kind)
    }

    #[test]
    fn each_codec_reads_what_it_wrote() {
        for codec in [Codec::Native, Codec::Python, Codec::Php, Codec::Dalli] {
            for kind in [Kind::Bytes, Kind::Text, Kind::Integer, Kind::Json] {
                let payload = Payload::new(kind, Bytes::from_static(b"12"));
                let read = codec.decode(codec.encode(payload.clone(), 1), 100).unwrap();
                assert_eq!(read.bytes, payload.bytes, "{codec:?} {kind:?}");
            }
        }
    }

    #[test]
    fn flags_mean_what_each_language_says() {
        use Kind::{Bytes, Integer, Json, Text};
        for (codec, cases) in [
            (
                Codec::Native,
                &[
                    (0, Some(Bytes)),
                    (16, Some(Text)),
                    (2, Some(Integer)),
                    (0x1_0000, Some(Json)),
                    (1, None),
                    (8, None),
                ][..],
            ),
            (
                Codec::Python,
                &[
                    (0, Some(Bytes)),
                    (16, Some(Text)),
                    (2, Some(Integer)),
                    (4, Some(Integer)),
                    (1, None),
                    (32, None),
                ],
            ),
            (
                Codec::Php,
                &[
                    (0, Some(Bytes)),
                    (1, Some(Integer)),
                    (2, Some(Bytes)),
                    (3, Some(Integer)),
                    (6, Some(Json)),
                    (4, None),
                    (5, None),
                    (7, None),
                    (8, None),
                    (16, None),
                    (32, None),
                    (64, None),
                    (16 | 32 | 64, None),
                    (256, None),
                ],
            ),
            (
                Codec::Dalli,
                &[(0, Some(Bytes)), (4, Some(Text)), (1, None), (8, None)],
            ),
        ] {
            for (flags, expected) in cases {
                assert_eq!(kind(codec, *flags), *expected, "{codec:?} {flags:#x}");
                assert_eq!(kind(codec, TOMBSTONE), None);
            }
        }
    }

    #[test]
    fn values_are_compressed_where_it_saves_an_eighth() {
        let encode = |bytes: Vec<u8>, kind| {
            Codec::Native.encode(Payload::new(kind, Bytes::from(bytes)), 1024)
        };
        let is_small = |encoded: &Encoded| encoded.client_flags & NATIVE_LZ4 != 0;
        assert!(!is_small(&encode(vec![b'a'; 1023], Kind::Text)));
        let small = encode(vec![b'a'; 1024], Kind::Text);
        assert!(is_small(&small) && small.value.len() < 100);
        assert_eq!(
            Codec::Native.decode(small, 1024).unwrap().bytes,
            vec![b'a'; 1024]
        );
        assert!(!is_small(&encode(vec![b'1'; 1024], Kind::Integer)));
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(4096)
            .collect();
        assert!(!is_small(&encode(noise, Kind::Bytes)));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let small = Codec::Native.encode(Payload::new(Kind::Bytes, vec![0; 10_000].into()), 1);
        assert!(Codec::Native.decode(small.clone(), 10_000).is_ok());
        assert!(matches!(
            Codec::Native.decode(small, 9_999),
            Err(Error::TooLarge { .. })
        ));
        for bytes in [&b""[..], b"\xff\xff\xff\xff", b"\x05\0\0\0\xff\xff"] {
            assert!(
                Codec::Native
                    .decode(stored(NATIVE_LZ4, bytes), 1 << 20)
                    .is_err()
            );
        }
    }

    #[test]
    fn what_php_compressed_has_the_length_that_it_says() {
        let read = |flags, len: u32, len_max| {
            let bytes = [&len.to_le_bytes()[..], b"\x001\x20\x00"].concat();
            Codec::Php.decode(stored(flags, &bytes), len_max)
        };
        let payload = |kind| Payload::new(kind, Bytes::from_static(b"1111"));
        assert_eq!(read(16 | 64, 4, 4).unwrap(), payload(Kind::Bytes));
        assert_eq!(read(16 | 64 | 1, 4, 4).unwrap(), payload(Kind::Integer));
        assert!(matches!(
            read(16 | 64, 4, 3),
            Err(Error::TooLarge { len: 4, max: 3 })
        ));
        for len in [0, 3, 5] {
            assert!(matches!(read(16 | 64, len, 100), Err(Error::Codec(_))));
        }
        let cut = Codec::Php.decode(stored(16 | 64, b"\x04\0\0"), 100);
        assert!(matches!(cut, Err(Error::Codec(_))));
        let zstd = read(16 | 128, 4, 100).unwrap_err();
        assert!(zstd.to_string().contains("zstd"), "{zstd}");
    }

    #[test]
    fn false_of_php_is_a_number() {
        let read = Codec::Php.decode(stored(PHP_BOOL, b""), 100).unwrap();
        assert_eq!(read, Payload::new(Kind::Integer, Bytes::from_static(b"0")));
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn zlib_of_others_is_read_and_is_bounded() {
        use std::io::Write as _;
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&[b'z'; 5000]).unwrap();
        let packed = encoder.finish().unwrap();
        let php = [&5000u32.to_le_bytes()[..], &packed].concat();
        for (codec, flags, bytes) in [
            (Codec::Python, 8 | 16, &packed),
            (Codec::Dalli, 2, &packed),
            (Codec::Php, 48, &php),
        ] {
            let read = codec.decode(stored(flags, bytes), 5000).unwrap();
            assert_eq!(read.bytes, vec![b'z'; 5000], "{codec:?}");
            assert!(matches!(
                codec.decode(stored(flags, bytes), 4999),
                Err(Error::TooLarge { .. })
            ));
            assert!(codec.decode(stored(flags, b"\x78\x9c\x00"), 5000).is_err());
        }
        let lies = [&4999u32.to_le_bytes()[..], &packed].concat();
        assert!(Codec::Php.decode(stored(48, &lies), 9999).is_err());
    }
}
