//! Fuzz target: well-formed blocks of arbitrary values for any function.
//!
//! Each block gets a complete answer, or an error about a value and not about the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_udf::serve::{ServeError, serve};

#[path = "../block_of_values.rs"]
mod block_of_values;

/// `block_of_values` uses the path `crate::functions`, because the library's unit tests include it
/// too.
use posthouse_udf::functions;

fuzz_target!(|data: &[u8]| {
    let Some((function, rows, block)) = block_of_values::block_of_values(data) else { return };
    let mut answer = Vec::new();
    match serve(function, &*block, &mut answer) {
        Ok(()) => assert!(answer.starts_with(&[1, rows]), "{function}: {answer:?}"),
        Err(ServeError::Rule(_)) => assert!(answer.is_empty(), "{function}: an answer before the error"),
        Err(error) => panic!("{function}: {error}"),
    }
});
