//! The real process follows logs that are written as an API server writes them, is killed and
//! started again at random moments, and at the end has every line once.
//!
//! `SCHEDULES=2000 cargo test --test rotation` runs that many schedules, `SEED=… cargo test --test
//! rotation` the group of schedules that failed. One schedule is at the sizes of an API server's defaults,
//! files of 100 MiB; `FULL_SIZE=20` runs as many of these, from seed `FULL_SIZE_SEED`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

#[path = "rotation/daemon.rs"]
mod daemon;
#[path = "rotation/lumberjack.rs"]
mod lumberjack;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use daemon::{Daemon, Running};
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;
use kustos::hex::hex;
use kustos::seal::leaf::leaf;
use lumberjack::{Generation, Lumberjack, Setting, Sight};

/// Logs that one process follows: each is a schedule of its own, all share the kills.
const LOGS: usize = 10;

/// Schedules that are run unless `SCHEDULES` says otherwise.
const SCHEDULES: usize = 40;

/// Long enough for a slow machine; a test that waits that long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A seeded generator (xorshift64*), so that a failure can be repeated.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    fn of(seed: u64) -> Random {
        // Seeds are counted up; neighbours must not look alike.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| assert!(random.below(2) < 2));
        random
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

#[test]
fn logs_that_rotate_as_an_api_servers_are_kept_once_through_kills() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        println!("{:?}", group(seed));
        return;
    }
    let groups = number("SCHEDULES").unwrap_or(SCHEDULES as u64).div_ceil(LOGS as u64);
    let first = number("FIRST").unwrap_or(1);
    let mut sum = Sum::default();
    for seed in first..first + groups {
        match std::panic::catch_unwind(|| group(seed)) {
            Ok(it) => sum.add(&it),
            Err(_) => {
                panic!("repeat with: SEED={seed} cargo test --no-default-features --test rotation")
            }
        }
    }
    println!("{} schedules: {sum:?}", groups * LOGS as u64);
    assert!(sum.kills > 0 && sum.rotations > 0 && sum.compressed > 0 && sum.deleted > 0);
}

/// What schedules came to.
#[derive(Debug, Default)]
struct Sum {
    lines: u64,
    rotations: u64,
    compressed: u64,
    deleted: u64,
    collisions: u64,
    restarts: u64,
    kills: u64,
    /// Lines of files that were deleted unread, and that are told of.
    lost: u64,
    /// Logs whose writer deleted unread files.
    lossy: u64,
    /// Logs of which it was told that files may have been deleted unread, and none was.
    alarms: u64,
}

impl Sum {
    fn add(&mut self, more: &Sum) {
        self.lines += more.lines;
        self.rotations += more.rotations;
        self.compressed += more.compressed;
        self.deleted += more.deleted;
        self.collisions += more.collisions;
        self.restarts += more.restarts;
        self.kills += more.kills;
        self.lost += more.lost;
        self.lossy += more.lossy;
        self.alarms += more.alarms;
    }
}

fn group(seed: u64) -> Sum {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::of(seed);
    let mut logs: Vec<Lumberjack> = (0..LOGS)
        .map(|at| Lumberjack::new(&dir.path().join(format!("log-{at}")), Setting::of(&mut random)))
        .collect();
    let source = |it: &Lumberjack| format!("cluster: {}, path: {}", it.cluster(), text(it.path()));
    let daemon = Daemon::new(dir.path(), logs.iter().map(source));
    let mut sum = Sum::default();
    for _ in 0..=random.below(3) {
        run_ops(&mut logs, &mut random, &daemon);
        let child = daemon.start();
        // Some are killed before they have begun, some in the middle of their work.
        let steps = 1 + random.below(12);
        for _ in 0..steps {
            run_ops(&mut logs, &mut random, &daemon);
            std::thread::sleep(Duration::from_millis(random.below(25)));
        }
        if random.one_in(4) {
            child.end()
        } else {
            child.kill()
        }
        sum.kills += 1;
    }
    let child = daemon.start();
    run_ops(&mut logs, &mut random, &daemon);
    logs.iter_mut().for_each(Lumberjack::settle);
    for log in &logs {
        wait_until_kept(&daemon, log);
    }
    logs.iter().for_each(|it| wait_until_told(&daemon, it));
    child.end();
    for log in &logs {
        check(&daemon, log, &mut sum);
    }
    sum
}

