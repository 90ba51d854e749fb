//! [`Failure`]: why the program ends, as it says it and as its exit code. The codes are memcached's, and that of
//! sysexits.h for a bad configuration file.

use crate::config::ConfigError;
use crate::given::GivenError;
use crate::process::ProcessError;
use crate::{AccessError, StartError};
use std::io::{self, Write as _};
use std::process::ExitCode;

const EXIT_VALUE: u8 = 1;
const EXIT_USAGE: u8 = 64;
const EXIT_NO_USER: u8 = 67;
const EXIT_SYSTEM: u8 = 71;
const EXIT_CONFIG_FILE: u8 = 78;

/// Why the program ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit_code: u8,
    message: String,
}

impl Failure {
    /// A configuration file is wrong, or one that is to become one.
    pub fn in_config_file(message: String) -> Self {
        Self {
            exit_code: EXIT_CONFIG_FILE,
            message,
        }
    }

    /// A tool has its own exit codes.
    pub(crate) const fn of_tool(exit_code: u8, message: String) -> Self {
        Self { exit_code, message }
    }

    /// Says it where there is no log, and gives the exit code.
    pub fn print(&self) -> ExitCode {
        // Nobody is left to tell if the terminal is gone.
        drop(writeln!(io::stderr(), "{}", self.message.trim_end()));
        self.exit_code()
    }

    /// Says what clap says of a command line; help and version are no failures.
    pub fn print_clap(error: &clap::Error) -> ExitCode {
        // Nobody is left to tell if the terminal is gone.
        drop(error.print());
        if error.use_stderr() {
            EXIT_VALUE.into()
        } else {
            ExitCode::SUCCESS
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        self.exit_code.into()
    }
}

impl From<GivenError> for Failure {
    fn from(error: GivenError) -> Self {
        let exit_code = match &error {
            // Help and version.
            GivenError::Line(error) if !error.use_stderr() => 0,
            GivenError::Line(_) | GivenError::Variable { .. } => EXIT_VALUE,
            GivenError::File(_) => EXIT_CONFIG_FILE,
        };
        Self {
            exit_code,
            message: error.to_string(),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit_code = match error {
            ConfigError::Value(_) => EXIT_VALUE,
            ConfigError::Usage(_) => EXIT_USAGE,
            ConfigError::Address(_) => EXIT_SYSTEM,
        };
        Self {
            exit_code,
            message: error.to_string(),
        }
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let exit_code = match error {
            ProcessError::Root => EXIT_USAGE,
            ProcessError::NoUser(_) => EXIT_NO_USER,
            ProcessError::System { .. } => EXIT_SYSTEM,
        };
        Self {
            exit_code,
            message: error.to_string(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit_code = match error {
            StartError::Access(AccessError::Logins { .. }) => EXIT_VALUE,
            StartError::Access(_) => EXIT_USAGE,
            StartError::Listen(_) | StartError::Admin { .. } | StartError::Snapshot { .. } => {
                EXIT_SYSTEM
            }
        };
        Self {
            exit_code,
            message: error.to_string(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            exit_code: EXIT_SYSTEM,
            message: error.to_string(),
        }
    }
}
