//! What systemd is told: ready, how far, still alive, about to end. Nothing, where there is no systemd.

use crate::shared::Shared;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// Clients are served.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Files are being read again; [`ready`] follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd cannot be told"),
    }
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// What it does, for people.
pub(crate) fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// It takes so much longer.
pub(crate) fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Tells systemd for ever that the daemon is alive, as long as all workers are. Where it does not want to know, waits
/// for ever.
pub(crate) async fn watchdog(shared: Arc<Shared>) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval(period / 2);
    loop {
        tick.tick().await;
        match shared.hanging() {
            None => notify(&[NotifyState::Watchdog]),
            Some(age) => {
                tracing::error!(?age, "a worker hangs: systemd is not told that all is well");
            }
        }
    }
}
