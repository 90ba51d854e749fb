//! Logins (`-Y`): who may use the daemon, and the one thing that anybody may do before.

use crate::counters::Count;
use crate::worker::Worker;
use nuthatch_protocol::{ErrorReply, Tokens, parse_u32};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use subtle::{Choice, ConstantTimeEq};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Logins of a file, as many as memcached takes.
const LOGINS_MAX: usize = 8;

/// Bytes of a file of logins.
const FILE_LEN_MAX: u64 = 64 << 10;

/// How long who connects may take to log in.
pub(crate) const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Wrong passwords before the connection is closed.
const FAILURES_MAX: u32 = 5;

/// Bytes of a line before the login, as memcached limits them.
const LINE_LEN_MAX: usize = 2048;

/// Bytes of user and password.
const TOKEN_LEN_MAX: usize = 4096;

/// Read at once before the login.
const READ_LEN: u64 = 2048;

const LINE_END: &[u8] = b"\r\n";

/// The logins of a file, of which it keeps no password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Logins(Vec<[u8; 32]>);

/// Why a file of logins cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginsError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("line {0} is not `user:password`")]
    Malformed(usize),
    #[error("it has more than {LOGINS_MAX} logins")]
    TooMany,
    #[error("it has more than {FILE_LEN_MAX} bytes")]
    TooLong,
}

impl Logins {
    /// Reads `user:password` from each line. Empty lines are skipped; the last needs no end.
    pub(crate) fn read(path: &Path) -> Result<Self, LoginsError> {
        let mut text = Vec::new();
        let file = File::open(path)?;
        file.take(FILE_LEN_MAX.saturating_add(1))
            .read_to_end(&mut text)?;
        if text.len() as u64 > FILE_LEN_MAX {
            return Err(LoginsError::TooLong);
        }
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Result<Self, LoginsError> {
        let mut logins = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if matches!(line, b"" | b"\r") {
                continue;
            }
            let Some((user, password)) = user_and_password(line) else {
                return Err(LoginsError::Malformed(number));
            };
            if logins.len() == LOGINS_MAX {
                return Err(LoginsError::TooMany);
            }
            logins.push(digest(user, password));
        }
        Ok(Self(logins))
    }

    /// Takes as long for a wrong password as for a right one, and for an unknown user.
    fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        let digest = digest(user, password);
        let none = Choice::from(0);
        let logins = self.0.iter();
        logins
            .fold(none, |found, login| found | login.ct_eq(&digest))
            .into()
    }
}

/// What a line `user:password` says.
pub(crate) fn user_and_password(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (user, password) = line.split_at_checked(colon)?;
    let password = password.strip_prefix(b":")?;
    (!user.is_empty()).then_some((user, password))
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logins({})", self.0.len())
    }
}

/// Of both, so that a comparison tells nothing of the length of either. No user has a `:`.
fn digest(user: &[u8], password: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(user);
    hash.update(b":");
    hash.update(password);
    hash.finalize().into()
}

/// What is to be done with the bytes that have come.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Wait for more.
    Wait,
    /// Say this; so many bytes are done with.
    Answer(ErrorReply<'static>, usize),
    /// See who it is: user and password are from here to there.
    Check(usize, usize),
    /// Say this and close: what comes next is not known to be a command.
    Close(ErrorReply<'static>),
    /// Close.
    Hangup,
}

/// Looks at what somebody says who has not logged in: `set KEY FLAGS EXPTIME LEN`, and as value user and password.
fn step(bytes: &[u8]) -> Step {
    let Some(line_len) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > LINE_LEN_MAX {
            Step::Hangup
        } else {
            Step::Wait
        };
    };
    let used = line_len.saturating_add(1);
    let line = bytes.get(..line_len).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = Tokens::new(line);
    let is_set = words.next() == Some(b"set");
    let Some(len) = words.nth(3).filter(|_| is_set).and_then(parse_u32) else {
        return Step::Answer(ErrorReply::UNAUTHENTICATED, used);
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > TOKEN_LEN_MAX {
        return Step::Close(ErrorReply::AUTH_TOKEN);
    }
    let end = used.saturating_add(len);
    let all = end.saturating_add(LINE_END.len());
    match bytes.get(end..all) {
        None => Step::Wait,
        Some(LINE_END) => Step::Check(used, end),
        Some(_) => Step::Close(ErrorReply::AUTH_TERMINATION),
    }
}

/// Lets somebody log in; returns what came behind the login, or `None` if the connection is to be closed. It may take
/// [`LOGIN_TIME_MAX`].
pub(crate) async fn log_in<S>(
    stream: &mut S,
    logins: &Logins,
    worker: &Worker,
) -> io::Result<Option<Vec<u8>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    let mut failures = 0_u32;
    loop {
        let (answer, used) = match step(&bytes) {
            Step::Wait => {
                let read = stream.take(READ_LEN).read_buf(&mut bytes).await?;
                if read == 0 {
                    return Ok(None);
                }
                worker.counters().add(Count::BytesRead, read as u64);
                continue;
            }
            Step::Answer(answer, used) => (answer, used),
            Step::Close(answer) => {
                say(stream, worker, answer.line()).await?;
                return Ok(None);
            }
            Step::Hangup => return Ok(None),
            Step::Check(from, to) => {
                let token = bytes.get(from..to).unwrap_or_default();
                match admits(logins, token, worker) {
                    Ok(()) => {
                        say(stream, worker, b"STORED").await?;
                        bytes.drain(..to.saturating_add(LINE_END.len()));
                        return Ok(Some(bytes));
                    }
                    Err(refusal) => {
                        failures = failures.saturating_add(1);
                        (refusal, to.saturating_add(LINE_END.len()))
                    }
                }
            }
        };
        say(stream, worker, answer.line()).await?;
        bytes.drain(..used.min(bytes.len()));
        if failures >= FAILURES_MAX {
            return Ok(None);
        }
    }
}

