//! `posthouse`: entry point of the command line.

// Both macros panic when the reader of their output is gone. cli/notices.rs and cli/output.rs
// write instead.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Arguments::try_parse() {
        Ok(arguments) => cli::run(&arguments),
        Err(error) => cli::wrong_usage(&error),
    }
}
