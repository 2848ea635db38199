//! Sections of `posthouse.toml`, with the rules across several keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::consumer::consumer;
use super::credentials::{CredentialKeys, KEY_PASSWORD_VARIABLE};
use super::encryption;
use super::event_columns;
use super::kafka::kafka;
use super::persons::persons;
use super::reader::ConfigTable;
use super::{
    ClickHouse, Config, Consumer, DEFAULT_BATCH_ROWS, DEFAULT_CLUSTER, DEFAULT_CONSUMERS, DEFAULT_DATABASE,
    DEFAULT_DEDUPLICATION_WINDOW, DEFAULT_GROUP, DEFAULT_KEEPER_PATH, DEFAULT_OFFSETS, DEFAULT_POLL_TIMEOUT,
    DEFAULT_RECONCILE, DEFAULT_REPLICATED, DEFAULT_ROLES, DEFAULT_SERVER_PROFILE, DEFAULT_TIMEOUT,
    DEFAULT_TOPIC, DEFAULT_TOPICS_INTERVAL, DEFAULT_USER, DEFAULT_WEIGHT, Daemon, Events, IngestNode,
    NodeFiles, NodeRole, OffsetStorage, PASSWORD_VARIABLE, Reconcile, Replica, Shard, Tls, TopicsSync, rules,
};

/// A check less than once a day would be as good as none.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(86_400);
/// A node that is silent for ten minutes is down, not slow.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// ClickHouse keeps one slot in memory for each unit of weight.
const MAX_WEIGHT: u32 = 10_000;
/// A load that needs more consumers needs more nodes, because each consumer is a thread with its
/// own buffers.
const MAX_CONSUMERS: u32 = 64;
/// A block is built in memory: a million events of a kilobyte are a gigabyte.
const MAX_BATCH_ROWS: u32 = 1_000_000;
/// Beyond a minute, a consumer is near the limits at which the group removes it.
const MAX_POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// Each remembered block is a node in Keeper, or a line of a log that is read at start.
const MAX_WINDOW: u32 = 1_000_000;

const ROLES: &[(&str, NodeRole)] = &[("data", NodeRole::Data), ("ingest", NodeRole::Ingest)];
const OFFSETS: &[(&str, OffsetStorage)] =
    &[("keeper", OffsetStorage::Keeper), ("group", OffsetStorage::Group)];

pub(super) fn config(top: &mut ConfigTable<'_>, base: &Path) -> Option<Config> {
    let database = top.or("database", DEFAULT_DATABASE, rules::identifier);
    let cluster = top.or("cluster", DEFAULT_CLUSTER, rules::identifier);
    let replicated = top.or("replicated", DEFAULT_REPLICATED, rules::boolean);
    let clickhouse = top.section("clickhouse", |table| clickhouse(table, base));
    let mut seen = TakenNames::default();
    let shards = shards(top, replicated, base, &mut seen);
    let ingest_nodes = top.list("ingest_nodes", |table| ingest_node(table, base, &mut seen));
    let kafka = top.section("kafka", |table| kafka(table, base));
    let events = top.section("events", |table| events(table, &database));
    let persons = match top.holds("persons") {
        true => Some(top.section("persons", |table| persons(table, base, events.profile))?),
        false => None,
    };
    let unmanaged = top.section("schema", unmanaged);
    let topics = top.section("topics", topics);
    let daemon = top.section("daemon", |table| Daemon::read(table, base));
    let config = Config {
        shards: shards?,
        ingest_nodes: ingest_nodes.into_iter().collect::<Option<_>>()?,
        kafka: kafka?,
        database,
        cluster,
        replicated,
        clickhouse,
        events,
        persons,
        unmanaged,
        topics,
        daemon,
        warnings: Vec::new(),
    };
    encryption::check(top, &config);
    let has_reader = config.has_ingesting_replica() || !config.ingest_nodes.is_empty();
    if config.events.consumer == Consumer::Own && !has_reader {
        let problem = "no node reads events: give a replica the role \"ingest\", add [[ingest_nodes]], or set \
            events.consumer = \"none\"";
        top.fault("shards", problem);
    }
    Some(config)
}

fn clickhouse(table: &mut ConfigTable<'_>, base: &Path) -> ClickHouse {
    let user = table.or("user", DEFAULT_USER, rules::literal);
    let timeout = rules::duration(Duration::from_secs(1)..=MAX_TIMEOUT);
    let timeout = table.or("timeout", DEFAULT_TIMEOUT, timeout);
    let password = CredentialKeys::password(PASSWORD_VARIABLE).read(table, base);
    let tls = table.section("tls", |table| Tls::read(table, base, KEY_PASSWORD_VARIABLE));
    let server_profile = table.or("server_profile", DEFAULT_SERVER_PROFILE, rules::literal);
    let certificate_login = table.or("certificate_login", false, rules::boolean);
    ClickHouse { user, password, certificate_login, tls, timeout, server_profile }
}

/// Values that must be unique in the cluster, each with the first replica that has it.
#[derive(Default)]
struct TakenNames {
    names: BTreeMap<String, String>,
    urls: BTreeMap<String, String>,
    addresses: BTreeMap<String, String>,
}

fn shards(
    top: &mut ConfigTable<'_>,
    replicated: bool,
    base: &Path,
    seen: &mut TakenNames,
) -> Option<Vec<Shard>> {
    let shards = top.list("shards", |table| shard(table, replicated, base, seen));
    if shards.is_empty() {
        top.missing("shards", "[[shards]] with [[shards.replicas]] below it");
    }
    let shards: Vec<Shard> = shards.into_iter().collect::<Option<_>>()?;
    if !shards.is_empty() && shards.iter().all(|shard| shard.weight == 0) {
        top.fault("shards", "no shard takes rows, all weights are 0: give one of them a weight above 0");
    }
    Some(shards)
}

