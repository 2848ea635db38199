//! One ClickHouse node over HTTP: statements, rows and reachability.

mod client;
mod error;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use clickhouse::error::Error as ClientError;
use clickhouse::insert_formatted::InsertFormatted;
use clickhouse::{Client, Compression};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;
use url::{Host, Url};

pub use self::client::SETTINGS;
use self::client::client;
pub(crate) use self::error::{NodeError, NodesError};
use self::error::{exception, root_cause};
use crate::config::{Config, NodeFiles, NodeRole};

/// Bytes of an insert that go to the connection at once and are compressed as one frame.
const SENT_AT_ONCE: usize = 1 << 20;

/// Largest row of a streamed result.
const MAX_ROW_BYTES: usize = 64 << 20;

/// Limit of one statement while its node still answers probes. No statement of posthouse needs as
/// long.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

const REACH: &str = include_str!("../../../sql/inspect/reach.sql");

/// One ClickHouse node. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Name in the config.
    pub(crate) name: String,
    /// Shard number, counted from 1 as in `system.clusters.shard_num`; 0 for a node without data.
    pub(crate) shard: usize,
    /// Replica number within the shard, counted from 1 as in `system.clusters.replica_num`; 0 for a
    /// node without data.
    pub(crate) replica: usize,
    /// At least one.
    pub(crate) roles: Vec<NodeRole>,
    /// HTTP interface.
    pub(crate) url: Url,
    /// Folders of the node's files, if they are on this machine.
    pub(crate) files: Option<NodeFiles>,
    client: Client,
    timeout: Duration,
}

/// Checks in parallel whether all nodes answer queries.
///
/// # Errors
/// Lists every node that does not, after at most `clickhouse.timeout` in all.
pub(crate) async fn reach_all(nodes: &[Node]) -> Result<(), NodesError> {
    let mut asked = JoinSet::new();
    for (index, node) in nodes.iter().cloned().enumerate() {
        asked.spawn(async move { (index, node.reach().await) }.in_current_span());
    }
    let mut failed: Vec<(usize, NodeError)> = asked
        .join_all()
        .await
        .into_iter()
        .filter_map(|(index, reached)| Some((index, reached.err()?)))
        .collect();
    failed.sort_by_key(|(index, _)| *index);
    if failed.is_empty() {
        Ok(())
    } else {
        Err(NodesError(failed.into_iter().map(|(_, error)| error).collect()))
    }
}

impl Node {
    /// All nodes of the config, by shard and replica, and then those without data. Opens no
    /// connection.
    pub(crate) fn all(config: &Config) -> Vec<Self> {
        let mut nodes = Vec::new();
        for (shard, replicas) in (1..).zip(config.shards.iter().map(|shard| &shard.replicas)) {
            for (replica, place) in (1..).zip(replicas) {
                nodes.push(Self {
                    name: place.name.clone(),
                    shard,
                    replica,
                    roles: place.roles.clone(),
                    url: place.url.clone(),
                    files: place.files.clone(),
                    client: client(&place.url, &config.clickhouse),
                    timeout: config.clickhouse.timeout,
                });
            }
        }
        nodes.extend(config.ingest_nodes.iter().map(|place| Self {
            name: place.name.clone(),
            shard: 0,
            replica: 0,
            roles: vec![NodeRole::Ingest],
            url: place.url.clone(),
            files: place.files.clone(),
            client: client(&place.url, &config.clickhouse),
            timeout: config.clickhouse.timeout,
        }));
        nodes
    }

    pub(crate) fn has(&self, role: NodeRole) -> bool {
        self.roles.contains(&role)
    }

