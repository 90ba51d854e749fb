//! [`Error`]: what can go wrong with a call, whose fault it is, and what to do.

use nuthatch_protocol::KeyError;
use std::sync::Arc;

/// Why a call failed. A miss is no error, nor is a condition that did not hold.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "the one error of the crate, as in std::io"
)]
#[non_exhaustive]
pub enum Error {
    /// The client cannot work with these settings; the text says what to change.
    #[error("{0}")]
    Config(String),
    /// The key cannot travel; change it, or the client's [`KeyPolicy`](crate::KeyPolicy).
    #[error("{0}; see KeyPolicy for keys that are not like this")]
    Key(#[source] KeyError),
    /// The value is longer than the client's limit; nothing was sent.
    #[error("a value of {len} bytes, where the client's limit is {max}")]
    TooLarge {
        /// Bytes of the value as it would travel.
        len: usize,
        /// The limit, set by the builder.
        max: usize,
    },
    /// The bytes are no such value, or the value cannot be made bytes.
    #[error("{0}")]
    Codec(String),
    /// The node cannot be reached, and nothing was sent or what was sent changes nothing. The client tries to reach it
    /// again by itself.
    #[error("{node} is unavailable: {why}")]
    Unavailable {
        /// The node.
        node: Arc<str>,
        /// What is wrong with it.
        why: String,
    },
    /// There was no answer in time. The call may be made again if [`was_sent`](Self::was_sent) is false, or if doing
    /// it twice does no harm.
    #[error("{node} did not answer in time ({phase})")]
    Timeout {
        /// The node.
        node: Arc<str>,
        /// What took so long.
        phase: Phase,
    },
    /// The connection was lost after a change had been sent: it may have been carried out, or not. Read before you
    /// repeat it.
    #[error("{node} may or may not have carried out the {op}: {why}")]
    Ambiguous {
        /// The node.
        node: Arc<str>,
        /// The command.
        op: &'static str,
        /// What happened to the connection.
        why: String,
    },
    /// The server refused the command. Its line says whose fault it was.
    #[error("{node} refused the {op}: {message}")]
    Server {
        /// The node.
        node: Arc<str>,
        /// The command.
        op: &'static str,
        /// The server's line.
        message: String,
    },
    /// The server has no words for this: it knows no meta commands, or is a proxy that knows less. Upgrade it, ask the
    /// servers behind the proxy, or do without.
    #[error(
        "{node} speaks the classic protocol, or is a proxy that knows part of it, and has no such {op}"
    )]
    Unsupported {
        /// The node.
        node: Arc<str>,
        /// The command.
        op: &'static str,
    },
    /// The loader of a value failed, panicked, or was slower than the policy's
    /// [`load_deadline`](crate::Policy::load_deadline); this is its error, shared by all who waited for the value.
    #[error("the value could not be loaded: {0}")]
    Load(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Somebody else is loading the value and did not finish within the policy's wait, and the policy says not to load
    /// it here too.
    #[error("another client is loading the value, and did not finish in time")]
    Contended,
    /// Others kept changing the value; nothing was stored.
    #[error("the value changed each time it was to be updated, {0} times")]
    Conflict(u32),
    /// The runtime that ran the client is gone.
    #[error("the client has been closed")]
    Closed,
}

/// What a call was waiting for when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Room in the node's queue: more is asked of it than it can do.
    Queue,
    /// The connection to the node.
    Connect,
    /// The node's reply.
    Reply,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for room in its queue",
            Self::Connect => "connecting",
            Self::Reply => "waiting for the reply",
        })
    }
}

impl Error {
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::Config(text.into())
    }

    pub(crate) fn codec(text: impl Into<String>) -> Self {
        Self::Codec(text.into())
    }

    /// Whether a change may have been carried out.
    pub const fn was_sent(&self) -> bool {
        matches!(
            self,
            Self::Ambiguous { .. }
                | Self::Timeout {
                    phase: Phase::Reply,
                    ..
                }
        )
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Timeout { .. }
                | Self::Ambiguous { .. }
                | Self::Contended
                | Self::Conflict(_)
        )
    }

    /// The node that it happened with.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Unavailable { node, .. }
            | Self::Timeout { node, .. }
            | Self::Ambiguous { node, .. }
            | Self::Server { node, .. }
            | Self::Unsupported { node, .. } => Some(node),
            Self::Config(_)
            | Self::Key(_)
            | Self::TooLarge { .. }
            | Self::Codec(_)
            | Self::Load(_)
            | Self::Contended
            | Self::Conflict(_)
            | Self::Closed => None,
        }
    }
}
