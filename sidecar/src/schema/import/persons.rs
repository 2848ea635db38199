//! `[persons]` of an imported config, from the consumers of a node.

use super::super::KafkaTable;
use super::events::DescribedTables;
use super::quoted;
use crate::config::{DEFAULT_PERSONS_FLUSH_INTERVAL, rules};

/// Both consumers that posthouse creates, the one of persons first.
const CONSUMERS: [&str; 2] = ["kafka_person", "kafka_person_distinct_id"];

/// Text that posthouse adds to the group of persons for the group of distinct ids.
const DISTINCT_IDS: &str = "_distinct_id";

/// Returns the section; empty if posthouse has created no consumers of persons. The nodes do not
/// know the publisher of persons.
pub(super) fn section(found: &DescribedTables, database: &str) -> String {
    let Some([persons, distinct_ids]) = consumers(&found.kafka, database) else { return String::new() };
    let topic = |table: &KafkaTable| quoted(table.topics.first().map_or("", String::as_str));
    let group = match split_groups(&persons.group, &distinct_ids.group) {
        Some((group, _)) => quoted(group),
        None => quoted(&persons.group),
    };
    let default = DEFAULT_PERSONS_FLUSH_INTERVAL.as_millis().to_string();
    let flush = persons.setting("kafka_flush_interval_ms").filter(|flush| *flush != default);
    let flush = flush.map_or(String::new(), |flush| format!("flush_interval = \"{flush}ms\"\n"));
    let table = found.distinct_id_table().filter(|table| *table != found.profile().distinct_id_table());
    let table = table.map_or(String::new(), |table| format!("distinct_id_table = {}\n", quoted(table)));
    let lookup = if found.looks_up_persons() { "lookup = \"function\"\n" } else { "" };
    format!(
        "\n# Where posthouse publishes persons, add [persons.postgres]: nodes don't know it.\n[persons]\n\
         topic = {}\ndistinct_id_topic = {}\ngroup = {group}\n{flush}{table}{lookup}",
        topic(persons),
        topic(distinct_ids)
    )
}

/// Returns the name of a node from posthouse's own consumers there.
pub(super) fn consumer_name(kafka: &[KafkaTable], database: &str) -> Option<String> {
    let events = own(kafka, database, "kafka_events").and_then(|table| table.replica.clone());
    let of_persons = || {
        let [persons, distinct_ids] = consumers(kafka, database)?;
        let (_, suffix) = split_groups(&persons.group, &distinct_ids.group)?;
        Some(suffix.strip_prefix('_')?.to_owned())
    };
    events.or_else(of_persons).filter(|name| rules::is_node_name(name))
}

/// Whether posthouse's own consumer of events is among the tables.
pub(super) fn reads_events(kafka: &[KafkaTable], database: &str) -> bool {
    own(kafka, database, "kafka_events").is_some()
}

fn consumers<'k>(kafka: &'k [KafkaTable], database: &str) -> Option<[&'k KafkaTable; 2]> {
    let [persons, distinct_ids] = CONSUMERS.map(|name| own(kafka, database, name));
    Some([persons?, distinct_ids?])
}

/// Returns a consumer of ours. Other products read these topics too, but none takes messages
/// as raw bytes.
fn own<'k>(kafka: &'k [KafkaTable], database: &str, name: &str) -> Option<&'k KafkaTable> {
    kafka.iter().find(|table| {
        let is_raw = table.setting("kafka_format").is_some_and(|format| format == "RawBLOB");
        table.database == database && table.name == name && is_raw
    })
}

/// Returns the group of the config and the suffix of a node: `g` and `_ch1` of `g_ch1` and
/// `g_distinct_id_ch1`.
fn split_groups<'g>(persons: &'g str, distinct_ids: &str) -> Option<(&'g str, &'g str)> {
    let ends = persons.match_indices('_').map(|(place, _)| place).chain([persons.len()]);
    ends.map(|end| persons.split_at(end))
        .find(|(group, suffix)| format!("{group}{DISTINCT_IDS}{suffix}") == distinct_ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_the_config_is_what_both_groups_have_in_common() {
        assert_eq!(split_groups("g_ch1", "g_distinct_id_ch1"), Some(("g", "_ch1")));
        assert_eq!(split_groups("a_b_c", "a_b_distinct_id_c"), Some(("a_b", "_c")));
        assert_eq!(split_groups("a_b", "a_b_distinct_id"), Some(("a_b", "")));
        assert_eq!(split_groups("a", "b"), None);
    }
}
