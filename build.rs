//! Writes the tables of shipped files that `src/rules/embedded.rs` includes: every rule (`.yml`)
//! and every list (`.yaml`) under `rules/`, by its path from there, and the catalogue of
//! behaviours. Without the folder they are empty.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The behaviours that rules are about, a line each.
const CATALOGUE: &str = "catalogue.jsonl";

#[expect(clippy::disallowed_methods, reason = "a build's output need not outlive a crash")]
fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let folder = root.join("rules");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    if folder.is_dir() {
        find(&folder, &mut files)?;
    }
    files.sort();
    let mut table = String::new();
    for (name, told, ending) in [
        ("SHIPPED", "Name and text of every shipped rule file.", "yml"),
        ("LISTS", "Name and text of every shipped file of lists.", "yaml"),
    ] {
        let line = writeln!(table, "/// {told}\npub(super) const {name}: &[(&str, &str)] = &[");
        line.map_err(io::Error::other)?;
        for file in files.iter().filter(|it| it.extension().is_some_and(|it| it == ending)) {
            let name = Path::new("rules").join(file.strip_prefix(&folder).unwrap_or(file));
            let line = writeln!(table, "    ({name:?}, include_str!({file:?})),");
            line.map_err(io::Error::other)?;
        }
        table.push_str("];\n");
    }
    let catalogue = folder.join(CATALOGUE);
    let text =
        if catalogue.is_file() { format!("include_str!({catalogue:?})") } else { "\"\"".into() };
    let line = writeln!(
        table,
        "/// The catalogue of behaviours, a line each.\npub(super) const CATALOGUE: &str = {text};"
    );
    line.map_err(io::Error::other)?;
    fs::write(out.join("shipped.rs"), table)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "yml" || it == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}
