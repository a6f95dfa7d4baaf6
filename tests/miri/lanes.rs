//! `src/event/lanes.rs` as it is, with its own tests: `make miri` runs them in an interpreter that knows every access.
#![allow(dead_code, unreachable_pub, reason = "the tests use what the library does")]

#[path = "../../src/event/lanes.rs"]
mod lanes;
