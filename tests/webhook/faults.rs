//! API servers that post while the program is killed, while its disk is full, and faster than it can keep.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Client, Outcome, Post, deliver};
use super::common::daemon::until;
use super::common::disk::{Disk, stalled};
use super::site::Site;
use super::{ANSWERED, batch, once};

/// Memory that the program may take, in KiB.
const MEMORY_KIB_MAX: u64 = 200 << 10;

/// Events of a batch, as an API server sends them at most.
const EVENTS: usize = 400;

/// Between two batches of an API server, at its fastest.
const EVERY: Duration = Duration::from_millis(100);

/// A second of an API server's pauses: five attempts take 40 s instead of 80.
const SECOND: Duration = Duration::from_millis(500);

/// Held by one of these tests at a time: each is as much as a machine can do.
static ALONE: Mutex<()> = Mutex::new(());

/// Posts batches until it is told to stop: each on a thread of its own at its time, as the batch backend does. Gives
/// what became of each.
struct Backend<'a> {
    post: Post<'a>,
    /// Batches that were told "kept" so far.
    kept: AtomicUsize,
}

impl Backend<'_> {
    fn run(&self, bodies: impl Iterator<Item = Vec<u8>>) -> Vec<(Vec<u8>, Outcome)> {
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (number, body) in bodies.enumerate() {
                let done = &done;
                scope.spawn(move || {
                    let outcome = deliver(&self.post, &body, number % 7 == 3);
                    self.kept.fetch_add(usize::from(outcome.kept), Ordering::SeqCst);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((body, outcome));
                });
                std::thread::sleep(EVERY);
            }
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slowest answer, and how many there were of each code.
fn told(outcomes: &[(Vec<u8>, Outcome)]) -> (Duration, String) {
    let answers = || outcomes.iter().flat_map(|it| &it.1.answers);
    let slowest = answers().map(|it| it.1).max().unwrap_or_default();
    let mut codes: Vec<(u16, usize)> = Vec::new();
    for (code, _) in answers() {
        match codes.iter_mut().find(|it| it.0 == *code) {
            Some(known) => known.1 += 1,
            None => codes.push((*code, 1)),
        }
    }
    (slowest, format!("{} batches, codes {codes:?}, slowest answer {slowest:?}", outcomes.len()))
}

#[test]
fn a_program_that_is_killed_loses_no_batch_and_keeps_none_twice() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const KILLS: usize = 10;
    let site = Site::with(&[("c", "")], "part_age_max: 100ms");
    let client = Client::plain(site.address);
    let (sent, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let bodies = std::iter::from_fn(|| {
        let number = sent.fetch_add(1, Ordering::SeqCst);
        (!ended.load(Ordering::SeqCst)).then(|| batch(number, EVENTS))
    });
    let backend = Backend {
        post: Post { client: &client, path: "/audit/c", second: SECOND },
        kept: AtomicUsize::new(0),
    };
    let outcomes = std::thread::scope(|scope| {
        let posting = scope.spawn(|| backend.run(bodies));
        let mut daemon = site.start();
        for kill in 1..=KILLS {
            // At another point of its work each time, with posts under way.
            let target = backend.kept.load(Ordering::SeqCst) + 5 + kill * 7 % 11;
            until(|| (backend.kept.load(Ordering::SeqCst) >= target).then_some(()));
            std::thread::sleep(Duration::from_millis(u64::try_from(kill * 37 % 100).unwrap()));
            daemon.kill();
            daemon = site.start();
        }
        ended.store(true, Ordering::SeqCst);
        let outcomes = posting.join().unwrap();
        daemon.end();
        outcomes
    });
    let (slowest, told) = told(&outcomes);
    println!("{told}");
    assert!(slowest < ANSWERED, "{told}");
    assert!(outcomes.iter().all(|it| it.1.kept), "the test's own pauses are too short: {told}");
    assert_once(&site, &outcomes);
}

/// Each batch that was told "kept" is there, and none is there twice.
#[track_caller]
fn assert_once(site: &Site, outcomes: &[(Vec<u8>, Outcome)]) {
    let stored = site.stored();
    let kept = once(outcomes.iter().filter(|it| it.1.kept).map(|it| &it.0));
    let lost = kept.keys().filter(|it| !stored.contains_key(*it)).count();
    let doubled = stored.values().filter(|it| **it > 1).count();
    let sent = once(outcomes.iter().map(|it| &it.0));
    let unknown = stored.keys().filter(|it| !sent.contains_key(*it)).count();
    assert_eq!((lost, doubled, unknown), (0, 0, 0), "rows lost, doubled, unknown");
}

#[test]
fn a_full_disk_stops_the_answers_and_not_the_program_and_room_starts_them_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mount = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(mount.path(), "16m") else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = disk.at().join("archive");
    let site = Site::at(dir, &folder, &[("c", "")], "part_age_max: 100ms, segment_age_max: 1s");
    let client = Client::plain(site.address);
    let daemon = site.start();
    let before = batch(0, EVENTS);
    assert_eq!(client.post("/audit/c", &before).unwrap().code, 200);
    assert_eq!(daemon.ask("GET", "/readyz").0, 200);
    disk.fill();
    let (sent, room) = (AtomicUsize::new(1), AtomicBool::new(false));
    let bodies = std::iter::from_fn(|| {
        let number = sent.fetch_add(1, Ordering::SeqCst);
        (!room.load(Ordering::SeqCst)).then(|| batch(number, EVENTS))
    });
    let backend = Backend {
        post: Post { client: &client, path: "/audit/c", second: SECOND },
        kept: AtomicUsize::new(0),
    };
    let outcomes = std::thread::scope(|scope| {
        let posting = scope.spawn(|| backend.run(bodies));
        until(|| stalled(&daemon).then_some(()));
        assert_eq!(daemon.ask("GET", "/readyz").0, 503);
        // Some seconds of a busy API server.
        until(|| (sent.load(Ordering::SeqCst) > 60).then_some(()));
        assert!(stalled(&daemon));
        disk.clear();
        room.store(true, Ordering::SeqCst);
        until(|| (!stalled(&daemon)).then_some(()));
        posting.join().unwrap()
    });
    let (slowest, told) = told(&outcomes);
    println!("{told}, {} KiB at most", daemon.memory_kib());
    assert!(slowest < ANSWERED, "{told}");
    let codes = || outcomes.iter().flat_map(|it| &it.1.answers).map(|it| it.0);
    assert!(codes().all(|it| [200, 429, 503].contains(&it)), "{told}");
    assert!(codes().any(|it| it != 200), "{told}");
    assert!(outcomes.iter().all(|it| it.1.kept), "{told}");
    assert!(daemon.memory_kib() < MEMORY_KIB_MAX);
    assert_eq!(daemon.ask("GET", "/readyz").0, 200);
    assert!(site.found("kustos-archive-stalled").is_some());
    until(|| site.found("kustos-archive-resumed"));
    daemon.end();
    let mut all = outcomes;
    all.push((before, Outcome { kept: true, answers: Vec::new() }));
    assert_once(&site, &all);
}

