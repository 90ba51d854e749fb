//! The `nuthatch` binary: a tool, or flags, then configuration, then the daemon, then the exit code.
#![forbid(unsafe_code)]

use nuthatch::clock::Clock;
use nuthatch::failure::Failure;
use nuthatch::given::{Given, GivenError, environment};
use nuthatch::process::{self, PidFile};
use nuthatch::{Bound, signals, telemetry, tools};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LICENCE: &str =
    "nuthatch is licensed under MIT or Apache-2.0, at your option; both come with it.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(exit_code) = tools::run(&arguments) {
        return exit_code;
    }
    let given = match Given::read(arguments, environment) {
        Ok(given) => given,
        Err(GivenError::Line(error)) => return Failure::print_clap(&error),
        Err(error) => return Failure::from(error).print(),
    };
    if given.flags.license {
        // Nobody is left to tell if the terminal is gone.
        drop(writeln!(io::stdout(), "{LICENCE}"));
        return ExitCode::SUCCESS;
    }
    match run(&given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(given: &Given) -> Result<(), Failure> {
    signals::hold()?;
    let log_level = telemetry::init(given.flags.verbose, environment);
    let config = given.config()?;
    for note in &config.notes {
        tracing::info!("{note}");
    }
    if config.core_dumps {
        process::allow_core_dumps()?;
    }
    process::raise_descriptor_limit(config.settings.connections_max);
    let clock = if config.debug_time {
        Clock::adjustable()
    } else {
        Clock::machine()
    };
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
