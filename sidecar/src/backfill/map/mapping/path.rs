//! Values in the path of a file, such as `team_id=7/date=2026-11-01/`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

/// Name that Hive and its successors give the folder of rows without a value.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A value in a path. `None` is null.
pub(super) type PathValue = Option<Arc<str>>;

/// Value of each name in a path.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PathValues(BTreeMap<String, PathValue>);

/// Names that were looked for in a path, with their value if the path has one.
#[derive(Debug, Clone, Default)]
pub(in crate::backfill::map) struct PathReads(BTreeMap<String, Option<PathValue>>);

impl PathValues {
    /// Reads the folders of `location`, which is a path or an address. The file's own name has no
    /// values. If a name occurs twice, the deeper folder counts.
    pub(super) fn of(location: &str) -> Self {
        // An address has the encoding of its own around the one of the names.
        let is_web = location.starts_with("http://") || location.starts_with("https://");
        let location = if is_web { decoded(location) } else { Cow::from(location) };
        let folders = location.rsplit_once('/').map_or("", |(folders, _)| folders).split('/');
        let values = folders.filter_map(|folder| {
            let (name, value) = folder.split_once('=').filter(|(name, _)| !name.is_empty())?;
            Some((decoded(name).into_owned(), (value != NULL).then(|| decoded(value).into())))
        });
        Self(values.collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl PathReads {
    /// Value of `name`, if the path has it.
    pub(super) fn read(&mut self, name: &str, path: &PathValues) -> Option<PathValue> {
        let value = path.0.get(name).cloned();
        self.0.insert(name.to_owned(), value.clone());
        value
    }

    /// Names and values that the path has.
    pub(super) fn found(&self) -> impl Iterator<Item = (&String, &PathValue)> {
        self.0.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// Whether the path has a value that was looked for.
    pub(in crate::backfill::map) fn is_any_found(&self) -> bool {
        self.found().next().is_some()
    }

    /// Whether the path of `location` gives the same answers.
    pub(in crate::backfill::map) fn are_same_at(&self, location: &str) -> bool {
        let PathValues(values) = PathValues::of(location);
        self.0.iter().all(|(name, value)| values.get(name) == value.as_ref())
    }
}

/// Text whose decoded bytes are not UTF-8 is taken as it is.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(location: &str) -> Vec<(String, Option<String>)> {
        let PathValues(values) = PathValues::of(location);
        values.into_iter().map(|(name, value)| (name, value.map(|value| value.to_string()))).collect()
    }

    fn wanted(values: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        values.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn other_paths_give_the_same_answers_or_not() {
        let mut reads = PathReads::default();
        let path = PathValues::of("a=1/b=__HIVE_DEFAULT_PARTITION__/hour=3/x");
        assert!(!reads.is_any_found() && reads.are_same_at("anywhere"));
        assert_eq!(reads.read("c", &path), None);
        assert!(!reads.is_any_found());
        assert_eq!([reads.read("a", &path), reads.read("b", &path)], [Some(Some("1".into())), Some(None)]);
        assert!(reads.is_any_found() && reads.are_same_at("b=__HIVE_DEFAULT_PARTITION__/hour=4/a=1/y"));
        for other in ["x", "a=1/x", "a=1/b=/x", "a=1/b=__HIVE_DEFAULT_PARTITION__/c=2/x"] {
            assert!(!reads.are_same_at(other), "{other}");
        }
    }

    #[test]
    fn reads_names_and_values_of_folders() {
        for (location, expected) in [
            (
                "/data/team_id=7/date=2026-11-01/x.parquet",
                &[("date", Some("2026-11-01")), ("team_id", Some("7"))][..],
            ),
            ("s3://b/at=2026-11-01 00%3A00%3A00/part=1=2.parquet", &[("at", Some("2026-11-01 00:00:00"))]),
            ("https://h/a%20b=c%253Ad/x.parquet", &[("a b", Some("c:d"))]),
            ("a=1/a=2/b=/=c/x", &[("a", Some("2")), ("b", Some(""))]),
            ("a=__HIVE_DEFAULT_PARTITION__/b=%ff/x", &[("a", None), ("b", Some("%ff"))]),
            ("x=1.parquet", &[]),
        ] {
            assert_eq!(values(location), wanted(expected), "{location}");
        }
    }
}
