//! `posthouse.toml`: the config of one cluster, strictly parsed.

pub(crate) mod reader;
pub(crate) mod rules;
mod credentials;
mod tls;
mod kafka;
mod renamed;
mod source_text;
mod quote;
mod consumer;
mod event_columns;
mod postgres_url;
mod postgres;
mod persons;
mod daemon;
mod encryption;
mod sections;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::event_columns::{EventColumn, EventProfile, person_key};
use crate::secret::{self, Credential};

pub(crate) use self::credentials::{
    PASSWORD_VARIABLE, POSTGRES_KEY_PASSWORD_VARIABLE, POSTGRES_PASSWORD_VARIABLE,
};
pub(crate) use self::daemon::{Daemon, HttpTls, UNPROTECTED};
pub(crate) use self::encryption::is_local;
pub use self::kafka::{Kafka, KafkaAccess};
pub(crate) use self::kafka::{Login, Mechanism};
pub(crate) use self::persons::DEFAULT_PERSONS_FLUSH_INTERVAL;
pub(crate) use self::persons::{
    AuditMode, DISTINCT_ID_TABLES, IndexMode, PersonLookup, Persons, Postgres, TableName, VersionRule,
};
pub(crate) use self::postgres::{BindingMode, PostgresHost, PostgresTls, SessionTarget, SslMode};
pub(crate) use self::quote::{QuoteStyle, quote};
use self::renamed::RENAMED;
pub(crate) use self::source_text::Fault;
pub(crate) use self::tls::{Tls, TlsIdentity, Verification};

/// Database and cluster share the documented name.
pub(crate) const DEFAULT_DATABASE: &str = "posthog";
pub(crate) const DEFAULT_CLUSTER: &str = "posthog";
/// Replication needs a Keeper and macros on every node, so the config must ask for it.
pub(crate) const DEFAULT_REPLICATED: bool = false;
/// The user that every ClickHouse server has from the start.
pub(crate) const DEFAULT_USER: &str = "default";
/// `clickhouse.server_profile`: the profile of a server without `<system_profile>` and
/// `<default_profile>`.
pub(crate) const DEFAULT_SERVER_PROFILE: &str = "default";
/// A healthy node answers `SELECT 1` in milliseconds. Ten seconds outlast a pause for a merge or a
/// lost packet and are still short for an operator who waits.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Loopback only, unless the config says otherwise.
pub(crate) const DEFAULT_LISTEN: (&str, u16) = ("127.0.0.1", 9365);
/// Differences are reported, and an operator fixes them after a look.
pub(crate) const DEFAULT_RECONCILE: Reconcile = Reconcile::Check;
/// Topics change seldom, so a check per minute is enough.
pub(crate) const DEFAULT_TOPICS_INTERVAL: Duration = Duration::from_secs(60);
/// Equal weights; also ClickHouse's own default.
pub(crate) const DEFAULT_WEIGHT: u32 = 1;
/// A file beside the config.
pub(crate) const DEFAULT_TOPICS_FILE: &str = "topics.toml";
/// A replica stores events and reads them from Kafka.
pub(crate) const DEFAULT_ROLES: [NodeRole; 2] = [NodeRole::Data, NodeRole::Ingest];
/// The documented topic of events.
pub(crate) const DEFAULT_TOPIC: &str = "clickhouse_events_json";
/// The consumer group of `kafka_events`.
pub(crate) const DEFAULT_GROUP: &str = "clickhouse_events";
/// Exactly-once by default, because the other choice can repeat rows.
pub(crate) const DEFAULT_OFFSETS: OffsetStorage = OffsetStorage::Keeper;
/// One path for all nodes of all shards. Partitions are locks below it, so the partitions of a dead
/// node are taken over.
pub(crate) const DEFAULT_KEEPER_PATH: &str = "/posthouse/{database}/kafka_events";
/// The engine (26.7) lets every consumer hold as many partitions as there are for a node. The first
/// consumer of a node takes them all and a second one finds none. Newer engines share a node's
/// partitions among its consumers.
pub(crate) const DEFAULT_CONSUMERS: u32 = 1;
/// One poll is one block is one insert. This limit bounds the memory of a block and sets the unit
/// in which a backlog is read. A block replayed after a crash must come back in one poll, so it has
/// to fit into one response of the broker: `batch_rows` times the size of a message as sent
/// (compressed, if the producer compresses) must stay below `fetch_message_max_bytes` in the node's
/// `<kafka>` section (docs/operations/capacity.md).
pub(crate) const DEFAULT_BATCH_ROWS: u32 = 65_536;
/// Longest wait of a poll for a block to fill. It is the larger part of the time from produced to
/// queryable, because a consumer polls its partitions one after the other. A short timeout costs
/// parts: each poll creates at least one on every shard.
pub(crate) const DEFAULT_POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Every poll of every consumer of all nodes can give a shard a block. With two nodes and the
/// default timeout, this window is a quarter of an hour of full load. That is longer than the other
/// nodes need to take over a dead node's partitions, or than a node needs to restart and resend its
/// last blocks.
pub(crate) const DEFAULT_DEDUPLICATION_WINDOW: u32 = 10_000;

