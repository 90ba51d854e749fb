//! One connection: sends requests, reads the answers and takes them apart. It does not know which
//! answers are right.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that needs longer for one answer under this load counts as stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longer than any answer line: `VALUE`, a key of 250 bytes and three numbers.
const LINE_LEN_MAX: u64 = 2048;

#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

/// The values of a retrieval, none for other commands, and the line that ends the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) hits: Vec<Hit>,
    pub(crate) line: Vec<u8>,
}

/// One `VALUE` of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) key: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) unique: Option<u64>,
    pub(crate) value: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    pub(crate) fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(requests)
    }

    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        receive(&mut self.reader)
    }

    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    /// Bytes that were received after the last answer that was asked for.
    pub(crate) fn surplus(&self) -> &[u8] {
        self.reader.buffer()
    }
}

fn receive(reader: &mut impl BufRead) -> io::Result<Answer> {
    let mut hits = Vec::new();
    loop {
        let line = receive_line(reader)?;
        let Some(header) = line.strip_prefix(b"VALUE ") else {
            return Ok(Answer { hits, line });
        };
        let (mut hit, len) = parse_header(header).ok_or_else(|| malformed(&line))?;
        hit.value.resize(len, 0);
        reader.read_exact(&mut hit.value)?;
        let mut end = [0; 2];
        reader.read_exact(&mut end)?;
        if end != *b"\r\n" {
            return Err(malformed(&end));
        }
        hits.push(hit);
    }
}

pub(crate) fn receive_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed",
        ));
    }
    let content = line.strip_suffix(b"\r\n").ok_or_else(|| malformed(&line))?;
    let content_len = content.len();
    line.truncate(content_len);
    Ok(line)
}

fn malformed(bytes: &[u8]) -> io::Error {
    let text = format!("malformed answer: {}", excerpt(bytes));
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// `key flags len[ cas]`: the hit without its value, and the length of that.
fn parse_header(header: &[u8]) -> Option<(Hit, usize)> {
    let mut tokens = header.split(|byte| *byte == b' ');
    let key = tokens.next()?.to_vec();
    let flags = u32::try_from(decimal(tokens.next()?)?).ok()?;
    let len = usize::try_from(decimal(tokens.next()?)?).ok()?;
    let unique = match tokens.next() {
        Some(token) => Some(decimal(token)?),
        None => None,
    };
    // No server stores more than 1 GiB (memcached's -I), so that a wrong length cannot hurt.
    let complete = tokens.next().is_none() && len <= 1 << 30;
    complete.then(|| {
        (
            Hit {
                key,
                flags,
                unique,
                value: Vec::new(),
            },
            len,
        )
    })
}

/// A number exactly as memcached prints it.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    let number = text.parse::<u64>().ok()?;
    let canonical = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    canonical.then_some(number)
}

/// The bytes as readable text, without the middle of long ones.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const SIDE_LEN: usize = 60;
    match (bytes.get(..SIDE_LEN), bytes.len().checked_sub(SIDE_LEN)) {
        (Some(head), Some(tail_start)) if tail_start > SIDE_LEN => {
            let tail = bytes.get(tail_start..).unwrap_or_default();
            let (head, tail) = (head.escape_ascii(), tail.escape_ascii());
            format!("{head} ... {tail} ({} bytes)", bytes.len())
        }
        _ => bytes.escape_ascii().to_string(),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Hit {
            key,
            flags,
            unique,
            value,
        } in &self.hits
        {
            write!(
                formatter,
                "VALUE {} {flags} {}",
                key.escape_ascii(),
                value.len()
            )?;
            if let Some(unique) = unique {
                write!(formatter, " {unique}")?;
            }
            write!(formatter, " | {} | ", excerpt(value))?;
        }
        write!(formatter, "{}", excerpt(&self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str) -> Option<String> {
        let mut bytes = stream.as_bytes();
        let answer = receive(&mut bytes).ok()?;
        assert!(bytes.is_empty(), "left over: {}", bytes.escape_ascii());
        Some(answer.to_string())
    }

    #[test]
    fn answers_are_taken_apart() {
        assert_eq!(check("STORED\r\n").as_deref(), Some("STORED"));
        let two = check("VALUE a 1 2\r\n\r\n\r\nVALUE b 2 1 77\r\nx\r\nEND\r\n");
        assert_eq!(
            two.as_deref(),
            Some("VALUE a 1 2 | \\r\\n | VALUE b 2 1 77 | x | END")
        );
    }

    #[test]
    fn malformed_answers_are_refused() {
        for stream in [
            "",
            "STORED",
            "STORED\n",
            "VALUE a 1 2\r\nxxx\r\nEND\r\n",
            "VALUE a 1 1\r\nxxxEND\r\n",
            "VALUE a 01 1\r\nx\r\nEND\r\n",
            "VALUE a 4294967296 1\r\nx\r\nEND\r\n",
            "VALUE a 1 1 2 3\r\nx\r\nEND\r\n",
            "VALUE a 1 1 \r\nx\r\nEND\r\n",
        ] {
            assert_eq!(check(stream), None, "{stream:?}");
        }
    }
}
