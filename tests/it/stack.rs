//! The stack's own guarantees: restarts, isolation of two stacks, PostgreSQL's durability.

use std::ops::ControlFlow;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, USER, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::events::PROFILE;
use crate::produce::{LIMIT, consumed};
use crate::seed;

tests! {
    Own a_node_that_dies_is_started_again_and_counted,
    Own two_stacks_do_not_meet,
    Own postgres_keeps_what_was_committed_when_it_is_killed,
}

fn a_node_that_dies_is_started_again_and_counted() -> anyhow::Result<()> {
    // GIVEN a node with data
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::Silent)?;
    let node = &stack.nodes()[0];
    node.query("CREATE TABLE default.kept (n UInt8) ENGINE = MergeTree ORDER BY n")?;
    node.query("INSERT INTO default.kept VALUES (7)")?;
    for deaths in 1..=2 {
        // WHEN it is killed without the harness
        let before = node.pid().context("no process")?;
        let pid = Pid::from_raw(before.try_into()?).context("no process id")?;
        kill_process(pid, Signal::KILL)?;
        // THEN the harness starts another process with the same data, and counts the abort
        wait_until("another process", LIMIT, || match node.pid() {
            Some(pid) if pid != before => ControlFlow::Break(Ok(())),
            pid => ControlFlow::Continue(anyhow!("{pid:?} after {before}")),
        })?;
        // Starts no process. It waits until the harness has an answer from the new one.
        node.start()?;
        ensure!(node.query("SELECT n FROM default.kept")? == "7\n", "the data is gone");
        ensure!(node.aborts() == deaths, "{} deaths are counted, not {deaths}", node.aborts());
    }
    // WHEN the harness kills it THEN it stays down until a start, and that does not count
    node.kill();
    ensure!(node.pid().is_none() && node.query("SELECT 1").is_err(), "it is up");
    node.start()?;
    ensure!(node.query("SELECT n FROM default.kept")? == "7\n" && node.aborts() == 2, "{}", node.aborts());
    Ok(())
}

fn two_stacks_do_not_meet() -> anyhow::Result<()> {
    // GIVEN two stacks, and a site of the same name on each
    let stacks = [1, 2].map(|weight| Stack::start(StackSpec::sharded(&[weight]), &Progress::Silent));
    let [first, second] = stacks;
    let (first, second) = (first?, second?);
    let sites = [Site::new(&first, "twin")?, Site::new(&second, "twin")?];
    sites.iter().try_for_each(Site::apply)?;
    // WHEN different numbers of events are produced for each
    for (site, count) in sites.iter().zip([1_000, 2_000]) {
        let seed = seed("two_stacks")?;
        let produced = Load::start(&site.brokers(), site.name(), PROFILE, seed, 10_000, count)?.wait()?;
        consumed(site)?;
        // THEN each has its own events
        let stored = site.stored()?;
        ensure!(produced.events == count && stored.rows == count, "{stored:?} of {produced:?}");
    }
    ensure!(sites[0].stored()?.rows == 1_000, "the first has events of the second");
    // WHEN one stack is stopped THEN the other works
    first.stop();
    sites[1].must(&["schema", "check"])?;
    Ok(())
}

fn postgres_keeps_what_was_committed_when_it_is_killed() -> anyhow::Result<()> {
    // GIVEN a PostgreSQL with a committed row, a row of an open transaction, and a slot
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    let postgres = stack.postgres()?;
    let mut client = postgres.admin("postgres")?;
    let version: String = client.query_one("SELECT version()", &[])?.get(0);
    ensure!(version.starts_with("PostgreSQL 18."), "{version}");
    let level: String = client.query_one("SHOW wal_level", &[])?.get(0);
    ensure!(level == "logical", "{level}");
    client.batch_execute("CREATE TABLE kept (n integer PRIMARY KEY); INSERT INTO kept VALUES (7)")?;
    client.execute("SELECT pg_create_logical_replication_slot('kept', 'pgoutput')", &[])?;
    let mut open = client.transaction()?;
    open.execute("INSERT INTO kept VALUES (8)", &[])?;
    // WHEN it is killed THEN it is gone
    postgres.kill()?;
    ensure!(open.execute("SELECT 1", &[]).is_err() && postgres.admin("postgres").is_err(), "it is up");
    drop(open);
    // WHEN it is restarted THEN it has the committed row, and the slot
    postgres.start()?;
    let mut client = postgres.admin("postgres")?;
    let rows: i64 = client.query_one("SELECT sum(n) FROM kept", &[])?.get(0);
    let slots: i64 = client.query_one("SELECT count(*) FROM pg_replication_slots", &[])?.get(0);
    ensure!((rows, slots) == (7, 1), "{rows} {slots}");
    // WHEN posthouse's role logs in THEN this succeeds only with its password
    postgres.client("postgres")?;
    let (host, port) =
        postgres.address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).context("no port")?;
    let wrong = format!("host={host} port={port} user={USER} password=wrong dbname=postgres");
    ensure!(::postgres::Client::connect(&wrong, ::postgres::NoTls).is_err(), "any password will do");
    // WHEN it is stopped with a client connected THEN it does not wait for the client
    postgres.stop();
    ensure!(!postgres.is_running() && client.execute("SELECT 1", &[]).is_err(), "it is up");
    Ok(())
}
