//! The named collection with the brokers, on nodes that read Kafka.

use serde::Deserialize;

use super::super::objects::{Role, SchemaObject};
use super::super::render::render;
use super::{ACCESS_DENIED, SettingFinding, SettingSeverity};
use crate::config::Config;
use crate::node::Node;
use crate::sql;

/// The key without which a Kafka table has no brokers.
const BROKERS: &str = "kafka_broker_list";
/// Keys that say how to connect, and change no block.
const CONNECTION: [&str; 6] = [
    BROKERS,
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "kafka_sasl_username",
    "kafka_sasl_password",
    "kafka_client_id",
];

#[derive(Deserialize)]
struct CollectionKeys {
    keys: Vec<String>,
}

/// Returns the faults of the config's named collection on the node. Without it, a consumer could be
/// dropped and not be created again.
pub(super) async fn findings(config: &Config, node: &Node) -> anyhow::Result<Vec<SettingFinding>> {
    let Some(name) = &config.kafka.named_collection else { return Ok(Vec::new()) };
    let consumers = |object: &SchemaObject| object.role == Role::Consumer && object.is_desired(config, node);
    let statements = render(config, node)?;
    let tables: Vec<&str> = statements
        .iter()
        .filter(|statement| consumers(statement.object))
        .map(|statement| statement.sql.as_str())
        .collect();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let query = node.query(sql::text("inspect/named_collection.sql").unwrap_or_default());
    let keys = match query.param("name", name).rows::<CollectionKeys>().await {
        Err(error) if error.code() == Some(ACCESS_DENIED) => None,
        found => found?.into_iter().next().map(|row| row.keys),
    };
    let finding = Collection { config, node: &node.name, name };
    Ok(match keys {
        None => vec![finding.hidden()],
        Some(keys) if !keys.iter().any(|key| key == BROKERS) => vec![finding.hidden()],
        Some(keys) => {
            keys.iter().filter(|key| is_foreign(key, &tables)).map(|key| finding.foreign(key)).collect()
        }
    })
}

/// Whether a key changes how our tables read. The settings of a table take precedence over the
/// collection's, and keys of librdkafka are the operator's.
fn is_foreign(key: &str, tables: &[&str]) -> bool {
    let is_set = |table: &&str| table.contains(&format!("{key} = "));
    key.starts_with("kafka_") && !CONNECTION.contains(&key) && !tables.iter().all(is_set)
}

struct Collection<'a> {
    config: &'a Config,
    node: &'a str,
    name: &'a str,
}

impl Collection<'_> {
    fn hidden(&self) -> SettingFinding {
        let brokers: Vec<String> = self.config.kafka.brokers.iter().map(ToString::to_string).collect();
        let name = self.name;
        self.fault(
            "missing or hidden",
            format!("there, with {BROKERS}"),
            "Kafka tables of this config can't be created",
            format!(
                "CREATE NAMED COLLECTION {name} AS {BROKERS} = '{}', or the same in <named_collections> of the node's \
                 config; then GRANT SHOW NAMED COLLECTIONS, NAMED COLLECTION ON {name}, \
                 SELECT ON system.named_collections TO {}",
                brokers.join(","),
                self.config.clickhouse.user
            ),
        )
    }

    fn foreign(&self, key: &str) -> SettingFinding {
        self.fault(
            &format!("there with {key}"),
            format!("there without {key}"),
            "the consumers would read other blocks than exactly-once needs, or skip messages",
            format!(
                "ALTER NAMED COLLECTION {} DELETE {key}, or give posthouse a collection of its own",
                self.name
            ),
        )
    }

    fn fault(&self, value: &str, desired: String, consequence: &str, hint: String) -> SettingFinding {
        SettingFinding {
            node: self.node.to_owned(),
            setting: format!("named collection {}", self.name),
            value: Some(value.to_owned()),
            desired,
            consequence: consequence.to_owned(),
            hint,
            severity: SettingSeverity::Fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_keys_of_a_connection_from_those_that_change_blocks() {
        let tables =
            ["SETTINGS\n    kafka_topic_list = 't',\n    kafka_num_consumers = 1", "kafka_topic_list = 'u'"];
        for key in ["kafka_broker_list", "kafka_sasl_password", "kafka_topic_list", "kafka.security_protocol"]
        {
            assert!(!is_foreign(key, &tables), "{key}");
        }
        for key in ["kafka_handle_error_mode", "kafka_keeper_path", "kafka_num_consumers"] {
            assert!(is_foreign(key, &tables), "{key}");
        }
    }
}
