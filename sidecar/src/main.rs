//! `posthouse`: reads the command line and the config, starts logs and Tokio, and does one verb.

// Both panic when their reader has gone: cli/notices.rs and cli/output.rs write.
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
