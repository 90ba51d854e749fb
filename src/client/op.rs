//! [`Op`]: one command to one node, and how it travels in either dialect.

use crate::ttl::EXPIRED;
use bytes::{BufMut, Bytes, BytesMut};
use nuthatch_protocol::{
    Arithmetic, ArithmeticOp, Delete, Exptime, FlushAll, Key, Keys, Meta, MetaFlags, MetaStorage,
    Request, Retrieve, Storage, StorageMode, Touch,
};
use std::sync::Arc;

/// What a node understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// memcached from 1.6.10, nuthatch: every reply carries the number of its request.
    Meta,
    /// Older servers.
    Classic,
    /// twemproxy: some of the classic words. It hangs up on others, and all who share the connection suffer.
    Proxy,
}

impl Dialect {
    pub(crate) const fn is_meta(self) -> bool {
        matches!(self, Self::Meta)
    }
}

/// A key as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WireKey {
    /// Checked: a protocol [`Key`].
    pub(crate) text: Arc<[u8]>,
    /// Base64, which only meta commands can say.
    pub(crate) base64: bool,
}

/// One command about one key; those about a whole node have an empty key.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) key: WireKey,
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Get,
    /// Puts an empty item for this long where nothing is, and tells one of those who ask that it is theirs to fill. In the
    /// classic dialect the same as `Get`.
    GetOrLease(Exptime),
    /// Of all these instead of the op's own key, in one line.
    GetMany(Arc<KeyLine>),
    GetAndTouch(Exptime),
    Store(Store),
    Arithmetic(ArithmeticOp, u64),
    Delete,
    /// Only if the item has this cas unique.
    DeleteCas(u64),
    /// Keeps the item for this long, as stale. Meta only.
    MarkStale(Exptime),
    Touch(Exptime),
    FlushAll(Exptime),
    Stats(Bytes),
    Version,
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) mode: StorageMode,
    pub(crate) client_flags: u32,
    pub(crate) exptime: Exptime,
    pub(crate) value: Bytes,
}

/// Of keys with the space before them.
const KEY_LEN_USUAL: usize = 32;

/// The keys of one lookup as they travel: each behind a space, in one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyLine {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyLine {
    /// Room for so many keys of a usual length.
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self {
            text: Vec::with_capacity(keys.saturating_mul(KEY_LEN_USUAL)),
            ends: Vec::with_capacity(keys),
        }
    }

    pub(crate) fn push(&mut self, key: Key<'_>) {
        self.text.push(b' ');
        self.text.extend_from_slice(key.as_bytes());
        self.ends.push(self.text.len());
    }

    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// The position of a key, from this one on.
    pub(crate) fn find(&self, key: Key<'_>, from: usize) -> Option<usize> {
        let before = from.checked_sub(1).and_then(|last| self.ends.get(last));
        let mut begin = before.copied().unwrap_or_default();
        let left = self.ends.get(from..).unwrap_or_default();
        let passed = left.iter().position(|end| {
            let text = self.text.get(begin.saturating_add(1)..*end);
            begin = *end;
            text == Some(key.as_bytes())
        });
        passed.map(|passed| passed.saturating_add(from))
    }
}

/// An op that this dialect has no words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoWords;

impl Verb {
    /// Whether doing it twice, or not knowing whether it was done, is the same as not doing it.
    pub(crate) const fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Get | Self::GetMany(_) | Self::Stats(_) | Self::Version
        )
    }

    /// Whether one item is the answer, or a miss.
    pub(crate) const fn is_lookup(&self) -> bool {
        matches!(self, Self::Get | Self::GetOrLease(_) | Self::GetAndTouch(_))
    }

    /// What it is called, for errors.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Get | Self::GetOrLease(_) | Self::GetMany(_) => "get",
            Self::GetAndTouch(_) => "get_and_touch",
            Self::Store(store) => store.mode.word(),
            Self::Arithmetic(ArithmeticOp::Incr, _) => "incr",
            Self::Arithmetic(ArithmeticOp::Decr, _) => "decr",
            Self::Delete | Self::DeleteCas(_) => "delete",
            Self::MarkStale(_) => "invalidate",
            Self::Touch(_) => "touch",
            Self::FlushAll(_) => "flush_all",
            Self::Stats(_) => "stats",
            Self::Version => "version",
        }
    }

    /// Bytes of value that travel with it.
    pub(crate) fn value_len(&self) -> usize {
        match self {
            Self::Store(store) => store.value.len(),
            _ => 0,
        }
    }

    /// Whether meta servers are asked in classic words too, so that the reply carries no opaque: there is no meta
    /// command for it; or, of many keys, one line is much less work, and each value names its key.
    pub(crate) const fn is_classic(&self) -> bool {
        matches!(
            self,
            Self::GetMany(_) | Self::FlushAll(_) | Self::Stats(_) | Self::Version
        )
    }
}

