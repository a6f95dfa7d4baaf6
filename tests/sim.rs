//! A seed drives the clock, the disk and the sources of one process that dies and starts again. An oracle knows
//! every line that was written: at the end each is stored exactly once, and each finding told once.
//!
//! `SCHEDULES=10000 cargo test --test sim` runs so many seeds; a seed that fails prints the line that runs it alone.
#![cfg(debug_assertions)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::keep::Policy;
use kustos::archive::read;
use kustos::archive::recover::Archive;
use kustos::archive::verify::{State, verify};
use kustos::clock::{Clock, StandingClock};
use kustos::decode;
use kustos::detect::{Origin, scan};
use kustos::event::write_micros;
use kustos::pipeline::archivist::{Archivist, ArchivistError, Pace};
use kustos::pipeline::in_force::InForce;
use kustos::pipeline::lanes::{self, Entrance, Exit, Received, Width};
use kustos::pipeline::worker::{Done, Output, Worker};
use kustos::rules::{LoadOptions, RuleSet, Scratch, load_text};

#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/senders.rs"]
mod senders;

use disk::{Disk, Health};
use random::Random;
use senders::{Life, Log, Partition, Poster, Sender};

/// Schedules of an ordinary run.
const SCHEDULES: u64 = 12;

/// Steps of a schedule.
const STEPS: u64 = 120;

/// Threads that run schedules: they wait for the disk.
const RUNNERS: u64 = 3;

/// Lives that may end while an archive is opened, before the disk is well.
const OPENINGS_MAX: u32 = 4;

const RULE: &str =
    "title: T\nid: t\nlevel: high\ndetection: { s: { verb: create }, condition: s }\n";

#[test]
fn every_line_of_every_schedule_is_stored_once() {
    let number = |name| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let first = number("SEED").unwrap_or(1);
    let count = number("SCHEDULES").unwrap_or(SCHEDULES);
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..RUNNERS.min(count) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        return;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| schedule(seed))) {
                        println!("SEED={seed} SCHEDULES=1 cargo test --test sim");
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
    println!("{count} schedules from {first}");
}

/// What outlives the process.
struct World {
    dir: tempfile::TempDir,
    random: Random,
    clock: Arc<StandingClock>,
    rules: Arc<RuleSet>,
    logs: Vec<Log>,
    partitions: Vec<Partition>,
    poster: Poster,
    /// How often each line is to be stored, by cluster.
    wanted: BTreeMap<(String, Vec<u8>), u64>,
    /// What is to be found.
    findings: BTreeSet<String>,
    written: u64,
    steps: u64,
}

fn schedule(seed: u64) {
    let mut random = Random::new(seed);
    let clock = Arc::new(StandingClock::at(1_795_401_553_000_000));
    let disk = Disk::new(random.fork(), Arc::clone(&clock));
    let rules = load_text([("r.yml", RULE)], &LoadOptions::default()).unwrap().rules;
    let mut world = World {
        dir: tempfile::tempdir_in(memory()).unwrap(),
        random,
        clock,
        rules: Arc::new(rules),
        logs: vec![Log::new("c", "one.log"), Log::new("c", "two.log"), Log::new("d", "d.log")],
        partitions: vec![Partition::new("c", "p0"), Partition::new("d", "p1")],
        poster: Poster::new("c", "hook"),
        wanted: BTreeMap::new(),
        findings: BTreeSet::new(),
        written: 0,
        steps: 0,
    };
    while world.steps < STEPS {
        world.live(&disk, false);
    }
    disk.kill_at_one_in(None);
    disk.put(Health::Well);
    world.live(&disk, true);
    disk.put(Health::Well);
    world.assert_kept_once();
}

/// Where a folder is made: in memory where the system has that, as the disk is played here anyway.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

impl World {
    /// One life of the process: until it dies, or has read everything if it is to end.
    fn live(&mut self, disk: &Disk, to_the_end: bool) {
        let Some(mut archivist) = self.open(disk) else { return };
        let (told, entrances) = sync_channel::<Entrance>(1);
        let rules = InForce::new(Arc::clone(&self.rules));
        let clock = Arc::clone(&self.clock);
        let make = || {
            let mut worker = Worker::storing(clock.clone());
            move |job| worker.work(job)
        };
        let enter = move |entrance| told.send(entrance).unwrap();
        lanes::run(
            Width { workers: 1, lane_chunks_max: 2, ..Width::default() },
            &rules,
            enter,
            make,
            |exit| {
                let entrance = entrances.recv().unwrap();
                match to_the_end {
                    true => self.finish(&entrance, exit, &mut archivist),
                    false => self.work(&entrance, exit, &mut archivist, disk),
                }
            },
        );
        self.senders().for_each(|it| it.forget());
        // Whoever waits for an answer is told that there is none.
        drop(archivist);
    }

