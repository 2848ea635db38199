//! Source files of the project, with comments and code apart.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the whole project.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below `folder` whose names end with `.` and `extension`, sorted, with paths from the root.
pub(super) fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let root = root();
    let relative = |(path, text): (PathBuf, String)| {
        let name = path.strip_prefix(&root).expect("a path below the root");
        (name.display().to_string(), text)
    };
    files_below(&root.join(folder), extension).into_iter().map(relative).collect()
}

/// The same for any folder, with whole paths.
pub(super) fn files_below(folder: &Path, extension: &str) -> Vec<(PathBuf, String)> {
    let (mut open, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry of a folder").path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).expect("a text file");
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Whether a line of Rust is a comment.
pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Rust files of a crate's `src` that are not tests.
pub(super) fn library(folder: &str) -> Vec<(String, String)> {
    let is_test = |path: &str| path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "corpus.rs"));
    let below = folder.len();
    files(folder, "rs").into_iter().filter(|(path, _)| !is_test(&path[below..])).collect()
}
