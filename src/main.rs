//! Parses arguments, runs one command, and turns its end into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    kustos::cli::main()
}
