//! Names of types, each unique in its crate.

use std::collections::BTreeMap;

use super::sources::library;

/// The crates, each by the folder of its sources.
const CRATES: [&str; 2] = ["sidecar/src", "udf/src"];

/// The name of a type that a line declares at the top of its file.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub").map_or(line, |rest| {
        rest.strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .map_or(rest, |(_, rest)| rest)
            .trim_start()
    });
    let (kind, rest) = line.split_once(' ')?;
    let is_type = matches!(kind, "struct" | "enum" | "trait" | "type" | "union");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    is_type.then_some(&rest[..end])
}

#[test]
fn each_name_of_a_type_is_unique_in_its_crate() {
    for folder in CRATES {
        let mut places = BTreeMap::<String, Vec<String>>::new();
        for (path, text) in library(folder) {
            for name in text.lines().filter_map(declared) {
                places.entry(name.to_owned()).or_default().push(path.clone());
            }
        }
        places.retain(|_, places| places.len() > 1);
        assert!(places.is_empty(), "shared names in {folder}: {places:#?}");
    }
}

#[test]
fn finds_declarations() {
    assert_eq!(declared("pub(crate) struct Table<'a> {"), Some("Table"));
    assert_eq!(declared("pub enum Kind {"), Some("Kind"));
    assert_eq!(declared("type Key = u8;"), Some("Key"));
    assert_eq!(declared("    type Item = u8;"), None);
    assert_eq!(declared("pub fn structure() {"), None);
}
