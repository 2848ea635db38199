//! Bundles: files that are loaded as one.
//!
//! A unit of a small file would make as many parts and records as one of a large file. Small files
//! with equal columns that follow each other are therefore loaded as one unit. Larger ones are not,
//! so that machines can share them and a killed run reads little again.

use std::sync::Arc;

use super::file::File;
use super::previous_loads::{LoadSettings, owners};
use super::units::{Cut, Unit, UnitSource, unit_of_bundle, units};
use crate::backfill::place::short_id;

/// A file is small if it has fewer bytes than this share of a slice.
const SMALL: u64 = 4;
/// Maximum files of a bundle. A run that was killed reads at most one bundle twice.
const MAX_FILES: usize = 4_096;

/// Treatment of small files that no load has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bundling {
    /// Loaded as one with those that follow.
    SmallFiles,
    /// Loaded each on its own, so that none depends on another.
    Never,
}

/// One large file, or small ones.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Id in the ledger, for these files under these settings.
    pub(crate) id: String,
    /// Its files in the plan, sorted by location.
    pub(crate) files: Vec<File>,
    /// The number of files that are loaded together. The plan has fewer if the request leaves out
    /// some of a bundle that is done.
    pub(crate) file_count: u32,
    /// The weights that route its rows, and the boundaries of its units and slices.
    pub(super) settings: LoadSettings,
}

impl Bundle {
    /// Bundles files that no load has begun.
    pub(super) fn of_new(files: Vec<File>, settings: &LoadSettings) -> Self {
        Self {
            id: id_of(&files, settings),
            file_count: u32::try_from(files.len()).unwrap_or(u32::MAX),
            files,
            settings: settings.clone(),
        }
    }

    /// Bundles the files of a bundle that was begun with this id.
    ///
    /// # Errors
    /// Fails if the id is none of the file's ids, because other units would be loaded a second
    /// time.
    pub(super) fn of_begun(
        id: String,
        files: Vec<File>,
        file_count: u32,
        settings: LoadSettings,
    ) -> anyhow::Result<Self> {
        let mut bundle = Self { id, files, file_count, settings };
        // Another bundle of the same file may have been undone since, which raises the generation
        // of new loads. The units of this one keep theirs.
        if let [file] = bundle.files.as_mut_slice()
            && file_count == 1
        {
            let as_begun = file.generation.up_to().find(|generation| {
                file.generation = *generation;
                id_of(std::slice::from_ref(file), &bundle.settings) == bundle.id
            });
            anyhow::ensure!(
                as_begun.is_some(),
                "{}: the ledger has its load under the id {}, which its location, bytes, mapping and slices don't \
                 give: was a row of backfill_files changed or removed? Take the load back (posthouse backfill undo), \
                 or restore the row",
                file.object.location,
                bundle.id
            );
        }
        Ok(bundle)
    }

    /// Returns the size at which its slices end, in bytes of values.
    pub(crate) fn slice_bytes(&self) -> u64 {
        self.settings.cut.slice_bytes
    }

    /// Returns the shards that receive its rows.
    pub(crate) fn shards(&self) -> Vec<u32> {
        owners(&self.settings.weights)
    }

    /// Whether the plan has all of its files, so that its rows can be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.files.len() == self.file_count as usize
    }

    /// Returns its units; `index` is its index in the plan.
    pub(super) fn units(&self, index: usize) -> Vec<Unit> {
        match self.files.as_slice() {
            [file] if self.is_whole() => {
                let origin = UnitSource {
                    location: &file.object.location,
                    identity: &file.identity,
                    mapping: file.mapper.fingerprint(),
                    generation: file.generation,
                };
                units(index, origin, &file.row_groups, self.settings.cut)
            }
            files => {
                let rows = files.iter().map(|file| file.rows).sum();
                let bytes = files.iter().map(|file| file.bytes).sum();
                vec![unit_of_bundle(index, &self.id, rows, bytes)]
            }
        }
    }
}

impl Cut {
    /// Whether a file of this size, before compression, is loaded together with others.
    pub(crate) fn is_small(self, bytes: u64) -> bool {
        bytes < self.slice_bytes / SMALL
    }
}

