//! Holds one server to one test of a transcript, over a blocking stream.

use crate::{
    pattern::{Captures, Match, Pattern},
    transcript::{Answer, Dialect, Step, Test},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

/// A connection to the server under test. Reads must give up after a while, with an error.
pub trait Peer: Read + Write {
    /// Lets this much time pass for the server.
    fn wait(&mut self, time: Duration);
}

impl Peer for TcpStream {
    fn wait(&mut self, time: Duration) {
        // Of memcached, whose clock nobody else can move; nuthatch is given one.
        thread::sleep(time);
    }
}

/// Plays the test and compares every answer.
///
/// # Errors
/// The first difference, as `file:line: title`, with what was expected and what came.
pub fn run(
    test: &Test,
    peer: &mut impl Peer,
    dialect: Dialect,
    captures: Captures,
) -> Result<(), String> {
    let mut conversation = Conversation {
        peer,
        captures,
        received: Vec::new(),
    };
    for (line, step) in &test.steps {
        let outcome = match step {
            Step::Send(pattern) => conversation.send(pattern),
            Step::Wait(seconds) => {
                conversation.peer.wait(Duration::from_secs(*seconds));
                Ok(())
            }
            Step::Leave => return Ok(()),
            Step::Expect(expectation) => match expectation.answer(dialect) {
                Answer::Bytes(pattern) => conversation.expect(pattern),
                Answer::Closed => {
                    return conversation
                        .expect_closed()
                        .map_err(|error| at(test, *line, &error));
                }
            },
        };
        outcome.map_err(|error| at(test, *line, &error))?;
    }
    Ok(())
}

fn at(test: &Test, line: usize, error: &str) -> String {
    format!("{}:{line}: {}\n  {error}", test.file, test.title)
}

struct Conversation<'a, P> {
    peer: &'a mut P,
    captures: Captures,
    received: Vec<u8>,
}

impl<P: Peer> Conversation<'_, P> {
    /// A server that closes while it is being sent to is judged by what it answers.
    fn send(&mut self, pattern: &Pattern) -> Result<(), String> {
        let bytes = pattern.render(&self.captures)?;
        match self.peer.write_all(&bytes) {
            Err(error) if !is_close(error.kind()) => Err(format!("cannot send: {error}")),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn expect(&mut self, pattern: &Pattern) -> Result<(), String> {
        loop {
            let problem = match pattern.matches(&self.received, &mut self.captures) {
                Match::Whole(len) => {
                    self.received.drain(..len);
                    return Ok(());
                }
                Match::Mismatch => "not the answer".to_owned(),
                Match::Partial => match self.receive() {
                    Ok(0) => "closed too early".to_owned(),
                    Ok(_) => continue,
                    Err(error) => error,
                },
            };
            let want = pattern.render(&self.captures);
            let want = want.map_or_else(|_| format!("{pattern:?}"), |bytes| shown(&bytes));
            return Err(format!(
                "{problem}\n  expected: {want}\n  got:      {}",
                shown(&self.received)
            ));
        }
    }

    fn expect_closed(&mut self) -> Result<(), String> {
        if self.received.is_empty() && self.receive()? == 0 {
            return Ok(());
        }
        Err(format!("not closed\n  got:      {}", shown(&self.received)))
    }

    /// How many bytes came; none when the connection is closed.
    fn receive(&mut self) -> Result<usize, String> {
        let mut buffer = [0; 16_384];
        let len = match self.peer.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if is_close(error.kind()) => 0,
            Err(error) => return Err(format!("nothing more came: {error}")),
        };
        self.received.extend(buffer.iter().take(len));
        Ok(len)
    }
}

fn is_close(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

/// Printable, and short enough to read.
fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    let start = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    let more = if bytes.len() > SHOWN_MAX { " ..." } else { "" };
    format!("{}{more} ({} bytes)", start.escape_ascii(), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::parse;
    use std::io;

    /// Answers with one prepared byte for each read, whatever it is sent; then closes.
    struct Recording(Vec<u8>);

    impl Read for Recording {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let byte = self.0.splice(..self.0.len().min(1), []).next();
            Ok(byte.map_or(0, |byte| {
                buffer[0] = byte;
                1
            }))
        }
    }

    impl Write for Recording {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Peer for Recording {
        fn wait(&mut self, _: Duration) {}
    }

    fn replay(transcript: &str, answers: &str, dialect: Dialect) -> Result<(), String> {
        let tests = parse("x.wire", transcript).unwrap();
        let captures = Captures::new(7, "v");
        run(&tests[0], &mut Recording(answers.into()), dialect, captures)
    }

    #[test]
    fn the_exact_answers_pass() {
        let transcript = "== t\n> a\n< {x},{x};\n1.6.18 row < b\nwait 1\n";
        replay(transcript, "12,12;VERSION v\r\n", Dialect::Nuthatch).unwrap();
        replay(transcript, "bVERSION v\r\n", Dialect::Memcached1618).unwrap();
    }

    #[test]
    fn surplus_missing_and_wrong_answers_fail() {
        for answers in [
            "bbVERSION v\r\n",
            "VERSION v\r\n",
            "cVERSION v\r\n",
            "b",
            "bVERSION w\r\n",
        ] {
            let failure = replay("== t\n> a\n< b\n", answers, Dialect::Nuthatch).unwrap_err();
            assert!(failure.starts_with("x.wire:"), "{failure}");
        }
    }

    #[test]
    fn a_close_must_come_in_silence() {
        replay("== t\n> a\n< b\nclosed\n", "b", Dialect::Nuthatch).unwrap();
        replay("== t\n> a\n< b\nclosed\n", "bc", Dialect::Nuthatch).unwrap_err();
        replay(
            "== t\n< b\nclosed\n1.6.18 row < c\n",
            "bcVERSION v\r\n",
            Dialect::Memcached1618,
        )
        .unwrap();
    }
}
