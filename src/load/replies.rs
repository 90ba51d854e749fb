//! [`Replies`]: how many requests the bytes that have come answer.

use std::mem;

use nuthatch_protocol::{DecodedReply, ReplyDecoder, Response};

use crate::requests::Dialect;

/// What has been read of the answers of one connection.
#[derive(Debug)]
pub(crate) struct Replies {
    dialect: Dialect,
    decoder: ReplyDecoder,
    /// Bytes of the value in hand that are still to come.
    skip: usize,
    /// Elements of the array in hand that are still to come.
    elements: u64,
    /// The answer in hand ends with this value.
    is_last: bool,
    pub(crate) hits: u64,
    pub(crate) errors: u64,
}

/// One line of an answer.
struct Line {
    len: usize,
    /// Bytes of the value behind it, line end included.
    value_len: usize,
    /// The answer is complete with it, and its value.
    is_last: bool,
}

impl Replies {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            decoder: ReplyDecoder::new(),
            skip: 0,
            elements: 0,
            is_last: false,
            hits: 0,
            errors: 0,
        }
    }

    /// Reads what has come; returns how many answers are complete with it, and how many bytes are used up.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> (usize, usize) {
        let mut unread = bytes;
        let mut complete = 0;
        loop {
            let skipped = self.skip.min(unread.len());
            unread = unread.get(skipped..).unwrap_or_default();
            self.skip -= skipped;
            if self.skip > 0 {
                break;
            }
            if mem::take(&mut self.is_last) {
                complete += 1;
            }
            let line = match self.dialect {
                Dialect::Memcached => self.text_line(unread),
                Dialect::Resp => self.resp_line(unread),
            };
            let Some(line) = line else { break };
            unread = unread.get(line.len..).unwrap_or_default();
            self.skip = line.value_len;
            self.is_last = line.is_last;
        }
        (complete, bytes.len() - unread.len())
    }

    fn text_line(&mut self, bytes: &[u8]) -> Option<Line> {
        let (len, value_len, is_last) = match self.decoder.decode(bytes) {
            DecodedReply::Response { response, line_len } => match response {
                Response::Value(header) => {
                    self.hits += 1;
                    let value_len = usize::try_from(header.value_len).unwrap_or(usize::MAX);
                    (line_len, value_len.saturating_add(2), false)
                }
                Response::Error(_) => {
                    self.errors += 1;
                    (line_len, 0, true)
                }
                _ => (line_len, 0, true),
            },
            DecodedReply::Malformed => {
                self.errors += 1;
                (bytes.len(), 0, true)
            }
            _ => return None,
        };
        Some(Line {
            len,
            value_len,
            is_last,
        })
    }

    fn resp_line(&mut self, bytes: &[u8]) -> Option<Line> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (kind, number) = bytes.get(..end)?.split_first()?;
        let number = || std::str::from_utf8(number).ok()?.trim().parse().ok();
        let mut value_len = 0;
        match kind {
            b'*' => self.elements = number().unwrap_or(0),
            b'$' => {
                // Minus one says that there is none.
                if let Some(len) = number().and_then(|len: u64| usize::try_from(len).ok()) {
                    self.hits += 1;
                    value_len = len.saturating_add(2);
                }
                self.elements = self.elements.saturating_sub(1);
            }
            b'+' | b':' => {}
            _ => self.errors += 1,
        }
        Some(Line {
            len: end + 1,
            value_len,
            is_last: self.elements == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers, hits and errors, however the bytes are cut.
    fn counts(dialect: Dialect, bytes: &[u8]) -> [u64; 3] {
        let mut seen = Vec::new();
        for step in 1..=bytes.len() {
            let mut replies = Replies::new(dialect);
            let (mut answers, mut unread) = (0, Vec::new());
            for piece in bytes.chunks(step) {
                unread.extend_from_slice(piece);
                let (complete, used) = replies.read(&unread);
                answers += complete as u64;
                unread.drain(..used);
            }
            assert!(unread.is_empty());
            seen.push([answers, replies.hits, replies.errors]);
        }
        seen.dedup();
        assert_eq!(seen.len(), 1);
        seen.remove(0)
    }

    #[test]
    fn text_answers_are_counted() {
        let bytes = b"VALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 0\r\n\r\nEND\r\nEND\r\nSTORED\r\n17\r\nSERVER_ERROR no\r\n";
        assert_eq!(counts(Dialect::Memcached, bytes), [5, 2, 1]);
    }

    #[test]
    fn resp_answers_are_counted() {
        let bytes = b"$5\r\n+OK\r\n\r\n$-1\r\n*2\r\n$1\r\nx\r\n$-1\r\n+OK\r\n:17\r\n-ERR no\r\n";
        assert_eq!(counts(Dialect::Resp, bytes), [6, 2, 1]);
    }
}
