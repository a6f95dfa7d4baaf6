//! A path with wildcards -> a follower for each file it means, also for those that come later.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::intake::{Intake, SourceName};
use super::stop::guarded;
use super::tail::FileSource;
use crate::archive::catalog::Catalog;
use crate::cause;
use crate::source::glob;

/// Most files that one path with wildcards may mean: each has a thread and a watch.
pub const FILES_MAX: usize = 256;

/// How often new files are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How long the end may have to wait.
const PATIENCE: Duration = Duration::from_millis(100);

/// Follows every file that the source's path means, until it is asked to stop.
pub(super) fn follow_all(source: &FileSource, intake: &Intake<'_>) {
    std::thread::scope(|scope| {
        let mut followed: BTreeSet<PathBuf> = BTreeSet::new();
        let mut told: Option<Option<String>> = None;
        let mut due = Duration::ZERO;
        while !intake.stop.asked() {
            let now = intake.clock.elapsed();
            if now >= due {
                due = now + LOOK;
                let (new, failure) = look(source, &followed);
                for path in new {
                    // In its own right: each file has its positions, findings and metrics.
                    let Ok(catalog) = Catalog::open(intake.catalog.dir()) else { continue };
                    followed.insert(path.clone());
                    let member = member(source, path);
                    let intake = Intake { catalog, entrance: intake.entrance.clone(), ..*intake };
                    scope.spawn(guarded("source", move || member.follow(intake)));
                }
                if told.as_ref() != Some(&failure) {
                    intake.observer.state(&source.name, failure.as_deref());
                    told = Some(failure);
                }
                // It waits for files, and holds nothing itself.
                intake.observer.lag(&source.name, 0);
            }
            std::thread::sleep(PATIENCE);
        }
    });
}

/// Files that are not followed yet, and why there are not more of them.
fn look(source: &FileSource, followed: &BTreeSet<PathBuf>) -> (Vec<PathBuf>, Option<String>) {
    let all = match glob::files(&source.path) {
        Ok(all) => all,
        Err(error) => return (Vec::new(), Some(cause::line(&error))),
    };
    let mut new: Vec<PathBuf> = all.into_iter().filter(|it| !followed.contains(it)).collect();
    let room = FILES_MAX.saturating_sub(followed.len());
    let over = new.len().saturating_sub(room);
    new.truncate(room);
    let why = format!(
        "{} means {over} files more than the {FILES_MAX} that are followed; name fewer in a source",
        source.path.display()
    );
    (new, (over > 0).then_some(why))
}

fn member(source: &FileSource, path: PathBuf) -> FileSource {
    let shown = path.display().to_string();
    let own = *source.name.name == *source.path.display().to_string();
    let name = if own { shown } else { format!("{}:{shown}", source.name.name) };
    let name = SourceName { cluster: source.name.cluster.clone(), name: name.into() };
    FileSource { name, path, ..source.clone() }
}
