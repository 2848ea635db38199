//! `posthouse.toml`: everything posthouse knows about one cluster, strictly read.

pub(crate) mod reader;
pub(crate) mod rules;
mod password;
mod consumer;
mod persons;
mod sections;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use self::password::{KAFKA_PASSWORD_VARIABLE, PASSWORD_VARIABLE, POSTGRES_PASSWORD_VARIABLE, Password};
pub(crate) use self::persons::DEFAULT_PERSONS_FLUSH;
pub use self::persons::{Audit, DistinctIdTable, PersonTable, Persons, Postgres, TableName, VersionRule};
pub use self::reader::Fault;

/// Database and cluster have one name, the documented one.
pub const DEFAULT_DATABASE: &str = "posthog";
/// See [`DEFAULT_DATABASE`].
pub const DEFAULT_CLUSTER: &str = "posthog";
/// Replication needs a Keeper and macros on every node, so it has to be asked for.
pub const DEFAULT_REPLICATED: bool = false;
/// The user every ClickHouse server has from the start.
pub const DEFAULT_USER: &str = "default";
/// `clickhouse.server_profile`, as a server has it without `<system_profile>` and `<default_profile>`.
pub const DEFAULT_SERVER_PROFILE: &str = "default";
/// A healthy node answers `SELECT 1` in milliseconds; ten seconds outlast a pause for a merge or a lost packet
/// and are still short for somebody who waits.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Only this machine may ask, unless somebody says otherwise.
pub const DEFAULT_LISTEN: (&str, u16) = ("127.0.0.1", 9365);
/// Differences are told, and mended by somebody who has looked at them.
pub const DEFAULT_RECONCILE: Reconcile = Reconcile::Check;
/// Topics change seldom; a minute is soon enough to hear of it.
pub const DEFAULT_TOPICS_PERIOD: Duration = Duration::from_secs(60);
/// All shards alike; also ClickHouse's own default.
pub const DEFAULT_WEIGHT: u32 = 1;
/// The topics file stands beside the config.
pub const DEFAULT_TOPICS: &str = "topics.toml";
/// The documented topic of events.
pub const DEFAULT_TOPIC: &str = "clickhouse_events_json";
/// The consumer group of `kafka_events`.
pub const DEFAULT_GROUP: &str = "clickhouse_events";
/// Exactly once unless somebody decides otherwise: the other choice can repeat rows.
pub const DEFAULT_OFFSETS: Offsets = Offsets::Keeper;
/// One path for all nodes of all shards: partitions are locks below it, so that a dead node's are taken over.
pub const DEFAULT_KEEPER_PATH: &str = "/posthouse/{database}/kafka_events";
/// The engine (26.7) lets every consumer hold as many partitions as there are for a node, so the first consumer of a node
/// takes them all and a second one finds none. Newer engines share a node's partitions among its consumers.
pub const DEFAULT_CONSUMERS: u32 = 1;
/// One poll is one block is one insert, so this bounds a block's memory and is what a backlog is read in. A block that
/// is read again after a crash must come back in one poll, so it has to fit into one answer of the broker:
/// `batch_rows` times the size of a message as sent (compressed, if the producer does) must stay below
/// `fetch_message_max_bytes` in the node's `<kafka>` section (ARCHITECTURE.md).
pub const DEFAULT_BATCH_ROWS: u32 = 65_536;
/// How long a poll waits for a block to fill: the larger part of the time from produced to queryable, since a consumer
/// polls its partitions one after the other. The price of a short timeout is parts: each poll makes at least one on
/// every shard.
pub const DEFAULT_POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Every poll of every consumer of all nodes can give a shard a block: with two nodes and the default
/// timeout, this is a quarter of an hour of full load, longer than the others need to take over a dead node's
/// partitions or than a node needs to restart and send its last blocks again.
pub const DEFAULT_DEDUPLICATION_WINDOW: u32 = 10_000;

/// posthouse makes the consumers unless the config leaves them to another program.
pub const DEFAULT_CONSUMER: Consumer = Consumer::Own;

/// The columns of `events` that exist before any materialized one; none of those may be named like them.
pub const EVENT_COLUMNS: [&str; 11] = [
    "uuid",
    "event",
    "properties",
    "timestamp",
    "team_id",
    "distinct_id",
    "elements_hash",
    "created_at",
    "_timestamp",
    "_offset",
    "elements_chain",
];

/// One cluster, as `posthouse.example.toml` describes it key by key.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Database of all tables; an identifier that needs no quotes.
    pub database: String,
    /// Name in `remote_servers`; an identifier that needs no quotes.
    pub cluster: String,
    /// Whether tables are `Replicated*MergeTree`. If not, every shard has exactly one replica.
    pub replicated: bool,
    /// How to speak to the nodes.
    pub clickhouse: ClickHouse,
    /// The shards in the order of `remote_servers`: at least one, and not all of weight 0.
    pub shards: Vec<Shard>,
    /// The brokers, and what topics they should hold.
    pub kafka: Kafka,
    /// How events come in.
    pub events: Events,
    /// How persons come in; `None` where they don't.
    pub persons: Option<Persons>,
    /// Accepted differences of tables, each `TABLE PART` as the plan prints it.
    pub unmanaged: BTreeSet<String>,
    /// What a running posthouse does.
    pub daemon: Daemon,
}

/// What a running posthouse does.
#[derive(Debug, Clone, PartialEq)]
pub struct Daemon {
    /// Where it answers HTTP.
    pub listen: HostPort,
    /// What it does about topics.
    pub topics: Reconcile,
    /// How often it looks at them.
    pub topics_period: Duration,
}

