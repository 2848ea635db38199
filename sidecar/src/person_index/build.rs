//! Build of an index from the node's own table.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use minijinja::context;
use posthouse_udf::snapshot::{Entry, FileSummary, Identity, Manifest, write_file};
use serde::{Deserialize, Serialize};

use super::folder::{self, IndexFolder};
use super::rows::VersionRows;
use super::sorted::{EntrySorter, SortedEntries};
use super::{new_identity, table};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::sql;

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
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<BuildReport> {
    let path = folder::path(node).with_context(|| format!("the disk of node {} is elsewhere", node.name))?;
    let folder = IndexFolder::lock(path)?;
    folder.clean()?;
    let identity = new_identity(&cluster.config);
    let begun = now_ms();
    let sorted = sorted(cluster, node, &folder, identity, progress).await?;
    let built = tokio::task::spawn_blocking(move || write(&folder, identity, begun, sorted)).await?;
    let (manifest, rows, summary) =
        built.with_context(|| format!("can't build the person index of {}", node.name))?;
    Ok(BuildReport {
        node: node.name.clone(),
        generation: manifest.generation,
        rows,
        entries: summary.entries,
        deletions: summary.deletions,
        bytes: summary.length,
        shared_keys: manifest.shared_keys.len(),
    })
}

/// Reads the node's table, and sorts its versions.
pub(super) async fn sorted(
    cluster: &Cluster,
    node: &Node,
    folder: &IndexFolder,
    identity: Identity,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<SortedEntries> {
    let expected = count_rows(cluster, node).await?;
    let mut sorter = EntrySorter::new(&folder.path, expected).with_context(|| cant_sort(folder))?;
    let mut rows = VersionRows::of(cluster, node)?;
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

fn cant_sort(folder: &IndexFolder) -> String {
    format!(
        "can't write {}: it needs about 80 bytes for each version of a distinct id",
        folder.path.display()
    )
}

async fn count_rows(cluster: &Cluster, node: &Node) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Count {
        rows: u64,
    }

    let values = context! { database => &cluster.config.database, table => table(&cluster.config) };
    let counts: Vec<Count> = node.rows(&sql::render("inspect/distinct_id_count.sql", values)?).await?;
    counts
        .first()
        .map(|count| count.rows)
        .context("the node did not count its distinct ids: please report this")
}

/// Writes the sorted entries as the only file of the next generation.
fn write(
    folder: &IndexFolder,
    identity: Identity,
    fresh_ms: u64,
    mut sorted: SortedEntries,
) -> anyhow::Result<(Manifest, u64, FileSummary)> {
    let before = Manifest::read(&folder.path).map_or(0, |manifest| manifest.generation);
    let name = folder.new_name();
    let (path, versions, rows) = (name.path(&folder.path), sorted.versions, sorted.rows);
    let summary = write_file(&path, identity, versions, rows, &mut sorted)?;
    folder.share(&path)?;
    let manifest = Manifest {
        identity,
        generation: before + 1,
        published_ms: now_ms(),
        fresh_ms,
        offsets: Vec::new(),
        files: vec![name],
        shared_keys: std::mem::take(&mut sorted.shared_keys),
    };
    folder.publish(&manifest)?;
    Ok((manifest, rows, summary))
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