/// posthouse creates the consumers unless the config leaves them to another program.
pub(crate) const DEFAULT_CONSUMER: Consumer = Consumer::Own;

/// The config of one cluster; `posthouse.example.toml` describes every key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// Database of all tables; an identifier that needs no quotes.
    pub(crate) database: String,
    /// Name in `remote_servers`; an identifier that needs no quotes.
    pub(crate) cluster: String,
    /// Whether tables are `Replicated*MergeTree`. If not, every shard has exactly one replica.
    pub(crate) replicated: bool,
    /// Access to the nodes.
    pub(crate) clickhouse: ClickHouse,
    /// The shards in the order of `remote_servers`: at least one, and not all of weight 0.
    pub(crate) shards: Vec<Shard>,
    /// Nodes that read events and are in no shard.
    pub(crate) ingest_nodes: Vec<IngestNode>,
    pub(crate) kafka: Kafka,
    /// Ingestion of events.
    pub(crate) events: Events,
    /// Ingestion of persons; `None` without `[persons]`.
    pub(crate) persons: Option<Persons>,
    /// Accepted differences of tables, each `TABLE PART` as the plan prints it.
    pub(crate) unmanaged: BTreeSet<String>,
    pub(crate) topics: TopicsSync,
    pub(crate) daemon: Daemon,
    /// Keys under former names, each with its new name.
    pub(crate) warnings: Vec<Fault>,
}

/// Topic checks of `posthouse run`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopicsSync {
    /// Handling of differences.
    pub(crate) reconcile: Reconcile,
    /// Interval of the checks.
    pub(crate) interval: Duration,
}

/// Handling of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconcile {
    /// No checks.
    Off,
    /// Differences are reported.
    Check,
    /// Differences are fixed, except where a fix deletes data.
    Apply,
}

/// Access of posthouse to every ClickHouse node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClickHouse {
    pub(crate) user: String,
    /// `None` for a user without a password.
    pub(crate) password: Option<Credential>,
    /// Whether the client certificate is the login, instead of a password.
    pub(crate) certificate_login: bool,
    /// For `https` URLs.
    pub(crate) tls: Tls,
    /// A node that does not answer within this time is unreachable.
    pub(crate) timeout: Duration,
    /// The settings profile of the nodes themselves, used by Kafka tables and their views.
    pub(crate) server_profile: String,
}

/// One shard of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shard {
    /// Slots of the shard in the sum of all weights, as in `remote_servers`. A shard with 0 takes
    /// no new rows.
    pub(crate) weight: u32,
    /// At least one node.
    pub(crate) replicas: Vec<Replica>,
}

/// One node of a shard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replica {
    /// Name of the node in posthouse's output; unique.
    pub(crate) name: String,
    /// Its HTTP interface; unique.
    pub(crate) url: Url,
    /// Its native interface as in `remote_servers`; unique.
    pub(crate) address: HostPort,
    /// Always with [`NodeRole::Data`].
    pub(crate) roles: Vec<NodeRole>,
    /// Paths for functions, if this machine holds the node's disk.
    pub(crate) files: Option<NodeFiles>,
}

/// A node that stores no events, outside of the shards of `remote_servers`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IngestNode {
    /// Unique among all nodes, as the URL.
    pub(crate) name: String,
    pub(crate) url: Url,
    pub(crate) files: Option<NodeFiles>,
}

/// The work of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeRole {
    /// Stores a shard's rows, and a copy of persons.
    Data,
    /// Reads events from Kafka.
    Ingest,
}

/// Paths of a node's files on this machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeFiles {
    /// The node's `user_scripts_path`.
    pub(crate) user_scripts_path: PathBuf,
    /// The file that `user_defined_executable_functions_config` names.
    pub(crate) functions_config_file: PathBuf,
}

/// Ingestion of events from their topic into `sharded_events`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Events {
    pub(crate) topic: String,
    pub(crate) group: String,
    /// The reader of the topic into the tables.
    pub(crate) consumer: Consumer,
    /// Storage of the offsets.
    pub(crate) offsets: OffsetStorage,
    /// Keeper path of the offsets, with `{database}` replaced.
    /// Unused with [`OffsetStorage::Group`].
    pub(crate) keeper_path: String,
    /// Consumers per node, each a thread.
    pub(crate) consumers: u32,
    /// Maximum number of messages in a block; see [`DEFAULT_BATCH_ROWS`].
    pub(crate) batch_rows: u32,
    /// Longest time for a block to fill; see [`DEFAULT_POLL_TIMEOUT`].
    pub(crate) poll_timeout: Duration,
    /// Number of a shard's last blocks that are remembered, so that a replayed block is dropped.
    pub(crate) deduplication_window: u32,
    /// Whether views of events carry `optimize_skip_unused_shards = 1`, which a query can't turn
    /// off.
    pub(crate) views_skip_unused_shards: bool,
    pub(crate) profile: EventProfile,
    /// The columns of the profile, the key of persons, then those of the config.
    pub(crate) columns: Vec<EventColumn>,
}

