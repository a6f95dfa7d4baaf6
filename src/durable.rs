//! Bytes -> bytes that outlive a crash. The only code that writes, renames or removes files
//! which must be there, whole, after the power fails.
//!
//! One rule: a function returns `Ok` only when both the file and its name in the folder are on
//! the disk. Every step says what a crash there leaves.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[cfg(debug_assertions)]
pub mod fault;

/// What the name of a file that [`write`] has not finished ends with. Recovery may remove any.
pub const UNFINISHED: &str = ".tmp";

/// Why bytes may not outlive a crash: which step failed, and where.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be {doing}")]
pub struct DurableError {
    /// The step, as a participle.
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The operating system's own words.
    #[source]
    pub source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DurableError {
    let path = path.to_owned();
    move |source| DurableError { doing, path, source }
}

/// Does one step that has to outlive a crash. Tests make it fail (`fault`): with what `refused` gives. In a
/// released program this is `act` and nothing else.
///
/// # Errors
/// When `act` fails.
pub fn step<T, E>(
    name: &'static str,
    refused: impl FnOnce() -> E,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    #[cfg(debug_assertions)]
    return fault::play(name, None, refused, act);
    #[cfg(not(debug_assertions))]
    {
        drop((name, refused));
        act()
    }
}

/// A [`step`] after which `file` is to hold what `act` put there: a disk may take a part of it. Nothing of the
/// file lasts before.
///
/// # Errors
/// When `act` fails.
pub fn step_filling<T, E>(
    name: &'static str,
    file: &File,
    refused: impl FnOnce() -> E,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    #[cfg(debug_assertions)]
    return fault::play(name, Some(file), refused, act);
    #[cfg(not(debug_assertions))]
    {
        drop((name, file, refused));
        act()
    }
}

/// A [`step`] on a file.
///
/// # Errors
/// When `act` fails.
pub fn step_on<T>(name: &'static str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    step(name, refusal, act)
}

/// What a disk says that has no room.
fn refusal() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

/// Puts `bytes` at `path`, whole or not at all; what was there before is replaced.
///
/// Two writers of one path at one time are a bug of the caller.
///
/// # Errors
/// When any step fails. Then `path` holds the old bytes or the new ones, never a mixture; and
/// the call may be repeated.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    let beside = unfinished(path);
    // A crash up to the rename leaves the old file and a `.tmp` beside it. The next write of
    // this path truncates the `.tmp`; recovery removes it.
    let file = step_on("a file is created", || File::create(&beside))
        .map_err(failed("created", &beside))?;
    let written = step_filling("a file is written", &file, refusal, || (&file).write_all(bytes))
        .map_err(failed("written", &beside))
        .and_then(|()| sync_file(&file).map_err(failed("synced", &beside)));
    drop(file);
    if written.is_err() {
        // On a full disk the torn file would take the room that others need. If it stays, the next write of
        // this path truncates it.
        drop(step_on("a file is removed", || fs::remove_file(&beside)));
    }
    written?;
    replace(&beside, path)
}

/// Renames a synced file, replacing what has that name, and makes the new name last.
///
/// # Errors
/// When a step fails. Then the file has its old name or its new one.
pub fn replace(from: &Path, to: &Path) -> Result<(), DurableError> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that renames")]
    step_on("a file is renamed", || fs::rename(from, to)).map_err(failed("renamed", from))?;
    // A crash here can leave either name, each with the whole file: a rename is atomic, but on
    // the disk only when the folders are.
    let (old, new) = (parent(from), parent(to));
    sync_dir(&new)?;
    if old == new { Ok(()) } else { sync_dir(&old) }
}

/// Makes what was written to an open file last. Its name lasts once its folder is synced too.
///
/// # Errors
/// When the disk refuses. The pages may then be lost although a second call succeeds (Linux
/// reports a failed write-back once), so the caller writes again, or stops.
pub fn sync_file(file: &File) -> io::Result<()> {
    step_filling("a file is synced", file, refusal, || file.sync_all())
}

/// Makes the names in a folder last: of new, renamed and removed files.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<(), DurableError> {
    let dir = File::open(path).map_err(failed("opened", path))?;
    step_on("a folder is synced", || dir.sync_all()).map_err(failed("synced", path))
}

/// Makes a folder and those above it that are missing, and makes their names last.
///
/// # Errors
/// When one cannot be made. Those above it stay, empty; the call may be repeated.
pub fn create_dir_all(path: &Path) -> Result<(), DurableError> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.is_dir()).collect();
    // From the top down, each synced into its parent before the next: a crash leaves a shorter
    // path of empty folders, and the next call goes on from there.
    for dir in missing.into_iter().rev() {
        match step_on("a folder is created", || fs::create_dir(dir)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other.map_err(failed("created", dir))?,
        }
        sync_dir(&parent(dir))?;
    }
    Ok(())
}

/// Removes a file for good. One that is not there is removed already.
///
/// # Errors
/// When a step fails. A crash before the folder is synced can bring the file back, whole.
pub fn remove(path: &Path) -> Result<(), DurableError> {
    match step_on("a file is removed", || fs::remove_file(path)) {
        Ok(()) => sync_dir(&parent(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("removed", path)(error)),
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// The folder a name stands in; of a bare name, the current one.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        Some(_) => PathBuf::from("."),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        write(&path, b"a longer first text").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_left_over_of_a_crash_does_not_stop_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        let mut left = File::create(unfinished(&path)).unwrap();
        left.write_all(b"torn, and longer than what follows").unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(!unfinished(&path).exists());
    }

    #[test]
    fn what_a_full_disk_took_a_part_of_leaves_the_old_file_and_no_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        write(&path, b"first").unwrap();
        for torn in ["a file is written", "a file is synced"] {
            fault::plan(Some(Box::new(move |it| (it == torn).then_some(fault::Fault::Torn(128)))));
            let error = write(&path, b"second").unwrap_err();
            fault::plan(None);
            assert!(error.to_string().contains("note.tmp"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"first");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_torn_file_holds_the_beginning_of_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        // As after the end of a process: nobody is left to remove it.
        fault::plan(Some(Box::new(|it| match it {
            "a file is written" => Some(fault::Fault::Torn(128)),
            "a file is removed" => Some(fault::Fault::Failed),
            _ => None,
        })));
        write(&path, b"second").unwrap_err();
        fault::plan(None);
        assert_eq!(fs::read(unfinished(&path)).unwrap(), b"sec");
    }

    #[test]
    fn folders_are_made_to_any_depth_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_all(&deep).unwrap();
        create_dir_all(&deep).unwrap();
        assert!(deep.is_dir());
        let file = dir.path().join("file");
        write(&file, b"").unwrap();
        let error = create_dir_all(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }

    #[test]
    fn a_missing_file_is_removed_already() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        remove(&path).unwrap();
        write(&path, b"x").unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn an_error_names_the_step_and_the_place() {
        let error = write(Path::new("/nowhere/at/all"), b"x").unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/at/all.tmp could not be created");
    }
}
