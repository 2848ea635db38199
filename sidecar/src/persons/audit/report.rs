//! Reports of an audit.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::Difference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AuditReport {
    /// One for each table, persons first.
    pub(crate) tables: Vec<TableReport>,
}

/// The result for one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TableReport {
    /// `person`, or the table of distinct ids.
    pub(crate) table: &'static str,
    /// Rows in PostgreSQL.
    pub(crate) rows: u64,
    /// PostgreSQL's rows with the team and key of another row, among the compared rows. ClickHouse
    /// treats both as one.
    pub(crate) duplicates: u64,
    pub(crate) nodes: Vec<NodeReport>,
}

/// The result for one table on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) node: String,
    /// Its live rows.
    pub(crate) rows: u64,
    /// Rows that PostgreSQL has and the node does not.
    pub(crate) missing: usize,
    /// Rows with different contents.
    pub(crate) stale: usize,
    /// Rows that were deleted and are visible again.
    pub(crate) resurrected: usize,
    /// Other rows that PostgreSQL does not have.
    pub(crate) extra: usize,
    /// Rows that changed during the audit and are therefore left out.
    pub(crate) moving: usize,
    /// Some of the wrong rows, as `team:key`.
    pub(crate) examples: BTreeMap<String, Difference>,
}

impl NodeReport {
    /// A node without differences so far.
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

    /// Number of wrong rows.
    pub(crate) fn differences(&self) -> usize {
        self.missing + self.stale + self.resurrected + self.extra
    }
}

impl AuditReport {
    /// Number of wrong rows, on all nodes together.
    pub(crate) fn differences(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.nodes).map(NodeReport::differences).sum()
    }
}