    fn senders(&mut self) -> impl Iterator<Item = &mut dyn Sender> {
        let logs = self.logs.iter_mut().map(|it| it as &mut dyn Sender);
        let partitions = self.partitions.iter_mut().map(|it| it as &mut dyn Sender);
        logs.chain(partitions).chain([&mut self.poster as &mut dyn Sender])
    }

    /// Starts; a disk that does not let it is well at last.
    fn open(&mut self, disk: &Disk) -> Option<Archivist> {
        for attempt in 0.. {
            if disk.health() == Health::Dead || attempt == OPENINGS_MAX {
                disk.put(Health::Well);
            }
            let Ok(archive) = Archive::open(self.dir.path()) else { continue };
            let policy = Policy {
                segment_age_max: Duration::from_secs(4),
                segment_bytes_max: 60_000,
                ..Policy::default()
            };
            let routes = Arc::new(|_: &kustos::detect::Finding| vec!["sink".to_owned()]);
            let pace = Pace::Live(Duration::from_secs(1));
            let clock: Arc<dyn Clock> = self.clock.clone();
            let Ok(archivist) = Archivist::new(archive, clock, policy, routes, pace) else {
                continue;
            };
            let mut archivist = archivist.with_rows_max(40);
            if archivist.judge_by(&self.rules).is_ok() {
                return Some(archivist);
            }
        }
        None
    }

    fn work(
        &mut self,
        entrance: &Entrance,
        exit: &mut Exit<Output>,
        archivist: &mut Archivist,
        disk: &Disk,
    ) {
        // A commit has to come before it, and has not succeeded.
        let mut held: Option<Box<Done>> = None;
        while self.steps < STEPS && disk.health() != Health::Dead {
            self.steps += 1;
            let micros = i64::try_from(self.random.below(400_000)).unwrap();
            self.clock.put(self.clock.now() + micros);
            match self.random.below(12) {
                0..=2 => self.write(),
                3 => self.weather(disk),
                4 => self.disturb(),
                _ if held.is_none() => held = self.send(entrance, exit, archivist),
                _ => {}
            }
            if let Some(done) = held.take() {
                if let Err(error) = archivist.make_way(&done.rules, Some(&done.counts)) {
                    excused(disk, &error);
                    held = Some(done);
                } else if archivist.take(*done).is_err() {
                    // The daemon ends over what is left to go wrong here.
                    return;
                }
            }
            archivist.tick().err().into_iter().for_each(|it| excused(disk, &it));
        }
    }

    /// Lets one source hand a chunk over, and gives what became of it.
    fn send(
        &mut self,
        entrance: &Entrance,
        exit: &mut Exit<Output>,
        archivist: &mut Archivist,
    ) -> Option<Box<Done>> {
        let mut random = self.random.fork();
        let life = Life { catalog: &archivist.archive().catalog, entrance, now: self.clock.now() };
        let which = random.index(self.senders().count());
        let sent = self.senders().nth(which).is_some_and(|it| it.send(&life, &mut random));
        sent.then(|| received(exit))
    }

    /// Reads everything, and commits it.
    fn finish(&mut self, entrance: &Entrance, exit: &mut Exit<Output>, archivist: &mut Archivist) {
        for round in 0.. {
            assert!(round < 10_000, "it does not come to an end");
            let mut any = false;
            let mut random = self.random.fork();
            for which in 0..self.senders().count() {
                let catalog = &archivist.archive().catalog;
                let life = Life { catalog, entrance, now: self.clock.now() };
                if self.senders().nth(which).is_some_and(|it| it.send(&life, &mut random)) {
                    any = true;
                    archivist.take(*received(exit)).unwrap();
                }
            }
            archivist.commit().unwrap();
            if !any && self.senders().all(|it| it.done()) {
                break;
            }
        }
        archivist.seal_all().unwrap();
    }

    /// How the disk is from here on.
    fn weather(&mut self, disk: &Disk) {
        let health = match self.random.below(8) {
            0 | 1 => Health::Failing,
            2 => Health::Full,
            3 => Health::Slow,
            _ => Health::Well,
        };
        disk.put(health);
        disk.kill_at_one_in((self.random.below(3) == 0).then_some(25));
    }

    fn disturb(&mut self) {
        match self.random.below(3) {
            0 => self.partitions.iter_mut().for_each(Partition::rebalance),
            1 => self.logs.iter_mut().for_each(Log::rotate),
            _ => {
                let which = self.random.index(self.logs.len());
                self.logs[which].rotate();
            }
        }
    }

