//! Faults of files, distinguished from outages of the cluster or of a source.

use std::error::Error;
use std::io;

use crate::backfill::insert::StoreError;
use crate::backfill::ledger::LedgerError;
use crate::backfill::read::ReadError;
use crate::backfill::run::RunError;
use crate::backfill::source::SourceError;
use crate::node::NodeError;

/// Whether the error concerns all files, so that none of them is at fault.
pub(crate) fn is_outage(error: &anyhow::Error) -> bool {
    // An error of a file may hold the system's error.
    if let Some(source) = error.chain().find_map(|cause| cause.downcast_ref::<SourceError>()) {
        return is_outage_of_source(source);
    }
    // It hides the source's error. If that is an outage, the next plan meets it as well.
    let is_of_file = error.chain().any(<dyn Error>::is::<ReadError>);
    !is_of_file && error.chain().any(is_outage_of_cluster)
}

fn is_outage_of_cluster(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<NodeError>()
        || cause.is::<LedgerError>()
        // An undo concerns the files that it takes back.
        || cause.downcast_ref().is_some_and(|error| !matches!(error, StoreError::Undone { .. }))
        || matches!(cause.downcast_ref(), Some(RunError::Asked(_) | RunError::Stopped(_)))
        // The folder of rejected rows can't be written.
        || cause.is::<io::Error>()
}

/// Whether the error concerns all files of the source.
pub(super) fn is_outage_of_source(error: &SourceError) -> bool {
    match error {
        SourceError::Unreachable { .. }
        | SourceError::Settings { .. }
        | SourceError::NoBucket { .. }
        | SourceError::Expired { .. }
        | SourceError::Credentials { .. }
        | SourceError::Region { .. }
        | SourceError::Stopped { .. } => true,
        SourceError::Argument { .. }
        | SourceError::Nothing { .. }
        | SourceError::File { .. }
        | SourceError::Changed { .. }
        | SourceError::NotParquet { .. }
        | SourceError::Missing { .. }
        | SourceError::Denied { .. }
        | SourceError::NoRanges { .. }
        | SourceError::Store { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_file_is_no_outage() {
        let problem = || "p".to_owned();
        let location = || "/a".to_owned();
        let unreachable = || NodeError::Unreachable { name: problem(), url: problem(), problem: problem() };
        let file = SourceError::File { location: location(), source: io::ErrorKind::NotFound.into() };
        assert!(!is_outage(&anyhow::Error::from(file).context("/a")));
        assert!(!is_outage(&SourceError::NotParquet { location: location(), problem: problem() }.into()));
        assert!(!is_outage(&anyhow::anyhow!("1 file can't be loaded")));
        let read = ReadError::Footer { file: location(), problem: problem() };
        assert!(!is_outage(&anyhow::Error::from(read).context(io::Error::other("p"))));
        assert!(!is_outage(&StoreError::Undone { shard: 1, month: 202_601 }.into()));
        assert!(is_outage(&StoreError::Ghost { shard: 1, month: 202_601 }.into()));
        assert!(is_outage(&unreachable().into()));
        assert!(is_outage(&RunError::Asked(LedgerError::from(unreachable())).into()));
        let settings = SourceError::Settings { location: location(), problem: problem() };
        assert!(is_outage(&anyhow::Error::from(settings).context("/a")));
    }
}
