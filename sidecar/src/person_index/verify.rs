//! Comparison of a node's index with its table, entry by entry.

use std::iter::Peekable;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use posthouse_udf::person::Version;
use posthouse_udf::snapshot::{Entry, Hashed, Manifest, PersonIndex};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::build::sorted;
use super::clock::now_ms;
use super::folder;
use super::newest::NewestEntries;
use super::sorted::SortedEntries;
use super::source::{DistinctIdSource, stored_offsets};
use crate::cluster::Cluster;
use crate::node::Node;

/// Attempts to open files while generations follow each other.
const OPEN_ATTEMPTS: u32 = 10;
/// Differences that are looked at a second time. A living index has fewer, and a wrong one more.
const MAX_SECOND_LOOKS: usize = 100_000;
/// Limit of the wait for a generation with the changes that the table had when it was read.
const NEXT_GENERATION: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Differences between an index and the table that it is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
    /// Distinct ids of which the index has a newer version by now, or had one earlier than the
    /// node. They are no differences.
    pub(crate) ahead: u64,
}

impl IndexComparison {
    pub(crate) fn differences(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    fn counter(&mut self, kind: DifferenceKind) -> &mut u64 {
        match kind {
            DifferenceKind::Missing => &mut self.missing,
            DifferenceKind::Extra => &mut self.extra,
            DifferenceKind::Different => &mut self.different,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DifferenceKind {
    Missing,
    Extra,
    Different,
}

/// A distinct id with another person in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IndexDifference {
    row: Entry,
    kind: DifferenceKind,
}

/// Compares the published index of a node with its table.
///
/// # Errors
/// Fails if there is no index, if a part of it is damaged, or if the node is unreachable.
pub(crate) async fn verify(
    cluster: &Cluster,
    node: &Node,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<IndexComparison> {
    let path = folder::path(node).with_context(|| format!("the disk of node {} is elsewhere", node.name))?;
    // Its files stay open while another process publishes.
    let (manifest, index) = open(&path)?;
    let table = DistinctIdSource::of(cluster, node).await?;
    if folder::is_kept(&path)?
        && let Err(error) = node_has_read(cluster, node, &manifest.offsets).await
    {
        let error = format!("{error:#}");
        tracing::warn!(node = %node.name, %error, "distinct ids that the node has not read yet count as differences");
    }
    let pieces = folder::for_comparison(&path)?;
    let sorted = sorted(cluster, node, pieces.path(), &table, manifest.identity, progress).await?;
    let read_ms = now_ms();
    let compared =
        IndexComparison { node: node.name.clone(), generation: manifest.generation, ..Default::default() };
    let compare = move || compare(index, sorted, compared).map(|compared| (compared, pieces));
    let ((mut compared, differences), _) = tokio::task::spawn_blocking(compare).await??;
    if !differences.is_empty() && folder::is_kept(&path)? {
        look_again(&path, read_ms, &differences, &mut compared).await?;
    }
    Ok(compared)
}

/// Waits until the node has the messages that the index has, because the index often is ahead of
/// it.
///
/// # Errors
/// Fails if the node does not catch up in time, or no broker answers.
async fn node_has_read(cluster: &Cluster, node: &Node, offsets: &[u64]) -> anyhow::Result<()> {
    let deadline = Instant::now() + NEXT_GENERATION;
    while stored_offsets(cluster, node).await?.iter().zip(offsets).any(|(stored, read)| stored < read) {
        anyhow::ensure!(Instant::now() < deadline, "the node is behind the index for {NEXT_GENERATION:?}");
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Opens the current generation, and checks every byte.
fn open(path: &Path) -> anyhow::Result<(Manifest, NewestEntries)> {
    let mut attempts = OPEN_ATTEMPTS;
    loop {
        let manifest = Manifest::read(path)?;
        match NewestEntries::open(path, &manifest.files, &manifest.identity) {
            Ok(index) => return Ok((manifest, index)),
            // A generation that followed has removed a file.
            Err(_) if attempts > 0 && Manifest::read(path)? != manifest => attempts -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn compare(
    index: NewestEntries,
    mut table: SortedEntries,
    mut compared: IndexComparison,
) -> anyhow::Result<(IndexComparison, Vec<IndexDifference>)> {
    let (mut index, mut differences) = (index.peekable(), Vec::new());
    let is_extra = |entry: Entry| person(entry.version).is_some();
    for row in table.by_ref() {
        let row = row?;
        compared.compared += 1;
        while let Some(entry) = next_if(&mut index, |id| id < row.id)? {
            compared.extra += u64::from(is_extra(entry));
        }
        let entry = next_if(&mut index, |id| id == row.id)?;
        let Some(kind) = difference(person(row.version), entry.and_then(|entry| person(entry.version)))
        else {
            continue;
        };
        if entry.is_some_and(|entry| entry.version.version > row.version.version) {
            compared.ahead += 1;
            continue;
        }
        *compared.counter(kind) += 1;
        if differences.len() < MAX_SECOND_LOOKS {
            differences.push(IndexDifference { row, kind });
        }
    }
    for entry in index {
        compared.extra += u64::from(is_extra(entry?));
    }
    Ok((compared, differences))
}

fn difference(in_table: Option<u128>, in_index: Option<u128>) -> Option<DifferenceKind> {
    match (in_table, in_index) {
        (one, other) if one == other => None,
        (Some(_), None) => Some(DifferenceKind::Missing),
        (None, _) => Some(DifferenceKind::Extra),
        (Some(_), Some(_)) => Some(DifferenceKind::Different),
    }
}

/// Looks at differences in a later generation, because the table has changes that the compared one
/// could not have.
async fn look_again(
    path: &Path,
    read_ms: u64,
    differences: &[IndexDifference],
    compared: &mut IndexComparison,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + NEXT_GENERATION;
    while Manifest::read(path)?.fresh_ms < read_ms && Instant::now() < deadline {
        sleep(POLL_INTERVAL).await;
    }
    let mut index = PersonIndex::open(path)?;
    for IndexDifference { row, kind } in differences {
        // Its manifest has the identity of the compared one, or it was built since.
        let Some(entry) = index.entry(row.id)? else { continue };
        let is_equal = difference(person(row.version), person(entry.version)).is_none();
        if is_equal || entry.version.version > row.version.version {
            *compared.counter(*kind) -= 1;
            compared.ahead += 1;
        }
    }
    Ok(())
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
    Ok(index.next_if(|entry| entry.as_ref().map_or(true, |entry| is_wanted(entry.id))).transpose()?)
}
