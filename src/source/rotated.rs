//! A live log -> the files it was rotated to, oldest first.
//!
//! An API server renames `audit.log` to `audit-2026-11-23T03-00-00.000.log` and may compress that
//! to `.log.gz` later: one file under three names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The moment of rotation in a name, digits as zeros.
const MOMENT: &[u8] = b"0000-00-00T00-00-00.000";

/// A file that was rotated away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Its name without `.gz`: the same before and after it is compressed.
    pub stem: String,
    /// Where it lies; the plain file where both are there, since the other may be half written.
    pub path: PathBuf,
}

/// The files that the log at `live` was rotated to, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn rotated(live: &Path) -> io::Result<Vec<Rotated>> {
    let folder = live.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        let plain = name.strip_suffix(".gz");
        let stem = plain.unwrap_or(name);
        if of(live, stem) && (plain.is_none() || !found.contains_key(stem)) {
            found.insert(stem.to_owned(), path.clone());
        }
    }
    Ok(found.into_iter().map(|(stem, path)| Rotated { stem, path }).collect())
}

/// Whether a name is the live one's with a moment put in.
fn of(live: &Path, name: &str) -> bool {
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let (stem, ending) = (text(live.file_stem()), text(live.extension()));
    let ending = if ending.is_empty() { ending } else { format!(".{ending}") };
    let moment = name
        .strip_prefix(&stem)
        .and_then(|it| it.strip_prefix('-'))
        .and_then(|it| it.strip_suffix(&*ending));
    moment.is_some_and(|it| {
        let fits = |(have, want): (u8, &u8)| {
            if *want == b'0' { have.is_ascii_digit() } else { have == *want }
        };
        it.len() == MOMENT.len() && it.bytes().zip(MOMENT).all(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_one_log_come_oldest_first_and_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "audit.log",
            "audit-2026-11-23T03-00-02.000.log",
            "audit-2026-11-23T03-00-01.000.log.gz",
            "audit-2026-11-23T03-00-02.000.log.gz",
            "audit-copy.log",
            "other-2026-11-23T03-00-02.000.log",
            "audit-2026-11-23T03-00-02.000.txt",
        ] {
            fs::File::create(dir.path().join(name)).unwrap();
        }
        let found = rotated(&dir.path().join("audit.log")).unwrap();
        let names: Vec<String> = found
            .iter()
            .map(|it| it.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            ["audit-2026-11-23T03-00-01.000.log.gz", "audit-2026-11-23T03-00-02.000.log"]
        );
        assert_eq!(found[0].stem, "audit-2026-11-23T03-00-01.000.log");
    }
}
