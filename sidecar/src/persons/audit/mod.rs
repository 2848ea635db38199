//! The audit: whether every node has exactly what PostgreSQL has, and the repair of what it has not.
//!
//! sums of buckets on both sides → of those that differ the rows of the nodes, then those of PostgreSQL → barrier → the nodes'
//! rows again → what still stands there and is not what PostgreSQL told is wrong. Repairs are published again with the version of
//! a copy, so that they can't undo anything newer.

mod barrier;
mod compare;
mod repair;
mod sides;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use pgwire_replication::Lsn;
use serde::Serialize;

use crate::config::{Config, Persons, Postgres};
use crate::kafka::{Client, DeliveryError, KafkaError};
use crate::node::{Node, NodeError};
use crate::sql::RenderError;
use crate::supervise::Heartbeat;

use self::barrier::Barrier;
pub use self::compare::Difference;
use self::compare::{Found, NodeRows, Suspects, differing, judge, suspects};
use super::copy::now;
use super::foreign::{self, ClearanceError};
use super::postgres::{PostgresError, Session};
use super::publish::PublishError;
use super::slot::SlotError;
use super::state::StateError;
use super::table::Kind;
use super::version::VersionError;

/// Differences of a node that are shown; all are counted.
const EXAMPLES: usize = 5;
/// How long a stage may take: each reads a table once or twice on every side.
const STAGE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The config does not say where persons come from.
    #[error("there is nothing to compare: add [persons.postgres] to the config")]
    NoSource,
    /// PostgreSQL did not answer as it should.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The slot can't be seen.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The brokers did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A node did not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nobody copies.
    #[error(
        "nobody holds replication slot {slot}, so what is on its way never arrives: start posthouse run, and audit again"
    )]
    Nobody {
        /// The slot.
        slot: String,
    },
    /// The copy is behind.
    #[error(
        "replication slot {slot} stands at {at} and not at {wanted} after a minute: posthouse is behind (a first copy? brokers \
         away?); audit again when it has caught up"
    )]
    Behind {
        /// The slot.
        slot: String,
        /// Where it stands.
        at: Lsn,
        /// Where it should.
        wanted: Lsn,
    },
    /// A node does not read.
    #[error(
        "consumer group {group} has not read {messages} messages after a minute: see whether its nodes run and read (posthouse topics \
         groups), and audit again"
    )]
    Unread {
        /// The group.
        group: String,
        /// How many messages are left.
        messages: i64,
    },
    /// Versions on a node are above what the WAL gives.
    #[error(
        "{key} has version {stored} on node {node}, and PostgreSQL's WAL gives only {given}: was PostgreSQL set up anew? Set \
         persons.postgres.version_base to {} or more",
        .stored - .given + 1
    )]
    Version {
        /// The row.
        key: String,
        /// The node.
        node: String,
        /// What it has.
        stored: u64,
        /// What a repair would have.
        given: u64,
    },
    /// Another producer's persons are where repairs would be published.
    #[error(transparent)]
    Clearance(#[from] ClearanceError),
    /// There is no version for repairs.
    #[error(transparent)]
    NoVersion(#[from] VersionError),
    /// Repairs were not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The same.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// What was repaired can't be remembered.
    #[error(transparent)]
    State(#[from] StateError),
    /// A fault of posthouse.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// For each table, persons first.
    pub tables: Vec<TableReport>,
}

/// What an audit found of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// `person` or `person_distinct_id`.
    pub table: &'static str,
    /// Rows in PostgreSQL.
    pub rows: u64,
    /// For each node.
    pub nodes: Vec<NodeReport>,
}

/// What an audit found of one table on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// Live rows it has.
    pub rows: u64,
    /// Rows that PostgreSQL has and the node does not.
    pub missing: usize,
    /// Rows with other contents.
    pub stale: usize,
    /// Rows that were deleted and are visible again.
    pub resurrected: usize,
    /// Other rows that PostgreSQL does not have.
    pub extra: usize,
    /// Rows that were changed while the audit looked, and so are not judged.
    pub moving: usize,
    /// Some of the wrong rows, as `team:key`.
    pub examples: BTreeMap<String, Difference>,
}

impl NodeReport {
    /// Rows that are wrong.
    pub fn differences(&self) -> usize {
        self.missing + self.stale + self.resurrected + self.extra
    }
}

impl Report {
    /// Rows that are wrong, on all nodes together.
    pub fn differences(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.nodes).map(NodeReport::differences).sum()
    }
}

/// What an audit works with.
pub struct Audit<'a> {
    config: &'a Config,
    persons: &'a Persons,
    postgres: &'a Postgres,
    kafka: Client,
    nodes: Vec<Node>,
    heartbeat: Heartbeat,
}

/// What was found of one table on each node.
struct OfTable {
    kind: Kind,
    nodes: Vec<Found>,
}

