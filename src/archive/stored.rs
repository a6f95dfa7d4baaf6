//! What lies in an archive: its files, where they lie, and how far its sources are kept.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::hex::hex;

/// A Parquet file of events: a part, or a segment when it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// The file's name without its ending.
    pub id: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The cluster its events are of.
    pub cluster: String,
    /// The UTC date of its events, `2006-01-02`.
    pub date: String,
    /// How many events it holds.
    pub rows: u64,
    /// How many bytes of lines they were.
    pub bytes_in: u64,
    /// How many bytes the file has.
    pub bytes_stored: u64,
    /// The first event's place in the archive.
    pub seq_first: i64,
    /// The last event's place in the archive.
    pub seq_last: i64,
    /// The earliest stage time, µs; `None` when no event has one.
    pub time_first: Option<i64>,
    /// The latest stage time, µs; `None` when no event has one.
    pub time_last: Option<i64>,
    /// When it was written, µs.
    pub created: i64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// How far a source is kept: the digest chains the leaves of all lines up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// Offset after the last kept byte, in the uncompressed stream.
    pub end: u64,
    /// Hex digest of everything before it.
    pub digest: String,
    /// Whether it is kept for ever: a stream has ended here, or ended in half a line just after.
    pub lasting: bool,
}

/// Where a part lies.
pub fn part_path(dir: &Path, id: &str) -> PathBuf {
    dir.join("parts").join(format!("{id}.parquet"))
}

/// Where a segment lies.
pub fn segment_path(dir: &Path, cluster: &str, date: &str, id: &str) -> PathBuf {
    dir.join("segments")
        .join(format!("cluster={}", plain_name(cluster)))
        .join(format!("date={date}"))
        .join(format!("{id}.parquet"))
}

/// Where the archive of a replica is in the folder that it shares with others.
pub fn replica_path(shared: &Path, replica: &str) -> PathBuf {
    shared.join(REPLICAS).join(plain_name(replica))
}

/// The replicas' archives in a folder, in the order of their names; none where no replicas share it.
///
/// # Errors
/// When the folder cannot be read.
pub fn replicas(shared: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(shared.join(REPLICAS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|it| it.map(|it| it.path())).collect::<io::Result<Vec<_>>>()?;
    // One that has no catalog yet has kept nothing yet.
    let mut found: Vec<PathBuf> = paths.into_iter().filter(|it| is_archive(it)).collect();
    found.sort();
    Ok(found)
}

/// Whether there is an archive at that place.
pub fn is_archive(dir: &Path) -> bool {
    dir.join("catalog.sqlite").is_file()
}

/// The replicas' archives, in the folder they share.
const REPLICAS: &str = "replicas";

/// A name as Hive writes it in a path: what could be more than a name is percent-encoded.
pub(super) fn plain_name(given: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
    let mut name = String::with_capacity(given.len());
    for byte in given.bytes() {
        if plain(byte) && given != "." && given != ".." {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.push_str(&hex(&[byte]).to_uppercase());
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_name_cannot_leave_its_folder() {
        assert_eq!(plain_name("prod-eu_1.a"), "prod-eu_1.a");
        assert_eq!(plain_name("../x y"), "..%2Fx%20y");
        assert_eq!(plain_name(".."), "%2E%2E");
    }
}
