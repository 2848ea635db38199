//! Events, versions of distinct ids and dictionaries, which the server makes by itself.

use std::time::{Duration, Instant};

use anyhow::ensure;
use posthouse_tests::site::{Site, run_within};
use posthouse_tests::stack::MeasuredAnswer;
use serde_json::{Value, json};

/// Time limit of one statement or command, many times what the largest takes.
pub(super) const LIMIT: Duration = Duration::from_secs(900);
/// One in a hundred events has an id without a person.
const UNKNOWN_PERCENT: u64 = 1;
/// Days of the events.
const DAYS: u64 = 30;
/// The key that events store, as `personOfKey` takes it.
pub(super) const STORED_KEY: &str = "bitXor(sipHash64(distinct_id), sipHash64(team_id))";
/// A hash that is faster to compute than the stored one, so that a dictionary on a computed hash is
/// as fast as it can be.
pub(super) const COMPUTED_KEY: &str = "cityHash64(team_id, distinct_id)";
/// The team and the distinct id of a number `n`. Ids are as long as anonymous ones. The hash of a
/// number depends on its type.
pub(super) const ID_COLUMNS: &str =
    "toInt64(1 + n % 20) AS team_id, toString(reinterpretAsUUID(sipHash128(toUInt64(n)))) AS distinct_id";
/// The person of unknown ids.
const UNKNOWN: &str = "toUUID('00000000-0000-0000-0000-000000000000')";

/// A number of events and of distinct ids, which have 1.3 versions each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) events: u64,
    pub(super) ids: u64,
}

/// Divides all numbers, to see in a debug build that a measurement works.
const DIVISOR: &str = "POSTHOUSE_BENCH_DIVISOR";

impl Scale {
    /// Returns the numbers of this run.
    pub(super) fn divided(self) -> Self {
        let divisor = std::env::var(DIVISOR).ok().and_then(|divisor| divisor.parse().ok()).unwrap_or(1);
        Self { events: self.events / divisor, ids: self.ids / divisor }
    }
}

/// Runs a statement that may take minutes.
pub(super) fn query(site: &Site<'_>, sql: &str) -> anyhow::Result<MeasuredAnswer> {
    site.stack.nodes()[0].measure(&sql.replace("{db}", site.name()), LIMIT)
}

/// Makes the tables of a scale, and the index and the dictionaries from them. Returns the cost of
/// each.
pub(super) fn prepare(site: &Site<'_>, scale: Scale) -> anyhow::Result<Value> {
    query(site, "TRUNCATE TABLE {db}.person_distinct_id SYNC")?;
    // The table keeps the versions that a merge would drop, because their number matters.
    query(site, "SYSTEM STOP MERGES {db}.person_distinct_id")?;
    insert_versions(site, scale)?;
    make_events(site, scale)?;
    let begin = Instant::now();
    let built = build(site)?;
    let build_s = begin.elapsed().as_secs_f64();
    let dictionaries =
        [make_dictionary(site, "stored", STORED_KEY)?, make_dictionary(site, "computed", COMPUTED_KEY)?];
    Ok(json!({ "index": built, "index_build_s": build_s, "dictionaries": dictionaries }))
}

/// Inserts a version of each id, and a later one with another person for three of ten. Some of
/// either are deletions.
pub(super) fn insert_versions(site: &Site<'_>, scale: Scale) -> anyhow::Result<()> {
    for (version, count) in [(0, scale.ids), (1, changed(scale))] {
        let sql = format!(
            "INSERT INTO {{db}}.person_distinct_id
             SELECT {ID_COLUMNS}, {person}, {deleted}, {version}, now(), 0
             FROM (SELECT number AS n FROM numbers({count}))
             SETTINGS optimize_on_insert = 0, max_insert_threads = 2",
            person = person(scale, version),
            deleted = is_deleted(version),
        );
        query(site, &sql)?;
    }
    Ok(())
}

