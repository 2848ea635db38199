//! PostgreSQL session for statements from `sql/postgres`, with text results.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::try_unfold;
use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::connection::query::{QueryError, QueryWire};
use super::connection::server_error::visible;
use super::connection::wire::{MAX_MESSAGE_BYTES, WireError};
use super::connection::{ConnectError, Purpose, end_soon, open};
use super::pgoutput::Cell;
use crate::config::Postgres;
use crate::sql::{self, RenderError};

/// Time limit of a statement on the catalog or on a few rows. Beyond it, the statement waits for a
/// lock or the server hangs.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a statement that reads thousands of rows by their keys, from a cold disk.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit of a statement that reads a table.
pub(crate) const SCAN_TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum size of the result of a short statement in memory. The catalog of a table with a
/// thousand partitions has some MiB.
const MAX_CATALOG_ANSWER: usize = 32 << 20;
/// Maximum size of any other result in memory. A batch looks up at most 256 rows with TOASTed
/// values (`BATCH_BYTES` in `stream.rs`), and brokers accept rows of 1 MB by default.
const MAX_ANSWER: usize = 256 << 20;
/// Memory of a value beside its bytes, so that an endless answer of empty values ends as well.
const VALUE_BYTES: usize = 64;

/// The result of `sql/postgres/settings.sql`.
const SETTINGS: [&str; 4] = ["on", "off", "UTC", "ISO"];

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    /// There is no connection, or it ended.
    #[error(
        "PostgreSQL does not answer at {address}: check that it runs, and that persons.postgres.address, database, user and its \
         password are right ({said})"
    )]
    Unreachable {
        address: String,
        /// The system's message.
        said: String,
    },
    /// The connection exists, but the answer did not arrive in time.
    #[error(
        "PostgreSQL at {address} did not {task} within {} s: it hangs, or the statement waits for a lock (pg_stat_activity has \
         application_name posthouse)",
        .limit.as_secs()
    )]
    Silent { address: String, task: &'static str, limit: Duration },
    /// PostgreSQL rejected the statement.
    #[error("PostgreSQL at {address} did not {task}: {said}")]
    Refused {
        address: String,
        task: &'static str,
        /// PostgreSQL's message, with its SQLSTATE.
        said: String,
    },
    /// The session has other settings than it was asked for.
    #[error(
        "PostgreSQL at {address} has standard_conforming_strings, row_security, timezone and datestyle {found}: this is a pooler \
         that ignores startup options; give the address of PostgreSQL itself"
    )]
    Settings { address: String, found: String },
    /// A part of the result is missing.
    #[error("PostgreSQL at {address} did not {task}: {said}")]
    Cut { address: String, task: &'static str, said: String },
    /// The result exceeds its limit.
    #[error(
        "PostgreSQL at {address} answered with more than {} MiB when asked to {task}, and posthouse reads no more at once: check that \
         persons.postgres.address is a PostgreSQL, and for rows of many megabytes",
        .limit >> 20
    )]
    TooLarge { address: String, task: &'static str, limit: usize },
    /// The result has an unexpected shape.
    #[error("PostgreSQL at {address} answered with {found} when asked to {task}: please report this")]
    Answer {
        address: String,
        task: &'static str,
        /// Its shape, without values.
        found: String,
    },
    /// A bug in posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl From<ConnectError> for PostgresError {
    fn from(ConnectError { address, said }: ConnectError) -> Self {
        Self::Unreachable { address, said }
    }
}

/// One connection, which ends when it is dropped.
pub(crate) struct Session {
    /// `None` after an error of the connection.
    wire: Mutex<Option<QueryWire>>,
    address: String,
    /// The server process of the session; empty if unknown.
    process: String,
}

