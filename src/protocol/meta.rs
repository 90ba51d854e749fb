//! Requests of the meta protocol: decode and encode, next to each other.

use crate::limits::{KEY_LEN_MAX, META_TOKENS_MAX, VALUE_LEN_MAX};
use crate::meta_flags::MetaFlags;
use crate::scan::{self, Tokens};
use crate::text::{BAD_FORMAT, Refusal, put_number};
use crate::{ErrorReply, Key, Request};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use bytes::BufMut;

/// memcached's decoder does not look at the bits that a key's last letter has too many.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Longest base64 text of a key.
pub(crate) const BASE64_LEN_MAX: usize = KEY_LEN_MAX.div_ceil(4) * 4;

/// Room for the bytes of a key that travels in base64; no more than a mark for one that does not.
#[derive(Clone, Debug, Default)]
pub struct KeyBuffer(Option<[u8; KEY_LEN_MAX]>);

/// A meta command about one key: `mg`, `md`, `ma`, `me`; its letter is the [`Request`]'s variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta<'a> {
    /// The key as it travels: in base64 if the flags have `b`.
    pub key: Key<'a>,
    /// The flags.
    pub flags: MetaFlags<'a>,
}

/// The line of `ms`; `value_len` bytes and `\r\n` follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetaStorage<'a> {
    /// Key and flags.
    pub meta: Meta<'a>,
    /// Bytes of value, without the `\r\n` behind them; at most [`VALUE_LEN_MAX`].
    pub value_len: u64,
}

impl<'a> MetaStorage<'a> {
    /// A value of this length.
    pub const fn new(meta: Meta<'a>, value_len: u64) -> Self {
        Self { meta, value_len }
    }
}

impl<'a> Meta<'a> {
    /// A key without flags.
    pub const fn new(key: Key<'a>) -> Self {
        Self {
            key,
            flags: MetaFlags::NONE,
        }
    }

    /// The same with flags.
    ///
    /// # Errors
    /// The flags have `b`, and the key is not base64.
    pub fn with_flags(key: Key<'a>, flags: MetaFlags<'a>) -> Result<Self, ErrorReply<'static>> {
        let meta = Self { key, flags };
        if flags.has(b'b') && meta.decode_base64(&mut [0; KEY_LEN_MAX]).is_none() {
            return Err(ErrorReply::META_KEY_ENCODING);
        }
        Ok(meta)
    }

    /// The key's bytes, which may be any; `buffer` is for one that travels in base64.
    pub fn key_bytes<'b>(&self, buffer: &'b mut KeyBuffer) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.flags.has(b'b') {
            let buffer = buffer.0.insert([0; KEY_LEN_MAX]);
            let len = self.decode_base64(buffer).unwrap_or_default();
            buffer.get(..len).unwrap_or_default()
        } else {
            self.key.as_bytes()
        }
    }

    fn decode_base64(&self, buffer: &mut [u8; KEY_LEN_MAX]) -> Option<usize> {
        let len = BASE64.decode_slice(self.key.as_bytes(), buffer).ok()?;
        (len > 0).then_some(len)
    }

    /// Appends the line to `out`, without its end.
    pub(crate) fn encode(&self, command: &[u8], value_len: Option<u64>, out: &mut impl BufMut) {
        out.put_slice(command);
        out.put_slice(self.key.as_bytes());
        if let Some(value_len) = value_len {
            put_number(out, value_len);
        }
        for token in Tokens::new(self.flags.tokens()) {
            out.put_u8(b' ');
            out.put_slice(token);
        }
    }
}

/// Appends base64 of a key to `out`: how a key that no line can hold travels in meta commands with the flag `b`. At
/// most 186 bytes fit into [`KEY_LEN_MAX`]; of a key longer than that limit nothing is appended.
pub fn put_base64(key: &[u8], out: &mut impl BufMut) {
    let mut text = [0; BASE64_LEN_MAX];
    let len = BASE64.encode_slice(key, &mut text).unwrap_or_default();
    out.put_slice(text.get(..len).unwrap_or_default());
}

/// `mg` and `md`.
pub(crate) fn with_key(rest: &[u8]) -> Result<Meta<'_>, Refusal> {
    let mut tokens = Tokens::new(rest);
    let key = tokens.next().ok_or(BAD_FORMAT)?;
    meta(key, tokens.rest(), 2).map_err(refusal)
}

/// `ma`, which has one answer to all flags that are wrong.
pub(crate) fn arithmetic(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    if Tokens::new(rest).next().is_none() {
        return Err(BAD_FORMAT);
    }
    let meta = with_key(rest).map_err(|refused| match refused.reply {
        ErrorReply::META_TOO_MANY_FLAGS | ErrorReply::META_OPAQUE_TOO_LONG => refused,
        _ => refusal(ErrorReply::META_INVALID_OR_DUPLICATE_FLAG),
    })?;
    meta.flags.arithmetic_mode().map_err(refusal)?;
    Ok(Request::MetaArithmetic(meta))
}

/// `me`, which looks at no flag but `b`.
pub(crate) fn debug(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut tokens = Tokens::new(rest);
    let key = tokens.next().ok_or(BAD_FORMAT)?;
    let flags = if tokens.next() == Some(b"b") {
        b"b".as_slice()
    } else {
        b""
    };
    let meta = meta(key, flags, 2).ok().ok_or(BAD_FORMAT)?;
    Ok(Request::MetaDebug(meta))
}

/// `ms`. The length comes first: only once it is known can the value of a refused request be skipped.
pub(crate) fn storage(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut tokens = Tokens::new(rest);
    let mut next = || tokens.next().ok_or(BAD_FORMAT);
    let (key, len) = (next()?, next()?);
    let value_len = scan::parse_digits(len)
        .filter(|len| *len <= VALUE_LEN_MAX)
        .ok_or(BAD_FORMAT)?;
    meta(key, tokens.rest(), 3)
        .and_then(|meta| {
            meta.flags.mode()?;
            Ok(Request::MetaSet(MetaStorage::new(meta, value_len)))
        })
        .map_err(|reply| Refusal {
            body_len: value_len.saturating_add(2),
            ..refusal(reply)
        })
}

const fn refusal(reply: ErrorReply<'static>) -> Refusal {
    Refusal::new(reply, false)
}

/// The first tokens of the line are not flags.
fn meta<'a>(
    key: &'a [u8],
    flags: &'a [u8],
    others: usize,
) -> Result<Meta<'a>, ErrorReply<'static>> {
    let key = Key::from_token(key).ok_or(ErrorReply::BAD_FORMAT)?;
    let flags_max = META_TOKENS_MAX.saturating_sub(others);
    if Tokens::new(flags).nth(flags_max).is_some() {
        return Err(ErrorReply::META_TOO_MANY_FLAGS);
    }
    Meta::with_flags(key, MetaFlags::new(flags)?)
}
