//! Paths a person names -> the inputs they mean, oldest first.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::open::{Input, OpenError};

/// Endings of files that a folder is searched for.
pub const ENDINGS: [&str; 6] = ["log", "json", "jsonl", "ndjson", "gz", "zst"];

/// The inputs that paths name: `-` is standard input, a folder means every log below it.
///
/// # Errors
/// When a path is not there or a folder cannot be read.
pub fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, OpenError> {
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            found.push(Input::Stdin);
            continue;
        }
        let failed = failed(path);
        if fs::metadata(path).map_err(failed)?.is_dir() {
            let mut below = Vec::new();
            collect(path, &mut BTreeSet::new(), &mut below)?;
            below.sort_by_cached_key(|it| age(it));
            found.extend(below.into_iter().map(Input::File));
        } else {
            found.push(Input::File(path.clone()));
        }
    }
    Ok(found)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let name = path.display().to_string();
    move |source| OpenError { name: name.clone(), doing: "found", source }
}

/// `seen` are the folders that were searched: a link may lead back to one of them.
fn collect(
    dir: &Path,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), OpenError> {
    if !seen.insert(fs::canonicalize(dir).map_err(failed(dir))?) {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let kind = match fs::metadata(&path) {
            // A link that leads nowhere, or a file that was rotated away just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            kind => kind.map_err(failed(&path))?,
        };
        if kind.is_dir() {
            collect(&path, seen, found)?;
        } else if kind.is_file()
            && path.extension().and_then(OsStr::to_str).is_some_and(|it| ENDINGS.contains(&it))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// A key that sorts the rotated files of one log before the live one, oldest first: the API server
/// puts the moment of rotation into the name (`audit-2026-11-23T03-00-00.000.log`).
fn age(path: &Path) -> (PathBuf, bool, String) {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let stem = name.split(".log").next().unwrap_or(name);
    let rotated =
        stem.len() > 24 && stem.get(stem.len() - 24..).is_some_and(|it| it.starts_with('-'));
    (path.parent().map(Path::to_owned).unwrap_or_default(), !rotated, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_come_before_the_live_one() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "audit.log",
            "audit-2026-11-23T03-00-01.000.log.gz",
            "audit-2026-11-23T03-00-00.000.log",
            "notes.txt",
        ];
        for name in names {
            fs::File::create(dir.path().join(name)).unwrap();
        }
        let found = inputs(&[dir.path().to_owned()]).unwrap();
        let names: Vec<String> =
            found.iter().map(|it| it.name().rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(
            names,
            [
                "audit-2026-11-23T03-00-00.000.log",
                "audit-2026-11-23T03-00-01.000.log.gz",
                "audit.log"
            ]
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = inputs(&["/no/such/file".into()]).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/file could not be found");
    }
}