impl Op {
    pub(crate) fn is_sayable(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Meta => true,
            Dialect::Classic => !self.needs_meta(),
            // What `memcache_parse_req` of twemproxy 0.5.0 knows, but for `version`, which any of its servers answers.
            Dialect::Proxy => {
                let is_known = !matches!(
                    self.verb,
                    Verb::GetAndTouch(_) | Verb::FlushAll(_) | Verb::Stats(_) | Verb::Version
                );
                is_known && !self.needs_meta()
            }
        }
    }

    const fn needs_meta(&self) -> bool {
        self.key.base64 || matches!(self.verb, Verb::MarkStale(_))
    }

    /// Appends the request's line to `out`; the caller appends the value of a storage command.
    pub(crate) fn encode(
        &self,
        dialect: Dialect,
        opaque: u64,
        out: &mut BytesMut,
    ) -> Result<(), NoWords> {
        match &self.verb {
            Verb::GetMany(keys) => {
                out.put_slice(b"get");
                out.put_slice(&keys.text);
                out.put_slice(b"\r\n");
            }
            Verb::FlushAll(delay) => {
                let mut request = FlushAll::default();
                request.delay = *delay;
                Request::FlushAll(request).encode(out);
            }
            Verb::Stats(arguments) => Request::Stats(arguments).encode(out),
            Verb::Version => Request::Version.encode(out),
            verb => {
                let key = Key::new(&self.key.text).ok().ok_or(NoWords)?;
                match dialect {
                    Dialect::Meta => self.encode_meta(verb, key, opaque, out)?,
                    _ if self.key.base64 => return Err(NoWords),
                    Dialect::Classic | Dialect::Proxy => encode_classic(verb, key, out)?,
                }
            }
        }
        Ok(())
    }

    fn encode_meta(
        &self,
        verb: &Verb,
        key: Key<'_>,
        opaque: u64,
        out: &mut BytesMut,
    ) -> Result<(), NoWords> {
        let mut flags = FlagText::new();
        match verb {
            Verb::Get => flags.put(b" v f c t"),
            Verb::GetOrLease(life) => {
                flags.put(b" v f c t");
                flags.put_number(b" N", life.get());
            }
            Verb::GetAndTouch(exptime) => {
                flags.put(b" v f c t");
                flags.put_number(b" T", exptime.get());
            }
            Verb::Store(store) => store.put_meta(&mut flags),
            Verb::Arithmetic(op, delta) => {
                flags.put(match op {
                    ArithmeticOp::Incr => b" v MI",
                    ArithmeticOp::Decr => b" v MD",
                });
                flags.put_number(b" D", *delta);
            }
            Verb::Delete => {}
            Verb::DeleteCas(cas) => flags.put_number(b" C", *cas),
            Verb::MarkStale(exptime) => {
                flags.put(b" I");
                flags.put_number(b" T", exptime.get());
            }
            Verb::Touch(exptime) => flags.put_number(b" T", exptime.get()),
            Verb::GetMany(_) | Verb::FlushAll(_) | Verb::Stats(_) | Verb::Version => {
                return Err(NoWords);
            }
        }
        if self.key.base64 {
            flags.put(b" b");
        }
        flags.put_number(b" O", opaque);
        let flags = MetaFlags::new(flags.text()).ok().ok_or(NoWords)?;
        let meta = Meta::with_flags(key, flags).ok().ok_or(NoWords)?;
        match verb {
            Verb::Get | Verb::GetOrLease(_) | Verb::GetAndTouch(_) | Verb::Touch(_) => {
                Request::MetaGet(meta)
            }
            Verb::Store(store) => {
                Request::MetaSet(MetaStorage::new(meta, store.value.len() as u64))
            }
            Verb::Arithmetic(..) => Request::MetaArithmetic(meta),
            _ => Request::MetaDelete(meta),
        }
        .encode(out);
        Ok(())
    }
}

impl Store {
    fn put_meta(&self, flags: &mut FlagText) {
        flags.put(match self.mode {
            StorageMode::Add => b" c ME",
            StorageMode::Replace => b" c MR",
            StorageMode::Append => b" c MA",
            StorageMode::Prepend => b" c MP",
            _ => b" c MS",
        });
        if let StorageMode::Cas(cas) = self.mode {
            flags.put_number(b" C", cas);
        }
        if self.client_flags != 0 {
            flags.put_number(b" F", self.client_flags);
        }
        if self.exptime != Exptime::NEVER {
            flags.put_number(b" T", self.exptime.get());
        }
    }
}

fn encode_classic(verb: &Verb, key: Key<'_>, out: &mut BytesMut) -> Result<(), NoWords> {
    match verb {
        Verb::Get | Verb::GetOrLease(_) | Verb::GetAndTouch(_) => {
            let keys = [key];
            let mut request = Retrieve::new(Keys::new(&keys).ok_or(NoWords)?);
            request.with_cas = true;
            if let Verb::GetAndTouch(exptime) = verb {
                request.exptime = Some(*exptime);
            }
            Request::Retrieve(request).encode(out);
        }
        Verb::Store(store) => {
            let mut request = Storage::new(store.mode, key, store.value.len() as u64);
            request.client_flags = store.client_flags;
            request.exptime = store.exptime;
            Request::Store(request).encode(out);
        }
        Verb::Arithmetic(op, delta) => {
            Request::Arithmetic(Arithmetic::new(*op, key, *delta)).encode(out);
        }
        Verb::Delete => Request::Delete(Delete::new(key)).encode(out),
        Verb::DeleteCas(cas) => {
            let mut request = Storage::new(StorageMode::Cas(*cas), key, 0);
            // A delete with a condition, which classic commands do not have.
            request.exptime = EXPIRED;
            Request::Store(request).encode(out);
            out.put_slice(b"\r\n");
        }
        Verb::Touch(exptime) => Request::Touch(Touch::new(key, *exptime)).encode(out),
        Verb::GetMany(_)
        | Verb::MarkStale(_)
        | Verb::FlushAll(_)
        | Verb::Stats(_)
        | Verb::Version => {
            return Err(NoWords);
        }
    }
    Ok(())
}

/// The flags of one meta request.
struct FlagText {
    text: [u8; Self::LEN_MAX],
    len: usize,
}

impl FlagText {
    /// All that one request can have: 8 letters, and 6 numbers of up to 20 digits.
    const LEN_MAX: usize = 160;

    const fn new() -> Self {
        Self {
            text: [0; Self::LEN_MAX],
            len: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.text.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn put_number(&mut self, letter: &[u8], number: impl itoa::Integer) {
        self.put(letter);
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}
