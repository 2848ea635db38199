//! `posthouse-udf FUNCTION`: serves one function on stdin and stdout for ClickHouse.

#![allow(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use posthouse_udf::docs::functions_md;
use posthouse_udf::functions::{FUNCTIONS, Function, find};
use posthouse_udf::process::{close_inherited_descriptors, pipes};
use posthouse_udf::serve::{ServeError, serve};

/// Exit code for wrong usage. Exit code 1 means that the work failed.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    match words[..] {
        ["--help" | "-h"] => print(&usage()),
        ["--version" | "-V"] => print(concat!("posthouse-udf ", env!("CARGO_PKG_VERSION"))),
        ["--list"] => print(&list()),
        ["--docs"] => print(functions_md().trim_end()),
        [name] if let Some(function) = find(name) => run(function),
        [name] => wrong_usage(&format!("unknown function {name:?}")),
        _ => wrong_usage(&format!("expected one argument, found {}", words.len())),
    }
}

/// Prints `text`. Unlike `println!` it doesn't panic if the reader has closed the pipe.
fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(function: &Function) -> ExitCode {
    match serve_pipes(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let abandoned = error.downcast_ref().is_some_and(ServeError::is_abandoned);
            if !abandoned {
                eprintln!("posthouse-udf: {}: {}", function.name, with_causes(&*error));
            }
            ExitCode::FAILURE
        }
    }
}

fn serve_pipes(function: &Function) -> Result<(), Box<dyn Error>> {
    // SAFETY: this is the only thread, and it hasn't opened any descriptor yet.
    unsafe { close_inherited_descriptors()? };
    let (input, output) = pipes(function.reads.idle_work())?;
    Ok(serve(function, input, output)?)
}

/// Formats the error and its causes as one line, because ClickHouse quotes stderr in its own error.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

fn wrong_usage(fault: &str) -> ExitCode {
    eprintln!("posthouse-udf: {fault}\n\n{}", usage());
    ExitCode::from(USAGE)
}

fn usage() -> String {
    format!(
        "Usage: posthouse-udf FUNCTION | --list | --docs | --help | --version\n\n\
         Serves one function on standard input and output. ClickHouse starts it as an executable_pool \
         function with format Native and no chunk header.\n\nFunctions:\n{}",
        list()
    )
}

fn list() -> String {
    let lines = FUNCTIONS.iter().map(|function| format!("  {function}\n      {}", function.doc));
    lines.collect::<Vec<_>>().join("\n")
}