/// The id of a single file never changes, because ledgers of released versions contain it. That of
/// several files has the weights too, because a bundle that was recorded in part is recorded again.
fn id_of(files: &[File], settings: &LoadSettings) -> String {
    let LoadSettings { weights, cut } = settings;
    let (slice_bytes, unit_bytes) = (cut.slice_bytes.to_string(), cut.unit_bytes.to_string());
    let weights = format!("{weights:?}");
    let mut parts: Vec<&str> = Vec::with_capacity(3 * files.len() + 2);
    for file in files {
        parts.extend([file.object.location.as_str(), &file.identity, file.mapper.fingerprint()]);
    }
    parts.extend([slice_bytes.as_str(), &unit_bytes]);
    if files.len() > 1 {
        parts.push(&weights);
    }
    let generations: Vec<String> = files.iter().filter_map(|file| file.generation.part()).collect();
    parts.extend(generations.iter().map(String::as_str));
    short_id(&parts)
}

/// Divides files, which are sorted by location, into bundles.
pub(super) fn bundled(files: Vec<File>, settings: &LoadSettings, bundling: Bundling) -> Vec<Bundle> {
    let is_small = |file: &File| settings.cut.is_small(file.bytes);
    let follows = |index: usize| {
        let pair = index.checked_sub(1).map(|before| (&files[before], &files[index]));
        let is_alike = |(one, other)| is_small(one) && is_small(other) && are_alike(one, other);
        bundling == Bundling::SmallFiles && pair.is_some_and(is_alike)
    };
    let candidates = files.iter().enumerate();
    let candidates =
        candidates.map(|(index, file)| BundleCandidate { bytes: file.bytes, follows: follows(index) });
    let lengths = lengths(candidates, settings.cut.unit_bytes);
    let mut files = files.into_iter();
    let mut take = |length| Bundle::of_new(files.by_ref().take(length).collect(), settings);
    lengths.into_iter().map(&mut take).collect()
}

/// A file that may join a bundle.
struct BundleCandidate {
    bytes: u64,
    /// Whether it and the file before it are small and have equal columns.
    follows: bool,
}

/// Returns the numbers of files of consecutive bundles. A bundle is at most as large as a unit, so
/// that its slices are as full as those of a large file.
fn lengths(candidates: impl Iterator<Item = BundleCandidate>, unit_bytes: u64) -> Vec<usize> {
    let (mut lengths, mut open, mut bytes) = (Vec::new(), 0, 0_u64);
    for candidate in candidates {
        let fits = bytes.saturating_add(candidate.bytes) <= unit_bytes && open < MAX_FILES;
        if open > 0 && !(fits && candidate.follows) {
            lengths.push(open);
            (open, bytes) = (0, 0);
        }
        bytes = bytes.saturating_add(candidate.bytes);
        open += 1;
    }
    lengths.extend((open > 0).then_some(open));
    lengths
}

/// Whether two files have equal columns and fill the same ones.
fn are_alike(one: &File, other: &File) -> bool {
    Arc::ptr_eq(&one.schema, &other.schema) && one.mapper.fingerprint() == other.mapper.fingerprint()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u64]) -> Vec<usize> {
        lengths(bytes.iter().map(|bytes| BundleCandidate { bytes: *bytes, follows: true }), 10)
    }

    #[test]
    fn a_bundle_is_at_most_as_large_as_a_unit() {
        assert_eq!(of(&[]), [] as [usize; 0]);
        assert_eq!(of(&[3, 3, 3, 3, 3]), [3, 2]);
        assert_eq!(of(&[3, 100, 3, 3]), [1, 1, 2]);
        assert_eq!(of(&[5, 5, 0, 5]), [3, 1]);
        assert_eq!(of(&[0; MAX_FILES + 1]), [MAX_FILES, 1]);
    }

    #[test]
    fn files_of_other_columns_are_in_other_bundles() {
        let follows = [true, true, false, true, false];
        let candidates = follows.map(|follows| BundleCandidate { bytes: 1, follows });
        assert_eq!(lengths(candidates.into_iter(), 10), [2, 2, 1]);
    }
}
