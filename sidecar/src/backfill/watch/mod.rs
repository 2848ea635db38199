//! Watch of sources: files that appear become loads, each file once.
//!
//! The ledger decides what is loaded. The state in memory only spares its queries, and reports each
//! fault once.

mod fault;
mod files;
mod known;
mod manifest;
mod markers;

pub(crate) use self::fault::is_outage;
pub(crate) use self::files::{PendingFile, WatchedFiles, batches};
pub(crate) use self::known::{KnownLoads, Sorted};
pub(crate) use self::manifest::MarkedFiles;
pub(crate) use self::markers::Markers;

use super::source::{Object, Skipped, SourceError, Sources};

/// Files and markers of the sources.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<Object>,
    pub(crate) markers: Vec<Object>,
    /// Files that no load can read, by argument and reason.
    pub(crate) unreadable: Vec<Skipped>,
}

/// Lists the sources. A source may have no files yet.
///
/// # Errors
/// Fails if a source can't be read.
pub(crate) async fn list(sources: &Sources, arguments: &[String]) -> Result<Listing, SourceError> {
    let mut listing = Listing::default();
    for argument in arguments {
        match sources.select(std::slice::from_ref(argument)).await {
            Ok(selection) => {
                listing.objects.extend(selection.objects);
                listing.markers.extend(selection.markers);
                listing.unreadable.extend(selection.skipped);
            }
            Err(SourceError::Nothing { skipped, .. }) => listing.unreadable.extend(skipped),
            Err(error) => return Err(error),
        }
    }
    listing.unreadable.retain(Skipped::is_unreadable);
    Ok(listing)
}
