//! [`Encode`] and [`Decode`]: values as bytes of a [`Kind`], before anybody's client flags.

use crate::Error;
use bytes::Bytes;

/// What the bytes of a value are. How a [`Codec`](crate::Codec) says so differs between languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Anything.
    Bytes,
    /// UTF-8.
    Text,
    /// A decimal number, so that `incr` and `decr` work on it.
    Integer,
    /// JSON.
    Json,
}

/// A value as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Payload {
    /// What the bytes are.
    pub kind: Kind,
    /// The bytes, not compressed.
    pub bytes: Bytes,
}

impl Payload {
    /// Bytes that are of this kind.
    pub const fn new(kind: Kind, bytes: Bytes) -> Self {
        Self { kind, bytes }
    }
}

/// What can be stored.
pub trait Encode {
    /// The value as bytes.
    ///
    /// # Errors
    /// [`Error::Codec`] if it cannot be bytes.
    fn encode(&self) -> Result<Payload, Error>;
}

/// What can be read.
pub trait Decode: Sized {
    /// The value that the bytes are.
    ///
    /// # Errors
    /// [`Error::Codec`] if they are no such value.
    fn decode(payload: Payload) -> Result<Self, Error>;
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self) -> Result<Payload, Error> {
        (**self).encode()
    }
}

impl Encode for Payload {
    fn encode(&self) -> Result<Payload, Error> {
        Ok(self.clone())
    }
}

impl Decode for Payload {
    fn decode(payload: Payload) -> Result<Self, Error> {
        Ok(payload)
    }
}

/// Shared, not copied.
impl Encode for Bytes {
    fn encode(&self) -> Result<Payload, Error> {
        Ok(Payload::new(Kind::Bytes, self.clone()))
    }
}

/// The bytes of any kind.
impl Decode for Bytes {
    fn decode(payload: Payload) -> Result<Self, Error> {
        Ok(payload.bytes)
    }
}

impl Encode for [u8] {
    fn encode(&self) -> Result<Payload, Error> {
        Ok(Payload::new(Kind::Bytes, Bytes::copy_from_slice(self)))
    }
}

impl Encode for Vec<u8> {
    fn encode(&self) -> Result<Payload, Error> {
        self.as_slice().encode()
    }
}

/// The bytes of any kind.
impl Decode for Vec<u8> {
    fn decode(payload: Payload) -> Result<Self, Error> {
        Ok(payload.bytes.into())
    }
}

impl Encode for str {
    fn encode(&self) -> Result<Payload, Error> {
        let bytes = Bytes::copy_from_slice(self.as_bytes());
        Ok(Payload::new(Kind::Text, bytes))
    }
}

impl Encode for String {
    fn encode(&self) -> Result<Payload, Error> {
        self.as_str().encode()
    }
}

/// Any kind whose bytes are UTF-8.
impl Decode for String {
    fn decode(payload: Payload) -> Result<Self, Error> {
        Self::from_utf8(payload.bytes.into())
            .map_err(|error| Error::codec(format!("a value that is no text: {error}")))
    }
}

/// `1` or `0`.
impl Encode for bool {
    fn encode(&self) -> Result<Payload, Error> {
        u8::from(*self).encode()
    }
}

/// Any number but 0 is true.
impl Decode for bool {
    fn decode(payload: Payload) -> Result<Self, Error> {
        i64::decode(payload).map(|number| number != 0)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Encode for $integer {
            fn encode(&self) -> Result<Payload, Error> {
                let mut buffer = itoa::Buffer::new();
                let digits = buffer.format(*self).as_bytes();
                Ok(Payload::new(Kind::Integer, Bytes::copy_from_slice(digits)))
            }
        }

        /// Decimal digits of any kind. Spaces behind them are what `decr` leaves.
        impl Decode for $integer {
            fn decode(payload: Payload) -> Result<Self, Error> {
                let digits = payload.bytes.trim_ascii_end();
                let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                number.ok_or_else(|| {
                    Error::codec(concat!("a value that is no number that fits ", stringify!($integer)))
                })
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// A value that serde makes JSON of.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper, to be taken off")]
pub struct Json<T>(pub T);

#[cfg(feature = "json")]
impl<T: serde::Serialize> Encode for Json<T> {
    fn encode(&self) -> Result<Payload, Error> {
        let bytes = serde_json::to_vec(&self.0)
            .map_err(|error| Error::codec(format!("a value that JSON cannot hold: {error}")))?;
        Ok(Payload::new(Kind::Json, bytes.into()))
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Decode for Json<T> {
    fn decode(payload: Payload) -> Result<Self, Error> {
        let value = serde_json::from_slice(&payload.bytes);
        let value =
            value.map_err(|error| Error::codec(format!("a value of another shape: {error}")))?;
        Ok(Self(value))
    }
}
