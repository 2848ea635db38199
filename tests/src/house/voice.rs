//! Words and widths of comments and documents.

use std::collections::BTreeMap;
use std::fs;

use super::sources::{files, is_comment, root};

const FOLDERS: [&str; 3] = ["sidecar/src", "udf/src", "tests"];

/// Columns of a comment or a line of prose.
const MAX_COLUMNS: usize = 100;

/// Words per 10,000 words of comments, at most.
const BARS: [(&str, f64); 9] = [
    ("what", 15.0),
    ("nothing", 8.0),
    ("stands", 1.0),
    ("somebody", 1.0),
    ("nobody", 1.0),
    ("again", 5.0),
    ("tells", 1.0),
    ("told", 1.0),
    ("anew", 1.0),
];

#[test]
fn comments_use_the_words_of_the_field() {
    let (mut total, mut counts) = (0_u32, BTreeMap::<String, u32>::new());
    for folder in FOLDERS {
        for (_, text) in files(folder, "rs") {
            for line in text.lines().filter(|line| is_comment(line)) {
                total += u32::try_from(line.split_whitespace().count()).expect("a short line");
                for word in line.split(|c: char| !c.is_alphabetic()) {
                    *counts.entry(word.to_lowercase()).or_default() += 1;
                }
            }
        }
    }
    for (word, bar) in BARS {
        let count = counts.get(word).copied().unwrap_or_default();
        let rate = 1e4 * f64::from(count) / f64::from(total);
        assert!(rate <= bar, "{word:?}: {rate:.1} per 10,000 words of comments, {bar} at most");
    }
}

#[test]
fn comments_fit_their_columns() {
    let mut wide = Vec::new();
    for folder in FOLDERS {
        for (path, text) in files(folder, "rs") {
            let lines = text.lines().zip(1..).filter(|(line, _)| is_comment(line));
            let lines = lines.filter(|(line, _)| line.chars().count() > MAX_COLUMNS);
            wide.extend(lines.map(|(_, number)| format!("{path}:{number}")));
        }
    }
    assert!(wide.is_empty(), "comments of more than {MAX_COLUMNS} columns: {wide:#?}");
}

#[test]
fn comments_of_sql_and_of_example_files_fit_their_columns() {
    let examples = ["posthouse.example.toml", "mapping.example.toml"];
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let examples = examples.map(|path| (path.to_owned(), read(path)));
    let mut wide = Vec::new();
    for (path, text) in files("sql", "sql").into_iter().chain(examples) {
        let is_comment = |line: &str| line.trim_start().starts_with(['-', '#']);
        let lines = text.lines().zip(1..).filter(|(line, _)| is_comment(line));
        let lines = lines.filter(|(line, _)| line.chars().count() > MAX_COLUMNS);
        wide.extend(lines.map(|(_, number)| format!("{path}:{number}")));
    }
    assert!(wide.is_empty(), "comments of more than {MAX_COLUMNS} columns: {wide:#?}");
}

#[test]
fn prose_of_documents_fits_its_columns() {
    let mut wide = Vec::new();
    // The page of functions is generated from the registry, whose texts are code.
    let is_generated = |path: &str| matches!(path, "udf/FUNCTIONS.md" | "docs/reference/functions.md");
    for (path, text) in super::links::documents().into_iter().filter(|(path, _)| !is_generated(path)) {
        let mut is_code = false;
        for (line, number) in text.lines().zip(1..) {
            is_code ^= line.trim_start().starts_with("```");
            // A table's row is one line, and a link may be longer than a line.
            let is_prose = !is_code && !line.starts_with(['|', '#']) && !line.starts_with("    ");
            let is_word = !line.trim().contains(' ') || line.contains("](");
            if is_prose && !is_word && line.chars().count() > MAX_COLUMNS {
                wide.push(format!("{path}:{number}"));
            }
        }
    }
    assert!(wide.is_empty(), "prose of more than {MAX_COLUMNS} columns: {wide:#?}");
}
