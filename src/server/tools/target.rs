//! [`Target`]: adds items to a server, never in place of what it has.

use super::connection::{ANSWER_PATIENCE, Address, Connection};
use super::credentials::Credentials;
use super::error::ToolError;
use super::item::{Item, KEY_NEEDS_META, KEY_TOO_LONG, is_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuthatch_protocol::limits::EXPTIME_RELATIVE_MAX;
use nuthatch_protocol::{
    Exptime, Key, Meta, MetaFlags, MetaStatus, MetaStorage, Request, Response, Storage, StorageMode,
};
use std::collections::VecDeque;

/// Items whose answers have not been read. More would let those fill a socket while values are still being sent.
const PENDING_ITEMS_MAX: usize = 500;

/// What became of the items.
#[derive(Debug, Default)]
pub(crate) struct Added {
    /// Added.
    pub(crate) stored: u64,
    /// Not stored: the server had an item of that key.
    pub(crate) present: u64,
    /// Not sent: they had died.
    pub(crate) expired: u64,
    /// The server would not take them.
    pub(crate) refused: u64,
    /// The first of those, and why.
    pub(crate) first_refused: Option<String>,
}

/// A server that is being written to.
pub(crate) struct Target {
    connection: Connection,
    has_meta: bool,
    /// The keys of what has been sent and is not answered yet.
    pending: VecDeque<Vec<u8>>,
    added: Added,
}

impl Target {
    pub(crate) fn open(address: &Address, credentials: &Credentials) -> Result<Self, ToolError> {
        let (connection, has_meta) =
            Connection::open_for_meta(address, credentials, ANSWER_PATIENCE)?;
        Ok(Self {
            connection,
            has_meta,
            pending: VecDeque::new(),
            added: Added::default(),
        })
    }

    /// Adds the item, sooner or later.
    pub(crate) fn add(&mut self, item: &Item, unix_seconds: u64) -> Result<(), ToolError> {
        let Some(exptime) = exptime(item.expiry, unix_seconds) else {
            self.added.expired = self.added.expired.saturating_add(1);
            return Ok(());
        };
        let asked = if self.has_meta {
            self.ask_meta(item, exptime)
        } else {
            self.ask_classic(item, exptime)
        };
        if let Err(why) = asked {
            self.refused(&item.key, why);
            return Ok(());
        }
        self.connection.out.extend_from_slice(&item.value);
        self.connection.out.extend_from_slice(b"\r\n");
        self.pending.push_back(item.key.clone());
        if self.connection.is_full() || self.pending.len() >= PENDING_ITEMS_MAX {
            self.settle()?;
        }
        Ok(())
    }

    /// Sends what waits, and reads what became of it.
    pub(crate) fn settle(&mut self) -> Result<(), ToolError> {
        self.connection.send()?;
        while let Some(key) = self.pending.pop_front() {
            let count = match self.connection.reply()? {
                Some(Response::Stored) => &mut self.added.stored,
                Some(Response::NotStored) => &mut self.added.present,
                Some(Response::Meta(reply)) => match reply.status {
                    MetaStatus::Done => &mut self.added.stored,
                    MetaStatus::NotStored => &mut self.added.present,
                    _ => return Err(self.connection.out_of_step()),
                },
                Some(Response::Error(_)) => {
                    let why = self.connection.last_line();
                    self.refused(&key, &why);
                    continue;
                }
                _ => return Err(self.connection.out_of_step()),
            };
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// What became of the items that were settled.
    pub(crate) fn into_added(self) -> Added {
        self.added
    }

    fn ask_meta(&mut self, item: &Item, exptime: Exptime) -> Result<(), &'static str> {
        let is_encoded = item.is_encoded || !is_text(&item.key);
        let encoded;
        let (text, encoding) = if is_encoded {
            encoded = STANDARD.encode(&item.key);
            (encoded.as_bytes(), " b")
        } else {
            (item.key.as_slice(), "")
        };
        let (lifetime, client_flags) = (exptime.get(), item.client_flags);
        let flags = format!("T{lifetime} F{client_flags} ME{encoding}");
        let key = Key::new(text).ok().ok_or(KEY_TOO_LONG)?;
        let meta = MetaFlags::new(flags.as_bytes())
            .and_then(|flags| Meta::with_flags(key, flags))
            .ok()
            .ok_or(KEY_TOO_LONG)?;
        let request = MetaStorage::new(meta, value_len(item));
        Request::MetaSet(request).encode(&mut self.connection.out);
        Ok(())
    }

    fn ask_classic(&mut self, item: &Item, exptime: Exptime) -> Result<(), &'static str> {
        let key = Key::new(&item.key).ok().ok_or(KEY_NEEDS_META)?;
        let mut request = Storage::new(StorageMode::Add, key, value_len(item));
        request.client_flags = item.client_flags;
        request.exptime = exptime;
        Request::Store(request).encode(&mut self.connection.out);
        Ok(())
    }

    fn refused(&mut self, key: &[u8], why: &str) {
        self.added.refused = self.added.refused.saturating_add(1);
        let describe = || format!("{}: {why}", key.escape_ascii());
        self.added.first_refused.get_or_insert_with(describe);
    }
}

fn value_len(item: &Item) -> u64 {
    u64::try_from(item.value.len()).unwrap_or(u64::MAX)
}

/// What to send for an item that dies at this Unix time; `None` if it is dead. Relative where that can be said, so
/// that the server's clock need not agree.
pub(crate) fn exptime(expiry: Option<u64>, unix_seconds: u64) -> Option<Exptime> {
    let Some(expiry) = expiry else {
        return Some(Exptime::NEVER);
    };
    let left = expiry.checked_sub(unix_seconds).filter(|left| *left > 0)?;
    let number = if left <= EXPTIME_RELATIVE_MAX.into() {
        left
    } else {
        expiry
    };
    Some(Exptime::new(i32::try_from(number).unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_relative_up_to_thirty_days() {
        const NOW: u64 = 1_800_000_000;
        let wire = |expiry| exptime(expiry, NOW).map(Exptime::get);
        assert_eq!(wire(None), Some(0));
        assert_eq!(wire(Some(NOW - 1)), None);
        assert_eq!(wire(Some(NOW)), None);
        assert_eq!(wire(Some(NOW + 1)), Some(1));
        assert_eq!(wire(Some(NOW + 2_592_000)), Some(2_592_000));
        assert_eq!(wire(Some(NOW + 2_592_001)), Some(1_802_592_001));
        assert_eq!(wire(Some(u64::MAX)), Some(i32::MAX));
    }
}
