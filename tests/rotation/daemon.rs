//! `kustos run` over some logs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A configuration, and the archive it names.
pub(crate) struct Daemon {
    dir: PathBuf,
    pub(crate) archive: PathBuf,
}

const RULE: &str = "title: Nothing\nid: 00000000-0000-4000-8000-000000000001\nlogsource: { product: kubernetes, service: audit }\n\
detection: { it: { verb: never }, condition: it }\nlevel: low\n";

impl Daemon {
    /// Follows a log of each cluster; the cluster is the name of its folder.
    pub(crate) fn new<'p>(dir: &Path, logs: impl Iterator<Item = &'p Path>) -> Daemon {
        Daemon::with(dir, logs, "")
    }

    /// As [`Daemon::new`], with more keys for each source.
    pub(crate) fn with<'p>(dir: &Path, logs: impl Iterator<Item = &'p Path>, keys: &str) -> Daemon {
        let archive = dir.join("archive");
        let rule = dir.join("rule.yml");
        fs::write(&rule, RULE).unwrap();
        let mut text = format!(
            "archive: {{ dir: {}, part_age_max: 10ms, segment_age_max: 5s }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\n\
             rules: [{}]\nreload: {{ watch: false }}\nworkers: 1\nlog: {{ level: info }}\nsources:\n",
            archive.display(),
            rule.display()
        );
        for log in logs {
            let cluster = log.parent().unwrap().file_name().unwrap().to_str().unwrap();
            text += &format!(
                "  - {{ kind: file, cluster: {cluster}, path: {}{keys} }}\n",
                super::text(log)
            );
        }
        fs::write(dir.join("kustos.yaml"), text).unwrap();
        Daemon { dir: dir.to_owned(), archive }
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
