//! A file that says what placeholders stand for: a YAML map from names to lists of
//! values.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Placeholders;
use super::bounds::{self, BoundFault};
use crate::config::placeholders::unusable;
use crate::rules::load::FILE_BYTES_MAX;

/// Why a file of placeholders was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlaceholderError {
    /// It could not be read.
    #[error("cannot read placeholders from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not hold a map of lists.
    #[error("{}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

/// Reads what placeholders stand for from a file.
///
/// # Errors
/// When the file cannot be read, or is no map from names to lists of texts.
pub fn placeholders(path: &Path) -> Result<Placeholders, PlaceholderError> {
    let wrong = |source| PlaceholderError::Read { path: path.to_path_buf(), source };
    let invalid = |why| PlaceholderError::Invalid { path: path.to_path_buf(), why };
    if fs::metadata(path).map_err(wrong)?.len() > FILE_BYTES_MAX {
        return Err(invalid(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(wrong)?;
    parse(&text).map_err(invalid)
}

fn parse(text: &str) -> Result<Placeholders, String> {
    lists(text, |read| read)
}

/// Reads a file of lists, as it stands among rules; `Err` says what is wrong with it.
pub(in crate::rules) fn lists<F>(text: &str, of: impl Fn(&F) -> &Placeholders) -> Result<F, String>
where
    F: serde::de::DeserializeOwned,
{
    bounds::read(text).map_err(|fault: BoundFault| fault.to_string())?;
    let read: F = yaml_serde::from_str(text)
        .map_err(|error| format!("{error}; it needs names, each with a list of texts"))?;
    match unusable(of(&read)) {
        Some(why) => Err(why),
        None => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_names_their_values() {
        let read = parse("admins: [alice, 'bob*']\nsites.eu: ['10.0.0.0/8']\n").unwrap();
        assert_eq!(read["admins"], ["alice", "bob*"]);
        for (text, want) in [
            ("admins: alice", "line 1 column 9; it needs names, each with a list"),
            ("a b: [x]", "\"a b\" is no name to ask for"),
            ("admins: []", "\"admins\" stands for nothing"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
        let bomb = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1_000), "*a, ".repeat(1_000));
        assert!(parse(&bomb).unwrap_err().contains("more than 200000 values"));
    }
}