/// The reader of a topic into the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumer {
    /// posthouse's own Kafka table and views.
    Own,
    /// Another program or another schema; posthouse creates no Kafka table and no view.
    None,
}

/// Storage of the Kafka engine's offsets, and the delivery guarantee that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetStorage {
    /// In Keeper, with the size of the block in flight: exactly once.
    Keeper,
    /// In the consumer group: at least once, because a crash can repeat a block.
    Group,
}

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address; an IPv6 address has no brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl HostPort {
    /// Whether the address is of this machine alone.
    pub(crate) fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        ip.map_or(self.host == "localhost", |ip| ip.to_canonical().is_loopback())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Reason why no [`Config`] was read; every variant exits with code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("can't read the config file {path}: give its place with --config or POSTHOUSE_CONFIG")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is readable but invalid; lists every fault in the order of lines.
    #[error("{}", report(.path.as_deref(), .faults))]
    Faulty {
        /// `None` for a text without a file.
        path: Option<PathBuf>,
        /// At least one fault.
        faults: Vec<Fault>,
    },
}

fn file_name(path: Option<&Path>) -> String {
    path.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string())
}

fn heading(path: Option<&Path>, faults: &[Fault]) -> String {
    let plural = if faults.len() == 1 { "fault" } else { "faults" };
    format!("{} has {} {plural}", file_name(path), faults.len())
}

/// Formats a heading and one line per fault, for logs and JSON. [`quote`] is for people.
pub(crate) fn report(path: Option<&Path>, faults: &[Fault]) -> String {
    let mut report = heading(path, faults);
    for fault in faults {
        report.push_str(&format!("\n  {fault}"));
    }
    report
}

/// The column with an event's person at the time of ingestion.
const EVENT_PERSON: (&str, &str) = ("person_id", "UUID");

impl Config {
    /// Whether events store the person that they had at ingestion, so that later changes are kept
    /// in `person_distinct_id_overrides`.
    pub(crate) fn keeps_overrides(&self) -> bool {
        let is_person = |column: &EventColumn| {
            (column.name.as_str(), column.sql_type.as_str()) == EVENT_PERSON && column.is_written()
        };
        self.persons.is_some() && self.events.columns.iter().any(is_person)
    }

    /// Whether events store the key of their distinct id in the person index.
    pub(crate) fn has_person_key(&self) -> bool {
        self.events.columns.contains(&person_key())
    }

    /// Whether views find the person of an event by the functions of the person index.
    pub(crate) fn looks_up_persons(&self) -> bool {
        self.persons.as_ref().is_some_and(|persons| persons.lookup == PersonLookup::Function)
    }

    /// The name of a view of the distinct ids, for queries that use the other name of their table.
    pub(crate) fn distinct_id_view(&self) -> Option<&'static str> {
        let table = self.persons.as_ref()?.distinct_id_table;
        let is_wanted = self.keeps_overrides() || table != DISTINCT_ID_TABLES[0];
        DISTINCT_ID_TABLES.into_iter().find(|name| *name != table).filter(|_| is_wanted)
    }

    /// Whether a replica of any shard reads events.
    pub(crate) fn has_ingesting_replica(&self) -> bool {
        let mut replicas = self.shards.iter().flat_map(|shard| &shard.replicas);
        replicas.any(|replica| replica.roles.contains(&NodeRole::Ingest))
    }

    /// Reads the file at `path`, and the password from [`PASSWORD_VARIABLE`] or the file it names.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::Faulty`] with every fault at once.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        let mut config = Self::parse(&text, base_dir).map_err(|error| match error {
            ConfigError::Faulty { faults, .. } => ConfigError::Faulty { path: Some(path.to_owned()), faults },
            unreadable => unreadable,
        })?;
        if secret::is_writable_by_all(path) {
            let problem = "every user of this machine can write this file, and so choose the servers and programs of \
                posthouse: chmod o-w it";
            config.warnings.push(Fault::of_file(problem));
        }
        Ok(config)
    }

    /// Parses `text`; relative paths in it begin at `base_dir`.
    ///
    /// # Errors
    /// [`ConfigError::Faulty`] with every fault at once.
    pub(crate) fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigError> {
        let read = reader::read_renamed(text, RENAMED, |top| sections::config(top, base_dir));
        let (config, warnings) = read.map_err(|faults| ConfigError::Faulty { path: None, faults })?;
        Ok(Self { warnings, ..config })
    }
}

#[cfg(test)]
mod tests;
