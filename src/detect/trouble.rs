//! Something is wrong with where events come from, or with how they came -> a finding.
//!
//! No rule judges an event here: kustos itself saw that a log was cut short, or that an audit ID was
//! used twice. Such a finding has the dialect `kustos` and an id of its own in [`KINDS`], is recorded,
//! routed and sent like any other, and its `output` says in words what was seen.

use super::finding::{Finding, FoundRule, FoundSource, id};
use crate::event;
use crate::rules::Level;
use crate::seal::leaf::digest;

/// What can be wrong. A new kind is one line here, and one in `docs/sources.md`.
pub const KINDS: &[Kind] = &[
    Kind {
        id: "kustos-source-truncated",
        title: "An audit log was cut short while it was read",
        level: Level::High,
        tags: &["attack.defense-evasion", "attack.t1070.002"],
    },
    Kind {
        id: "kustos-source-gap",
        title: "Events may have been deleted before they were read",
        level: Level::High,
        tags: &["attack.defense-evasion", "attack.t1070.002"],
    },
    Kind {
        id: "kustos-source-rewound",
        title: "A source ends before what was read of it, and begins anew",
        level: Level::High,
        tags: &["attack.defense-evasion", "attack.t1070.002"],
    },
    Kind {
        id: "kustos-audit-id-reused",
        title: "An audit ID was used again with other content",
        level: Level::Medium,
        tags: &["attack.defense-evasion", "attack.t1036"],
    },
    Kind {
        id: "kustos-source-nul-run",
        title: "NUL bytes stand in an audit log where events should be",
        level: Level::Medium,
        tags: &["attack.defense-evasion", "attack.t1070.002"],
    },
    Kind {
        id: "kustos-source-unlinked",
        title: "An audit log was deleted while it was written",
        level: Level::High,
        tags: &["attack.defense-evasion", "attack.t1070.002"],
    },
    Kind {
        id: "kustos-source-replaced",
        title: "An audit log was moved away while it was written",
        level: Level::High,
        tags: &["attack.defense-evasion", "attack.t1070.002"],
    },
    Kind {
        id: "kustos-source-headroom",
        title: "The API server will soon delete audit events that were not read",
        level: Level::High,
        tags: &[],
    },
    Kind {
        id: "kustos-source-damaged",
        title: "A rotated audit log cannot be read to its end",
        level: Level::Medium,
        tags: &[],
    },
    Kind {
        id: "kustos-source-unreadable",
        title: "Messages of a broker cannot be read and are passed",
        level: Level::High,
        tags: &["attack.impact", "attack.t1565.001"],
    },
    Kind {
        id: "kustos-source-clock",
        title: "The clock of the machine that writes an audit log was set",
        level: Level::Low,
        tags: &["attack.defense-evasion"],
    },
    Kind {
        id: "kustos-source-mounted-alone",
        title: "An audit log is mounted without its folder, so that its rotation is not seen",
        level: Level::High,
        tags: &[],
    },
    Kind {
        id: "kustos-source-silent",
        title: "Nothing has come from a source for longer than expected",
        level: Level::Medium,
        tags: &["attack.defense-evasion", "attack.t1562.008"],
    },
    Kind {
        id: "kustos-source-refused",
        title: "Somebody tries to write audit events without the right credentials",
        level: Level::Medium,
        tags: &[],
    },
    Kind {
        id: "kustos-archive-stalled",
        title: "The archive cannot be written",
        level: Level::Critical,
        tags: &[],
    },
    Kind {
        id: "kustos-archive-resumed",
        title: "The archive can be written again",
        level: Level::High,
        tags: &[],
    },
];

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its id, in the place of a rule's.
    pub id: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// How bad it is.
    pub level: Level,
    /// As a rule's.
    pub tags: &'static [&'static str],
}

/// The kind with that id.
///
/// # Panics
/// When there is none: ids are written in the code alone, and a test names each.
#[expect(clippy::expect_used, reason = "an id that no table has is a bug in this program")]
pub fn kind(id: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.id == id).expect("every kind of trouble is in the table")
}

/// One thing that went wrong, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub kind: &'static Kind,
    /// The cluster.
    pub cluster: String,
    /// The source, as it is configured.
    pub source: String,
    /// Where in the source.
    pub position: u64,
    /// When it was noticed, or when the event says it happened, µs.
    pub time: i64,
    /// What was seen, in words for the one who is woken by it.
    pub detail: String,
    /// What makes it this one and no other of its kind: the same thing noticed again, after a
    /// restart for example, has the same key and becomes the same finding.
    pub key: Vec<u8>,
}

impl Trouble {
    /// The finding that tells of it.
    pub fn finding(&self, ruleset: &str) -> Finding {
        let kind = self.kind;
        let identity =
            digest(&[self.cluster.as_bytes(), self.source.as_bytes(), &self.key].join(&b"\0"[..]));
        let mut time = Vec::new();
        event::write_micros(self.time, &mut time);
        Finding {
            id: id(kind.id, &identity),
            rule: FoundRule {
                id: kind.id.to_owned(),
                title: kind.title.to_owned(),
                level: kind.level,
                dialect: "kustos".to_owned(),
                tags: kind.tags.iter().map(|it| (*it).to_owned()).collect(),
                hash: String::new(),
            },
            time: String::from_utf8(time).ok(),
            cluster: self.cluster.clone(),
            event: None,
            events: None,
            correlation: None,
            source: FoundSource { name: self.source.clone(), position: self.position },
            ruleset: ruleset.to_owned(),
            output: Some(self.detail.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_the_same_finding() {
        let trouble = Trouble {
            kind: kind("kustos-source-truncated"),
            cluster: "c".into(),
            source: "audit.log".into(),
            position: 7,
            time: 0,
            detail: "it had 9 bytes and has 2".into(),
            key: b"7".to_vec(),
        };
        let again = Trouble { time: 1, ..trouble.clone() };
        assert_eq!(trouble.finding("r").id, again.finding("r").id);
        assert_ne!(
            trouble.finding("r").id,
            Trouble { key: b"8".to_vec(), ..again }.finding("r").id
        );
        let json = serde_json::to_value(trouble.finding("r")).unwrap();
        assert_eq!(json["rule"]["dialect"], "kustos");
        assert_eq!(json["time"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(json["output"], "it had 9 bytes and has 2");
    }

    #[test]
    fn ids_are_of_one_kind_each() {
        let mut ids: Vec<&str> = KINDS.iter().map(|it| it.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), KINDS.len());
        assert!(ids.iter().all(|it| it.starts_with("kustos-")));
    }
}
