//! Globs over paths and keys, and the filter for companion files.

use globset::{GlobBuilder, GlobMatcher};

/// Suffixes of Parquet file names. Batch exports also name the compression of the pages, though the
/// file itself is not compressed.
const PARQUET: [&str; 2] = [".parquet", ".pq"];
const COMPRESSIONS: [&str; 10] =
    [".zst", ".zstd", ".sz", ".snappy", ".gz", ".gzip", ".br", ".brotli", ".lz4", ".lzo"];

/// A glob: folders without wildcards, and a pattern for the paths below them.
#[derive(Debug)]
pub(super) struct Pattern {
    base: String,
    below: GlobMatcher,
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
        // A wildcard stays within its folder; `**` crosses folders.
        let glob = GlobBuilder::new(below.trim_end_matches('/')).literal_separator(true).build();
        let glob = glob.map_err(|error| format!("invalid pattern: {}", error.kind()))?;
        Ok(Self { base: base.to_owned(), below: glob.compile_matcher() })
    }

    /// Returns the folders before the first wildcard, with a trailing slash; empty if there are
    /// none.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Whether the file at `path`, relative to the base, is to be read, because the pattern matches
    /// the file or one of its folders.
    pub(super) fn takes(&self, path: &str, size: u64) -> bool {
        if self.below.is_match(path) {
            return !is_companion(path, size);
        }
        let mut folders = path.match_indices('/').filter_map(|(slash, _)| path.get(..slash));
        folders.any(|folder| self.below.is_match(folder)) && is_data(path, size)
    }
}

/// Whether a file of a folder is data, by its path relative to the folder.
pub(super) fn is_data(path: &str, size: u64) -> bool {
    has_parquet_name(path) && !is_companion(path, size)
}

/// Whether a file is a companion of the data: hidden, a manifest, or an empty marker. An empty file
/// with a Parquet name is none: it was truncated, and must not be skipped.
fn is_companion(path: &str, size: u64) -> bool {
    let hidden = path.split('/').any(|part| part.starts_with(['.', '_']));
    let name = path.rsplit('/').next().unwrap_or(path);
    hidden || name.ends_with("manifest.json") || (size == 0 && !has_parquet_name(path))
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
            taken.iter().for_each(|path| assert!(pattern.takes(path, 9), "{glob} takes {path}"));
            not.iter().for_each(|path| assert!(!pattern.takes(path, 9), "{glob} leaves {path}"));
        }
        assert!(Pattern::new("a[").is_err() && Pattern::new("{a").is_err());
    }

    #[test]
    fn companions_are_left_out_and_empty_parquet_is_not() {
        for path in
            ["a.parquet", "B.PARQUET", "a.snappy.parquet", "m=1/a.parquet.zst", "a.pq", "a.parquet.gz"]
        {
            assert!(is_data(path, 1) && is_data(path, 0), "{path}");
        }
        for path in [
            "manifest.json",
            "x_manifest.json",
            "_SUCCESS",
            ".a.parquet",
            "_delta_log/0.parquet",
            "a.csv",
            "a",
        ] {
            assert!(!is_data(path, 1), "{path}");
        }
        assert!(!Pattern::new("*").expect("a glob").takes("2024", 0), "an empty marker of a folder");
    }
}
