//! [`Error`]: what can go wrong with a call, whose fault it is, and what to do.

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
}

impl Error {
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::Config(text.into())
    }
}
