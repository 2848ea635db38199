//! What an audit found, as it is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::Difference;

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
    /// Rows of PostgreSQL that have the team and key of another one, where they were compared: ClickHouse knows both as one.
    pub duplicates: u64,
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
    /// Of a node of which nothing is wrong so far.
    pub(super) fn new(node: &str, rows: u64) -> Self {
        Self {
            node: node.to_owned(),
            rows,
            missing: 0,
            stale: 0,
            resurrected: 0,
            extra: 0,
            moving: 0,
            examples: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, difference: Difference) {
        let count = match difference {
            Difference::Missing => &mut self.missing,
            Difference::Stale => &mut self.stale,
            Difference::Resurrected => &mut self.resurrected,
            Difference::Extra => &mut self.extra,
        };
        *count += 1;
    }

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