fn run_ops(logs: &mut [Lumberjack], random: &mut Random, daemon: &Daemon) {
    for _ in 0..random.below(80) {
        let at = usize::try_from(random.below(logs.len() as u64)).unwrap();
        let log = &mut logs[at];
        let (cluster, name) = (log.cluster(), text(log.path()));
        log.step(random, &mut |generation| sight(daemon, &cluster, &name, generation));
    }
}

/// What has become of a file of a log by now.
fn sight(daemon: &Daemon, cluster: &str, name: &str, generation: &Generation) -> Sight {
    if is_kept(daemon, cluster, generation) {
        return Sight::Kept;
    }
    let catalog = Catalog::open(&daemon.archive).ok();
    let followed = catalog.and_then(|it| it.meta(&format!("following:{cluster}:{name}")).unwrap());
    if followed.is_some() { Sight::Unread } else { Sight::NeverSeen }
}

#[test]
fn logs_of_the_api_servers_default_size_are_kept_once_through_kills() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let first = number("FULL_SIZE_SEED").unwrap_or(1);
    for seed in first..first + number("FULL_SIZE").unwrap_or(1) {
        let since = Instant::now();
        let sum = full_size(seed);
        println!("FULL_SIZE_SEED={seed}: {sum:?}, {} s", since.elapsed().as_secs());
        assert!(sum.rotations >= ROTATIONS && sum.kills > 0 && sum.lost == 0 && sum.alarms == 0);
    }
}

/// Rotations of a full-size schedule.
const ROTATIONS: u64 = 2;

/// Bytes that are written between two looks at it.
const BURST: u64 = 16 << 20;

/// One log that is written as fast as can be. The process is killed in the middle of a file, or just
/// after a rotation, or it is down while a file is rotated; some of its starts are killed at once.
fn full_size(seed: u64) -> Sum {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::of(seed);
    let mut log = Lumberjack::new(&dir.path().join("log"), Setting::defaults());
    let (cluster, name) = (log.cluster(), text(log.path()));
    let source = format!("cluster: {cluster}, path: {name}");
    let daemon = Daemon::new(dir.path(), std::iter::once(source));
    let mut sum = Sum::default();
    let mut child = Some(daemon.start());
    while log.counts.rotations < ROTATIONS {
        let rotations = log.counts.rotations;
        let bytes = 1 + random.below(BURST);
        log.burst(&mut random, bytes, &mut |it| sight(&daemon, &cluster, &name, it));
        let rotated = log.counts.rotations > rotations;
        if rotated || random.one_in(4) {
            std::thread::sleep(Duration::from_millis(random.below(50)));
            sum.kills += u64::from(child.is_some());
            child.take().into_iter().for_each(Running::kill);
        }
        // At times it stays down for a while, and what it finds then is more than it has read.
        if child.is_none() && !random.one_in(3) {
            child = Some(daemon.start());
        }
    }
    let child = child.unwrap_or_else(|| daemon.start());
    log.burst(&mut random, BURST, &mut |it| sight(&daemon, &cluster, &name, it));
    log.settle();
    wait_until_kept(&daemon, &log);
    child.end();
    check(&daemon, &log, &mut sum);
    sum
}

/// Whether a file's lines are all committed.
fn is_kept(daemon: &Daemon, cluster: &str, generation: &Generation) -> bool {
    let Some(first) = generation.lines().next() else { return true };
    let Ok(catalog) = Catalog::open(&daemon.archive) else { return false };
    let sources = catalog.sources(cluster, &hex(&leaf(first))).unwrap();
    let end = generation.bytes.len() as u64;
    sources.iter().any(|it| it.boundaries.iter().any(|it| it.end == end))
}

