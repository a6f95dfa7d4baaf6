//! Parts that are due -> a segment, written on a thread of its own: alerts and commits do not wait for it.
//!
//! One rule: the thread writes a file that no row names, and nothing else. What makes it count is done by the
//! archivist, between two commits.

use std::thread::JoinHandle;

use super::stop;
use crate::archive::index::Upkeep;
use crate::archive::keep::{self, Policy, SealError, Written};
use crate::archive::recover::Archive;
use crate::archive::stored::StoredFile;

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Sealing {
    parts: Vec<StoredFile>,
    /// Taken when it has ended.
    writer: Option<JoinHandle<Result<Written, SealError>>>,
}

impl Sealing {
    /// Begins with the first parts that are due, if any are. Parts that come meanwhile are for another segment.
    pub(super) fn begin(
        archive: &Archive,
        policy: &Policy,
        now: i64,
    ) -> Result<Option<Sealing>, SealError> {
        let Some(parts) = keep::due(archive, policy, now, false)?.into_iter().next() else {
            return Ok(None);
        };
        let upkeep = Upkeep::due(&archive.catalog)?;
        let (dir, of) = (archive.dir.clone(), parts.clone());
        let merge_bytes_max = policy.merge_bytes_max;
        let write = move || keep::write(&dir, &of, upkeep, merge_bytes_max, now);
        let writer = stop::spawn("sealer", write);
        Ok(Some(Sealing { parts, writer: Some(writer) }))
    }

    /// Whether it has been written, or could not be.
    pub(super) fn has_ended(&self) -> bool {
        self.writer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has been written, and makes it count.
    ///
    /// # Errors
    /// When it could not be written or recorded. The parts stay what they were.
    pub(super) fn finish(
        mut self,
        archive: &mut Archive,
        policy: &Policy,
    ) -> Result<(), SealError> {
        let written = match self.writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => written?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => return Ok(()),
        };
        keep::record(archive, policy, &self.parts, written)
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        // Whoever opens the archive next removes the file: it must not come after that.
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::columns::Columns;
    use crate::archive::commit::Commit;
    use crate::archive::part::{self, Placed};
    use crate::archive::verify::{State, verify};
    use crate::decode::{self, Row};
    use crate::seal::leaf::leaf;

    fn keep(archive: &mut Archive, seq: i64) {
        let line = format!(r#"{{"auditID":"{seq}","stage":"s"}}"#);
        let mut columns = Columns::default();
        columns.append(
            &Row::plain(line.as_bytes(), decode::line(line.as_bytes())),
            0,
            leaf(line.as_bytes()),
        );
        let date = "2026-11-23".to_owned();
        let batch = columns.finish(&"c".into(), date, 0, &[line.as_bytes()]).unwrap();
        let placed = [Placed { batch, first: seq }];
        let part = part::write(&archive.dir, &placed, "[]".to_owned(), 0).unwrap();
        let commit = Commit { parts: vec![part], next_seq: seq + 1, ..Commit::default() };
        archive.catalog.commit(&commit).unwrap();
    }

    #[test]
    fn parts_that_come_while_a_segment_is_written_are_for_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(dir.path()).unwrap();
        let policy = Policy { segment_bytes_max: 1, ..Policy::default() };
        assert!(Sealing::begin(&archive, &policy, 0).unwrap().is_none());
        keep(&mut archive, 0);
        let first = Sealing::begin(&archive, &policy, 0).unwrap().unwrap();
        keep(&mut archive, 1);
        first.finish(&mut archive, &policy).unwrap();
        let rows = |archive: &Archive| {
            let sealed = archive.catalog.segments().unwrap();
            (sealed.iter().map(|it| it.file.rows).collect::<Vec<_>>(), archive.catalog.parts())
        };
        let (sealed, parts) = rows(&archive);
        assert_eq!((sealed, parts.unwrap().len()), (vec![1], 1));
        // One that nobody waits for has ended before it is dropped, and counts for nothing.
        drop(Sealing::begin(&archive, &policy, 0).unwrap().unwrap());
        let (sealed, parts) = rows(&archive);
        assert_eq!((sealed, parts.unwrap().len()), (vec![1], 1));
        drop(archive);
        let mut archive = Archive::open(dir.path()).unwrap();
        let second = Sealing::begin(&archive, &policy, 0).unwrap().unwrap();
        second.finish(&mut archive, &policy).unwrap();
        assert_eq!(rows(&archive).0, [1, 1]);
        drop(archive);
        verify(dir.path(), |it| assert_eq!(it.state, State::Whole, "{} {}", it.kind, it.id))
            .unwrap();
    }
}