    /// Executes one statement, sent verbatim.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), NodeError> {
        self.query(sql).execute().await
    }

    /// Returns the rows of one `SELECT`, sent verbatim (without `FORMAT`).
    pub(crate) async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, NodeError> {
        self.query(sql).rows().await
    }

    /// Starts a statement that takes parameters and settings. A `?` in it is literal.
    pub(crate) fn query(&self, sql: &str) -> Query<'_> {
        Query { node: self, query: self.client.query_raw(sql) }
    }

    /// Starts an `INSERT … FORMAT …` whose rows follow as bytes of that format.
    ///
    /// The bytes are compressed unless the node is on this machine, where a copy is cheaper than
    /// LZ4.
    pub(crate) fn insert(&self, sql: &str) -> Insert<'_> {
        let compression = if self.is_local() { Compression::None } else { Compression::Lz4 };
        let client = self.client.clone().with_compression(compression);
        Insert { node: self, insert: client.insert_formatted_with(sql) }
    }

    fn is_local(&self) -> bool {
        match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Checks that the node answers a query.
    ///
    /// # Errors
    /// [`NodeError::Unreachable`] after at most `clickhouse.timeout`; [`NodeError::Refused`] for
    /// a wrong password.
    pub(crate) async fn reach(&self) -> Result<(), NodeError> {
        self.probe(self.timeout).await
    }

    async fn probe(&self, within: Duration) -> Result<(), NodeError> {
        let answer = timeout(within, self.client.query_raw(REACH).execute()).await;
        answer
            .map_err(|_| self.unreachable(format!("no answer within {} s", self.timeout.as_secs())))?
            .map_err(|error| self.explain(error))
    }

    /// Waits for `work` as long as the node answers probes, because a long ALTER is no outage. The
    /// limit is [`STATEMENT_TIMEOUT`]. The first silence and the probe get half of the time each,
    /// so that a dead node is detected within `clickhouse.timeout`.
    async fn answered<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, NodeError> {
        let half = self.timeout / 2;
        let mut work = pin!(work);
        let answer = async {
            loop {
                match timeout(half, &mut work).await {
                    Ok(result) => return result.map_err(|error| self.explain(error)),
                    Err(_) => self.probe(half).await?,
                }
            }
        };
        let hours = STATEMENT_TIMEOUT.as_secs() / 3600;
        let unfinished =
            |_| self.unreachable(format!("it answers, and did not finish a statement within {hours} h"));
        timeout(STATEMENT_TIMEOUT, answer).await.map_err(unfinished)?
    }

    fn explain(&self, error: ClientError) -> NodeError {
        let (name, url) = (self.name.clone(), self.url.to_string());
        match error {
            ClientError::BadResponse(text) => {
                let (code, message) = exception(&text);
                NodeError::Refused { name, url, code, message }
            }
            ClientError::Network(cause) => self.unreachable(root_cause(cause.as_ref())),
            other => NodeError::Answer { name, url, source: Box::new(other) },
        }
    }

    fn unreachable(&self, problem: String) -> NodeError {
        NodeError::Unreachable { name: self.name.clone(), url: self.url.to_string(), problem }
    }
}

/// Rows for one node, sent verbatim. See [`Node::insert`].
#[must_use = "rows are sent only by `send`"]
pub(crate) struct Insert<'n> {
    node: &'n Node,
    insert: InsertFormatted,
}

impl Insert<'_> {
    /// Sets a ClickHouse setting for this statement alone.
    pub(crate) fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.insert = self.insert.with_setting(name, value.to_string());
        self
    }

    /// Sends `head`, then the pieces, and returns when the server has stored all rows.
    ///
    /// # Errors
    /// After [`NodeError::Unreachable`] the rows may or may not be stored.
    pub(crate) async fn send(self, head: Bytes, pieces: &mut VecDeque<Bytes>) -> Result<(), NodeError> {
        self.upload(head, pieces).await?.end().await
    }
}

impl<'n> Insert<'n> {
    /// Sends `head`, then the pieces, without the end of the request. The server stores no row
    /// before it has that.
    ///
    /// A piece leaves `pieces` when the connection has taken it, so that its memory is freed while
    /// others are sent. Without a connection all pieces stay.
    ///
    /// # Errors
    /// No row is stored after an error.
    pub(crate) async fn upload(
        self,
        head: Bytes,
        pieces: &mut VecDeque<Bytes>,
    ) -> Result<Upload<'n>, NodeError> {
        let Self { node, mut insert } = self;
        let insert = node
            .answered(async move {
                // The client holds one piece until the connection asks for it. The first of
                // `pieces` waits for that.
                insert.send(head).await?;
                while let Some(piece) = pieces.front_mut() {
                    let next = piece.slice(..piece.len().min(SENT_AT_ONCE));
                    let sent = next.len();
                    insert.send(next).await?;
                    piece.advance(sent);
                    if piece.is_empty() {
                        pieces.pop_front();
                    }
                }
                Ok(insert)
            })
            .await?;
        Ok(Upload { node, insert })
    }
}

/// Rows that a node has received, and stores after [`Upload::end`]. If it is dropped before, the
/// node discards them.
#[must_use = "rows are stored only by `end`"]
pub(crate) struct Upload<'n> {
    node: &'n Node,
    insert: InsertFormatted,
}

impl Upload<'_> {
    /// Ends the request, and returns when the server has stored all rows.
    ///
    /// # Errors
    /// After [`NodeError::Unreachable`] the rows may or may not be stored.
    pub(crate) async fn end(self) -> Result<(), NodeError> {
        let Self { node, insert } = self;
        node.answered(async move { insert.end().await }).await
    }
}

#[must_use = "a query runs only when it is executed or its rows are read"]
pub(crate) struct Query<'n> {
    node: &'n Node,
    query: clickhouse::query::Query,
}

impl<'n> Query<'n> {
    /// Sets the value of `{name:Type}` in the statement.
    pub(crate) fn param(mut self, name: &str, value: impl Serialize) -> Self {
        self.query = self.query.param(name, value);
        self
    }

