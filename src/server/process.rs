//! What the daemon does to its own process: descriptor limit, user, background, pid file.

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, User, daemon, geteuid, setgid, setgroups, setuid};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Descriptors beside those of clients: listening sockets, what the runtimes wait with, log and files.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Why the process cannot become what it shall be; the exit codes are memcached's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Exit code 64.
    #[error("cannot run as root: name another user with -u (or -u root, if you mean it)")]
    Root,
    /// Exit code 67.
    #[error("there is no user {0:?} (-u)")]
    NoUser(String),
    /// Exit code 71.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
}

fn system(action: impl Into<String>) -> impl FnOnce(Errno) -> ProcessError {
    |errno| ProcessError::System {
        action: action.into(),
        source: errno.into(),
    }
}

/// Raises the limit of file descriptors so that `connections` fit. What cannot be had is said.
pub fn raise_descriptor_limit(connections: usize) {
    let wanted = (connections as u64).saturating_add(DESCRIPTORS_RESERVED);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft >= wanted {
            return Ok(());
        }
        // Only root may raise the hard limit.
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
            .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard))
    });
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    if limit < wanted {
        tracing::warn!(
            wanted,
            limit,
            ?raised,
            "fewer connections than -c allows: too few descriptors"
        );
    }
}

/// Lets a crash leave a core, as large as the system allows.
///
/// # Errors
/// The system refuses.
pub fn allow_core_dumps() -> Result<(), ProcessError> {
    getrlimit(Resource::RLIMIT_CORE)
        .and_then(|(_, hard)| {
            let unlimited = nix::libc::RLIM_INFINITY;
            setrlimit(Resource::RLIMIT_CORE, unlimited, unlimited)
                .or_else(|_| setrlimit(Resource::RLIMIT_CORE, hard, hard))
        })
        .map_err(system("allow core dumps (-r)"))
}

/// Keeps all memory, also what is still to come, from being swapped out. What cannot be had is said.
pub fn lock_memory() {
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        tracing::warn!(%error, "memory is not locked (-k): see LimitMEMLOCK and ulimit -l");
    }
}

/// Whom the process is to become: nobody else if it is not root's, or if root means to stay.
///
/// # Errors
/// If root names nobody, or somebody who does not exist.
pub fn find_user(name: Option<&str>) -> Result<Option<User>, ProcessError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or(ProcessError::Root)?;
    let user = User::from_name(name)
        .map_err(system(format!("look up user {name:?}")))?
        .ok_or_else(|| ProcessError::NoUser(name.to_owned()))?;
    Ok(Some(user).filter(|user| !user.uid.is_root()))
}

/// Becomes `user`, if the process is root's; otherwise it already is somebody harmless.
///
/// # Errors
/// If there is no such user, or the system refuses.
pub fn become_user(name: Option<&str>) -> Result<(), ProcessError> {
    let Some(user) = find_user(name)? else {
        return Ok(());
    };
    let no_groups: &[Gid] = &[];
    setgroups(no_groups)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(system(format!("become user {:?}", user.name)))
}

/// Goes to the background; with `keep_output` the log still goes to the terminal. Must be called
/// before the first thread starts.
///
/// # Errors
/// If the system refuses.
pub fn detach(keep_output: bool) -> Result<(), ProcessError> {
    daemon(false, keep_output).map_err(system("run in the background"))
}

/// A file with the process id, removed when this is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file. If it cannot be written, that is said, as memcached does, and nothing more.
    pub fn write(path: &Path) -> Option<Self> {
        match fs::write(path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot write the pid file (-P)");
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the pid file stays behind");
        }
    }
}

/// Writes the ports that are listened on to `path`, as memcached does for `MEMCACHED_PORT_FILENAME`:
/// first under another name, so that who waits for the file finds it whole. If it cannot be written,
/// that is said and nothing more.
pub fn write_port_file(path: &Path, addresses: &[SocketAddr]) {
    let line = |address: &SocketAddr| {
        let family = if address.is_ipv4() { "INET" } else { "INET6" };
        format!("TCP {family}: {}\n", address.port())
    };
    let lines: String = addresses.iter().map(line).collect();
    let unfinished = path.with_added_extension("lck");
    if let Err(error) = fs::write(&unfinished, lines).and_then(|()| fs::rename(unfinished, path)) {
        tracing::warn!(path = %path.display(), %error, "cannot write the port file");
    }
}
