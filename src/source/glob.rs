//! A path with wildcards -> the files it means now.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::rotated::is_rotated;

/// Whether a path has wildcards: `*` is any text within a name, `?` any one character.
pub fn has_wildcards(path: &Path) -> bool {
    path.to_str().is_some_and(|it| it.contains(['*', '?']))
}

/// What stands before the first wildcard of a path.
pub fn literal(path: &str) -> &str {
    path.split(['*', '?']).next().unwrap_or_default()
}

/// The files that a path with wildcards means, in alphabetical order. A name that rotation gave is
/// none of them: it belongs to the file it was given to. Hidden names have to be asked for.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = match component {
            Component::Normal(name) => name.to_str().filter(|it| it.contains(['*', '?'])),
            _ => None,
        };
        match name {
            None => found.iter_mut().for_each(|it| it.push(component)),
            Some(name) => {
                let folders = std::mem::take(&mut found);
                for folder in folders {
                    below(&folder, name, &mut found)?;
                }
            }
        }
    }
    found.retain(|it| it.is_file() && !is_rotated(it));
    found.sort();
    Ok(found)
}

fn below(folder: &Path, pattern: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        let shown = |it: &&str| !it.starts_with('.') || pattern.starts_with('.');
        if name.filter(shown).is_some_and(|it| matches(pattern.as_bytes(), it.as_bytes())) {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a name matches a pattern. Linear in their product at worst.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where the last `*` stands, and up to where it reached.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(here) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(it) if *it == b'?' || it == byte => (at, here) = (at + 1, here + 1),
            _ => match star {
                Some((of, reached)) => {
                    star = Some((of, reached + 1));
                    (at, here) = (of + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_within_names_and_rotated_files_belong_to_their_log() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a/audit.log",
            "a/audit-2026-11-23T03-00-00.000.log",
            "a/audit-2026-11-23T03-00-00.000.log.gz",
            "b1/audit.log",
            "b22/audit.log",
            ".hidden/audit.log",
            "c/deeper/audit.log",
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let all = files(&dir.path().join(pattern)).unwrap();
            let name = |it: PathBuf| it.strip_prefix(dir.path()).unwrap().display().to_string();
            all.into_iter().map(name).collect()
        };
        assert_eq!(found("*/audit.log"), ["a/audit.log", "b1/audit.log", "b22/audit.log"]);
        assert_eq!(found("b?/*"), ["b1/audit.log"]);
        assert_eq!(found("a/*"), ["a/audit.log"]);
        assert_eq!(found("*/*/aud*.l*g"), ["c/deeper/audit.log"]);
        assert!(found("nowhere/*").is_empty());
        assert!(has_wildcards(Path::new("/a/*")) && !has_wildcards(Path::new("/a/b")));
        assert_eq!(literal("/a/*/b"), "/a/");
    }

    #[test]
    fn a_pattern_matches_as_in_a_shell() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*aab", "aaaab", true),
            ("?", "", false),
            ("a?", "ab", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), want, "{pattern} {name}");
        }
    }
}