/// What is done about differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconcile {
    /// Nobody looks.
    Off,
    /// They are told.
    Check,
    /// They are mended, as far as nothing is deleted by it.
    Apply,
}

/// How posthouse speaks to every ClickHouse node.
#[derive(Debug, Clone, PartialEq)]
pub struct ClickHouse {
    /// Name of the user.
    pub user: String,
    /// File the password is read from, where the environment does not give it.
    pub password_file: Option<PathBuf>,
    /// The password, from the environment or the file. `None` for a user without one.
    pub password: Option<Password>,
    /// A node that does not answer within this time is unreachable.
    pub timeout: Duration,
    /// The settings profile that the nodes themselves run with, and with them Kafka tables and their views.
    pub server_profile: String,
}

/// One shard of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// How many slots of the sum of all weights the shard takes, as in `remote_servers`. 0 takes no new rows.
    pub weight: u32,
    /// Its nodes: at least one.
    pub replicas: Vec<Replica>,
}

/// One node of a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// How posthouse speaks of the node; unique.
    pub name: String,
    /// Its HTTP interface; unique.
    pub url: Url,
    /// Its native interface as `remote_servers` has it; unique.
    pub address: HostPort,
    /// Where functions are installed, if this machine holds the node's disk.
    pub files: Option<NodeFiles>,
}

/// The files of a node that are on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFiles {
    /// The node's `user_scripts_path`.
    pub user_scripts: PathBuf,
    /// The file that `user_defined_executable_functions_config` names.
    pub functions: PathBuf,
}

/// The Kafka cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// Where to begin: at least one broker.
    pub brokers: Vec<HostPort>,
    /// The topics file.
    pub topics: PathBuf,
    /// Who posthouse is to the brokers; `None` where they ask nobody.
    pub login: Option<Login>,
}

/// A user of the brokers, by SASL PLAIN.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// From [`KAFKA_PASSWORD_VARIABLE`] or the file that the config names.
    pub password: Password,
}

/// The way of events from their topic into `sharded_events`.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The topic events come from.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Who reads the topic into the tables.
    pub consumer: Consumer,
    /// Where offsets live.
    pub offsets: Offsets,
    /// Keeper path of the offsets, `{database}` replaced; unused with [`Offsets::Group`].
    pub keeper_path: String,
    /// Consumers of one node, each a thread.
    pub consumers: u32,
    /// At most this many messages make a block; see [`DEFAULT_BATCH_ROWS`].
    pub batch_rows: u32,
    /// How long a block may take to fill; see [`DEFAULT_POLL_TIMEOUT`].
    pub poll_timeout: Duration,
    /// How many of a shard's last blocks are remembered, so that one sent again is dropped.
    pub deduplication_window: u32,
    /// Columns that messages fill, beyond [`EVENT_COLUMNS`].
    pub columns: Vec<EventColumn>,
    /// Properties with a column of their own.
    pub materialized: Vec<Materialized>,
}

/// Who reads a topic into the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    /// The Kafka table and the views that posthouse makes.
    Own,
    /// Another program or another schema; posthouse makes no Kafka table and no view.
    None,
}

/// A column of events that each message fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventColumn {
    /// The column; safe between backticks.
    pub name: String,
    /// Its ClickHouse type; checked to be a type and nothing else.
    pub kind: String,
    /// What fills it.
    pub value: ColumnValue,
}

/// What fills a column of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnValue {
    /// This field of the message; a missing or invalid value is the type's default. Safe between
    /// single quotes and backticks.
    Field(String),
    /// The timestamp of the Kafka message, the same however often it is read.
    MessageTimestamp,
    /// The partition of the Kafka message.
    Partition,
}

/// Where the Kafka engine keeps its offsets, and so how often an event arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// In Keeper, with the size of the block under way: exactly once.
    Keeper,
    /// In the consumer group: at least once, a crash can repeat a block.
    Group,
}

/// A property kept as a column of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materialized {
    /// The column; safe between backticks.
    pub name: String,
    /// The property's key; safe between single quotes.
    pub property: String,
}

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address; an IPv6 address has no brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no [`Config`]; each of them is exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("can't read the config file {path}: give its place with --config or POSTHOUSE_CONFIG")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file can be read but is not right: every fault, in the order of lines.
    #[error("{}", report(.path.as_deref(), .faults))]
    Faulty {
        /// The file, where there is one.
        path: Option<PathBuf>,
        /// At least one.
        faults: Vec<Fault>,
    },
}

/// A heading and one line a fault.
pub(crate) fn report(path: Option<&Path>, faults: &[Fault]) -> String {
    let name = path.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
    let plural = if faults.len() == 1 { "fault" } else { "faults" };
    let mut report = format!("{name} has {} {plural}", faults.len());
    for fault in faults {
        report.push_str(&format!("\n  {fault}"));
    }
    report
}

impl Config {
    /// Reads the file at `path`, and the password from [`PASSWORD_VARIABLE`] or the file it names.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::Faulty`] with every fault at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base_dir).map_err(|error| match error {
            ConfigError::Faulty { faults, .. } => ConfigError::Faulty { path: Some(path.to_owned()), faults },
            unreadable => unreadable,
        })
    }

    /// Reads `text`; relative paths in it begin at `base_dir`.
    ///
    /// # Errors
    /// [`ConfigError::Faulty`] with every fault at once.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigError> {
        reader::read(text, |top| sections::config(top, base_dir))
            .map_err(|faults| ConfigError::Faulty { path: None, faults })
    }
}

#[cfg(test)]
mod tests;
