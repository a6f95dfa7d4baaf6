//! The Kafka source, against real Kafka brokers: `kustos run` as a user runs it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop; its files need not last, and its waits have an end"
)]

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

#[path = "../common/mod.rs"]
mod common;

mod broker;
mod site;
mod storm;

use broker::{Brokers, With};
use common::daemon::until;
use common::{archive, marked, stored};
use site::{Site, event, numbers};

#[test]
fn messages_are_kept_under_the_cluster_that_they_name_and_once() {
    let Some(brokers) = Brokers::start(1) else { return };
    brokers.make("audit-a", 2);
    let sender = brokers.producer();
    let named = |name: &'static str| With { header: Some(("x-cluster", name)), ..With::default() };
    for at in 0..200 {
        let with = [With::default(), named("eu-1"), named("eu-2"), named("../no name")][at % 4];
        sender.send("audit-a", Some(event(at).as_bytes()), with);
    }
    sender.flush();
    let site = Site::new(
        &brokers,
        "cluster: rest, topics: ['^audit-.*'], cluster_from: 'header:x-cluster'",
    );
    let daemon = site.start();
    site.wait_for(200);
    // A topic that comes later is found by the pattern.
    brokers.make("audit-b", 1);
    for at in 200..240 {
        sender.send("audit-b", Some(event(at).as_bytes()), named("eu-1"));
    }
    sender.flush();
    site.wait_for(240);
    let unnamed = "kustos_source_records_unnamed_total{source=\"kafka:^audit-.*\"}";
    assert_eq!(daemon.metric(unnamed).as_deref(), Some("100"));
    daemon.end();
    site.start().end();
    let of = |cluster: &str, keep: &dyn Fn(usize) -> bool| {
        let mut found = stored(&site.archive(), cluster);
        found.sort();
        let mut want: Vec<Vec<u8>> =
            (0..240).filter(|it| keep(*it)).map(|it| event(it).into_bytes()).collect();
        want.sort();
        assert!(found == want, "{cluster}: {} of {}", found.len(), want.len());
    };
    of("eu-1", &|at| at >= 200 || at % 4 == 1);
    of("eu-2", &|at| at % 4 == 2 && at < 200);
    of("rest", &|at| at % 4 % 3 == 0 && at < 200);
}

