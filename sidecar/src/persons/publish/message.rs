//! Messages of the person and distinct id topics.
//!
//! Each is one JSON object, as `person_mv` and `person_distinct_id_mv` read it.

use serde::Serialize;
use uuid::Uuid;

use crate::persons::postgres::row::{DistinctIdKey, Key, Person, PersonKey};
use crate::persons::postgres::table::TableKind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) kind: TableKind,
    /// The row's key, so that all versions of a row are in one topic partition and the topic can be
    /// compacted.
    pub(crate) key: String,
    /// JSON.
    pub(crate) payload: Vec<u8>,
}

/// What is known of the persons that a distinct id had before. `person_distinct_id_overrides_mv`
/// reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MappingHistory {
    /// The row was inserted. Only a deleted distinct id had a person.
    New,
    /// The row changed, so stored events can have another person.
    Changed,
    /// The row was copied by a snapshot. Changes before it are unknown.
    Copied,
}

#[derive(Serialize)]
struct PersonMessage<'a> {
    id: Uuid,
    team_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a str>,
    is_identified: u8,
    is_deleted: u8,
    version: u64,
}

#[derive(Serialize)]
struct DistinctIdMessage<'a> {
    team_id: i64,
    distinct_id: &'a str,
    person_id: Uuid,
    is_deleted: u8,
    version: u64,
    mapping: MappingHistory,
}

impl Outgoing {
    /// A person that exists.
    pub(crate) fn person(person: &Person, version: u64) -> Self {
        let Person { key, properties, is_identified, created_at, .. } = person;
        Self::new(
            TableKind::Person,
            key.to_string(),
            &PersonMessage {
                id: key.uuid,
                team_id: key.team_id,
                created_at: Some(created_at),
                properties: Some(properties),
                is_identified: u8::from(*is_identified),
                is_deleted: 0,
                version,
            },
        )
    }

    /// The deletion of a row.
    pub(crate) fn gone(key: &Key, version: u64) -> Self {
        match key {
            Key::Person(PersonKey { team_id, uuid }) => Self::new(
                TableKind::Person,
                key.to_string(),
                &PersonMessage {
                    id: *uuid,
                    team_id: *team_id,
                    created_at: None,
                    properties: None,
                    is_identified: 0,
                    is_deleted: 1,
                    version,
                },
            ),
            Key::DistinctId(key) => Self::distinct_id(key, None, version, MappingHistory::Changed),
        }
    }

    /// The person of a distinct id; a deletion if there is none.
    pub(crate) fn distinct_id(
        key: &DistinctIdKey,
        person: Option<Uuid>,
        version: u64,
        mapping: MappingHistory,
    ) -> Self {
        let DistinctIdKey { team_id, distinct_id } = key;
        Self::new(
            TableKind::DistinctId,
            key.to_string(),
            &DistinctIdMessage {
                team_id: *team_id,
                distinct_id,
                person_id: person.unwrap_or_default(),
                is_deleted: u8::from(person.is_none()),
                version,
                mapping,
            },
        )
    }

    fn new(kind: TableKind, key: String, message: &impl Serialize) -> Self {
        // Serializing strings and numbers into a Vec can't fail.
        let payload = serde_json::to_vec(message).unwrap_or_default();
        Self { kind, key, payload }
    }
}
