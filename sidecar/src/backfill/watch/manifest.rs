//! Manifests and markers of exports, and the files that they say are complete.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;

/// The end of a name whose file lists others. Other markers stand for a folder.
const LIST_SUFFIX: &str = ".json";
/// Names of missing files that a fault shows.
const SHOWN_MISSING: usize = 3;

/// Content of a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MarkerContent {
    /// All files in its folder and below are complete.
    Folder,
    /// The files with these keys are complete.
    List(Vec<String>),
}

/// A marker or a data file of a listing.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedFile<'a> {
    pub(super) location: &'a str,
    pub(super) modified: Option<Timestamp>,
}

/// Files by the markers that cover them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MarkedFiles {
    /// The marker of each complete file.
    pub(crate) complete: BTreeMap<String, String>,
    /// Files without a marker, by folder.
    pub(crate) unmarked: BTreeMap<String, Vec<String>>,
    /// Manifests that list missing files, by location.
    pub(crate) incomplete: BTreeMap<String, IncompleteList>,
}

/// A manifest that lists files which the sources don't have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IncompleteList {
    pub(crate) missing: Vec<String>,
    /// Its other files.
    pub(crate) files: Vec<String>,
}

/// A list of files: `files` as in a batch export of PostHog, with keys from the root of the bucket
/// (`products/batch_exports/backend/temporal/destinations/s3_batch_export.py`), or `entries` as of
/// UNLOAD in Redshift.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FileList {
    Files { files: Vec<String> },
    Entries { entries: Vec<ListEntry> },
}

#[derive(Debug, Deserialize)]
struct ListEntry {
    url: String,
}

impl IncompleteList {
    /// Returns the fault in words.
    pub(crate) fn fault(&self) -> String {
        let shown: Vec<&str> = self.missing.iter().take(SHOWN_MISSING).map(String::as_str).collect();
        let more = match self.missing.len().saturating_sub(SHOWN_MISSING) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "it lists files that the sources don't have: {}{more}: its other files wait for them",
            shown.join(", ")
        )
    }
}

/// Whether the marker lists files, by its name.
pub(super) fn is_list(location: &str) -> bool {
    location.ends_with(LIST_SUFFIX)
}

/// Returns the keys of a list.
///
/// # Errors
/// Fails, in words, if the bytes are no list.
pub(super) fn parse(bytes: &[u8]) -> Result<MarkerContent, String> {
    match serde_json::from_slice(bytes) {
        Ok(FileList::Files { files }) => Ok(MarkerContent::List(files)),
        Ok(FileList::Entries { entries }) => {
            Ok(MarkerContent::List(entries.into_iter().map(|entry| entry.url).collect()))
        }
        Err(_) => {
            Err("it is no JSON object with \"files\": [\"key\", …] or \"entries\": [{\"url\": …}, …]"
                .to_owned())
        }
    }
}

/// Assigns files to markers. A file that was written after its marker is not covered: an export
/// that runs again writes its marker last.
pub(super) fn assign(files: &[ListedFile<'_>], markers: &[(ListedFile<'_>, &MarkerContent)]) -> MarkedFiles {
    let mut marked = MarkedFiles::default();
    let by_location: BTreeMap<&str, ListedFile<'_>> =
        files.iter().map(|file| (file.location, *file)).collect();
    let mut folders = BTreeMap::new();
    let mut held = HashSet::new();
    for (marker, content) in markers {
        match content {
            MarkerContent::Folder => _ = folders.insert(folder(marker.location), *marker),
            MarkerContent::List(keys) => {
                let found = |key: &String| resolve(key, marker.location, |at| by_location.contains_key(at));
                let missing: Vec<String> = keys.iter().filter(|key| found(key).is_none()).cloned().collect();
                let files = keys.iter().filter_map(found);
                if missing.is_empty() {
                    let covered = files.filter(|file| covers(marker, by_location.get(file.as_str())));
                    marked.complete.extend(covered.map(|file| (file, marker.location.to_owned())));
                } else {
                    let files: Vec<String> = files.collect();
                    held.extend(files.iter().cloned());
                    marked.incomplete.insert(marker.location.to_owned(), IncompleteList { missing, files });
                }
            }
        }
    }
    for file in files {
        if marked.complete.contains_key(file.location) || held.contains(file.location) {
            continue;
        }
        match folders_above(file.location).find_map(|folder| folders.get(folder)) {
            Some(marker) if covers(marker, Some(file)) => {
                marked.complete.insert(file.location.to_owned(), marker.location.to_owned());
            }
            _ => {
                let folder = folder(file.location).to_owned();
                marked.unmarked.entry(folder).or_default().push(file.location.to_owned());
            }
        }
    }
    marked
}

fn covers(marker: &ListedFile<'_>, file: Option<&ListedFile<'_>>) -> bool {
    let is_later = |file: &ListedFile<'_>| match (file.modified, marker.modified) {
        (Some(file), Some(marker)) => file > marker,
        _ => false,
    };
    file.is_some_and(|file| !is_later(file))
}

