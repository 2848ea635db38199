//! Fields of messages that no column stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cluster::Cluster;
use crate::event_columns::{ColumnOrigin, EventColumn};
use crate::kafka::TopicRecord;

/// Most fields that one message can report, and most that a sample can: names may be data.
const MAX_OF_A_MESSAGE: usize = 100;
const MAX_OF_A_SAMPLE: usize = 1_000;
/// Most bytes of a name that are kept.
const MAX_NAME_BYTES: usize = 200;

/// A sample of the newest messages of the events topic.
#[derive(Debug, PartialEq, Eq, Serialize)]
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
    let partitions = kafka.cluster().await?.topic(topic)?.partitions.len();
    let of_each = u64::from(limit).div_ceil(u64::try_from(partitions.max(1))?);
    let stored = stored_paths(&cluster.config.events.columns);
    let counts = Arc::new(Mutex::new(FieldCounts::default()));
    let shared = counts.clone();
    let pick = move |record: &TopicRecord| {
        let fields = unused_of(&record.payload, &stored);
        shared.lock().unwrap_or_else(PoisonError::into_inner).add(fields);
        None::<()>
    };
    let newest = kafka.newest(topic, &BTreeMap::new(), i64::try_from(of_each)?, pick).await?;
    let counts = std::mem::take(&mut *counts.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(counts.into_sample(newest.read))
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
            value => unused.push((name(path), json_type(value))),
        }
        path.pop();
    }
}

/// The keys joined by dots, cut at [`MAX_NAME_BYTES`].
fn name(path: &[String]) -> String {
    let mut name = path.join(".");
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    name
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

/// Counts of a sample so far. Its size does not depend on the number of messages.
#[derive(Debug, Default)]
struct FieldCounts {
    not_objects: u64,
    fields: BTreeMap<String, UnusedField>,
    is_cut: bool,
}

impl FieldCounts {
    fn add(&mut self, message: MessageFields) {
        let Some(fields) = message else {
            self.not_objects += 1;
            return;
        };
        self.is_cut |= fields.len() >= MAX_OF_A_MESSAGE;
        for (field, json_type) in fields {
            if self.fields.len() >= MAX_OF_A_SAMPLE && !self.fields.contains_key(&field) {
                self.is_cut = true;
                continue;
            }
            let count = self.fields.entry(field.clone()).or_insert_with(|| UnusedField {
                field,
                messages: 0,
                types: BTreeSet::new(),
            });
            count.messages += 1;
            count.types.insert(json_type);
        }
    }

    fn into_sample(self, messages: u64) -> FieldSample {
        let Self { not_objects, fields, is_cut } = self;
        let mut unused: Vec<UnusedField> = fields.into_values().collect();
        unused.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.field.cmp(&b.field)));
        FieldSample { messages, not_objects, unused, is_cut }
    }
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
        let mut counts = FieldCounts::default();
        messages.iter().for_each(|message| counts.add(unused_of(message, &stored())));
        let found = counts.into_sample(5);
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
            let fields =
                (0..500).map(|key| (format!("{number} {key} {}", "ü".repeat(1_000)), Value::from(1)));
            Value::Object(fields.collect()).to_string().into_bytes()
        };
        let mut counts = FieldCounts::default();
        (0..50).for_each(|number| counts.add(unused_of(&message(number), &stored())));
        let found = counts.into_sample(50);
        assert_eq!((found.unused.len(), found.is_cut), (MAX_OF_A_SAMPLE, true));
        assert!(found.unused.iter().all(|field| field.field.len() <= MAX_NAME_BYTES));
    }
}
