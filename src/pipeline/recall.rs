//! Files that a process before has read to their end -> files that this one need not read.
//!
//! One rule: nothing but the file system vouches for a file, and it must say the same as when the end had
//! been read, to the nanosecond of the last change. Any doubt, and the content decides.

use std::fs;
use std::time::Duration;

use super::intake::SourceName;
use crate::archive::catalog::{Catalog, CatalogError};
use crate::archive::hints::Hint;
use crate::hex::hex;
use crate::seal::leaf::leaf;
use crate::source::open::glance;
use crate::source::place::Stamp;
use crate::source::rotated::Rotated;

/// How long a file must not have changed when its end is read. File systems tell moments apart by some
/// milliseconds, old ones by two seconds: a change just after another could bear the same moment.
const SETTLED: Duration = Duration::from_secs(3);

/// What is remembered of the rotated files of one log.
#[derive(Debug)]
pub(super) struct Recall {
    name: SourceName,
    line_bytes_max: usize,
    /// What the catalog has, and this process added.
    recorded: Vec<Hint>,
    /// Files that this process has read to their end, and that may not be kept to there yet.
    read: Vec<Hint>,
}

impl Recall {
    pub(super) fn of(
        catalog: &Catalog,
        name: &SourceName,
        line_bytes_max: usize,
    ) -> Result<Recall, CatalogError> {
        let recorded = catalog.hints(&name.cluster, &name.name)?;
        Ok(Recall { name: name.clone(), line_bytes_max, recorded, read: Vec::new() })
    }

    /// What is known of a file, if it is as it was when it had been read to its end.
    pub(super) fn find(&self, file: &Rotated) -> Option<&Hint> {
        let place = file.place?;
        let hint = self.recorded.iter().find(|it| it.stamp.place == place)?;
        let stamp = Stamp::of(&fs::metadata(&file.path).ok()?)?;
        if stamp != hint.stamp {
            return None;
        }
        // A disk that was exchanged or restored may give the same numbers to another file.
        let glance = glance(&file.path, self.line_bytes_max).ok()??;
        (glance.has_bytes(hint.end) && hex(&leaf(&glance.first)) == hint.first).then_some(hint)
    }

    /// A rotated file was read from its beginning to its end, and had the same stamp before and after.
    /// `now` is the time, µs.
    pub(super) fn read(&mut self, hint: Hint, now: i64) {
        let age = now.saturating_sub(hint.stamp.changed / 1_000);
        if u64::try_from(age).is_ok_and(|it| Duration::from_micros(it) >= SETTLED) {
            self.read.push(hint);
        }
    }

    /// The file that had the log's path was read to its end after it had been renamed.
    pub(super) fn rotated(&mut self, hint: Hint) {
        // More was added than was read: its content says how much.
        if hint.stamp.place.bytes == hint.end {
            self.read.push(hint);
        }
    }

