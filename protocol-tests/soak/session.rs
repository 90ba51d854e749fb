//! One connection at work: sends a batch, reads and judges its answers, and so on to the end.

use std::io;
use std::net::SocketAddr;

use crate::connection::{Answer, Connection, excerpt};
use crate::plan::Batch;
use crate::player::Player;
use crate::request::Request;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) player: Player,
    connection: Connection,
    phase: Phase,
    /// What was sent and not yet answered.
    batch: Batch,
    pub(crate) operations: usize,
    /// The first wrong answer, which ends the session: later ones would only follow from it.
    pub(crate) wrong: Option<WrongAnswer>,
}

#[derive(Debug)]
enum Phase {
    /// So many operations are left.
    Playing(usize),
    /// All private keys from this one on are to be read once more.
    Sweeping(usize),
    Finished,
}

#[derive(Debug)]
pub(crate) struct WrongAnswer {
    pub(crate) connection: usize,
    pub(crate) request: String,
    pub(crate) wanted: String,
    pub(crate) got: String,
}

impl Session {
    /// Connects, and waits until the server has accepted the connection.
    pub(crate) fn open(address: SocketAddr, player: Player, operations: usize) -> io::Result<Self> {
        let mut connection = Connection::open(address)?;
        let answer = connection.ask(b"version\r\n")?;
        if !answer.line.starts_with(b"VERSION ") {
            return Err(io::Error::other(format!("version answered {answer}")));
        }
        Ok(Self {
            player,
            connection,
            phase: Phase::Playing(operations),
            batch: Batch::default(),
            operations: 0,
            wrong: None,
        })
    }

    /// Sends the next batch, if there is one.
    pub(crate) fn send(&mut self) -> bool {
        if self.wrong.is_some() {
            return false;
        }
        self.batch = match &mut self.phase {
            Phase::Playing(left) => {
                let batch = self.player.plan(*left);
                self.operations += batch.requests.len();
                *left -= batch.requests.len();
                if *left == 0 {
                    self.phase = Phase::Sweeping(0);
                }
                batch
            }
            Phase::Sweeping(slot) => {
                let (batch, count) = self.player.plan_sweep(*slot);
                *slot += count;
                if *slot == self.player.slots.len() {
                    self.phase = Phase::Finished;
                }
                batch
            }
            Phase::Finished => return false,
        };
        if let Err(error) = self.connection.send(&self.batch.bytes) {
            self.wrong = Some(self.wrong("a batch", "to be read", &error.to_string()));
        }
        true
    }

    /// Reads and judges the answers to the batch.
    pub(crate) fn receive(&mut self) {
        if self.wrong.is_some() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let mut start = 0;
        for (request, end) in &batch.requests {
            let bytes = batch.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            if let Err(wrong) = self.judge_next(request, bytes) {
                self.wrong = Some(wrong);
                return;
            }
        }
        let surplus = self.connection.surplus();
        if !surplus.is_empty() {
            let bytes = excerpt(&batch.bytes);
            self.wrong = Some(self.wrong(&bytes, "nothing after the answers", &excerpt(surplus)));
        }
    }

    fn judge_next(&mut self, request: &Request, bytes: &[u8]) -> Result<(), WrongAnswer> {
        let answer = request
            .is_answered()
            .then(|| self.connection.receive())
            .transpose();
        let answer =
            answer.map_err(|error| self.wrong(&excerpt(bytes), "an answer", &error.to_string()))?;
        self.player
            .judge(request, answer.as_ref())
            .map_err(|wanted| {
                let got = answer.as_ref().map(Answer::to_string).unwrap_or_default();
                self.wrong(&excerpt(bytes), &wanted, &got)
            })
    }

    fn wrong(&self, request: &str, wanted: &str, got: &str) -> WrongAnswer {
        WrongAnswer {
            connection: self.player.index,
            request: request.to_owned(),
            wanted: wanted.to_owned(),
            got: got.to_owned(),
        }
    }
}

/// Lets all sessions of a thread play to their end, one batch each in turn.
pub(crate) fn play(sessions: &mut [Session]) {
    loop {
        let sent = sessions
            .iter_mut()
            .map(Session::send)
            .filter(|sent| *sent)
            .count();
        if sent == 0 {
            return;
        }
        sessions.iter_mut().for_each(Session::receive);
    }
}