#[test]
fn an_archive_that_stands_still_costs_neither_memory_nor_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mount = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(mount.path(), "16m") else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = disk.at().join("archive");
    let site = Site::at(dir, &folder, &[("c", "")], "part_age_max: 1s");
    let (client, posted) = (Client::plain(site.address), AtomicUsize::new(0));
    let daemon = site.start();
    disk.fill();
    let (number, slowest) = (AtomicUsize::new(0), Mutex::new(Duration::ZERO));
    // Half a gigabyte, from sixteen connections at one time, faster than any API server.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while posted.load(Ordering::SeqCst) < 512 << 20 {
                    let body = batch(number.fetch_add(1, Ordering::SeqCst), 4 * EVENTS);
                    let since = Instant::now();
                    let answer = client.post("/audit/c", &body);
                    posted.fetch_add(body.len(), Ordering::SeqCst);
                    if let Ok(answer) = answer {
                        assert!([429, 503].contains(&answer.code), "{answer:?}");
                        assert!(answer.head.contains("retry-after: "), "{answer:?}");
                    }
                    let mut slowest = slowest.lock().unwrap_or_else(PoisonError::into_inner);
                    *slowest = since.elapsed().max(*slowest);
                }
            });
        }
    });
    let slowest = slowest.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} KiB at most, slowest answer {slowest:?}", daemon.memory_kib());
    assert!(slowest < ANSWERED, "{slowest:?}");
    assert!(daemon.memory_kib() < MEMORY_KIB_MAX, "{} KiB", daemon.memory_kib());
}

