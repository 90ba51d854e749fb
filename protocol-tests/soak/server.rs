//! The server as its `stats` and the operating system show it, and the shared keys as it holds
//! them before and after the run.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;

use crate::connection::{Answer, Connection, decimal};
use crate::request::{Change, Expiry, Mode, Reply, Request, Target};
use crate::shared;

/// A connection of its own, beside those that work.
#[derive(Debug)]
pub(crate) struct Server {
    control: Connection,
    pid: Option<u32>,
}

/// The numbers of one `stats` answer.
#[derive(Debug)]
pub(crate) struct Stats(HashMap<Vec<u8>, Vec<u8>>);

impl Server {
    pub(crate) fn open(address: SocketAddr, pid: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            control: Connection::open(address)?,
            pid,
        })
    }

    pub(crate) fn stats(&mut self) -> io::Result<Stats> {
        let mut stats = HashMap::new();
        self.control.send(b"stats\r\n")?;
        loop {
            let line = self.control.receive()?.line;
            let mut tokens = line.splitn(3, |byte| *byte == b' ');
            match (tokens.next(), tokens.next(), tokens.next()) {
                (Some(b"STAT"), Some(name), Some(value)) => {
                    stats.insert(name.to_vec(), value.to_vec());
                }
                _ if line == b"END" => return Ok(Stats(stats)),
                _ => {
                    return Err(unexpected(
                        "stats",
                        &Answer {
                            line,
                            ..Answer::default()
                        },
                    ));
                }
            }
        }
    }

    /// Empties the server and gives each shared key its first value.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        self.ask(b"flush_all\r\n", b"OK")?;
        for target in shared::targets() {
            let (flags, value) = match target {
                Target::Board(board) => {
                    let stamp = shared::board_stamp(board, 0, 0, 0);
                    (stamp.flags(), stamp.value())
                }
                Target::Counter(_) | Target::Ticket(_) | Target::Own(_) | Target::Missing(_) => {
                    (0, b"0".to_vec())
                }
            };
            let change = Change::Store {
                mode: Mode::Set,
                flags,
                expiry: Expiry::Never,
                value,
            };
            let mut request = Vec::new();
            Request::Change {
                target,
                change,
                reply: Reply::Wanted,
            }
            .write(shared::key, &mut request);
            self.ask(&request, b"STORED")?;
        }
        Ok(())
    }

    /// The number that a shared key holds now.
    pub(crate) fn number(&mut self, target: Target) -> io::Result<u64> {
        let request = [b"get ", &*shared::key(target), b"\r\n"].concat();
        let answer = self.control.ask(&request)?;
        let number = match &*answer.hits {
            [hit] => decimal(&hit.value),
            _ => None,
        };
        number.ok_or_else(|| unexpected("get of a shared number", &answer))
    }

    /// How many files the process has open, if it is known.
    pub(crate) fn open_files(&self) -> io::Result<Option<usize>> {
        let count = |pid| Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count());
        self.pid.map(count).transpose()
    }

    /// The resident memory of the process now and at its highest, as the kernel words it.
    pub(crate) fn resident(&self) -> io::Result<Option<String>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let wanted = status
            .lines()
            .filter(|line| line.starts_with("VmRSS:") || line.starts_with("VmHWM:"));
        let words: Vec<_> = wanted.flat_map(str::split_whitespace).collect();
        Ok(Some(words.join(" ")))
    }

    fn ask(&mut self, request: &[u8], wanted: &[u8]) -> io::Result<()> {
        let answer = self.control.ask(request)?;
        if answer.line == wanted {
            Ok(())
        } else {
            Err(unexpected("preparation", &answer))
        }
    }
}

impl Stats {
    pub(crate) fn number(&self, name: &str) -> io::Result<u64> {
        let value = self.0.get(name.as_bytes()).and_then(|value| decimal(value));
        value.ok_or_else(|| io::Error::other(format!("stats shows no number for {name}")))
    }
}

fn unexpected(request: &str, answer: &Answer) -> io::Error {
    io::Error::other(format!("{request} answered {answer}"))
}
