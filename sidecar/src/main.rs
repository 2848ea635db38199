//! `posthouse`: reads the command line and the config, starts logs and Tokio, and does one verb.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Arguments::try_parse() {
        Ok(arguments) => cli::run(&arguments),
        Err(error) => cli::wrong_usage(&error),
    }
}
