//! Folders whose files wait for a marker, for the status and the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backfill::source::Object;
use crate::backfill::watch::{MarkedFiles, WatchedFiles};
use crate::duration;
use crate::metrics::WatchMetrics;

/// Folders with files that are not loaded and wait for a marker.
#[derive(Debug, Default)]
pub(super) struct UnmarkedFolders {
    /// Time of the oldest file, in seconds since 1970; `None` if the source has no times.
    since: BTreeMap<String, Option<u64>>,
}

impl UnmarkedFolders {
    /// Takes the folders of a listing, without files that are loaded.
    pub(super) fn new(marked: &MarkedFiles, objects: &[Object], files: &WatchedFiles) -> Self {
        let times: BTreeMap<&str, Option<u64>> = objects.iter().map(time).collect();
        let lists = marked.incomplete.iter().map(|(location, list)| {
            let folder = location.rsplit_once('/').map_or("", |(folder, _)| folder);
            (folder, &list.files)
        });
        let unmarked = marked.unmarked.iter().map(|(folder, files)| (folder.as_str(), files));
        let mut since = BTreeMap::<String, Option<u64>>::new();
        for (folder, waiting) in unmarked.chain(lists) {
            for file in waiting.iter().filter(|file| files.pending(file).is_some()) {
                let time = times.get(file.as_str()).copied().flatten();
                let oldest = since.entry(folder.to_owned()).or_insert(time);
                *oldest = (*oldest).into_iter().chain(time).min();
            }
        }
        Self { since }
    }

    fn oldest(&self) -> Option<(&str, u64)> {
        let times = self.since.iter().filter_map(|(folder, since)| Some((folder.as_str(), (*since)?)));
        times.min_by_key(|(_, since)| *since)
    }

    /// Sets the metrics.
    pub(super) fn count(&self, metrics: &WatchMetrics) {
        metrics.unmarked.set([], self.since.len() as u64);
        match self.oldest() {
            Some((_, since)) => metrics.unmarked_since.set([], since),
            None => metrics.unmarked_since.clear(),
        }
    }

    /// Returns the end of the status line; empty if no folder waits.
    pub(super) fn text(&self, now: u64) -> String {
        let folders = match self.since.len() {
            0 => return String::new(),
            1 => "1 folder".to_owned(),
            more => format!("{more} folders"),
        };
        let oldest = self.oldest().map_or_else(String::new, |(folder, since)| {
            let age = duration::shown(Duration::from_secs(now.saturating_sub(since)));
            format!(", the oldest since {age}: {folder}")
        });
        format!("; {folders} without a marker{oldest}")
    }
}

fn time(object: &Object) -> (&str, Option<u64>) {
    let second = object.modified.and_then(|time| u64::try_from(time.as_second()).ok());
    (&object.location, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_folder_that_waits_longest() {
        let since = |times: &[(&str, Option<u64>)]| UnmarkedFolders {
            since: times.iter().map(|(folder, time)| ((*folder).to_owned(), *time)).collect(),
        };
        assert_eq!(since(&[]).text(5), "");
        assert_eq!(since(&[("/a", None)]).text(5), "; 1 folder without a marker");
        let two = since(&[("/a", Some(3_605)), ("/b", Some(5)), ("/c", None)]);
        assert_eq!(two.text(3_605), "; 3 folders without a marker, the oldest since 1h: /b");
    }
}
