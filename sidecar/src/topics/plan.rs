//! What to change so that the brokers hold what `topics.toml` says: a pure comparison.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Observed, Topic};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// The topic is not there.
    Create(Topic),
}

/// A difference that posthouse shows and leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The topic.
    pub topic: String,
    /// Which of its settings.
    pub setting: &'static str,
    /// What `topics.toml` says.
    pub wanted: i64,
    /// What the brokers hold.
    pub observed: i64,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What to do, in the order of names.
    pub changes: Vec<Change>,
    /// What differs and stays as it is.
    pub notes: Vec<Note>,
    /// How many topics of the spec exist already.
    pub existing: usize,
}

/// Compares. Topics that exist are left alone, and so are those that the spec does not know.
pub fn plan(spec: &[Topic], observed: &BTreeMap<String, Observed>) -> Plan {
    let mut plan = Plan { changes: Vec::new(), notes: Vec::new(), existing: 0 };
    for topic in spec {
        match observed.get(&topic.name) {
            None => plan.changes.push(Change::Create(topic.clone())),
            Some(found) => {
                plan.existing += 1;
                plan.notes.extend(notes(topic, *found));
            }
        }
    }
    plan
}

fn notes(topic: &Topic, found: Observed) -> impl Iterator<Item = Note> {
    let settings = [
        ("partitions", topic.partitions, found.partitions),
        ("replication_factor", topic.replication_factor, found.replication_factor),
    ];
    settings.into_iter().filter_map(|(setting, wanted, observed)| {
        let (wanted, observed) = (i64::from(wanted), i64::try_from(observed).unwrap_or(i64::MAX));
        (wanted != observed).then(|| Note { topic: topic.name.clone(), setting, wanted, observed })
    })
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Create(topic) = self;
        let (name, partitions, copies) = (&topic.name, topic.partitions, topic.replication_factor);
        write!(f, "create {name}: partitions {partitions}, replication factor {copies}")?;
        topic.config.iter().try_for_each(|(key, value)| write!(f, ", {key}={value}"))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, wanted, observed } = self;
        write!(
            f,
            "note {topic}: {setting} is {observed}, the file says {wanted}; existing topics are left alone"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, partitions: i32, replication_factor: i32) -> Topic {
        Topic { name: name.to_owned(), partitions, replication_factor, config: BTreeMap::new(), owner: None }
    }

    fn observed(topics: &[(&str, usize, usize)]) -> BTreeMap<String, Observed> {
        let topics = topics.iter();
        topics
            .map(|&(name, partitions, replication_factor)| {
                (name.to_owned(), Observed { partitions, replication_factor })
            })
            .collect()
    }

    #[test]
    fn what_is_missing_is_created_and_nothing_else_is_touched() {
        let spec = [topic("a", 3, 1), topic("b", 6, 3)];
        let plan = plan(&spec, &observed(&[("a", 3, 1), ("someone_elses", 1, 1)]));
        assert_eq!(plan.changes, [Change::Create(topic("b", 6, 3))]);
        assert_eq!((plan.notes.len(), plan.existing), (0, 1));
        assert_eq!(plan.changes[0].to_string(), "create b: partitions 6, replication factor 3");
    }

    #[test]
    fn differences_of_existing_topics_are_noted() {
        let plan = plan(&[topic("a", 12, 3)], &observed(&[("a", 6, 1)]));
        assert_eq!(plan.changes, []);
        let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "note a: partitions is 6, the file says 12; existing topics are left alone",
                "note a: replication_factor is 1, the file says 3; existing topics are left alone"
            ]
        );
    }

    #[test]
    fn after_applying_nothing_is_left() {
        let spec = [topic("a", 3, 1), topic("b", 6, 3)];
        let after = observed(&[("a", 3, 1), ("b", 6, 3)]);
        assert_eq!(plan(&spec, &after), Plan { changes: Vec::new(), notes: Vec::new(), existing: 2 });
    }
}
