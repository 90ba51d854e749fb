//! [`Source`]: all items of a server, in batches. It leaves no trace there but counts of gets.

use super::connection::{ANSWER_PATIENCE, Address, Connection};
use super::credentials::Credentials;
use super::error::ToolError;
use super::item::{Item, KEY_NEEDS_META, KEY_TOO_LONG, is_text};
use super::listing::{Listed, Listing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuthatch_protocol::{
    Key, Keys, Meta, MetaFlags, MetaReply, MetaStatus, Request, Response, Retrieve, parse_u32,
};
use std::thread;

/// Items of a batch. More would let the requests fill a socket before the first answer is read.
const BATCH_ITEMS_MAX: u64 = 100;

/// Bytes that a batch shall have, about: some hundred of the usual items, or one large one.
const BATCH_LEN: u64 = 256 << 10;

/// Items that the server has and that were not read.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// Expired, deleted or evicted since the list was made.
    pub(crate) gone: u64,
    /// Marked as stale, or being made anew by a client: what is there is not right any more, or not yet.
    pub(crate) stale: u64,
    /// The server cannot give them.
    pub(crate) unreadable: u64,
    /// The first of those, and why.
    pub(crate) first_unreadable: Option<String>,
}

/// A server that is being read.
pub(crate) struct Source {
    listing: Listing,
    connection: Connection,
    has_meta: bool,
    /// Bytes of an item, in the last batch.
    item_len_mean: u64,
    missed: Missed,
}

impl Source {
    pub(crate) fn open(address: &Address, credentials: &Credentials) -> Result<Self, ToolError> {
        let (lister, has_meta) = Connection::open_for_meta(address, credentials, ANSWER_PATIENCE)?;
        let listing = Listing::receive(lister, has_meta, thread::sleep)?;
        let (connection, has_meta) =
            Connection::open_for_meta(address, credentials, ANSWER_PATIENCE)?;
        Ok(Self {
            listing,
            connection,
            has_meta,
            item_len_mean: BATCH_LEN / BATCH_ITEMS_MAX,
            missed: Missed::default(),
        })
    }

    /// How many items there are.
    pub(crate) const fn item_count(&self) -> u64 {
        self.listing.item_count()
    }

    /// What was not read so far.
    pub(crate) fn missed(self) -> Missed {
        let mut missed = self.missed;
        missed.unreadable = missed.unreadable.saturating_add(self.listing.unreadable());
        missed
    }

    /// Reads some items, of about so many bytes and [`BATCH_LEN`]; returns whether there may be more.
    pub(crate) fn batch(
        &mut self,
        len: u64,
        unix_seconds: u64,
        each: &mut dyn FnMut(Item) -> Result<(), ToolError>,
    ) -> Result<bool, ToolError> {
        let count = len.min(BATCH_LEN) / self.item_len_mean.max(1);
        let (mut keys, mut more) = (Vec::new(), false);
        for _ in 0..count.clamp(1, BATCH_ITEMS_MAX) {
            let Some(listed) = self.listing.next()? else {
                break;
            };
            more = true;
            match self.ask(&listed) {
                Ok(()) => keys.push(listed),
                Err(why) => self.miss(&listed, why),
            }
        }
        self.connection.send()?;
        let (mut read_len, mut won) = (0u64, Vec::new());
        for listed in &keys {
            let read = if self.has_meta {
                self.read_meta(listed, unix_seconds, &mut won)?
            } else {
                self.read_classic(listed)?
            };
            if let Some(item) = read {
                read_len = read_len.saturating_add(item.len());
                each(item)?;
            }
        }
        self.give_back(&won)?;
        let count = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        self.item_len_mean = read_len / count.max(1);
        Ok(more)
    }

