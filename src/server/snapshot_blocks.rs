//! [`Blocks`]: the blocks of a snapshot in its file, wherever it is damaged.

use nuthatch_store::{BlockHeader, NoBlock};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

/// Read from the file at once, beside what a block needs.
const READ_LEN: usize = 64 << 10;

/// The header that the file begins with or, if that is damaged, ends with: what is between may be a value.
pub(crate) fn first_or_last_header(file: &mut File) -> io::Result<Result<BlockHeader, NoBlock>> {
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

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Block(BlockHeader, &'a [u8]),
    /// Something that is no block of this snapshot, and has been passed over.
    Damage,
}

/// The blocks of a file, and what is between them.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    file: R,
    /// What has been read and not been shown.
    window: Vec<u8>,
    /// Bytes of it that have been shown.
    shown: usize,
    /// How far the file has been read.
    pub(crate) position: u64,
    /// The blocks of this one alone are shown.
    snapshot: Option<u64>,
}

impl<R: Read> Blocks<R> {
    pub(crate) const fn new(file: R, snapshot: Option<u64>) -> Self {
        Self {
            file,
            snapshot,
            window: Vec::new(),
            shown: 0,
            position: 0,
        }
    }

    /// `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
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
    use std::fs;

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
