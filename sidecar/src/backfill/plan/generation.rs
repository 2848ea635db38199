//! Generation of a file: how often it was loaded and undone before.

use std::collections::BTreeSet;

use crate::backfill::ledger::KnownFiles;

/// Number of undone loads of a file under one mapping.
///
/// It is part of the ids of the file and its units, so that a load after an undo has other row ids
/// and other tokens. The shards may still know the former tokens, and would drop the blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LoadGeneration(usize);

impl LoadGeneration {
    /// Of a file that was never undone.
    #[cfg(test)]
    pub(super) const FIRST: Self = Self(0);

    /// Generation of the load of a file.
    pub(super) fn of(location: &str, identity: &str, mapping: &str, known: &KnownFiles) -> Self {
        let undone = known
            .undone_at(location)
            .iter()
            .filter(|known| known.identity == identity && known.mapping_fingerprint == mapping);
        let ids: BTreeSet<&str> = undone.map(|known| known.file.as_str()).collect();
        Self(ids.len())
    }

    /// Returns this generation and all before it, the first one first.
    pub(super) fn up_to(self) -> impl Iterator<Item = Self> {
        (0..=self.0).map(Self)
    }

    /// Part of an id. The first generation has none, so that ids from before undo stay as they are.
    pub(super) fn part(self) -> Option<String> {
        (self.0 > 0).then(|| format!("generation {}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backfill::ledger::{KnownFile, UndoMark};

    fn known(job: &str, file: &str, undo: UndoMark) -> KnownFile {
        let (job, file) = (job.to_owned(), file.to_owned());
        KnownFile { job, file, undo, ..KnownFile::example() }
    }

    #[test]
    fn counts_undone_loads_of_the_same_file_and_mapping() {
        let of = |mapping, loads: &[KnownFile]| {
            LoadGeneration::of("/a", "1", mapping, &KnownFiles::new(loads.to_vec()))
        };
        let loads = [
            known("j", "f", UndoMark::Undone),
            known("k", "f", UndoMark::Undone),
            known("j", "g", UndoMark::None),
        ];
        assert_eq!(of("m", &loads), LoadGeneration(1));
        assert_eq!(of("n", &loads).part(), None);
        let twice = [&loads[..], &[known("j", "g", UndoMark::Undone)]].concat();
        assert_eq!(of("m", &twice).part().as_deref(), Some("generation 2"));
    }
}