fn wait_until_kept(daemon: &Daemon, log: &Lumberjack) {
    let since = Instant::now();
    let cluster = log.cluster();
    for (path, generation) in log.present() {
        // The last line of the live file may be half written for ever.
        let mut whole = generation.clone();
        if path == log.path() {
            let end = whole.bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
            whole.bytes.truncate(end);
        }
        while !is_kept(daemon, &cluster, &whole) {
            let name = path.display();
            assert!(since.elapsed() < PATIENCE, "{name} is not kept; {:?}", daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What is lost is told after all files were seen, which can be a moment after they are kept.
fn wait_until_told(daemon: &Daemon, log: &Lumberjack) {
    let since = Instant::now();
    let unread = log.generations().iter().any(|it| it.deleted == Some(Sight::Unread));
    let told = || {
        let findings = Catalog::open(&daemon.archive).unwrap().findings(u64::MAX).unwrap();
        findings.iter().any(|it| it.cluster == log.cluster() && it.rule == "kustos-source-gap")
    };
    // It may have been read all the same, as a file that was open.
    while unread && since.elapsed() < Duration::from_secs(3) && !told() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every line once; what was deleted unread is told of, and nothing is told of for no reason.
fn check(daemon: &Daemon, log: &Lumberjack, sum: &mut Sum) {
    let (catalog, cluster) = (Catalog::open(&daemon.archive).unwrap(), log.cluster());
    let mut stored: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    let scope = Scope { cluster: Some(cluster.clone()), ..Scope::default() };
    for file in catalog.files(&scope).unwrap() {
        read::lines(&file.path, |line| *stored.entry(line.bytes.to_vec()).or_default() += 1)
            .unwrap();
    }
    let mut lost = Vec::new();
    for generation in log.generations() {
        let whole = log.is_live(generation);
        for line in generation.lines().filter(|it| !whole || generation.has_whole(it)) {
            match stored.get_mut(line) {
                Some(count) if *count > 0 => *count -= 1,
                _ => lost.push((generation.deleted, String::from_utf8_lossy(line).into_owned())),
            }
            sum.lines += 1;
        }
    }
    let extra: Vec<_> = stored.iter().filter(|it| *it.1 > 0).collect();
    // Half a line at the end of a file that is not written any more is a row; it became whole when
    // the file was still written, if the process looked just then.
    assert!(extra.is_empty(), "{cluster}: stored twice or never written: {extra:?}; {log:?}");
    let told: Vec<String> = catalog
        .findings(u64::MAX)
        .unwrap()
        .into_iter()
        .filter(|it| it.cluster == cluster && it.rule != "kustos-source-headroom")
        .map(|it| it.body)
        .collect();
    let deleted = log.generations().iter().any(|it| it.deleted.is_some());
    let unread = log.generations().iter().any(|it| it.deleted.is_some_and(|it| it != Sight::Kept));
    let unkept = |it: &Option<Sight>| it.is_some_and(|it| it != Sight::Kept);
    assert!(lost.iter().all(|it| unkept(&it.0)), "{cluster}: lost: {lost:?}; {log:?}");
    // Of a log that was never looked at, nobody knows what it was.
    let unknown = lost.iter().all(|it| it.0 == Some(Sight::NeverSeen));
    assert!(unknown || !told.is_empty(), "{cluster}: lost and not told: {lost:?}; {log:?}");
    // After a restart it may not be known that a file was read which is deleted just then.
    assert!(deleted || told.is_empty(), "{cluster}: told for no reason: {told:?}; {log:?}");
    sum.lost += lost.len() as u64;
    sum.lossy += u64::from(unread);
    sum.alarms += u64::from(!unread && !told.is_empty());
    sum.rotations += log.counts.rotations;
    sum.compressed += log.counts.compressed;
    sum.deleted += log.counts.deleted;
    sum.collisions += log.counts.collisions;
    sum.restarts += log.counts.restarts;
}

/// A path as the configuration writes it.
fn text(path: &Path) -> String {
    path.display().to_string()
}