    /// Something happens in the clusters.
    fn write(&mut self) {
        let count = 1 + self.random.index(12);
        match self.random.below(5) {
            0..=2 => {
                let which = self.random.index(self.logs.len());
                let cluster = self.logs[which].cluster.to_string();
                for _ in 0..count {
                    let mut line = match self.random.below(15) {
                        // Lines that are no event are counted, not known. A file that is nothing but how the
                        // next one begins would be taken for it: docs/sources.md.
                        0 if self.logs[which].begins() => {
                            self.written += 1;
                            format!("no event at all, {}", self.written).into_bytes()
                        }
                        0 => b"no event at all".to_vec(),
                        _ => self.event(),
                    };
                    self.want(&cluster, &line);
                    line.push(b'\n');
                    self.logs[which].write(&line);
                }
            }
            3 => {
                let which = self.random.index(self.partitions.len());
                let cluster = ["c", "d"][which];
                for _ in 0..count {
                    let record = self.event();
                    self.want(cluster, &record);
                    self.partitions[which].produce(record);
                }
            }
            _ => {
                let batch: Vec<Vec<u8>> = (0..count).map(|_| self.event()).collect();
                batch.iter().for_each(|it| self.want("c", it));
                self.poster.post(batch);
            }
        }
    }

    /// A new event; now and then of yesterday, and now and then with the audit ID of another.
    fn event(&mut self) -> Vec<u8> {
        self.written += 1;
        let id = if self.random.below(20) == 0 { 7 } else { self.written };
        let verb = ["get", "list", "create"][self.random.index(3)];
        let yesterday = if self.random.below(10) == 0 { 86_400_000_000 } else { 0 };
        let mut time = Vec::new();
        write_micros(self.clock.now() - yesterday, &mut time);
        let time = String::from_utf8(time).unwrap();
        format!(
            r#"{{"kind":"Event","auditID":"{id}","stage":"ResponseComplete","verb":"{verb}","requestURI":"/{}","stageTimestamp":"{time}"}}"#,
            self.written
        )
        .into_bytes()
    }

    fn want(&mut self, cluster: &str, line: &[u8]) {
        *self.wanted.entry((cluster.to_owned(), line.to_vec())).or_default() += 1;
        if let Ok(event) = decode::line(line) {
            let origin = Origin { cluster, source: "", position: 0 };
            let mut found = Vec::new();
            scan(&event, &self.rules, &mut Scratch::default(), &origin, &mut found);
            self.findings.extend(found.into_iter().map(|it| it.id));
        }
    }

    fn assert_kept_once(&self) {
        let dir: &Path = self.dir.path();
        let catalog = Catalog::open(dir).unwrap();
        let mut stored: BTreeMap<(String, Vec<u8>), u64> = BTreeMap::new();
        let mut places = BTreeSet::new();
        for file in catalog.files(&Scope::default()).unwrap() {
            read::lines(&file.path, |line| {
                *stored.entry((file.cluster.clone(), line.bytes.to_vec())).or_default() += 1;
                assert!(places.insert(line.seq), "two events have the place {}", line.seq);
            })
            .unwrap();
        }
        for (line, count) in &self.wanted {
            let text = || String::from_utf8_lossy(&line.1).into_owned();
            assert_eq!(stored.get(line).unwrap_or(&0), count, "{}: {}", line.0, text());
        }
        assert_eq!(stored.len(), self.wanted.len(), "lines that nobody wrote");
        assert_eq!(i64::try_from(places.len()).unwrap(), catalog.next_seq().unwrap());
        verify(dir, |it| assert_eq!(it.state, State::Whole, "{} {}", it.kind, it.id)).unwrap();
        let named = catalog.files(&Scope::default()).unwrap().into_iter().map(|it| it.path);
        let ours = |it: &PathBuf| it.extension().is_some_and(|it| it == "parquet" || it == "tmp");
        let there = files_below(dir).into_iter().filter(ours);
        assert_eq!(there.collect::<BTreeSet<_>>(), named.collect(), "left over, or not there");
        let found = catalog.findings(u64::MAX).unwrap();
        let reused = found.iter().filter(|it| it.rule == "kustos-audit-id-reused").count();
        // One for each source that it came from again.
        assert!(reused <= 6, "{reused}");
        let found: BTreeSet<String> =
            found.into_iter().filter(|it| it.rule == "t").map(|it| it.id).collect();
        assert_eq!(found, self.findings);
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    entries.flat_map(|it| if it.is_dir() { files_below(&it) } else { vec![it] }).collect()
}

/// On a disk that is well nothing fails: what failed before is made good in the same life.
fn excused(disk: &Disk, error: &ArchivistError) {
    assert_ne!(disk.health(), Health::Well, "{}", kustos::cause::line(error));
}

fn received(exit: &mut Exit<Output>) -> Box<Done> {
    match exit.next(Duration::from_secs(60)) {
        Received::Done(Output::Done(done)) => done,
        _ => panic!("a chunk went in and did not come out"),
    }
}
