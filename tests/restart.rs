//! What a restart reads: rotated files that a process before has read to their end are not read again, as
//! long as nothing about them has changed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

#[path = "rotation/daemon.rs"]
mod daemon;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemon::Daemon;
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::hints::Hint;
use kustos::archive::read;

/// Long enough for a slow machine; a test that waits that long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rotated files that are there before the first start.
const FILES: usize = 6;

/// Lines of each, and the bytes of a line.
const LINES: usize = 4_000;
const LINE_BYTES: usize = 1_000;

/// Bytes that a process may read besides: its libraries, the catalog, the newest parts.
const BESIDES: u64 = (LINES * LINE_BYTES) as u64;

struct Log {
    dir: tempfile::TempDir,
    path: PathBuf,
    daemon: Daemon,
    /// Every line ever written.
    lines: u64,
}

impl Log {
    /// A log with rotated files, of which every second one is compressed.
    fn new() -> Log {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let source = format!("cluster: c, path: {}", path.display());
        let daemon = Daemon::new(dir.path(), std::iter::once(source));
        let mut log = Log { dir, path, daemon, lines: 0 };
        for file in 0..FILES {
            let text: String = (0..LINES).map(|_| log.line()).collect();
            if file % 2 == 0 {
                fs::write(log.rotated(file, ""), text).unwrap();
            } else {
                let gz = File::create(log.rotated(file, ".gz")).unwrap();
                let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
                gz.write_all(text.as_bytes()).unwrap();
                gz.finish().unwrap();
            }
        }
        log.append();
        log
    }

    fn line(&mut self) -> String {
        self.lines += 1;
        format!("{:>1$}\n", self.lines, LINE_BYTES - 1)
    }

    /// Adds a line to the live file.
    fn append(&mut self) {
        let line = self.line();
        let mut live = File::options().create(true).append(true).open(&self.path).unwrap();
        live.write_all(line.as_bytes()).unwrap();
    }

    fn rotated(&self, second: usize, ending: &str) -> PathBuf {
        self.dir.path().join(format!("audit-2026-11-23T03-00-{second:02}.000.log{ending}"))
    }

    fn hints(&self) -> Vec<Hint> {
        let catalog = Catalog::open(&self.daemon.archive);
        let log = self.path.display().to_string();
        catalog.map(|it| it.hints("c", &log).unwrap()).unwrap_or_default()
    }

    fn rows(&self) -> u64 {
        let Ok(catalog) = Catalog::open(&self.daemon.archive) else { return 0 };
        catalog.files(&Scope::default()).unwrap().iter().map(|it| it.rows).sum()
    }

    fn wait(&self, mut done: impl FnMut() -> bool) {
        let since = Instant::now();
        while !done() {
            let (rows, hints, log) = (self.rows(), self.hints().len(), self.daemon.log());
            assert!(since.elapsed() < PATIENCE, "{rows} rows, {hints} hints\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until every line is kept.
    fn wait_kept(&self) {
        self.wait(|| self.rows() == self.lines);
    }

    /// Starts it, adds a line to the live file, waits until that is kept, and says how much was read.
    fn restart(&mut self) -> u64 {
        let child = self.daemon.start();
        self.append();
        self.wait_kept();
        let bytes = child.bytes_read();
        child.kill();
        bytes
    }

    /// Waits until the rotated files have not changed for long enough to be trusted.
    fn settle(&self) {
        let newest = fs::metadata(self.rotated(FILES - 1, ".gz")).unwrap().modified().unwrap();
        self.wait(|| newest.elapsed().is_ok_and(|it| it > Duration::from_millis(3_100)));
    }

    /// The archive read and ready: every file of it is known.
    fn read_once() -> Log {
        let log = Log::new();
        log.settle();
        let child = log.daemon.start();
        log.wait_kept();
        log.wait(|| log.hints().len() == FILES);
        child.kill();
        log
    }

    /// How often each line is stored.
    fn stored(&self) -> BTreeMap<String, usize> {
        let mut stored = BTreeMap::new();
        for file in Catalog::open(&self.daemon.archive).unwrap().files(&Scope::default()).unwrap() {
            read::lines(&file.path, |line| {
                let line = String::from_utf8(line.bytes.to_vec()).unwrap();
                *stored.entry(line.trim().to_owned()).or_default() += 1;
            })
            .unwrap();
        }
        stored
    }
}

#[test]
fn a_restart_reads_the_live_file_alone() {
    let mut log = Log::read_once();
    let bytes = log.restart();
    assert!(bytes < BESIDES, "{bytes} bytes were read");

    // A file that was followed until it was rotated is known as well.
    let child = log.daemon.start();
    for _ in 0..LINES {
        log.append();
    }
    log.wait_kept();
    fs::rename(&log.path, log.rotated(FILES, "")).unwrap();
    log.append();
    log.wait_kept();
    log.wait(|| log.hints().len() == FILES + 1);
    child.kill();
    let bytes = log.restart();
    assert!(bytes < BESIDES, "{bytes} bytes were read after a rotation");

    // Without hints, every file is read once more and nothing is stored twice.
    let catalog = Catalog::open(&log.daemon.archive).unwrap();
    catalog.set_hints("c", &log.path.display().to_string(), &[]).unwrap();
    let bytes = log.restart();
    let all = (FILES / 2 + 1) * LINES * LINE_BYTES;
    assert!(bytes > all as u64, "{bytes} bytes were read, of {all}");
    assert!(log.stored().values().all(|it| *it == 1));
}

#[test]
fn a_file_that_changed_since_it_was_read_is_read_again() {
    let mut log = Log::read_once();
    // One is altered in place: its length, its name and its times say nothing of it.
    let altered = log.rotated(0, "");
    let modified = fs::metadata(&altered).unwrap().modified().unwrap();
    let mut file = File::options().write(true).open(&altered).unwrap();
    file.seek(SeekFrom::Start(((LINES / 2) * LINE_BYTES) as u64)).unwrap();
    file.write_all(b"altered").unwrap();
    file.set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
    log.lines += LINES as u64;
    // Another is given the name and the length of one that was read.
    let (other, replaced) = (log.dir.path().join("other"), log.rotated(2, ""));
    let text: String = (0..LINES).map(|_| log.line()).collect();
    fs::write(&other, text).unwrap();
    fs::rename(&other, &replaced).unwrap();
    let child = log.daemon.start();
    // Lines without an identity are stored again where their file is another one.
    log.wait_kept();
    assert_eq!(log.stored().keys().filter(|it| it.starts_with("altered")).count(), 1);
    child.kill();
}
