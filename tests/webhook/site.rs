//! A folder with a configuration whose only sources are webhooks, and an archive.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::outbox::FindingRow;
use kustos::archive::read;

use super::common::daemon::{Daemon, until};
use super::common::{Lines, count};

/// See the file's doc.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    archive: PathBuf,
}

impl Site {
    /// One cluster `c`, with these further keys of its source.
    pub(crate) fn new(keys: &str) -> Site {
        Site::with(&[("c", keys)], "part_age_max: 50ms")
    }

    /// Those clusters, each with further keys of its source, on one port; and further keys of the archive.
    pub(crate) fn with(clusters: &[(&str, &str)], archive: &str) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("archive");
        Site::at(dir, &folder, clusters, archive)
    }

    /// As [`Site::with`], with the archive in that folder.
    pub(crate) fn at(
        dir: tempfile::TempDir,
        folder: &Path,
        clusters: &[(&str, &str)],
        archive: &str,
    ) -> Site {
        // Free a moment ago, so most likely still.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let site = Site { dir, address, archive: folder.to_owned() };
        let source = |(cluster, keys): &(&str, &str)| {
            format!("  - {{ kind: webhook, cluster: {cluster}, listen: \"{address}\", {keys} }}\n")
        };
        let config = format!(
            "archive: {{ dir: {}, {archive} }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nworkers: 2\nrules: [standard]\n\
             sinks: [{{ kind: stdout, min_level: critical }}]\nsources:\n{}",
            folder.display(),
            clusters.iter().map(source).collect::<String>()
        );
        site.put("kustos.yaml", config.as_bytes());
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn archive(&self) -> &Path {
        &self.archive
    }

    /// Writes a file whole, as `kubelet` exchanges a mounted secret.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        kustos::durable::write(&self.path(name), bytes).unwrap();
    }

    /// Starts the daemon and waits until the port is open.
    pub(crate) fn start(&self) -> Daemon {
        let daemon = Daemon::start(&self.path("kustos.yaml"));
        until(|| std::net::TcpStream::connect(self.address).ok());
        daemon
    }

    /// A finding of that rule, if there is one.
    pub(crate) fn found(&self, rule: &str) -> Option<FindingRow> {
        let all = Catalog::open(&self.archive).unwrap().findings(u64::MAX).unwrap();
        all.into_iter().find(|it| it.rule == rule)
    }

    /// The events and the other bodies that are stored, and how often each.
    pub(crate) fn stored(&self) -> Lines {
        self.stored_of(None)
    }

    /// As [`Site::stored`], of one cluster.
    pub(crate) fn stored_of(&self, cluster: Option<&str>) -> Lines {
        let mut found = Lines::new();
        for file in Catalog::open(&self.archive).unwrap().files(&Scope::default()).unwrap() {
            if cluster.is_some_and(|it| it != file.cluster) {
                continue;
            }
            // What events came in is kept too, with a mark in place of each of them.
            let event = |line: read::Line<'_>| {
                if !line.bytes.contains(&0x1e) {
                    count(&mut found, line.bytes);
                }
            };
            read::lines(&file.path, event).unwrap();
        }
        found
    }
}
