//! A million live groups fit in 512 MB, and what the correlator says it uses is what it uses.
#![allow(unsafe_code, reason = "an allocator that counts is one only by unsafe means")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, shown")]

#[path = "common/stream.rs"]
mod stream;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kustos::detect::{Correlator, Limits};
use kustos::rules::group;

use stream::{counting, event, judged};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

/// What an allocator takes for a request: a header of eight bytes, and a multiple of sixteen.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_million_groups_fit_in_512_mb_and_are_counted_truly() {
    const GROUPS: i64 = 1_000_000;
    let rules = counting("event_count", "  timespan: 1d\n  condition: {gte: 10}\n");
    let one = judged(&rules, "prod-eu", &event(0, "get", "x").to_string()).observations.remove(0);
    let mut out = Vec::new();
    let before = BYTES.load(Ordering::Relaxed);
    let mut correlator = Correlator::new(Arc::clone(&rules), Limits::default());
    for number in 0..GROUPS {
        let mut observation = one.clone();
        let name = format!("system:serviceaccount:team-{}:app-{number:07}", number % 977);
        observation.sight.group = group::encode(&[vec![name]]);
        observation.time = Some(number * 1_000);
        observation.detail = format!("{}{number}", observation.detail).into();
        correlator.observe(observation, &mut out);
        // What is touched goes into a commit each second.
        if number % 10_000 == 0 {
            correlator.changes();
        }
    }
    correlator.changes();
    let used = BYTES.load(Ordering::Relaxed) - before;
    let counts = correlator.counts();
    println!(
        "{} groups: {} MB used, {} MB counted",
        counts.groups,
        used / 1_000_000,
        counts.bytes / 1_000_000
    );
    assert_eq!((counts.groups, counts.evicted), (1_000_000, 0));
    assert!(used <= 512_000_000, "{used} bytes");
    assert!(
        counts.bytes >= used && counts.bytes <= used * 3 / 2,
        "{used} used, {} counted",
        counts.bytes
    );
}
