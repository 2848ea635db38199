//! Topics file from the cluster's state, so that its plan is empty.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::kafka::{Client, ConfigOrigin, KafkaError};

/// Text of a topics file with every topic of the cluster, except Kafka's own.
pub(crate) async fn import(client: &Client) -> Result<String, KafkaError> {
    let cluster = client.cluster().await?;
    let own = |name: &&String| !super::plan::is_internal(name);
    let names: BTreeSet<String> = cluster.topics.keys().filter(own).cloned().collect();
    let configs = client.configs(&names).await?;
    let mut text = "# Written by posthouse topics import from the state of the brokers.\n".to_owned();
    if let Some(id) = &cluster.id {
        line(&mut text, &format!("cluster_id = {}", quoted(id)));
    }
    for name in &names {
        let Some((layout, configs)) = cluster.topics.get(name).zip(configs.get(name)) else { continue };
        line(&mut text, &format!("\n[topics.{}]", key(name)));
        line(&mut text, &format!("partitions = {}", layout.partitions.len()));
        line(&mut text, &format!("replication_factor = {}", layout.replication_factor()));
        let own = configs.iter().filter(|(_, config)| config.source == ConfigOrigin::Topic);
        let own: Vec<String> = own
            .filter_map(|(name, config)| {
                Some(format!("{} = {}", quoted(name), quoted(config.value.as_deref()?)))
            })
            .collect();
        if !own.is_empty() {
            line(&mut text, &format!("config = {{ {} }}", own.join(", ")));
        }
    }
    Ok(text)
}

fn line(text: &mut String, line: &str) {
    // Writing to a string never fails.
    let _ = writeln!(text, "{line}");
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A TOML key, quoted if the topic's name has a dot, so that the dot opens no level.
fn key(name: &str) -> String {
    let is_bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted_where_toml_needs_it() {
        assert_eq!([key("a_b-1"), key("a.b")], ["a_b-1", "\"a.b\""]);
        assert_eq!(quoted("604800000"), "\"604800000\"");
        let odd = "a\"b\\c";
        let read: toml::Table = format!("v = {}", quoted(odd)).parse().expect("TOML");
        assert_eq!(read["v"].as_str(), Some(odd));
    }
}
