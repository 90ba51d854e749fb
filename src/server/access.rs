//! [`Access`]: who may use the daemon, and how connections are secured; read again at SIGHUP.

use crate::auth::{Logins, LoginsError};
use crate::clock::Clock;
use crate::config::Config;
use crate::tls::{Tls, TlsError, TlsFiles};
use nuthatch_store::Time;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Logins and certificates, each if there are to be any.
#[derive(Debug, Default)]
pub struct Access {
    logins: Option<(PathBuf, Mutex<Arc<Logins>>)>,
    tls: Option<(TlsFiles, Mutex<Secured>)>,
}

#[derive(Debug)]
struct Secured {
    tls: Tls,
    /// When the files were read.
    since: Time,
}

/// What of them cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The file of logins: exit code 1.
    #[error("the logins of {path} (-Y): {reason}")]
    Logins {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates or keys: exit code 64.
    #[error("TLS (-Z): {0}")]
    Tls(String),
}

impl AccessError {
    fn logins(path: &Path, error: &LoginsError) -> Self {
        Self::Logins {
            path: path.display().to_string(),
            reason: error.to_string(),
        }
    }

    fn tls(error: &TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}

impl Access {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// [`AccessError`] names the file and what is wrong with it.
    pub fn load(config: &Config, clock: &Clock) -> Result<Self, AccessError> {
        let logins = match &config.auth_file {
            Some(path) => {
                let logins =
                    Logins::read(path).map_err(|error| AccessError::logins(path, &error))?;
                Some((path.clone(), Mutex::new(Arc::new(logins))))
            }
            None => None,
        };
        let tls = match &config.tls {
            Some(files) => {
                let tls = files.load().map_err(|error| AccessError::tls(&error))?;
                let since = clock.now().time;
                Some((files.clone(), Mutex::new(Secured { tls, since })))
            }
            None => None,
        };
        Ok(Self { logins, tls })
    }

    /// Reads the logins again; returns whether there are to be any. If they cannot be used, those that there are stay.
    pub(crate) fn reload_logins(&self) -> Result<bool, AccessError> {
        let Some((path, logins)) = &self.logins else {
            return Ok(false);
        };
        let new = Logins::read(path).map_err(|error| AccessError::logins(path, &error))?;
        *lock(logins) = Arc::new(new);
        Ok(true)
    }

    /// Reads the certificates again, for connections to come; returns whether there is TLS. If they cannot be used,
    /// those that there are stay.
    pub(crate) fn reload_certificates(&self, clock: &Clock) -> Result<bool, AccessError> {
        let Some((files, secured)) = &self.tls else {
            return Ok(false);
        };
        let tls = files.load().map_err(|error| AccessError::tls(&error))?;
        let since = clock.now().time;
        *lock(secured) = Secured { tls, since };
        Ok(true)
    }

    /// Whether only those come in who log in.
    pub(crate) const fn has_logins(&self) -> bool {
        self.logins.is_some()
    }

    /// Who may come in.
    pub(crate) fn logins(&self) -> Arc<Logins> {
        let logins = self.logins.as_ref();
        logins.map_or_else(Arc::default, |(_, logins)| Arc::clone(&lock(logins)))
    }

    /// How to secure connections.
    pub(crate) fn tls(&self) -> Option<Tls> {
        let (_, secured) = self.tls.as_ref()?;
        Some(lock(secured).tls.clone())
    }

    /// For how long the certificates have been used, if there is TLS.
    pub(crate) fn age_of_certificates(&self, now: Time) -> Option<Duration> {
        let (_, secured) = self.tls.as_ref()?;
        let age = now
            .as_millis()
            .saturating_sub(lock(secured).since.as_millis());
        Some(Duration::from_millis(age))
    }
}

/// A panic elsewhere must not keep everybody out.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
