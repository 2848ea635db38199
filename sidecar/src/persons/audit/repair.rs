//! Repair of wrong rows on nodes by publishing PostgreSQL's rows.
//!
//! Rows that PostgreSQL does not have are published as deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::bail;

use super::report::TableReport;
use super::{Audit, AuditError, PageResult, STAGE_TIMEOUT};
use crate::config::VersionRule;
use crate::kafka::{DeliveryHandle, Producer};
use crate::persons::checkpoint;
use crate::persons::foreign;
use crate::persons::postgres::pgoutput::Cell;
use crate::persons::postgres::row::Key;
use crate::persons::postgres::session::Session;
use crate::persons::postgres::table::{Table, TableKind};
use crate::persons::publish::Publisher;
use crate::persons::publish::change::{RowChange, Versions};
use crate::persons::publish::lookup::{rows_by, rows_by_key};
use crate::persons::publish::message::Outgoing;
use crate::persons::publish::version::of_copy;
use crate::persons::requirements::Guarantees;
use crate::persons::snapshot::{self, wait_for_old_transactions};

/// Number of rows per lookup.
const CHUNK: usize = 1_000;
/// Limit of deletions without confirmation, per table and node: one row in `DELETED_SHARE`, or
/// `DELETED_ROWS` if that is more. So few deletions need no check by an operator.
const DELETED_SHARE: u64 = 20;
const DELETED_ROWS: u64 = 1_000;
/// Maximum number of extra rows in memory, about 100 MB, until the number of deletions is known.
const MAX_HELD: u64 = 500_000;

/// Which rows a repair may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletions {
    /// 5 % of a node's rows or 1,000 rows, plus the changes that the WAL had without their keys; at
    /// most `MAX_HELD`.
    Guarded {
        /// The number of changes without keys.
        expected: u64,
    },
    /// Any number, because an operator has confirmed it or the WAL had a TRUNCATE.
    Confirmed,
}

/// Keys of rows that PostgreSQL does not have, each with the greatest version on any node.
type Extras = BTreeMap<String, u64>;

/// A repair during the comparison of pages.
pub(super) struct Repair<'r, 'a> {
    audit: &'r Audit<'a>,
    deletions: Deletions,
    producer: Option<Producer>,
    /// Extra rows of both tables, held until the end because only then their number is known.
    held: [Extras; 2],
    /// Number of extra rows by table and node.
    counted: BTreeMap<(TableKind, usize), u64>,
    refused: Option<AuditError>,
}

impl<'r, 'a> Repair<'r, 'a> {
    pub(super) fn new(audit: &'r Audit<'a>, deletions: Deletions) -> Self {
        let (held, counted) = Default::default();
        Self { audit, deletions, producer: None, held, counted, refused: None }
    }

    /// Publishes the wrong rows of a page.
    pub(super) async fn page(
        &mut self,
        kind: TableKind,
        found: PageResult,
        report: &TableReport,
    ) -> anyhow::Result<()> {
        let (mut ids, mut extras) = (BTreeSet::new(), Extras::new());
        let mut newest = Vec::new();
        for (place, (wrong, _)) in found.into_iter().enumerate() {
            newest.push(wrong.iter().map(|wrong| wrong.newest).max().unwrap_or(0));
            for wrong in wrong {
                match (wrong.id, wrong.key) {
                    (Some(id), _) => _ = ids.insert(id),
                    (None, Some(key)) => {
                        *self.counted.entry((kind, place)).or_default() += 1;
                        let newest = extras.entry(key).or_default();
                        *newest = wrong.newest.max(*newest);
                    }
                    (None, None) => {}
                }
            }
        }
        self.guard(kind, report);
        if self.deletions != Deletions::Confirmed {
            self.hold(kind, std::mem::take(&mut extras));
        }
        if ids.is_empty() && extras.is_empty() {
            return Ok(());
        }
        self.publish(kind, &ids.into_iter().collect::<Vec<_>>(), extras, &newest).await
    }

    /// Records an error if too many rows would be deleted.
    fn guard(&mut self, kind: TableKind, report: &TableReport) {
        let Deletions::Guarded { expected } = self.deletions else { return };
        for ((_, place), deletions) in self.counted.iter().filter(|((of, _), _)| *of == kind) {
            let Some(node) = report.nodes.get(*place) else { continue };
            let limit = (DELETED_ROWS.max(node.rows / DELETED_SHARE) + expected).min(MAX_HELD);
            if *deletions > limit {
                let (table, node, rows) = (report.table, node.node.clone(), node.rows);
                self.refused =
                    Some(AuditError::Deletions { table, node, deletions: *deletions, rows, limit });
            }
        }
    }

    fn hold(&mut self, kind: TableKind, extras: Extras) {
        match self.refused {
            // None of them will be deleted, so none is kept.
            Some(_) => self.held = Default::default(),
            None => self.held[kind as usize].extend(extras),
        }
    }

