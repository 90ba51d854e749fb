//! The snapshot file: written when the daemon stops, read when it starts.

use crate::StartError;
use crate::clock::Clock;
use crate::notify;
use crate::shared::Shared;
use nuthatch_store::{BlockHeader, NoBlock, Restored};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The name of the file in a folder of snapshots.
pub(crate) const FILE_NAME: &str = "nuthatch.snapshot";

/// Values are the clients' secrets.
const FILE_MODE: u32 = 0o600;

/// Read from the file at once, beside what a block needs.
const READ_LEN: usize = 64 << 10;

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
            progress.tell(|| format!("restoring {}%", percent(blocks.position, file_len)));
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
        if progress.tell(|| format!("writing the snapshot, {}%", save.percent())) {
            notify::extend_timeout(STATUS_PAUSE.saturating_add(PATIENCE));
        }
    }
    file.sync_all()?;
    Ok(save.items())
}

/// The header that the file begins with or, if that is damaged, ends with: what is between may be a value.
fn first_or_last_header(file: &mut File) -> io::Result<Result<BlockHeader, NoBlock>> {
    let mut header = Err(NoBlock::Damaged);
    let len = i64::try_from(BlockHeader::LEN).unwrap_or_default();
    for position in [SeekFrom::Start(0), SeekFrom::End(-len)] {
        let mut bytes = [0; BlockHeader::LEN];
        let read = file
            .seek(position)
            .and_then(|_| file.read_exact(&mut bytes));
        match read {
            Ok(()) => header = BlockHeader::parse(&bytes),
            // It is shorter than a header.
            Err(error) if is_short(&error) => {}
            Err(error) => return Err(error),
        }
        if header != Err(NoBlock::Damaged) {
            break;
        }
    }
    file.rewind()?;
    Ok(header)
}

fn is_short(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
    )
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
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

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    Block(BlockHeader, &'a [u8]),
    /// Something that is no block of this snapshot, and has been passed over.
    Damage,
}

/// The blocks of a file, and what is between them.
#[derive(Debug)]
struct Blocks<R> {
    file: R,
    /// What has been read and not been shown.
    window: Vec<u8>,
    /// Bytes of it that have been shown.
    shown: usize,
    /// How far the file has been read.
    position: u64,
    /// The blocks of this one alone are shown.
    snapshot: Option<u64>,
}

impl<R: Read> Blocks<R> {
    const fn new(file: R, snapshot: Option<u64>) -> Self {
        Self {
            file,
            snapshot,
            window: Vec::new(),
            shown: 0,
            position: 0,
        }
    }

