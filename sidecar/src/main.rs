//! `posthouse`: entry point of the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse::run_command_line()
}