#[test]
fn what_is_no_event_is_kept_marked_and_passed() {
    let Some(brokers) = Brokers::start(1) else { return };
    brokers.make("audit", 1);
    let huge = format!(r#"{{"auditID":"huge","x":"{}"}}"#, "y".repeat(8 << 20));
    let sender = brokers.producer();
    let values: [Option<&[u8]>; 7] = [
        Some(event(0).as_bytes()),
        Some(b"no json\nin two lines"),
        None,
        Some(b"{\"kind\":"),
        Some(b""),
        Some(huge.as_bytes()),
        Some(event(1).as_bytes()),
    ]
    .map(|it| it.map(|it: &[u8]| Box::leak(it.to_vec().into_boxed_slice()) as &[u8]));
    for value in values {
        sender.send("audit", value, With { key: Some("c"), ..With::default() });
    }
    sender.flush();
    // Offsets have holes where transactions began and ended, and what was aborted is not there at all.
    let transactions = brokers.transactions();
    for (at, keep) in [(2, true), (3, false), (4, true)] {
        use rdkafka::producer::Producer;
        transactions.0.begin_transaction().unwrap();
        transactions.send("audit", Some(event(at).as_bytes()), With::default());
        if keep {
            transactions.0.commit_transaction(broker::PATIENCE).unwrap();
        } else {
            transactions.flush();
            transactions.0.abort_transaction(broker::PATIENCE).unwrap();
        }
    }
    let site = Site::new(&brokers, "cluster: c, topics: [audit]");
    let daemon = site.start();
    site.wait_for(7);
    let empty = "kustos_source_records_empty_total{source=\"kafka:audit\"}";
    assert_eq!(daemon.metric(empty).as_deref(), Some("1"));
    let observer = brokers.observer("kustos");
    // Ten messages and three marks of transactions; the last mark is behind the last message.
    until(|| (brokers.committed(&observer, "audit", 1) == [Some(12)]).then_some(()));
    daemon.end();
    site.start().end();
    let lines: Vec<Vec<u8>> = [0, 1, 2, 4].map(|at| event(at).into_bytes()).into();
    let found = stored(&site.archive(), "c");
    assert_eq!(found.len(), 7);
    assert!(lines.iter().all(|it| found.contains(it)));
    assert!(
        found.contains(&b"no json\nin two lines".to_vec()) && found.contains(&huge.into_bytes())
    );
    assert_eq!(marked(&site.archive(), "c").values().sum::<u64>(), 3);
    assert_eq!(archive("verify", &site.archive()).ended(0).code, 0);
}

#[test]
fn events_that_the_brokers_deleted_unread_are_told() {
    let Some(brokers) = Brokers::start(1) else { return };
    brokers.make("audit", 1);
    let sender = brokers.producer();
    let send = |from: usize, to: usize| {
        (from..to).for_each(|it| sender.send("audit", Some(event(it).as_bytes()), With::default()));
        sender.flush();
    };
    send(0, 100);
    let site = Site::new(&brokers, "cluster: c, topics: [audit]");
    let daemon = site.start();
    site.wait_for(100);
    daemon.end();
    send(100, 200);
    brokers.delete_before("audit", 0, 150);
    let daemon = site.start();
    site.wait_for(150);
    let found = site.wait_for_finding("kustos-source-gap");
    assert!(found["output"].as_str().unwrap().contains("offset 100"), "{found}");
    assert!(found["output"].as_str().unwrap().contains("50 messages"), "{found}");
    daemon.end();
    // It is the same gap after another start, not a second one; and it is no new one either.
    site.start().end();
    assert_eq!(site.findings().len(), 1);
}

#[test]
fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let Some(brokers) = Brokers::start(1) else { return };
    let site = Site::new(&brokers, "cluster: c, topics: [audit]");
    let send = |from: usize, to: usize| {
        let sender = brokers.producer();
        (from..to).for_each(|it| sender.send("audit", Some(event(it).as_bytes()), With::default()));
        sender.flush();
    };
    brokers.make("audit", 1);
    send(0, 50);
    let daemon = site.start();
    site.wait_for(50);
    daemon.end();
    brokers.unmake("audit");
    brokers.make("audit", 1);
    send(50, 70);
    let daemon = site.start();
    site.wait_for(70);
    let found = site.wait_for_finding("kustos-source-rewound");
    assert!(found["output"].as_str().unwrap().contains("offset 50 and now ends at 20"), "{found}");
    daemon.end();
    send(70, 130);
    let daemon = site.start();
    site.wait_for(130);
    daemon.end();
    site.holds_each_once(0..130);
}

#[test]
fn brokers_are_read_over_tls_by_a_client_that_says_who_it_is() {
    let Some(brokers) = Brokers::start_secured() else { return };
    brokers.make("audit", 1);
    let sender = brokers.producer();
    (0..20).for_each(|it| sender.send("audit", Some(event(it).as_bytes()), With::default()));
    sender.flush();
    let file = |name: &str| brokers.file(name).display().to_string();
    common::put(&brokers.file("password"), b"wrong");
    let secured = |mechanism: &str| {
        format!(
            "cluster: c, topics: [audit], brokers: ['{}'], tls: {{ca: {}, cert: {}, key: {}}}, \
             sasl: {{mechanism: {mechanism}, username: kustos, password_file: {}}}",
            brokers.secure_address(),
            file("ca.pem"),
            file("client.crt"),
            file("client.key"),
            file("password"),
        )
    };
    let site = Site::with(&brokers, &secured("SCRAM-SHA-256"));
    let daemon = site.start();
    // With a wrong password it says so; a right one in the file counts without a restart.
    let refused = |told: &(u16, String)| told.0 == 503 && told.1.contains("uthentication");
    until(|| Some(daemon.ask("GET", "/readyz")).filter(refused));
    common::put(&brokers.file("password"), broker::PASSWORD.as_bytes());
    site.wait_for(20);
    daemon.end();
    let plain =
        Site::with(&brokers, &secured("PLAIN").replace("cluster: c", "cluster: d, group: plain"));
    let daemon = plain.start();
    plain.wait_for(20);
    daemon.end();
    site.holds_each_once(0..20);
}

