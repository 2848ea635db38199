//! Parts of a shard that lack a column, and the mutations of its table.

use serde::{Deserialize, Serialize};

use crate::node::{Node, NodeError};
use crate::sql;

/// Parts of one partition that lack a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OldParts {
    /// Its id, which is the month as `YYYYMM`.
    pub(crate) partition: String,
    pub(crate) parts: u64,
    pub(crate) rows: u64,
    /// Compressed bytes that are read to compute the columns.
    pub(crate) bytes: u64,
}

/// A mutation of `sharded_events` in progress.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Mutation {
    pub(super) id: String,
    pub(super) command: String,
    /// Name of the table with its database.
    pub(super) table_name: String,
    /// Parts that it has not changed yet.
    pub(super) parts: u64,
    /// Parts that the server works on.
    pub(super) running: u64,
    /// The server's reasons to postpone parts; empty if it gives none.
    pub(super) postponed: String,
    /// The error of its last attempt; empty if there is none.
    pub(super) failure: String,
    /// Rows that mutations of the table have read so far.
    pub(super) rows_read: u64,
}

impl Mutation {
    /// Returns the reason why the server works on none of its parts; `None` if it works on some.
    ///
    /// The server gives no reason if merges of the table were stopped, which stops mutations too.
    pub(crate) fn delay(&self) -> Option<String> {
        if self.running > 0 {
            return None;
        }
        Some(match (self.failure.as_str(), self.postponed.as_str()) {
            ("", "") => format!(
                "the server works on none of them and gives no reason. If merges were stopped, which stops mutations \
                 too, SYSTEM START MERGES {} starts them",
                self.table_name
            ),
            ("", postponed) => format!("the server postpones them: {postponed}"),
            (failure, _) => format!("the last attempt failed: {failure}"),
        })
    }

    /// Whether it stores columns, as the command's statement does.
    pub(super) fn materializes(&self) -> bool {
        self.command.contains("MATERIALIZE COLUMN")
    }
}

/// The table of one node, as statements name it.
pub(super) struct ShardTable<'a> {
    pub(super) node: &'a Node,
    pub(super) database: &'a str,
    pub(super) columns: &'a [String],
}

impl ShardTable<'_> {
    /// Partitions from `since` on with parts that lack a column, the newest first.
    pub(super) async fn old_parts(&self, since: &str) -> Result<Vec<OldParts>, NodeError> {
        self.select(since, "").await
    }

    /// The parts of one partition that lack a column.
    pub(super) async fn old_parts_of(&self, partition: &str) -> Result<Option<OldParts>, NodeError> {
        Ok(self.select("", partition).await?.into_iter().next())
    }

    async fn select(&self, since: &str, partition: &str) -> Result<Vec<OldParts>, NodeError> {
        let query = self.node.query(sql::text("inspect/old_parts.sql").unwrap_or_default());
        let query = query.param("database", self.database).param("columns", self.columns);
        query.param("since", since).param("partition", partition).rows().await
    }

    /// Mutations in progress, the oldest first.
    pub(super) async fn mutations(&self) -> Result<Vec<Mutation>, NodeError> {
        let query = self.node.query(sql::text("inspect/mutations.sql").unwrap_or_default());
        query.param("database", self.database).rows().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_that_waits_has_a_reason() {
        let mutation = |running: u64, postponed: &str, failure: &str| Mutation {
            id: "mutation_7.txt".to_owned(),
            command: "c".to_owned(),
            table_name: "db.sharded_events".to_owned(),
            parts: 2,
            running,
            postponed: postponed.to_owned(),
            failure: failure.to_owned(),
            rows_read: 0,
        };
        let delay = |running, postponed, failure| mutation(running, postponed, failure).delay();
        assert_eq!(delay(1, "", ""), None);
        let stopped = delay(0, "", "").expect("a reason");
        assert!(stopped.ends_with("SYSTEM START MERGES db.sharded_events starts them"), "{stopped}");
        let postponed = Some("the server postpones them: No free threads in pool".to_owned());
        assert_eq!(delay(0, "No free threads in pool", ""), postponed);
        let failed = Some("the last attempt failed: disk is full".to_owned());
        assert_eq!(delay(0, "No free threads in pool", "disk is full"), failed);
    }
}
