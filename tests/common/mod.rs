//! The real binary, genuine logs, and an archive read back: what several test binaries share.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::print_stdout, reason = "what was measured and what was skipped")]
#![allow(clippy::unwrap_used, reason = "a test that cannot run its program should stop")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) mod daemon;
pub(crate) mod disk;
pub(crate) mod labels;

/// How often each line occurs, by its hash.
pub(crate) type Lines = BTreeMap<[u8; 32], usize>;

/// How long a run may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at how much memory a run has.
const GLANCE: Duration = Duration::from_millis(10);

/// The folder of genuine logs, which is too large to be here; `None`, said aloud: it is not there.
pub(crate) fn corpus() -> Option<PathBuf> {
    shared("corpus")
}

/// A folder of material that is not part of the repository.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let named = std::env::var_os("KUSTOS_SHARED").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let found = named.unwrap_or_else(beside).join(folder);
    let there = found.is_dir();
    if !there {
        println!("skipped: no {}", found.display());
    }
    there.then_some(found)
}

/// The sample that is always there.
pub(crate) fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audit-sample.log")
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The most memory it was seen to have, in KiB; 0 where the system does not tell.
    pub(crate) memory_kib: u64,
}

impl Ran {
    /// Stops the test unless the program ended with that code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{}", self.stderr);
        self
    }

    /// Standard output as one JSON value a line.
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }
}

/// Runs the program with nothing on standard input.
pub(crate) fn kustos(arguments: &[&OsStr]) -> Ran {
    kustos_with(arguments, &[])
}

/// Runs the program. A panic, a signal or a hang stops the test.
#[track_caller]
pub(crate) fn kustos_with(arguments: &[&OsStr], input: &[u8]) -> Ran {
    kustos_in(Path::new("."), arguments, input)
}

/// Runs the program in a folder, with none of the settings that the environment may hold.
#[track_caller]
pub(crate) fn kustos_in(dir: &Path, arguments: &[&OsStr], input: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kustos"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("KUSTOS_CONFIG")
        .env_remove("KUSTOS_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (id, mut stdin) = (child.id(), child.stdin.take().unwrap());
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (ended, end) = sync_channel(1);
    std::thread::scope(|scope| {
        // The program may end before it has read all: that is not this side's error.
        scope.spawn(move || drop(stdin.write_all(input)));
        let stdout = scope.spawn(move || text(stdout));
        let stderr = scope.spawn(move || text(stderr));
        scope.spawn(move || ended.send(child.wait().unwrap()).unwrap());
        let (mut memory_kib, mut waited) = (0, Duration::ZERO);
        let status = loop {
            match end.recv_timeout(GLANCE) {
                Ok(status) => break status,
                Err(RecvTimeoutError::Timeout) => waited += GLANCE,
                Err(RecvTimeoutError::Disconnected) => panic!("the program was not waited for"),
            }
            memory_kib = memory(id).unwrap_or(memory_kib);
            if waited == PATIENCE {
                Command::new("kill").args(["-9", &id.to_string()]).status().unwrap();
            }
        };
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let code = sound(status, arguments, &stderr);
        Ran { code, stdout, stderr, memory_kib }
    })
}

#[track_caller]
fn sound(status: ExitStatus, arguments: &[&OsStr], stderr: &str) -> i32 {
    let told = || format!("{arguments:?}:\n{stderr}");
    assert_eq!(status.signal(), None, "ended by a signal (9: it hung): {}", told());
    assert!(status.code() != Some(101) && !stderr.contains("panicked"), "a panic: {}", told());
    status.code().unwrap()
}

fn text(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The peak of a process's memory, in KiB.
fn memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|it| it.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// `kustos ingest` of inputs of one cluster.
#[track_caller]
pub(crate) fn ingest(archive: &Path, cluster: &str, inputs: &[PathBuf]) -> Ran {
    let mut arguments: Vec<&OsStr> =
        ["ingest", "-o", "none", "--cluster", cluster, "--archive"].map(OsStr::new).to_vec();
    arguments.push(archive.as_os_str());
    arguments.extend(inputs.iter().map(|it| it.as_os_str()));
    kustos(&arguments)
}

/// `kustos detect` with findings as JSON; `options` come before the inputs.
#[track_caller]
pub(crate) fn detect(options: &[&OsStr], inputs: &[PathBuf]) -> Ran {
    let mut arguments: Vec<&OsStr> = ["detect", "-o", "ndjson"].map(OsStr::new).to_vec();
    arguments.extend(options);
    arguments.extend(inputs.iter().map(|it| it.as_os_str()));
    kustos(&arguments)
}

/// A subcommand of `kustos archive`, its answer as JSON.
#[track_caller]
pub(crate) fn archive(command: &str, dir: &Path) -> Ran {
    let arguments = ["archive", command, "-o", "ndjson", "--archive"].map(OsStr::new);
    kustos(&[&arguments[..], &[dir.as_os_str()]].concat())
}

/// `archive status`.
#[track_caller]
pub(crate) fn status(dir: &Path) -> Value {
    archive("status", dir).ended(0).rows().remove(0)
}

/// Lines marked in a cluster, by reason.
#[track_caller]
pub(crate) fn marked(dir: &Path, cluster: &str) -> BTreeMap<String, u64> {
    let status = status(dir);
    let of = status["marked"].as_array().unwrap().iter().filter(|it| it["cluster"] == cluster);
    of.map(|it| (it["reason"].as_str().unwrap().to_owned(), it["lines"].as_u64().unwrap()))
        .collect()
}

/// The files of a folder whose names end in one of these, in the order of their names.
pub(crate) fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    found.retain(|it| it.extension().is_some_and(|it| endings.iter().any(|end| it == *end)));
    found.sort();
    found
}

/// The same, of the folder and all that are in it.
pub(crate) fn files_below(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = files(folder, endings);
    for entry in fs::read_dir(folder).unwrap() {
        let inner = entry.unwrap().path();
        if inner.is_dir() {
            found.extend(files_below(&inner, endings));
        }
    }
    found.sort();
    found
}

/// A log's bytes, uncompressed by its name's ending.
pub(crate) fn uncompressed(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    let mut bytes = Vec::new();
    match path.extension().and_then(OsStr::to_str) {
        Some("zst") => zstd::stream::copy_decode(file, &mut bytes).unwrap(),
        Some("gz") => drop(MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap()),
        _ => bytes = fs::read(path).unwrap(),
    }
    bytes
}

/// The lines of a log: without their line feeds, and those of white space alone left out.
pub(crate) fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    let blank = |line: &[u8]| line.iter().all(|it| matches!(it, b' ' | b'\t' | b'\r'));
    log.split(|it| *it == b'\n').filter(move |it| !blank(it))
}

