//! The rotated files of one log -> those that are still to be read, oldest first.
//!
//! One rule: a file counts as read only under the place, or the first line and the length, that it
//! was read with. A name alone says nothing: it may be given to another file.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::hex::hex;
use crate::seal::leaf::leaf;
use crate::source::open::glance;
use crate::source::place::Place;
use crate::source::rotated::{Rotated, rotated};

/// How long a file that could not be read to its end is left alone: it may be half written.
const RETRY: Duration = Duration::from_secs(1);

/// How long such a file does not change before it counts as damaged.
pub(super) const DAMAGED: Duration = Duration::from_secs(60);

/// A file that was read to its end.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The leaf of its first line, hex; empty: it had none.
    pub(super) first: String,
    /// Its uncompressed bytes.
    pub(super) end: u64,
    /// Where it lay when that was seen.
    pub(super) place: Option<Place>,
}

/// A file that could not be read to its end.
#[derive(Debug)]
struct Waiting {
    place: Option<Place>,
    /// Since when it has not changed.
    since: Duration,
    /// When it is tried again.
    due: Duration,
    /// Why.
    why: String,
}

/// What is known of the rotated files of one log.
#[derive(Debug)]
pub(super) struct Backlog {
    live: PathBuf,
    line_bytes_max: usize,
    /// By their names without `.gz`.
    known: BTreeMap<String, Known>,
    waiting: BTreeMap<String, Waiting>,
    /// To be read, oldest first.
    pending: VecDeque<Rotated>,
}

impl Backlog {
    pub(super) fn new(live: &Path, line_bytes_max: usize) -> Backlog {
        Backlog {
            live: live.to_owned(),
            line_bytes_max,
            known: BTreeMap::new(),
            waiting: BTreeMap::new(),
            pending: VecDeque::new(),
        }
    }

    /// The rotated files that are there.
    pub(super) fn list(&self) -> io::Result<Vec<Rotated>> {
        match rotated(&self.live) {
            // A folder that is not there yet holds nothing to catch up with.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            all => all,
        }
    }

    /// Whether there is a file to be read.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The next file to be read.
    pub(super) fn next(&mut self) -> Option<Rotated> {
        self.pending.pop_front()
    }

    /// Puts a file before all others.
    pub(super) fn again(&mut self, file: Rotated) {
        self.pending.push_front(file);
    }

    /// Takes up what is to be read of the files that are there; `ours` is open already.
    pub(super) fn take_up(&mut self, listed: &[Rotated], ours: Option<Place>, now: Duration) {
        // A file that is not listed may be on its way from one name to the other. To forget it
        // costs one more reading of it, and never a line.
        self.known.retain(|stem, _| listed.iter().any(|it| it.stem == *stem));
        self.waiting.retain(|stem, _| listed.iter().any(|it| it.stem == *stem));
        let is_ours = |it: &Rotated| ours.zip(it.place).is_some_and(|(a, b)| a.is_same_file(&b));
        // What was rotated after the open file is read after it.
        let until = listed.iter().position(is_ours).unwrap_or(listed.len());
        let new: Vec<Rotated> =
            listed.iter().take(until).filter(|it| self.is_new(it, now)).cloned().collect();
        self.pending = new.into();
    }

    /// Whether a file has to be read.
    fn is_new(&mut self, file: &Rotated, now: Duration) -> bool {
        if let Some(waiting) = self.waiting.get(&file.stem)
            && waiting.place == file.place
            && now < waiting.due
        {
            return false;
        }
        let Some(known) = self.known.get(&file.stem) else { return true };
        if known.place == file.place && file.place.is_some() {
            return false;
        }
        if !self.looks_like(file, &known.clone()) {
            return true;
        }
        self.known.entry(file.stem.clone()).and_modify(|it| it.place = file.place);
        false
    }

