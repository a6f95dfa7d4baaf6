//! A file that grows -> its chunks, until it is replaced; then the file that took its name.
//!
//! One rule: an open file is read to its end before its successor is opened, whatever its name
//! has become meanwhile; and what was read is never taken for the beginning of something else.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

use super::chunk::{Chunk, Chunker, Next};
use super::place::{Place, Stamp, links, read_before};

/// How long a wait lasts at most: folders without inotify (network file systems) are polled.
pub const POLL: Duration = Duration::from_millis(200);

/// Bytes before the position that are compared after each read: no two audit events end in the
/// same ones, since their times and IDs differ.
const WITNESS_BYTES: usize = 128;

/// What a step gave.
#[derive(Debug)]
pub enum Step {
    /// A file was opened and has to be placed: [`Tail::place`].
    Opened,
    /// Whole lines.
    Chunk(Chunk),
    /// Nothing new; [`Tail::wait`] before the next step.
    Idle,
    /// Everything before that offset was given out. [`Tail::reopen`] goes on to the successor.
    Ended(u64, Cause),
}

/// Why a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Another file has its path.
    Replaced,
    /// It was cut short or written anew in place, and has that many bytes now.
    CutShort(u64),
}

/// A file of which so much was given out.
#[derive(Debug)]
struct Open {
    file: File,
    chunker: Option<Chunker>,
    offset: u64,
    /// The bytes just before `offset`.
    witness: Vec<u8>,
}

impl Open {
    /// The next whole lines, if there are some and what was read before still stands before them.
    fn read(&mut self) -> io::Result<Read> {
        let Some(chunker) = &mut self.chunker else { return Ok(Read::Pending) };
        let next = chunker.next(&mut self.file)?;
        let read = self.offset + chunker.held() as u64;
        let bytes = self.file.metadata()?.len();
        let given = if let Next::Chunk(chunk) = &next { chunk.bytes.len() as u64 } else { 0 };
        if bytes < read + given || !self.stands()? {
            return Ok(Read::CutShort(bytes));
        }
        Ok(match next {
            Next::Chunk(chunk) => {
                self.given(&chunk);
                Read::Chunk(chunk)
            }
            Next::Pending => Read::Pending,
        })
    }

    /// Whether the bytes before the offset are those that were read. A file that was cut short and
    /// has grown beyond the offset since is known by this alone.
    fn stands(&self) -> io::Result<bool> {
        Ok(read_before(&self.file, self.offset, self.witness.len())? == self.witness)
    }

    fn given(&mut self, chunk: &Chunk) {
        self.offset = chunk.end();
        self.witness.extend_from_slice(
            chunk.bytes.get(chunk.bytes.len().saturating_sub(WITNESS_BYTES)..).unwrap_or_default(),
        );
        let surplus = self.witness.len().saturating_sub(WITNESS_BYTES);
        drop(self.witness.drain(..surplus));
    }

    /// The line that will not be ended any more.
    fn finish(&mut self) -> Option<Chunk> {
        let rest = self.chunker.as_mut()?.finish()?;
        self.given(&rest);
        Some(rest)
    }
}

enum Read {
    Chunk(Chunk),
    Pending,
    CutShort(u64),
}

/// A file that lost its path and may still be written: some writers never notice.
#[derive(Debug)]
pub struct Orphan(Open);

impl Orphan {
    /// What was added to it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn step(&mut self) -> io::Result<Option<Chunk>> {
        match self.0.read()? {
            Read::Chunk(chunk) => Ok(Some(chunk)),
            Read::Pending | Read::CutShort(_) => Ok(None),
        }
    }
}

/// Follows one path.
pub struct Tail {
    path: PathBuf,
    line_bytes_max: usize,
    open: Option<Open>,
    /// Whether the file was seen replaced, and is being read to its end.
    replaced: bool,
    changes: Changes,
}

impl Tail {
    /// Follows the file at `path`, which need not be there yet.
    pub fn new(path: &Path, line_bytes_max: usize) -> Tail {
        Tail::with(path, line_bytes_max, Changes::watched(path))
    }

    /// As [`Tail::new`], without inotify.
    pub fn polling(path: &Path, line_bytes_max: usize) -> Tail {
        Tail::with(path, line_bytes_max, Changes { told: None, watcher: None })
    }

    fn with(path: &Path, line_bytes_max: usize, changes: Changes) -> Tail {
        Tail { path: path.to_owned(), line_bytes_max, open: None, replaced: false, changes }
    }

