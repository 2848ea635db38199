//! Ledger by job: progress, files and cancellation.

use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::record::{Record, State, record};
use crate::backfill::insert::Route;
use crate::node::Node;
use crate::sql;

/// A load, from the time when it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Job {
    /// The same files with the same mapping have the same job id.
    pub(crate) job: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Rows in blocks of its files that shards have acknowledged, in any job.
    pub(crate) stored: u64,
    /// The number of acknowledged blocks.
    pub(crate) blocks: u64,
    /// Units whose blocks may have been sent.
    pub(crate) units_begun: u64,
    /// Units that every shard has completely.
    pub(crate) units_done: u64,
    /// Rows rejected in units that are done.
    pub(crate) rejected: u64,
    /// Team of all rows, if it was given.
    pub(crate) team_id: Option<i64>,
    /// Time of the first run.
    pub(crate) begun_at: String,
    /// Time of the last record.
    pub(crate) last_at: String,
    /// Empty if never.
    pub(crate) cancelled_at: String,
    /// Empty if never.
    pub(crate) proven_at: String,
    /// The last undo of any of its files. Empty if never.
    pub(crate) undone_at: String,
    /// Files that are undone and were not loaded since.
    pub(crate) undone_files: u64,
    /// Files whose undo is not finished.
    pub(crate) undoing_files: u64,
    /// Some of its files.
    pub(crate) locations: Vec<String>,
}

/// A file of a job, and the settings of its load.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct JobFile {
    pub(crate) location: String,
    /// A preset's name, or the text of a mapping.
    pub(crate) mapping: String,
    /// Hash of the mapping's meaning, with the columns beyond the core that the file fills.
    pub(crate) mapping_fingerprint: String,
    /// Team of all rows, if it was given.
    pub(crate) team_id: Option<i64>,
}

impl Job {
    /// Whether every row of its files is stored or rejected, and every shard has acknowledged this.
    pub(crate) fn is_complete(&self) -> bool {
        self.stored + self.rejected == self.rows && self.units_begun == self.units_done
    }

    /// Whether all of its files are undone, and none was loaded since.
    pub(crate) fn is_undone(&self) -> bool {
        self.undone_files == self.files
    }
}

#[derive(Deserialize)]
struct Cancellations {
    cancellations: u64,
}

/// All jobs, oldest first, or only `job`.
pub(crate) async fn jobs(node: &Node, database: &str, job: Option<&str>) -> Result<Vec<Job>, LedgerError> {
    let sql = sql::render("backfill/jobs.sql", minijinja::context! { database })?;
    Ok(node.query(&sql).param("job", job.unwrap_or_default()).rows().await?)
}

/// Files of `job`, by location.
pub(crate) async fn job_files(node: &Node, database: &str, job: &str) -> Result<Vec<JobFile>, LedgerError> {
    let sql = sql::render("backfill/job_files.sql", minijinja::context! { database })?;
    Ok(node.query(&sql).param("job", job).rows().await?)
}

/// Number of times `job` was cancelled so far.
pub(crate) async fn cancellations(node: &Node, database: &str, job: &str) -> Result<u64, LedgerError> {
    let sql = sql::render("backfill/cancellations.sql", minijinja::context! { database })?;
    let rows: Vec<Cancellations> = node.query(&sql).param("job", job).rows().await?;
    Ok(rows.first().map_or(0, |row| row.cancellations))
}

/// Requests every run of `job` to stop after the blocks in flight.
pub(crate) async fn cancel(route: &Route, database: &str, job: &str) -> Result<(), LedgerError> {
    note(route, database, job, State::Cancelled).await
}

/// Records a state of the whole job, on the first shard.
pub(crate) async fn note(route: &Route, database: &str, job: &str, state: State) -> Result<(), LedgerError> {
    let Some(first) = route.destinations.first() else { return Ok(()) };
    let lines = [Record::of_job(job, first.shard, first.slot, state)];
    record(&first.nodes, database, first.ledger, &lines).await
}
