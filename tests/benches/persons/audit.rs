//! Audit and repair of a million persons.
//!
//! One node loses all persons, then the table in PostgreSQL is truncated.

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::PersonDatabase;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use serde_json::json;

use crate::report::Report;

const PERSONS: u64 = 1_000_000;
/// Acceptable waiting times for an operator on call.
const WANTED_AUDIT_S: f64 = 10.0;
const WANTED_REPAIR_S: f64 = 120.0;
const LIMIT: Duration = Duration::from_secs(900);
/// Time of the measurement without changes.
const IDLE: Duration = Duration::from_secs(30);
/// `USER_HZ` of Linux on every common architecture (`man 5 proc`).
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::default().postgres(), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "persons_audit")?;
    let person_db = PersonDatabase::new(stack.postgres()?, site.name())?;
    person_db.configure(&mut site)?;
    person_db.admin()?.batch_execute(&format!(
        "INSERT INTO posthog_person (uuid, team_id, properties)
         SELECT gen_random_uuid(), 1 + n % 20, jsonb_build_object('email', n || '@example.com', 'text', repeat(md5(n::text), 6))
         FROM generate_series(1, {PERSONS}) AS n; ANALYZE; CHECKPOINT;"
    ))?;
    site.apply()?;
    let daemon = Daemon::start(&mut site, "off")?;
    let live = "SELECT count() FROM (SELECT id FROM {db}.person GROUP BY team_id, id HAVING argMax(is_deleted, version) = 0)";
    let until = |site: &Site<'_>, wanted: u64| {
        wait_until("persons on every node", LIMIT, || {
            let nodes = 0..site.stack.nodes().len();
            let counts: anyhow::Result<Vec<String>> = nodes.map(|node| site.query_on(node, live)).collect();
            match counts {
                Ok(counts) if counts.iter().all(|count| *count == wanted.to_string()) => {
                    ControlFlow::Break(Ok(()))
                }
                Ok(counts) => ControlFlow::Continue(anyhow!("{counts:?}")),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        })
    };
    until(&site, PERSONS)?;
    daemon.says("differing rows were republished rows=0")?;
    let process = daemon.pid().as_raw_nonzero().get();
    let (idle, idle_percent) = (memory(process)?, idle_percent(process)?);

    let begin = Instant::now();
    site.must(&["persons", "audit"])?;
    let audit_s = begin.elapsed().as_secs_f64();

    site.query_on(1, "TRUNCATE TABLE {db}.person SYNC")?;
    let begin = Instant::now();
    let mut repair = site.spawn(&["persons", "audit", "--repair"])?;
    let mut most = 0;
    let ended = loop {
        if let Some(ended) = repair.try_wait()? {
            break ended;
        }
        most = memory(i32::try_from(repair.id())?).unwrap_or(most).max(most);
        std::thread::sleep(Duration::from_millis(50));
    };
    let repair_s = begin.elapsed().as_secs_f64();
    ensure!(ended.success(), "the repair: {ended}");
    until(&site, PERSONS)?;

    let begin = Instant::now();
    person_db.admin()?.batch_execute("TRUNCATE posthog_person CASCADE")?;
    until(&site, 0)?;
    let truncate_s = begin.elapsed().as_secs_f64();
    let after = memory(daemon.pid().as_raw_nonzero().get())?;
    ensure!(daemon.end()? == 0, "posthouse did not end well");
    let report = |name: &str, what: &str, ours_s: f64, wanted_s: f64, details| Report {
        name: name.to_owned(),
        what: format!("{what}, {PERSONS} persons of about 260 bytes, against {wanted_s} s"),
        ours_s,
        peer_s: wanted_s,
        ratio: wanted_s / ours_s,
        rows: PERSONS,
        runs: 1,
        limit: "MD5 of every row on each side, then the brokers and the nodes' inserts".to_owned(),
        details,
    };
    Ok(vec![
        report("persons_audit", "an audit without differences", audit_s, WANTED_AUDIT_S, json!({})),
        report(
            "persons_repair",
            "the repair of a node that has lost all persons, with the audits before and after it",
            repair_s,
            WANTED_REPAIR_S,
            json!({"most_memory_mib": most >> 10}),
        ),
        report(
            "persons_truncate",
            "from TRUNCATE until no node shows a person",
            truncate_s,
            WANTED_REPAIR_S,
            json!({
                "posthouse_run_mib_before": idle >> 10,
                "posthouse_run_mib_after": after >> 10,
                "posthouse_run_idle_percent_of_a_core": idle_percent,
            }),
        ),
    ])
}

/// Returns the share of a core that a process uses during [`IDLE`].
fn idle_percent(process: i32) -> anyhow::Result<f64> {
    let before = ticks(process)?;
    std::thread::sleep(IDLE);
    let used = ticks(process)? - before;
    Ok(100.0 * used as f64 / TICKS_PER_SECOND / IDLE.as_secs_f64())
}

/// Returns the processor time of a process, in user and kernel mode.
fn ticks(process: i32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before it may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    field(11).zip(field(12)).map(|(user, system)| user + system).context("no times")
}

/// Returns the resident memory of a process, in KiB.
fn memory(process: i32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}
