//! Build of an index from the node's own table.

use std::path::Path;

use anyhow::Context;
use posthouse_udf::snapshot::{Entry, FileSummary, Identity, Manifest};
use serde::Serialize;

use super::clock::now_ms;
use super::folder::{self, IndexFolder};
use super::live::ReadUpTo;
use super::rows::VersionRows;
use super::sorted::{EntrySorter, SortedEntries};
use super::source::{DistinctIdSource, stored_offsets};
use crate::cluster::Cluster;
use crate::config::IndexMode;
use crate::node::Node;

/// Rows between two reports of progress.
const REPORT_ROWS: u64 = 1_000_000;

/// A built index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BuildReport {
    pub(crate) node: String,
    pub(crate) generation: u64,
    /// Rows of the table: versions of distinct ids.
    pub(crate) rows: u64,
    /// Distinct ids.
    pub(crate) entries: u64,
    /// Distinct ids that are deleted.
    pub(crate) deletions: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Keys of more than one distinct id: `personOfKey` has no answer for them.
    pub(crate) shared_keys: usize,
}

/// Builds the index of a node, and publishes it. `progress` takes the rows read and their number in
/// all.
///
/// # Errors
/// Fails if the node is unreachable, if its folder can't be written, or if another process builds
/// the index. The published index remains then.
pub(crate) async fn build(
    cluster: &Cluster,
    node: &Node,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<BuildReport> {
    let path = folder::path(node).with_context(|| format!("the disk of node {} is elsewhere", node.name))?;
    let (_, report) = build_in(IndexFolder::lock(path)?, cluster, node, progress).await?;
    Ok(report)
}

/// Builds the index of a node in its locked folder.
pub(super) async fn build_in(
    folder: IndexFolder,
    cluster: &Cluster,
    node: &Node,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<(IndexFolder, BuildReport)> {
    folder.clean()?;
    let begun = now_ms();
    let offsets = first_offsets(cluster, node).await?;
    let table = DistinctIdSource::of(cluster, node).await?;
    let identity = table.new_identity(&cluster.config);
    let sorted = sorted(cluster, node, &folder.path, &table, identity, progress).await?;
    let up_to = ReadUpTo { offsets, fresh_ms: begun };
    let write = move || write(&folder, identity, up_to, sorted).map(|written| (folder, written));
    let written = tokio::task::spawn_blocking(write).await?;
    let (folder, (manifest, rows, summary)) =
        written.with_context(|| format!("can't build the person index of {}", node.name))?;
    let report = BuildReport {
        node: node.name.clone(),
        generation: manifest.generation,
        rows,
        entries: summary.entries,
        deletions: summary.deletions,
        bytes: summary.length,
        shared_keys: manifest.shared_keys.len(),
    };
    Ok((folder, report))
}

/// The offsets from which the index is followed; none if it is not. What arrives while the table is
/// read may be in it or not, and is read a second time.
async fn first_offsets(cluster: &Cluster, node: &Node) -> anyhow::Result<Vec<u64>> {
    match cluster.config.persons.as_ref().map(|persons| persons.index) {
        Some(IndexMode::Keep) => stored_offsets(cluster, node).await,
        Some(IndexMode::Off) | None => Ok(Vec::new()),
    }
}

/// Reads the node's table, and sorts its versions.
pub(super) async fn sorted(
    cluster: &Cluster,
    node: &Node,
    folder: &Path,
    table: &DistinctIdSource,
    identity: Identity,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<SortedEntries> {
    let expected = table.rows;
    let mut sorter = EntrySorter::new(folder, expected).with_context(|| cant_sort(folder))?;
    let mut rows = VersionRows::of_table(cluster, node)?;
    let mut count = 0;
    while let Some(row) = rows.next().await? {
        let id = identity.hashed(row.team_id, &row.distinct_id);
        sorter.push(Entry { id, version: row.version }).with_context(|| cant_sort(folder))?;
        count += 1;
        if count % REPORT_ROWS == 0 {
            progress(count, expected.max(count));
        }
    }
    sorter.finish().with_context(|| cant_sort(folder))
}

fn cant_sort(folder: &Path) -> String {
    format!("can't write {}: it needs about 80 bytes for each version of a distinct id", folder.display())
}

/// Writes the sorted entries as the only file of the next generation.
fn write(
    folder: &IndexFolder,
    identity: Identity,
    up_to: ReadUpTo,
    mut sorted: SortedEntries,
) -> anyhow::Result<(Manifest, u64, FileSummary)> {
    let before = Manifest::read(&folder.path).map_or(0, |manifest| manifest.generation);
    let name = folder.new_name();
    let (versions, rows) = (sorted.versions, sorted.rows);
    let summary = folder.writer().write(name, identity, versions, rows, &mut sorted)?;
    let manifest = Manifest {
        identity,
        generation: before + 1,
        published_ms: now_ms(),
        fresh_ms: up_to.fresh_ms,
        offsets: up_to.offsets,
        files: vec![name],
        shared_keys: std::mem::take(&mut sorted.shared_keys),
    };
    folder.publish(&manifest)?;
    folder.remove_others(&manifest.files)?;
    Ok((manifest, rows, summary))
}
