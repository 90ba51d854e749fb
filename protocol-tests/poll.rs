//! Waits for what has no other way to say that it has happened: another process is ready, a client has been left.

use std::thread;
use std::time::Duration;

/// Asks until there is an answer, for a minute.
///
/// # Errors
/// `what` did not happen by then.
pub fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T, String> {
    const PATIENCE: Duration = Duration::from_mins(1);
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        thread::sleep(PAUSE);
    }
    Err(format!("{what} within {PATIENCE:?}"))
}
