//! Markers of watched sources, as of the last listing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use super::fault::is_outage_of_source;
use super::manifest::{ListedFile, MarkedFiles, MarkerContent, assign, is_list, parse};
use crate::backfill::source::{Object, SourceError};

/// Maximum bytes of a manifest: some 100,000 names.
const MAX_LIST_BYTES: u64 = 16 << 20;
/// Manifests that are read at once.
const LISTS_AT_ONCE: usize = 16;

/// Markers with their content, each read once for a version.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    by_location: BTreeMap<String, Marker>,
}

#[derive(Debug)]
struct Marker {
    object: Object,
    /// First listing with these bytes.
    since: Instant,
    /// The content, or the reason why it has none.
    content: Result<MarkerContent, String>,
}

impl Markers {
    /// Takes the markers of a listing, and reads those that are new, have changed or have a fault.
    ///
    /// # Errors
    /// Fails if a source does not answer.
    pub(crate) async fn observe(&mut self, objects: Vec<Object>, now: Instant) -> Result<(), SourceError> {
        let mut before = std::mem::take(&mut self.by_location);
        let mut unread = Vec::new();
        for object in objects {
            let known = before.remove(&object.location);
            match known.filter(|known| known.object.identity() == object.identity()) {
                Some(known) if known.content.is_ok() => {
                    self.by_location.insert(object.location.clone(), known);
                }
                Some(known) => unread.push((object, known.since)),
                None => unread.push((object, now)),
            }
        }
        let reading = unread.into_iter().map(async |(object, since)| {
            let content = content(&object).await;
            (object, since, content)
        });
        let mut read = stream::iter(reading).buffered(LISTS_AT_ONCE);
        while let Some((object, since, content)) = read.next().await {
            let content = content?;
            self.by_location.insert(object.location.clone(), Marker { object, since, content });
        }
        Ok(())
    }

    /// Assigns the files of a listing to the markers.
    pub(crate) fn assign(&self, objects: &[Object]) -> MarkedFiles {
        let files: Vec<ListedFile<'_>> = objects.iter().map(listed).collect();
        let markers = self.by_location.values();
        let markers =
            markers.filter_map(|marker| Some((listed(&marker.object), marker.content.as_ref().ok()?)));
        assign(&files, &markers.collect::<Vec<_>>())
    }

    /// Returns the markers that can't be read and were unchanged for `at_rest`, with the reasons.
    pub(crate) fn faults(&self, now: Instant, at_rest: Duration) -> Vec<(String, String)> {
        let at_rest =
            self.by_location.iter().filter(|(_, marker)| now.duration_since(marker.since) >= at_rest);
        at_rest.filter_map(|(at, marker)| Some((at.clone(), marker.content.clone().err()?))).collect()
    }
}

fn listed(object: &Object) -> ListedFile<'_> {
    ListedFile { location: &object.location, modified: object.modified }
}

/// Returns the content of a marker, or the reason why it has none.
///
/// # Errors
/// Fails if the source does not answer.
async fn content(object: &Object) -> Result<Result<MarkerContent, String>, SourceError> {
    if !is_list(&object.location) {
        return Ok(Ok(MarkerContent::Folder));
    }
    if object.size > MAX_LIST_BYTES {
        return Ok(Err(format!("it has {} bytes, and a manifest at most {MAX_LIST_BYTES}", object.size)));
    }
    match object.read().await {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if is_outage_of_source(&error) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backfill::source::Sources;

    const REST: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_manifest_counts_once_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = folder.path().join("1_manifest.json");
        let source = [folder.path().to_str().expect("UTF-8").to_owned()];
        std::fs::write(folder.path().join("a.parquet"), b"a").expect("a file");
        let list = async || {
            let names = "*_manifest.json".parse().expect("a pattern");
            Sources::default().with_markers(Some(names)).select(&source).await.expect("files")
        };
        let (mut markers, begin) = (Markers::default(), Instant::now());
        // Half of it.
        std::fs::write(&manifest, br#"{"files": ["a.par"#).expect("a file");
        let listing = list().await;
        markers.observe(listing.markers, begin).await.expect("readable");
        assert!(markers.assign(&listing.objects).complete.is_empty());
        assert!(markers.faults(begin, REST).is_empty());
        assert_eq!(markers.faults(begin + REST, REST).len(), 1);
        std::fs::write(&manifest, br#"{"files": ["a.parquet"]}"#).expect("a file");
        let listing = list().await;
        markers.observe(listing.markers, begin + REST).await.expect("readable");
        assert_eq!(markers.assign(&listing.objects).complete.len(), 1);
        assert!(markers.faults(begin + REST * 2, REST).is_empty());
        // Without a marker.
        std::fs::remove_file(&manifest).expect("a file");
        let listing = list().await;
        markers.observe(listing.markers, begin + REST).await.expect("readable");
        assert_eq!(markers.assign(&listing.objects).unmarked.len(), 1);
    }
}
