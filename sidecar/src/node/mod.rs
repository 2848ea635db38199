//! One ClickHouse node over HTTP: statements, rows and reachability.

mod answer;
mod connector;
mod client;
mod error;
mod access;
mod query;
mod insert;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tracing::Instrument;
use url::Url;

use self::access::NodeAccess;
pub use self::client::SETTINGS;
use self::connector::NodeTls;
pub(crate) use self::error::{NodeError, NodesError};
pub(crate) use self::insert::Insert;
pub(crate) use self::query::{ByteChunks, Query, RowStream};
use crate::config::{Config, NodeFiles, NodeRole};
use crate::tls::TlsError;

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
    access: Arc<NodeAccess>,
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

/// `[clickhouse.tls]` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("clickhouse.tls can't be used")]
pub(crate) struct NodeTlsError(#[from] TlsError);

impl Node {
    /// All nodes of the config, by shard and replica, and then those without data. Opens no
    /// connection.
    ///
    /// # Errors
    /// Fails if a URL begins with `https` and `[clickhouse.tls]` can't be used.
    pub(crate) fn all(config: &Config) -> Result<Vec<Self>, NodeTlsError> {
        let tls = match config.uses_https() {
            true => Some(NodeTls::new(&config.clickhouse)?),
            false => None,
        };
        let access =
            |name: &str, url: &Url| Arc::new(NodeAccess::new(name, url, &config.clickhouse, tls.as_ref()));
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
                    access: access(&place.name, &place.url),
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
            access: access(&place.name, &place.url),
        }));
        Ok(nodes)
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
        Query::new(&self.access, sql)
    }

    /// Starts an `INSERT … FORMAT …` whose rows follow as bytes of that format.
    pub(crate) fn insert(&self, sql: &str) -> Insert<'_> {
        Insert::new(&self.access, sql)
    }

    /// Checks that the node answers a query.
    ///
    /// # Errors
    /// [`NodeError::Unreachable`] after at most `clickhouse.timeout`; [`NodeError::Refused`] for
    /// a wrong password.
    pub(crate) async fn reach(&self) -> Result<(), NodeError> {
        self.access.probe(self.access.timeout).await
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
        Node::all(&Config::parse(&text, Path::new("")).expect("a config")).expect("nodes")
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
