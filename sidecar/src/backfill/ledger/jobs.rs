//! The ledger by job: what there is, how far it has come, and how somebody stops it.

use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::record::{Record, State, record};
use crate::backfill::insert::Route;
use crate::node::Node;
use crate::sql;

/// A load, from the moment it was begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Job {
    /// Its id: the same files under the same mapping have the same.
    pub job: String,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows in blocks of its files that shards have acknowledged, to whichever job.
    pub stored: u64,
    /// These blocks.
    pub blocks: u64,
    /// Units of which blocks may have been sent.
    pub units_begun: u64,
    /// Units that every shard has whole.
    pub units_done: u64,
    /// Rows rejected in units that are done.
    pub rejected: u64,
    /// The team of all rows, where it was given.
    pub team_id: Option<i64>,
    /// When it was begun first.
    pub begun_at: String,
    /// When anything happened last.
    pub last_at: String,
    /// When it was cancelled; empty if never.
    pub cancelled_at: String,
    /// When it was proven; empty if never.
    pub proven_at: String,
    /// Some of its files.
    pub locations: Vec<String>,
}

/// A file of a job, and how it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JobFile {
    /// Where it is.
    pub location: String,
    /// A preset's name, or the text of a mapping.
    pub mapping: String,
    /// The team of all rows, where it was given.
    pub team_id: Option<i64>,
}

impl Job {
    /// Whether every row of its files is stored or rejected, and every shard has said so.
    pub fn is_complete(&self) -> bool {
        self.stored + self.rejected == self.rows && self.units_begun == self.units_done
    }
}

#[derive(Deserialize)]
struct Cancellations {
    cancellations: u64,
}

/// All jobs, oldest first, or the one called `job`.
///
/// # Errors
/// See [`LedgerError`].
pub async fn jobs(node: &Node, database: &str, job: Option<&str>) -> Result<Vec<Job>, LedgerError> {
    let sql = sql::render("backfill/jobs.sql", minijinja::context! { database })?;
    Ok(node.query(&sql).param("job", job.unwrap_or_default()).rows().await?)
}

/// The files of `job`, by location.
///
/// # Errors
/// See [`LedgerError`].
pub async fn job_files(node: &Node, database: &str, job: &str) -> Result<Vec<JobFile>, LedgerError> {
    let sql = sql::render("backfill/job_files.sql", minijinja::context! { database })?;
    Ok(node.query(&sql).param("job", job).rows().await?)
}

/// How often `job` was cancelled so far.
///
/// # Errors
/// See [`LedgerError`].
pub async fn cancellations(node: &Node, database: &str, job: &str) -> Result<u64, LedgerError> {
    let sql = sql::render("backfill/cancellations.sql", minijinja::context! { database })?;
    let rows: Vec<Cancellations> = node.query(&sql).param("job", job).rows().await?;
    Ok(rows.first().map_or(0, |row| row.cancellations))
}

/// Asks every run of `job` to stop after the blocks under way.
///
/// # Errors
/// See [`LedgerError`].
pub async fn cancel(route: &Route, database: &str, job: &str) -> Result<(), LedgerError> {
    note(route, database, job, State::Cancelled).await
}

/// Remembers something about the whole job, on the first shard.
///
/// # Errors
/// See [`LedgerError`].
pub async fn note(route: &Route, database: &str, job: &str, state: State) -> Result<(), LedgerError> {
    let Some(first) = route.destinations.first() else { return Ok(()) };
    let lines = [Record::of_job(job, first.shard, first.slot, state)];
    record(&first.nodes, database, first.ledger, &lines).await
}
