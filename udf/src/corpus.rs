//! Replays the inputs by which the fuzzer reached new code: each is answered or refused, and none panics.

use std::fs;
use std::path::Path;

use crate::functions::FUNCTIONS;
use crate::serve::serve;

#[test]
fn what_the_fuzzer_found_is_answered_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/bytes");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 50, "only {} inputs are left", files.len());
    let (mut answered, mut refused) = (0, 0);
    for file in files {
        let input = fs::read(&file).unwrap();
        let Some((first, input)) = input.split_first() else { continue };
        let function = FUNCTIONS[usize::from(*first) % FUNCTIONS.len()];
        match serve(function, input, std::io::sink()) {
            Ok(()) => answered += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}
