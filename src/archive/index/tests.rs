//! An archive of many segments: whatever stands in one of them, the index names it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::{Array, AsArray};

use super::*;
use crate::archive::catalog::Scope;
use crate::archive::columns::Columns;
use crate::archive::commit::Commit;
use crate::archive::keep::{Policy, seal_due};
use crate::archive::part::{self, Placed};
use crate::archive::read;
use crate::archive::recover::Archive;
use crate::archive::retain;
use crate::decode::{self, Row};
use crate::durable;
use crate::seal::leaf::leaf;

/// Events of a segment.
const EVENTS: i64 = 5;

/// Adds a segment of a few events: each has an audit ID of its own, and some values many have.
fn segment(archive: &mut Archive, number: i64, keep: Duration) {
    let first = number * EVENTS;
    let line = |seq: i64| {
        let namespace =
            if seq % 7 == 0 { String::new() } else { format!(r#","namespace":"n{}""#, seq % 40) };
        format!(
            r#"{{"auditID":"id-{seq}","stage":"s","user":{{"username":"u{}"}},"sourceIPs":["10.0.0.{}","10.1.0.{seq}"],"objectRef":{{"resource":"r{}"{namespace}}}}}"#,
            number % 9,
            seq % 3,
            number / 10
        )
    };
    let lines: Vec<String> = (first..first + EVENTS).map(line).collect();
    let mut columns = Columns::default();
    for (ordinal, line) in (0..).zip(&lines) {
        let row = Row::plain(line.as_bytes(), decode::line(line.as_bytes()));
        columns.append(&row, ordinal, leaf(line.as_bytes()));
    }
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let batch = columns.finish(&"c".into(), "2026-11-23".to_owned(), 0, &lines).unwrap();
    let part = part::write(&archive.dir, &[Placed { batch, first }], "[]".to_owned(), 0).unwrap();
    let commit = Commit { parts: vec![part], next_seq: first + EVENTS, ..Commit::default() };
    archive.catalog.commit(&commit).unwrap();
    let policy = Policy { keep, ..Policy::default() };
    assert_eq!(seal_due(archive, &policy, 0, true).unwrap(), 1);
}

fn archive(segments: i64) -> (tempfile::TempDir, Archive) {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::open(dir.path()).unwrap();
    (0..segments).for_each(|it| segment(&mut archive, it, Duration::from_secs(9)));
    (dir, archive)
}

/// The files that really hold a value.
fn holding(archive: &Archive, column: &str, value: Option<&str>) -> BTreeSet<PathBuf> {
    let all = archive.catalog.files(&Scope::default()).unwrap();
    let holds = |path: &PathBuf| {
        read::batches(path, &[column]).unwrap().any(|batch| {
            let array = batch.unwrap().column(0).clone();
            if value.is_none() {
                return array.null_count() > 0;
            }
            let texts = array.as_list_opt::<i32>().map_or(&array, |it| it.values());
            texts.as_string::<i32>().iter().any(|it| it == value)
        })
    };
    all.into_iter().map(|it| it.path).filter(holds).collect()
}

/// The files that the index names.
fn named(archive: &Archive, wanted: Wanted) -> BTreeSet<PathBuf> {
    let scope = Scope { wanted: Some(wanted), ..Scope::default() };
    archive.catalog.files(&scope).unwrap().into_iter().map(|it| it.path).collect()
}

/// Asserts that the index names every file that holds a value; gives how many it named in all.
fn assert_all_found(archive: &Archive) -> usize {
    let mut count = 0;
    for (column, value) in [
        ("audit_id", Some("id-0")),
        ("audit_id", Some("id-177")),
        ("audit_id", Some("none has this")),
        ("user", Some("u4")),
        ("user", None),
        ("resource", Some("r2")),
        ("namespace", Some("n13")),
        ("namespace", None),
        ("source_ips", Some("10.0.0.1")),
        ("source_ips", Some("10.1.0.42")),
    ] {
        let named = named(archive, Wanted::of(column, [value]).unwrap());
        let holding = holding(archive, column, value);
        assert!(holding.is_subset(&named), "{column} {value:?}: {holding:?} of {named:?}");
        count += named.len();
    }
    count
}

#[test]
fn every_segment_that_holds_a_value_is_named_and_few_others_are() {
    let (_dir, archive) = archive(70);
    let levels: Vec<u32> = archive.catalog.runs().unwrap().iter().map(|it| it.level).collect();
    assert_eq!(levels, [&[1, 1][..], &[0; 6]].concat());
    let of = |column, value| Wanted::of(column, [Some(value)]).unwrap();
    assert_eq!(named(&archive, of("audit_id", "id-177")).len(), 1);
    assert_eq!(named(&archive, of("audit_id", "none has this")).len(), 0);
    assert_eq!(named(&archive, of("resource", "r2")).len(), 10);
    let both = Wanted::both(Some(of("resource", "r2")), Some(of("user", "u4")));
    assert_eq!(named(&archive, both.unwrap()).len(), 1);
    assert_all_found(&archive);
}

#[test]
fn a_file_of_the_index_that_is_damaged_or_missing_hides_nothing_and_is_made_again() {
    let (_dir, mut archive) = archive(40);
    let whole = assert_all_found(&archive);
    let files = archive.catalog.run_files().unwrap();
    assert_eq!(files.len(), 9);
    let first = fs::read(&files[0]).unwrap();
    for at in (0..first.len()).step_by(37) {
        let mut other = first.clone();
        other[at] ^= 1 << (at % 8);
        durable::write(&files[0], &other).unwrap();
        assert_all_found(&archive);
    }
    for length in [0, 7, first.len() / 2, first.len() - 1] {
        durable::write(&files[0], &first[..length]).unwrap();
        assert_all_found(&archive);
    }
    durable::write(&files[0], &fs::read(&files[3]).unwrap()).unwrap();
    fs::remove_file(&files[2]).unwrap();
    assert!(assert_all_found(&archive) > whole);
    // What is merged next has the damaged ones among it. One segment after the other gets a new run.
    (40..140).for_each(|it| segment(&mut archive, it, Duration::from_secs(9)));
    assert_all_found(&archive);
    let one = named(&archive, Wanted::of("audit_id", [Some("id-3")]).unwrap());
    assert!(one.len() < 40, "{}", one.len());
}

#[test]
fn an_archive_without_an_index_is_read_whole_and_gets_one() {
    let (_dir, mut archive) = archive(10);
    archive.catalog.conn.execute_batch("DROP TABLE runs").unwrap();
    let wanted = || Wanted::of("audit_id", [Some("id-3")]).unwrap();
    assert_eq!(named(&archive, wanted()).len(), 10);
    let dir = archive.dir.clone();
    drop(archive);
    archive = Archive::open(&dir).unwrap();
    assert_eq!(fs::read_dir(dir.join(FOLDER)).unwrap().count(), 0);
    (10..25).for_each(|it| segment(&mut archive, it, Duration::from_secs(9)));
    assert_eq!(named(&archive, wanted()).len(), 1);
    assert_all_found(&archive);
}

#[test]
fn what_speaks_of_expired_segments_alone_is_removed_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::open(dir.path()).unwrap();
    (0..3).for_each(|it| segment(&mut archive, it, Duration::ZERO));
    (3..5).for_each(|it| segment(&mut archive, it, Duration::from_secs(9)));
    let plan = retain::plan(archive.catalog.segments().unwrap(), 1);
    assert_eq!(retain::apply(&mut archive, &plan, 1).unwrap(), 3);
    let files = archive.catalog.run_files().unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 2);
    assert!(files.iter().all(|it| it.is_file()));
    assert_all_found(&archive);
}
