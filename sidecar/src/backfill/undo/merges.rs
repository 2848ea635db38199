//! Rows that merges have removed, from the nodes' `part_log`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Undo;
use crate::backfill::ledger::LedgerError;
use crate::node::Node;
use crate::sql;

/// ClickHouse's error code for a missing privilege.
const ACCESS_DENIED: u32 = 497;

#[derive(Deserialize)]
struct LogReach {
    has_log: u64,
    /// Whether the server was not started since.
    is_up_since: bool,
    /// Mutations that have deleted rows.
    deletes: u64,
}

#[derive(Deserialize)]
struct LogEntries {
    entries: u64,
}

#[derive(Deserialize)]
struct MergedPart {
    partition: String,
    part: String,
    removed: u64,
}

impl Undo<'_> {
    /// Rows that merges of a shard have removed since a time, by partition. `None` if a node's log
    /// may lack a merge, or counts deleted rows as removed.
    pub(super) async fn merged_rows(
        &self,
        nodes: &[Node],
        partitions: &[String],
        since: &str,
    ) -> Result<Option<BTreeMap<String, u64>>, LedgerError> {
        // Replicas execute a merge each, or fetch its result. Its part has the same name on all.
        let mut parts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for node in nodes {
            if !self.has_all_merges(node, since).await? {
                return Ok(None);
            }
            let query = node.query(sql::text("backfill/undo_merges.sql").unwrap_or_default());
            let query = query.param("database", &self.cluster.config.database).param("since", since);
            for MergedPart { partition, part, removed } in
                query.param("partitions", partitions).rows().await?
            {
                let known = parts.entry((partition, part)).or_default();
                *known = removed.max(*known);
            }
        }
        let mut rows: BTreeMap<String, u64> = BTreeMap::new();
        for ((partition, _), removed) in parts {
            *rows.entry(partition).or_default() += removed;
        }
        Ok(Some(rows))
    }

    async fn has_all_merges(&self, node: &Node, since: &str) -> Result<bool, LedgerError> {
        let text = |file: &str| sql::text(file).unwrap_or_default();
        let query = node.query(text("backfill/undo_log_reach.sql"));
        let query = query.param("database", &self.cluster.config.database).param("since", since);
        let Some(LogReach { has_log, is_up_since, deletes }) =
            query.rows::<LogReach>().await?.into_iter().next()
        else {
            return Ok(false);
        };
        if has_log == 0 || deletes > 0 || !is_up_since {
            return Ok(false);
        }
        match node.execute(text("backfill/undo_flush_log.sql")).await {
            Err(error) if error.code() == Some(ACCESS_DENIED) => return Ok(false),
            flushed => flushed?,
        }
        let query = node.query(text("backfill/undo_log_oldest.sql")).param("since", since);
        Ok(query.rows::<LogEntries>().await?.first().is_some_and(|log| log.entries > 0))
    }
}