impl<'a> Audit<'a> {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`AuditError::NoSource`], or [`AuditError::Kafka`] if the library can't be set up.
    pub fn new(config: &'a Config) -> Result<Self, AuditError> {
        Self::with_heartbeat(config, Heartbeat::default())
    }

    /// The same; `heartbeat` beats with each stage.
    pub(super) fn with_heartbeat(config: &'a Config, heartbeat: Heartbeat) -> Result<Self, AuditError> {
        let (persons, postgres) = super::lead::source(config).ok_or(AuditError::NoSource)?;
        let (kafka, nodes) = (Client::new(&config.kafka)?, Node::all(config));
        Ok(Self { config, persons, postgres, kafka, nodes, heartbeat })
    }

    /// Compares both tables on all nodes with PostgreSQL.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub async fn check(&self) -> Result<Report, AuditError> {
        Ok(self.look().await?.0)
    }

    /// The same, then publishes what is wrong, waits until the nodes have read it, and compares again. Returns both results.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub async fn repair(&self) -> Result<(Report, Report), AuditError> {
        let (before, found) = self.look().await?;
        if before.differences() == 0 {
            return Ok((before.clone(), before));
        }
        foreign::clear(self.config, self.persons, self.postgres, &self.kafka).await?;
        for table in &found {
            self.heartbeat.beat("publishing rows again", STAGE_TIMEOUT);
            repair::publish(self, table).await?;
        }
        self.barrier().read().await?;
        let (after, _) = self.look().await?;
        Ok((before, after))
    }

    async fn look(&self) -> Result<(Report, Vec<OfTable>), AuditError> {
        let session = Session::connect(self.postgres).await?;
        let mut report = Report { tables: Vec::new() };
        let mut found = Vec::new();
        for kind in [Kind::Person, Kind::DistinctId] {
            self.heartbeat.beat("comparing a table with PostgreSQL", STAGE_TIMEOUT);
            let (table, nodes) = self.table(&session, kind).await?;
            report.tables.push(table);
            found.push(OfTable { kind, nodes });
        }
        Ok((report, found))
    }

    async fn table(&self, session: &Session, kind: Kind) -> Result<(TableReport, Vec<Found>), AuditError> {
        let source = sides::source_sums(session, self.postgres, kind).await?;
        let database = &self.config.database;
        let sums = self.nodes.iter().map(|node| sides::node_sums(node, database, kind));
        let sums = try_join_all(sums.collect::<Vec<_>>()).await?;
        let buckets: BTreeSet<u16> = sums.iter().flat_map(|node| differing(&source, node)).collect();
        let found = match buckets.is_empty() {
            true => vec![Found::default(); self.nodes.len()],
            false => self.rows(session, kind, &buckets).await?,
        };
        let nodes = self.nodes.iter().zip(&sums).zip(&found).map(|((node, sums), found)| {
            let count = |wanted| found.rows.values().filter(|wrong| wrong.difference == wanted).count();
            let examples = found.rows.iter().take(EXAMPLES);
            NodeReport {
                node: node.name.clone(),
                rows: sums.values().map(|sum| sum.count).sum(),
                missing: count(Difference::Missing),
                stale: count(Difference::Stale),
                resurrected: count(Difference::Resurrected),
                extra: count(Difference::Extra),
                moving: found.moving,
                examples: examples.map(|(key, wrong)| (key.clone(), wrong.difference)).collect(),
            }
        });
        let report = TableReport {
            table: match kind {
                Kind::Person => "person",
                Kind::DistinctId => "person_distinct_id",
            },
            rows: source.values().map(|sum| sum.count).sum(),
            nodes: nodes.collect(),
        };
        Ok((report, found))
    }

    /// What is wrong in the buckets that differ: the rows of the nodes, then those of PostgreSQL, and when the nodes have had time
    /// to follow, what stands there where these differed.
    async fn rows(
        &self,
        session: &Session,
        kind: Kind,
        buckets: &BTreeSet<u16>,
    ) -> Result<Vec<Found>, AuditError> {
        let nodes = self.node_rows(kind, buckets).await?;
        let source = sides::source_rows(session, self.postgres, kind, buckets).await?;
        let suspects: Vec<_> = nodes.iter().map(|node| suspects(node, &source)).collect();
        drop(nodes);
        if suspects.iter().all(Suspects::is_empty) {
            return Ok(vec![Found::default(); suspects.len()]);
        }
        self.barrier().pass(session, now(session).await?.0).await?;
        let later = self.node_rows(kind, buckets).await?;
        Ok(suspects.iter().zip(&later).map(|(suspects, later)| judge(suspects, &source, later)).collect())
    }

    async fn node_rows(&self, kind: Kind, buckets: &BTreeSet<u16>) -> Result<Vec<NodeRows>, AuditError> {
        let rows = self.nodes.iter().map(|node| sides::node_rows(node, &self.config.database, kind, buckets));
        try_join_all(rows.collect::<Vec<_>>()).await
    }

    fn barrier(&self) -> Barrier<'_> {
        Barrier {
            config: self.config,
            persons: self.persons,
            postgres: self.postgres,
            kafka: &self.kafka,
            nodes: &self.nodes,
        }
    }
}
