//! Two replicas in one group are killed, restarted and rebalanced at random while events come; brokers die.
//!
//! `EVENTS` and `KILLS` make it larger, `SEED` repeats it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kustos::archive::catalog::Catalog;
use kustos::archive::{replicas, stored as places};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::archive;
use crate::broker::{Brokers, PATIENCE, With};
use crate::common::daemon::{Daemon, until};
use crate::common::{kustos, stored};
use crate::site::{Site, each_once, event, number, numbers, rows};

/// Partitions of the topic.
const PARTITIONS: i32 = 12;

/// After so long without a word the group takes a replica for dead; as in [`QUICK`].
const SESSION: Duration = Duration::from_millis(1_500);

/// Sessions are short, so that the group soon notices who died.
const QUICK: &str = "options: {session.timeout.ms: '1500', heartbeat.interval.ms: '200', max.poll.interval.ms: '20000'}";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |it| it.parse().unwrap())
}

/// A number at random, by SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (it ^ (it >> 31)) % below
    }
}

/// A topic, events that come, and two replicas.
struct Storm<'a> {
    brokers: &'a Brokers,
    replicas: [Site; 2],
    sent: AtomicUsize,
    over: AtomicBool,
}

impl Storm<'_> {
    fn new<'a>(brokers: &'a Brokers, dir: &Path, shared: bool) -> Storm<'a> {
        brokers.make("audit", usize::try_from(PARTITIONS).unwrap());
        let folder = dir.join("shared");
        let source = format!(
            "cluster: c, brokers: ['{}'], topics: [audit], {QUICK}",
            brokers.addresses().join("', '")
        );
        let replica = |name: &str| {
            let home = dir.join(name);
            let (block, archive) = if shared {
                (
                    format!("dir: {}, replica: {name}", folder.display()),
                    places::replica_path(&folder, name),
                )
            } else {
                (format!("dir: {}/archive", home.display()), home.join("archive"))
            };
            Site::replica(&home, &block, &source).at(archive)
        };
        Storm {
            brokers,
            replicas: [replica("a"), replica("b")],
            sent: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Sends events, spread over `time`.
    fn send(&self, events: usize, time: Duration) {
        let sender = self.brokers.producer();
        let since = Instant::now();
        for at in 0..events {
            sender.send("audit", Some(event(at).as_bytes()), With::default());
            self.sent.store(at + 1, Ordering::SeqCst);
            let due = time.mul_f64((at + 1) as f64 / events as f64);
            if let Some(early) = due.checked_sub(since.elapsed()).filter(|it| it.as_millis() > 2) {
                std::thread::sleep(early);
            }
        }
        sender.flush();
    }

    /// Looks again and again whether the group has committed something that no archive has; gives how often it looked.
    fn watch(&self) -> usize {
        let observer = self.brokers.observer("kustos");
        let mut looks = 0;
        while !self.over.load(Ordering::SeqCst) {
            looks += usize::from(self.look(&observer));
            std::thread::sleep(Duration::from_millis(20));
        }
        looks
    }

    fn look(&self, observer: &BaseConsumer) -> bool {
        let Some(id) = observer.client().fetch_cluster_id(PATIENCE) else { return false };
        // First what is committed, then what is kept: that only ever grows.
        let committed = self.brokers.committed(observer, "audit", PARTITIONS);
        for (partition, (committed, kept)) in committed.iter().zip(self.kept(&id)).enumerate() {
            assert!(
                *committed <= kept,
                "partition {partition}: {committed:?} is committed, {kept:?} is kept"
            );
        }
        !committed.is_empty()
    }

    /// Up to where each partition is kept, in one archive or the other. `id` is the brokers'.
    fn kept(&self, id: &str) -> Vec<Option<u64>> {
        self.kept_by(&self.replicas, id)
    }

    fn kept_by(&self, of: &[Site], id: &str) -> Vec<Option<u64>> {
        let catalogs: Vec<_> =
            of.iter().filter_map(|it| Catalog::open(&it.archive()).ok()).collect();
        let stream = |partition: i32| format!("kafka:{id}/audit/{partition}");
        let partitions = (0..PARTITIONS).map(stream);
        partitions.map(|it| replicas::kept_to(&catalogs, "c", &it).unwrap()).collect()
    }

    fn rows(&self) -> u64 {
        self.replicas.iter().map(|it| rows(&it.archive())).sum()
    }

    /// Waits until everything is kept somewhere, then ends the replicas and has their archives verified.
    fn settle(&self, events: usize, running: [Option<Daemon>; 2]) {
        let observer = self.brokers.observer("kustos");
        let id = until(|| observer.client().fetch_cluster_id(PATIENCE));
        // Rows are no measure: in archives of their own some may be there twice.
        let kept = || self.kept(&id).into_iter().flatten().sum::<u64>();
        let (mut last, mut since) = (0, Instant::now());
        while kept() < events as u64 {
            let kept = kept();
            if kept != last {
                (last, since) = (kept, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{kept} of {events} are kept, and no more come");
            std::thread::sleep(Duration::from_millis(50));
        }
        running.into_iter().flatten().for_each(Daemon::end);
        for replica in &self.replicas {
            assert_eq!(archive("verify", &replica.archive()).ended(0).code, 0);
        }
    }

    fn archives(&self) -> [PathBuf; 2] {
        [self.replicas[0].archive(), self.replicas[1].archive()]
    }
}

/// Sends, watches, and does `harm` meanwhile.
fn rage(
    storm: &Storm<'_>,
    events: usize,
    time: Duration,
    harm: impl FnOnce() -> [Option<Daemon>; 2],
) {
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| storm.send(events, time));
        let watching = scope.spawn(|| storm.watch());
        let running = harm();
        sending.join().unwrap();
        storm.settle(events, running);
        storm.over.store(true, Ordering::SeqCst);
        println!("{} looks at what is committed and what is kept", watching.join().unwrap());
    });
}

