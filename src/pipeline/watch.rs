//! Rule files on disk -> a reload when they changed and have come to rest.
//!
//! One rule: what counts is how the files look, not what was said about them. An event only says when to
//! look, so a lost one costs time and never a change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher};

use super::reload::{Reloader, Trigger};
use super::stop::Stop;
use crate::{cause, rules};

/// How long a wait lasts at most, so that a stop is heard.
const TURN: Duration = Duration::from_millis(500);

/// Turns between two looks where changes are announced: a backstop for links that lead elsewhere.
const TURNS_WATCHED: u32 = 60;

/// Turns between two looks where they are not (network file systems).
const TURNS_POLLED: u32 = 4;

/// Files that did not change for so long have come to rest: several are often written together.
const REST: Duration = Duration::from_millis(200);

/// After so many looks at files that never rest they are loaded as they are.
const RESTS_MAX: u32 = 50;

/// How the rule files looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look(Result<Vec<(PathBuf, Option<Stamp>)>, String>);

/// What tells one state of a file from another without reading it, links followed: a config map is exchanged by
/// turning a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks at every rule file under the paths.
    pub fn at(paths: &[PathBuf]) -> Look {
        let found = rules::files(paths).map_err(|error| cause::line(&error));
        Look(found.map(|all| {
            all.into_iter()
                .map(|path| {
                    let stamp = stamp(&path);
                    (path, stamp)
                })
                .collect()
        }))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let it = fs::metadata(path).ok()?;
    Some(Stamp {
        file: (it.dev(), it.ino()),
        len: it.len(),
        written: (it.mtime(), it.mtime_nsec()),
        changed: (it.ctime(), it.ctime_nsec()),
    })
}

/// Reloads whenever the rule files change, until asked to stop. `seen` is how they looked before they
/// were loaded first.
pub fn watch(reloader: &Reloader, mut seen: Look, stop: &Stop) {
    // One waiting change says as much as a thousand.
    let (changed, changes) = sync_channel(1);
    let mut watcher = watcher(&reloader.paths, &changed);
    let mut turns = 0;
    while !stop.asked() {
        let told = changes.recv_timeout(TURN).is_ok();
        turns += 1;
        let turns_max = if watcher.is_some() { TURNS_WATCHED } else { TURNS_POLLED };
        if !told && turns < turns_max {
            continue;
        }
        turns = 0;
        let now = Look::at(&reloader.paths);
        if now == seen {
            continue;
        }
        seen = rested(&reloader.paths, now, &changes);
        // What is wrong is told by the reloader, and tried again after the next change.
        drop(reloader.reload(Trigger::File));
        // Folders may have come and gone.
        watcher = self::watcher(&reloader.paths, &changed);
    }
}

/// Looks until two looks are the same.
fn rested(paths: &[PathBuf], mut last: Look, changes: &Receiver<()>) -> Look {
    for _ in 0..RESTS_MAX {
        // Not `recv_timeout`: a change while they are written would end the rest early.
        std::thread::sleep(REST);
        while changes.try_recv().is_ok() {}
        let now = Look::at(paths);
        if now == last {
            break;
        }
        last = now;
    }
    last
}

/// Announces changes under the paths; `None` where the system cannot.
fn watcher(paths: &[PathBuf], changed: &SyncSender<()>) -> Option<notify::RecommendedWatcher> {
    let changed = changed.clone();
    let notice = move |event: Result<notify::Event, notify::Error>| {
        if event.is_ok_and(|it| only_read(it.kind)) {
            return;
        }
        // A full channel already says what this would say.
        changed.try_send(()).ok();
    };
    let watch = || -> Result<notify::RecommendedWatcher, notify::Error> {
        let mut watcher = notify::recommended_watcher(notice)?;
        for path in paths {
            if path.is_dir() {
                watcher.watch(path, RecursiveMode::Recursive)?;
                continue;
            }
            // The folder: an editor exchanges the file, a config map the link it is. And where that leads.
            let behind = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            for file in [path, &behind] {
                let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
                watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
            }
        }
        Ok(watcher)
    };
    watch()
        .inspect_err(|error| tracing::warn!(%error, "rule files cannot be watched and are polled"))
        .ok()
}

/// Whether an event says only that something was opened or read, as by the look itself.
fn only_read(kind: EventKind) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    kind.is_access() && kind != written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_look_sees_what_was_written_exchanged_added_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().to_owned(), dir.path().join("a.yml"));
        let look = || Look::at(std::slice::from_ref(&folder));
        let mut looks = vec![look()];
        let changed = |looks: &mut Vec<Look>| {
            let now = look();
            assert_eq!(now, look());
            assert!(!looks.contains(&now));
            looks.push(now);
        };
        durable::write(&file, b"title: a").unwrap();
        changed(&mut looks);
        durable::write(&file, b"title: b").unwrap();
        changed(&mut looks);
        durable::write(&folder.join("b.yml"), b"").unwrap();
        changed(&mut looks);
        durable::write(&folder.join("notes.txt"), b"").unwrap();
        assert_eq!(look(), *looks.last().unwrap());
    }

    #[test]
    fn a_config_map_is_seen_when_its_link_is_turned() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("mount");
        for (version, text) in [("..1", "title: a"), ("..2", "title: b")] {
            durable::create_dir_all(&mount.join(version)).unwrap();
            durable::write(&mount.join(version).join("r.yml"), text.as_bytes()).unwrap();
        }
        symlink("..1", mount.join("..data")).unwrap();
        symlink("..data/r.yml", mount.join("r.yml")).unwrap();
        let (of_folder, of_file) = ([mount.clone()], [mount.join("r.yml")]);
        let before = (Look::at(&of_folder), Look::at(&of_file));
        symlink("..2", mount.join("..data_tmp")).unwrap();
        durable::replace(&mount.join("..data_tmp"), &mount.join("..data")).unwrap();
        assert_ne!(Look::at(&of_folder), before.0);
        assert_ne!(Look::at(&of_file), before.1);
    }
}
