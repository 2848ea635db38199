//! Files whose load was begun by earlier runs, of any job and from any machine.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::LedgerError;
use super::known::IDS_A_QUERY;
use crate::node::Node;
use crate::sql;

/// Maximum hashes per query, each of up to 20 digits: see [`IDS_A_QUERY`].
const HASHES_A_QUERY: usize = 4_000;

/// A file whose load was begun by an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct KnownFile {
    pub(crate) job: String,
    /// Id of the bundle and its load settings.
    pub(crate) file: String,
    pub(crate) location: String,
    /// Identity of the file's bytes.
    pub(crate) identity: String,
    /// Hash of the mapping's meaning.
    pub(crate) mapping_fingerprint: String,
    /// Weights of the shards at that time.
    pub(crate) weights: Vec<u32>,
    /// Size limit of its slices.
    pub(crate) slice_bytes: u64,
    /// Size limit of its units.
    pub(crate) unit_bytes: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The number of files in its bundle.
    pub(crate) bundle_files: u32,
    /// Time when its bundle was recorded completely.
    pub(crate) at: String,
    pub(crate) undo: UndoMark,
    /// The job whose undo has marked it; empty if none has.
    pub(crate) undone_by: String,
    /// Time at which the undo ended; empty before.
    pub(crate) undone_at: String,
    /// Whether a killed run has recorded only some files of its bundle.
    #[serde(skip)]
    pub(crate) is_in_part: bool,
}

#[cfg(test)]
impl KnownFile {
    /// A file of tests, whose load was begun on its own.
    pub(crate) fn example() -> Self {
        Self {
            job: "j".to_owned(),
            file: "f".to_owned(),
            location: "/a".to_owned(),
            identity: "1".to_owned(),
            mapping_fingerprint: "m".to_owned(),
            weights: vec![1],
            slice_bytes: 1,
            unit_bytes: 2,
            rows: 1,
            bytes: 1,
            bundle_files: 1,
            at: "2026-11-01".to_owned(),
            undo: UndoMark::None,
            undone_by: String::new(),
            undone_at: String::new(),
            is_in_part: false,
        }
    }
}

/// State of a file's undo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum UndoMark {
    #[default]
    #[serde(rename = "")]
    None,
    /// Begun and not finished.
    #[serde(rename = "undoing")]
    Undoing,
    /// No row is stored.
    #[serde(rename = "undone")]
    Undone,
}

/// Known files, oldest first. Those that are undone are apart.
#[derive(Debug, Default)]
pub(crate) struct KnownFiles {
    files: Vec<KnownFile>,
    by_location: HashMap<String, Vec<usize>>,
    by_identity: HashMap<String, Vec<usize>>,
    /// Fingerprints of the loads of the same bytes.
    fingerprints: HashMap<String, BTreeSet<String>>,
    undone: HashMap<String, Vec<KnownFile>>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(crate) struct BundledFile {
    /// The bundle's id.
    pub(crate) file: String,
    pub(crate) location: String,
}

#[derive(Deserialize)]
struct UndoneBundles {
    bundles: u64,
}

#[derive(Debug, Deserialize)]
struct RecordedBundle {
    file: String,
    recorded: u64,
    at: String,
}

impl KnownFiles {
    /// Sorts the files by their time.
    pub(crate) fn new(mut files: Vec<KnownFile>) -> Self {
        let age = |file: &KnownFile| (file.at.clone(), file.file.clone(), file.location.clone());
        files.sort_by_cached_key(age);
        // A file whose location and identity are in two queries is returned twice.
        files.dedup();
        let (undone, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.undo == UndoMark::Undone);
        let mut known = Self { files, ..Self::default() };
        for file in undone {
            known.undone.entry(file.location.clone()).or_default().push(file);
        }
        for (index, file) in known.files.iter().enumerate() {
            known.by_location.entry(file.location.clone()).or_default().push(index);
            known.by_identity.entry(file.identity.clone()).or_default().push(index);
            let fingerprints = known.fingerprints.entry(file.identity.clone()).or_default();
            fingerprints.insert(file.mapping_fingerprint.clone());
        }
        known
    }

    /// Leaves out the files of some bundles. Undone ones stay, because no load may have their ids
    /// again.
    pub(crate) fn without(self, bundles: &BTreeSet<String>) -> Self {
        match bundles.is_empty() {
            true => self,
            false => self.only(|file| file.undo == UndoMark::Undone || !bundles.contains(&file.file)),
        }
    }

