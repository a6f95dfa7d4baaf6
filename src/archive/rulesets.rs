//! Every rule set that ever judged an event, as `rulesets/<sha256>.tar.zst`: a finding names its
//! rule set, and can be reproduced years later.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::durable::{self, DurableError};

/// Why a rule set was not kept.
#[derive(Debug, thiserror::Error)]
pub enum RulesetError {
    /// The disk refused it.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// It could not be packed.
    #[error("the rule set could not be packed for {path}")]
    Pack {
        /// Where it was to lie.
        path: PathBuf,
        /// The packer's own words.
        #[source]
        source: io::Error,
    },
    /// It could not be read back.
    #[error("the rule set {path} could not be read")]
    Read {
        /// Where it lies.
        path: PathBuf,
        /// The operating system's or the unpacker's own words.
        #[source]
        source: io::Error,
    },
}

/// Where they lie in an archive.
const FOLDER: &str = "rulesets";

/// The compression level: rule sets are small, read once in years, and packed by every start with
/// other rules. At 19 the shipped ones took 80 ms for 6 % fewer bytes.
const ZSTD_LEVEL: i32 = 9;

/// A rule set that unpacks to more is none of ours: its file was exchanged.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;

/// Keeps a rule set, given as its files' names and texts, under its hash. One that is kept
/// already is left alone.
///
/// # Errors
/// When it cannot be packed or the disk refuses it.
pub fn keep<'a>(
    dir: &Path,
    sha256: &str,
    texts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<PathBuf, RulesetError> {
    let path = path(dir, sha256);
    if path.is_file() {
        // An attempt before may have failed after the rename, so that the name does not last yet.
        durable::sync_dir(&dir.join(FOLDER))?;
        return Ok(path);
    }
    let failed = |source| RulesetError::Pack { path: path.clone(), source };
    let mut tar = tar::Builder::new(Vec::new());
    for (index, (name, text)) in texts.into_iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o444);
        // Two files may have one name in two folders, and a name may be no path: the place keeps
        // them apart, the end of the name tells a person which it was.
        let short = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        tar.append_data(&mut header, format!("{index:05}-{short}"), text.as_bytes())
            .map_err(failed)?;
    }
    let packed =
        tar.into_inner().and_then(|it| zstd::bulk::compress(&it, ZSTD_LEVEL)).map_err(failed)?;
    durable::write(&path, &packed)?;
    Ok(path)
}

/// The rule set that is kept under a hash: what [`keep`] was given, its names cut to their ends and
/// numbered. Who loads it compares the hash.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn texts(dir: &Path, sha256: &str) -> Result<Vec<(String, String)>, RulesetError> {
    let path = path(dir, sha256);
    let read = || -> io::Result<Vec<(String, String)>> {
        let unpacked = zstd::Decoder::new(File::open(&path)?)?.take(UNPACKED_BYTES_MAX);
        let mut texts = Vec::new();
        for entry in tar::Archive::new(unpacked).entries()? {
            let mut entry = entry?;
            let name = entry.path()?.display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            texts.push((name, text));
        }
        Ok(texts)
    };
    read().map_err(|source| RulesetError::Read { path: path.clone(), source })
}

fn path(dir: &Path, sha256: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{sha256}.tar.zst"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_set_is_kept_whole_and_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rulesets")).unwrap();
        let texts = [("a/x.yml", "title: one"), ("b/x.yml", "title: two")];
        let path = keep(dir.path(), "abc", texts).unwrap();
        assert_eq!(keep(dir.path(), "abc", []).unwrap(), path);
        let found = super::texts(dir.path(), "abc").unwrap();
        let found: Vec<_> = found.iter().map(|(name, text)| (&**name, &**text)).collect();
        assert_eq!(found, [("00000-x.yml", "title: one"), ("00001-x.yml", "title: two")]);
        assert!(matches!(super::texts(dir.path(), "none"), Err(RulesetError::Read { .. })));
    }
}
