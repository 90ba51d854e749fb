//! [`ToolError`]: why a tool gave up, and with which exit code.

use super::connection::{Address, UNAUTHENTICATED};
use crate::tls::TlsError;
use std::io;

/// Why a tool gave up; each says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(&'static str),
    /// There is no such item.
    #[error("{address} has no item {key:?}")]
    NotFound { address: Address, key: String },
    /// No connection.
    #[error(
        "cannot connect to {address}: {error}. Is the server running? --server or --from names another"
    )]
    Connect { address: Address, error: io::Error },
    /// The files of `--cacert`, `--cert` or `--key` are of no use.
    #[error("{0}. --cacert, --cert and --key name files of PEM")]
    Certificates(#[from] TlsError),
    /// The server and this tool do not trust or understand each other.
    #[error("no TLS with {address}: {error}. {advice}")]
    Tls {
        address: Address,
        error: io::Error,
        advice: &'static str,
    },
    /// The server speaks TLS, and this tool was not told so.
    #[error(
        "{address} speaks TLS: --tls --cacert FILE, with the certificate of who signed its own"
    )]
    Secured { address: Address },
    /// The connection broke.
    #[error("lost {address}: {error}. What was done so far is there; run this again for the rest")]
    Lost { address: Address, error: io::Error },
    /// The server has no such command.
    #[error("{address} does not know `{command}`: memcached has no such command, nuthatch has")]
    Unknown { address: Address, command: String },
    /// The server said something that this cannot go on from.
    #[error("{address} answered {answer:?}: {advice}")]
    Answer {
        address: Address,
        answer: String,
        advice: &'static str,
    },
    /// Standard output or input.
    #[error("cannot {doing}: {error}")]
    File {
        doing: &'static str,
        error: io::Error,
    },
}

impl ToolError {
    /// Whether the server answers nobody who has not logged in.
    pub(crate) fn wants_login(&self) -> bool {
        matches!(self, Self::Answer { answer, .. } if answer == UNAUTHENTICATED)
    }

    /// As `sysexits.h` numbers them.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::NotFound { .. } => EXIT_NO,
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Secured { .. }
            | Self::Lost { .. }
            | Self::Unknown { .. }
            | Self::Answer { .. } => EXIT_UNAVAILABLE,
            Self::File { .. } | Self::Certificates(_) => EXIT_IO,
        }
    }
}

/// The answer is no: no such item, or something that a person should look at.
pub(crate) const EXIT_NO: u8 = 1;
/// The arguments do not go together.
pub(crate) const EXIT_USAGE: u8 = 64;
/// It is done, but something could not be copied.
pub(crate) const EXIT_INCOMPLETE: u8 = 65;
/// A server cannot be reached or does not do its part.
const EXIT_UNAVAILABLE: u8 = 69;
/// Standard input or output failed.
const EXIT_IO: u8 = 74;
