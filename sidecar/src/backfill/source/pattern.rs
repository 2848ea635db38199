//! Globs over paths and keys, and the filter for companion files.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use super::skipped::SkipReason;

/// Suffixes of Parquet file names. Batch exports also name the compression of the pages, though the
/// file itself is not compressed.
const PARQUET: [&str; 3] = [".parquet", ".parq", ".pq"];
const COMPRESSIONS: [&str; 10] =
    [".zst", ".zstd", ".sz", ".snappy", ".gz", ".gzip", ".br", ".brotli", ".lz4", ".lzo"];

/// Folder of rejected rows, which are loaded only if an argument names them.
const QUARANTINE: &str = "quarantine";

/// Decision on a file that a folder or a glob reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Read,
    Skip(SkipReason),
    /// A glob does not match the file.
    Ignore,
}

/// A glob: folders without wildcards, and a pattern for the paths below them.
#[derive(Debug)]
pub(super) struct Pattern {
    base: String,
    below: GlobMatcher,
    /// Most parts of a path that the pattern can match; `None` without a limit.
    max_parts: Option<usize>,
}

impl Pattern {
    pub(super) fn is_glob(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// # Errors
    /// Fails, in words, if the pattern is invalid.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let wildcard = text.find(['*', '?', '[', '{']).unwrap_or(text.len());
        let below = text.get(..wildcard).and_then(|literal| literal.rfind('/')).map_or(0, |slash| slash + 1);
        let (base, below) = text.split_at(below);
        let below = below.trim_end_matches('/');
        // A wildcard stays within its folder; `**` crosses folders.
        let glob = GlobBuilder::new(below).literal_separator(true).build();
        let glob = glob.map_err(|error| format!("invalid pattern: {}", error.kind()))?;
        let max_parts = (!below.contains("**")).then(|| below.split('/').count());
        Ok(Self { base: base.to_owned(), below: glob.compile_matcher(), max_parts })
    }

    /// Returns the folders before the first wildcard, with a trailing slash; empty if there are
    /// none.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Decides on the file at `path`, relative to the base. The pattern may match the file or one
    /// of its folders.
    pub(super) fn choose(&self, path: &str, size: u64) -> Choice {
        if self.below.is_match(path) {
            companion(path, size).map_or(Choice::Read, Choice::Skip)
        } else if self.matches_folder_of(path) {
            choose_data(path, size)
        } else {
            Choice::Ignore
        }
    }

    /// Whether the pattern can match a path below `folder`, relative to the base.
    pub(super) fn reaches(&self, folder: &str) -> bool {
        let parts = folder.split('/').count();
        self.max_parts.is_none_or(|max| parts < max)
            || self.below.is_match(folder)
            || self.matches_folder_of(folder)
    }

    fn matches_folder_of(&self, path: &str) -> bool {
        let mut folders = path.match_indices('/').filter_map(|(slash, _)| path.get(..slash));
        folders.any(|folder| self.below.is_match(folder))
    }
}

/// Decides on a file of a folder by its path relative to the folder.
pub(super) fn choose_data(path: &str, size: u64) -> Choice {
    match companion(path, size) {
        Some(reason) => Choice::Skip(reason),
        None if has_parquet_name(path) => Choice::Read,
        None => Choice::Skip(SkipReason::OtherName),
    }
}

/// Returns the reason to leave a whole folder out, by its name.
pub(super) fn skipped_folder(path: &Path) -> Option<SkipReason> {
    folder_reason(&path.file_name()?.to_string_lossy())
}

/// Returns the part of `path` that names what is left out: the first folder that is left out as a
/// whole, with a slash, or else the file.
pub(super) fn skipped_part(path: &str) -> &str {
    let mut start = 0;
    for (slash, _) in path.match_indices('/') {
        if path.get(start..slash).and_then(folder_reason).is_some() {
            return path.get(..=slash).unwrap_or(path);
        }
        start = slash + 1;
    }
    path
}

/// Returns the reason to leave a companion of the data out: hidden, a manifest, an empty marker, or
/// rejected rows. An empty file with a Parquet name is no companion: it was truncated, and must not
/// be skipped.
fn companion(path: &str, size: u64) -> Option<SkipReason> {
    let (folders, name) = path.rsplit_once('/').map_or(("", path), |(folders, name)| (folders, name));
    let in_folder = folders.split('/').find_map(folder_reason);
    let by_name = || match name {
        _ if is_hidden(name) => Some(SkipReason::Hidden),
        _ if name.ends_with("manifest.json") => Some(SkipReason::Manifest),
        _ if size == 0 && !has_parquet_name(name) => Some(SkipReason::EmptyMarker),
        _ => None,
    };
    in_folder.or_else(by_name)
}

