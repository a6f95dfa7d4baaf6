//! What is wrong with a log -> findings, each once.
//!
//! One rule: words only. What is seen, and what it means for what is kept, is decided by whoever
//! follows the log.

use std::collections::BTreeSet;
use std::path::Path;

use super::intake::{Intake, SourceName};
use crate::detect::trouble::{Trouble, kind};

/// Things told of one log that are remembered, so that none is told twice by one process. The
/// findings' own ids keep them apart for ever; this only spares the work.
const TOLD_MAX: usize = 1_024;

/// What is wrong.
#[derive(Debug, Clone)]
pub(super) enum Wrong {
    /// The file was cut short: so much had been read, so much it has.
    CutShort { read: u64, has: u64 },
    /// NUL bytes stand before a line.
    NulRun { bytes: usize },
    /// The open file was deleted.
    Unlinked,
    /// The open file was moved away, to no name that its writer would give it.
    MovedAway,
    /// The file was deleted by the path it is mounted under alone.
    MountedAlone,
    /// What was followed last is not among the files any more.
    Gap { read: u64 },
    /// A rotated file was deleted before it was read to its end.
    DeletedUnread { name: String, bytes: u64 },
    /// A compressed file ends too early, and nobody goes on writing it.
    Damaged { name: String, why: String },
    /// The name of a rotated file is older than that of one before it, or of a time to come.
    ClockJumped { name: String, than: String },
    /// Less time is left than there should be.
    Headroom { seconds: f64, unread: u64, rate: f64 },
}

impl Wrong {
    fn id(&self) -> &'static str {
        match self {
            Wrong::CutShort { .. } => "kustos-source-truncated",
            Wrong::NulRun { .. } => "kustos-source-nul-run",
            Wrong::Unlinked => "kustos-source-unlinked",
            Wrong::MovedAway => "kustos-source-replaced",
            Wrong::MountedAlone => "kustos-source-mounted-alone",
            Wrong::Gap { .. } | Wrong::DeletedUnread { .. } => "kustos-source-gap",
            Wrong::Damaged { .. } => "kustos-source-damaged",
            Wrong::ClockJumped { .. } => "kustos-source-clock",
            Wrong::Headroom { .. } => "kustos-source-headroom",
        }
    }

    fn words(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Wrong::CutShort { read, has } => format!(
                "{path} was cut short or written anew in place: {read} bytes had been read, it has {has}. \
                 What was written after the last read and before the cut is lost"
            ),
            Wrong::NulRun { bytes } => format!(
                "{bytes} NUL bytes stand before a line of {path}: the file was cut short and its writer kept its offset, \
                 or the machine lost power. The bytes hold nothing and are not kept; the line is"
            ),
            Wrong::Unlinked => format!(
                "{path} was deleted while it was read, and not by rotation. Its writer may go on writing into the deleted file, \
                 which is read as long as this process runs; restart the API server so that it makes a new one"
            ),
            Wrong::MovedAway => format!(
                "{path} was moved to a name that rotation does not give. It is read as long as this process runs and it grows"
            ),
            Wrong::MountedAlone => format!(
                "{path} was deleted and still has its path: only the file is mounted, not its folder, so that \
                 what is written after a rotation cannot be seen. Mount the folder"
            ),
            Wrong::Gap { read } => format!(
                "the file of {path} that was read last, up to byte {read}, is not there any more. \
                 What was written to it after that, and to files after it, may have been deleted unread"
            ),
            Wrong::DeletedUnread { name, bytes } => format!(
                "{name}, a rotated file of {path} with {bytes} bytes, was deleted before it was read to its end"
            ),
            Wrong::Damaged { name, why } => format!(
                "{name}, a rotated file of {path}, cannot be read to its end and is not written any more: {why}. What can be read of it is kept"
            ),
            Wrong::ClockJumped { name, than } => format!(
                "{name} was rotated after {than}, and its name says otherwise: the clock of the machine that writes {path} was set. \
                 No file is passed over for it"
            ),
            Wrong::Headroom { seconds, unread, rate } => format!(
                "{path} is written at {rate:.0} bytes a second and {unread} bytes are unread: \
                 in {seconds:.0} seconds its writer begins to delete what was not read. Raise --audit-log-maxbackup, or find out what holds kustos up"
            ),
        }
    }
}

/// Tells what is wrong with one log.
#[derive(Debug, Default)]
pub(super) struct Integrity {
    told: BTreeSet<(&'static str, Vec<u8>)>,
}

/// Where something is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) name: &'a SourceName,
    pub(super) path: &'a Path,
    pub(super) position: u64,
}

impl Integrity {
    /// Tells it, unless it was told. True: it was sent on its way now.
    pub(super) fn tell(
        &mut self,
        intake: &Intake<'_>,
        at: At<'_>,
        wrong: &Wrong,
        key: &[&[u8]],
    ) -> bool {
        let key = key.join(&b"\0"[..]);
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if !self.told.insert((wrong.id(), key.clone())) {
            return false;
        }
        let detail = wrong.words(at.path);
        tracing::warn!(source = &*at.name.name, kind = wrong.id(), "{detail}");
        intake.entrance.report(Trouble {
            kind: kind(wrong.id()),
            cluster: at.name.cluster.to_string(),
            source: at.name.name.to_string(),
            position: at.position,
            time: intake.clock.now(),
            detail,
            key,
        })
    }
}
