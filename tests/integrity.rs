//! What is done to a log behind the back of the process that reads it: every line that can be
//! kept is kept once, and what is wrong is told once.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod common;
#[path = "rotation/daemon.rs"]
mod daemon;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemon::{Daemon, Running};
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;

/// Long enough for a slow machine; a test that waits that long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Log {
    _dir: tempfile::TempDir,
    path: PathBuf,
    daemon: Daemon,
}

impl Log {
    fn new(keys: &str) -> Log {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c").join("audit.log");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let source = format!("cluster: c, path: {}{keys}", path.display());
        let daemon = Daemon::new(dir.path(), std::iter::once(source));
        Log { _dir: dir, path, daemon }
    }

    fn start(&self) -> Running {
        self.daemon.start()
    }

    fn create(&self, text: &str) -> File {
        let mut file = File::create(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// Every stored line, in order of arrival.
    fn lines(&self) -> Vec<String> {
        let Ok(catalog) = Catalog::open(&self.daemon.archive) else { return Vec::new() };
        let mut lines = Vec::new();
        for file in catalog.files(&Scope::default()).unwrap() {
            let take =
                |line: &read::Line<'_>| (line.seq, String::from_utf8(line.bytes.to_vec()).unwrap());
            // A part may have become a segment meanwhile.
            if read::lines(&file.path, |line| lines.push(take(&line))).is_err() {
                return Vec::new();
            }
        }
        lines.sort();
        lines.into_iter().map(|it| it.1).collect()
    }

    fn wait_for(&self, want: &[&str]) {
        self.wait(|| self.lines() == want, || format!("{:?} instead of {want:?}", self.lines()));
    }

    /// The ids of what was told, in alphabetical order.
    fn told(&self) -> Vec<String> {
        let Ok(catalog) = Catalog::open(&self.daemon.archive) else { return Vec::new() };
        let mut told: Vec<String> =
            catalog.findings(u64::MAX).unwrap().into_iter().map(|it| it.rule).collect();
        told.sort();
        told
    }

    /// Whether the archive knows that the newest stream is followed.
    fn is_followed(&self) -> bool {
        let (catalog, path) = (Catalog::open(&self.daemon.archive).unwrap(), self.path.display());
        let (newest, _) = catalog.last_kept("c", &path.to_string()).unwrap();
        catalog.meta(&format!("following:c:{path}")).unwrap() == Some(newest.to_string())
    }

    fn wait_told(&self, want: &[&str]) {
        self.wait(|| self.told() == want, || format!("{:?} instead of {want:?}", self.told()));
    }

    fn wait(&self, mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
        let since = Instant::now();
        while !done() {
            assert!(since.elapsed() < PATIENCE, "{}\n{}", what(), self.daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn rotated(&self, ending: &str) -> PathBuf {
        self.path.with_file_name(format!("audit-2026-11-23T03-00-00.000.log{ending}"))
    }
}

#[test]
fn a_deleted_file_is_read_as_long_as_it_is_written() {
    let log = Log::new("");
    let mut file = log.create("a\n");
    let child = log.start();
    log.wait_for(&["a"]);
    fs::remove_file(&log.path).unwrap();
    file.write_all(b"b\n").unwrap();
    log.wait_for(&["a", "b"]);
    log.wait_told(&["kustos-source-unlinked"]);
    // Another file gets the path, and the writer goes on with the old one.
    log.create("c\n");
    log.wait_for(&["a", "b", "c"]);
    file.write_all(b"d\n").unwrap();
    log.wait_for(&["a", "b", "c", "d"]);
    child.end();
    assert!(log.told().iter().all(|it| it == "kustos-source-unlinked"), "{:?}", log.told());
}

#[test]
fn a_file_that_was_moved_away_is_told_of_and_read_to_its_end() {
    let log = Log::new("");
    let mut file = log.create("a\n");
    let child = log.start();
    log.wait_for(&["a"]);
    fs::rename(&log.path, log.path.with_file_name("elsewhere")).unwrap();
    file.write_all(b"b\n").unwrap();
    log.create("c\n");
    log.wait_for(&["a", "b", "c"]);
    file.write_all(b"d\n").unwrap();
    log.wait_for(&["a", "b", "c", "d"]);
    log.wait_told(&["kustos-source-replaced", "kustos-source-unlinked"]);
    child.end();
}

#[test]
fn nul_bytes_after_a_cut_do_not_hide_the_next_line_and_are_told_once() {
    let log = Log::new("");
    let mut file = log.create("a\nb\n");
    let child = log.start();
    log.wait_for(&["a", "b"]);
    // `copytruncate`, and a writer that keeps its offset.
    file.set_len(0).unwrap();
    file.seek(SeekFrom::Start(5_000_000)).unwrap();
    file.write_all(b"c\n").unwrap();
    log.wait_for(&["a", "b", "c"]);
    let want = ["kustos-source-nul-run", "kustos-source-truncated"];
    log.wait_told(&want);
    log.wait(|| log.is_followed(), || "it is not recorded what is followed".to_owned());
    child.kill();
    let child = log.start();
    file.write_all(b"d\n").unwrap();
    log.wait_for(&["a", "b", "c", "d"]);
    child.end();
    assert_eq!(log.told(), want);
}

#[test]
fn a_file_that_is_gone_after_a_restart_is_told_of() {
    let log = Log::new("");
    log.create("a\n");
    let child = log.start();
    log.wait_for(&["a"]);
    child.end();
    // Nothing happened: nothing is told.
    let child = log.start();
    File::options().append(true).open(&log.path).unwrap().write_all(b"b\n").unwrap();
    log.wait_for(&["a", "b"]);
    child.end();
    assert_eq!(log.told(), [""; 0]);
    fs::remove_file(&log.path).unwrap();
    log.create("z\n");
    let child = log.start();
    log.wait_for(&["a", "b", "z"]);
    log.wait_told(&["kustos-source-gap"]);
    child.end();
    let child = log.start();
    File::options().append(true).open(&log.path).unwrap().write_all(b"y\n").unwrap();
    log.wait_for(&["a", "b", "z", "y"]);
    child.end();
    assert_eq!(log.told(), ["kustos-source-gap"]);
}

#[test]
fn a_compressed_file_that_is_half_written_waits_and_is_kept_once() {
    let log = Log::new("");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gz.write_all(b"a\nb\nc\n").unwrap();
    let packed = gz.finish().unwrap();
    let mut file = File::create(log.rotated(".gz")).unwrap();
    let child = log.start();
    log.create("d\n");
    log.wait_for(&["d"]);
    file.write_all(&packed[..17]).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(log.told(), [""; 0]);
    file.write_all(&packed[17..]).unwrap();
    log.wait(|| log.lines().len() == 4, || format!("{:?}", log.lines()));
    child.end();
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(lines, ["a", "b", "c", "d"]);
    assert_eq!(log.told(), [""; 0]);
}

#[test]
fn too_little_headroom_is_told_before_anything_is_deleted() {
    let log = Log::new(", rotation: { max_size: 1KiB, max_backups: 2, headroom_min: 10m }");
    let mut file = log.create("a\n");
    let child = log.start();
    log.wait(
        || {
            file.write_all(b"b\n").unwrap();
            !log.told().is_empty()
        },
        || "nothing was told".to_owned(),
    );
    child.end();
    assert_eq!(log.told(), ["kustos-source-headroom"]);
}

#[test]
fn one_episode_of_too_little_headroom_is_told_once_though_the_process_restarts() {
    let log = Log::new(", rotation: { max_size: 1KiB, max_backups: 2, headroom_min: 10m }");
    let mut file = log.create("a\n");
    let mut number = 0;
    let mut told = |times: usize| {
        let child = log.start();
        let low = || log.daemon.log().matches("begins to delete").count() >= times;
        log.wait(
            || {
                number += 1;
                file.write_all(format!("{number}\n").as_bytes()).unwrap();
                low() && !log.told().is_empty()
            },
            || log.daemon.log(),
        );
        child.end();
        log.told()
    };
    assert_eq!(told(1), ["kustos-source-headroom"]);
    // It is noticed again, and is the same finding.
    assert_eq!(told(2), ["kustos-source-headroom"]);
}

#[test]
fn a_damaged_file_is_told_of_after_a_minute_and_kept_as_far_as_it_can_be_read() {
    let log = Log::new("");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gz.write_all(b"a\nb\nc\n").unwrap();
    let packed = gz.finish().unwrap();
    fs::write(log.rotated(".gz"), &packed[..packed.len() - 9]).unwrap();
    let since = Instant::now();
    let child = log.start();
    log.create("d\n");
    log.wait_for(&["d"]);
    while log.told().is_empty() {
        assert!(since.elapsed() < 2 * PATIENCE, "{}", log.daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(since.elapsed() >= Duration::from_secs(60), "a file may be written for so long");
    log.wait(|| log.lines().len() == 4, || format!("{:?}", log.lines()));
    child.end();
    let mut lines = log.lines();
    lines.sort();
    assert_eq!((lines.len(), &lines[..2]), (4, &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(log.told(), ["kustos-source-damaged"]);
}

#[test]
fn a_writers_clock_that_was_set_is_told_of_and_hides_no_file() {
    let log = Log::new("");
    let named = |moment: &str| log.path.with_file_name(format!("audit-{moment}.log"));
    fs::write(named("2026-11-23T03-00-05.000"), "a\n").unwrap();
    log.create("b\n");
    let child = log.start();
    log.wait_for(&["a", "b"]);
    // Rotated later, and named earlier.
    fs::rename(&log.path, named("2026-11-23T03-00-01.000")).unwrap();
    log.create("c\n");
    log.wait_for(&["a", "b", "c"]);
    log.wait_told(&["kustos-source-clock"]);
    // And of a time to come.
    fs::rename(&log.path, named("2999-11-23T03-00-01.000")).unwrap();
    log.create("d\n");
    log.wait_for(&["a", "b", "c", "d"]);
    log.wait_told(&["kustos-source-clock", "kustos-source-clock"]);
    child.end();
}

#[test]
fn a_file_that_is_mounted_without_its_folder_is_told_of_when_rotation_deletes_it() {
    let log = Log::new("");
    let mut file = log.create("a\n");
    let there = log.path.with_file_name("mounted");
    fs::rename(&log.path, &there).unwrap();
    // As a mount of one file does, this leads to the file whatever becomes of its name.
    let leads = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    std::os::unix::fs::symlink(leads, &log.path).unwrap();
    let child = log.start();
    log.wait_for(&["a"]);
    assert_eq!(log.told(), [""; 0]);
    fs::remove_file(&there).unwrap();
    file.write_all(b"b\n").unwrap();
    log.wait_for(&["a", "b"]);
    log.wait_told(&["kustos-source-mounted-alone"]);
    child.end();
}

#[test]
fn silence_is_a_metric_until_something_comes() {
    let log = Log::new(", silence_max: 300ms");
    log.create("a\n");
    let daemon = common::daemon::Daemon::start(&log.daemon.config());
    let sample = format!("kustos_source_silent{{source=\"{}\"}}", log.path.display());
    let is = |value: &str| daemon.metric(&sample).as_deref() == Some(value);
    log.wait_told(&["kustos-source-silent"]);
    log.wait(|| is("1"), || format!("{:?}", daemon.metric(&sample)));
    File::options().append(true).open(&log.path).unwrap().write_all(b"b\n").unwrap();
    log.wait(|| is("0"), || format!("{:?}", daemon.metric(&sample)));
    log.wait(|| is("1"), || format!("{:?}", daemon.metric(&sample)));
    daemon.end();
}

#[test]
fn silence_is_told_once() {
    let log = Log::new(", silence_max: 300ms");
    log.create("a\n");
    let child = log.start();
    log.wait_for(&["a"]);
    log.wait_told(&["kustos-source-silent"]);
    File::options().append(true).open(&log.path).unwrap().write_all(b"b\n").unwrap();
    log.wait_for(&["a", "b"]);
    log.wait_told(&["kustos-source-silent", "kustos-source-silent"]);
    child.kill();
    // The same silence after a restart is the same finding.
    let child = log.start();
    log.wait(|| log.daemon.log().matches("nothing has come").count() >= 1, || log.daemon.log());
    child.end();
    assert_eq!(log.told(), ["kustos-source-silent", "kustos-source-silent"]);
}

#[test]
fn a_path_with_wildcards_means_the_files_that_come_later_too() {
    let dir = tempfile::tempdir().unwrap();
    let pattern = dir.path().join("c").join("*").join("audit.log");
    let path = dir.path().join("c").join("one").join("audit.log");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = format!("cluster: c, path: '{}'", pattern.display());
    let daemon = Daemon::new(dir.path(), std::iter::once(source));
    let log = Log { _dir: dir, path, daemon };
    log.create("a\n");
    let child = log.start();
    log.wait_for(&["a"]);
    let later = log.path.parent().unwrap().with_file_name("two");
    fs::create_dir(&later).unwrap();
    fs::write(later.join("audit-2026-11-23T03-00-00.000.log"), "b\n").unwrap();
    fs::write(later.join("audit.log"), "c\n").unwrap();
    log.wait_for(&["a", "b", "c"]);
    child.end();
    assert_eq!(log.told(), [""; 0]);
}

#[test]
fn two_rotations_under_one_name_leave_one_file_and_keep_both() {
    for read in [true, false] {
        let log = Log::new("");
        log.create("a\n");
        let child = log.start();
        log.wait_for(&["a"]);
        fs::rename(&log.path, log.rotated("")).unwrap();
        log.create("b\n");
        if read {
            log.wait_for(&["a", "b"]);
        }
        let child = if read {
            child
        } else {
            child.kill();
            log.start()
        };
        // Within the same millisecond, so that the older file is gone.
        fs::rename(&log.path, log.rotated("")).unwrap();
        log.create("c\n");
        log.wait_for(&["a", "b", "c"]);
        child.end();
    }
}

#[test]
fn a_line_longer_than_any_buffer_is_kept() {
    let log = Log::new("");
    let long = "x".repeat(3 << 20);
    let mut file = log.create("a\n");
    let child = log.start();
    log.wait_for(&["a"]);
    let (first, second) = long.split_at(2 << 20);
    file.write_all(first.as_bytes()).unwrap();
    file.write_all(second.as_bytes()).unwrap();
    file.write_all(b"\nb\n").unwrap();
    log.wait_for(&["a", &long, "b"]);
    child.end();
}
