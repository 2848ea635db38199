//! Probes: single changes of a separate team, tracked on every node.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use postgres::Client;
use posthouse_tests::people::PersonDatabase;
use posthouse_tests::site::Site;

/// A separate team makes probes cheap to find.
pub(crate) const TEAM: i64 = 999_999;
/// Interval of probes, and of queries to each node. It is the resolution of the figures.
pub(crate) const EVERY: Duration = Duration::from_millis(50);
/// Prefix of numbered names `probe-N`.
pub(crate) const PREFIX: &str = "probe-";
/// Selects the probes that the views show. An update shows in `persons`, a move in
/// `person_distinct_ids`, an insert in both.
const VISIBLE: &str = "SELECT n FROM (\
    SELECT 1 AS view, JSONExtractUInt(properties, 'probe') AS n FROM {db}.persons(team_id = 999999) WHERE n > 0 UNION ALL \
    SELECT 2 AS view, toUInt64(substring(distinct_id, 7)) AS n FROM {db}.person_distinct_ids(team_id = 999999) \
    WHERE person_id != '00000000-0000-4000-8000-000000000000') \
    GROUP BY n HAVING uniqExact(view) = if(n % 3 = 2, 2, 1) SETTINGS max_threads = 1";

/// Time of each probe at one stage, in ms of Unix time.
pub(crate) type Times = BTreeMap<u64, i64>;

/// Inserts the rows that probes `0..count` change: persons, and distinct ids of one person. Its
/// uuid is zero except for the version.
///
/// # Errors
/// Fails if PostgreSQL refuses a statement.
pub(crate) fn prepare(person_db: &PersonDatabase<'_>, count: u64) -> anyhow::Result<()> {
    person_db.admin()?.batch_execute(&format!(
        "INSERT INTO posthog_person (uuid, team_id) VALUES ('00000000-0000-4000-8000-000000000000', {TEAM});
         INSERT INTO posthog_person (uuid, team_id, properties)
         SELECT gen_random_uuid(), {TEAM}, jsonb_build_object('number', n) FROM generate_series(0, {count}, 3) AS n;
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id)
         SELECT {TEAM}, '{PREFIX}' || n, (SELECT min(id) FROM posthog_person WHERE team_id = {TEAM})
         FROM generate_series(1, {count}, 3) AS n;
         CREATE INDEX ON posthog_person ((properties ->> 'number')) WHERE team_id = {TEAM};"
    ))?;
    Ok(())
}

/// Returns the probe number of a distinct id; 0 if it isn't a probe.
pub(super) fn number(distinct_id: &str) -> u64 {
    distinct_id.strip_prefix(PREFIX).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Commits probes one after the other for the duration `lasts`. Returns the time just before each
/// commit.
///
/// # Errors
/// Fails if PostgreSQL refuses a probe.
pub(crate) fn make(
    person_db: &PersonDatabase<'_>,
    lasts: Duration,
    made: &AtomicU64,
) -> anyhow::Result<Times> {
    let mut client = person_db.admin()?;
    let owner = "SELECT max(id) FROM posthog_person WHERE team_id = $1::bigint AND properties ? 'number'";
    let owner: i64 = client.query_one(owner, &[&TEAM])?.get(0);
    let (begin, mut committed) = (Instant::now(), Times::new());
    for number in 1.. {
        thread::sleep((EVERY * u32::try_from(number)?).saturating_sub(begin.elapsed()));
        if begin.elapsed() >= lasts {
            break;
        }
        committed
            .insert(number, probe(&mut client, number, owner).with_context(|| format!("probe {number}"))?);
        made.store(number, Ordering::Relaxed);
    }
    Ok(committed)
}

/// Updates a person, moves a distinct id, or inserts a person with a distinct id, in turn.
fn probe(client: &mut Client, number: u64, owner: i64) -> anyhow::Result<i64> {
    let (text, distinct_id) = (number.to_string(), format!("{PREFIX}{number}"));
    let mut transaction = client.transaction()?;
    let changed = match number % 3 {
        0 => transaction.execute(
            "UPDATE posthog_person SET properties = properties || jsonb_build_object('probe', $2::text::bigint), \
             version = coalesce(version, 0) + 1 WHERE team_id = $1::bigint AND properties ->> 'number' = $2::text",
            &[&TEAM, &text],
        )?,
        1 => transaction.execute(
            "UPDATE posthog_persondistinctid SET person_id = $3, version = coalesce(version, 0) + 1 \
             WHERE team_id = $1::bigint AND distinct_id = $2",
            &[&TEAM, &distinct_id, &owner],
        )?,
        _ => transaction.execute(
            "WITH made AS (INSERT INTO posthog_person (uuid, team_id, properties) \
                 VALUES (gen_random_uuid(), $1::bigint, jsonb_build_object('probe', $2::text::bigint)) RETURNING id) \
             INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id) SELECT $1::bigint, $3, id FROM made",
            &[&TEAM, &text, &distinct_id],
        )?,
    };
    anyhow::ensure!(changed == 1, "{changed} rows instead of one");
    let now = Timestamp::now().as_millisecond();
    transaction.commit()?;
    Ok(now)
}

/// Queries the node at `index` until `stop`, and records when it first showed each probe.
///
/// # Errors
/// Fails if the node doesn't answer.
pub(super) fn ask(
    site: &Site<'_>,
    index: usize,
    stop: &AtomicBool,
    seen: &Mutex<Times>,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let tick = Instant::now();
        let answer = site.query_on(index, VISIBLE)?;
        let now = Timestamp::now().as_millisecond();
        let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for line in answer.lines() {
            seen.entry(line.parse().context("a probe's number")?).or_insert(now);
        }
        drop(seen);
        thread::sleep(EVERY.saturating_sub(tick.elapsed()));
    }
    Ok(())
}
