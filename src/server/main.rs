//! The `nuthatch` binary: flags, then configuration, then the daemon, then the exit code.
#![forbid(unsafe_code)]

use nuthatch::argv;
use nuthatch::clock::Clock;
use nuthatch::config::{Config, ConfigError};
use nuthatch::flags::Flags;
use nuthatch::process::{self, PidFile, ProcessError};
use nuthatch::{AccessError, Bound, StartError, signals, telemetry};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LICENCE: &str =
    "nuthatch is licensed under MIT or Apache-2.0, at your option; both come with it.";

/// The exit codes of memcached.
const EXIT_VALUE: u8 = 1;
const EXIT_USAGE: u8 = 64;
const EXIT_NO_USER: u8 = 67;
const EXIT_SYSTEM: u8 = 71;

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let flags = match argv::parse(std::env::args_os(), variable) {
        Ok(flags) => flags,
        Err(error) => {
            // Help and version are "errors" that go to standard output. Nobody is left to tell if
            // the terminal is gone.
            drop(error.print());
            return if error.use_stderr() {
                EXIT_VALUE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if flags.license {
        // Nobody is left to tell if the terminal is gone.
        drop(writeln!(io::stdout(), "{LICENCE}"));
        return ExitCode::SUCCESS;
    }
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", failure.message);
            failure.exit_code.into()
        }
    }
}

struct Failure {
    exit_code: u8,
    message: String,
}

fn run(flags: &Flags) -> Result<(), Failure> {
    signals::hold()?;
    let log_level = telemetry::init(flags.verbose);
    let config = Config::from_flags(flags)?;
    for note in &config.notes {
        tracing::info!("{note}");
    }
    if config.core_dumps {
        process::allow_core_dumps()?;
    }
    process::raise_descriptor_limit(config.settings.connections_max);
    let clock = Clock::machine();
    // While root: low ports, and keys. As the user: the Unix socket, which is then the user's.
    let bound = Bound::tcp(&config, &clock)?;
    process::become_user(config.user.as_deref())?;
    let server = bound.into_server(config.clone(), clock, log_level)?;
    if config.daemon {
        process::detach(config.verbosity > 0)?;
    }
    if config.lock_memory {
        process::lock_memory();
    }
    let pid_file = config.pidfile.as_deref().and_then(PidFile::write);
    if let Some(path) = std::env::var_os("MEMCACHED_PORT_FILENAME") {
        process::write_port_file(&PathBuf::from(path), &server.tcp_addresses());
    }
    let shared = server.shared();
    server.run(signals::shutdown(|| shared.reload()), signals::again())?;
    drop(pid_file);
    Ok(())
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit_code = match error {
            ConfigError::Value(_) => EXIT_VALUE,
            ConfigError::Usage(_) => EXIT_USAGE,
            ConfigError::Address(_) | _ => EXIT_SYSTEM,
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
            ProcessError::System { .. } | _ => EXIT_SYSTEM,
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
            StartError::Listen(_) | StartError::Admin { .. } | StartError::Snapshot { .. } | _ => {
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
