//! Fields of messages that no column stores.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cluster::Cluster;
use crate::event_columns::{ColumnOrigin, EventColumn};
use crate::kafka::TopicRecord;

/// Most fields that one message can report, and most that a sample can: names may be data.
const MAX_OF_A_MESSAGE: usize = 100;
const MAX_OF_A_SAMPLE: usize = 1_000;

/// A sample of the newest messages of the events topic.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FieldSample {
    /// Messages read.
    pub(crate) messages: u64,
    /// Messages that are no JSON object; they are dead letters.
    pub(crate) not_objects: u64,
    /// Fields that no column stores, the most frequent first.
    pub(crate) unused: Vec<UnusedField>,
    /// Whether there are more fields than a sample can report.
    pub(crate) is_cut: bool,
}

/// A field that no column stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UnusedField {
    /// Keys from the top of the message, joined by dots.
    pub(crate) field: String,
    /// Messages that have it, with a value other than null.
    pub(crate) messages: u64,
    /// JSON types of its values.
    pub(crate) types: BTreeSet<&'static str>,
}

/// Reads about `limit` of the newest messages, evenly from all partitions.
///
/// # Errors
/// Fails if the brokers do not answer.
pub(crate) async fn unused_fields(cluster: &Cluster, limit: u32) -> anyhow::Result<FieldSample> {
    let (kafka, topic) = (cluster.kafka()?, &cluster.config.events.topic);
    let partitions = kafka.cluster().await?.topics.get(topic).map_or(1, |layout| layout.partitions.len());
    let of_each = u64::from(limit).div_ceil(u64::try_from(partitions.max(1))?);
    let stored = stored_paths(&cluster.config.events.columns);
    let pick = move |record: &TopicRecord| Some(unused_of(&record.payload, &stored));
    let newest = kafka.newest(topic, &BTreeMap::new(), i64::try_from(of_each)?, pick).await?;
    Ok(sample(newest.read, newest.picked))
}

/// The places in a message that columns store.
fn stored_paths(columns: &[EventColumn]) -> BTreeSet<Vec<String>> {
    let paths = columns.iter().filter_map(|column| match &column.origin {
        ColumnOrigin::Field(field) => Some(field.path.clone()),
        _ => None,
    });
    paths.collect()
}

/// A message's fields that are not stored, each with its JSON type; `None` if it is no object.
type MessageFields = Option<Vec<(String, &'static str)>>;

fn unused_of(message: &[u8], stored: &BTreeSet<Vec<String>>) -> MessageFields {
    let fields: Map<String, Value> = serde_json::from_slice(message).ok()?;
    let mut unused = Vec::new();
    collect(&fields, &mut Vec::new(), stored, &mut unused);
    Some(unused)
}

fn collect(
    fields: &Map<String, Value>,
    path: &mut Vec<String>,
    stored: &BTreeSet<Vec<String>>,
    unused: &mut Vec<(String, &'static str)>,
) {
    for (key, value) in fields {
        path.push(key.clone());
        let is_read_within = stored.iter().any(|other| other.len() > path.len() && other.starts_with(path));
        match value {
            _ if stored.contains(path) || unused.len() >= MAX_OF_A_MESSAGE => {}
            Value::Null => {}
            Value::Object(within) if is_read_within => collect(within, path, stored, unused),
            value => unused.push((path.join("."), json_type(value))),
        }
        path.pop();
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Counts the fields of all messages.
fn sample(messages: u64, fields: Vec<MessageFields>) -> FieldSample {
    let mut sample = FieldSample { messages, ..FieldSample::default() };
    let mut counts: BTreeMap<String, UnusedField> = BTreeMap::new();
    for message in fields {
        let Some(fields) = message else {
            sample.not_objects += 1;
            continue;
        };
        for (field, json_type) in fields {
            if counts.len() >= MAX_OF_A_SAMPLE && !counts.contains_key(&field) {
                sample.is_cut = true;
                continue;
            }
            let count = counts.entry(field.clone()).or_insert_with(|| UnusedField {
                field,
                messages: 0,
                types: BTreeSet::new(),
            });
            count.messages += 1;
            count.types.insert(json_type);
        }
    }
    sample.unused = counts.into_values().collect();
    sample.unused.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.field.cmp(&b.field)));
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> BTreeSet<Vec<String>> {
        [&["uuid"][..], &["context", "ip"]]
            .map(|path| path.iter().map(|key| (*key).to_owned()).collect())
            .into()
    }

    #[test]
    fn fields_that_no_column_stores_are_counted() {
        let messages: [&[u8]; 5] = [
            br#"{"uuid":1,"extra":"a","context":{"ip":"x","os":[1]},"none":null}"#,
            br#"{"extra":2,"context":"text"}"#,
            br#"{"uuid":"2"}"#,
            b"[1]",
            b"\xff",
        ];
        let fields: Vec<_> = messages.iter().map(|message| unused_of(message, &stored())).collect();
        let found = sample(5, fields);
        let shown: Vec<String> = found
            .unused
            .iter()
            .map(|field| format!("{} {} {:?}", field.field, field.messages, field.types))
            .collect();
        assert_eq!(
            shown,
            [r#"extra 2 {"number", "text"}"#, r#"context 1 {"text"}"#, r#"context.os 1 {"list"}"#]
        );
        assert_eq!((found.messages, found.not_objects, found.is_cut), (5, 2, false));
    }

    #[test]
    fn names_that_are_data_do_not_fill_the_memory() {
        let message = |number: usize| {
            let fields = (0..500).map(|key| (format!("{number} {key}"), Value::from(1)));
            Value::Object(fields.collect()).to_string().into_bytes()
        };
        let fields = (0..50).map(|number| unused_of(&message(number), &stored())).collect();
        let found = sample(50, fields);
        assert_eq!((found.unused.len(), found.is_cut), (MAX_OF_A_SAMPLE, true));
    }
}
