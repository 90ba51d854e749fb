//! Signals: SIGTERM, SIGINT and SIGUSR1 stop the daemon, SIGHUP does not.

use nix::sys::signal::{SigSet, Signal};
use std::io;
use tokio::signal::unix::{SignalKind, signal};

fn all() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGHUP,
    ]
    .into_iter()
    .collect()
}

/// Lets signals wait until [`shutdown`] takes them: one that comes while the daemon starts must stop it as
/// one that comes later does. To be called before there are threads.
///
/// # Errors
/// None that the system documents.
pub fn hold() -> io::Result<()> {
    Ok(all().thread_block()?)
}

/// Resolves at the first signal that stops the daemon, and calls `on_hangup` at each SIGHUP before. Must be polled
/// by a runtime that can wait for signals.
pub async fn shutdown(on_hangup: impl FnMut()) {
    if let Err(error) = wait(on_hangup).await {
        tracing::error!(%error, "cannot wait for signals, so stop at once");
    }
}

/// Resolves when somebody who has asked the daemon to stop cannot wait for it any longer.
pub async fn again() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn wait(mut on_hangup: impl FnMut()) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut graceful = signal(SignalKind::user_defined1())?;
    let mut hangup = signal(SignalKind::hangup())?;
    all().thread_unblock()?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = graceful.recv() => return Ok(()),
            _ = hangup.recv() => on_hangup(),
        }
    }
}
