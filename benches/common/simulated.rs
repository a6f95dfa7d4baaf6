//! An archive of years in a moment: its catalog and its index are real, and of its segments one is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kustos::archive::catalog::Catalog;
use kustos::archive::index::{self, FANOUT};
use kustos::query::sql::Engine;
use kustos::rules;
use tokio::runtime::Runtime;

use super::archive::{CLUSTER, archived};
use super::asking::{count, rows};
use super::log::SAMPLE;

/// Values of each segment in the index. A look-up reads one bucket of a run, however many there are.
const VALUES: u64 = 200;

/// The archive, and an event that it holds.
pub(crate) struct Simulated {
    pub(crate) dir: PathBuf,
    pub(crate) audit_id: String,
}

impl Simulated {
    /// Makes one of so many segments in the folder.
    pub(crate) fn make(runtime: &Runtime, scratch: &Path, segments: u64) -> Simulated {
        let dir = scratch.join(format!("archive-{segments}"));
        let rules = Arc::new(rules::shipped(rules::Profile::Standard).unwrap());
        archived(&dir, &rules, [PathBuf::from(SAMPLE)]);
        let some = "SELECT audit_id FROM events WHERE audit_id IS NOT NULL ORDER BY seq LIMIT 1 OFFSET 900";
        let audit_id = rows(runtime, &Engine::open(&dir).unwrap(), some).pop().unwrap();
        simulate(&dir, segments);
        Simulated { dir, audit_id }
    }
}

/// The SQL that gives the event.
pub(crate) fn question(audit_id: &str) -> String {
    format!("SELECT * FROM events WHERE audit_id = '{audit_id}'")
}

/// Opens the archive as a new process does, and looks the event up; gives how many rows it has.
pub(crate) fn found(runtime: &Runtime, dir: &Path, audit_id: &str) -> usize {
    count(runtime, &Engine::open(dir).unwrap(), &question(audit_id))
}

/// Puts the rows and runs of other segments behind those of the archive.
fn simulate(dir: &Path, segments: u64) {
    let catalog = Catalog::open(dir).unwrap();
    let first = catalog.ledger_head().unwrap().0;
    let mut conn = rusqlite::Connection::open(dir.join("catalog.sqlite")).unwrap();
    let tx = conn.transaction().unwrap();
    let manifest = "m".repeat(1_200);
    let signed = |it: u64| i64::try_from(it).unwrap();
    for place in first..segments {
        let seq = signed(place * 300_000);
        let time = 1_700_000_000_000_000 + signed(place) * 900_000_000;
        tx.prepare_cached(
            "INSERT INTO segments VALUES (?1,?9,'2024-01-01',300000,1,1,?2,?3,?4,?5,?5,?6,?6,?7,?8,0,NULL)",
        )
        .unwrap()
        .execute(rusqlite::params![
            format!("{seq:016}-{:016}", seq + 299_999),
            seq,
            seq + 299_999,
            time,
            time + 900_000_000,
            "0".repeat(64),
            manifest,
            signed(place),
            CLUSTER
        ])
        .unwrap();
    }
    let mut from = first;
    for slots in [FANOUT * FANOUT, FANOUT, 1] {
        while from + slots <= segments {
            let name = format!("simulated-{from}");
            let values = (0..slots * VALUES).map(|it| (mixed(from * VALUES + it), it % slots));
            let (entries, bytes) = index::of_values(dir, &name, values, slots).unwrap();
            tx.execute(
                "INSERT INTO runs VALUES (?1,?2,0,?3,?4,?5)",
                rusqlite::params![
                    signed(from),
                    signed(from + slots - 1),
                    name,
                    signed(entries),
                    signed(bytes)
                ],
            )
            .unwrap();
            from += slots;
        }
    }
    tx.commit().unwrap();
}

/// Spreads numbers as hashes are spread (the finisher of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
