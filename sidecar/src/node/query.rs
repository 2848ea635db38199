//! Statements with parameters and settings, and their rows.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::BytesMut;
use clickhouse::Client;
use clickhouse::error::Error as ClientError;
use clickhouse::query::BytesCursor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::access::{NodeAccess, STATEMENT_TIMEOUT, shown};
use super::error::NodeError;
use crate::secret::Secret;

/// Largest row of a result.
const MAX_ROW_BYTES: usize = 64 << 20;

/// Limit of the wait for a further row of a streamed result, as a multiple of `clickhouse.timeout`.
/// The server sends blocks of many rows, and none of our streams computes minutes for a block.
const ROW_TIMEOUTS: u32 = 60;

/// Without it, the server may answer 200 first and fail later. With it, an answer is complete
/// before it begins, so that the time of its bytes is that of the network.
const WHOLE: (&str, &str) = ("wait_end_of_query", "1");

#[must_use = "a query runs only when it is executed or its rows are read"]
pub(crate) struct Query<'n> {
    access: &'n NodeAccess,
    statement: NodeStatement,
}

/// A statement that can be repeated.
struct NodeStatement {
    sql: String,
    params: Vec<(String, Result<Value, serde_json::Error>)>,
    settings: Vec<(String, String)>,
}

impl NodeStatement {
    fn on(&self, client: Client) -> Result<clickhouse::query::Query, ClientError> {
        let mut query = client.query_raw(&self.sql);
        for (name, value) in &self.params {
            let value =
                value.as_ref().map_err(|error| ClientError::InvalidParams(error.to_string().into()))?;
            query = query.param(name, value);
        }
        Ok(self.settings.iter().fold(query, |query, (name, value)| query.with_setting(name, value)))
    }

    fn cursor(&self, client: Client) -> Result<BytesCursor, ClientError> {
        self.on(client)?.fetch_bytes("JSONEachRow")
    }
}

impl<'n> Query<'n> {
    pub(super) fn new(access: &'n NodeAccess, sql: &str) -> Self {
        let statement = NodeStatement { sql: sql.to_owned(), params: Vec::new(), settings: Vec::new() };
        Self { access, statement }
    }

    /// Sets the value of `{name:Type}` in the statement: a string, a number, or a list of them.
    pub(crate) fn param(mut self, name: &str, value: impl Serialize) -> Self {
        self.statement.params.push((name.to_owned(), serde_json::to_value(value)));
        self
    }

    /// Sets a ClickHouse setting for this statement alone.
    pub(crate) fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.statement.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Executes the statement and returns when the server has finished it.
    pub(crate) async fn execute(self) -> Result<(), NodeError> {
        let Self { access, statement } = self.setting(WHOLE.0, WHOLE.1);
        access
            .statement(|client| {
                let query = statement.on(client);
                async move { query?.execute().await }
            })
            .await
    }

    /// Returns the rows one by one as they arrive.
    pub(crate) fn stream<T: DeserializeOwned>(self) -> Result<RowStream<'n, T>, NodeError> {
        let Self { access, statement } = self;
        let password = access.password();
        let cursor = statement.cursor(access.streamed(password.as_ref()));
        let rows = ResultReader::new(cursor.map_err(|error| access.explain(error))?);
        Ok(RowStream { access, statement, password, rows, has_begun: false, waited: Duration::ZERO })
    }

    /// Returns the result in `format`, as it arrives.
    pub(crate) fn chunks(self, format: &str) -> Result<ByteChunks<'n>, NodeError> {
        let Self { access, statement } = self;
        let query = statement.on(access.streamed(access.password().as_ref()));
        let cursor =
            query.and_then(|query| query.fetch_bytes(format)).map_err(|error| access.explain(error))?;
        Ok(ByteChunks { access, cursor, has_begun: false })
    }

    /// Returns all rows, held in memory. 64-bit integers arrive as numbers. Strings must be UTF-8;
    /// `hex()` other ones in SQL.
    pub(crate) async fn rows<T: DeserializeOwned>(self) -> Result<Vec<T>, NodeError> {
        let Self { access, statement } = self.setting(WHOLE.0, WHOLE.1);
        access
            .statement(|client| {
                let cursor = statement.cursor(client);
                async move { all_rows(ResultReader::new(cursor?)).await }
            })
            .await
    }
}

async fn all_rows<T: DeserializeOwned>(mut rows: ResultReader<T>) -> Result<Vec<T>, ClientError> {
    let mut read = Vec::new();
    loop {
        while let Some(row) = rows.take()? {
            read.push(row);
        }
        match rows.more().await? {
            true => {}
            false => return Ok(read),
        }
    }
}

