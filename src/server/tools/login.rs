//! [`Login`]: what a server with logins (`-Y`) wants to hear first.

use super::error::ToolError;
use crate::auth::user_and_password;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Bytes that are read of the file, which is like the one that the server has.
const FILE_LEN_MAX: u64 = 64 << 10;

/// A user and a password, with a space between them.
#[derive(Clone)]
pub(crate) struct Login(Vec<u8>);

impl Login {
    /// Reads the first line of a file, `user:password`; without a file there is none.
    pub(crate) fn read(path: Option<&Path>) -> Result<Option<Self>, ToolError> {
        let Some(path) = path else { return Ok(None) };
        let failed = |error| ToolError::File {
            doing: "read the login (--auth-file)",
            error,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(failed)?;
        let mut limited = file.take(FILE_LEN_MAX);
        limited.read_to_end(&mut text).map_err(failed)?;
        let login = Self::of_line(text.split(|byte| *byte == b'\n').next().unwrap_or_default());
        let malformed = || failed(io::Error::other("its first line is not user:password"));
        login.map(Some).ok_or_else(malformed)
    }

    fn of_line(line: &[u8]) -> Option<Self> {
        let (user, password) = user_and_password(line)?;
        (!password.is_empty()).then(|| Self([user, b" ", password].concat()))
    }

    /// Appends the request that logs in: any `set` does whose value this is.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let line = format!("set login 0 0 {}\r\n", self.0.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(&self.0);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_user_and_a_password() {
        let login = |line: &[u8]| Login::of_line(line).map(|login| login.0);
        assert_eq!(login(b"user:pass"), Some(b"user pass".to_vec()));
        assert_eq!(login(b"user:pa:ss\r"), Some(b"user pa:ss".to_vec()));
        for line in [&b""[..], b"user", b"user:", b":pass", b":"] {
            assert_eq!(login(line), None, "{}", line.escape_ascii());
        }
    }
}
