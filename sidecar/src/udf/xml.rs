//! The XML that declares our functions to a node, made from the registry.
//!
//! What is the same for all functions stands in the template: `stderr_reaction` is `throw`, because a program writes
//! there only why it gives up, and that belongs into the query's error; `deterministic`, because an answer depends
//! on nothing but the block; `lifetime` 0, because the file changes only with an install, which reloads.

use minijinja::{Environment, UndefinedBehavior, context};
use posthouse_udf::functions::{FUNCTIONS, RESULT_NAME};

use super::UdfError;

const TEMPLATE: &str = include_str!("functions.xml.jinja");

/// Processes a node keeps for each function: as many blocks are answered at once. It is ClickHouse's default and the
/// threads of a query on most machines; an idle process costs a few MiB, and further threads wait for a free one.
const POOL_SIZE: u32 = 16;

/// Seconds (of which ClickHouse makes ten times as many) that a block waits for a free process before the query
/// fails. Only queries that together have far more threads than processes wait at all; ClickHouse's default.
const WAIT_FOR_PROCESS_S: u32 = 10;

/// Milliseconds in which the program must take or give the next bytes of a block. A block is answered in
/// milliseconds; three times ClickHouse's default lets a node swap or stall for a while before queries fail.
const BLOCK_TIMEOUT_MS: u32 = 30_000;

/// Seconds between the end of a program's input and SIGTERM. It ends by itself at once.
const TERMINATION_TIMEOUT_S: u32 = 5;

/// How every file that we wrote begins.
const HEADER: &[u8] = b"<!-- Written by `posthouse udf install`";

/// Whether a functions' file with this content was written by us, whatever the version.
pub(super) fn is_ours(content: &[u8]) -> bool {
    content.starts_with(HEADER)
}

/// The whole file, for the program at `program` (a path below `user_scripts`).
///
/// # Errors
/// [`UdfError::Render`], which is a fault of ours.
pub fn functions_xml(program: &str) -> Result<String, UdfError> {
    let functions: Vec<_> = FUNCTIONS
        .iter()
        .map(|function| {
            let arguments = function.arguments.iter();
            let arguments: Vec<_> = arguments
                .map(|argument| context! { name => argument.name, type => argument.data_type.to_string() })
                .collect();
            context! { name => function.name, arguments, returns => function.returns.to_string() }
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
        environment.render_str(TEMPLATE, values).map_err(|source| UdfError::Render(Box::new(source)))?;
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
