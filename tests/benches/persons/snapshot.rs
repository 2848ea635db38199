//! Speed of the initial snapshot of both tables, in rows per second.
//!
//! Measured from the start of `posthouse run` to the end of the snapshot, and until every node has
//! all rows.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::PersonDatabase;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use serde_json::json;

use super::cpu;
use crate::report::Report;

/// Number of persons, and of distinct ids.
const PERSONS: u64 = 300_000;
/// Minimum acceptable rate at first use, with all servers on two cores.
const WANTED_ROWS_PER_S: f64 = 50_000.0;
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "persons_snapshot")?;
    let person_db = PersonDatabase::new(stack.postgres()?, site.name())?;
    person_db.configure(&mut site)?;
    people(&person_db)?;
    let alone = alone(&person_db)?;
    site.apply()?;

    let (before, begin) = (cpu::used(&stack)?, Instant::now());
    let daemon = Daemon::start(&mut site, "off")?;
    wait_until("the end of the copy", LIMIT, || match daemon.log() {
        Ok(log) if log.contains("streaming changes") => ControlFlow::Break(Ok(())),
        Ok(log) => ControlFlow::Continue(anyhow!("{log}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    let copied_s = begin.elapsed().as_secs_f64();
    let copy_cpu = cpu::between(&before, &cpu::used(&stack)?);
    wait_until("all rows on every node", LIMIT, || match rows(&site) {
        Ok(rows) if rows.iter().all(|rows| *rows >= PERSONS) => ControlFlow::Break(Ok(())),
        Ok(rows) => ControlFlow::Continue(anyhow!("{rows:?}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    let seen_s = begin.elapsed().as_secs_f64();
    let all_cpu = cpu::between(&before, &cpu::used(&stack)?);
    ensure!(daemon.end()? == 0, "posthouse did not end well");

    let rows = 2 * PERSONS;
    let wanted_s = rows as f64 / WANTED_ROWS_PER_S;
    let cores = std::thread::available_parallelism()?.get() as f64;
    let busy: f64 = copy_cpu.values().sum();
    Ok(vec![Report {
        name: "persons_snapshot".to_owned(),
        what: format!(
            "first copy of {PERSONS} persons with about 300 bytes of properties and as many distinct ids, from the start of \
             posthouse run until it streams, against {WANTED_ROWS_PER_S} rows/s"
        ),
        ours_s: copied_s,
        peer_s: wanted_s,
        ratio: wanted_s / copied_s,
        rows,
        runs: 1,
        limit: format!(
            "the processors: {busy:.0} s of the {:.0} s that {cores} cores had meanwhile ({}); PostgreSQL alone gives all rows in \
             {alone:.1} s",
            cores * copied_s,
            most(&copy_cpu),
        ),
        details: json!({
            "rows_per_s": rows as f64 / copied_s,
            "until_every_node_has_all_s": seen_s,
            "rows_per_s_until_every_node_has_all": rows as f64 / seen_s,
            "postgres_copy_to_stdout_alone_s": alone,
            "cpu_s_until_copied": copy_cpu,
            "cpu_s_until_every_node_has_all": all_cpu,
        }),
    }])
}

fn people(person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    person_db.admin()?.batch_execute(&format!(
        "INSERT INTO posthog_person (uuid, team_id, properties)
         SELECT gen_random_uuid(), 1 + n % 20, jsonb_build_object('email', n || '@example.com', 'plan', 'pro', 'logins', n,
             'initial_referrer', 'https://example.com/' || md5(n::text), 'text', md5((n + 1)::text) || md5((n + 2)::text) || md5((n + 3)::text))
         FROM generate_series(1, {PERSONS}) AS n;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
         SELECT team_id, uuid::text, id FROM posthog_person;
         ANALYZE; CHECKPOINT;"
    ))?;
    Ok(())
}

/// Returns the seconds that PostgreSQL takes to copy both tables to a client that discards them.
fn alone(person_db: &PersonDatabase<'_>) -> anyhow::Result<f64> {
    let (mut client, begin) = (person_db.admin()?, Instant::now());
    for table in ["posthog_person", "posthog_persondistinctid"] {
        let mut rows = client.copy_out(&format!("COPY {table} TO STDOUT"))?;
        let mut buffer = [0; 1 << 16];
        while rows.read(&mut buffer)? > 0 {}
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Returns the number of persons and distinct ids on each node.
fn rows(site: &Site<'_>) -> anyhow::Result<Vec<u64>> {
    let tables = (0..site.stack.nodes().len())
        .flat_map(|node| ["person", "person_distinct_id"].map(|table| (node, table)));
    tables
        .map(|(node, table)| {
            Ok(site.query_on(node, &format!("SELECT count() FROM {{db}}.{table}"))?.parse()?)
        })
        .collect()
}

/// Formats the largest CPU users, in descending order.
fn most(cpu: &cpu::Cpu) -> String {
    let mut all: Vec<_> = cpu.iter().filter(|(_, used)| **used >= 0.1).collect();
    all.sort_by(|one, other| other.1.total_cmp(one.1));
    all.into_iter().map(|(name, used)| format!("{name} {used:.1} s")).collect::<Vec<_>>().join(", ")
}