#[test]
fn a_client_that_is_faster_than_the_pipeline_is_put_off_before_memory_is() {
    // With all of 64 MiB under way and the pipeline at work, what was let in is a body, rows and the columns of the
    // next part at one time.
    flood("", 300 << 20, 400 << 10);
}

#[test]
fn a_smaller_bound_takes_less_memory_under_a_flood() {
    flood("inflight_bytes_max: 4MiB", 100 << 20, 180 << 10);
}

/// Posts so many bytes as fast as it goes. The program may take no more memory than that, in KiB.
fn flood(keys: &str, bytes: usize, kib_max: u64) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::with(&[("c", keys)], "part_age_max: 2s");
    let (client, posted) = (Client::plain(site.address), AtomicUsize::new(0));
    let daemon = site.start();
    let number = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    // Twice what may be in flight is under way at one time, whatever the machine can take.
    std::thread::scope(|scope| {
        for _ in 0..120 {
            scope.spawn(|| {
                while posted.load(Ordering::SeqCst) < bytes {
                    let body = batch(number.fetch_add(1, Ordering::SeqCst), 10 * EVENTS);
                    let answer = client.post("/audit/c", &body).unwrap();
                    posted.fetch_add(body.len(), Ordering::SeqCst);
                    if answer.code != 200 {
                        // Asked for a second; an API server waits ten.
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    let outcome = Outcome {
                        kept: answer.code == 200,
                        answers: vec![(answer.code, answer.took)],
                    };
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((body, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (slowest, told) = told(&outcomes);
    println!("{told}, {} KiB at most", daemon.memory_kib());
    assert!(slowest < ANSWERED, "{told}");
    assert!(outcomes.iter().any(|it| it.1.answers[0].0 == 429), "{told}");
    assert!(daemon.memory_kib() < kib_max, "{} KiB", daemon.memory_kib());
}

#[test]
fn under_more_than_it_can_keep_it_keeps_what_it_can() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::with(&[("c", "")], "part_age_max: 500ms");
    let (client, number) = (Client::plain(site.address), AtomicUsize::new(0));
    let daemon = site.start();
    let (kept, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Sixty API servers, each with a batch always ready: many times what a build for tests can take. If all were let in, all
    // would wait in vain.
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                while kept.load(Ordering::SeqCst) < 60 {
                    let body = batch(number.fetch_add(1, Ordering::SeqCst), EVENTS);
                    let answer = client.post("/audit/c", &body).unwrap();
                    assert!(answer.took < ANSWERED, "{answer:?}");
                    match answer.code {
                        200 => kept.fetch_add(1, Ordering::SeqCst),
                        503 => late.fetch_add(1, Ordering::SeqCst),
                        _ => 0,
                    };
                    if answer.code == 429 {
                        std::thread::sleep(Duration::from_millis(200));
                    }
                }
            });
        }
    });
    let (kept, late) = (kept.into_inner(), late.into_inner());
    println!("{kept} batches kept, {late} late, {} sent", number.into_inner());
    assert!(late < kept, "{late} of {kept}");
    daemon.end();
}