    /// Whether a file is the one that was read, by its first line and its length.
    fn looks_like(&self, file: &Rotated, known: &Known) -> bool {
        let Ok(Some(glance)) = glance(&file.path, self.line_bytes_max) else { return false };
        glance.has_bytes(known.end) && hex(&leaf(&glance.first)) == known.first
    }

    /// Looks for a file that was read to its end under the name it was rotated to, and remembers
    /// it. `place` is where the open file lies.
    pub(super) fn recognise(&mut self, listed: &[Rotated], read: &Known) -> bool {
        let here = |it: &&Rotated| {
            read.place.zip(it.place).is_some_and(|(ours, theirs)| ours.is_same_file(&theirs))
        };
        let renamed = listed.iter().find(here);
        let found = renamed.or_else(|| {
            // It was compressed meanwhile.
            let new = listed.iter().filter(|it| !self.known.contains_key(&it.stem));
            new.filter(|it| it.is_compressed()).find(|it| self.looks_like(it, read))
        });
        let Some(found) = found else { return false };
        let place = match renamed {
            // As it was when its end was read: what is added to it later is seen.
            Some(_) => read.place,
            None => found.place,
        };
        self.known.insert(found.stem.clone(), Known { place, ..read.clone() });
        true
    }

    /// Whether a file was never read to its end under its name.
    pub(super) fn is_unseen(&self, file: &Rotated) -> bool {
        !self.known.contains_key(&file.stem)
    }

