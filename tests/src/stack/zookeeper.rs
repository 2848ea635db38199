//! The Keeper of the stack: one Apache ZooKeeper.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use minijinja::context;

use super::java::{QUICK_START, java};
use super::ports::{self, Port};
use super::server::{Launch, OnEnd, Server, StopBy};
use super::template;

/// Sessions last 2 to 20 ticks: 1 to 10 seconds.
const TICK: Duration = Duration::from_millis(500);
/// Offsets of a few topics and the metadata of a few tables.
const HEAP_MIB: u32 = 256;
/// For one probe of the server.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// The Keeper. As a [`Server`] it can be killed, stopped and restarted.
#[derive(Debug)]
pub struct Keeper {
    server: Server,
    port: Port,
}

impl Keeper {
    /// Writes its configuration, without a start.
    pub(crate) fn prepare(jars: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let (port, dir) = (ports::reserve()?, scratch.join("zookeeper"));
        fs::create_dir_all(&dir)?;
        let config = dir.join("zoo.cfg");
        let values = context! {
            tick_ms => TICK.as_millis(),
            port => port.number(),
            data => dir.join("data").to_str().context("the scratch folder's path is not UTF-8")?,
        };
        template::write(&config, include_str!("../../fixtures/stack/zoo.cfg"), values)?;
        let (jars, number) = (jars.to_owned(), port.number());
        let server = Server::new(Launch {
            name: "zookeeper".into(),
            output: dir.join("zookeeper.log"),
            logs: Vec::new(),
            command: Box::new(move || {
                let mut command = java(&jars, HEAP_MIB);
                command
                    .arg(QUICK_START)
                    .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                    .arg(&config)
                    .current_dir(&dir);
                command
            }),
            probe: Box::new(move || probe(number)),
            stop_by: StopBy::Terminate,
            on_end: OnEnd::Report,
        });
        Ok(Self { server, port })
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }
}

impl Deref for Keeper {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// `srvr` has the mode only when the server serves requests. `ruok` answers earlier.
fn probe(port: u16) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PROBE_LIMIT)?;
    stream.set_read_timeout(Some(PROBE_LIMIT))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("Mode: "), "srvr gave {answer:?}");
    Ok(())
}
