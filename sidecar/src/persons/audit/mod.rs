//! Audit of all nodes against PostgreSQL, and repair.
//!
//! Both sides' sums per bucket → pages of differing buckets, bounded in rows → the nodes' rows,
//! then PostgreSQL's rows → barrier → the nodes' rows once more. A row that is unchanged there and
//! differs from PostgreSQL is wrong. Repairs are published with the version of a snapshot, so that
//! they can't undo newer changes.

mod error;
mod barrier;
mod queries;
mod pages;
mod compare;
mod report;
mod repair;
pub(super) mod last;
pub(super) mod schedule;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;

use crate::cluster::Cluster;
use crate::config::Persons;
use crate::span;
use crate::supervise::Heartbeat;

use self::barrier::Barrier;
use self::compare::{NodePage, Wrong, differing};
pub(crate) use self::error::AuditError;
use self::pages::{AuditPage, pages};
pub(crate) use self::repair::Deletions;
use self::repair::Repair;
pub(crate) use self::report::{AuditReport, NodeReport, TableReport};
use super::postgres::session::Session;
use super::postgres::table::TableKind;
use super::snapshot::now;
use super::source::PersonSource;

/// Number of example differences per node in a report. All differences are counted.
const EXAMPLES: usize = 5;
/// Time limit of a stage. Each stage reads a table once or twice on every side.
const STAGE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

pub(crate) struct Audit<'a> {
    cluster: &'a Cluster,
    source: PersonSource<'a>,
    heartbeat: Heartbeat,
}

/// The wrong rows of a page on each node, and the number of rows left out because they changed
/// meanwhile.
type PageResult = Vec<(Vec<Wrong>, usize)>;

impl TableKind {
    /// The table on the nodes.
    fn table_name(self, persons: &Persons) -> &'static str {
        match self {
            Self::Person => "person",
            Self::DistinctId => persons.distinct_id_table,
        }
    }
}

impl<'a> Audit<'a> {
    /// Creates an audit without connecting.
    ///
    /// # Errors
    /// Fails if the config has no `[persons.postgres]` section.
    pub(crate) fn new(cluster: &'a Cluster) -> anyhow::Result<Self> {
        Self::with_heartbeat(cluster, Heartbeat::default())
    }

    /// Creates an audit that sends a heartbeat with each stage.
    pub(super) fn with_heartbeat(cluster: &'a Cluster, heartbeat: Heartbeat) -> anyhow::Result<Self> {
        let source = PersonSource::of(&cluster.config)
            .context("no source to compare with: add [persons.postgres] to the config")?;
        Ok(Self { cluster, source, heartbeat })
    }

    /// Span for an audit outside of person sync.
    pub(crate) fn span(&self) -> tracing::Span {
        span::persons(&self.source.postgres.slot)
    }

    /// Compares both tables on all nodes with PostgreSQL.
    pub(crate) async fn check(&self) -> anyhow::Result<AuditReport> {
        self.look(None).await
    }

    /// Compares both tables, publishes the wrong rows, waits until the nodes have consumed them,
    /// and repeats the comparison. Returns both reports.
    pub(crate) async fn repair(&self, deletions: Deletions) -> anyhow::Result<(AuditReport, AuditReport)> {
        let mut repair = Repair::new(self, deletions);
        let before = self.look(Some(&mut repair)).await?;
        if before.differences() == 0 {
            return Ok((before.clone(), before));
        }
        repair.end().await?;
        self.heartbeat.beat("waiting for nodes to read republished rows", STAGE_TIMEOUT);
        self.barrier().read().await?;
        let after = self.look(None).await?;
        Ok((before, after))
    }

