//! Signals: SIGTERM, SIGINT and SIGUSR1 stop the daemon, SIGHUP does not.

use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first signal that stops the daemon. Must be polled by a runtime that can wait for
/// signals.
pub async fn shutdown() {
    if let Err(error) = wait().await {
        tracing::error!(%error, "cannot wait for signals, so stop at once");
    }
}

async fn wait() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut graceful = signal(SignalKind::user_defined1())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = graceful.recv() => return Ok(()),
            // memcached rereads logins and certificates; there are none here.
            _ = hangup.recv() => tracing::info!("SIGHUP: there is nothing to read again"),
        }
    }
}
