//! Well-formed blocks of any values to any function: a whole answer, or an error that is not about the form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_udf::serve::{ServeError, serve};

#[path = "../block_of_values.rs"]
mod block_of_values;

/// The generator names the registry as the library does itself, whose unit tests use it too.
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
