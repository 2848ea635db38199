//! Posthouse with hanging peers: readiness, logs and timely exit.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::{Daemon, free_address};
use posthouse_tests::people::Rules;
use posthouse_tests::site::{Site, binary, run};
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::persons_source::{LIMIT, person_database};
use crate::topics::Broker;

tests! {
    Free names_silent_postgres_and_ends_in_time,
    Free names_silent_kafka_and_ends_in_time,
    Free names_postgres_that_answers_without_end_and_bounds_its_memory,
    Shared ends_in_time_while_a_node_is_silent,
    Free ends_in_time_while_the_topics_file_hangs,
    Free ends_in_time_while_a_request_is_half_sent,
    Shared looks_at_topics_while_hundreds_of_connections_are_idle,
    Free goes_on_when_stderr_is_closed,
    Free goes_on_when_nobody_reads_stderr,
    Free keeps_exit_codes_when_output_is_closed,
    Shared applies_the_whole_schema_when_output_is_closed,
    Own names_the_transaction_that_a_slot_waits_for_and_leaves_no_slot_behind,
}

/// Limit of open files in a test of many connections. The process needs a few dozen.
const MAX_FILES: u64 = 256;

/// A config without servers. Every address is a given one or closed.
struct Lonely {
    folder: TempDir,
    address: String,
    config: PathBuf,
}

impl Lonely {
    /// Checks topics every second in mode `topics`, with an empty topics file.
    fn new(topics: &str, kafka: &str, postgres: Option<&str>) -> anyhow::Result<Self> {
        let (folder, address, closed) = (tempfile::tempdir()?, free_address()?, free_address()?);
        let mut text = format!(
            "[clickhouse]\ntimeout = \"1s\"\n[[shards]]\n[[shards.replicas]]\nname = \"ch1\"\n\
             url = \"http://{closed}\"\naddress = \"{closed}\"\n[kafka]\nbrokers = [\"{kafka}\"]\n\
             [daemon]\nlisten = \"{address}\"\n[topics]\nreconcile = \"{topics}\"\ninterval = \"1s\"\n"
        );
        if let Some(postgres) = postgres {
            text += &format!(
                "[persons.postgres]\naddress = \"{postgres}\"\ndatabase = \"people\"\nuser = \"posthouse\"\n"
            );
        }
        let config = folder.path().join("posthouse.toml");
        fs::write(&config, text)?;
        fs::write(folder.path().join("topics.toml"), "")?;
        Ok(Self { folder, address, config })
    }

    /// A config whose topic checks fail at once, because the file is not TOML.
    fn with_a_broken_topics_file() -> anyhow::Result<Self> {
        let lonely = Self::new("check", &free_address()?, None)?;
        fs::write(lonely.folder.path().join("topics.toml"), "[topics.")?;
        Ok(lonely)
    }

    fn start(&self) -> anyhow::Result<Daemon> {
        Daemon::with(&self.config, self.address.clone())
    }
}

/// A server that accepts connections and stays silent, because its backlog is never accepted.
/// Returned with its address.
fn silent_server() -> anyhow::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

/// A pipe with a closed reader.
fn closed_pipe() -> anyhow::Result<Stdio> {
    let (reader, writer) = pipe()?;
    drop(reader);
    Ok(writer.into())
}

/// The exit code of posthouse with closed stdout and stderr.
fn unheard(config: &PathBuf, arguments: &[&str]) -> anyhow::Result<Option<i32>> {
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null());
    Ok(command.stdout(closed_pipe()?).stderr(closed_pipe()?).status()?.code())
}

