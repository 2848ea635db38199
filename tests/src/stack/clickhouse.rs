//! ClickHouse nodes: ports, folders, configuration and command.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use minijinja::context;
use serde::Deserialize;

use super::engine::Engine;
use super::ports::{self, Port};
use super::server::{Launch, OnEnd, Server, StopBy};
use super::spec::{NodeOptions, StackSpec};
use super::{http, template};

/// The name of the cluster in `remote_servers`, and the default name of the database.
pub const CLUSTER: &str = "posthog";

/// How long Keeper keeps a dead node's session and its locks on Kafka partitions: the longest that
/// ZooKeeper grants at its tick. Under a shorter one a busy machine's pause would look like a
/// death.
const KEEPER_SESSION: Duration = Duration::from_secs(10);
/// The shortest that a broker grants by default (`group.min.session.timeout.ms`).
const KAFKA_SESSION: Duration = Duration::from_secs(6);
/// The share of the machine's memory for all nodes together.
const MEMORY_SHARE: f64 = 0.8;
/// For one statement of the harness. Tests that move many rows use their own client.
const QUERY_LIMIT: Duration = Duration::from_secs(30);
/// For one probe of a node.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Opens both listeners, waits for the end of standard input, and shuts down in order.
const LISTEN: &str = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; \
    SELECT count() FROM file('-', LineAsString) FORMAT Null";

/// One ClickHouse node. As a [`Server`] it can be killed, stopped and restarted.
#[derive(Debug)]
pub struct Node {
    server: Server,
    seat: Seat,
}

/// A node's position and ports in the cluster. They are fixed before any start, because each node's
/// config names all others.
#[derive(Debug)]
pub(crate) struct Seat {
    name: String,
    shard: usize,
    replica: usize,
    weight: u32,
    tcp: Port,
    http: Port,
    interserver: Port,
    dir: PathBuf,
}

impl Seat {
    /// The seats of the whole cluster, shard by shard.
    pub(crate) fn all(spec: &StackSpec, scratch: &Path) -> anyhow::Result<Vec<Self>> {
        let places = spec.shards.iter().zip(1..).flat_map(|(shard, number)| {
            (1..=shard.replicas).map(move |replica| (number, replica, shard.weight))
        });
        places
            .zip(1..)
            .map(|((shard, replica, weight), number)| {
                let name = format!("ch{number}");
                let dir = scratch.join(&name);
                let (tcp, http, interserver) = (ports::reserve()?, ports::reserve()?, ports::reserve()?);
                Ok(Self { name, shard, replica, weight, tcp, http, interserver, dir })
            })
            .collect()
    }
}

impl Node {
    /// Writes the folders and files of one seat, without a start.
    pub(crate) fn prepare(
        engine: &Engine,
        options: &NodeOptions,
        cluster: &minijinja::Value,
        keeper_port: u16,
        seat: Seat,
    ) -> anyhow::Result<Self> {
        for folder in ["data", "functions", "log", "user_files", "user_scripts"] {
            fs::create_dir_all(seat.dir.join(folder))?;
        }
        write_config(engine, options, cluster, keeper_port, &seat)?;
        let (http, tcp) = (seat.http.number(), seat.tcp.number());
        let stop_by = match engine {
            Engine::Server { .. } => StopBy::Terminate,
            // SIGTERM would end it at once, with its Keeper session open and its Kafka partitions
            // locked.
            Engine::Library { .. } => StopBy::EndOfInput,
        };
        let (engine, options, dir) = (engine.clone(), options.clone(), seat.dir.clone());
        let server = Server::new(Launch {
            name: seat.name.clone(),
            output: seat.dir.join("log/output.log"),
            logs: vec![seat.dir.join("log/clickhouse.err.log"), seat.dir.join("log/clickhouse.log")],
            command: Box::new(move || command(&engine, &options, &dir)),
            probe: Box::new(move || probe(http, tcp)),
            stop_by,
            on_end: OnEnd::Restart,
        });
        Ok(Self { server, seat })
    }

    /// Its shard, from 1.
    pub fn shard(&self) -> usize {
        self.seat.shard
    }

