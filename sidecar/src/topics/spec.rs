//! Strict parser of `topics.toml`, the file of desired topics.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use crate::config::reader::{self, ConfigTable};
use crate::config::{Fault, report, rules};

/// A partition costs files and memory on a broker, so a larger number is a mistake.
const MAX_PARTITIONS: i32 = 10_000;
/// Replicas are on different brokers, and no cluster keeps this many of one message.
const MAX_REPLICAS: i32 = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Cluster of the file. Any other cluster is refused.
    pub(crate) cluster_id: Option<String>,
    /// In the order of their names.
    pub(crate) topics: Vec<Topic>,
}

/// A topic of the file, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) manage: Manage,
    /// By Kafka's names, for example `retention.ms`. The broker decides all others.
    pub(crate) config: BTreeMap<String, String>,
    /// Contact for people; not used by posthouse.
    pub(crate) owner: Option<String>,
}

/// How posthouse manages a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manage {
    /// Created if missing, and changed to match the file.
    Full { partitions: i32, replication_factor: i32 },
    /// Created by another program. Posthouse changes the settings that the file names.
    Adopt {
        /// Absent if the file does not name it.
        partitions: Option<i32>,
        /// Absent if the file does not name it.
        replication_factor: Option<i32>,
    },
    /// Owned by another program and only listed.
    Ignore,
    /// Deleted.
    Delete,
}

/// Reason why `topics.toml` can't be used; exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// The file can't be read.
    #[error("can't read the topics file {path}: give its path as kafka.topics_file in the config")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is invalid: all faults, in the order of lines.
    #[error("{}", report(Some(.path), .faults))]
    Faulty {
        path: PathBuf,
        /// At least one.
        faults: Vec<Fault>,
    },
}

/// Reads the file at `path`.
///
/// # Errors
/// [`SpecError::Unreadable`], or [`SpecError::Faulty`] with all faults.
pub(crate) fn load(path: &Path) -> Result<Spec, SpecError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SpecError::Unreadable { path: path.to_owned(), source })?;
    parse(&text).map_err(|faults| SpecError::Faulty { path: path.to_owned(), faults })
}

/// Parses the text of a topics file.
///
/// # Errors
/// All faults, in the order of lines.
pub(crate) fn parse(text: &str) -> Result<Spec, Vec<Fault>> {
    reader::read(text, |top| {
        let cluster_id = top.optional("cluster_id", rules::text);
        let defaults = top.section("defaults", Settings::read);
        let topics = top.named("topics", |name, table| topic(name, table, &defaults));
        let mut topics: Vec<Topic> = topics.into_iter().collect::<Option<_>>()?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Spec { cluster_id, topics })
    })
}

/// Keys of both `[defaults]` and each topic.
struct Settings {
    partitions: Option<i32>,
    replication_factor: Option<i32>,
    config: BTreeMap<String, String>,
}

impl Settings {
    fn read(table: &mut ConfigTable<'_>) -> Self {
        Self {
            partitions: table.optional("partitions", rules::integer(1..=MAX_PARTITIONS)),
            replication_factor: table.optional("replication_factor", rules::integer(1..=MAX_REPLICAS)),
            config: table.map("config", config_value),
        }
    }
}

const MANAGE: &[(&str, Word)] = &[("full", Word::Full), ("adopt", Word::Adopt), ("ignore", Word::Ignore)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Full,
    Adopt,
    Ignore,
}

fn topic(name: &str, table: &mut ConfigTable<'_>, defaults: &Settings) -> Option<Topic> {
    if let Err(problem) = rules::check_topic_name(name) {
        table.refuse(problem);
    }
    let own = Settings::read(table);
    let owner = table.optional("owner", rules::text);
    let word = table.or("manage", Word::Full, rules::one_of(MANAGE));
    let delete = table.or("delete", false, rules::boolean);
    let topic = |manage, config| Topic { name: name.to_owned(), manage, config, owner };
    match word {
        _ if delete => {
            if word != Word::Full {
                table.fault("delete", "conflicts with manage: remove one of the two");
            }
            Some(topic(Manage::Delete, BTreeMap::new()))
        }
        Word::Ignore => Some(topic(Manage::Ignore, BTreeMap::new())),
        // Defaults apply only to topics that posthouse creates.
        Word::Adopt => {
            let Settings { partitions, replication_factor, config } = own;
            Some(topic(Manage::Adopt { partitions, replication_factor }, config))
        }
        Word::Full => {
            let partitions = given(table, "partitions", own.partitions, defaults.partitions);
            let copies = (own.replication_factor, defaults.replication_factor);
            let replication_factor = given(table, "replication_factor", copies.0, copies.1);
            let mut config = defaults.config.clone();
            config.extend(own.config);
            let manage = Manage::Full { partitions: partitions?, replication_factor: replication_factor? };
            Some(topic(manage, config))
        }
    }
}