fn folder_reason(name: &str) -> Option<SkipReason> {
    let is_own = (name == QUARANTINE).then_some(SkipReason::Quarantine);
    if is_hidden(name) { Some(SkipReason::Hidden) } else { is_own }
}

fn is_hidden(name: &str) -> bool {
    // Parts of dots occur in keys.
    name.starts_with(['.', '_']) && !matches!(name, "." | "..")
}

fn has_parquet_name(path: &str) -> bool {
    let name = path.to_ascii_lowercase();
    let bare = COMPRESSIONS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    PARQUET.iter().any(|end| bare.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_takes_files_and_what_stands_in_folders() {
        for (glob, base, taken, not) in [
            ("*.parquet", "", &["a.parquet"][..], &["b/a.parquet", "a.csv", ".a.parquet"][..]),
            ("/d/**/*.parquet", "/d/", &["a.parquet", "b/c/a.parquet"], &["b/_temporary/a.parquet"]),
            (
                "d/y=202?/*",
                "d/",
                &["y=2024/a.parquet", "y=2024/a", "y=2024/m=1/a.parquet"],
                &["y=2024/manifest.json", "y=2024/_SUCCESS", "y=2024/m=1/a.csv", "y=20245/a.parquet"],
            ),
            ("d/{a,b}-*/", "d/", &["a-1/x.parquet", "b-2/c/x.parquet.zst"], &["c-1/x.parquet", "a-1/x.txt"]),
            ("d/[0-9].dat", "d/", &["7.dat"], &["x.dat"]),
        ] {
            let pattern = Pattern::new(glob).expect(glob);
            assert_eq!(pattern.base(), base, "{glob}");
            taken.iter().for_each(|path| assert_eq!(pattern.choose(path, 9), Choice::Read, "{glob}: {path}"));
            not.iter().for_each(|path| assert_ne!(pattern.choose(path, 9), Choice::Read, "{glob}: {path}"));
        }
        assert!(Pattern::new("a[").is_err() && Pattern::new("{a").is_err());
    }

    #[test]
    fn companions_are_left_out_and_empty_parquet_is_not() {
        for path in [
            "a.parquet",
            "B.PARQUET",
            "a.snappy.parquet",
            "m=1/a.parquet.zst",
            "a.pq",
            "a.parq",
            "a.parquet.gz",
        ] {
            assert_eq!([choose_data(path, 1), choose_data(path, 0)], [Choice::Read; 2], "{path}");
        }
        for (path, reason) in [
            ("manifest.json", SkipReason::Manifest),
            ("x_manifest.json", SkipReason::Manifest),
            ("_SUCCESS", SkipReason::Hidden),
            (".a.parquet", SkipReason::Hidden),
            ("_delta_log/0.parquet", SkipReason::Hidden),
            ("b/quarantine/0a/1b.parquet", SkipReason::Quarantine),
            ("a.csv", SkipReason::OtherName),
            ("quarantine", SkipReason::OtherName),
        ] {
            assert_eq!(choose_data(path, 1), Choice::Skip(reason), "{path}");
        }
        // The empty marker of a folder.
        let marker = Pattern::new("*").expect("a glob").choose("2024", 0);
        assert_eq!(marker, Choice::Skip(SkipReason::EmptyMarker));
        assert_eq!(Pattern::new("*.csv").expect("a glob").choose("a.parquet", 1), Choice::Ignore);
        assert_eq!(skipped_part("a/_b/c/.d/e"), "a/_b/");
        assert_eq!(skipped_part("a/./b/_c"), "a/./b/_c");
    }

    #[test]
    fn a_pattern_reaches_no_deeper_than_its_parts() {
        let glob = |text| Pattern::new(text).expect("a glob");
        assert!(glob("a/y=*/*.parquet").reaches("y=1") && !glob("a/y=*/*.parquet").reaches("y=1/m=1"));
        assert!(glob("a/y=*").reaches("y=1/m=1/d=1") && !glob("a/y=*").reaches("x=1"));
        assert!(glob("a/**/*.parquet").reaches("b/c/d/e"));
        assert!(glob("a/{b/c,d}/*.parquet").reaches("b/c"));
    }
}
