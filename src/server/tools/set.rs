//! `nuthatch set`: stores one item.

use super::arguments::Server;
use super::error::ToolError;
use super::item::VALUE_LEN_MAX;
use super::key::KeyText;
use super::print;
use super::span::Span;
use super::target::exptime;
use crate::clock::Clock;
use crate::failure::Failure;
use clap::Args;
use nuthatch_protocol::Exptime;
use std::io::{self, Read};

/// The arguments of `nuthatch set`.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The key
    key: KeyText,

    /// The value [default: standard input, to its end]
    value: Option<String>,

    /// How long it shall live, such as 90s, 5m or 7d; 0 is for ever
    #[arg(long, value_name = "TIME", default_value = "0")]
    ttl: Span,

    /// Client flags, by which clients know what a value is
    #[arg(long, value_name = "NUM", default_value_t = 0)]
    flags: u32,

    #[command(flatten)]
    at: Server,
}

impl Set {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let value = match self.value {
            Some(value) => value.into_bytes(),
            None => read_value(io::stdin(), VALUE_LEN_MAX.into())?,
        };
        let (mut connection, _) = self.at.open()?;
        let exptime = of_ttl(self.ttl).get();
        let line = format!(
            "set {} {} {exptime} {}\r\n",
            self.key,
            self.flags,
            value.len()
        );
        connection.out.extend_from_slice(line.as_bytes());
        connection.out.extend_from_slice(&value);
        connection.out.extend_from_slice(b"\r\n");
        connection.send()?;
        if connection.line()? != b"STORED" {
            return Err(connection.wrong("the item was not stored").into());
        }
        print("stored\n")
    }
}

/// What to send for a lifetime from now on.
pub(crate) fn of_ttl(Span(ttl): Span) -> Exptime {
    // Rounded up: a ttl of 0 s would mean "never".
    let seconds = ttl
        .as_secs()
        .saturating_add((ttl.subsec_nanos() > 0).into());
    let unix_seconds = Clock::machine().now().unix_millis / 1000;
    let expiry = (seconds > 0).then(|| unix_seconds.saturating_add(seconds));
    exptime(expiry, unix_seconds).unwrap_or(Exptime::NEVER)
}

fn read_value(input: impl Read, len_max: u64) -> Result<Vec<u8>, ToolError> {
    let mut value = Vec::new();
    let read = input
        .take(len_max.saturating_add(1))
        .read_to_end(&mut value);
    let read = read.map_err(|error| ToolError::File {
        doing: "read the value from standard input",
        error,
    })?;
    if u64::try_from(read).is_ok_and(|read| read <= len_max) {
        Ok(value)
    } else {
        Err(ToolError::Usage(
            "the value is longer than 1 GiB: no server takes it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_a_longest_length() {
        let read = |input: &[u8]| read_value(input, 4);
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(b"abcd").unwrap(), b"abcd");
        let error = read(b"abcde").unwrap_err().to_string();
        assert!(error.contains("longer than 1 GiB"), "{error}");
        assert_eq!(VALUE_LEN_MAX, 1 << 30, "as the error says");
        // What never ends is given up.
        assert!(read_value(io::repeat(0), 1 << 20).is_err());
    }

    #[test]
    fn a_lifetime_is_rounded_up_and_nothing_is_for_ever() {
        let of = |text: &str| of_ttl(text.parse().unwrap()).get();
        assert_eq!((of("0"), of("1ms"), of("1s"), of("1001ms")), (0, 1, 1, 2));
        assert_eq!(of("30d"), 30 * 24 * 60 * 60);
        assert!(of("31d") > 1_700_000_000);
        // Longer than seconds since 1970 can be told.
        assert_eq!(of("36500d"), i32::MAX);
    }
}