/// Whether somebody may come in who says `user password`, and what to say if not.
fn admits(logins: &Logins, token: &[u8], worker: &Worker) -> Result<(), ErrorReply<'static>> {
    let mut words = Tokens::new(token);
    let (Some(user), Some(password)) = (words.next(), words.next()) else {
        return Err(ErrorReply::AUTH_TOKEN);
    };
    worker.counters().increment(Count::AuthCmds);
    if logins.admits(user, password) {
        return Ok(());
    }
    worker.counters().increment(Count::AuthErrors);
    Err(ErrorReply::AUTH_FAILURE)
}

async fn say<S>(stream: &mut S, worker: &Worker, line: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let answer = [line, LINE_END].concat();
    stream.write_all(&answer).await?;
    stream.flush().await?;
    let written = answer.len() as u64;
    worker.counters().add(Count::BytesWritten, written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_login_in_each_line() {
        let logins = Logins::parse(b"user:pass\r\n\nalice:a:b\nnobody:").unwrap();
        for (user, password, is_admitted) in [
            ("user", "pass", true),
            ("alice", "a:b", true),
            ("nobody", "", true),
            ("user", "passX", false),
            ("user", "pas", false),
            ("user", "", false),
            ("use", "r:pass", false),
            ("alice", "pass", false),
            ("", "", false),
        ] {
            let admits = logins.admits(user.as_bytes(), password.as_bytes());
            assert_eq!(admits, is_admitted, "{user} {password}");
        }
        assert!(!Logins::parse(b"").unwrap().admits(b"", b""));
    }

    #[test]
    fn a_wrong_file_is_refused() {
        let error = |text: &[u8]| Logins::parse(text).map_err(|error| error.to_string());
        assert_eq!(
            error(b"a:b\nc"),
            Err("line 2 is not `user:password`".into())
        );
        assert_eq!(error(b":b"), Err("line 1 is not `user:password`".into()));
        assert!(error(&b"a:b\n".repeat(8)).is_ok());
        assert_eq!(
            error(&b"a:b\n".repeat(9)),
            Err("it has more than 8 logins".into())
        );
    }

    #[test]
    fn files_are_read_up_to_their_limit() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("logins");
        let read = |len: usize| {
            std::fs::write(&path, b"\n".repeat(len)).unwrap();
            Logins::read(&path).map_err(|error| error.to_string())
        };
        assert!(read(65_536).is_ok());
        assert_eq!(read(65_537), Err("it has more than 65536 bytes".into()));
    }

    #[test]
    fn nothing_but_a_login_is_understood() {
        let unauthenticated = |used| Step::Answer(ErrorReply::UNAUTHENTICATED, used);
        for (bytes, expected) in [
            (&b""[..], Step::Wait),
            (b"set a 0 0 9", Step::Wait),
            (b"get a\r\nx", unauthenticated(7)),
            (b"\n", unauthenticated(1)),
            (b"set a 0 0\r\n", unauthenticated(11)),
            (b"set a 0 0 -1\r\n", unauthenticated(14)),
            (b"set a 0 0 9\r\nuser pass", Step::Wait),
            (b"set a 0 0 9\r\nuser pass\r", Step::Wait),
            (b"set a 0 0 9\r\nuser pass\r\nget", Step::Check(13, 22)),
            (b"set a 0 0 9 noreply\nuser pass\r\n", Step::Check(20, 29)),
            (
                b"set a 0 0 9\r\nuser passX\r\n",
                Step::Close(ErrorReply::AUTH_TERMINATION),
            ),
            (b"set a 0 0 4097\r\n", Step::Close(ErrorReply::AUTH_TOKEN)),
            (
                b"set a 0 0 4294967295\r\n",
                Step::Close(ErrorReply::AUTH_TOKEN),
            ),
            (b"set a 0 0 4096\r\n", Step::Wait),
        ] {
            assert_eq!(step(bytes), expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(step(&[b'x'; LINE_LEN_MAX]), Step::Wait);
        assert_eq!(step(&[b'x'; LINE_LEN_MAX + 1]), Step::Hangup);
    }
}
