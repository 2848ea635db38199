//! Fuzz target: damaged files of a person index.
//!
//! Each lookup ends in an answer or an error that names a file. A damage that checksums show changes
//! no answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../damaged_index.rs"]
mod damaged_index;

/// `damaged_index` uses the paths `crate::person` and `crate::snapshot`, because the library's unit
/// tests include it too.
use posthouse_udf::{person, snapshot};

thread_local! {
    static INDEX: damaged_index::DamagedIndex = {
        let folder = std::env::temp_dir().join(format!("posthouse-fuzz-{}", std::process::id()));
        damaged_index::DamagedIndex::new(&folder)
    };
}

fuzz_target!(|data: &[u8]| {
    INDEX.with(|index| index.check(data));
});
