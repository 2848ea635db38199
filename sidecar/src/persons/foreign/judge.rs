//! Decision whether messages and rows conflict with posthouse's own.
//!
//! Nodes keep the greatest version of a row. WAL versions hide all rows of another producer
//! forever. Column versions count as the application does, and are themselves hidden by WAL
//! versions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Postgres, VersionRule};
use crate::kafka::TopicRecord;

use crate::persons::postgres::row::{DistinctIdKey, PersonKey};
use crate::persons::postgres::table::TableKind;
use crate::persons::publish::version::MIN_WAL_VERSION;

/// A message that conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ForeignMessage {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Its version; absent where it is not a number.
    pub(crate) version: Option<u64>,
    /// Its Kafka timestamp; absent where the message has none.
    pub(crate) timestamp: Option<String>,
}

/// Decides about conflicts, by the config.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    rule: VersionRule,
    stopped_at: Option<Timestamp>,
}

impl Judge {
    pub(super) fn new(postgres: &Postgres) -> Self {
        Self { rule: postgres.version, stopped_at: postgres.other_producer_stopped_at }
    }

    /// The condition for conflicting rows of a table: operator and bound for their version, and the
    /// time in seconds since 1970 after which they were created.
    pub(super) fn rows(self) -> (&'static str, u64, i64) {
        match self.rule {
            VersionRule::Wal => ("<", MIN_WAL_VERSION, self.stopped_at.map_or(-1, Timestamp::as_second)),
            VersionRule::Column => (">=", MIN_WAL_VERSION, -1),
        }
    }

    /// Returns the message if it conflicts.
    pub(super) fn message(self, kind: TableKind, record: &TopicRecord) -> Option<ForeignMessage> {
        let fields: Fields = serde_json::from_slice(&record.payload).unwrap_or_default();
        let version = fields.version();
        let is_of_wal = version.is_some_and(|version| version >= MIN_WAL_VERSION);
        let conflicts = match self.rule {
            VersionRule::Column => is_of_wal,
            VersionRule::Wal => {
                // Releases before the header have no mark, but their keys are row keys.
                let is_own = record.is_marked || is_of_wal && fields.key(kind) == record.key;
                !is_own && !self.is_from_before(record)
            }
        };
        conflicts.then(|| ForeignMessage {
            partition: record.place.partition,
            offset: record.offset,
            version,
            timestamp: record.timestamp.map(|millisecond| match Timestamp::from_millisecond(millisecond) {
                Ok(timestamp) => timestamp.to_string(),
                Err(_) => format!("{millisecond} ms"),
            }),
        })
    }

    /// Whether it was created before the other producer was stopped.
    fn is_from_before(self, record: &TopicRecord) -> bool {
        let stopped_at = self.stopped_at.map(Timestamp::as_millisecond);
        record.timestamp.zip(stopped_at).is_some_and(|(made, stopped)| made <= stopped)
    }
}

/// The fields that distinguish messages.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    team_id: Value,
    id: Value,
    distinct_id: Value,
    version: Value,
}

impl Fields {
    fn version(&self) -> Option<u64> {
        match &self.version {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The key that posthouse uses for the row of this message.
    fn key(&self, kind: TableKind) -> Option<Vec<u8>> {
        let team_id = self.team_id.as_i64()?;
        let key = match kind {
            TableKind::Person => PersonKey { team_id, uuid: self.id.as_str()?.parse().ok()? }.to_string(),
            TableKind::DistinctId => {
                let distinct_id = self.distinct_id.as_str()?.to_owned();
                DistinctIdKey { team_id, distinct_id }.to_string()
            }
        };
        Some(key.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::TopicPartition;

    const ANNA: &str = "0190d5a0-0000-7000-8000-00000000000a";
    const OF_WAL: u64 = 121_098_207_231;

    fn record(version: &str, key: Option<&str>) -> TopicRecord {
        TopicRecord {
            place: TopicPartition { topic: "persons".to_owned(), partition: 3 },
            offset: 41,
            timestamp: Some(1_700_000_000_000),
            key: key.map(|key| key.as_bytes().to_vec()),
            payload: format!("{{\"team_id\": 2, \"id\": \"{ANNA}\", \"version\": {version}}}").into_bytes(),
            is_marked: false,
        }
    }

    fn conflicts(rule: VersionRule, stopped_at: Option<i64>, record: &TopicRecord) -> bool {
        let stopped_at = stopped_at.map(|second| Timestamp::from_second(second).expect("a time"));
        Judge { rule, stopped_at }.message(TableKind::Person, record).is_some()
    }

    #[test]
    fn wal_versions_conflict_with_every_message_of_another_producer() {
        let own = format!("2:{ANNA}");
        let of_wal = OF_WAL.to_string();
        for (version, key, conflict) in [
            ("2", None, true),
            ("\"2\"", None, true),
            ("null", None, true),
            ("no JSON", None, true),
            // A version of the same size under another key, and a row key with a small version.
            (of_wal.as_str(), None, true),
            (&of_wal, Some("2:other"), true),
            ("2", Some(&own), true),
            // A message of a release before the header.
            (&of_wal, Some(&own), false),
        ] {
            let record = record(version, key);
            assert_eq!(conflicts(VersionRule::Wal, None, &record), conflict, "{version} {key:?}");
            assert!(!conflicts(VersionRule::Wal, None, &TopicRecord { is_marked: true, ..record }));
        }
    }

    #[test]
    fn column_versions_conflict_with_versions_of_the_wal_alone() {
        let of_wal = record(&OF_WAL.to_string(), Some(&format!("2:{ANNA}")));
        assert!(conflicts(VersionRule::Column, None, &of_wal));
        assert!(conflicts(
            VersionRule::Column,
            Some(1_800_000_000),
            &TopicRecord { is_marked: true, ..of_wal }
        ));
        for version in ["0", "102", "null"] {
            assert!(!conflicts(VersionRule::Column, None, &record(version, None)), "{version}");
        }
    }

    #[test]
    fn messages_from_before_the_other_producer_was_stopped_do_not_conflict() {
        let record = record("2", None);
        assert!(!conflicts(VersionRule::Wal, Some(1_700_000_000), &record));
        assert!(conflicts(VersionRule::Wal, Some(1_699_999_999), &record));
        assert!(conflicts(VersionRule::Wal, Some(1_800_000_000), &TopicRecord { timestamp: None, ..record }));
    }

    #[test]
    fn a_message_is_reported_with_its_place_version_and_time() {
        let judge = Judge { rule: VersionRule::Wal, stopped_at: None };
        let found = judge.message(TableKind::Person, &record("2", None)).expect("it conflicts");
        assert_eq!((found.partition, found.offset, found.version), (3, 41, Some(2)));
        assert_eq!(found.timestamp.as_deref(), Some("2023-11-14T22:13:20Z"));
    }
}
