//! A daemon with a Kafka source, its archive, and what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;
use serde_json::Value;

use crate::broker::Brokers;
use crate::common::daemon::{Daemon, until};

/// A rule that matches none of the events here.
const RULE: &str = "title: Never\nid: never\nlevel: high\nlogsource: {product: kubernetes, service: audit}\n\
    detection:\n  sel: {user.username: nobody}\n  condition: sel\n";

/// The event of that number.
pub(crate) fn event(number: usize) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"00000000-0000-4000-8000-{number:012}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n{ns}/pods","verb":"get","user":{{"username":"system:serviceaccount:n{ns}:s","groups":["system:authenticated"]}},"sourceIPs":["10.0.0.{ns}"],"userAgent":"kubelet/v1.36","objectRef":{{"resource":"pods","namespace":"n{ns}","name":"p{number}","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestReceivedTimestamp":"2026-11-24T10:00:00.000000Z","stageTimestamp":"2026-11-24T10:00:{s:02}.{us:06}Z"}}"#,
        ns = number % 50,
        s = number / 1_000_000 % 60,
        us = number % 1_000_000,
    )
}

/// The number of an event.
pub(crate) fn number(line: &[u8]) -> usize {
    let text = std::str::from_utf8(line).unwrap();
    let (_, rest) = text.split_once("4000-8000-").unwrap();
    rest.split('"').next().unwrap().parse().unwrap()
}

/// One replica: a folder with a configuration, a rule and an archive.
pub(crate) struct Site {
    dir: PathBuf,
    archive: PathBuf,
    _own: Option<tempfile::TempDir>,
}

impl Site {
    /// `source` is the rest of the source's block.
    pub(crate) fn new(brokers: &Brokers, source: &str) -> Site {
        let brokers = brokers.addresses().join("', '");
        Site::of(&format!("brokers: ['{brokers}'], {source}"))
    }

    /// As [`Site::new`]; the block names the brokers itself.
    pub(crate) fn with(_: &Brokers, source: &str) -> Site {
        Site::of(source)
    }

    fn of(source: &str) -> Site {
        let own = tempfile::tempdir().unwrap();
        let dir = own.path().to_owned();
        let archive = dir.join("archive");
        let mut site = Site::replica(&dir, &format!("dir: {}", archive.display()), source);
        (site.archive, site._own) = (archive, Some(own));
        site
    }

    /// A replica in a folder; `archive` is the block of that name, and its archive is told after.
    pub(crate) fn replica(dir: &Path, archive: &str, source: &str) -> Site {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("rule.yml"), RULE).unwrap();
        let text = format!(
            "archive: {{ {archive}, part_age_max: 100ms }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nlog: {{ format: json }}\n\
             sources:\n  - {{ kind: kafka, {source} }}\nrules: [{}/rule.yml]\nworkers: 1\n",
            dir.display()
        );
        let config = dir.join("kustos.yaml");
        fs::write(&config, text).unwrap();
        Site { dir: dir.to_owned(), archive: PathBuf::new(), _own: None }
    }

    /// Where the archive is.
    pub(crate) fn at(mut self, archive: PathBuf) -> Site {
        self.archive = archive;
        self
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.archive.clone()
    }

    /// Starts the daemon; its log goes to a file, behind what is there.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start_logging(&self.dir.join("kustos.yaml"), &self.dir.join("log"))
    }

    /// The lines of the log that hold these words.
    pub(crate) fn logged(&self, words: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap();
        text.lines()
            .filter(|it| it.contains(words))
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    }

    /// Lines that are kept.
    pub(crate) fn rows(&self) -> u64 {
        rows(&self.archive)
    }

    /// Waits until so many lines are kept.
    #[track_caller]
    pub(crate) fn wait_for(&self, rows: u64) {
        until(|| (self.rows() >= rows).then_some(()));
    }

    pub(crate) fn findings(&self) -> Vec<Value> {
        let found = Catalog::open(&self.archive).unwrap().findings(u64::MAX).unwrap();
        found.iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect()
    }

    /// Waits for a finding of that rule.
    pub(crate) fn wait_for_finding(&self, rule: &str) -> Value {
        until(|| self.findings().into_iter().find(|it| it["rule"]["id"] == rule))
    }

    /// Every event of these numbers is there, once, and nothing else.
    #[track_caller]
    pub(crate) fn holds_each_once(&self, numbers: Range<usize>) {
        each_once(&[&self.archive], numbers);
    }
}

/// Lines that an archive keeps.
pub(crate) fn rows(archive: &Path) -> u64 {
    let Ok(catalog) = Catalog::open(archive) else { return 0 };
    let files = catalog.files(&Scope::default()).unwrap_or_default();
    files.iter().map(|it| it.rows).sum()
}

/// How often each event is in these archives.
pub(crate) fn numbers(archives: &[&PathBuf]) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for archive in archives {
        for file in Catalog::open(archive).unwrap().files(&Scope::default()).unwrap() {
            read::lines(&file.path, |it| *found.entry(number(it.bytes)).or_default() += 1).unwrap();
        }
    }
    found
}

/// Every event of these numbers is in one of these archives, once, and nothing else.
#[track_caller]
pub(crate) fn each_once(archives: &[&PathBuf], want: Range<usize>) {
    let found = numbers(archives);
    let lost: Vec<usize> = want.clone().filter(|it| !found.contains_key(it)).collect();
    let twice: Vec<usize> = found.iter().filter(|it| *it.1 > 1).map(|it| *it.0).collect();
    assert!(
        lost.is_empty() && twice.is_empty() && found.len() == want.len(),
        "{} lost {:?}; {} twice {:?}; {} of {}",
        lost.len(),
        &lost[..lost.len().min(10)],
        twice.len(),
        &twice[..twice.len().min(10)],
        found.len(),
        want.len()
    );
}
