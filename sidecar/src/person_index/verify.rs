//! Comparison of a node's index with its table, entry by entry.

use std::iter::Peekable;

use anyhow::Context;
use posthouse_udf::person::Version;
use posthouse_udf::snapshot::{Entry, Hashed, Manifest, SnapshotFile};
use serde::Serialize;

use super::build::sorted;
use super::folder::{self, IndexFolder};
use super::sorted::SortedEntries;
use crate::cluster::Cluster;
use crate::node::Node;

/// Differences between an index and the table that it is made of. Rows that have arrived since the
/// index was published are differences too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct IndexComparison {
    pub(crate) node: String,
    pub(crate) generation: u64,
    /// Distinct ids of the table.
    pub(crate) compared: u64,
    /// Distinct ids with a person in the table alone.
    pub(crate) missing: u64,
    /// Entries with a person in the index alone.
    pub(crate) extra: u64,
    /// Distinct ids with another person.
    pub(crate) different: u64,
}

impl IndexComparison {
    pub(crate) fn differences(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    /// Counts an id that has these persons in the table and in the index.
    fn count(&mut self, in_table: Option<u128>, in_index: Option<u128>) {
        match (in_table, in_index) {
            (Some(one), Some(other)) if one != other => self.different += 1,
            (Some(_), None) => self.missing += 1,
            (None, Some(_)) => self.extra += 1,
            _ => {}
        }
    }
}

/// Compares the published index of a node with its table.
///
/// # Errors
/// Fails if there is no index, if a part of it is damaged, or if the node is unreachable.
pub(crate) async fn verify(
    cluster: &Cluster,
    node: &Node,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<IndexComparison> {
    let path = folder::path(node).with_context(|| format!("the disk of node {} is elsewhere", node.name))?;
    let folder = IndexFolder::lock(path)?;
    let manifest = Manifest::read(&folder.path)?;
    let sorted = sorted(cluster, node, &folder, manifest.identity, progress).await?;
    let compared = IndexComparison {
        node: node.name.clone(),
        generation: manifest.generation,
        compared: 0,
        missing: 0,
        extra: 0,
        different: 0,
    };
    tokio::task::spawn_blocking(move || compare(&folder, &manifest, sorted, compared)).await?
}

fn compare(
    folder: &IndexFolder,
    manifest: &Manifest,
    mut table: SortedEntries,
    mut compared: IndexComparison,
) -> anyhow::Result<IndexComparison> {
    let mut index = NewestEntries::open(folder, manifest)?.peekable();
    for row in table.by_ref() {
        let row = row?;
        compared.compared += 1;
        while let Some(entry) = next_if(&mut index, |id| id < row.id)? {
            compared.count(None, person(entry.version));
        }
        let entry = next_if(&mut index, |id| id == row.id)?;
        compared.count(person(row.version), entry.and_then(|entry| person(entry.version)));
    }
    for entry in index {
        compared.count(None, person(entry?.version));
    }
    Ok(compared)
}

/// The person of a version; `None` for a deletion and for the zero id, which `personOf` gives for
/// unknown ids.
fn person(version: Version) -> Option<u128> {
    Some(version.person_id).filter(|person_id| !version.is_deleted && *person_id != 0)
}

/// Returns the next entry if its id is as wanted, or if it can't be read.
fn next_if(
    index: &mut Peekable<NewestEntries>,
    is_wanted: impl Fn(Hashed) -> bool,
) -> anyhow::Result<Option<Entry>> {
    index.next_if(|entry| entry.as_ref().map_or(true, |entry| is_wanted(entry.id))).transpose()
}

type Entries = Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send>;

/// The newest entry of each id, in the order of the hashes.
struct NewestEntries {
    /// From old to new.
    files: Vec<Peekable<Entries>>,
}

impl NewestEntries {
    fn open(folder: &IndexFolder, manifest: &Manifest) -> anyhow::Result<Self> {
        let open = |name: &posthouse_udf::snapshot::FileName| {
            let mut file = SnapshotFile::open(&name.path(&folder.path), &manifest.identity)?;
            file.verify()?;
            let entries: Entries = Box::new(file.into_entries().map(|entry| Ok(entry?)));
            Ok(entries.peekable())
        };
        Ok(Self { files: manifest.files.iter().map(open).collect::<anyhow::Result<_>>()? })
    }
}

impl Iterator for NewestEntries {
    type Item = anyhow::Result<Entry>;

    fn next(&mut self) -> Option<anyhow::Result<Entry>> {
        let ids = self.files.iter_mut().filter_map(|file| match file.peek()? {
            Ok(entry) => Some(entry.id),
            // It is returned before all others.
            Err(_) => Some(Hashed::default()),
        });
        let first = ids.min()?;
        let mut newest = None;
        for file in &mut self.files {
            let is_first =
                |entry: &anyhow::Result<Entry>| entry.as_ref().map_or(true, |entry| entry.id == first);
            match file.next_if(is_first) {
                Some(Err(error)) => return Some(Err(error)),
                Some(entry) => newest = Some(entry),
                None => {}
            }
        }
        newest
    }
}
