//! Time and written bytes until 10,000 changes are in an index of ten million distinct ids.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::PersonDatabase;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use serde_json::json;
use toml::{Table, Value};

use super::data::{LIMIT, Scale, insert_versions};
use super::wait::wait_for_ids;
use crate::report::{Report, median};

const SCALE: Scale = Scale { events: 0, ids: 10_000_000 };
const CHANGES: u64 = 10_000;
const RUNS: usize = 5;
/// Acceptable time of a refresh.
const WANTED_S: f64 = 1.0;
/// Interval of queries, the resolution of the figure.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Team of the ids that change. Its other ids have other names.
const TEAM: i64 = 1;

pub(crate) fn run() -> anyhow::Result<Vec<Report>> {
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::on_stderr())?;
    let mut site = Site::new(&stack, "person_of_refresh")?;
    let person_db = PersonDatabase::new(stack.postgres()?, site.name())?;
    configure(&mut site, &person_db)?;
    person_db.admin()?.batch_execute(&format!(
        "INSERT INTO posthog_person (uuid, team_id) SELECT gen_random_uuid(), {TEAM} FROM generate_series(1, {CHANGES});
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
         SELECT team_id, 'user-' || id, id FROM posthog_person;"
    ))?;
    site.apply()?;
    site.must(&["udf", "install"])?;
    let scale = SCALE.divided();
    insert_versions(&site, scale)?;
    // The node's other versions are not of posthouse, which would not publish beside a producer.
    person_db.set(&mut site, "other_producer_stopped_at", Timestamp::now().to_string())?;
    let daemon = Daemon::start(&mut site, "off")?;
    wait_for_ids(&site, scale.ids + CHANGES)?;
    daemon.says("streaming changes")?;
    let (mut seconds, mut written) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let before = written_bytes(&daemon)?;
        seconds.push(refresh(&site, &person_db, run)?);
        written.push(written_bytes(&daemon)? - before);
    }
    ensure!(daemon.end()? == 0, "posthouse did not end well");
    let ours_s = median(seconds.clone());
    Ok(vec![Report {
        name: "person_of_refresh".to_owned(),
        what: format!(
            "COMMIT of {CHANGES} changed distinct ids in one transaction → personOf shows all, in an index of {} ids, \
             against {WANTED_S} s",
            scale.ids
        ),
        ours_s,
        peer_s: WANTED_S,
        ratio: WANTED_S / ours_s,
        rows: CHANGES,
        runs: RUNS,
        limit: "PostgreSQL's decoding of the transaction and the way through Kafka".to_owned(),
        details: json!({ "runs_s": seconds, "bytes_written_by_posthouse": written }),
    }])
}

/// An audit would take the node's other ids for rows that PostgreSQL has deleted.
fn configure(site: &mut Site<'_>, person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    person_db.configure(site)?;
    let off: Table = [("mode".to_owned(), Value::from("off"))].into_iter().collect();
    site.set("persons", "audit", off).set("persons", "index", "keep");
    Ok(())
}

/// Moves all ids to one person, and returns the seconds until `personOf` shows it for each.
fn refresh(site: &Site<'_>, person_db: &PersonDatabase<'_>, run: usize) -> anyhow::Result<f64> {
    let mut client = person_db.admin()?;
    let person = client.query_one(
        "SELECT id, uuid::text FROM posthog_person ORDER BY id OFFSET $1 LIMIT 1",
        &[&i64::try_from(run)?],
    )?;
    let (id, uuid): (i64, String) = (person.get(0), person.get(1));
    let mut transaction = client.transaction()?;
    let changed = transaction.execute(
        "UPDATE posthog_persondistinctid SET person_id = $1, version = coalesce(version, 0) + 1",
        &[&id],
    )?;
    ensure!(changed == CHANGES, "{changed} rows instead of {CHANGES}");
    let moved = format!(
        "SELECT countIf(personOf(toInt64({TEAM}), concat('user-', toString(number))) = toUUID('{uuid}')) \
         FROM numbers(1, {CHANGES})"
    );
    let begin = Instant::now();
    transaction.commit()?;
    loop {
        let count = site.query(&moved)?;
        if count == CHANGES.to_string() {
            break;
        }
        ensure!(begin.elapsed() < LIMIT, "personOf shows {count} of {CHANGES} changes");
        thread::sleep(ASK_EVERY);
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Bytes that a process has caused to be written to disks (`man 5 proc_pid_io`).
fn written_bytes(daemon: &Daemon) -> anyhow::Result<u64> {
    let path = format!("/proc/{}/io", daemon.pid().as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context(path)?;
    Ok(line.parse()?)
}