/// The bytes of a result, see [`Query::chunks`].
pub(crate) struct ByteChunks<'n> {
    access: &'n NodeAccess,
    cursor: BytesCursor,
    /// Whether the answer has begun. Before, the server computes.
    has_begun: bool,
}

impl ByteChunks<'_> {
    /// Returns the next bytes, or `None` at the end of the result.
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, NodeError> {
        let limit = if self.has_begun { self.access.timeout * ROW_TIMEOUTS } else { STATEMENT_TIMEOUT };
        let next = timeout_at(Instant::now() + limit, self.access.answered(self.cursor.next())).await;
        self.has_begun = true;
        let problem = || format!("it sent no further bytes within {}", shown(limit));
        next.map_err(|_| self.access.unreachable(problem()))?
    }
}

/// Rows of an answer, cut from its bytes.
struct ResultReader<T> {
    cursor: BytesCursor,
    /// Bytes after the last row that was read.
    buffer: BytesMut,
    rows: PhantomData<T>,
}

impl<T: DeserializeOwned> ResultReader<T> {
    fn new(cursor: BytesCursor) -> Self {
        Self { cursor, buffer: BytesMut::new(), rows: PhantomData }
    }

    /// Returns the next row that has arrived. A row may have [`MAX_ROW_BYTES`].
    fn take(&mut self) -> Result<Option<T>, ClientError> {
        if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            let line = self.buffer.split_to(end + 1);
            return serde_json::from_slice(&line).map(Some).map_err(|error| ClientError::Other(error.into()));
        }
        match self.buffer.len() > MAX_ROW_BYTES {
            true => Err(ClientError::Other(format!("a row of more than {MAX_ROW_BYTES} bytes").into())),
            false => Ok(None),
        }
    }

    /// Waits for further bytes. Returns whether there are any.
    async fn more(&mut self) -> Result<bool, ClientError> {
        match self.cursor.next().await? {
            Some(bytes) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(true)
            }
            None if self.buffer.is_empty() => Ok(false),
            None => Err(ClientError::Other("its last row is cut off".into())),
        }
    }
}

/// See [`Query::stream`].
pub(crate) struct RowStream<'n, T> {
    access: &'n NodeAccess,
    statement: NodeStatement,
    password: Option<Secret>,
    rows: ResultReader<T>,
    /// Whether the answer has begun. Before, the server computes.
    has_begun: bool,
    /// Time of waits for rows.
    waited: Duration,
}

impl<T: DeserializeOwned> RowStream<'_, T> {
    /// Returns the next row, or `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, NodeError> {
        let begin = Instant::now();
        let row = self.wait(begin).await;
        self.waited += begin.elapsed();
        row
    }

    async fn wait(&mut self, begin: Instant) -> Result<Option<T>, NodeError> {
        let limit = self.access.timeout * ROW_TIMEOUTS;
        let mut deadline = begin + STATEMENT_TIMEOUT.saturating_sub(self.waited);
        if self.has_begun {
            deadline = deadline.min(begin + limit);
        }
        loop {
            if let Some(row) = self.rows.take().map_err(|error| self.access.explain(error))? {
                return Ok(Some(row));
            }
            let more = timeout_at(deadline, self.access.answered(self.rows.more())).await;
            match more {
                Ok(Ok(true)) if self.has_begun => {}
                Ok(Ok(true)) => {
                    self.has_begun = true;
                    deadline = deadline.min(Instant::now() + limit);
                }
                Ok(Ok(false)) => return Ok(None),
                Ok(Err(error)) => self.send_again(error).await?,
                Err(_) if self.waited + begin.elapsed() >= STATEMENT_TIMEOUT => {
                    return Err(self.access.unfinished());
                }
                Err(_) => {
                    let problem = format!("it sent no further row within {}", shown(limit));
                    return Err(self.access.unreachable(problem));
                }
            }
        }
    }

    /// Sends the statement with a new password, if the node refused the former one.
    async fn send_again(&mut self, error: NodeError) -> Result<(), NodeError> {
        let is_repeatable = error.is_login() && !self.has_begun;
        if !is_repeatable || !self.access.has_new_password(self.password.as_ref()).await {
            return Err(error);
        }
        self.password = self.access.password();
        let cursor = self.statement.cursor(self.access.streamed(self.password.as_ref()));
        self.rows = ResultReader::new(cursor.map_err(|error| self.access.explain(error))?);
        Ok(())
    }
}
