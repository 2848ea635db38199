//! `topics.toml`: the topics that should exist, strictly read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use crate::config::reader::{self, Table};
use crate::config::{Fault, report, rules};

/// A partition is files and memory on a broker; whoever wants more than this meant something else.
const MOST_PARTITIONS: i32 = 10_000;
/// Copies live on different brokers, and no cluster keeps this many of one message.
const MOST_REPLICAS: i32 = 32;

/// What a topics file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The cluster that it is for: any other one is refused.
    pub cluster_id: Option<String>,
    /// In the order of their names.
    pub topics: Vec<Topic>,
}

/// One topic of the file, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What is to be done about it.
    pub manage: Manage,
    /// Topic configs by Kafka's names, such as `retention.ms`; those not named are left to the broker.
    pub config: BTreeMap<String, String>,
    /// Whom to ask; for people only.
    pub owner: Option<String>,
}

/// What is to be done about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {
    /// It is made if it is missing, and brought in line.
    Full {
        /// How many partitions.
        partitions: i32,
        /// On how many brokers each partition is kept.
        replication_factor: i32,
    },
    /// Somebody else makes it; what the file names is brought in line.
    Adopt {
        /// How many partitions, if that is named.
        partitions: Option<i32>,
        /// On how many brokers each partition is kept, if that is named.
        replication_factor: Option<i32>,
    },
    /// It is somebody else's, and only named.
    Ignore,
    /// It is to be deleted.
    Delete,
}

/// Why `topics.toml` can't be used; exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("can't read the topics file {path}: give its place as kafka.topics in the config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file can be read but is not right: every fault, in the order of lines.
    #[error("{}", report(Some(.path), .faults))]
    Faulty {
        /// The file.
        path: PathBuf,
        /// At least one.
        faults: Vec<Fault>,
    },
}

/// Reads the file at `path`.
///
/// # Errors
/// [`SpecError::Unreadable`], or [`SpecError::Faulty`] with every fault at once.
pub fn load(path: &Path) -> Result<Spec, SpecError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SpecError::Unreadable { path: path.to_owned(), source })?;
    parse(&text).map_err(|faults| SpecError::Faulty { path: path.to_owned(), faults })
}

/// Reads the text of a topics file.
///
/// # Errors
/// Every fault, in the order of lines.
pub fn parse(text: &str) -> Result<Spec, Vec<Fault>> {
    reader::read(text, |top| {
        let cluster_id = top.optional("cluster_id", rules::text);
        let defaults = top.section("defaults", Settings::read);
        let topics = top.named("topics", |name, table| topic(name, table, &defaults));
        let mut topics: Vec<Topic> = topics.into_iter().collect::<Option<_>>()?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Spec { cluster_id, topics })
    })
}

/// What `[defaults]` and each topic may both say.
struct Settings {
    partitions: Option<i32>,
    replication_factor: Option<i32>,
    config: BTreeMap<String, String>,
}

impl Settings {
    fn read(table: &mut Table<'_>) -> Self {
        Self {
            partitions: table.optional("partitions", rules::integer(1..=MOST_PARTITIONS)),
            replication_factor: table.optional("replication_factor", rules::integer(1..=MOST_REPLICAS)),
            config: table.map("config", config_value),
        }
    }
}

/// The words of `manage`.
const MANAGE: &[(&str, Word)] = &[("full", Word::Full), ("adopt", Word::Adopt), ("ignore", Word::Ignore)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Full,
    Adopt,
    Ignore,
}

fn topic(name: &str, table: &mut Table<'_>, defaults: &Settings) -> Option<Topic> {
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
                table.fault("delete", "stands against manage: leave one of the two out");
            }
            Some(topic(Manage::Delete, BTreeMap::new()))
        }
        Word::Ignore => Some(topic(Manage::Ignore, BTreeMap::new())),
        // Defaults are for topics of the file's own making.
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

/// The topic's own value, else the default; there is no built-in one, since only the user knows the brokers.
fn given(table: &Table<'_>, key: &str, own: Option<i32>, default: Option<i32>) -> Option<i32> {
    let value = own.or(default);
    if value.is_none() && !table.holds(key) {
        table.missing(key, &format!("{key} here or in [defaults]"));
    }
    value
}

/// Kafka takes every config as text; numbers and booleans may be written as such.
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
        assert!(faults[0].to_string().contains("stands against manage"), "{faults:?}");
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
