//! Risk that a row of the job has replaced an event of others in a merge.
//!
//! `sharded_events` keeps one row of an event, that with the latest `_timestamp`. If a merge has
//! kept a row of the job and removed a row of Kafka or of another job, a deletion would lose that
//! event.

use std::collections::BTreeMap;

use serde::Serialize;

/// Rows of one partition on one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CollapseCounts {
    /// Rows of the job in parts that a merge has made. Other rows were never merged.
    pub(super) merged: u64,
    /// Those of them with a `_timestamp`. Rows without one lose against every message, which has
    /// the time at which the broker took it.
    pub(super) dated: u64,
    /// Rows of the job that were acknowledged and are not stored, of blocks that have others.
    pub(super) own_missing: u64,
    /// The same of other jobs.
    pub(super) others_missing: BTreeMap<String, u64>,
    /// Rows that merges have removed since the job began; `None` if that is unknown.
    pub(super) removed: Option<u64>,
}

/// Events of others that a deletion of the job's rows could lose, at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CollapseRisk {
    pub(crate) events: u64,
    /// Events of Kafka.
    pub(crate) of_kafka: u64,
    /// Whether `of_kafka` was counted. If not, it is the number of rows that may be one.
    pub(crate) is_counted: bool,
    /// Events of other jobs.
    pub(crate) of_jobs: BTreeMap<String, u64>,
}

impl CollapseRisk {
    pub(super) fn of(counts: CollapseCounts) -> Self {
        let CollapseCounts { merged, dated, own_missing, others_missing, removed } = counts;
        if merged == 0 {
            return Self { is_counted: true, ..Self::default() };
        }
        let of_others: u64 = others_missing.values().sum();
        let of_kafka = match removed {
            Some(removed) => dated.min(removed.saturating_sub(own_missing + of_others)),
            None => dated,
        };
        Self {
            events: merged.min(of_others + of_kafka),
            of_kafka,
            is_counted: removed.is_some() || dated == 0,
            of_jobs: others_missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(merged: u64, dated: u64, removed: Option<u64>) -> CollapseCounts {
        CollapseCounts { merged, dated, removed, ..CollapseCounts::default() }
    }

    #[test]
    fn rows_that_were_never_merged_hide_no_event() {
        let others_missing = BTreeMap::from([("k".to_owned(), 3)]);
        let risk = CollapseRisk::of(CollapseCounts { others_missing, ..counts(0, 0, None) });
        assert_eq!((risk.events, risk.is_counted), (0, true));
    }

    #[test]
    fn rows_without_a_timestamp_hide_no_message() {
        assert_eq!(CollapseRisk::of(counts(10, 0, None)).events, 0);
        assert_eq!(CollapseRisk::of(counts(10, 0, Some(5))).events, 0);
    }

    #[test]
    fn every_merged_row_may_hide_a_message_unless_merges_are_known() {
        let risk = CollapseRisk::of(counts(10, 7, None));
        assert_eq!((risk.events, risk.of_kafka, risk.is_counted), (7, 7, false));
        let risk = CollapseRisk::of(counts(10, 7, Some(2)));
        assert_eq!((risk.events, risk.of_kafka, risk.is_counted), (2, 2, true));
        assert_eq!(CollapseRisk::of(counts(10, 7, Some(0))).events, 0);
    }

    #[test]
    fn missing_rows_of_jobs_are_not_counted_as_messages() {
        let own = CollapseCounts { own_missing: 4, ..counts(10, 10, Some(4)) };
        assert_eq!(CollapseRisk::of(own).events, 0);
        let others_missing = BTreeMap::from([("k".to_owned(), 3)]);
        let others = CollapseCounts { others_missing, own_missing: 1, ..counts(10, 10, Some(5)) };
        let risk = CollapseRisk::of(others);
        assert_eq!((risk.events, risk.of_kafka), (4, 1));
        let others_missing = BTreeMap::from([("k".to_owned(), 30)]);
        assert_eq!(CollapseRisk::of(CollapseCounts { others_missing, ..counts(10, 0, None) }).events, 10);
    }
}
