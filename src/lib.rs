//! kustos reads Kubernetes audit events, alerts on the dangerous ones, and keeps
//! every one of them, provably unaltered. The modules stand in the order the data flows.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that cannot go on should stop"
    )
)]

pub mod alert;
pub mod archive;
pub mod cause;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod detect;
pub mod durable;
pub mod event;
pub mod hex;
pub mod metrics;
pub mod pipeline;
pub mod query;
pub mod rules;
pub mod seal;
pub mod serve;
pub mod sink;
pub mod source;
