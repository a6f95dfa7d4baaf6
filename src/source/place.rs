//! What a folder says of a file: which one it is, and how long.

use std::fs::{File, Metadata};
use std::io;

/// One file at one time. It is a hint and no identity: a file system gives the numbers of a file
/// that is gone to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its bytes, as they lie on the disk.
    pub bytes: u64,
}

impl Place {
    /// Where a file lies; `None`: this system does not say.
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Option<Place> {
        use std::os::unix::fs::MetadataExt;
        Some(Place { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len() })
    }

    /// Where a file lies; `None`: this system does not say.
    #[cfg(not(unix))]
    pub fn of(metadata: &Metadata) -> Option<Place> {
        use std::time::UNIX_EPOCH;
        let created = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let inode = u64::try_from(created.as_nanos()).ok()?;
        Some(Place { device: 0, inode, bytes: metadata.len() })
    }

    /// Whether both are one file, which may have grown meanwhile.
    pub fn is_same_file(&self, other: &Place) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// One file at one time, and when anything about it changed last. The kernel writes that moment: no program
/// that writes to a file, renames another to its name or sets its times can keep it as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The file.
    pub place: Place,
    /// When its bytes, names or rights changed last, nanoseconds since 1970.
    pub changed: i64,
}

impl Stamp {
    /// What a file is stamped with; `None`: this system does not say.
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let seconds = metadata.ctime().checked_mul(1_000_000_000)?;
        Some(Stamp { place: Place::of(metadata)?, changed: seconds + metadata.ctime_nsec() })
    }

    /// What a file is stamped with; `None`: this system does not say.
    #[cfg(not(unix))]
    pub fn of(_: &Metadata) -> Option<Stamp> {
        None
    }
}

/// How many names a file has; `None`: this system does not say.
#[cfg(unix)]
pub(super) fn links(metadata: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::nlink(metadata))
}

/// How many names a file has; `None`: this system does not say.
#[cfg(not(unix))]
pub(super) fn links(_: &Metadata) -> Option<u64> {
    None
}

/// The bytes before an offset, fewer where the file ends before it. The file's own offset stays.
#[cfg(unix)]
pub(super) fn read_before(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; count];
    let (mut at, mut filled) = (offset.saturating_sub(count as u64), 0);
    while let Some(rest) = bytes.get_mut(filled..).filter(|it| !it.is_empty()) {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => (filled, at) = (filled + read, at + read as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The bytes before an offset, fewer where the file ends before it. The file's own offset stays.
#[cfg(not(unix))]
pub(super) fn read_before(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = file;
    let here = file.stream_position()?;
    file.seek(SeekFrom::Start(offset.saturating_sub(count as u64)))?;
    let mut bytes = Vec::new();
    file.take(count as u64).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(here))?;
    Ok(bytes)
}
