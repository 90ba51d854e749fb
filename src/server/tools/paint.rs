//! [`Paint`]: colours, on terminals that want them.

use crate::telemetry::NO_COLOR;
use std::fmt::Display;
use std::io::{self, IsTerminal as _};

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self {
            is_on: io::stdout().is_terminal() && allowed(),
        }
    }

    /// Never.
    #[cfg(test)]
    pub(crate) const fn none() -> Self {
        Self { is_on: false }
    }

    /// Whether there are any.
    pub(crate) const fn is_on(self) -> bool {
        self.is_on
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    pub(crate) fn red(self, text: impl Display) -> String {
        self.with("31", text)
    }

    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.with("33", text)
    }

    pub(crate) fn green(self, text: impl Display) -> String {
        self.with("32", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.is_on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// What the environment says: see no-color.org.
fn allowed() -> bool {
    let is = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    is(NO_COLOR).is_none() && is("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_end_where_they_begin() {
        let on = Paint { is_on: true };
        assert_eq!(on.red("a"), "\x1b[31ma\x1b[0m");
        assert_eq!(Paint::none().red("a"), "a");
    }
}