    /// Records what is kept by now, and forgets files that are gone.
    pub(super) fn settle(
        &mut self,
        catalog: &Catalog,
        listed: &[Rotated],
    ) -> Result<(), CatalogError> {
        let there = |it: &Hint| listed.iter().any(|file| file.place == Some(it.stamp.place));
        self.read.retain(there);
        let mut kept = Vec::new();
        for hint in &self.read {
            if catalog.kept_to(hint.source)? >= hint.end {
                kept.push(hint.clone());
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
        let fresh =
            |it: &Hint| !kept.iter().any(|new| new.stamp.place.is_same_file(&it.stamp.place));
        let mut recorded = self.recorded.clone();
        recorded.retain(|it| there(it) && fresh(it));
        recorded.extend(kept.iter().cloned());
        catalog.set_hints(&self.name.cluster, &self.name.name, &recorded)?;
        self.recorded = recorded;
        self.read.retain(|it| !kept.contains(it));
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test is the API server here")]
mod tests {
    use super::*;
    use crate::archive::commit::Commit;
    use crate::archive::stored::Boundary;
    use crate::source::rotated::rotated;
    use std::path::{Path, PathBuf};

    const TEXT: &[u8] = b"a\nb\n";

    struct Site {
        dir: tempfile::TempDir,
        catalog: Catalog,
        source: i64,
    }

    impl Site {
        fn new() -> Site {
            let dir = tempfile::tempdir().unwrap();
            let catalog = Catalog::create(dir.path()).unwrap();
            let source = catalog.add_source("c", &hex(&leaf(b"a")), "audit.log", 0).unwrap();
            let site = Site { dir, catalog, source };
            fs::write(site.path(), TEXT).unwrap();
            site
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("audit-2026-11-23T03-00-00.000.log")
        }

        fn listed(&self) -> Vec<Rotated> {
            rotated(&self.dir.path().join("audit.log")).unwrap()
        }

        fn recall(&self) -> Recall {
            let name = SourceName { cluster: "c".into(), name: "audit.log".into() };
            Recall::of(&self.catalog, &name, 100).unwrap()
        }

        fn hint(&self) -> Hint {
            let stamp = Stamp::of(&fs::metadata(self.path()).unwrap()).unwrap();
            let (source, end) = (self.source, TEXT.len() as u64);
            Hint { stamp, first: hex(&leaf(b"a")), source, end }
        }

        fn keep(&mut self, end: u64) {
            let boundary = Boundary { end, digest: String::new(), lasting: true };
            let positions = vec![(self.source, boundary)];
            self.catalog.commit(&Commit { positions, ..Commit::default() }).unwrap();
        }

        /// Records that, whatever it is, and says whether another process trusts it.
        fn trusts(&self, hint: Hint) -> bool {
            self.catalog.set_hints("c", "audit.log", &[hint]).unwrap();
            self.recall().find(&self.listed()[0]).is_some()
        }
    }

    fn write(path: &Path, text: &[u8]) {
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_file_is_recalled_only_after_its_last_line_is_kept() {
        let mut site = Site::new();
        let mut recall = site.recall();
        recall.rotated(site.hint());
        site.keep(2);
        recall.settle(&site.catalog, &site.listed()).unwrap();
        assert_eq!(site.recall().find(&site.listed()[0]), None);
        // Even if the row were there already, as after a rebuild that found less.
        assert!(!site.trusts(site.hint()));
        site.keep(4);
        recall.settle(&site.catalog, &site.listed()).unwrap();
        assert_eq!(site.recall().find(&site.listed()[0]), Some(&site.hint()));
        // And is forgotten when it is gone and another one is recorded.
        fs::rename(site.path(), site.dir.path().join("audit-2026-11-23T03-00-01.000.log")).unwrap();
        write(&site.path(), TEXT);
        recall.rotated(site.hint());
        fs::remove_file(site.dir.path().join("audit-2026-11-23T03-00-01.000.log")).unwrap();
        recall.settle(&site.catalog, &site.listed()).unwrap();
        assert_eq!(site.catalog.hints("c", "audit.log").unwrap(), [site.hint()]);
    }

    #[test]
    fn a_hint_that_differs_in_anything_is_not_trusted() {
        let mut site = Site::new();
        site.keep(4);
        let right = site.hint();
        assert!(site.trusts(right.clone()));
        let other = |change: &dyn Fn(&mut Hint)| {
            let mut hint = right.clone();
            change(&mut hint);
            hint
        };
        assert!(!site.trusts(other(&|it| it.stamp.place.device += 1)));
        assert!(!site.trusts(other(&|it| it.stamp.place.inode += 1)));
        assert!(!site.trusts(other(&|it| it.stamp.place.bytes += 1)));
        assert!(!site.trusts(other(&|it| it.stamp.changed += 1)));
        assert!(!site.trusts(other(&|it| it.end -= 1)));
        // Every number of it is right, and the file is another one all the same.
        assert!(!site.trusts(other(&|it| it.first = hex(&leaf(b"z")))));
    }

    #[test]
    fn a_file_that_was_altered_to_the_same_length_and_times_is_not_recalled() {
        let mut site = Site::new();
        site.keep(4);
        let hint = site.hint();
        let times = fs::metadata(site.path()).unwrap();
        let times = fs::FileTimes::new()
            .set_modified(times.modified().unwrap())
            .set_accessed(times.accessed().unwrap());
        // Moments are told apart by ticks of the kernel's clock.
        while Stamp::of(&fs::metadata(site.path()).unwrap()) == Some(hint.stamp) {
            write(&site.path(), b"a\nX\n");
            fs::File::options().write(true).open(site.path()).unwrap().set_times(times).unwrap();
        }
        assert_eq!(site.hint().stamp.place, hint.stamp.place);
        assert!(!site.trusts(hint));
    }

    #[test]
    fn a_file_that_changed_just_now_or_holds_more_than_was_read_is_no_hint() {
        let site = Site::new();
        let mut recall = site.recall();
        let changed = site.hint().stamp.changed / 1_000;
        recall.read(site.hint(), changed + 2_999_000);
        recall.read(site.hint(), changed - 1);
        recall.rotated(Hint { end: 2, ..site.hint() });
        assert!(recall.read.is_empty());
        recall.read(site.hint(), changed + 3_000_000);
        assert_eq!(recall.read.len(), 1);
    }
}
