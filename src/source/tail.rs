//! A file that grows -> its chunks, until it is replaced; then the file that took its name.
//!
//! One rule: an open file is read to its end before its successor is opened, whatever its name
//! has become meanwhile.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

use super::chunk::{Chunk, Chunker, Next};

/// How long a wait lasts at most: folders without inotify (network file systems) are polled.
pub const POLL: Duration = Duration::from_millis(200);

/// What a step gave.
#[derive(Debug)]
pub enum Step {
    /// A file was opened and has to be placed: [`Tail::place`].
    Opened,
    /// Whole lines.
    Chunk(Chunk),
    /// Nothing new; [`Tail::wait`] before the next step.
    Idle,
    /// The file was replaced or cut short at that offset; everything before it was given out.
    /// [`Tail::reopen`] goes on to its successor.
    Ended(u64),
}

struct Open {
    file: File,
    chunker: Option<Chunker>,
    offset: u64,
}

/// Follows one path.
pub struct Tail {
    path: PathBuf,
    line_bytes_max: usize,
    open: Option<Open>,
    /// Whether the file was seen replaced, and is being read to its end.
    replaced: bool,
    changes: Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Tail {
    /// Follows the file at `path`, which need not be there yet.
    pub fn new(path: &Path, line_bytes_max: usize) -> Tail {
        // One waiting change says as much as a thousand.
        let (changed, changes) = sync_channel(1);
        let notice = move |_: Result<notify::Event, notify::Error>| {
            // A full channel already says what this would say.
            changed.try_send(()).ok();
        };
        let watch = || -> Result<notify::RecommendedWatcher, notify::Error> {
            let mut watcher = notify::recommended_watcher(notice)?;
            let folder =
                path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let watcher = watch()
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "the folder cannot be watched and is polled");
            })
            .ok();
        let path = path.to_owned();
        Tail { path, line_bytes_max, open: None, replaced: false, changes, _watcher: watcher }
    }

    /// Goes on: opens, reads, or notices that the file was replaced.
    ///
    /// # Errors
    /// When the file cannot be opened or read. The step may be repeated.
    pub fn step(&mut self) -> io::Result<Step> {
        let Some(open) = &mut self.open else {
            return self.begin();
        };
        let Some(chunker) = &mut open.chunker else {
            return Ok(Step::Opened);
        };
        if let Next::Chunk(chunk) = chunker.next(&mut open.file)? {
            open.offset = chunk.end();
            return Ok(Step::Chunk(chunk));
        }
        if self.replaced {
            if let Some(rest) = chunker.finish() {
                open.offset = rest.end();
                return Ok(Step::Chunk(rest));
            }
            return Ok(Step::Ended(open.offset));
        }
        let read = open.offset + chunker.held() as u64;
        // Its end is read once more after it was seen replaced: what the writer added before
        // it let go of the file is then there.
        self.replaced = replaced(&self.path, &open.file, read)?;
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

    /// Whether the open file is the one at `path`, under whatever name it was opened.
    pub fn has_open(&self, path: &Path) -> bool {
        let ours = self.open.as_ref().and_then(|it| it.file.metadata().ok());
        ours.zip(fs::metadata(path).ok()).is_some_and(|(ours, theirs)| same(&ours, &theirs))
    }

    /// Gives up the open file without reading on; the next step opens the path anew.
    pub fn reopen(&mut self) {
        self.open = None;
        self.replaced = false;
    }

    /// How many bytes the file holds that were not yet given out.
    pub fn lag(&self) -> u64 {
        let Some(open) = &self.open else { return 0 };
        open.file.metadata().map_or(0, |it| it.len().saturating_sub(open.offset))
    }

    /// Waits until something in the folder changes, or a moment has passed.
    pub fn wait(&self) {
        match self.changes.recv_timeout(POLL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            // Without a watcher nothing ever comes, at once: sleep instead.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
        }
    }

    fn begin(&mut self) -> io::Result<Step> {
        match File::open(&self.path) {
            Ok(file) => {
                self.open = Some(Open { file, chunker: None, offset: 0 });
                Ok(Step::Opened)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Step::Idle),
            Err(error) => Err(error),
        }
    }
}

/// Whether another file has the path, or the same one was cut short. A path without a file is
/// neither: the successor is not there yet, and the open file may still grow.
fn replaced(path: &Path, open: &File, read: u64) -> io::Result<bool> {
    let ours = open.metadata()?;
    if ours.len() < read {
        return Ok(true);
    }
    match fs::metadata(path) {
        Ok(theirs) => Ok(!same(&ours, &theirs)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same(one: &Metadata, other: &Metadata) -> bool {
    one.created().ok() == other.created().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(tail: &mut Tail) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match tail.step().unwrap() {
                Step::Opened => tail.place(0).unwrap(),
                Step::Chunk(chunk) => seen.push(String::from_utf8(chunk.bytes).unwrap()),
                Step::Ended(end) => {
                    seen.push(format!("end {end}"));
                    tail.reopen();
                }
                Step::Idle => return seen,
            }
        }
    }

    #[test]
    fn a_replaced_file_is_read_to_its_end_before_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut tail = Tail::new(&path, 100);
        assert!(read(&mut tail).is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"a\nb").unwrap();
        assert_eq!(read(&mut tail), ["a\n"]);
        #[expect(clippy::disallowed_methods, reason = "the test is the API server here")]
        fs::rename(&path, dir.path().join("old.log")).unwrap();
        file.write_all(b"b\nc").unwrap();
        assert_eq!(read(&mut tail), ["bb\n"]);
        File::create(&path).unwrap().write_all(b"d\n").unwrap();
        assert_eq!(read(&mut tail), ["c", "end 6", "d\n"]);
    }

    #[test]
    fn a_file_that_was_cut_short_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        File::create(&path).unwrap().write_all(b"first\n").unwrap();
        let mut tail = Tail::new(&path, 100);
        assert_eq!(read(&mut tail), ["first\n"]);
        File::create(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(read(&mut tail), ["end 6", "new\n"]);
    }
}