    /// Its replica within the shard, from 1.
    pub fn replica(&self) -> usize {
        self.seat.replica
    }

    pub fn weight(&self) -> u32 {
        self.seat.weight
    }

    /// The HTTP interface, `http://127.0.0.1:PORT`.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.seat.http.number())
    }

    /// `host:port` of the native protocol, as in `remote_servers`.
    pub fn native_address(&self) -> String {
        format!("127.0.0.1:{}", self.seat.tcp.number())
    }

    /// Its folder, with config.xml, users.xml, data and log.
    pub fn dir(&self) -> &Path {
        &self.seat.dir
    }

    /// The folder of executables that functions may run.
    pub fn user_scripts(&self) -> PathBuf {
        self.seat.dir.join("user_scripts")
    }

    /// The file for posthouse's functions. It does not exist at first. `SYSTEM RELOAD FUNCTIONS`
    /// rereads it.
    pub fn functions_xml(&self) -> PathBuf {
        self.seat.dir.join("functions/posthouse_functions.xml")
    }

    /// Runs one statement as `default` and returns the unparsed response, tab-separated unless the
    /// statement has another format.
    ///
    /// # Errors
    /// If the node refuses it, with the node's message, or if the connection fails.
    pub fn query(&self, sql: &str) -> anyhow::Result<String> {
        http::query(self.seat.http.number(), sql, QUERY_LIMIT)
            .with_context(|| format!("{} on: {sql}", self.name()))
    }

    /// Like [`Node::query`], for statements that take up to `limit`, with the query's peak memory.
    ///
    /// # Errors
    /// As [`Node::query`], or if the node reports no memory.
    pub fn measure(&self, sql: &str, limit: Duration) -> anyhow::Result<MeasuredAnswer> {
        #[derive(Deserialize)]
        struct Summary {
            memory_usage: String,
        }

        let on = || format!("{} on: {sql}", self.name());
        let (text, summary) =
            http::query_with_summary(self.seat.http.number(), sql, limit).with_context(on)?;
        let summary = summary.with_context(|| format!("no summary from {}", on()))?;
        let summary: Summary = serde_json::from_str(&summary).with_context(on)?;
        Ok(MeasuredAnswer { text, peak_bytes: summary.memory_usage.parse().with_context(on)? })
    }
}

/// An answer, and the peak memory of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredAnswer {
    /// As [`Node::query`] returns it.
    pub text: String,
    pub peak_bytes: u64,
}