    /// Sets a ClickHouse setting for this statement alone.
    pub(crate) fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.query = self.query.with_setting(name, value.to_string());
        self
    }

    /// Executes the statement and returns when the server has finished it.
    pub(crate) async fn execute(self) -> Result<(), NodeError> {
        // Otherwise the server may answer 200 first and fail later.
        let query = self.query.with_setting("wait_end_of_query", "1");
        self.node.answered(query.execute()).await
    }

    /// Returns the rows one by one as they arrive.
    pub(crate) fn stream<T: DeserializeOwned>(self) -> Result<RowStream<'n, T>, NodeError> {
        let cursor = self.query.fetch_bytes("JSONEachRow").map_err(|error| self.node.explain(error))?;
        Ok(RowStream { node: self.node, cursor, buffer: BytesMut::new(), rows: PhantomData })
    }

    /// Returns the result in `format`, as it arrives.
    pub(crate) fn chunks(self, format: &str) -> Result<ByteChunks<'n>, NodeError> {
        let cursor = self.query.fetch_bytes(format).map_err(|error| self.node.explain(error))?;
        Ok(ByteChunks { node: self.node, cursor })
    }

    /// Returns all rows, held in memory. 64-bit integers arrive as numbers. Strings must be UTF-8;
    /// `hex()` other ones in SQL.
    pub(crate) async fn rows<T: DeserializeOwned>(self) -> Result<Vec<T>, NodeError> {
        let bytes =
            self.node.answered(async { self.query.fetch_bytes("JSONEachRow")?.collect().await }).await?;
        let rows = serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>();
        rows.map_err(|error| NodeError::Answer {
            name: self.node.name.clone(),
            url: self.node.url.to_string(),
            source: Box::new(error),
        })
    }
}

/// The bytes of a result as they arrive.
pub(crate) struct ByteChunks<'n> {
    node: &'n Node,
    cursor: clickhouse::query::BytesCursor,
}

impl ByteChunks<'_> {
    /// Returns the next bytes, or `None` at the end of the result.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, NodeError> {
        self.node.answered(self.cursor.next()).await
    }
}

/// See [`Query::stream`].
pub(crate) struct RowStream<'n, T> {
    node: &'n Node,
    cursor: clickhouse::query::BytesCursor,
    /// Bytes after the last row that was read.
    buffer: BytesMut,
    rows: PhantomData<T>,
}

impl<T: DeserializeOwned> RowStream<'_, T> {
    /// Returns the next row, or `None` after the last one. A row may have [`MAX_ROW_BYTES`].
    pub(crate) async fn next(&mut self) -> Result<Option<T>, NodeError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).map(Some).map_err(|error| self.odd(Box::new(error)));
            }
            if self.buffer.len() > MAX_ROW_BYTES {
                return Err(self.odd(format!("a row of more than {MAX_ROW_BYTES} bytes").into()));
            }
            match self.node.answered(self.cursor.next()).await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(self.odd("its last row is cut off".into())),
            }
        }
    }

    fn odd(&self, source: Box<dyn std::error::Error + Send + Sync>) -> NodeError {
        NodeError::Answer { name: self.node.name.clone(), url: self.node.url.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;

    fn nodes(ports: &[u16]) -> Vec<Node> {
        let mut text = "kafka.brokers = [\"127.0.0.1:1\"]\nclickhouse.timeout = \"1s\"\n".to_owned();
        for port in ports {
            text.push_str(&format!(
                "[[shards]]\n[[shards.replicas]]\nname = \"n{port}\"\nurl = \"http://127.0.0.1:{port}\"\n\
                 address = \"127.0.0.1:{port}\"\n"
            ));
        }
        Node::all(&Config::parse(&text, Path::new("")).expect("a config"))
    }

    /// A port without a listener: bound and released.
    fn closed_port() -> u16 {
        listener().local_addr().expect("an address").port()
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    #[test]
    fn nodes_come_by_shard_and_replica_counted_from_one() {
        let nodes = nodes(&[1, 2]);
        let places: Vec<_> =
            nodes.iter().map(|node| (node.shard, node.replica, node.name.as_str())).collect();
        assert_eq!(places, [(1, 1, "n1"), (2, 1, "n2")]);
    }

    #[tokio::test]
    async fn all_unreachable_nodes_are_named_at_once() {
        let silent = listener();
        let (closed, silent_port) = (closed_port(), silent.local_addr().expect("an address").port());
        let error = reach_all(&nodes(&[closed, silent_port])).await.expect_err("both are unreachable");
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1:{closed}/: connection refused")), "{text}");
        assert!(text.contains(&format!("127.0.0.1:{silent_port}/: no answer within 1 s")), "{text}");
        assert!(error.0.iter().all(|error| matches!(error, NodeError::Unreachable { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn a_statement_for_a_silent_node_ends_as_unreachable() {
        let silent = listener();
        let nodes = nodes(&[silent.local_addr().expect("an address").port()]);
        let error = nodes[0].execute("SELECT 1").await.expect_err("nothing answers");
        assert!(matches!(error, NodeError::Unreachable { .. }), "{error:?}");
    }
}
