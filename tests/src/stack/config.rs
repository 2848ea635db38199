//! The configuration of `posthouse` for a stack.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use super::Stack;
use super::clickhouse::{CLUSTER, Node};
use super::kafka::Broker;

/// The topics of the dev stack, read by `posthouse topics`.
pub const TOPICS_TOML: &str = include_str!("../../fixtures/topics.toml");

#[derive(Serialize)]
struct Config {
    database: &'static str,
    cluster: &'static str,
    replicated: bool,
    shards: Vec<Shard>,
    kafka: Kafka,
}

#[derive(Serialize)]
struct Shard {
    weight: u32,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    name: String,
    url: String,
    address: String,
    user_scripts_path: PathBuf,
    functions_config_file: PathBuf,
}

#[derive(Serialize)]
struct Kafka {
    brokers: Vec<String>,
    topics_file: &'static str,
}

impl Stack {
    /// A `posthouse.toml` for this stack, with defaults for all other keys. It refers to
    /// `topics.toml` beside it.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn posthouse_toml(&self) -> anyhow::Result<String> {
        let shards = self.spec().shards.iter().zip(1..).map(|(shard, number)| {
            let replicas = self.nodes().iter().filter(|node| node.shard() == number).map(replica);
            Shard { weight: shard.weight, replicas: replicas.collect() }
        });
        let config = Config {
            database: CLUSTER,
            cluster: CLUSTER,
            replicated: self.spec().is_replicated(),
            shards: shards.collect(),
            kafka: Kafka {
                brokers: self.brokers().iter().map(Broker::address).collect(),
                topics_file: "topics.toml",
            },
        };
        toml::to_string(&config).context("cannot write posthouse.toml")
    }

    /// Writes `posthouse.toml` and `topics.toml` into the scratch folder and returns the path of
    /// the first.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn write_config(&self) -> anyhow::Result<PathBuf> {
        let path = self.dir().join("posthouse.toml");
        std::fs::write(&path, self.posthouse_toml()?)?;
        std::fs::write(self.dir().join("topics.toml"), TOPICS_TOML)?;
        Ok(path)
    }
}

fn replica(node: &Node) -> Replica {
    Replica {
        name: node.name().to_owned(),
        url: node.http_url(),
        address: node.native_address(),
        user_scripts_path: node.user_scripts(),
        functions_config_file: node.functions_xml(),
    }
}
