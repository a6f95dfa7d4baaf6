//! Parses arguments, runs one command, and turns its end into an exit code.

use std::process::ExitCode;

/// Chosen on evidence: docs/decisions/008-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kustos::cli::main()
}
