//! Writes the table of shipped rule files that `src/rules/embedded.rs` includes:
//! every `.yml` under `rules/`, by its path from there. Without the folder it is empty.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

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
    let mut table = String::from("/// Name and text of every shipped rule file.\n");
    table.push_str("pub(super) const SHIPPED: &[(&str, &str)] = &[\n");
    for file in &files {
        let name = Path::new("rules").join(file.strip_prefix(&folder).unwrap_or(file));
        let line = writeln!(table, "    ({name:?}, include_str!({file:?})),");
        line.map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    fs::write(out.join("shipped.rs"), table)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "yml") {
            files.push(path);
        }
    }
    Ok(())
}
