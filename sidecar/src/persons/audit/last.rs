//! Result of the last audit, kept in the checkpoint.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::report::AuditReport;
use crate::metrics::PersonsMetrics;

/// The last audit of any leader. A new leader exposes it as metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastAudit {
    /// Seconds since 1970.
    at: u64,
    missing: u64,
    stale: u64,
    resurrected: u64,
    extra: u64,
}

impl LastAudit {
    /// Sums the differences of all tables and nodes.
    pub(super) fn now(report: &AuditReport) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut audit = Self { at, ..Self::default() };
        for node in report.tables.iter().flat_map(|table| &table.nodes) {
            audit.missing += node.missing as u64;
            audit.stale += node.stale as u64;
            audit.resurrected += node.resurrected as u64;
            audit.extra += node.extra as u64;
        }
        audit
    }

    pub(crate) fn expose(&self, metrics: &PersonsMetrics) {
        let Self { at, missing, stale, resurrected, extra } = *self;
        let counts = [("missing", missing), ("stale", stale), ("resurrected", resurrected), ("extra", extra)];
        for (kind, count) in counts {
            metrics.differences.set([kind], count);
        }
        metrics.last_audit.set([], at);
    }
}
