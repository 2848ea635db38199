//! Names of markers, which say that files of an export are complete.

use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

/// A pattern for the names of markers, such as `_SUCCESS` or `*_manifest.json`.
#[derive(Debug, Clone)]
pub(crate) struct MarkerNames(GlobMatcher);

impl FromStr for MarkerNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('/') {
            return Err("give the name of a file without its folder, such as _SUCCESS".to_owned());
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| format!("invalid pattern: {}", error.kind()))?;
        Ok(Self(glob.compile_matcher()))
    }
}

impl MarkerNames {
    /// Whether the file at `path` is a marker, by its name.
    pub(super) fn match_path(&self, path: &str) -> bool {
        self.0.is_match(path.rsplit('/').next().unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_known_by_its_name_alone() {
        let names = |text: &str| text.parse::<MarkerNames>();
        let manifests = names("*_manifest.json").expect("a pattern");
        assert!(manifests.match_path("a/b/1-2_manifest.json") && manifests.match_path("_manifest.json"));
        assert!(!manifests.match_path("a_manifest.json/b.parquet"));
        assert!(names("_SUCCESS").is_ok_and(|names| names.match_path("a/_SUCCESS")));
        assert!(names("a/_SUCCESS").is_err() && names("").is_err() && names("a[").is_err());
    }
}
