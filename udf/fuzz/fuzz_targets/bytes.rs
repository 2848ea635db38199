//! Fuzz target: arbitrary bytes as input of any function.
//!
//! Each input ends in an answer or an error, never in a panic, a hang or an out-of-bounds read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_udf::functions::FUNCTIONS;
use posthouse_udf::serve::serve;

fuzz_target!(|data: &[u8]| {
    let Some((first, input)) = data.split_first() else { return };
    let function = FUNCTIONS[usize::from(*first) % FUNCTIONS.len()];
    let _ = serve(function, input, std::io::sink());
});
