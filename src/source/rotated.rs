//! A live log -> the files it was rotated to, oldest first.
//!
//! An API server renames `audit.log` to `audit-2026-11-23T03-00-00.000.log` and may compress that
//! to `.log.gz` later: one file under three names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::place::Place;
use crate::event;

/// The moment of rotation in a name, digits as zeros.
const MOMENT: &[u8] = b"0000-00-00T00-00-00.000";

/// A file that was rotated away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Its name without `.gz`: the same before and after it is compressed.
    pub stem: String,
    /// Where it lies; the plain file where both are there, since the other may be half written.
    pub path: PathBuf,
    /// What the folder says of it.
    pub place: Option<Place>,
}

impl Rotated {
    /// Whether it was compressed, by its name.
    pub fn is_compressed(&self) -> bool {
        self.path.extension().is_some_and(|it| it == "gz")
    }

    /// Its uncompressed bytes; of a compressed file the lower 32 bits (RFC 1952), which is all it
    /// says. Zero: it is gone.
    pub fn bytes(&self) -> u64 {
        if !self.is_compressed() {
            return self.place.map_or(0, |it| it.bytes);
        }
        let length = || -> io::Result<u64> {
            let (mut file, mut length) = (File::open(&self.path)?, [0; 4]);
            file.seek(SeekFrom::End(-4))?;
            file.read_exact(&mut length)?;
            Ok(u32::from_le_bytes(length).into())
        };
        length().unwrap_or(0)
    }

    /// The moment of rotation its writer put into the name, µs.
    pub fn moment(&self, live: &Path) -> Option<i64> {
        let text = moment(live, &self.stem)?;
        let (date, time) = text.split_once('T')?;
        event::micros(&format!("{date}T{}Z", time.replace('-', ":")))
    }
}

/// The files that the log at `live` was rotated to, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn rotated(live: &Path) -> io::Result<Vec<Rotated>> {
    let folder = live.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found: BTreeMap<String, (PathBuf, Option<Place>)> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        let plain = name.strip_suffix(".gz");
        let stem = plain.unwrap_or(name);
        if moment(live, stem).is_none() || (plain.is_some() && found.contains_key(stem)) {
            continue;
        }
        let stem = stem.to_owned();
        match fs::metadata(&path) {
            Ok(metadata) => drop(found.insert(stem, (path, Place::of(&metadata)))),
            // Compressed or deleted just now: the next look shows which.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found.into_iter().map(|(stem, (path, place))| Rotated { stem, path, place }).collect())
}

/// The moment that was put into the live file's name to make this one.
fn moment<'n>(live: &Path, name: &'n str) -> Option<&'n str> {
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let (stem, ending) = (text(live.file_stem()), text(live.extension()));
    let ending = if ending.is_empty() { ending } else { format!(".{ending}") };
    let moment = name
        .strip_prefix(&stem)
        .and_then(|it| it.strip_prefix('-'))
        .and_then(|it| it.strip_suffix(&*ending));
    moment.filter(|it| {
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
            File::create(dir.path().join(name)).unwrap();
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
        assert_eq!(found.iter().map(Rotated::is_compressed).collect::<Vec<_>>(), [true, false]);
        let moment = found[0].moment(&dir.path().join("audit.log")).unwrap();
        assert_eq!(moment, event::micros("2026-11-23T03:00:01.000Z").unwrap());
    }
}
