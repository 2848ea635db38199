//! Apache Kafka brokers (KRaft): configuration, formatting, command.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use minijinja::value::Serde;
use minijinja::{Value, context};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataBroker;

use super::java::{QUICK_START, java};
use super::listeners::{EncryptedListener, Listeners};
use super::ports::{self, Port};
use super::server::{Launch, OnEnd, Server, StopBy};
use super::spec::{StackSpec, User};
use super::{process, template};

/// 22 characters of base64. Brokers of one cluster have one id.
const CLUSTER_ID: &str = "cG9zdGhvdXNlLXN0YWNrMQ";
/// Enough for a million small events per topic, small enough for a laptop.
const HEAP_MIB: u32 = 512;
/// The tool that formats a folder needs little.
const FORMAT_HEAP_MIB: u32 = 128;
/// For the tool, which takes a second or two on idle cores.
const FORMAT_LIMIT: Duration = Duration::from_secs(120);
/// Replicas of Kafka's internal topics, if there are as many brokers.
const INTERNAL_REPLICAS: usize = 3;
/// For one probe of a broker.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// One broker. As a [`Server`] it can be killed, stopped and restarted.
#[derive(Debug)]
pub struct Broker {
    server: Server,
    seat: Seat,
    jars: PathBuf,
}

#[derive(Debug)]
struct Seat {
    id: i32,
    port: Port,
    /// The listener with logins, if the stack has users.
    guarded: Option<Port>,
    /// The encrypted listeners, if the stack has them.
    encrypted: Option<Listeners>,
    /// Users with a SCRAM password.
    scram_users: Vec<User>,
    /// Broker 1 is the controller too.
    controller: Option<Port>,
    dir: PathBuf,
}

impl Broker {
    /// Writes the configuration of all brokers, without a start.
    pub(crate) fn prepare_all(spec: &StackSpec, jars: &Path, scratch: &Path) -> anyhow::Result<Vec<Self>> {
        let logins: Vec<String> =
            spec.users.iter().map(|user| format!("user_{}=\"{}\"", user.name, user.password)).collect();
        let controller = ports::reserve()?;
        let controller_port = controller.number();
        let mut controller = Some(controller);
        (1..)
            .take(spec.brokers)
            .map(|id| {
                let (port, dir) = (ports::reserve()?, scratch.join(format!("kafka{id}")));
                let guarded = if logins.is_empty() { None } else { Some(ports::reserve()?) };
                let encrypted = spec.certificates.as_ref().map(|_| Listeners::reserve()).transpose()?;
                let scram_users = if encrypted.is_some() { spec.users.clone() } else { Vec::new() };
                let seat =
                    Seat { id, port, guarded, encrypted, scram_users, controller: controller.take(), dir };
                fs::create_dir_all(&seat.dir)?;
                let encrypted = match (&seat.encrypted, &spec.certificates) {
                    (Some(listeners), Some(certificates)) => listeners.values(certificates, &spec.users)?,
                    _ => Vec::new(),
                };
                let values = context! {
                    id,
                    controller => seat.controller.is_some(),
                    controller_port,
                    port => seat.port.number(),
                    guarded_port => seat.guarded.as_ref().map(Port::number),
                    logins => logins.join(" "),
                    encrypted => Value::from(Serde(encrypted)),
                    data => seat.dir.join("data").to_str().context("the scratch folder's path is not UTF-8")?,
                    internal_replicas => spec.brokers.min(INTERNAL_REPLICAS),
                };
                template::write(
                    &seat.config(),
                    include_str!("../../fixtures/stack/server.properties"),
                    values,
                )?;
                Ok(Self { server: Server::new(launch(&seat, jars)), seat, jars: jars.to_owned() })
            })
            .collect()
    }

    /// Formats the data folder on the first start, and starts the broker.
    ///
    /// # Errors
    /// As [`Server::start`]. If formatting fails, with the tool's output.
    pub fn start(&self) -> anyhow::Result<()> {
        if !self.seat.dir.join("data/meta.properties").exists() {
            self.format()?;
        }
        self.server.start()
    }

    fn format(&self) -> anyhow::Result<()> {
        let mut tool = java(&self.jars, FORMAT_HEAP_MIB);
        tool.arg(QUICK_START)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(self.seat.config());
        if self.seat.controller.is_some() {
            tool.arg("--standalone");
        }
        for User { name, password } in &self.seat.scram_users {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                tool.arg("--add-scram").arg(format!("{mechanism}=[name={name},password={password}]"));
            }
        }
        process::run(tool, &self.seat.dir.join("format.log"), FORMAT_LIMIT, || ())
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.seat.port.number())
    }

    /// `host:port` of the listener with logins, if the stack has users.
    pub fn guarded_address(&self) -> Option<String> {
        Some(format!("127.0.0.1:{}", self.seat.guarded.as_ref()?.number()))
    }

    /// `localhost:port` of an encrypted listener, if the stack has them.
    pub fn encrypted_address(&self, listener: EncryptedListener) -> Option<String> {
        Some(format!("localhost:{}", self.seat.encrypted.as_ref()?.port(listener)?))
    }

    /// Its folder, with server.properties, data and log.
    pub fn dir(&self) -> &Path {
        &self.seat.dir
    }
}

impl Deref for Broker {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Seat {
    fn config(&self) -> PathBuf {
        self.dir.join("server.properties")
    }
}

fn launch(seat: &Seat, jars: &Path) -> Launch {
    let (id, port) = (seat.id, seat.port.number());
    let (dir, config, jars) = (seat.dir.clone(), seat.config(), jars.to_owned());
    Launch {
        name: format!("kafka{id}"),
        output: seat.dir.join("kafka.log"),
        logs: Vec::new(),
        command: Box::new(move || {
            let mut command = java(&jars, HEAP_MIB);
            command.arg("kafka.Kafka").arg(&config).current_dir(&dir);
            command
        }),
        probe: Box::new(move || probe(id, port)),
        stop_by: StopBy::Terminate,
        on_end: OnEnd::Report,
    }
}

/// The broker must list itself. Before that it is fenced, and clients get no partition from it.
fn probe(id: i32, port: u16) -> anyhow::Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot connect to 127.0.0.1:{port}"))?;
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", format!("127.0.0.1:{port}")).create()?;
    let metadata = client.fetch_metadata(None, PROBE_LIMIT)?;
    let brokers = metadata.brokers().iter().map(MetadataBroker::id).collect::<Vec<_>>();
    ensure!(brokers.contains(&id), "broker {id} is not among {brokers:?} yet");
    Ok(())
}
