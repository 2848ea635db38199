//! Events of traffic: the message of each, and its row in the oracle's table.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::elements::ElementsChain;

/// Person of an event when it was ingested.
#[derive(Debug, Clone)]
pub(super) struct EventPerson {
    pub(super) id: Uuid,
    /// µs since 1970, UTC.
    pub(super) created: i64,
    pub(super) properties: Map<String, Value>,
    /// `full`, or `propertyless` for a visitor without a person.
    pub(super) mode: &'static str,
}

/// Group of an event.
#[derive(Debug, Clone)]
pub(super) struct EventGroup {
    pub(super) key: String,
    pub(super) properties: Value,
    pub(super) created: i64,
}

/// One event.
#[derive(Debug, Clone)]
pub struct TrafficEvent {
    pub uuid: Uuid,
    pub team: i64,
    pub distinct_id: String,
    pub(super) event: &'static str,
    /// µs since 1970, UTC; of no other event.
    pub(super) timestamp: i64,
    pub(super) session: String,
    pub(super) window: String,
    pub(super) properties: Map<String, Value>,
    pub(super) elements: ElementsChain,
    pub(super) person: EventPerson,
    pub(super) group: Option<EventGroup>,
}

/// A time as messages have it, with so many digits of a second.
pub(super) fn time(micros: i64, digits: usize) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    let text = time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
    text[..text.len() - 6 + digits].to_owned()
}

impl TrafficEvent {
    /// The person of the event when it was ingested.
    pub fn ingested_person(&self) -> Uuid {
        self.person.id
    }

    fn all_properties(&self) -> String {
        let mut properties = self.properties.clone();
        properties.insert("$session_id".to_owned(), self.session.clone().into());
        properties.insert("$window_id".to_owned(), self.window.clone().into());
        if let Some(group) = &self.group {
            properties.insert("$groups".to_owned(), json!({"company": group.key}));
            properties.insert("$group_0".to_owned(), group.key.clone().into());
        }
        Value::Object(properties).to_string()
    }

    /// The fields that a message and a stored row have alike.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = json!({
            "uuid": self.uuid,
            "event": self.event,
            "properties": self.all_properties(),
            "timestamp": time(self.timestamp, 6),
            "team_id": self.team,
            "distinct_id": self.distinct_id,
            "elements_chain": self.elements.text(),
            "created_at": time(self.timestamp + 500_000, 6),
            "person_id": self.person.id,
            "person_created_at": time(self.person.created, 3),
            "person_properties": Value::Object(self.person.properties.clone()).to_string(),
            "person_mode": self.person.mode,
        });
        if let Some(group) = &self.group {
            fields["group0_properties"] = group.properties.to_string().into();
            fields["group0_created_at"] = time(group.created, 3).into();
        }
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// The message as the application sends it, with fields that no column stores.
    pub fn message(&self) -> Vec<u8> {
        let mut fields = self.fields();
        fields.insert("project_id".to_owned(), self.team.into());
        fields.insert("historical_migration".to_owned(), false.into());
        fields.insert("captured_at".to_owned(), time(self.timestamp + 100_000, 6).into());
        Value::Object(fields).to_string().into_bytes()
    }

    /// The row of the oracle, whose materialized columns come from the model.
    pub fn oracle_row(&self) -> Map<String, Value> {
        let mut row = self.fields();
        let group = self.group.as_ref().map_or("", |group| group.key.as_str());
        let columns = json!({
            "$group_0": group,
            "$session_id": self.session,
            "$window_id": self.window,
            "elements_chain_href": self.elements.href(),
            "elements_chain_texts": self.elements.values("text"),
            "elements_chain_ids": self.elements.values("attr_id"),
            "elements_chain_elements": self.elements.tags(),
        });
        if let Value::Object(columns) = columns {
            row.extend(columns);
        }
        row
    }
}
