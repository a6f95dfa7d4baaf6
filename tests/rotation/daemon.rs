//! `kustos run` over some logs.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A configuration, and the archive it names.
pub(crate) struct Daemon {
    dir: PathBuf,
    pub(crate) archive: PathBuf,
}

const RULE: &str = "title: Nothing\nid: 00000000-0000-4000-8000-000000000001\nlogsource: { product: kubernetes, service: audit }\n\
detection: { it: { verb: put }, condition: it }\nlevel: low\n";

impl Daemon {
    /// Follows files; each source is its keys, as the configuration writes them.
    pub(crate) fn new(dir: &Path, sources: impl Iterator<Item = String>) -> Daemon {
        let archive = dir.join("archive");
        let rule = dir.join("rule.yml");
        fs::write(&rule, RULE).unwrap();
        let mut text = format!(
            "archive: {{ dir: {}, part_age_max: 10ms, segment_age_max: 5s }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\n\
             rules: [{}]\nreload: {{ watch: false }}\nworkers: 1\nlog: {{ level: info }}\nsources:\n",
            archive.display(),
            rule.display()
        );
        sources.for_each(|it| text.push_str(&["  - { kind: file, ", &it, " }\n"].concat()));
        fs::write(dir.join("kustos.yaml"), text).unwrap();
        Daemon { dir: dir.to_owned(), archive }
    }

    /// The configuration, for who starts it otherwise.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("kustos.yaml")
    }

    pub(crate) fn start(&self) -> Running {
        let log =
            File::options().create(true).append(true).open(self.dir.join("kustos.log")).unwrap();
        // Another build can be put to the same test.
        let program = std::env::var_os("KUSTOS").unwrap_or(env!("CARGO_BIN_EXE_kustos").into());
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(self.dir.join("kustos.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap())
    }

    /// The end of what it said.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("kustos.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// A process that does not outlive the test.
pub(crate) struct Running(Child);

impl Running {
    /// Bytes that it asked the system to read so far, of any file.
    pub(crate) fn bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.0.id())).unwrap();
        io.lines().find_map(|it| it.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// `kill -9`: nothing the process could do about it.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and the end it asks for.
    pub(crate) fn end(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
