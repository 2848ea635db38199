//! Replay of the fuzz corpus.
//!
//! Each input is answered or refused without a panic.

#[path = "../fuzz/block_of_values.rs"]
mod block_of_values;

use std::fs;
use std::path::Path;

use crate::functions::FUNCTIONS;
use crate::serve::{ServeError, serve};

/// Returns the corpus of a fuzz target.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(folder).unwrap();
    let inputs: Vec<_> = files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() > 50, "only {} inputs of {target} are left", inputs.len());
    inputs
}

#[test]
fn any_bytes_are_answered_or_refused() {
    let (mut answered, mut refused) = (0, 0);
    for input in inputs("bytes") {
        let Some((first, input)) = input.split_first() else { continue };
        let function = FUNCTIONS[usize::from(*first) % FUNCTIONS.len()];
        match serve(function, input, std::io::sink()) {
            Ok(()) => answered += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}

#[test]
fn any_values_are_answered_or_refused_for_what_they_are() {
    let (mut answered, mut refused) = (0, 0);
    for input in inputs("values") {
        let Some((function, _, block)) = block_of_values::block_of_values(&input) else { continue };
        match serve(function, &*block, std::io::sink()) {
            Ok(()) => answered += 1,
            Err(ServeError::Rule(_)) => refused += 1,
            Err(error) => panic!("{function}: {error}"),
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}