fn shard(table: &mut ConfigTable<'_>, replicated: bool, base: &Path, seen: &mut TakenNames) -> Option<Shard> {
    let weight = table.or("weight", DEFAULT_WEIGHT, rules::integer(0..=MAX_WEIGHT));
    let replicas = table.list("replicas", |table| replica(table, base, seen));
    if replicas.is_empty() {
        table.missing("replicas", "[[shards.replicas]] with name, url and address");
    }
    if !replicated && replicas.len() > 1 {
        table.fault(
            "replicas",
            format!(
                "{} replicas, but tables are not replicated: set replicated = true, or keep one",
                replicas.len()
            ),
        );
    }
    Some(Shard { weight, replicas: replicas.into_iter().collect::<Option<_>>()? })
}

fn replica(table: &mut ConfigTable<'_>, base: &Path, seen: &mut TakenNames) -> Option<Replica> {
    let name = table.required("name", r#""ch1""#, rules::node_name);
    let url = table.required("url", r#""http://127.0.0.1:8123""#, rules::http_url);
    let address = table.required("address", r#""127.0.0.1:9000""#, rules::host_port);
    table.unique(&mut seen.names, "name", name.as_ref());
    table.unique(&mut seen.urls, "url", url.as_ref());
    table.unique(&mut seen.addresses, "address", address.as_ref());
    let roles = table.or("roles", DEFAULT_ROLES, rules::list_of(rules::one_of(ROLES)));
    if !roles.contains(&NodeRole::Data) {
        let problem = "a replica of a shard stores data: add \"data\", or list a node that only ingests under \
            [[ingest_nodes]] and outside of remote_servers";
        table.fault("roles", problem);
    }
    let files = files(table, base);
    Some(Replica { name: name?, url: url?, address: address?, roles, files })
}

fn ingest_node(table: &mut ConfigTable<'_>, base: &Path, seen: &mut TakenNames) -> Option<IngestNode> {
    let name = table.required("name", r#""in1""#, rules::node_name);
    let url = table.required("url", r#""http://127.0.0.1:8123""#, rules::http_url);
    table.unique(&mut seen.names, "name", name.as_ref());
    table.unique(&mut seen.urls, "url", url.as_ref());
    let files = files(table, base);
    Some(IngestNode { name: name?, url: url?, files })
}

/// Both paths or neither, because a function's program is useless without the file that
/// declares it.
fn files(table: &mut ConfigTable<'_>, base: &Path) -> Option<NodeFiles> {
    let scripts = table.optional("user_scripts_path", rules::path);
    let functions = table.optional("functions_config_file", rules::path);
    match (scripts, functions) {
        (Some(scripts), Some(functions)) => Some(NodeFiles {
            user_scripts_path: base.join(scripts),
            functions_config_file: base.join(functions),
        }),
        (Some(_), None) => {
            let problem = "give functions_config_file too, the file of declarations, or leave both out";
            table.fault("user_scripts_path", problem);
            None
        }
        (None, Some(_)) => {
            let problem = "give user_scripts_path too, the folder of programs, or leave both out";
            table.fault("functions_config_file", problem);
            None
        }
        (None, None) => None,
    }
}

fn events(table: &mut ConfigTable<'_>, database: &str) -> Events {
    let keeper_path = table.or("keeper_path", DEFAULT_KEEPER_PATH, rules::literal);
    if !keeper_path.starts_with('/') {
        table.fault("keeper_path", format!("begin it with a slash, as {DEFAULT_KEEPER_PATH} does"));
    }
    let poll_timeout = rules::duration(Duration::from_millis(1)..=MAX_POLL_TIMEOUT);
    let (profile, columns) = event_columns::read(table);
    Events {
        topic: table.or("topic", DEFAULT_TOPIC, rules::topic_name),
        group: table.or("group", DEFAULT_GROUP, rules::literal),
        consumer: consumer(table),
        offsets: table.or("offsets", DEFAULT_OFFSETS, rules::one_of(OFFSETS)),
        keeper_path: keeper_path.replace("{database}", database),
        consumers: table.or("consumers", DEFAULT_CONSUMERS, rules::integer(1..=MAX_CONSUMERS)),
        batch_rows: table.or("batch_rows", DEFAULT_BATCH_ROWS, rules::integer(1..=MAX_BATCH_ROWS)),
        poll_timeout: table.or("poll_timeout", DEFAULT_POLL_TIMEOUT, poll_timeout),
        deduplication_window: table.or(
            "deduplication_window",
            DEFAULT_DEDUPLICATION_WINDOW,
            rules::integer(1..=MAX_WINDOW),
        ),
        views_skip_unused_shards: table.or("views_skip_unused_shards", false, rules::boolean),
        profile,
        columns,
    }
}

fn unmanaged(schema: &mut ConfigTable<'_>) -> BTreeSet<String> {
    let parts = schema.optional("unmanaged", rules::list_of(rules::text));
    parts.unwrap_or_default().into_iter().collect()
}

const RECONCILE: &[(&str, Reconcile)] =
    &[("off", Reconcile::Off), ("check", Reconcile::Check), ("apply", Reconcile::Apply)];

fn topics(table: &mut ConfigTable<'_>) -> TopicsSync {
    let interval = rules::duration(Duration::from_secs(1)..=MAX_CHECK_INTERVAL);
    TopicsSync {
        reconcile: table.or("reconcile", DEFAULT_RECONCILE, rules::one_of(RECONCILE)),
        interval: table.or("interval", DEFAULT_TOPICS_INTERVAL, interval),
    }
}
