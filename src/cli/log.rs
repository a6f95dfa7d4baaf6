//! What the program says about itself, on standard error: for people on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// The variable that sets what is logged, in `tracing`'s words: `KUSTOS_LOG=debug`.
pub const VARIABLE: &str = "KUSTOS_LOG";

/// Starts logging. `json`: `None` decides by whether standard error is a terminal.
pub fn start(level: &str, json: Option<bool>) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let terminal = stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    // A second start in one process, as tests do, keeps the first.
    drop(if json.unwrap_or(!terminal) {
        builder.json().try_init()
    } else {
        builder.with_ansi(terminal).try_init()
    });
}