/// Kills replicas while the brokers do not know yet of what they committed, and starts them again when the group has
/// given their partitions away: then what they committed last is read by the other one as well.
fn kill_owing(storm: &Storm<'_>, kills: usize, dice: &mut Dice, running: &mut [Option<Daemon>; 2]) {
    let observer = storm.brokers.observer("kustos");
    let id = until(|| observer.client().fetch_cluster_id(PATIENCE));
    for one in (0..kills).map(|it| it % 2) {
        std::thread::sleep(Duration::from_millis(300 + dice.roll(700)));
        for _ in 0..400 {
            // First what is kept, then what is committed: whatever is behind by then is owed.
            let kept = storm.kept_by(&storm.replicas[one..=one], &id);
            let committed = storm.brokers.committed(&observer, "audit", PARTITIONS);
            if committed.len() == kept.len() && kept.iter().zip(&committed).any(|it| it.0 > it.1) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        running[one].take().into_iter().for_each(Daemon::kill);
        std::thread::sleep(SESSION + Duration::from_millis(500));
        running[one] = Some(storm.replicas[one].start());
    }
}

/// How replicas go, and where their archives are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// By `kill -9`; the archives share a folder.
    KilledShared,
    /// By `kill -9`; each has a folder of its own.
    KilledApart,
    /// By SIGTERM; each has a folder of its own.
    OrderlyApart,
}

fn killing(how: End) {
    let Some(brokers) = Brokers::start(1) else { return };
    let (events, kills) = (setting("EVENTS", 20_000), setting("KILLS", 4));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    let seed = setting("SEED", usize::try_from(now % 1_000_000).unwrap());
    println!("EVENTS={events} KILLS={kills} SEED={seed}, {how:?}");
    let (mut dice, since) = (Dice(seed as u64), Instant::now());
    let dir = tempfile::tempdir().unwrap();
    let storm = Storm::new(&brokers, dir.path(), how == End::KilledShared);
    // About as long as the kills take.
    let time = Duration::from_millis(1_600) * u32::try_from(kills).unwrap();
    rage(&storm, events, time, || {
        let mut running = [Some(storm.replicas[0].start()), Some(storm.replicas[1].start())];
        if how == End::KilledApart {
            kill_owing(&storm, kills, &mut dice, &mut running);
            return running;
        }
        // Each is killed as often as was asked for.
        for at in 0..2 * kills {
            std::thread::sleep(Duration::from_millis(100 + dice.roll(1_400)));
            let one = at % 2;
            if let Some(daemon) = running[one].take() {
                if how == End::OrderlyApart { daemon.end() } else { daemon.kill() }
            }
            std::thread::sleep(Duration::from_millis(dice.roll(400)));
            running[one] = Some(storm.replicas[one].start());
        }
        running
    });
    let archives = storm.archives();
    for replica in &storm.replicas {
        // What the replicas complained of is shown when the test fails.
        replica
            .logged("WARN")
            .iter()
            .chain(&replica.logged("ERROR"))
            .for_each(|it| println!("{it}"));
    }
    if how == End::KilledApart {
        each_once_asked(&archives, events);
    } else {
        each_once(&[&archives[0], &archives[1]], 0..events);
    }
    let share = numbers(&[&archives[0]]).len();
    println!("{events} events, {share} in one archive, in {:.0?}", since.elapsed());
    // Where events may be in both, one may have them all; what the other has is told then.
    assert!(share > 0 && (share < events || how == End::KilledApart), "one had everything");
}