fn names_silent_postgres_and_ends_in_time() -> anyhow::Result<()> {
    // GIVEN a PostgreSQL that accepts connections and stays silent
    let (_postgres, address) = silent_server()?;
    let lonely = Lonely::new("off", &free_address()?, Some(&address))?;
    // WHEN posthouse runs THEN it is alive, counts an error, and reports why it is not ready
    let daemon = lonely.start()?;
    daemon.wait("posthouse_persons_errors_total", |errors| errors > 0)?;
    daemon.is_not_ready(&format!("persons: PostgreSQL does not answer at {address}"))?;
    ensure!(
        daemon.metric("posthouse_task_ready{task=\"persons\"}")? == Some(0),
        "{}",
        daemon.get("metrics")?
    );
    ensure!(daemon.get("live")? == "alive\n", "it does not live");
    let health = daemon.get("health")?;
    ensure!(health.starts_with("alive\n") && health.contains("persons: not ready: PostgreSQL"), "{health}");
    // WHEN its terminal hangs up THEN it continues
    kill_process(daemon.pid(), Signal::HUP)?;
    daemon.says("SIGHUP is ignored")?;
    // WHEN it is terminated THEN it exits with code 0
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn names_silent_kafka_and_ends_in_time() -> anyhow::Result<()> {
    // GIVEN a broker that accepts connections and stays silent
    let (_broker, address) = silent_server()?;
    let lonely = Lonely::new("check", &address, None)?;
    // WHEN posthouse runs THEN it counts an error, and reports why it is not ready
    let daemon = lonely.start()?;
    daemon.wait("posthouse_topics_errors_total", |errors| errors > 0)?;
    daemon.is_not_ready(&format!("topics: no kafka broker answers at {address}"))?;
    ensure!(daemon.get("live")? == "alive\n", "it does not live");
    // WHEN it is interrupted THEN it exits with code 0
    ensure!(daemon.end_by(Signal::INT)? == 0, "another exit code");
    Ok(())
}

/// Accepts one connection after the other, as PostgreSQL does. Answers the first statement of each
/// with rows of a megabyte until the client has gone.
fn endless_postgres(server: &TcpListener) -> std::io::Result<()> {
    let row = [b"D\x00\x10\x00\x0a\x00\x01\x00\x10\x00\x00".as_slice(), &[b'x'; 1 << 20]].concat();
    for client in server.incoming() {
        let mut client = client?;
        let mut bytes = [0; 4096];
        // The request for TLS, which is refused, and the startup message.
        _ = client.read(&mut bytes)?;
        client.write_all(b"N")?;
        _ = client.read(&mut bytes)?;
        // AuthenticationOk and ReadyForQuery.
        client.write_all(b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I")?;
        _ = client.read(&mut bytes)?;
        // One column of type text, called a.
        client.write_all(
            b"T\x00\x00\x00\x1a\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00",
        )?;
        while client.write_all(&row).is_ok() {}
    }
    Ok(())
}

fn names_postgres_that_answers_without_end_and_bounds_its_memory() -> anyhow::Result<()> {
    /// The limit for the response to a short statement is 32 MiB.
    const MEMORY_LIMIT_KIB: u64 = 300 << 10;

    // GIVEN a server that answers a statement with endless rows
    let (server, address) = silent_server()?;
    thread::spawn(move || endless_postgres(&server));
    let lonely = Lonely::new("off", &free_address()?, Some(&address))?;
    // WHEN posthouse queries it THEN it stops reading, and reports this
    let daemon = lonely.start()?;
    daemon.is_not_ready(&format!("persons: PostgreSQL at {address} answered with more than 32 MiB"))?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: u64 = peak.context("no peak")?.parse()?;
    ensure!(peak < MEMORY_LIMIT_KIB, "{peak} KiB");
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn ends_in_time_while_a_node_is_silent(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a node that accepts connections and stays silent, for longer than posthouse may take to
    // exit
    let (node, address) = silent_server()?;
    site.apply()?;
    site.set("clickhouse", "timeout", "10m");
    let shards = site.config_mut().get_mut("shards").and_then(|shards| shards.as_array_mut());
    let shard = shards.and_then(|shards| shards.first_mut()).context("no shards")?;
    let replica = shard["replicas"].as_array_mut().and_then(|replicas| replicas.first_mut());
    let replica = replica.and_then(|replica| replica.as_table_mut()).context("no replicas")?;
    replica.insert("url".to_owned(), format!("http://{address}").into());
    // WHEN posthouse sends a request to it
    let daemon = Daemon::start(site, "check")?;
    let asked = node.accept()?;
    // THEN posthouse is not ready yet, and exits when terminated
    daemon.is_not_ready("topics: ")?;
    ensure!(daemon.end()? == 0, "another exit code");
    drop(asked);
    Ok(())
}

fn ends_in_time_while_the_topics_file_hangs() -> anyhow::Result<()> {
    // GIVEN a topics file that can't be read to its end, as on a network file system that hangs
    let lonely = Lonely::new("check", &free_address()?, None)?;
    let file = lonely.folder.path().join("topics.toml");
    fs::remove_file(&file)?;
    ensure!(Command::new("mkfifo").arg(&file).status()?.success(), "no fifo");
    // WHEN posthouse runs THEN it reports this, and exits when terminated
    let daemon = lonely.start()?;
    daemon.is_not_ready("topics: can't read the topics file")?;
    ensure!(daemon.get("live")? == "alive\n", "it does not live");
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn ends_in_time_while_a_request_is_half_sent() -> anyhow::Result<()> {
    // GIVEN a posthouse with half a request, and a request whose body never comes
    let daemon = Lonely::new("off", &free_address()?, None)?.start()?;
    let mut half = TcpStream::connect(&daemon.address)?;
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ")?;
    let mut bodiless = TcpStream::connect(&daemon.address)?;
    bodiless.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")?;
    // THEN the second is refused
    let mut answer = String::new();
    bodiless.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // WHEN posthouse is terminated THEN it exits with code 0
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn looks_at_topics_while_hundreds_of_connections_are_idle(site: &mut Site<'_>) -> anyhow::Result<()> {
    const LOOK: &str = "posthouse_topics_last_success_timestamp_seconds";

    // GIVEN a posthouse that checks topics and may open few files
    site.apply()?;
    let daemon = Daemon::start(site, "check")?;
    daemon.wait(LOOK, |_| true)?;
    let limit = Rlimit { current: Some(MAX_FILES), maximum: Some(MAX_FILES) };
    prlimit(Some(daemon.pid()), Resource::Nofile, limit)?;
    // WHEN more connections than that are opened and left idle
    let idle = (0..2 * MAX_FILES).map(|_| TcpStream::connect(&daemon.address));
    let idle: Vec<_> = idle.collect::<Result<_, _>>()?;
    // THEN it still answers, and checks
    let before = daemon.metric(LOOK)?.context("no look")?;
    daemon.wait(LOOK, |now| now > before + 1)?;
    daemon.is_ready()?;
    ensure!(daemon.end()? == 0, "another exit code");
    drop(idle);
    Ok(())
}

fn goes_on_when_stderr_is_closed() -> anyhow::Result<()> {
    // GIVEN a posthouse that logs an error every second, to a closed pipe
    let lonely = Lonely::with_a_broken_topics_file()?;
    let daemon = Daemon::logging_to(closed_pipe()?, &lonely.config, lonely.address.clone())?;
    // THEN it continues, and exits with code 0
    daemon.wait("posthouse_topics_errors_total", |errors| errors > 1)?;
    ensure!(daemon.metric("posthouse_task_restarts_total{task=\"topics\"}")? == Some(0), "it was restarted");
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn goes_on_when_nobody_reads_stderr() -> anyhow::Result<()> {
    // GIVEN a full pipe
    let lonely = Lonely::with_a_broken_topics_file()?;
    let (mut reader, mut writer) = pipe()?;
    let flags = fcntl_getfl(&writer)?;
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK)?;
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags)?;
    // WHEN posthouse logs to it THEN it continues
    let daemon = Daemon::logging_to(writer, &lonely.config, lonely.address.clone())?;
    daemon.wait("posthouse_topics_errors_total", |errors| errors > 1)?;
    // WHEN the pipe is read THEN posthouse reports the dropped lines, and resumes logging
    let mut log = Vec::new();
    wait_until("the log to go on", LIMIT, || {
        let mut some = [0; 4096];
        match reader.read(&mut some) {
            Ok(count) => log.extend_from_slice(&some[..count]),
            Err(error) => return ControlFlow::Break(Err(error.into())),
        }
        let text = String::from_utf8_lossy(&log);
        match text.contains(" lines were dropped") && text.contains("ERROR") {
            true => ControlFlow::Break(Ok(())),
            false => ControlFlow::Continue(anyhow!("{}", text.trim_start())),
        }
    })?;
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn keeps_exit_codes_when_output_is_closed() -> anyhow::Result<()> {
    // GIVEN unreachable nodes
    let lonely = Lonely::new("off", &free_address()?, None)?;
    // WHEN commands fail THEN their exit codes are the same as with open output
    ensure!(unheard(&lonely.config, &["schema", "plan"])? == Some(1), "another exit code");
    ensure!(unheard(&lonely.config, &["schema", "render"])? == Some(0), "another exit code");
    File::create(&lonely.config)?;
    ensure!(unheard(&lonely.config, &["schema", "plan"])? == Some(2), "another exit code");
    ensure!(run(&lonely.config, &["schema", "plan"])?.code == 2, "another exit code");
    Ok(())
}

fn applies_the_whole_schema_when_output_is_closed(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN topics, and no tables
    site.must(&["topics", "apply"])?;
    // WHEN the schema is applied with closed output
    let code = unheard(&site.write_config()?, &["schema", "apply"])?;
    // THEN the schema is complete, and the exit code is 0
    ensure!(code == Some(0), "{code:?}");
    site.must(&["schema", "check"])?;
    for command in ["plan", "import"] {
        let code = unheard(&site.write_config()?, &["topics", command])?;
        ensure!(code != Some(101), "topics {command}: {code:?}");
    }
    ensure!(Broker::of(site)?.topic(site.name())?.is_some(), "the topic is gone");
    Ok(())
}

fn names_the_transaction_that_a_slot_waits_for_and_leaves_no_slot_behind() -> anyhow::Result<()> {
    // GIVEN persons, and an open transaction that has written
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    let mut site = Site::new(&stack, "alive_slot")?;
    let person_db = person_database(&mut site, Rules::default())?;
    let mut open = person_db.admin()?;
    open.batch_execute("BEGIN; CREATE TABLE unfinished ()")?;
    let process: i32 = open.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let slots = || -> anyhow::Result<i64> {
        Ok(person_db.admin()?.query_one("SELECT count(*) FROM pg_replication_slots", &[])?.get(0))
    };
    let gone = || {
        wait_until("the slot to be given up", LIMIT, || match slots() {
            Ok(0) => ControlFlow::Break(Ok(())),
            other => ControlFlow::Continue(anyhow!("{other:?}")),
        })
    };
    // WHEN posthouse creates its slot THEN it names the transaction that the slot waits for
    let daemon = Daemon::start(&mut site, "off")?;
    let reason = daemon.is_not_ready("when older transactions end")?;
    ensure!(reason.contains(&format!("process {process}")), "{reason}");
    daemon.says(&format!("process {process}"))?;
    ensure!(slots()? == 1, "the slot is not begun");
    // WHEN it is terminated THEN it exits, and the slot is dropped
    ensure!(daemon.end()? == 0, "another exit code");
    gone()?;
    // WHEN a second one is killed THEN its slot is dropped too
    let daemon = Daemon::start(&mut site, "off")?;
    daemon.is_not_ready("when older transactions end")?;
    drop(daemon);
    gone()?;
    // WHEN the transaction ends THEN a third one gets its slot and is ready
    let daemon = Daemon::start(&mut site, "off")?;
    daemon.is_not_ready("when older transactions end")?;
    open.batch_execute("ROLLBACK")?;
    daemon.wait("posthouse_persons_leader", |leads| leads == 1)?;
    daemon.is_ready()?;
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}
