//! stub
use std::path::{Path, PathBuf};
/// Where a segment lies.
pub fn path(dir: &Path, cluster: &str, date: &str, id: &str) -> PathBuf {
    dir.join("segments")
        .join(format!("cluster={cluster}"))
        .join(format!("date={date}"))
        .join(format!("{id}.parquet"))
}
