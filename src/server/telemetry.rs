//! Logs: events with fields, to standard error, at a level that can be changed while the daemon runs.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Changes how much is logged.
#[derive(Clone, Debug, Default)]
pub struct LogLevel {
    handle: Option<reload::Handle<LevelFilter, Registry>>,
    verbosity: Arc<AtomicU32>,
}

/// Higher ones mean the same.
const VERBOSITY_MAX: u32 = 2;

impl LogLevel {
    /// memcached's levels: 0 says start, stop and limits, 1 connections, 2 and more also requests with
    /// their keys.
    pub fn set(&self, verbosity: u32) {
        let verbosity = verbosity.min(VERBOSITY_MAX);
        self.verbosity.store(verbosity, Ordering::Relaxed);
        if let Some(handle) = &self.handle
            && let Err(error) = handle.reload(filter(verbosity))
        {
            tracing::error!(%error, "the log level stays as it is");
        }
    }

    /// What it was set to.
    pub(crate) fn verbosity(&self) -> u32 {
        self.verbosity.load(Ordering::Relaxed)
    }
}

const fn filter(verbosity: u32) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Names the level at which the log begins, whatever the verbosity.
pub const LOG: &str = "NUTHATCH_LOG";

/// Forbids colours, if it is not empty: see no-color.org.
pub const NO_COLOR: &str = "NO_COLOR";

/// Begins to log, as loud as flags and environment say. The default [`LogLevel`] is that of a program that does not.
pub fn init(verbosity: u8, variable: impl Fn(&str) -> Option<String>) -> LogLevel {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let level = variable(LOG).map(|level| (level.trim().parse::<LevelFilter>(), level));
    let first = match &level {
        Some((Ok(level), _)) => *level,
        Some((Err(_), _)) | None => filter(verbosity.into()),
    };
    let (filter, handle) = reload::Layer::new(first);
    let format = fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && variable(NO_COLOR).is_none());
    // Fails only if this process logs already, and then it goes on doing so.
    drop(
        tracing_subscriber::registry()
            .with(filter)
            .with(format)
            .try_init(),
    );
    if let Some((Err(_), level)) = level {
        tracing::warn!(
            "{LOG} is no level of the log: error, warn, info, debug or trace, not {level:?}"
        );
    }
    LogLevel {
        handle: Some(handle),
        verbosity: Arc::new(AtomicU32::new(verbosity.into())),
    }
}
