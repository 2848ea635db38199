//! Watch of sources: files that appear become loads, each file once.
//!
//! The ledger decides what is loaded. The state in memory only spares its queries, and reports each
//! fault once.

mod fault;
mod files;
mod known;

pub(crate) use self::fault::is_outage;
pub(crate) use self::files::{PendingFile, WatchedFiles, batches};
pub(crate) use self::known::{KnownLoads, Sorted};

use super::source::{Object, SourceError, Sources};

/// Returns the files that the sources have now. A source may have none yet.
///
/// # Errors
/// Fails if a source can't be read.
pub(crate) async fn list(sources: &Sources, arguments: &[String]) -> Result<Vec<Object>, SourceError> {
    let mut objects = Vec::new();
    for argument in arguments {
        match sources.select(std::slice::from_ref(argument)).await {
            Ok(selection) => objects.extend(selection.objects),
            Err(SourceError::Nothing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(objects)
}
