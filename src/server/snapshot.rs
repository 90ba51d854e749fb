//! The snapshot file: written when the daemon stops, read when it starts.

use crate::StartError;
use crate::clock::Clock;
use crate::notify;
use crate::shared::Shared;
use crate::snapshot_blocks::{Blocks, Found, first_or_last_header};
use nuthatch_store::{NoBlock, Restored};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// The name of the file in a folder of snapshots.
pub(crate) const FILE_NAME: &str = "nuthatch.snapshot";

/// Values are the clients' secrets.
const FILE_MODE: u32 = 0o600;

/// How often people are told how far it is.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// How much longer than until the next status systemd is asked to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the snapshot is, and how old it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotFile {
    /// Its path.
    pub path: PathBuf,
    /// What is older stays out. `None`: nothing is too old.
    pub max_age: Option<Duration>,
}

impl SnapshotFile {
    /// The file that is written and takes the other's place when it is whole.
    fn temporary(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".tmp");
        path.into()
    }

    /// Looks whether there is a folder for it, and changes nothing.
    ///
    /// # Errors
    /// [`StartError`] names the path.
    pub fn check(&self) -> Result<(), StartError> {
        let folder = fs::metadata(folder(&self.path)).map_err(|error| self.unusable(error))?;
        if !folder.is_dir() {
            return Err(self.unusable(io::ErrorKind::NotADirectory.into()));
        }
        if self.path.is_dir() {
            return Err(self.unusable(io::ErrorKind::IsADirectory.into()));
        }
        Ok(())
    }

    /// Bytes of the snapshot that is there, and how long after 1970 it was written.
    pub(crate) fn stat(&self) -> Option<(u64, Duration)> {
        let file = fs::metadata(&self.path).ok()?;
        let written = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((file.len(), written))
    }

    /// The error that says that this file cannot be used.
    pub(crate) fn unusable(&self, source: io::Error) -> StartError {
        StartError::Snapshot {
            path: self.path.display().to_string(),
            source,
        }
    }

    /// Looks whether it could be written, and returns the highest cas unique of the one that is there.
    ///
    /// # Errors
    /// It could not be written, or what is there not be read.
    pub(crate) fn open(&self) -> io::Result<Option<u64>> {
        create(&self.temporary())?;
        fs::remove_file(self.temporary())?;
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let header = first_or_last_header(&mut file)?;
        Ok(header.ok().map(|header| header.last_cas))
    }

    /// Takes back what it holds, while clients are served.
    pub(crate) fn restore(&self, shared: &Shared) {
        shared.restoring.store(true, Ordering::Relaxed);
        match self.try_restore(shared) {
            Ok(Some(restored)) => {
                let Restored {
                    items,
                    dead,
                    superseded,
                    no_room,
                    damaged,
                    ..
                } = *shared.restored.get_or_init(|| restored);
                tracing::info!(
                    items, dead, superseded, no_room, damaged, path = %self.path.display(),
                    "the snapshot is restored"
                );
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the snapshot cannot be read");
            }
        }
        shared.restoring.store(false, Ordering::Relaxed);
        shared.snapshot_progress.end();
        notify::status("serving");
    }

    /// What became of the items; `None` if there is nothing to restore.
    fn try_restore(&self, shared: &Shared) -> io::Result<Option<Restored>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let file_len = file.metadata()?.len();
        let snapshot = match first_or_last_header(&mut file)? {
            Ok(header) => Some(header.snapshot),
            Err(NoBlock::Version(version)) => {
                tracing::error!(
                    path = %self.path.display(),
                    "the snapshot has format {version}: a later nuthatch wrote it, and can read it"
                );
                return Ok(None);
            }
            // All of it counts as damaged.
            Err(_) => None,
        };
        let mut blocks = Blocks::new(file, snapshot);
        let mut restore = shared.store.restore(shared.config.settings.expiry);
        let mut progress = Progress::new(&shared.clock);
        let mut is_whole = false;
        while let Some(found) = blocks.next()? {
            let (header, body) = match found {
                Found::Block(header, body) => (header, body),
                Found::Damage => {
                    restore.count_damage();
                    continue;
                }
            };
            let now = shared.clock.now();
            let age = now.unix_millis.saturating_sub(header.saved_unix_millis);
            let age = Duration::from_millis(age);
            if self.max_age.is_some_and(|max_age| age > max_age) {
                tracing::warn!(
                    path = %self.path.display(), ?age, max_age = ?self.max_age,
                    "the snapshot is too old and stays out (--restore-max-age)"
                );
                return Ok(None);
            }
            restore.block(&header, body, now.time, now.unix_millis);
            is_whole = header.is_last();
            let percent = percent(blocks.position, file_len);
            shared.snapshot_progress.begin(percent);
            progress.tell(|| format!("restoring {percent}%"));
        }
        if !is_whole {
            tracing::warn!(path = %self.path.display(), "the snapshot has no end: something is missing");
            restore.count_damage();
        }
        Ok(Some(restore.restored()))
    }

    /// Writes everything stored to it. Until that is done, the one before it stays.
    ///
    /// # Errors
    /// It cannot be written. The one before it stays.
    pub(crate) fn save(&self, shared: &Shared) -> io::Result<()> {
        let temporary = self.temporary();
        let saved = write(&temporary, shared).and_then(|items| {
            fs::rename(&temporary, &self.path)?;
            // The new name too must survive a loss of power.
            File::open(folder(&self.path))?.sync_all()?;
            Ok(items)
        });
        match &saved {
            Ok(items) => {
                tracing::info!(items, path = %self.path.display(), "the snapshot is written");
            }
            Err(_) => drop(fs::remove_file(&temporary)),
        }
        saved.map(drop)
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file, instead of what an interrupted daemon may have left there. No link is followed.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

/// Returns how many items there are.
fn write(path: &Path, shared: &Shared) -> io::Result<u64> {
    let mut file = create(path)?;
    let now = shared.clock.now();
    let mut save = shared.store.save(now.time, now.unix_millis);
    let mut progress = Progress::new(&shared.clock);
    while let Some(block) = save.next_block() {
        file.write_all(block)?;
        let percent = u64::try_from(save.percent()).unwrap_or(100);
        shared.snapshot_progress.begin(percent);
        if progress.tell(|| format!("writing the snapshot, {percent}%")) {
            notify::extend_timeout(STATUS_PAUSE.saturating_add(PATIENCE));
        }
    }
    file.sync_all()?;
    Ok(save.items())
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
}

/// How far restoring or writing is, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct SnapshotProgress(AtomicU64);

impl SnapshotProgress {
    /// 0 is kept for nothing that goes on.
    fn begin(&self, percent: u64) {
        self.0.store(percent.saturating_add(1), Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// None if neither goes on.
    pub(crate) fn percent(&self) -> Option<u64> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// Tells people how far it is, from time to time.
struct Progress<'a> {
    clock: &'a Clock,
    next: nuthatch_store::Time,
}

impl<'a> Progress<'a> {
    fn new(clock: &'a Clock) -> Self {
        Self {
            clock,
            next: clock.now().time,
        }
    }

    /// Returns whether it has been told.
    fn tell(&mut self, status: impl FnOnce() -> String) -> bool {
        let now = self.clock.now().time;
        let is_due = now >= self.next;
        if is_due {
            self.next = now.saturating_add(STATUS_PAUSE);
            notify::status(&status());
        }
        is_due
    }
}
