//! A disk that can be full.
#![allow(clippy::disallowed_methods, reason = "a test's files need not last")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::Daemon;

/// A small file system, given back at the end.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one there. `None`, said aloud: it cannot be mounted here.
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Disk> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        let there = mounted.is_ok_and(|it| it.status.success());
        if !there {
            println!("skipped: no file system can be mounted here");
        }
        there.then(|| Disk(at.to_owned()))
    }

    /// Where it is.
    pub(crate) fn at(&self) -> &Path {
        &self.0
    }

    /// Fills what is left.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.0.join("ballast")).unwrap();
        let block = vec![7; 4 << 10];
        while file.write_all(&block).is_ok() {}
    }

    /// Takes away what [`Disk::fill`] put there.
    pub(crate) fn clear(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test left may have it open.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Whether it says that its archive cannot be written.
pub(crate) fn stalled(daemon: &Daemon) -> bool {
    daemon.metric("kustos_archive_stalled").as_deref() == Some("1")
}
