//! Generated XML declaration of the UDFs.
//!
//! The template sets the values that all functions share. `stderr_reaction` is `throw`, because a
//! program writes to stderr only why it fails, and this belongs in the query's error.
//! `deterministic` is set where a result depends only on the block. `lifetime` is 0 because the
//! file changes only with an install, which reloads it.

use std::path::Path;

use anyhow::Context;
use minijinja::{Environment, UndefinedBehavior, context};
use posthouse_udf::functions::{FUNCTIONS, RESULT_NAME, Reads};

const TEMPLATE: &str = include_str!("functions.xml.jinja");

/// Processes per function on a node, which is the number of blocks processed at once. 16 is
/// ClickHouse's default and matches the threads of a query on most machines. An idle process costs
/// a few MiB, and further threads wait for a free process.
const POOL_SIZE: u32 = 16;

/// Seconds that a block waits for a free process before the query fails (ClickHouse waits ten times
/// as long). Only queries with far more threads in total than processes wait at all. ClickHouse's
/// default.
const WAIT_FOR_PROCESS_S: u32 = 10;

/// Milliseconds in which the program must read or write the next bytes of a block. A block takes
/// milliseconds. Three times ClickHouse's default lets a node swap or stall for a while before
/// queries fail.
const BLOCK_TIMEOUT_MS: u32 = 30_000;

/// Seconds between the end of a program's input and SIGTERM. A program exits at once by itself.
const TERMINATION_TIMEOUT_S: u32 = 5;

/// Start of every declaration file written by posthouse.
const HEADER: &[u8] = b"<!-- Written by `posthouse udf install`";

/// Whether any version of posthouse wrote a declaration file with this content.
pub(super) fn is_ours(content: &[u8]) -> bool {
    content.starts_with(HEADER)
}

/// The error of a declaration file that posthouse did not write. No file is written or removed.
pub(super) fn not_ours(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} was not written by posthouse udf install: correct functions in the config, or move it away",
        path.display()
    )
}

/// The declaration file for the program at `program`, a path below `user_scripts`.
///
/// # Errors
/// Fails only because of a bug in the template.
pub fn functions_xml(program: &str) -> anyhow::Result<String> {
    let functions: Vec<_> = FUNCTIONS
        .iter()
        .map(|function| {
            let arguments = function.arguments.iter();
            let arguments: Vec<_> = arguments
                .map(|argument| context! { name => argument.name, type => argument.data_type.to_string() })
                .collect();
            let deterministic = u8::from(function.reads == Reads::Arguments);
            context! { name => function.name, arguments, returns => function.returns.to_string(), deterministic }
        })
        .collect();
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let values = context! {
        functions,
        program,
        return_name => RESULT_NAME,
        pool_size => POOL_SIZE,
        wait_for_process_s => WAIT_FOR_PROCESS_S,
        block_timeout_ms => BLOCK_TIMEOUT_MS,
        termination_timeout_s => TERMINATION_TIMEOUT_S,
    };
    let xml =
        environment.render_str(TEMPLATE, values).context("can't render a template: please report this")?;
    Ok(xml + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_registry_is_declared_with_its_types() {
        let xml = functions_xml("posthouse-1.2.3-01234567/posthouse-udf").expect("xml");
        assert_eq!(xml.matches("<function>").count(), FUNCTIONS.len());
        for function in FUNCTIONS {
            let command =
                format!("<command>posthouse-1.2.3-01234567/posthouse-udf {}</command>", function.name);
            assert!(xml.contains(&command), "{xml}");
            assert!(xml.contains(&format!("<return_type>{}</return_type>", function.returns)), "{xml}");
        }
        let arguments: usize = FUNCTIONS.iter().map(|function| function.arguments.len()).sum();
        assert_eq!(xml.matches("<argument>").count(), arguments);
        assert!(xml.ends_with("</functions>\n"));
        assert!(is_ours(xml.as_bytes()) && !is_ours(b"<functions/>") && !is_ours(b""));
    }

    #[test]
    fn nothing_in_the_registry_needs_escaping() {
        for function in FUNCTIONS {
            let arguments = function.arguments.iter().map(ToString::to_string).collect::<String>();
            let texts = [function.name.to_owned(), function.returns.to_string(), arguments];
            assert!(!texts.concat().contains(['<', '>', '&']), "{texts:?}");
        }
    }
}
