//! The dev stack: real servers as child processes on free loopback ports.
//!
//! They are ClickHouse, Apache Kafka and Apache ZooKeeper, and PostgreSQL on request.
//!
//! A start checks the machine, downloads packages that the cache lacks, creates a scratch folder,
//! reserves ports and writes configuration. Then it starts all servers and waits until each
//! answers. Dropping the [`Stack`] stops nodes, then brokers, then the Keeper and PostgreSQL, and
//! removes the folder. However the process ends, the kernel kills the servers with it.
//!
//! With or without the stack, tests start an [`S3Server`] in their own process, and a [`Proxy`] to
//! simulate a bad network before any server.

mod broker_certificates;
mod cache;
mod clickhouse;
mod config;
mod engine;
mod hostile;
mod hostile_store;
mod http;
mod java;
mod kafka;
mod listeners;
mod local;
mod machine;
mod nobody;
mod packages;
mod ports;
mod postgres;
mod process;
mod progress;
mod proxy;
mod record;
mod s3;
mod scratch;
mod server;
mod signals;
mod spec;
mod template;
mod tls;
mod wait;
mod zookeeper;

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, anyhow};

use cache::Cache;
use scratch::Scratch;

use crate::secrets;

pub use broker_certificates::{BrokerCertificates, CERTIFIED_USER};
pub use clickhouse::{CLUSTER, MeasuredAnswer, Node};
pub use config::TOPICS_TOML;
pub use engine::{Engine, server_binary};
pub use hostile::{HostileNode, Malice};
pub use hostile_store::{HostileStore, StoreMalice, StoreStage};
pub use kafka::Broker;
pub use listeners::EncryptedListener;
pub use local::LocalEngine;
pub use postgres::{PASSWORD, Postgres, USER};
pub use progress::Progress;
pub use proxy::Proxy;
pub use record::Record;
pub use s3::{ACCESS_KEY, EXPIRED_KEY, PRIVATE_BUCKET, Readers, S3Server, SECRET_KEY};
pub use scratch::{Found, list};
pub use server::Server;
pub use signals::{INTERRUPTED, watch_signals};
pub use spec::{NodeOptions, ShardSpec, StackSpec, User};
pub use tls::{CertificateAuthority, PemPair, TlsTerminator};
pub use wait::{interrupt, wait_until};
pub use zookeeper::Keeper;

/// A running stack. Its servers can be killed, stopped and started one by one, from any thread.
#[derive(Debug)]
pub struct Stack {
    spec: StackSpec,
    engine: Engine,
    nodes: Vec<Node>,
    brokers: Vec<Broker>,
    keeper: Keeper,
    postgres: Option<Postgres>,
    // Last, because the folder is removed after all servers in it have stopped.
    scratch: Scratch,
}

impl Stack {
    /// Starts every server. Returns when all answer.
    ///
    /// # Errors
    /// If the machine lacks a tool, a download fails, or a server does not start (with the end of
    /// its log). Servers that were started are stopped.
    pub fn start(spec: StackSpec, progress: &Progress) -> anyhow::Result<Self> {
        spec.validate()?;
        let Programs { engine, kafka, zookeeper, postgres } = fetch(&spec, progress)?;
        let scratch = Scratch::create()?;
        let keeper = Keeper::prepare(&zookeeper, scratch.path())?;
        let brokers = Broker::prepare_all(&spec, &kafka, scratch.path())?;
        let postgres = postgres.map(|package| Postgres::prepare(&package, scratch.path())).transpose()?;
        let seats = clickhouse::Seat::all(&spec, scratch.path())?;
        let cluster = clickhouse::cluster(&spec, &seats);
        let nodes = seats
            .into_iter()
            .map(|seat| Node::prepare(&engine, &spec.nodes, &cluster, keeper.port(), seat))
            .collect::<anyhow::Result<_>>()?;
        let mut stack = Self { spec, engine, nodes, brokers, keeper, postgres, scratch };
        let started = stack.start_all(progress).and_then(|()| stack.greet_keeper());
        if started.is_err() && !wait::interrupted() {
            stack.scratch.keep();
        }
        started.map(|()| stack)
    }