/// Ids that have a second version: those with the smallest numbers.
fn changed(scale: Scale) -> u64 {
    scale.ids * 3 / 10
}

/// The person of a version of id `n`.
fn person(scale: Scale, version: u64) -> String {
    format!("reinterpretAsUUID(sipHash128(toUInt64(n % {}), {version}))", scale.ids * 8 / 10)
}

fn is_deleted(version: u64) -> String {
    format!("n % 37 = {version}")
}

/// The person that the rule gives to id `n`, known or not.
pub(super) fn rule_person(scale: Scale) -> String {
    let of = |version| format!("if({}, {UNKNOWN}, {})", is_deleted(version), person(scale, version));
    format!("multiIf(n >= {}, {UNKNOWN}, n < {}, {}, {})", scale.ids, changed(scale), of(1), of(0))
}

fn make_events(site: &Site<'_>, Scale { events, ids }: Scale) -> anyhow::Result<()> {
    query(site, "DROP TABLE IF EXISTS {db}.seen_events SYNC")?;
    // The sorting key is that of sharded_events.
    query(
        site,
        &format!(
            "CREATE TABLE {{db}}.seen_events
             (
                 team_id Int64,
                 distinct_id String,
                 event LowCardinality(String),
                 timestamp DateTime64(6, 'UTC'),
                 person_key UInt64 MATERIALIZED {STORED_KEY}
             )
             ENGINE = MergeTree
             PARTITION BY toYYYYMM(timestamp)
             ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id))"
        ),
    )?;
    let known_and_unknown = ids + ids * UNKNOWN_PERCENT / 100;
    query(
        site,
        &format!(
            "INSERT INTO {{db}}.seen_events
             SELECT {ID_COLUMNS}, ['$pageview', '$autocapture', 'sign up'][1 + number % 3] AS event,
                    toDateTime64('2026-06-01', 6, 'UTC') + toIntervalSecond(number * {seconds} / {events})
             FROM (SELECT number, sipHash64(number) % {known_and_unknown} AS n FROM numbers({events}))
             SETTINGS max_insert_threads = 2",
            seconds = DAYS * 86_400
        ),
    )?;
    query(site, "OPTIMIZE TABLE {db}.seen_events FINAL")?;
    Ok(())
}

/// Builds the index, and returns its report.
pub(super) fn build(site: &Site<'_>) -> anyhow::Result<Value> {
    let built = run_within(&site.write_config()?, &["persons", "snapshot", "build", "--json"], LIMIT)?;
    ensure!(built.code == 0, "{built}");
    Ok(serde_json::from_str(&built.stdout)?)
}

/// Makes a HASHED dictionary from a key to the current person, and returns what it takes.
fn make_dictionary(site: &Site<'_>, name: &str, key: &str) -> anyhow::Result<Value> {
    query(
        site,
        &format!(
            "CREATE OR REPLACE DICTIONARY {{db}}.persons_by_{name}_key (person_key UInt64, person_id UUID)
             PRIMARY KEY person_key
             SOURCE(CLICKHOUSE(QUERY '
                 SELECT {key} AS person_key, argMax(person_id, (version, is_deleted, person_id)) AS person_id
                 FROM {{db}}.person_distinct_id
                 GROUP BY person_key
                 HAVING argMax(is_deleted, (version, is_deleted)) = 0'))
             LAYOUT(HASHED())
             LIFETIME(0)"
        ),
    )?;
    let begin = Instant::now();
    query(site, &format!("SYSTEM RELOAD DICTIONARY {{db}}.persons_by_{name}_key"))?;
    let load_s = begin.elapsed().as_secs_f64();
    let bytes = query(
        site,
        &format!(
            "SELECT bytes_allocated FROM system.dictionaries \
             WHERE database = '{{db}}' AND name = 'persons_by_{name}_key'"
        ),
    )?;
    Ok(json!({ "key": key, "load_s": load_s, "bytes": bytes.text.trim().parse::<u64>()? }))
}