    /// Deletes the held rows, unless there are too many.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        if let Some(refused) = self.refused.take() {
            return Err(refused.into());
        }
        for kind in [TableKind::Person, TableKind::DistinctId] {
            let extras = std::mem::take(&mut self.held[kind as usize]);
            if !extras.is_empty() {
                self.publish(kind, &[], extras, &[]).await?;
            }
        }
        Ok(())
    }

    /// Publishes rows by their primary keys, and deletes extra rows that PostgreSQL still does not
    /// have.
    async fn publish(
        &mut self,
        kind: TableKind,
        ids: &[i64],
        extras: Extras,
        newest: &[u64],
    ) -> anyhow::Result<()> {
        let audit = self.audit;
        audit.heartbeat.beat("republishing rows", STAGE_TIMEOUT);
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => {
                foreign::clear(audit.cluster, audit.source).await?;
                audit.cluster.kafka()?.producer()?
            }
        };
        let producer = &*self.producer.insert(producer);
        let session = Session::connect(audit.source.postgres).await?;
        // Rows are read after this position, so every earlier commit is included. Its version is
        // below all later ones.
        let (place, _) = snapshot::now(&session).await?;
        wait_for_old_transactions(&session, &audit.heartbeat).await?;
        let state = checkpoint::load(audit.cluster.kafka()?, audit.source.postgres).await?;
        let base = state
            .map_or(audit.source.postgres.version_base, |state| state.version_base(audit.source.postgres));
        let version = of_copy(place, base)?;
        let versions = match audit.source.postgres.version {
            VersionRule::Wal => {
                check_versions(audit, kind, newest, extras.values().copied().max(), version)?;
                Versions::Copy(version)
            }
            VersionRule::Column => Versions::Column,
        };
        let publisher = Publisher::connect(producer, audit.source, versions, Guarantees::ALL).await?;
        let table = publisher.lookup().table(kind).clone();
        let receipt = Arc::new(DeliveryHandle::default());
        let mut writer = RepairWriter { session, publisher, table, receipt };
        for ids in ids.chunks(CHUNK) {
            let ids = ids.iter().copied().collect();
            let rows = rows_by(&writer.session, &writer.table, writer.table.id_column(), &ids).await?;
            writer.publish(rows).await?;
        }
        let extras: Vec<(Key, u64)> = extras
            .into_iter()
            .filter_map(|(key, newest)| {
                let version = match audit.source.postgres.version {
                    VersionRule::Wal => version,
                    VersionRule::Column => newest.saturating_add(1),
                };
                Some((Key::parse(kind, &key)?, version))
            })
            .collect();
        for extras in extras.chunks(CHUNK) {
            writer.delete(extras).await?;
        }
        Ok(writer.receipt.delivered().await?)
    }
}

/// Publishes rows of one table.
struct RepairWriter<'p> {
    session: Session,
    publisher: Publisher<'p>,
    table: Table,
    receipt: Arc<DeliveryHandle>,
}

impl RepairWriter<'_> {
    async fn publish(&mut self, rows: Vec<Vec<Cell>>) -> anyhow::Result<()> {
        let mut changes: Vec<_> = rows.into_iter().map(|row| RowChange::read(self.table.kind, row)).collect();
        self.publisher.publish(&mut changes, &self.receipt).await?;
        Ok(())
    }

    /// Publishes deletions, each with its version, except for rows that PostgreSQL has by now.
    async fn delete(&mut self, extras: &[(Key, u64)]) -> anyhow::Result<()> {
        // PostgreSQL's text can't have NUL, and a lookup with NUL fails.
        let keys = extras.iter().map(|(key, _)| key).filter(|key| !key.to_string().contains('\0'));
        let keys: Vec<Key> = keys.cloned().collect();
        let rows = rows_by_key(&self.session, &self.table, &keys).await?;
        let mut come = BTreeSet::new();
        for row in &rows {
            let known = RowChange::read(self.table.kind, row.clone()).known_by(&self.table)?;
            come.extend(known.iter().map(ToString::to_string));
        }
        self.publish(rows).await?;
        for (key, version) in extras.iter().filter(|(key, _)| !come.contains(&key.to_string())) {
            self.publisher.send(&Outgoing::gone(key, *version), &self.receipt).await?;
        }
        Ok(())
    }
}

/// Fails if a node has a greater version, because the node would keep its row.
fn check_versions(
    audit: &Audit<'_>,
    kind: TableKind,
    newest: &[u64],
    of_extras: Option<u64>,
    given: u64,
) -> anyhow::Result<()> {
    let of_nodes = audit.cluster.nodes.iter().map(|node| node.name.clone()).zip(newest.iter().copied());
    let mut greatest = of_nodes.chain(of_extras.map(|newest| ("one of them".to_owned(), newest)));
    match greatest.find(|(_, newest)| *newest >= given) {
        None => Ok(()),
        Some((node, stored)) => bail!(
            "{} has version {stored} on node {node}, and PostgreSQL's WAL gives only {given}: is this another PostgreSQL? Set \
             persons.postgres.version_base to {} or more",
            kind.table_name(audit.source.persons),
            stored - given + 1
        ),
    }
}