    /// Waits until the nodes have consumed PostgreSQL's current state. After a snapshot this avoids
    /// comparing every row in flight.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        self.heartbeat.beat("waiting for nodes to read rows in flight", STAGE_TIMEOUT);
        let session = Session::connect(self.source.postgres).await?;
        self.barrier().wait_for_replication(&session, now(&session).await?.0).await
    }

    async fn look(&self, mut repair: Option<&mut Repair<'_, 'a>>) -> anyhow::Result<AuditReport> {
        let session = Session::connect(self.source.postgres).await?;
        let mut report = AuditReport { tables: Vec::new() };
        for kind in [TableKind::Person, TableKind::DistinctId] {
            self.heartbeat.beat("comparing a table with PostgreSQL", STAGE_TIMEOUT);
            report.tables.push(self.table(&session, kind, repair.as_deref_mut()).await?);
        }
        Ok(report)
    }

    async fn table(
        &self,
        session: &Session,
        kind: TableKind,
        mut repair: Option<&mut Repair<'_, 'a>>,
    ) -> anyhow::Result<TableReport> {
        let config = &self.cluster.config;
        let source = queries::source_sums(session, self.source.postgres, kind);
        let nodes = self.cluster.nodes.iter().map(|node| queries::node_sums(node, config, kind));
        let nodes = async { try_join_all(nodes.collect::<Vec<_>>()).await };
        let (source, sums) = tokio::join!(source, nodes);
        let (source, sums) = (source?, sums?);
        let rows = |sums: &compare::Sums| sums.values().map(|sum| sum.count).sum::<u64>();
        let mut report = TableReport {
            table: kind.table_name(self.source.persons),
            rows: rows(&source),
            duplicates: 0,
            nodes: self
                .cluster
                .nodes
                .iter()
                .zip(&sums)
                .map(|(node, sums)| NodeReport::new(&node.name, rows(sums)))
                .collect(),
        };
        for page in pages(&differing(&source, &sums)) {
            self.heartbeat.beat("comparing rows with PostgreSQL", STAGE_TIMEOUT);
            let found = self.page(session, kind, &page, &mut report).await?;
            self.count(session, kind, &found, &mut report).await?;
            if let Some(repair) = repair.as_deref_mut() {
                repair.page(kind, found, &report).await?;
            }
        }
        Ok(report)
    }

    /// Finds the wrong rows of a page. Reads the nodes' rows and then PostgreSQL's. If they differ,
    /// reads the nodes once more when they have had time to catch up.
    async fn page(
        &self,
        session: &Session,
        kind: TableKind,
        page: &AuditPage,
        report: &mut TableReport,
    ) -> anyhow::Result<PageResult> {
        let config = &self.cluster.config;
        let nodes = self.cluster.nodes.iter().map(|node| queries::node_page(node, config, kind, page));
        let mut nodes = try_join_all(nodes.collect::<Vec<_>>()).await?;
        queries::compare_source(session, self.source.postgres, kind, page, &mut nodes).await?;
        report.duplicates += nodes.iter().map(|node| node.duplicates).max().unwrap_or_default();
        if nodes.iter().all(NodePage::is_same) {
            return Ok(vec![Default::default(); self.cluster.nodes.len()]);
        }
        self.barrier().wait_for_replication(session, now(session).await?.0).await?;
        let looks = self.cluster.nodes.iter().zip(nodes).map(|(node, first)| async move {
            let look = first.look_again();
            Ok::<_, anyhow::Error>(queries::look_again(node, config, kind, page, look).await?.end())
        });
        try_join_all(looks.collect::<Vec<_>>()).await
    }

    /// Adds the result of a page to the report.
    async fn count(
        &self,
        session: &Session,
        kind: TableKind,
        found: &PageResult,
        report: &mut TableReport,
    ) -> anyhow::Result<()> {
        for ((wrong, moving), node) in found.iter().zip(&mut report.nodes) {
            node.moving += moving;
            wrong.iter().for_each(|wrong| node.count(wrong.difference));
            let room = EXAMPLES.saturating_sub(node.examples.len());
            let examples: Vec<&Wrong> = wrong.iter().take(room).collect();
            let unnamed = examples.iter().filter(|wrong| wrong.key.is_none()).filter_map(|wrong| wrong.id);
            let unnamed: Vec<i64> = unnamed.collect();
            let names: BTreeMap<i64, String> = match unnamed.is_empty() {
                true => BTreeMap::new(),
                false => queries::keys_of(session, self.source.postgres, kind, &unnamed)
                    .await?
                    .into_iter()
                    .collect(),
            };
            for wrong in examples {
                let name = wrong.key.clone().or_else(|| names.get(&wrong.id?).cloned());
                node.examples.extend(name.map(|name| (name, wrong.difference)));
            }
        }
        Ok(())
    }

    fn barrier(&self) -> Barrier<'_> {
        Barrier { cluster: self.cluster, source: self.source }
    }
}
