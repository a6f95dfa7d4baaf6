//! stub
use std::path::{Path, PathBuf};
/// Where a part lies.
pub fn path(dir: &Path, id: &str) -> PathBuf {
    dir.join("parts").join(format!("{id}.parquet"))
}