/// Returns the location of a key in a list at `list`: an address, or a path from the folder of the
/// list or one above it, such as the root of the bucket or of its local copy.
fn resolve(key: &str, list: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
    if key.contains("://") {
        return exists(key).then(|| key.to_owned());
    }
    let key = key.trim_start_matches('/');
    folders_above(list).map(|folder| format!("{folder}/{key}")).find(|location| exists(location))
}

fn folder(location: &str) -> &str {
    location.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Returns the folder of a location and the folders above it, up to the root of its store.
fn folders_above(location: &str) -> impl Iterator<Item = &str> {
    // The scheme ends with a slash.
    std::iter::successors(Some(folder(location)), |below| {
        below.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.ends_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(location: &str, second: i64) -> ListedFile<'_> {
        ListedFile { location, modified: Timestamp::from_second(second).ok() }
    }

    fn list(keys: &[&str]) -> MarkerContent {
        MarkerContent::List(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    fn complete(files: &[ListedFile<'_>], markers: &[(ListedFile<'_>, &MarkerContent)]) -> Vec<String> {
        assign(files, markers).complete.into_keys().collect()
    }

    #[test]
    fn a_marker_covers_its_folder_and_no_later_file() {
        let marker = (at("/e/day=1/_SUCCESS", 5), &MarkerContent::Folder);
        let files = [
            at("/e/a", 1),
            at("/e/day=1/a", 1),
            at("/e/day=1/b", 6),
            at("/e/day=1/hour=2/c", 5),
            at("/e/day=10/a", 1),
        ];
        assert_eq!(complete(&files, &[marker]), ["/e/day=1/a", "/e/day=1/hour=2/c"]);
        let unmarked = assign(&files, &[marker]).unmarked;
        assert_eq!(unmarked.keys().collect::<Vec<_>>(), ["/e", "/e/day=1", "/e/day=10"]);
    }

    #[test]
    fn a_list_covers_its_files_by_keys_of_the_bucket_or_of_its_folder() {
        let files = [at("s3://b/p/a.parquet", 1), at("s3://b/p/b.parquet", 1), at("s3://b/p/c.parquet", 1)];
        for (keys, expected) in [
            (&["p/a.parquet", "p/b.parquet"][..], &["s3://b/p/a.parquet", "s3://b/p/b.parquet"][..]),
            (&["/p/a.parquet"], &["s3://b/p/a.parquet"]),
            (&["c.parquet"], &["s3://b/p/c.parquet"]),
            (&["s3://b/p/c.parquet"], &["s3://b/p/c.parquet"]),
            (&["b/p/c.parquet"], &[]),
            (&["p/a.parquet", "p/../p/b.parquet"], &[]),
        ] {
            let marker = (at("s3://b/p/1-2_manifest.json", 5), &list(keys));
            assert_eq!(complete(&files, &[marker]), expected, "{keys:?}");
        }
        let local = [at("/copy/p/a.parquet", 1)];
        let marker = (at("/copy/p/1_manifest.json", 5), &list(&["p/a.parquet"]));
        assert_eq!(complete(&local, &[marker]), ["/copy/p/a.parquet"]);
    }

    #[test]
    fn files_of_a_list_wait_for_missing_ones() {
        let files = [at("/e/a", 1), at("/e/b", 9)];
        let keys = list(&["a", "c", "d"]);
        let marked = assign(&files, &[(at("/e/m.json", 5), &keys)]);
        let incomplete = marked.incomplete.get("/e/m.json").expect("an incomplete list");
        assert_eq!((incomplete.missing.len(), incomplete.files.as_slice()), (2, &["/e/a".to_owned()][..]));
        assert!(incomplete.fault().contains("c, d: its other files wait"), "{}", incomplete.fault());
        assert!(marked.complete.is_empty());
        assert_eq!(marked.unmarked.get("/e"), Some(&vec!["/e/b".to_owned()]));
        // Written again after its manifest.
        let keys = list(&["a", "b"]);
        assert_eq!(complete(&files, &[(at("/e/m.json", 5), &keys)]), ["/e/a"]);
    }

    #[test]
    fn lists_of_batch_exports_and_of_unload_are_read() {
        assert_eq!(parse(br#"{"files": ["a", "b"]}"#), Ok(list(&["a", "b"])));
        let unload =
            br#"{"entries": [{"url": "s3://b/a", "mandatory": true, "meta": {"content_length": 1}}]}"#;
        assert_eq!(parse(unload), Ok(list(&["s3://b/a"])));
        for wrong in ["", "{", "[]", r#"{"files": 1}"#, r#"{"files": [{"key": "a"}]}"#] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(is_list("/e/1_manifest.json") && !is_list("/e/_SUCCESS"));
    }
}
