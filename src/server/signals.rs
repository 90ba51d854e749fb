//! Signals: SIGTERM and SIGINT stop the daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at the first SIGTERM or SIGINT. Must be polled by a runtime that can wait for signals.
pub async fn shutdown() {
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => first(terminate, interrupt).await,
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot wait for signals, so stop at once");
        }
    }
}

async fn first(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
