//! Which stream of a log was followed last -> whether the files that are there go on from it.
//!
//! One rule: a writer deletes its oldest file first. So as long as the stream that was followed
//! last is among the files, whatever came after it is too; when it is not, nobody can say.
//! The catalog's record of it moves on only after what had to be told is durable.

use super::intake::SourceName;
use crate::archive::catalog::{Catalog, CatalogError};

/// The stream of one log that was followed last.
#[derive(Debug)]
pub(super) struct Following {
    key: String,
    /// The one that the process before was at, until it is found or missed.
    expected: Option<i64>,
    recorded: Option<i64>,
    /// The one that is followed, and not yet recorded.
    next: Option<i64>,
    /// Something was told, and nothing was sent since.
    told: bool,
    /// What was sent after something was told: when it is kept, so is what was told.
    after: Option<(i64, u64)>,
}

impl Following {
    pub(super) fn of(catalog: &Catalog, name: &SourceName) -> Result<Following, CatalogError> {
        let key = format!("following:{}:{}", name.cluster, name.name);
        let recorded = catalog.meta(&key)?.and_then(|it| it.parse().ok());
        Ok(Following { key, expected: recorded, recorded, next: None, told: false, after: None })
    }

    /// A stream is among the files.
    pub(super) fn saw(&mut self, source: i64) {
        self.expected = self.expected.filter(|it| *it != source);
    }

    /// A stream is followed from here on.
    pub(super) fn follow(&mut self, source: i64) {
        self.next = Some(source).filter(|it| self.recorded != Some(*it));
    }

    /// All files were seen: the stream that should be among them and is not.
    pub(super) fn missed(&mut self) -> Option<i64> {
        self.expected.take()
    }

    /// Something was told of this log.
    pub(super) fn told(&mut self) {
        (self.told, self.after) = (true, None);
    }

    /// Lines were sent.
    pub(super) fn sent(&mut self, source: i64, end: u64) {
        if std::mem::take(&mut self.told) {
            self.after = Some((source, end));
        }
    }

    /// Records what is followed, as soon as it may.
    pub(super) fn settle(&mut self, catalog: &Catalog) -> Result<(), CatalogError> {
        if let Some((source, end)) = self.after
            && catalog.kept_to(source)? >= end
        {
            self.after = None;
        }
        if self.told || self.after.is_some() || self.expected.is_some() {
            return Ok(());
        }
        if let Some(next) = self.next {
            catalog.set_meta(&self.key, &next.to_string())?;
            (self.recorded, self.next) = (Some(next), None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::commit::Commit;
    use crate::archive::stored::Boundary;

    #[test]
    fn a_stream_that_is_gone_is_missed_until_what_was_told_of_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(dir.path()).unwrap();
        let name = SourceName { cluster: "c".into(), name: "audit.log".into() };
        let old = catalog.add_source("c", "a", "audit.log", 0).unwrap();
        let new = catalog.add_source("c", "b", "audit.log", 0).unwrap();
        let mut following = Following::of(&catalog, &name).unwrap();
        following.follow(old);
        assert_eq!(following.missed(), None);
        following.settle(&catalog).unwrap();

        for _ in 0..2 {
            // Killed before anything was kept: missed again.
            let mut following = Following::of(&catalog, &name).unwrap();
            following.follow(new);
            following.settle(&catalog).unwrap();
            assert_eq!(following.missed(), Some(old));
            following.told();
            following.sent(new, 2);
            following.sent(new, 4);
            following.settle(&catalog).unwrap();
        }
        let mut following = Following::of(&catalog, &name).unwrap();
        following.follow(new);
        assert_eq!(following.missed(), Some(old));
        following.told();
        following.sent(new, 2);
        let boundary = Boundary { end: 2, digest: String::new(), lasting: false };
        catalog.commit(&Commit { positions: vec![(new, boundary)], ..Commit::default() }).unwrap();
        following.settle(&catalog).unwrap();
        let mut following = Following::of(&catalog, &name).unwrap();
        following.saw(new);
        assert_eq!(following.missed(), None);
    }
}
