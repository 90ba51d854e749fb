//! Lists all items: `lru_crawler metadump`, `lru_crawler mgdump`, `stats cachedump`.

use crate::clock::Now;
use crate::shared::Shared;
use crate::tuning::{are_classes, is_short_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuthatch_protocol::{ErrorReply, Tokens};
use nuthatch_store::{Expiry, Listed, Walk, item_len};
use std::collections::BTreeMap;
use std::io::Write as _;

/// The class that all items have.
const CLASS: u32 = 1;

/// Bytes of a `stats cachedump`, its end and the NUL that memcached puts behind it included (`item_cachedump`).
const CACHEDUMP_LEN_MAX: usize = 2 * 1024 * 1024;
const CACHEDUMP_END_LEN: usize = b"END\r\n\0".len();

/// A list that is being sent.
#[derive(Debug)]
pub(crate) struct Dump {
    format: Format,
    walk: Walk,
    /// Items that are still wanted.
    left: u64,
    /// Bytes that they may take.
    room: usize,
    /// How many items there are of each size.
    sizes: BTreeMap<u64, u64>,
}

/// Bytes between two sizes.
const SIZE_STEP: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A line of facts for each item.
    Meta,
    /// A request for each item.
    Requests,
    /// Key, length and expiry.
    Cache,
    /// None of the items, but how many there are of each size.
    Sizes,
}

impl Dump {
    /// The one that `lru_crawler` asks for, if it does. There must be no answers before it that wait.
    pub(crate) fn of_crawler(
        arguments: &[u8],
        shared: &Shared,
        has_waiting: bool,
    ) -> Option<Result<Self, ErrorReply<'static>>> {
        let words: Vec<&[u8]> = Tokens::new(arguments).collect();
        let [word, classes] = *words else { return None };
        let (format, not_allowed, in_pipeline) = if is_short_for(word, b"metadump") {
            let not_allowed = ErrorReply::METADUMP_NOT_ALLOWED;
            (Format::Meta, not_allowed, ErrorReply::METADUMP_IN_PIPELINE)
        } else if is_short_for(word, b"mgdump") {
            let not_allowed = ErrorReply::KEY_DUMP_NOT_ALLOWED;
            (
                Format::Requests,
                not_allowed,
                ErrorReply::MGDUMP_IN_PIPELINE,
            )
        } else {
            return None;
        };
        Some(if !shared.tuning().crawler {
            Err(ErrorReply::CRAWLER_DISABLED)
        } else if !shared.config.settings.allowed.dump {
            Err(not_allowed)
        } else if has_waiting {
            Err(in_pipeline)
        } else if !are_classes(classes) {
            Err(ErrorReply::INVALID_CLASS)
        } else {
            let is_ours = |class: &[u8]| class == b"1" || class == b"all" || class == b"hash";
            let has_items = classes.split(|byte| *byte == b',').any(is_ours);
            Ok(Self::new(format, if has_items { u64::MAX } else { 0 }))
        })
    }

    /// `stats cachedump CLASS LIMIT`; a limit of 0 is none.
    pub(crate) fn of_class(class: u32, limit: u32) -> Self {
        let left = match (class, limit) {
            (CLASS, 0) => u64::MAX,
            (CLASS, limit) => limit.into(),
            _ => 0,
        };
        Self {
            room: CACHEDUMP_LEN_MAX - CACHEDUMP_END_LEN,
            ..Self::new(Format::Cache, left)
        }
    }

    /// `stats sizes`.
    pub(crate) fn of_sizes() -> Self {
        Self::new(Format::Sizes, u64::MAX)
    }

    fn new(format: Format, left: u64) -> Self {
        Self {
            format,
            walk: Walk::default(),
            left,
            room: usize::MAX,
            sizes: BTreeMap::new(),
        }
    }

    /// What comes before the items.
    pub(crate) const fn begin(&self) -> &'static [u8] {
        match self.format {
            Format::Meta | Format::Requests => b"OK\r\n",
            Format::Cache | Format::Sizes => b"",
        }
    }

    /// What comes behind them.
    pub(crate) const fn end(&self) -> &'static [u8] {
        match self.format {
            Format::Meta | Format::Cache | Format::Sizes => b"END\r\n",
            Format::Requests => b"EN\r\n",
        }
    }

    /// Appends the next items to `out`; returns whether there may be more.
    pub(crate) fn step(&mut self, shared: &Shared, now: Now, out: &mut Vec<u8>) -> bool {
        let mut walk = std::mem::take(&mut self.walk);
        let more = self.left > 0
            && shared
                .store
                .walk(&mut walk, now.time, |item| self.show(&item, now, out));
        self.walk = walk;
        let more = more && self.left > 0;
        if !more {
            for (size, count) in &self.sizes {
                // Writing to memory does not fail.
                let _ = write!(out, "STAT {size} {count}\r\n");
            }
        }
        more
    }

    fn show(&mut self, item: &Listed<'_>, now: Now, out: &mut Vec<u8>) {
        if self.format == Format::Sizes {
            let size = size(item).next_multiple_of(SIZE_STEP);
            let count = self.sizes.entry(size).or_default();
            *count = count.saturating_add(1);
        } else if self.left > 0 {
            let begin = out.len();
            self.format.put(item, now, out);
            let len = out.len().saturating_sub(begin);
            if let Some(room) = self.room.checked_sub(len) {
                self.room = room;
                self.left = self.left.saturating_sub(1);
            } else {
                out.truncate(begin);
                self.left = 0;
            }
        }
    }
}

/// As memcached counts.
fn size(item: &Listed<'_>) -> u64 {
    item_len(item.key.len(), item.client_flags, item.value_len)
}

impl Format {
    fn put(self, item: &Listed<'_>, now: Now, out: &mut Vec<u8>) {
        let unix = |millis: u64| {
            let age = now.unix_millis.saturating_add(millis);
            age.saturating_sub(now.time.as_millis()) / 1000
        };
        let expiry = match item.expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(unix(at.as_millis())),
        };
        // Writing to memory does not fail.
        let _ = match self {
            Self::Meta => {
                out.extend_from_slice(b"key=");
                put_uri(item.key, out);
                let expiry = expiry.map_or_else(|| "-1".to_owned(), |unix| unix.to_string());
                writeln!(
                    out,
                    " exp={expiry} la={} cas={} fetch={} cls={CLASS} size={} flags={} ",
                    (now.unix_millis / 1000).saturating_sub(item.idle_seconds.into()),
                    item.cas,
                    if item.fetched { "yes" } else { "no" },
                    size(item),
                    item.client_flags,
                )
            }
            Self::Requests => {
                out.extend_from_slice(b"mg ");
                put_text(item, out);
                out.write_all(if item.marks.encoded_key {
                    b" b\r\n"
                } else {
                    b"\r\n"
                })
            }
            Self::Cache => {
                out.extend_from_slice(b"ITEM ");
                put_text(item, out);
                let expiry = expiry.unwrap_or_default();
                write!(out, " [{} b; {expiry} s]\r\n", item.value_len)
            }
            Self::Sizes => Ok(()),
        };
    }
}

/// The key, in base64 if it came so: it may be any bytes.
fn put_text(item: &Listed<'_>, out: &mut Vec<u8>) {
    if item.marks.encoded_key {
        out.extend_from_slice(STANDARD.encode(item.key).as_bytes());
    } else {
        out.extend_from_slice(item.key);
    }
}

/// Letters, digits and `-._~` as they are, everything else as `%` and two digits.
pub(crate) fn put_uri(key: &[u8], out: &mut Vec<u8>) {
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            // Writing to memory does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