/// Nothing is lost; an event is in both archives at most, in each once, and then with the same bytes; and whoever asks both
/// at once is told of each event once.
fn each_once_asked(archives: &[PathBuf; 2], events: usize) {
    let [first, second] = archives.each_ref().map(|it| stored(it, "c"));
    let of = |lines: &[Vec<u8>]| -> BTreeMap<usize, Vec<u8>> {
        let found: BTreeMap<_, _> = lines.iter().map(|it| (number(it), it.clone())).collect();
        assert_eq!(found.len(), lines.len(), "an event is in one archive twice");
        found
    };
    let (first, second) = (of(&first), of(&second));
    let lost: Vec<usize> =
        (0..events).filter(|it| !first.contains_key(it) && !second.contains_key(it)).collect();
    assert!(lost.is_empty(), "{} lost {:?}", lost.len(), &lost[..lost.len().min(10)]);
    let both: Vec<usize> = first.keys().filter(|it| second.contains_key(it)).copied().collect();
    assert!(both.iter().all(|it| first[it] == second[it]), "an event is in both in other bytes");
    // Each death came before the brokers knew of the last commit: without any copy nothing was tested.
    println!("{} events are in both archives", both.len());
    assert!(!both.is_empty(), "no replica died between its commit and the brokers'");
    let [one, other] = archives.each_ref().map(|it| it.as_os_str());
    let ask = |sql: &str| {
        let flag = OsStr::new("--archive");
        kustos(&[OsStr::new("query"), flag, one, flag, other, OsStr::new(sql)]).ended(0)
    };
    let told = ask("SELECT raw FROM events").rows();
    let mut told: Vec<usize> =
        told.iter().map(|it| number(it["raw"].as_str().unwrap().as_bytes())).collect();
    told.sort_unstable();
    assert!(told == (0..events).collect::<Vec<_>>(), "{} of {events} are told", told.len());
    let ran = ask("SELECT count(*) AS n, count(DISTINCT audit_id) AS ids FROM events");
    assert_eq!(ran.rows(), [serde_json::json!({"n": events, "ids": events})]);
    let count: String = ran.stderr.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(count, both.len().to_string(), "{}", ran.stderr);
}

#[test]
fn replicas_that_share_a_folder_lose_and_double_nothing_however_often_they_are_killed() {
    killing(End::KilledShared);
}

#[test]
fn replicas_with_archives_of_their_own_double_nothing_when_they_come_and_go() {
    killing(End::OrderlyApart);
}

#[test]
fn replicas_with_archives_of_their_own_lose_nothing_however_often_they_are_killed_and_tell_nothing_twice()
 {
    killing(End::KilledApart);
}

#[test]
fn a_replica_that_hangs_keeps_its_partitions_until_it_can_write_no_more() {
    let Some(brokers) = Brokers::start(1) else { return };
    let dir = tempfile::tempdir().unwrap();
    let storm = Storm::new(&brokers, dir.path(), true);
    let [hangs, waits] = &storm.replicas;
    storm.send(2_000, Duration::ZERO);
    let daemon = hangs.start();
    hangs.wait_for(2_000);
    let sender = brokers.producer();
    let send = |numbers: std::ops::Range<usize>| {
        for at in numbers {
            sender.send("audit", Some(event(at).as_bytes()), With::default());
        }
        sender.flush();
    };
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(2_000..6_000));
        // In the middle of it: something is read and not yet kept.
        until(|| (hangs.rows() > 2_000).then_some(()));
        daemon.signal("-STOP");
        sending.join().unwrap();
    });
    send(6_000..7_000);
    let other = waits.start();
    until(|| (!waits.logged("the group gives partitions").is_empty()).then_some(()));
    // The group thinks that the first one is dead. It is not: it could still commit what it read.
    let since = Instant::now();
    until(|| (since.elapsed().as_secs() >= 3).then_some(()));
    assert_eq!(waits.rows(), 0);
    daemon.signal("-CONT");
    until(|| (waits.logged("\"reading\"").len() >= 3).then_some(()));
    // To each partition in turn: without being told, a client sends what fits into a moment to one partition.
    for at in 7_000..8_000 {
        let partition = i32::try_from(at).unwrap() % PARTITIONS;
        let with = With { partition: Some(partition), ..With::default() };
        sender.send("audit", Some(event(at).as_bytes()), with);
    }
    sender.flush();
    storm.settle(8_000, [Some(daemon), Some(other)]);
    let archives = storm.archives();
    each_once(&[&archives[0], &archives[1]], 0..8_000);
    assert!(waits.rows() > 0);
}

#[test]
fn nothing_is_lost_or_doubled_when_a_broker_dies() {
    let Some(brokers) = Brokers::start(3) else { return };
    let events = setting("EVENTS", 20_000).min(100_000);
    let dir = tempfile::tempdir().unwrap();
    let storm = Storm::new(&brokers, dir.path(), true);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| storm.send(events, Duration::from_secs(8)));
        let running = [Some(storm.replicas[0].start()), Some(storm.replicas[1].start())];
        until(|| {
            (storm.rows() > 0 && storm.sent.load(Ordering::SeqCst) > events / 3).then_some(())
        });
        brokers.murder(1);
        sending.join().unwrap();
        storm.settle(events, running);
        assert!(storm.look(&storm.brokers.observer("kustos")));
    });
    let archives = storm.archives();
    each_once(&[&archives[0], &archives[1]], 0..events);
}
