//! Matching allocates nothing for an event that no rule matches, once a worker has seen the likes of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kustos::decode;
use kustos::event::Event;
use kustos::rules::{Profile, Scratch, shipped};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // While a thread ends there is no counter any more, and nothing to be counted.
    COUNT.try_with(|it| it.set(it.get() + 1)).unwrap_or(());
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; it hands every call on")]
// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_event_that_matches_nothing_costs_no_allocation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/audit-sample.log");
    let log = std::fs::read_to_string(path).unwrap();
    let events: Vec<Event<'_>> =
        log.lines().map(|line| decode::line(line.as_bytes()).unwrap()).collect();
    let rules = shipped(Profile::Standard).unwrap();
    let (mut scratch, mut found) = (Scratch::default(), Vec::new());
    let mut quiet = Vec::new();
    for event in &events {
        rules.matches(event, &mut scratch, &mut found);
        if found.is_empty() {
            quiet.push(event);
        }
    }
    assert!(quiet.len() > events.len() / 2, "{} of {}", quiet.len(), events.len());
    let mut dear = Vec::new();
    for event in quiet {
        let before = COUNT.get();
        rules.matches(event, &mut scratch, &mut found);
        if COUNT.get() > before {
            dear.push((COUNT.get() - before, event.line()));
        }
    }
    assert!(COUNT.get() > 0, "nothing was counted");
    assert!(dear.is_empty(), "{} events allocate, such as {:?}", dear.len(), dear.first());
}
