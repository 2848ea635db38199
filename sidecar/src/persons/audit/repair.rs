//! Publishes rows again that nodes have wrong: as PostgreSQL has them now, and those that it does not have as deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::context;

use crate::config::VersionRule;
use crate::kafka::Receipt;
use crate::persons::change::{ChangeError, Versions};
use crate::persons::copy::{self, wait_for_old_transactions};
use crate::persons::lookup::columns;
use crate::persons::message::Outgoing;
use crate::persons::pgoutput::Cell;
use crate::persons::postgres::{LOOKUP_TIMEOUT, PostgresError, Session, literal, quoted};
use crate::persons::publish::{PublishError, Publisher};
use crate::persons::row::{Key, Reader};
use crate::persons::slot::qualified;
use crate::persons::table::{Kind, Table, distinct_id, person};
use crate::persons::version::of_copy;

use super::{Audit, AuditError, OfTable};

/// Rows that are asked for at once.
const CHUNK: usize = 200;

pub(super) async fn publish(audit: &Audit<'_>, found: &OfTable) -> Result<(), AuditError> {
    let keys: BTreeSet<&String> = found.nodes.iter().flat_map(|node| node.rows.keys()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let session = Session::connect(audit.postgres).await?;
    // Rows are read after this place, so nothing that was committed before it is missed, and its version is below all later.
    let (place, _) = copy::now(&session).await?;
    wait_for_old_transactions(&session, &audit.heartbeat).await?;
    let version = of_copy(place, audit.postgres.version_base)?;
    let versions = match audit.postgres.version {
        VersionRule::Wal => {
            check_versions(audit, found, version)?;
            Versions::Copy(version)
        }
        VersionRule::Column => Versions::Column,
    };
    let producer = audit.kafka.producer()?;
    let mut publisher = Publisher::connect(&producer, audit.persons, audit.postgres, versions).await?;
    let table = publisher.lookup().table(found.kind).clone();
    let receipt = Arc::new(Receipt::default());
    let keys: Vec<&String> = keys.into_iter().collect();
    for keys in keys.chunks(CHUNK) {
        let rows = rows(&session, &table, keys).await?;
        let mut gone: BTreeSet<&str> = keys.iter().map(|key| key.as_str()).collect();
        let mut changes = Vec::new();
        for row in rows {
            let key =
                Reader::new(&table, &row).key().map_err(ChangeError::from).map_err(PublishError::from)?;
            if let Some(key) = key {
                gone.remove(key.to_string().as_str());
            }
            changes.push(copy::copied(found.kind, row));
        }
        publisher.publish(&mut changes, &receipt).await?;
        let deletions = gone.into_iter().filter_map(|key| {
            let newest =
                || found.nodes.iter().filter_map(|node| node.rows.get(key)).map(|wrong| wrong.newest).max();
            let version = match audit.postgres.version {
                VersionRule::Wal => version,
                VersionRule::Column => newest()?.saturating_add(1),
            };
            Some(Outgoing::gone(&Key::parse(found.kind, key)?, version))
        });
        for deletion in deletions {
            publisher.send(&deletion, &receipt).await?;
        }
    }
    Ok(receipt.delivered().await?)
}

/// A node with a greater version would keep what it has.
fn check_versions(audit: &Audit<'_>, found: &OfTable, given: u64) -> Result<(), AuditError> {
    for (node, found) in audit.nodes.iter().zip(&found.nodes) {
        let newest = found.rows.iter().max_by_key(|(_, wrong)| wrong.newest);
        if let Some((key, wrong)) = newest.filter(|(_, wrong)| wrong.newest >= given) {
            let (key, node) = (key.clone(), node.name.clone());
            return Err(AuditError::Version { key, node, stored: wrong.newest, given });
        }
    }
    Ok(())
}

async fn rows(session: &Session, table: &Table, keys: &[&String]) -> Result<Vec<Vec<Cell>>, PostgresError> {
    let (team, key) = match table.kind {
        Kind::Person => (person::TEAM, person::UUID),
        Kind::DistinctId => (distinct_id::TEAM, distinct_id::DISTINCT_ID),
    };
    let values = context! {
        columns => columns(table),
        table => qualified(&table.name),
        team_id => quoted(table.column(team)),
        key => quoted(table.column(key)),
        keys => keys.iter().map(|key| literal(key)).collect::<Vec<_>>().join(","),
    };
    session.rows_within(LOOKUP_TIMEOUT, "give rows by their keys", "postgres/by_key.sql", values).await
}