    /// Asks for the item, or says why it cannot.
    fn ask(&mut self, listed: &Listed) -> Result<(), &'static str> {
        let out = &mut self.connection.out;
        if !self.has_meta {
            let keys = Key::new(&listed.key).map(|key| [key]);
            let keys = keys.as_ref().ok().and_then(|keys| Keys::new(keys));
            let keys = keys.ok_or(KEY_NEEDS_META)?;
            Request::Retrieve(Retrieve::new(keys)).encode(out);
            return Ok(());
        }
        // `u`: not used, as far as eviction is concerned. `k` tells whether the key came in base64; without `b`, a key
        // that is no text would come back as it is and break the line.
        let flags: &[u8] = if travels_encoded(listed) {
            b"b u f c t v"
        } else {
            b"u f c t k v"
        };
        if with_key(listed, flags, |meta| Request::MetaGet(meta).encode(out)) {
            Ok(())
        } else {
            Err(KEY_TOO_LONG)
        }
    }

    fn read_meta(
        &mut self,
        listed: &Listed,
        unix_seconds: u64,
        won: &mut Vec<(Listed, u64)>,
    ) -> Result<Option<Item>, ToolError> {
        let facts = match self.connection.reply()? {
            Some(Response::Meta(reply)) => Facts::of(reply),
            Some(Response::Error(_)) => {
                self.miss(listed, &self.connection.last_line());
                return Ok(None);
            }
            _ => return Err(self.connection.out_of_step()),
        };
        let Some(len) = facts.value_len else {
            self.missed.gone = self.missed.gone.saturating_add(1);
            return Ok(None);
        };
        if facts.key.as_ref().is_some_and(|key| !key.is_of(listed)) {
            return Err(self.connection.out_of_step());
        }
        let value = self.connection.value(len)?;
        if facts.is_marked {
            self.missed.stale = self.missed.stale.saturating_add(1);
            if facts.is_won {
                let listed = Listed {
                    key: listed.key.clone(),
                    ..*listed
                };
                won.push((listed, facts.cas));
            }
            return Ok(None);
        }
        let expiry = match facts.seconds_left {
            ..0 => None,
            0 => {
                self.missed.gone = self.missed.gone.saturating_add(1);
                return Ok(None);
            }
            seconds => Some(unix_seconds.saturating_add(seconds.unsigned_abs())),
        };
        let is_encoded = facts
            .key
            .map_or_else(|| travels_encoded(listed), |key| key.is_encoded);
        Ok(Some(Item {
            key: listed.key.clone(),
            is_encoded,
            client_flags: facts.client_flags,
            expiry,
            value,
        }))
    }

    fn read_classic(&mut self, listed: &Listed) -> Result<Option<Item>, ToolError> {
        let (client_flags, len) = match self.connection.reply()? {
            Some(Response::Value(header)) if header.key.as_bytes() == listed.key => {
                (header.client_flags, header.value_len)
            }
            Some(Response::End) => {
                self.missed.gone = self.missed.gone.saturating_add(1);
                return Ok(None);
            }
            Some(Response::Error(_)) => {
                self.miss(listed, &self.connection.last_line());
                return Ok(None);
            }
            _ => return Err(self.connection.out_of_step()),
        };
        let value = self.connection.value(len)?;
        if self.connection.reply()? != Some(Response::End) {
            return Err(self.connection.out_of_step());
        }
        Ok(Some(Item {
            key: listed.key.clone(),
            is_encoded: false,
            client_flags,
            expiry: listed.expiry,
            value,
        }))
    }

    /// Who reads a stale item first is the one to make it anew. That was this tool, which will not: marking the item
    /// again lets the next client be chosen.
    fn give_back(&mut self, won: &[(Listed, u64)]) -> Result<(), ToolError> {
        for (listed, cas) in won {
            let encoding = if travels_encoded(listed) { " b" } else { "" };
            let flags = format!("I C{cas}{encoding}");
            with_key(listed, flags.as_bytes(), |meta| {
                Request::MetaDelete(meta).encode(&mut self.connection.out);
            });
        }
        self.connection.send()?;
        for _ in won {
            // Whoever has changed the item meanwhile has made it anew.
            self.connection.reply()?;
        }
        Ok(())
    }

    fn miss(&mut self, listed: &Listed, why: &str) {
        self.missed.unreadable = self.missed.unreadable.saturating_add(1);
        let describe = || format!("{}: {why}", listed.key.escape_ascii());
        self.missed.first_unreadable.get_or_insert_with(describe);
    }
}

fn travels_encoded(listed: &Listed) -> bool {
    listed.is_encoded || !is_text(&listed.key)
}

/// Shows a meta command about this key, with these flags; returns false if the key is too long for it.
fn with_key(listed: &Listed, flags: &[u8], show: impl FnOnce(Meta<'_>)) -> bool {
    let encoded;
    let text = if travels_encoded(listed) {
        encoded = STANDARD.encode(&listed.key);
        encoded.as_bytes()
    } else {
        &listed.key
    };
    let meta = Key::new(text)
        .ok()
        .zip(MetaFlags::new(flags).ok())
        .and_then(|(key, flags)| Meta::with_flags(key, flags).ok());
    meta.map(show).is_some()
}

/// The key as a server gives it back.
struct ReturnedKey {
    text: Vec<u8>,
    is_encoded: bool,
}

impl ReturnedKey {
    fn is_of(&self, listed: &Listed) -> bool {
        if self.is_encoded {
            STANDARD.decode(&self.text).as_ref() == Ok(&listed.key)
        } else {
            self.text == listed.key
        }
    }
}

/// What the reply to `mg` says.
struct Facts {
    /// `None`: there is no item.
    value_len: Option<u64>,
    key: Option<ReturnedKey>,
    client_flags: u32,
    /// Negative: it never dies.
    seconds_left: i64,
    cas: u64,
    is_marked: bool,
    is_won: bool,
}

impl Facts {
    fn of(reply: MetaReply<'_>) -> Self {
        let value_len = match reply.status {
            MetaStatus::Value(len) => Some(len),
            _ => None,
        };
        let mut facts = Self {
            value_len,
            key: None,
            client_flags: 0,
            seconds_left: -1,
            cas: 0,
            is_marked: false,
            is_won: false,
        };
        for (letter, argument) in reply.flags() {
            match letter {
                b'f' => facts.client_flags = parse_u32(argument).unwrap_or_default(),
                b'c' => facts.cas = number(argument).unwrap_or_default(),
                b't' => facts.seconds_left = number(argument).unwrap_or(-1),
                b'k' => {
                    facts.key = Some(ReturnedKey {
                        text: argument.to_vec(),
                        is_encoded: false,
                    });
                }
                b'b' => {
                    if let Some(key) = &mut facts.key {
                        key.is_encoded = true;
                    }
                }
                b'X' | b'Z' => facts.is_marked = true,
                b'W' => (facts.is_marked, facts.is_won) = (true, true),
                // Nothing else was asked for.
                _ => {}
            }
        }
        facts
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_base64_has_a_longest_length() {
        let is_sent = |len: usize, is_encoded: bool| {
            let listed = Listed {
                key: vec![b'k'; len],
                is_encoded,
                expiry: None,
            };
            with_key(&listed, if is_encoded { b"b v" } else { b"v" }, |_| ())
        };
        // Of 250 letters, 248 are whole groups of four.
        assert!(is_sent(186, true) && !is_sent(187, true));
        assert!(is_sent(250, false) && !is_sent(251, false));
    }
}
