//! `kustos run`, as a user runs it: a configuration, a log that grows, and HTTP.
#![allow(
    clippy::disallowed_methods,
    reason = "a test's files need not last, and its waits have an end"
)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use kustos::archive::catalog::Catalog;
use kustos::archive::outbox::FindingRow;
use serde_json::Value;

/// Long enough for a slow machine; a test that waits that long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(10);

/// A folder with a configuration, rules, a log and an archive.
pub(crate) struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// `more` are further lines of the configuration; the log is `audit.log`, its cluster `c`, and the rules are in `rules/`.
    pub(crate) fn new(more: &str) -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("rules")).unwrap();
        let config = format!(
            "archive: {{ dir: {0}/archive, part_age_max: 50ms }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\n\
             sources:\n  - {{ kind: file, cluster: c, path: {0}/audit.log }}\nrules: [{0}/rules]\n{more}\n",
            site.dir.path().display()
        );
        fs::write(site.path("kustos.yaml"), config).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.path("archive")
    }

    /// Writes a rule file as an editor does: beside it, then in its place.
    pub(crate) fn rule(&self, name: &str, text: &str) {
        kustos::durable::write(&self.path("rules").join(name), text.as_bytes()).unwrap();
    }

    pub(crate) fn append(&self, lines: &str) {
        let log = self.path("audit.log");
        let mut file = File::options().create(true).append(true).open(log).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    /// Starts the daemon and waits until it runs.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(&self.path("kustos.yaml"))
    }

    /// As [`Site::start`], in that environment.
    pub(crate) fn start_with(&self, environment: &[(&str, &OsStr)]) -> Daemon {
        Daemon::start_in(&self.path("kustos.yaml"), environment, None)
    }

    /// Everything that was found so far, oldest first.
    pub(crate) fn findings(&self) -> Vec<FindingRow> {
        let mut found = Catalog::open(&self.archive()).unwrap().findings(u64::MAX).unwrap();
        found.reverse();
        found
    }

    /// Waits until so many findings are there, and gives them.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<FindingRow> {
        until(|| Some(self.findings()).filter(|it| it.len() >= count))
    }
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "it did not come");
        std::thread::sleep(GLANCE);
    }
}

/// A daemon that runs. It is killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    log: Receiver<Value>,
}

impl Daemon {
    /// Starts the daemon with that configuration and waits until it runs.
    pub(crate) fn start(config: &Path) -> Daemon {
        Daemon::start_in(config, &[], None)
    }

    /// Starts it and waits until it runs; its log is added to a file as well.
    pub(crate) fn start_logging(config: &Path, log: &Path) -> Daemon {
        let copy = File::options().create(true).append(true).open(log).unwrap();
        Daemon::start_in(config, &[], Some(copy))
    }

    fn start_in(config: &Path, environment: &[(&str, &OsStr)], mut copy: Option<File>) -> Daemon {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kustos"))
            .args(["run", "--config"])
            .arg(config)
            .env_remove("KUSTOS_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (told, log) = sync_channel(10_000);
        let read = move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(copy) = &mut copy {
                    writeln!(copy, "{line}").unwrap();
                }
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                // Nobody may be listening any more.
                drop(told.try_send(line));
            }
        };
        drop(std::thread::Builder::new().spawn(read).unwrap());
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon = Daemon { child, address, log };
        let started = daemon.logged("running");
        daemon.address = started["fields"]["http"].as_str().unwrap().parse().unwrap();
        daemon
    }

    /// Waits for a line of the log that holds these words.
    #[track_caller]
    pub(crate) fn logged(&self, words: &str) -> Value {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.to_string().contains(words) => return line,
                Ok(line) => before.push(line.to_string()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{words:?} was not logged:\n{}", before.join("\n"))
                }
            }
        }
    }

    /// Asks for something, and waits for the process to end over it. False: it answered.
    pub(crate) fn dies_over(mut self, method: &str, path: &str) -> bool {
        let answer = self.send(method, path);
        answer.is_empty() && !self.child.wait().unwrap().success()
    }

    /// Code and body of an answer.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let answer = self.send(method, path);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The answer as it comes; empty where there is none.
    fn send(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: kustos\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            // The process is gone.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => drop(other.unwrap()),
        }
        answer
    }

    /// The answer as JSON.
    pub(crate) fn json(&self, method: &str, path: &str) -> (u16, Value) {
        let (code, body) = self.ask(method, path);
        (code, serde_json::from_str(&body).unwrap())
    }

    /// The value of a metric, written as it is scraped; `None`: it is not there.
    pub(crate) fn metric(&self, sample: &str) -> Option<String> {
        let (_, text) = self.ask("GET", "/metrics");
        let value = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ').map(str::to_owned);
        text.lines().find_map(value)
    }

    /// The most memory it had so far, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        super::memory(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// `kill -9`: nothing the process could do about it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) fn end_any(mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().unwrap().success()
    }

    /// SIGTERM, and the end it asks for.
    pub(crate) fn end(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