    /// Goes on: opens, reads, or notices that the file was replaced.
    ///
    /// # Errors
    /// When the file cannot be opened or read. The step may be repeated.
    pub fn step(&mut self) -> io::Result<Step> {
        let Some(open) = &mut self.open else {
            return self.begin();
        };
        if open.chunker.is_none() {
            return Ok(Step::Opened);
        }
        match open.read()? {
            Read::Chunk(chunk) => return Ok(Step::Chunk(chunk)),
            Read::CutShort(bytes) => return Ok(Step::Ended(open.offset, Cause::CutShort(bytes))),
            Read::Pending => {}
        }
        if self.replaced {
            return Ok(match open.finish() {
                Some(rest) => Step::Chunk(rest),
                None => Step::Ended(open.offset, Cause::Replaced),
            });
        }
        // Its end is read once more after it was seen replaced: what the writer added before
        // it let go of the file is then there.
        self.replaced = self.is_replaced()?;
        if self.replaced { self.step() } else { Ok(Step::Idle) }
    }

    /// The open file, at its beginning: who places it reads it first.
    ///
    /// # Errors
    /// When the file cannot be sought, or none is open.
    pub fn from_start(&self) -> io::Result<File> {
        let open = self.open.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut file = open.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Says where the open file is to be read from.
    ///
    /// # Errors
    /// When the file cannot be sought.
    pub fn place(&mut self, offset: u64) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            let witness = usize::try_from(offset).unwrap_or(usize::MAX).min(WITNESS_BYTES);
            open.witness = read_before(&open.file, offset, witness)?;
            open.file.seek(SeekFrom::Start(offset))?;
            open.offset = offset;
            open.chunker = Some(Chunker::at(offset, self.line_bytes_max));
        }
        Ok(())
    }

    /// Whether a file is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What the folder says of the open file, if one is open.
    pub fn place_of_open(&self) -> Option<Place> {
        Place::of(&self.open.as_ref()?.file.metadata().ok()?)
    }

    /// What the open file is stamped with, if one is open.
    pub fn stamp_of_open(&self) -> Option<Stamp> {
        Stamp::of(&self.open.as_ref()?.file.metadata().ok()?)
    }

    /// Whether the open file has no name left anywhere.
    pub fn is_unlinked(&self) -> bool {
        let metadata = self.open.as_ref().and_then(|it| it.file.metadata().ok());
        metadata.is_some_and(|it| links(&it) == Some(0))
    }

    /// Whether another file has the path. A path without a file does not say so: the successor is
    /// not there yet, and the open file may still grow.
    ///
    /// # Errors
    /// When the path cannot be looked at.
    pub fn is_replaced(&self) -> io::Result<bool> {
        let Some(ours) = self.place_of_open() else { return Ok(false) };
        match fs::metadata(&self.path) {
            Ok(theirs) => Ok(Place::of(&theirs).is_some_and(|it| !it.is_same_file(&ours))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing has the path.
    pub fn is_missing(&self) -> bool {
        fs::metadata(&self.path).is_err_and(|it| it.kind() == io::ErrorKind::NotFound)
    }

    /// Gives up the open file without reading on; the next step opens the path anew.
    pub fn reopen(&mut self) {
        self.open = None;
        self.replaced = false;
    }

    /// As [`Tail::reopen`], and gives the file to whoever wants to see whether it still grows.
    pub fn let_go(&mut self) -> Option<Orphan> {
        self.replaced = false;
        self.open.take().map(Orphan)
    }

    /// How many bytes the file holds that were not yet given out.
    pub fn lag(&self) -> u64 {
        let Some(open) = &self.open else { return 0 };
        open.file.metadata().map_or(0, |it| it.len().saturating_sub(open.offset))
    }

    /// Waits until something in the folder changes, or a moment has passed.
    pub fn wait(&self) {
        self.changes.wait();
    }

    fn begin(&mut self) -> io::Result<Step> {
        match File::open(&self.path) {
            Ok(file) => {
                let (chunker, witness) = (None, Vec::new());
                self.open = Some(Open { file, chunker, offset: 0, witness });
                // The folder may not have been there when it was first tried.
                self.changes.watch_again(&self.path);
                Ok(Step::Opened)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Step::Idle),
            Err(error) => Err(error),
        }
    }
}

/// Tells when something in the folder of a path changes.
struct Changes {
    /// `None`: it is not to be watched.
    told: Option<Receiver<()>>,
    watcher: Option<notify::RecommendedWatcher>,
}

impl Changes {
    fn watched(path: &Path) -> Changes {
        match watch(path) {
            Ok((told, watcher)) => Changes { told: Some(told), watcher: Some(watcher) },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the folder cannot be watched and is polled");
                // Whoever waits finds out that nobody tells, and sleeps.
                Changes { told: Some(sync_channel(0).1), watcher: None }
            }
        }
    }

    fn watch_again(&mut self, path: &Path) {
        if self.told.is_some()
            && self.watcher.is_none()
            && let Ok((told, watcher)) = watch(path)
        {
            *self = Changes { told: Some(told), watcher: Some(watcher) };
        }
    }

    fn wait(&self) {
        match self.told.as_ref().map(|it| it.recv_timeout(POLL)) {
            Some(Ok(()) | Err(RecvTimeoutError::Timeout)) => {}
            // Without a watcher nothing ever comes, at once: sleep instead.
            Some(Err(RecvTimeoutError::Disconnected)) | None => std::thread::sleep(POLL),
        }
    }
}

fn watch(path: &Path) -> Result<(Receiver<()>, notify::RecommendedWatcher), notify::Error> {
    // One waiting change says as much as a thousand.
    let (changed, changes) = sync_channel(1);
    let notice = move |_: Result<notify::Event, notify::Error>| {
        // A full channel already says what this would say.
        changed.try_send(()).ok();
    };
    let mut watcher = notify::recommended_watcher(notice)?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok((changes, watcher))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test is the API server here")]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(tail: &mut Tail) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match tail.step().unwrap() {
                Step::Opened => tail.place(0).unwrap(),
                Step::Chunk(chunk) => seen.push(String::from_utf8(chunk.bytes).unwrap()),
                Step::Ended(end, cause) => {
                    seen.push(format!("end {end} {cause:?}"));
                    tail.reopen();
                }
                Step::Idle => return seen,
            }
        }
    }

    fn dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        (dir, path)
    }

    #[test]
    fn a_replaced_file_is_read_to_its_end_before_its_successor() {
        let (dir, path) = dir();
        for mut tail in [Tail::new(&path, 100), Tail::polling(&path, 100)] {
            assert!(read(&mut tail).is_empty());
            let mut file = File::create(&path).unwrap();
            file.write_all(b"a\nb").unwrap();
            assert_eq!(read(&mut tail), ["a\n"]);
            fs::rename(&path, dir.path().join("old.log")).unwrap();
            file.write_all(b"b\nc").unwrap();
            assert_eq!(read(&mut tail), ["bb\n"]);
            assert!(tail.is_missing());
            File::create(&path).unwrap().write_all(b"d\n").unwrap();
            assert_eq!(read(&mut tail), ["c", "end 6 Replaced", "d\n"]);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_file_that_was_cut_short_is_read_anew() {
        let (_dir, path) = dir();
        File::create(&path).unwrap().write_all(b"first\n").unwrap();
        let mut tail = Tail::new(&path, 100);
        assert_eq!(read(&mut tail), ["first\n"]);
        File::create(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(read(&mut tail), ["end 6 CutShort(4)", "new\n"]);
    }

    #[test]
    fn a_file_that_was_cut_short_and_grew_beyond_what_was_read_is_read_anew() {
        let (_dir, path) = dir();
        File::create(&path).unwrap().write_all(b"first\n").unwrap();
        let mut tail = Tail::new(&path, 100);
        assert_eq!(read(&mut tail), ["first\n"]);
        File::create(&path).unwrap().write_all(b"second\nthird\n").unwrap();
        assert_eq!(read(&mut tail), ["end 6 CutShort(13)", "second\nthird\n"]);
        // The writer keeps its offset: what was cut away reads as NUL bytes.
        let mut writer = File::options().write(true).open(&path).unwrap();
        writer.set_len(0).unwrap();
        writer.seek(SeekFrom::Start(13)).unwrap();
        writer.write_all(b"fourth\n").unwrap();
        assert_eq!(read(&mut tail), ["end 13 CutShort(20)", "\0\0\0\0\0\0\0\0\0\0\0\0\0fourth\n"]);
    }

    #[test]
    fn a_deleted_file_is_read_as_long_as_it_grows() {
        let (_dir, path) = dir();
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"a\n").unwrap();
        let mut tail = Tail::new(&path, 100);
        assert_eq!(read(&mut tail), ["a\n"]);
        fs::remove_file(&path).unwrap();
        assert!(tail.is_unlinked());
        writer.write_all(b"b\n").unwrap();
        assert_eq!(read(&mut tail), ["b\n"]);
        File::create(&path).unwrap();
        assert!(matches!(tail.step().unwrap(), Step::Ended(4, Cause::Replaced)));
        let mut orphan = tail.let_go().unwrap();
        assert!(orphan.step().unwrap().is_none());
        writer.write_all(b"c\n").unwrap();
        assert_eq!(orphan.step().unwrap().unwrap().bytes, b"c\n");
    }

    #[test]
    fn a_folder_that_cannot_be_watched_is_polled_and_watched_once_it_is_there() {
        let (dir, _) = dir();
        let path = dir.path().join("later").join("audit.log");
        let mut tail = Tail::new(&path, 100);
        assert!(tail.changes.watcher.is_none());
        tail.wait();
        fs::create_dir(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap().write_all(b"a\n").unwrap();
        assert_eq!(read(&mut tail), ["a\n"]);
        assert!(tail.changes.watcher.is_some());
    }
}