    fn only(self, is_kept: impl Fn(&KnownFile) -> bool) -> Self {
        Self::new(self.into_files().filter(is_kept).collect())
    }

    fn into_files(self) -> impl Iterator<Item = KnownFile> {
        self.files.into_iter().chain(self.undone.into_values().flatten())
    }

    /// Returns the undone loads of a file.
    pub(crate) fn undone_at(&self, location: &str) -> &[KnownFile] {
        self.undone.get(location).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the fingerprints of loads of the same bytes.
    pub(crate) fn fingerprints(&self, identity: &str) -> impl Iterator<Item = &str> {
        self.fingerprints.get(identity).into_iter().flatten().map(String::as_str)
    }

    /// Leaves out the files at some locations.
    pub(crate) fn elsewhere(self, locations: &HashSet<String>) -> Self {
        self.only(|file| !locations.contains(&file.location))
    }

    /// Adds other known files.
    pub(crate) fn joined(self, other: Self) -> Self {
        Self::new(self.into_files().chain(other.into_files()).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &KnownFile> {
        self.files.iter()
    }

    /// Returns the files of undone bundles that were recorded completely.
    pub(crate) fn undone(&self) -> impl Iterator<Item = &KnownFile> {
        self.undone.values().flatten().filter(|file| !file.is_in_part)
    }

    /// Returns the known files at a location.
    pub(crate) fn at<'k>(
        &'k self,
        location: &str,
    ) -> impl DoubleEndedIterator<Item = &'k KnownFile> + use<'k> {
        self.found(self.by_location.get(location))
    }

    /// Returns the known files with the same bytes.
    pub(crate) fn with_bytes<'k>(
        &'k self,
        identity: &str,
    ) -> impl DoubleEndedIterator<Item = &'k KnownFile> + use<'k> {
        self.found(self.by_identity.get(identity))
    }

    fn found<'k>(
        &'k self,
        places: Option<&'k Vec<usize>>,
    ) -> impl DoubleEndedIterator<Item = &'k KnownFile> + use<'k> {
        let places = places.map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| self.files.get(*place))
    }
}

/// Returns the known files at `locations`, and those elsewhere with the bytes `identities`. `node`
/// may be any node.
pub(crate) async fn known_files(
    node: &Node,
    database: &str,
    locations: &[&str],
    identities: &[&str],
) -> Result<KnownFiles, LedgerError> {
    let sql = sql::render("backfill/known_files.sql", minijinja::context! { database })?;
    let hashes = |names: &[&str]| names.iter().map(|name| xxh3_64(name.as_bytes())).collect::<Vec<u64>>();
    let (locations, identities) = (hashes(locations), hashes(identities));
    let mut files: Vec<KnownFile> = Vec::new();
    let none: &[u64] = &[];
    let queries = locations
        .chunks(HASHES_A_QUERY)
        .map(|locations| (locations, none))
        .chain(identities.chunks(HASHES_A_QUERY).map(|identities| (none, identities)));
    for (locations, identities) in queries {
        let query = node.query(&sql).param("locations", locations).param("identities", identities);
        files.extend(query.rows::<KnownFile>().await?);
    }
    let recorded = recorded_bundles(node, database, &files).await?;
    Ok(KnownFiles::new(only_complete(files, &recorded)))
}

/// Returns the files that a job has recorded. `node` may be any node.
pub(crate) async fn job_records(
    node: &Node,
    database: &str,
    job: &str,
) -> Result<BTreeSet<BundledFile>, LedgerError> {
    let sql = sql::render("backfill/job_records.sql", minijinja::context! { database })?;
    Ok(node.query(&sql).param("job", job).rows::<BundledFile>().await?.into_iter().collect())
}

/// Returns the files of some bundles. `node` may be any node.
pub(crate) async fn bundle_files(
    node: &Node,
    database: &str,
    bundles: &[&str],
) -> Result<Vec<BundledFile>, LedgerError> {
    let sql = sql::render("backfill/bundle_files.sql", minijinja::context! { database })?;
    let mut files = Vec::new();
    for bundles in bundles.chunks(IDS_A_QUERY) {
        files.extend(node.query(&sql).param("files", bundles).rows::<BundledFile>().await?);
    }
    Ok(files)
}