/// Returns the topic's own value, else the default of the file. There is no built-in default, since
/// only the user knows the brokers.
fn given(table: &ConfigTable<'_>, key: &str, own: Option<i32>, default: Option<i32>) -> Option<i32> {
    let value = own.or(default);
    if value.is_none() && !table.holds(key) {
        table.missing(key, &format!("{key} here or in [defaults]"));
    }
    value
}

/// Kafka takes every config as text. The file may also have numbers and booleans.
fn config_value(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Integer(_) => rules::integer(i64::MIN..=i64::MAX)(value).map(|number| number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        _ => Err("give a string, a number, true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_in_what_a_topic_leaves_out() {
        let spec = parse(
            r#"
cluster_id = "abc"

[defaults]
partitions = 12
replication_factor = 3
config = { "retention.ms" = 604_800_000, "compression.type" = "producer" }

[topics.clickhouse_events_json]
partitions = 64
owner = "ingestion"

[topics."events.dead-letter"]
replication_factor = 2
config = { "retention.ms" = "-1", "unclean.leader.election.enable" = false, "min.cleanable.dirty.ratio" = 0.5 }
"#,
        )
        .expect("right");
        let [events, dead] = spec.topics.as_slice() else { panic!("two topics: {spec:?}") };
        assert_eq!(spec.cluster_id.as_deref(), Some("abc"));
        assert_eq!(events.name, "clickhouse_events_json");
        assert_eq!(events.manage, Manage::Full { partitions: 64, replication_factor: 3 });
        assert_eq!(events.owner.as_deref(), Some("ingestion"));
        assert_eq!(events.config["retention.ms"], "604800000");
        assert_eq!(dead.manage, Manage::Full { partitions: 12, replication_factor: 2 });
        let config: Vec<_> = dead.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            config,
            [
                "compression.type=producer",
                "min.cleanable.dirty.ratio=0.5",
                "retention.ms=-1",
                "unclean.leader.election.enable=false"
            ]
        );
    }

    #[test]
    fn topics_of_others_take_no_defaults_and_need_none() {
        let spec = parse(
            "[defaults]\nconfig = { \"retention.ms\" = 1 }\n[topics.a]\nmanage = \"adopt\"\npartitions = 3\n\
             [topics.b]\nmanage = \"ignore\"\n[topics.c]\ndelete = true\n",
        )
        .expect("right");
        let manage: Vec<Manage> = spec.topics.iter().map(|topic| topic.manage).collect();
        let adopt = Manage::Adopt { partitions: Some(3), replication_factor: None };
        assert_eq!(manage, [adopt, Manage::Ignore, Manage::Delete]);
        assert!(spec.topics.iter().all(|topic| topic.config.is_empty()));
        let faults = parse("[topics.a]\nmanage = \"adopt\"\ndelete = true\n").expect_err("both");
        assert!(faults[0].to_string().contains("conflicts with manage"), "{faults:?}");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let faults = parse(
            r#"
[default]
partitions = 1
[topics.good]
partitions = 0
replication = 3
[topics."bad name"]
partitions = 1
replication_factor = "two"
config = { "retention.ms" = [1] }
[topics.bare]
"#,
        )
        .expect_err("wrong");
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let wanted = [
            "line 2: default: is an unknown key, did you mean defaults?",
            "line 4: topics.good.replication_factor: is required: add replication_factor here or in [defaults]",
            "line 5: topics.good.partitions = 0: give a whole number from 1 to 10000",
            "line 6: topics.good.replication: is an unknown key, did you mean replication_factor?",
            "line 7: topics.\"bad name\": use letters, digits, dots",
            "line 9: topics.\"bad name\".replication_factor = \"two\": give a whole number",
            "line 10: topics.\"bad name\".config.\"retention.ms\" = [1]: give a string, a number",
            "line 11: topics.bare.partitions: is required",
            "line 11: topics.bare.replication_factor: is required",
        ];
        assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
        for (fault, wanted) in faults.iter().zip(wanted) {
            assert!(fault.starts_with(wanted), "{fault:?} is not {wanted:?}");
        }
    }
}