    /// `None` at the end.
    fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        self.window.drain(..self.shown);
        self.shown = 0;
        self.read_to(BlockHeader::LEN)?;
        if self.window.is_empty() {
            return Ok(None);
        }
        match self.window.first_chunk().map(BlockHeader::parse) {
            Some(Ok(header)) if Some(header.snapshot) == self.snapshot => {
                let len = BlockHeader::LEN.saturating_add(header.body_len);
                self.read_to(len)?;
                if self.window.len() >= len {
                    self.shown = len;
                    let body = self.window.get(BlockHeader::LEN..len).unwrap_or_default();
                    return Ok(Some(Found::Block(header, body)));
                }
            }
            _ => {}
        }
        self.pass_over()?;
        Ok(Some(Found::Damage))
    }

    /// Goes on to what may be the next block, or to the end.
    fn pass_over(&mut self) -> io::Result<()> {
        let magic = BlockHeader::MAGIC;
        // Not the one that it is at.
        let mut from = 1;
        loop {
            let rest = self.window.get(from..).unwrap_or_default();
            if let Some(distance) = memchr::memmem::find(rest, &magic) {
                self.window.drain(..from.saturating_add(distance));
                return Ok(());
            }
            // The end may be the beginning of one.
            let kept = rest.len().min(magic.len().saturating_sub(1));
            let passed = self.window.len().saturating_sub(kept);
            self.window.drain(..passed);
            from = 0;
            let before = self.window.len();
            self.read_to(before.saturating_add(READ_LEN))?;
            if self.window.len() == before {
                self.window.clear();
                return Ok(());
            }
        }
    }

    /// Reads until the window has so many bytes, or the file no more.
    fn read_to(&mut self, len: usize) -> io::Result<()> {
        let missing = len.saturating_sub(self.window.len());
        if missing == 0 {
            return Ok(());
        }
        let ahead = missing.max(READ_LEN) as u64;
        let read = self
            .file
            .by_ref()
            .take(ahead)
            .read_to_end(&mut self.window)?;
        self.position = self.position.saturating_add(read as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_store::{Config, NewItem, Store, Time};

    fn blocks() -> Vec<Vec<u8>> {
        let store = Store::new(&Config::default());
        for number in 0..40_u32 {
            let value = vec![b'v'; 30_000];
            let _ = store.set(
                &number.to_le_bytes(),
                NewItem::copied(&value),
                Time::default(),
            );
        }
        let mut save = store.save(Time::default(), 5);
        let mut blocks = Vec::new();
        while let Some(block) = save.next_block() {
            blocks.push(block.to_vec());
        }
        assert!(blocks.len() > 3);
        blocks
    }

    /// The numbers of the blocks that are found, and `None` for damage.
    fn found(snapshot: u64, bytes: &[u8]) -> Vec<Option<u32>> {
        let mut blocks = Blocks::new(bytes, Some(snapshot));
        let mut found = Vec::new();
        while let Some(next) = blocks.next().unwrap() {
            found.push(match next {
                Found::Block(header, _) => Some(header.number),
                Found::Damage => None,
            });
        }
        found
    }

    fn snapshot(blocks: &[Vec<u8>]) -> u64 {
        let header = BlockHeader::parse(blocks[0].first_chunk().unwrap());
        header.unwrap().snapshot
    }

    #[test]
    fn all_blocks_are_found() {
        let blocks = blocks();
        let numbers: Vec<_> = (0..).map(Some).take(blocks.len()).collect();
        assert_eq!(found(snapshot(&blocks), &blocks.concat()), numbers);
        assert_eq!(found(0, b""), []);
    }

    #[test]
    fn what_is_no_block_is_passed_over() {
        let blocks = blocks();
        let (first, second) = (&blocks[0], &blocks[1]);
        for gap in [
            b"x".to_vec(),
            vec![b'x'; 3 * READ_LEN],
            BlockHeader::MAGIC.to_vec(),
            [vec![b'x'; READ_LEN - 3], BlockHeader::MAGIC[..7].to_vec()].concat(),
        ] {
            let bytes = [first.as_slice(), &gap, second].concat();
            assert_eq!(
                found(snapshot(&blocks), &bytes),
                [Some(0), None, Some(1)],
                "{} bytes",
                gap.len()
            );
            let bytes = [gap.as_slice(), second, &gap].concat();
            assert_eq!(
                found(snapshot(&blocks), &bytes),
                [None, Some(1), None],
                "{} bytes",
                gap.len()
            );
        }
    }

    #[test]
    fn a_damaged_header_costs_its_block() {
        let mut blocks = blocks();
        blocks[1][10] ^= 1;
        let found = found(snapshot(&blocks), &blocks.concat());
        assert_eq!(found[..3], [Some(0), None, Some(2)]);
    }

    #[test]
    fn a_file_may_end_anywhere() {
        let blocks = blocks();
        let bytes = blocks[..2].concat();
        let first = blocks[0].len();
        for len in (1..bytes.len()).step_by(17) {
            let expected: &[_] = match len {
                len if len < first => &[None],
                len if len == first => &[Some(0)],
                _ => &[Some(0), None],
            };
            assert_eq!(found(snapshot(&blocks), &bytes[..len]), expected, "{len}");
        }
    }

    #[test]
    fn blocks_of_another_snapshot_are_none() {
        let (mine, other) = (blocks(), blocks());
        // As a value that somebody stored may look, where a header is damaged.
        let bytes = [&mine[0], &other[1], &mine[2]].map(Vec::as_slice).concat();
        assert_eq!(found(snapshot(&mine), &bytes), [Some(0), None, Some(2)]);
    }

    #[test]
    fn a_snapshot_is_known_by_its_first_header_or_its_last() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("snapshot");
        let blocks = blocks();
        let known = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let header = first_or_last_header(&mut File::open(&path).unwrap()).unwrap();
            header.map(|header| header.snapshot)
        };
        let mut bytes = blocks.concat();
        assert_eq!(known(&bytes), Ok(snapshot(&blocks)));
        bytes[9] ^= 1;
        assert_eq!(known(&bytes), Ok(snapshot(&blocks)));
        // What is in the middle is not asked.
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        assert_eq!(known(&bytes), Err(NoBlock::Damaged));
        assert_eq!(known(b""), Err(NoBlock::Damaged));
        assert_eq!(known(&bytes[..55]), Err(NoBlock::Damaged));
    }
}
