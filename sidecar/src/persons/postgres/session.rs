//! PostgreSQL session for statements from `sql/postgres`, with text results.

use std::error::Error as _;
use std::fmt::Write as _;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};
use tracing::Instrument;

use crate::config::Postgres;
use crate::sql::{self, RenderError};

use super::pgoutput::Cell;

/// Time limit of a TCP connection attempt.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Time limit of connection and login together.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keepalive: idle time, then interval and number of probes. It detects a server that has
/// vanished.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Time limit for the acknowledgement of sent bytes.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a statement on the catalog or on a few rows. Beyond it, the statement waits for a
/// lock or the server hangs.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a statement that reads thousands of rows by their keys, from a cold disk.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit of a statement that reads a table.
pub(crate) const SCAN_TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum size of a result in memory, in bytes of values. A batch looks up at most 256 rows with
/// TOASTed values (`BATCH_BYTES` in `stream.rs`), and brokers accept rows of 1 MB by default.
const ANSWER_LIMIT: usize = 512 << 20;
/// Ensures one text form of values and one meaning of literals, and turns rows hidden by a policy
/// into an error, regardless of the server's or the role's defaults.
pub(crate) const OPTIONS: &str = "-c timezone=UTC -c datestyle=ISO -c statement_timeout=0 -c extra_float_digits=1 -c row_security=off \
     -c standard_conforming_strings=on";

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
    /// The result exceeds `ANSWER_LIMIT`.
    #[error(
        "PostgreSQL at {address} answered with more than {} MiB when asked to {task}, and posthouse reads no more at once: check that \
         persons.postgres.address is a PostgreSQL, and for rows of many megabytes",
        ANSWER_LIMIT >> 20
    )]
    TooLarge { address: String, task: &'static str },
    /// The result has an unexpected shape.
    #[error("PostgreSQL at {address} answered {found:?} when asked to {task}: please report this")]
    Answer { address: String, task: &'static str, found: String },
    /// A bug in posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// One connection, which ends when it is dropped.
pub(crate) struct Session {
    client: Client,
    address: String,
    /// The server process of the session; empty if unknown.
    process: String,
}

/// A stream of rows.
pub(crate) type Rows<'s> =
    Pin<Box<dyn futures_util::Stream<Item = Result<Vec<Cell>, PostgresError>> + Send + 's>>;

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`PostgresError::Unreachable`], also for a wrong password.
    pub(crate) async fn connect(config: &Postgres) -> Result<Self, PostgresError> {
        let mut wanted = tokio_postgres::Config::new();
        wanted
            .host(&config.address.host)
            .port(config.address.port)
            .dbname(&config.database)
            .user(&config.user)
            .application_name("posthouse")
            .options(OPTIONS)
            .connect_timeout(CONNECT_LIMIT)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
        if let Some(password) = &config.password {
            wanted.password(password.secret().reveal());
        }
        let address = config.address.to_string();
        let connected = timeout(LOGIN_TIMEOUT, wanted.connect(NoTls)).await;
        let Ok(connected) = connected else {
            let said = format!("no login within {} s", LOGIN_TIMEOUT.as_secs());
            return Err(PostgresError::Unreachable { address, said });
        };
        match connected {
            Ok((client, connection)) => {
                // The task ends with its client. The next statement reports an error of the
                // connection.
                let ending = async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(error = %error, "connection to PostgreSQL ended");
                    }
                };
                tokio::spawn(ending.in_current_span());
                Self { client, address, process: String::new() }.prepared().await
            }
            Err(error) => {
                let said = causes(&error);
                let said = format!("{said}{}", hint(&said));
                Err(PostgresError::Unreachable { address, said })
            }
        }
    }

    async fn prepared(mut self) -> Result<Self, PostgresError> {
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
        self.rows_within(STATEMENT_TIMEOUT, task, path, values).await
    }

    /// The rows of a statement with a time limit, and at most 512 MiB of values.
    pub(crate) async fn rows_within(
        &self,
        limit: Duration,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<Vec<Vec<Cell>>, PostgresError> {
        let read = async {
            let mut rows = self.stream(task, path, values).await?;
            let (mut all, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next().await.transpose()? {
                bytes += row.iter().map(Cell::len).sum::<usize>();
                if bytes > ANSWER_LIMIT {
                    return Err(PostgresError::TooLarge { address: self.address.clone(), task });
                }
                all.push(row);
            }
            Ok(all)
        };
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
        let rows = self.rows_within(limit, task, path, values).await?;
        let texts = rows.first().map(|row| row.iter().map(text).collect::<Vec<_>>());
        texts.unwrap_or_default().try_into().map_err(|found: Vec<String>| PostgresError::Answer {
            address: self.address.clone(),
            task,
            found: format!("{} rows, the first with {found:?}", rows.len()),
        })
    }

    /// The rows of a statement as they arrive. There is no time limit here, so the caller must set
    /// one.
    pub(crate) async fn stream(
        &self,
        task: &'static str,
        path: &str,
        values: impl Serialize,
    ) -> Result<Rows<'_>, PostgresError> {
        let statement = sql::render(path, values)?;
        let messages = self.client.simple_query_raw(&statement).await;
        let messages = messages.map_err(|error| self.explain(task, &error))?;
        let rows = messages.filter_map(move |message| {
            std::future::ready(match message {
                Ok(SimpleQueryMessage::Row(row)) => Some(Ok(cells(&row))),
                Ok(_) => None,
                Err(error) => Some(Err(self.explain(task, &error))),
            })
        });
        Ok(Box::pin(rows))
    }

    fn explain(&self, task: &'static str, error: &tokio_postgres::Error) -> PostgresError {
        let address = self.address.clone();
        match error.as_db_error() {
            Some(refused) => PostgresError::Refused {
                address,
                task,
                said: format!("{} ({})", refused.message(), refused.code().code()),
            },
            None => PostgresError::Unreachable { address, said: causes(error) },
        }
    }

    /// The error for an answer that did not arrive within `limit`.
    pub(crate) fn silent(&self, task: &'static str, limit: Duration) -> PostgresError {
        PostgresError::Silent { address: self.address.clone(), task, limit }
    }

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

fn cells(row: &SimpleQueryRow) -> Vec<Cell> {
    let cell = |place| match row.get(place) {
        Some(text) => Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
        None => Cell::Null,
    };
    (0..row.len()).map(cell).collect()
}

/// A value from the server itself as text; empty for NULL.
pub(crate) fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Cell::Null | Cell::Unchanged => String::new(),
    }
}

/// A hint where the server's message has none.
fn hint(said: &str) -> &'static str {
    let hints = [
        (
            "unsupported startup parameter",
            "; this is a pooler such as PgBouncer: give the address of PostgreSQL itself",
        ),
        ("no encryption", "; it requires TLS, which posthouse does not support for PostgreSQL"),
    ];
    hints.into_iter().find_map(|(words, hint)| said.contains(words).then_some(hint)).unwrap_or_default()
}

/// The error with all its causes, because the library's text names only the failed operation.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a String can't fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

/// An identifier in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal in single quotes.
pub(crate) fn literal(text: &str) -> String {
    // A backslash is an ordinary character here (standard_conforming_strings, the default since
    // 9.1).
    format!("'{}'", text.replace('\'', "''"))
}