    /// Starts all at once, because no server needs another one for its start. Brokers retry until
    /// their controller is up.
    fn start_all(&self, progress: &Progress) -> anyhow::Result<()> {
        let start = |server: &Server, start: &dyn Fn() -> anyhow::Result<()>| {
            let step = progress.step(format!("starting {}", server.name()));
            start().inspect(|()| step.done())
        };
        thread::scope(|scope| {
            let mut starts = vec![scope.spawn(|| start(&self.keeper, &|| self.keeper.start()))];
            starts
                .extend(self.brokers.iter().map(|broker| scope.spawn(|| start(broker, &|| broker.start()))));
            starts.extend(
                self.postgres.iter().map(|postgres| scope.spawn(|| start(postgres, &|| postgres.start()))),
            );
            starts.extend(self.nodes.iter().map(|node| scope.spawn(|| start(node, &|| node.start()))));
            starts
                .into_iter()
                .map(|start| start.join().unwrap_or_else(|_| Err(anyhow!("a starting thread panicked"))))
                .fold(Ok(()), Result::and)
        })
    }

    /// Opens a Keeper session on one node after the other. The engine gives every node that is a
    /// library the same id, and two nodes that open their first session at the same time are
    /// refused ("Node exists").
    fn greet_keeper(&self) -> anyhow::Result<()> {
        self.nodes.iter().try_for_each(|node| node.query("SELECT generateSerialID('session')").map(drop))
    }

    /// Stops every server, dependent servers first. Dropping does it too.
    pub fn stop(&self) {
        stop_all(self.nodes.iter().map(|node| &**node));
        // The controller, broker 1, stops last, because the others hand over their partitions
        // through it.
        stop_all(self.brokers.iter().skip(1).map(|broker| &**broker));
        stop_all(self.brokers.iter().take(1).map(|broker| &**broker));
        self.keeper.stop();
        stop_all(self.postgres.iter().map(|postgres| &**postgres));
    }

    pub fn spec(&self) -> &StackSpec {
        &self.spec
    }

    /// The engine of the nodes.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The ClickHouse nodes, shard by shard.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn broker(&self) -> &Broker {
        // A spec without brokers is refused at the start.
        &self.brokers[0]
    }

    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The PostgreSQL server.
    ///
    /// # Errors
    /// If the stack was started without one.
    pub fn postgres(&self) -> anyhow::Result<&Postgres> {
        self.postgres.as_ref().context("this stack has no PostgreSQL: start it with StackSpec::postgres()")
    }

    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop();
        for node in &self.nodes {
            // The logs have the statements of posthouse. A folder that is gone has none.
            let _ = secrets::search_files(&node.dir().join("log"));
        }
    }
}

fn stop_all<'a>(servers: impl Iterator<Item = &'a Server>) {
    thread::scope(|scope| servers.for_each(|server| drop(scope.spawn(|| server.stop()))));
}

/// Paths of the programs.
struct Programs {
    engine: Engine,
    kafka: PathBuf,
    zookeeper: PathBuf,
    postgres: Option<PathBuf>,
}

/// Finds or downloads the programs of a stack.
fn fetch(spec: &StackSpec, progress: &Progress) -> anyhow::Result<Programs> {
    let (binary, cache) = (engine::server_binary()?, Cache::open()?);
    let library = if binary.is_none() { Some((engine::launcher()?, packages::engine()?)) } else { None };
    let (kafka, zookeeper) = (packages::kafka(), packages::zookeeper());
    let postgres = if spec.postgres { Some(packages::postgres()?) } else { None };

    let mut needed = vec![machine::JAVA_RUNTIME];
    let mut from_npm = library.iter().map(|(_, package)| package).chain(&postgres);
    if from_npm.any(|package| !cache.has(package)) {
        needed.extend([machine::NPM, machine::TAR]);
    }
    if !cache.has(&kafka) || !cache.has(&zookeeper) {
        needed.push(machine::MAVEN);
    }
    machine::check(&needed)?;

    let engine = match (binary, library) {
        (Some(path), _) => Engine::Server { path },
        (None, Some((launcher, package))) => {
            Engine::Library { launcher, library: cache.get(&package, progress)?.join("libchdb.so") }
        }
        (None, None) => unreachable!("without a binary there is a library"),
    };
    Ok(Programs {
        engine,
        kafka: cache.get(&kafka, progress)?,
        zookeeper: cache.get(&zookeeper, progress)?,
        postgres: postgres.map(|package| cache.get(&package, progress)).transpose()?,
    })
}