/// A stream of rows.
pub(crate) type Rows<'s> =
    Pin<Box<dyn futures_util::Stream<Item = Result<Vec<Cell>, PostgresError>> + Send + 's>>;

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.get_mut().take() {
            end_soon(wire.into_wire());
        }
    }
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`PostgresError::Unreachable`], also for a wrong password.
    pub(crate) async fn connect(config: &Postgres) -> Result<Self, PostgresError> {
        let session = open(config, Purpose::Queries).await?;
        let wire = Mutex::new(Some(QueryWire::new(session.wire)));
        Self { wire, address: session.address, process: String::new() }.prepared().await
    }

    async fn prepared(mut self) -> Result<Self, PostgresError> {
        let settings = self.row("report its settings", "postgres/settings.sql", ()).await?;
        if settings != SETTINGS {
            let found = format!("{} instead of {}", settings.join(", "), SETTINGS.join(", "));
            return Err(PostgresError::Settings { address: self.address.clone(), found: visible(&found) });
        }
        match self.row("set up a session", "postgres/session.sql", ()).await {
            Ok([process, _, _]) => self.process = process,
            // These settings are optional.
            Err(error @ (PostgresError::Refused { .. } | PostgresError::Answer { .. })) => {
                tracing::debug!(error = %error, "session is not set up: its statements outlive posthouse");
            }
            Err(error) => return Err(error),
        }
        Ok(self)
    }

    /// The server process of the session; empty if unknown.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// The rows of a short statement; see [`Self::rows_within`].
    pub(crate) async fn rows(
        &self,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<Vec<Vec<Cell>>, PostgresError> {
        let read = self.read(MAX_CATALOG_ANSWER, task, path, values);
        timeout(STATEMENT_TIMEOUT, read).await.map_err(|_| self.silent(task, STATEMENT_TIMEOUT))?
    }

    /// The rows of a statement with a time limit, and at most 256 MiB of values.
    pub(crate) async fn rows_within(
        &self,
        limit: Duration,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<Vec<Vec<Cell>>, PostgresError> {
        let read = self.read(MAX_ANSWER, task, path, values);
        timeout(limit, read).await.map_err(|_| self.silent(task, limit))?
    }

    /// The only row of a short statement.
    pub(crate) async fn row<const N: usize>(
        &self,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<[String; N], PostgresError> {
        self.row_within(STATEMENT_TIMEOUT, task, path, values).await
    }

    /// The only row of a statement with a time limit.
    pub(crate) async fn row_within<const N: usize>(
        &self,
        limit: Duration,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<[String; N], PostgresError> {
        let read = self.read(MAX_CATALOG_ANSWER, task, path, values);
        let rows = timeout(limit, read).await.map_err(|_| self.silent(task, limit))??;
        let texts = rows.first().map(|row| row.iter().map(text).collect::<Vec<_>>());
        texts.unwrap_or_default().try_into().map_err(|found: Vec<String>| {
            self.odd(task, format!("{} rows, the first with {} values", rows.len(), found.len()))
        })
    }

    async fn read(
        &self,
        limit: usize,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<Vec<Vec<Cell>>, PostgresError> {
        let mut wire = self.ask(task, path, values).await?;
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(row) = self.next(&mut wire, limit, task).await? {
            bytes += row.iter().map(|cell| cell.len() + VALUE_BYTES).sum::<usize>() + VALUE_BYTES;
            if bytes > limit {
                // The rest may be endless.
                *wire = None;
                return Err(PostgresError::TooLarge { address: self.address.clone(), task, limit });
            }
            all.push(row);
        }
        Ok(all)
    }

    /// The rows of a statement as they arrive. There is no time limit here, so the caller must set
    /// one.
    pub(crate) async fn stream(
        &self,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<Rows<'_>, PostgresError> {
        let wire = self.ask(task, path, values).await?;
        let rows = try_unfold(wire, move |mut wire| async move {
            let row = self.next(&mut wire, MAX_MESSAGE_BYTES, task).await?;
            Ok(row.map(|row| (row, wire)))
        });
        Ok(Box::pin(rows))
    }

    /// Sends a statement, after the answer of the one before.
    async fn ask(
        &self,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<MutexGuard<'_, Option<QueryWire>>, PostgresError> {
        let statement = sql::render(path, values)?;
        let mut wire = self.wire.lock().await;
        let asked = match wire.as_mut() {
            Some(wire) => wire.ask(&statement).await,
            None => Err(WireError::Closed.into()),
        };
        match asked {
            Ok(()) => Ok(wire),
            Err(error) => Err(self.explain(&mut wire, task, MAX_MESSAGE_BYTES, error)),
        }
    }

    async fn next(
        &self,
        wire: &mut Option<QueryWire>,
        limit: usize,
        task: &'static str,
    ) -> Result<Option<Vec<Cell>>, PostgresError> {
        let row = match wire.as_mut() {
            Some(wire) => wire.row(limit).await,
            None => Err(WireError::Closed.into()),
        };
        row.map_err(|error| self.explain(wire, task, limit, error))
    }

    /// Describes an error. The session can't be used any more if the server did not report it.
    fn explain(
        &self,
        wire: &mut Option<QueryWire>,
        task: &'static str,
        limit: usize,
        error: QueryError,
    ) -> PostgresError {
        let address = self.address.clone();
        match error {
            QueryError::Wire(WireError::Server(error)) => {
                PostgresError::Refused { address, task, said: error.to_string() }
            }
            QueryError::Wire(WireError::TooLarge { .. }) => {
                *wire = None;
                PostgresError::TooLarge { address, task, limit }
            }
            error @ QueryError::Cut { .. } => {
                *wire = None;
                PostgresError::Cut { address, task, said: error.to_string() }
            }
            error @ QueryError::Wire(_) => {
                *wire = None;
                PostgresError::Unreachable { address, said: error.to_string() }
            }
        }
    }

    /// The error for an answer that did not arrive within `limit`.
    pub(crate) fn silent(&self, task: &'static str, limit: Duration) -> PostgresError {
        PostgresError::Silent { address: self.address.clone(), task, limit }
    }

    /// The error for an answer of this shape. `found` must not have values of rows.
    pub(crate) fn odd(&self, task: &'static str, found: impl Into<String>) -> PostgresError {
        PostgresError::Answer { address: self.address.clone(), task, found: found.into() }
    }
}

impl PostgresError {
    /// Whether another process created the object at the same time.
    pub(crate) fn is_duplicate(&self) -> bool {
        // SQLSTATE duplicate_object
        matches!(self, Self::Refused { said, .. } if said.ends_with("(42710)"))
    }

    /// Whether the statement has a character that the database's encoding lacks.
    pub(crate) fn is_untranslatable(&self) -> bool {
        // SQLSTATE untranslatable_character
        matches!(self, Self::Refused { said, .. } if said.ends_with("(22P05)"))
    }
}

/// A value from the server itself as text; empty for NULL.
pub(crate) fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Cell::Null | Cell::Unchanged => String::new(),
    }
}

/// An identifier in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that has the same meaning with `standard_conforming_strings` on and off.
pub(crate) fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\")),
        false => format!("'{text}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_the_same_text_with_and_without_standard_strings() {
        for (text, wanted) in [
            ("a", "'a'"),
            ("o'neil", "'o''neil'"),
            (r"a\b", r"E'a\\b'"),
            (r"\'; --", r"E'\\''; --'"),
            ("", "''"),
        ] {
            assert_eq!(literal(text), wanted);
        }
    }
}
