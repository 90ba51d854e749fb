//! A trace of one's own: a text file with a line for each request, `KEY VALUE_BYTES`, in order.
//!
//! Keys are any text without blanks, up to 250 bytes; empty lines and those that begin with `#` are
//! skipped. `zcat access.log.gz | awk '{print $7, $10}'` makes one out of an access log.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use crate::trace::{Request, Source};

const KEY_LEN_MAX: usize = 250;

/// A trace that was read from a file.
#[derive(Debug)]
pub(crate) struct TraceFile {
    name: String,
    requests: Vec<Request>,
}

impl TraceFile {
    /// Reads the file whole; a key is kept only until it has its number.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut ids = HashMap::new();
        let mut requests = Vec::new();
        for (number, line) in (1..).zip(BufReader::new(File::open(path)?).lines()) {
            let line = line?;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value_len) = parse(&line).ok_or_else(|| {
                let why = format!("line {number}: not `KEY VALUE_BYTES`: {line}");
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?;
            let next = ids.len() as u64;
            let id = *ids.entry(key.to_owned()).or_insert(next);
            let key_len = key.len();
            requests.push(Request {
                id,
                key_len,
                value_len,
                ..Request::default()
            });
        }
        let name = path.display().to_string();
        Ok(Self { name, requests })
    }
}

fn parse(line: &str) -> Option<(&str, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (key, value_len) = (fields.next()?, fields.next()?.parse().ok()?);
    (key.len() <= KEY_LEN_MAX && fields.next().is_none()).then_some((key, value_len))
}

impl Source for TraceFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.requests.len()
    }

    fn requests(&self) -> Box<dyn Iterator<Item = Request> + '_> {
        Box::new(self.requests.iter().copied())
    }
}