/// Returns the number of bundles that are undone. `node` may be any node.
pub(crate) async fn undone_bundles(node: &Node, database: &str) -> Result<u64, LedgerError> {
    let sql = sql::render("backfill/undone_bundles.sql", minijinja::context! { database })?;
    let rows: Vec<UndoneBundles> = node.query(&sql).rows().await?;
    Ok(rows.first().map_or(0, |row| row.bundles))
}

/// How many files are recorded of each bundle of several files.
async fn recorded_bundles(
    node: &Node,
    database: &str,
    files: &[KnownFile],
) -> Result<HashMap<String, RecordedBundle>, LedgerError> {
    let sql = sql::render("backfill/recorded_bundles.sql", minijinja::context! { database })?;
    let several = files.iter().filter(|file| file.bundle_files > 1).map(|file| file.file.as_str());
    let ids: Vec<&str> = several.collect::<BTreeSet<_>>().into_iter().collect();
    let mut bundles = HashMap::new();
    for ids in ids.chunks(IDS_A_QUERY) {
        let rows: Vec<RecordedBundle> = node.query(&sql).param("files", ids).rows().await?;
        bundles.extend(rows.into_iter().map(|bundle| (bundle.file.clone(), bundle)));
    }
    Ok(bundles)
}

/// Leaves out files of bundles that a killed run recorded in part, because no run loads such a
/// bundle. The time of the others is that of their bundle's last record. Undone ones stay, because
/// no load may have their ids again.
fn only_complete(mut files: Vec<KnownFile>, recorded: &HashMap<String, RecordedBundle>) -> Vec<KnownFile> {
    files.retain_mut(|file| match recorded.get(&file.file) {
        Some(bundle) => {
            file.at.clone_from(&bundle.at);
            file.is_in_part = bundle.recorded != u64::from(file.bundle_files);
            !file.is_in_part || file.undo == UndoMark::Undone
        }
        None => file.bundle_files == 1,
    });
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(location: &str, file: &str, bundle_files: u32) -> KnownFile {
        let identity = format!("bytes of {location}");
        let (file, location) = (file.to_owned(), location.to_owned());
        KnownFile { file, location, identity, bundle_files, ..KnownFile::example() }
    }

    fn recorded(file: &str, recorded: u64, at: &str) -> (String, RecordedBundle) {
        (file.to_owned(), RecordedBundle { file: file.to_owned(), recorded, at: at.to_owned() })
    }

    #[test]
    fn a_bundle_that_was_recorded_in_part_is_unknown() {
        let files = vec![known("/a", "whole", 2), known("/b", "part", 3), known("/c", "single", 1)];
        let bundles = HashMap::from([recorded("whole", 2, "2026-11-03"), recorded("part", 2, "2026-11-02")]);
        let known = KnownFiles::new(only_complete(files, &bundles));
        let order: Vec<_> = known.iter().map(|file| (file.location.as_str(), file.at.as_str())).collect();
        assert_eq!(order, [("/c", "2026-11-01"), ("/a", "2026-11-03")]);
    }

    #[test]
    fn undone_loads_stay_known_whatever_is_left_out() {
        let undone = KnownFile { undo: UndoMark::Undone, ..known("/a", "f", 1) };
        let both = || KnownFiles::new(vec![undone.clone(), known("/a", "g", 1)]);
        let without = |ids: &[&str]| both().without(&ids.iter().map(|id| (*id).to_owned()).collect());
        let left = |known: &KnownFiles| (known.at("/a").count(), known.undone_at("/a").len());
        assert_eq!(left(&without(&["f"])), (1, 1));
        assert_eq!(left(&without(&["f", "g"])), (0, 1));
    }

    #[test]
    fn files_are_found_by_location_and_by_bytes_and_once() {
        let files = vec![known("/a", "f", 1), known("/a", "f", 1), known("/a", "g", 1), known("/b", "h", 1)];
        let known = KnownFiles::new(files);
        assert_eq!(known.at("/a").map(|file| file.file.as_str()).collect::<Vec<_>>(), ["f", "g"]);
        assert_eq!(known.with_bytes("bytes of /b").count(), 1);
        assert_eq!((known.at("/c").count(), known.iter().count()), (0, 3));
    }
}