impl Deref for Node {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// `remote_servers`, the same on every node.
pub(crate) fn cluster(spec: &StackSpec, seats: &[Seat]) -> minijinja::Value {
    let shards = spec.shards.iter().zip(1..).map(|(shard, number)| {
        let replicas = seats.iter().filter(|seat| seat.shard == number);
        let replicas = replicas.map(|seat| context! { tcp_port => seat.tcp.number() }).collect::<Vec<_>>();
        context! { weight => shard.weight, replicas }
    });
    context! {
        name => CLUSTER,
        shards => shards.collect::<Vec<_>>(),
        memory_ratio => MEMORY_SHARE / seats.len() as f64,
    }
}

fn write_config(
    engine: &Engine,
    options: &NodeOptions,
    cluster: &minijinja::Value,
    keeper_port: u16,
    seat: &Seat,
) -> anyhow::Result<()> {
    let config = context! {
        dir => seat.dir.to_str().context("the scratch folder's path is not UTF-8: set POSTHOUSE_SCRATCH")?,
        tcp_port => seat.tcp.number(),
        http_port => seat.http.number(),
        interserver_port => seat.interserver.number(),
        server => matches!(engine, Engine::Server { .. }),
        cluster,
        shard => seat.shard,
        name => &seat.name,
        keeper_port,
        keeper_session_ms => KEEPER_SESSION.as_millis(),
        kafka_session_ms => KAFKA_SESSION.as_millis(),
        fetch_bytes => options.fetch_bytes,
        merge_tree => &options.merge_tree,
        extra => &options.xml,
        extra_kafka => &options.kafka_xml,
        extra_remote_servers => &options.remote_servers_xml,
    };
    template::write(
        &seat.dir.join("config.xml"),
        include_str!("../../fixtures/stack/clickhouse.xml"),
        config,
    )?;
    let users = context! {
        settings => &options.settings, extra_users => &options.users_xml, extra_profiles => &options.profiles_xml
    };
    template::write(&seat.dir.join("users.xml"), include_str!("../../fixtures/stack/users.xml"), users)
}

fn command(engine: &Engine, options: &NodeOptions, dir: &Path) -> Command {
    let config = dir.join("config.xml");
    let mut command = match engine {
        Engine::Server { path } => {
            let mut command = Command::new(path);
            command.arg("server").arg(format!("--config-file={}", config.display()));
            command
        }
        Engine::Library { launcher, library } => {
            let mut command = Command::new(launcher);
            command.env("POSTHOUSE_LIBCHDB", library);
            command.arg("--config-file").arg(config).arg("--path").arg(dir.join("data"));
            // `clickhouse local` does not read the config's level.
            command.args(["--log-level", "information"]);
            // Background work runs with the command line's settings, HTTP and TCP sessions with the
            // profile's.
            for (name, value) in &options.settings {
                command.arg(format!("--{name}")).arg(value);
            }
            command.arg("--query").arg(LISTEN);
            command
        }
    };
    command.current_dir(dir).env("TZ", "UTC");
    command
}

/// Both interfaces must answer, because posthouse uses HTTP, and the other nodes use the native
/// protocol.
fn probe(http: u16, tcp: u16) -> anyhow::Result<()> {
    let answer = http::query(http, "SELECT 1", PROBE_LIMIT)?;
    ensure!(answer == "1\n", "SELECT 1 gave {answer:?}");
    TcpStream::connect((Ipv4Addr::LOCALHOST, tcp))
        .with_context(|| format!("cannot connect to 127.0.0.1:{tcp}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_names_all_nodes_and_its_own_seat() {
        let scratch = tempfile::tempdir().unwrap();
        let spec = StackSpec::default().replicas(2);
        let seats = Seat::all(&spec, scratch.path()).unwrap();
        let cluster = cluster(&spec, &seats);
        let options = NodeOptions::default().merge_tree("max_bytes_to_merge_at_max_space_in_pool", "1");
        let engine = Engine::Server { path: "/usr/bin/clickhouse".into() };
        let ports = seats.iter().map(|seat| seat.tcp.number()).collect::<Vec<_>>();
        assert_eq!(
            seats.iter().map(|s| (s.shard, s.replica)).collect::<Vec<_>>(),
            [(1, 1), (1, 2), (2, 1), (2, 2)]
        );
        for seat in seats {
            let (dir, name, shard) = (seat.dir.clone(), seat.name.clone(), seat.shard);
            Node::prepare(&engine, &options, &cluster, 2181, seat).unwrap();
            let config = fs::read_to_string(dir.join("config.xml")).unwrap();
            for port in &ports {
                assert!(config.contains(&format!("<port>{port}</port>")), "{config}");
            }
            for piece in [
                "<weight>3</weight>",
                "<internal_replication>true</internal_replication>",
                "<max_bytes_to_merge_at_max_space_in_pool>1</max_bytes_to_merge_at_max_space_in_pool>",
                &format!("<shard>{shard}</shard>"),
                &format!("<replica>{name}</replica>"),
            ] {
                assert!(config.contains(piece), "no {piece} in {config}");
            }
            let users = fs::read_to_string(dir.join("users.xml")).unwrap();
            assert!(
                users.contains("<distributed_foreground_insert>1</distributed_foreground_insert>"),
                "{users}"
            );
        }
    }

    #[test]
    fn the_engine_gets_the_profile_on_its_command_line() {
        let engine = Engine::Library { launcher: "/l".into(), library: "/lib.so".into() };
        let options = NodeOptions::default().setting("distributed_foreground_insert", "0");
        let command = command(&engine, &options, Path::new("/n"));
        let arguments = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let at = arguments.iter().position(|a| a == "--distributed_foreground_insert").unwrap();
        assert_eq!(arguments[at + 1], "0");
        assert_eq!(arguments.last().unwrap(), LISTEN);
    }
}