/// Counts a line.
pub(crate) fn count(into: &mut Lines, line: &[u8]) {
    *into.entry(Sha256::digest(line).into()).or_default() += 1;
}

/// Every stored line of a cluster, in the order of arrival.
pub(crate) fn stored(dir: &Path, cluster: &str) -> Vec<Vec<u8>> {
    let mut found = BTreeMap::new();
    each_stored(dir, Some(cluster), |line| {
        assert!(found.insert(line.seq, line.bytes.to_vec()).is_none(), "{} twice", line.seq);
    });
    found.into_values().collect()
}

/// The lines that rows came from: in a list a byte stands for each member, which follows it.
pub(crate) fn unwrapped(rows: &[Vec<u8>]) -> Vec<Vec<u8>> {
    fn line<'r>(rows: &mut impl Iterator<Item = &'r Vec<u8>>, out: &mut Vec<u8>) {
        for byte in rows.next().unwrap() {
            if *byte == 0x1e { line(rows, out) } else { out.push(*byte) }
        }
    }
    let (mut rows, mut lines) = (rows.iter().peekable(), Vec::new());
    while rows.peek().is_some() {
        lines.push(Vec::new());
        line(&mut rows, lines.last_mut().unwrap());
    }
    lines
}

/// How often each line is stored, of one cluster or of all.
pub(crate) fn stored_lines(dir: &Path, cluster: Option<&str>) -> Lines {
    let mut found = Lines::new();
    each_stored(dir, cluster, |line| count(&mut found, line.bytes));
    found
}

fn each_stored(dir: &Path, cluster: Option<&str>, mut take: impl FnMut(read::Line<'_>)) {
    let scope = Scope { cluster: cluster.map(str::to_owned), ..Scope::default() };
    for file in Catalog::open(dir).unwrap().files(&scope).unwrap() {
        read::lines(&file.path, &mut take).unwrap();
    }
}

/// Writes a file that a test needs.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> PathBuf {
    File::create(path).unwrap().write_all(bytes).unwrap();
    path.to_owned()
}