#[test]
fn a_full_archive_does_not_lose_the_group() {
    // The lane of a daemon whose archivist waits for a lock of the catalog is full; the group must not notice.
    let Some(brokers) = Brokers::start(1) else { return };
    brokers.make("audit", 2);
    let site = Site::new(
        &brokers,
        "cluster: c, topics: [audit], options: {session.timeout.ms: '2000', max.poll.interval.ms: '3000', heartbeat.interval.ms: '300'}",
    );
    let daemon = site.start();
    let sender = brokers.producer();
    sender.send("audit", Some(event(0).as_bytes()), With::default());
    site.wait_for(1);
    let block = rusqlite::Connection::open(site.archive().join("catalog.sqlite")).unwrap();
    block.execute_batch("BEGIN IMMEDIATE").unwrap();
    let filler = "z".repeat(20_000);
    for at in 1..2_001 {
        let text = event(at).replace("\"verb\"", &format!("\"filler\":\"{filler}\",\"verb\""));
        sender.send("audit", Some(text.as_bytes()), With::default());
    }
    sender.flush();
    // Longer than the group waits for somebody who does not poll.
    let lag = "kustos_source_lag_records{source=\"kafka:audit\"}";
    let since = std::time::Instant::now();
    until(|| (since.elapsed().as_secs() >= 6).then_some(()));
    let behind: u64 = daemon.metric(lag).unwrap().parse().unwrap();
    assert!(behind > 0, "the lane is not full: nothing was tested");
    block.execute_batch("ROLLBACK").unwrap();
    site.wait_for(2_001);
    until(|| (daemon.metric(lag).as_deref() == Some("0")).then_some(()));
    daemon.end();
    let given: Vec<Value> = site.logged("the group gives partitions");
    assert_eq!(given.len(), 1, "{given:?}");
    let of: BTreeMap<Vec<u8>, usize> =
        stored(&site.archive(), "c").into_iter().fold(BTreeMap::new(), |mut of, it| {
            *of.entry(it).or_default() += 1;
            of
        });
    assert!(of.len() == 2_001 && of.values().all(|it| *it == 1));
}

#[test]
fn messages_that_were_altered_on_a_broker_are_told_of_and_those_behind_them_are_read() {
    let Some(brokers) = Brokers::start(1) else { return };
    brokers.make("audit", 3);
    let sender = brokers.producer();
    let batch = |partition: i32, numbers: Range<usize>| {
        for at in numbers {
            let to = With { partition: Some(partition), ..With::default() };
            sender.send("audit", Some(event(at).as_bytes()), to);
        }
        sender.flush();
    };
    batch(0, 0..2);
    batch(1, 2..5);
    brokers.in_one_batch("audit", 1, (5..17).map(event));
    batch(1, 17..20);
    // Half a batch, so that it cannot be told from its first message where it ends; and the last of a partition.
    brokers.alter("audit", 1, "\"p9\"", "\"x9\"");
    batch(2, 20..21);
    batch(2, 21..22);
    brokers.alter("audit", 2, "\"p21\"", "\"x21\"");
    let site = Site::new(&brokers, "cluster: c, topics: [audit]");
    let daemon = site.start();
    site.wait_for(9);
    let told = until(|| Some(site.findings()).filter(|it| it.len() == 2));
    let of = |partition: &str| {
        let words = |it: &Value| it["output"].as_str().unwrap().to_owned();
        let found = told.iter().find(|it| words(it).contains(partition)).unwrap();
        assert_eq!(found["rule"]["id"], "kustos-source-unreadable");
        assert!(words(found).contains("CRC"), "{found}");
        (words(found), found["source"]["position"].as_u64().unwrap())
    };
    let (words, position) = of("audit/1");
    assert!(words.starts_with("12 messages") && position == 3, "{words}");
    let (words, position) = of("audit/2");
    assert!(words.starts_with("1 messages") && position == 1, "{words}");
    until(|| (daemon.ask("GET", "/readyz").0 == 200).then_some(()));
    batch(2, 22..24);
    site.wait_for(11);
    daemon.end();
    // It is behind them, and does not tell of them again.
    let daemon = site.start();
    batch(1, 24..25);
    site.wait_for(12);
    daemon.end();
    let kept: Vec<usize> = numbers(&[&site.archive()]).into_keys().collect();
    assert_eq!(kept, (0..5).chain(17..21).chain(22..25).collect::<Vec<_>>());
    assert_eq!(site.findings().len(), 2);
}