    /// Whether no file was read to its end.
    pub(super) fn is_unknown(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a file was put aside.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether there is a rotated file that was not read.
    pub(super) fn has_unknown(&self, listed: &[Rotated]) -> bool {
        listed.iter().any(|it| !self.known.contains_key(&it.stem))
    }

    /// Remembers that a file was read to its end.
    pub(super) fn know(&mut self, file: &Rotated, first: String, end: u64) {
        self.waiting.remove(&file.stem);
        self.known.insert(file.stem.clone(), Known { first, end, place: file.place });
    }

    /// Puts a file aside that could not be read to its end.
    pub(super) fn set_aside(&mut self, file: &Rotated, why: String, now: Duration) {
        let before = self.waiting.get(&file.stem).filter(|it| it.place == file.place);
        let since = before.map_or(now, |it| it.since);
        let waiting = Waiting { place: file.place, since, due: now + RETRY, why };
        self.waiting.insert(file.stem.clone(), waiting);
    }

    /// Whether a file was put aside and has not changed for so long that nobody writes it.
    pub(super) fn is_damaged(&self, file: &Rotated, now: Duration) -> bool {
        let waiting = self.waiting.get(&file.stem).filter(|it| it.place == file.place);
        waiting.is_some_and(|it| now.saturating_sub(it.since) >= DAMAGED)
    }

    /// Why a file could not be read to its end, if one could not for longer than it takes to
    /// write one.
    pub(super) fn failure(&self, now: Duration) -> Option<String> {
        let long = |it: &&Waiting| now.saturating_sub(it.since) >= DAMAGED;
        self.waiting.values().find(long).map(|it| it.why.clone())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test is the API server here")]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;

    const SECOND: Duration = Duration::from_secs(1);

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn put(&self, second: u32, text: &[u8]) {
            File::create(self.path(second, "")).unwrap().write_all(text).unwrap();
        }

        fn path(&self, second: u32, ending: &str) -> PathBuf {
            self.0.path().join(format!("audit-2026-11-23T03-00-{second:02}.000.log{ending}"))
        }

        fn compress(&self, second: u32) {
            let text = fs::read(self.path(second, "")).unwrap();
            let gz = File::create(self.path(second, ".gz")).unwrap();
            let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
            gz.write_all(&text).unwrap();
            gz.finish().unwrap();
            fs::remove_file(self.path(second, "")).unwrap();
        }
    }

    fn folder() -> (Folder, Backlog) {
        let folder = Folder(tempfile::tempdir().unwrap());
        let backlog = Backlog::new(&folder.0.path().join("audit.log"), 1 << 20);
        (folder, backlog)
    }

    /// The seconds in the names of what is to be read.
    fn pending(backlog: &mut Backlog, ours: Option<Place>, now: Duration) -> Vec<String> {
        let listed = backlog.list().unwrap();
        backlog.take_up(&listed, ours, now);
        backlog.pending.iter().map(|it| it.stem.get(23..25).unwrap().to_owned()).collect()
    }

    fn know(backlog: &mut Backlog, first: &[u8], end: u64) {
        let file = backlog.next().unwrap();
        backlog.know(&file, hex(&leaf(first)), end);
    }

    #[test]
    fn a_file_that_was_read_is_known_after_it_was_compressed_and_not_after_it_was_replaced() {
        let (folder, mut backlog) = folder();
        folder.put(1, b"a\nb\n");
        folder.put(2, b"c\nd\n");
        assert_eq!(pending(&mut backlog, None, SECOND), ["01", "02"]);
        know(&mut backlog, b"a", 4);
        know(&mut backlog, b"c", 4);
        assert!(pending(&mut backlog, None, SECOND).is_empty());
        folder.compress(1);
        assert!(pending(&mut backlog, None, SECOND).is_empty());
        // Another file gets the name: two rotations within one millisecond.
        folder.put(9, b"x\ny\n");
        fs::rename(folder.path(9, ""), folder.path(2, "")).unwrap();
        assert_eq!(pending(&mut backlog, None, SECOND), ["02"]);
        // One that grows has more to read.
        know(&mut backlog, b"x", 4);
        File::options().append(true).open(folder.path(2, "")).unwrap().write_all(b"z\n").unwrap();
        assert_eq!(pending(&mut backlog, None, SECOND), ["02"]);
    }

    #[test]
    fn what_was_rotated_after_the_open_file_waits_for_its_end() {
        let (folder, mut backlog) = folder();
        folder.put(1, b"a\n");
        folder.put(2, b"b\n");
        folder.put(3, b"c\n");
        let ours = Place::of(&fs::metadata(folder.path(2, "")).unwrap());
        assert_eq!(pending(&mut backlog, ours, SECOND), ["01"]);
        let read = Known { first: hex(&leaf(b"b")), end: 2, place: ours };
        let listed = backlog.list().unwrap();
        assert!(backlog.recognise(&listed, &read));
        assert_eq!(pending(&mut backlog, None, SECOND), ["01", "03"]);
        // And under its third name, when it was compressed before anybody looked.
        let ours = Place::of(&fs::metadata(folder.path(3, "")).unwrap());
        folder.compress(3);
        let listed = backlog.list().unwrap();
        assert!(
            backlog.recognise(&listed, &Known { first: hex(&leaf(b"c")), end: 2, place: ours })
        );
        assert!(
            !backlog.recognise(&listed, &Known { first: hex(&leaf(b"d")), end: 2, place: ours })
        );
        assert_eq!(pending(&mut backlog, None, SECOND), ["01"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_tried_again_and_is_damaged_when_it_does_not_change() {
        let (folder, mut backlog) = folder();
        folder.put(1, b"half");
        assert_eq!(pending(&mut backlog, None, SECOND), ["01"]);
        let file = backlog.next().unwrap();
        backlog.set_aside(&file, "it ends too early".to_owned(), SECOND);
        assert!(pending(&mut backlog, None, SECOND).is_empty());
        assert_eq!(pending(&mut backlog, None, 2 * SECOND), ["01"]);
        backlog.set_aside(&file, "it ends too early".to_owned(), 2 * SECOND);
        assert!(!backlog.is_damaged(&file, 59 * SECOND) && backlog.failure(59 * SECOND).is_none());
        assert!(backlog.is_damaged(&file, 61 * SECOND) && backlog.failure(61 * SECOND).is_some());
        folder.put(1, b"whole\n");
        assert_eq!(pending(&mut backlog, None, 2 * SECOND), ["01"]);
    }
}
