//! The parameterized views: correct counts, aggregated on the shards.

use anyhow::{Context, ensure};
use posthouse_tests::events::Profile;
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;
use posthouse_tests::stack::Progress;
use posthouse_tests::torture::ingest;

use crate::events::PROFILE;
use crate::produce::consumed;
use crate::seed;

tests! {
    Own views_count_rows_moves_and_duplicates_on_the_shards,
}

const EVENTS: u64 = 20_000;
/// Every generated day and more.
const ALWAYS: &str = "since = '2000-01-01', until = '2100-01-01'";

fn views_count_rows_moves_and_duplicates_on_the_shards() -> anyhow::Result<()> {
    // GIVEN events, some produced twice, on a stack where no merge removes a duplicate
    let stack = ingest::stack(&Progress::Silent)?;
    let site = Site::new(&stack, "queries")?;
    site.apply()?;
    site.must(&["udf", "install"])?;
    let profile = Profile { again: 300, ..PROFILE };
    let load = Load::start(&site.brokers(), site.name(), profile, seed("queries")?, EVENTS, EVENTS)?;
    let produced = load.wait()?;
    consumed(&site)?;
    let rows = produced.events + produced.again;

    // WHEN rows per shard are queried THEN they match the key, beside the shares expected from the
    // weights
    let counted = site.query(&format!(
        "SELECT groupArray((shard, rows)), sum(rows), groupArray(expected_share) \
         FROM {{db}}.shard_rows(weights = [1, 3], {ALWAYS})"
    ))?;
    let by_key = site.query(
        "SELECT groupArray((shard, n)), sum(n), [0.25, 0.75] FROM \
         (SELECT if(sipHash64(distinct_id) % 4 < 1, 1, 2) AS shard, count() AS n FROM {db}.events GROUP BY shard ORDER BY shard)",
    )?;
    ensure!(counted == by_key && counted.contains(&format!("\t{rows}\t")), "{counted}, by key {by_key}");

    // WHEN rows on wrong shards are queried THEN there are none, until one is inserted
    let wrong = format!("SELECT * FROM {{db}}.wrong_shard_rows(weights = [1, 3], {ALWAYS})");
    ensure!(site.query(&wrong)?.is_empty(), "{}", site.query(&wrong)?);
    site.query(
        "INSERT INTO {db}.sharded_events (uuid, event, distinct_id, timestamp) \
         SELECT generateUUIDv4(), 'astray', id, '2026-11-01 00:00:00' FROM \
         (SELECT toString(number) AS id FROM numbers(100) WHERE sipHash64(id) % 4 >= 1 LIMIT 1)",
    )?;
    let found = site.query(&wrong)?;
    ensure!(found.starts_with("1\t2\t1\t"), "{found}");
    site.query("ALTER TABLE {db}.sharded_events DELETE WHERE event = 'astray' SETTINGS mutations_sync = 2")?;

    // WHEN duplicates are counted THEN the producer's are distinguished from rows that were stored
    // twice
    let duplicates = format!(
        "SELECT sum(rows), sum(events), sum(sent_again), sum(stored_again) FROM {{db}}.duplicate_events({ALWAYS})"
    );
    let before = site.query(&duplicates)?;
    ensure!(
        before == format!("{rows}\t{}\t{}\t0", produced.events, produced.again),
        "{before}, {produced:?}"
    );
    site.query_on(1, "INSERT INTO {db}.sharded_events SELECT * FROM {db}.sharded_events LIMIT 5")?;
    let after = site.query(&duplicates)?;
    ensure!(
        after == format!("{}\t{}\t{}\t5", rows + 5, produced.events, produced.again),
        "{after}, {produced:?}"
    );

    // WHEN a uuid is stored with another day, name or distinct id THEN each is counted by its kind,
    // and copies that merges remove are not
    let kinds = format!(
        "SELECT sum(uuids), sum(rows), sum(other_day), sum(other_event), sum(other_distinct_id) \
         FROM {{db}}.duplicate_uuids({ALWAYS}) WHERE team_id = 99"
    );
    ensure!(site.query(&kinds)? == "0\t0\t0\t0\t0", "{}", site.query(&kinds)?);
    for (number, changed) in
        [("1", "uuid"), ("2", "event"), ("3", "distinct_id"), ("4", "timestamp"), ("5", "timestamp, event")]
    {
        let [mut event, mut id, mut day] = ["a", "a", "1"];
        for node in 0..2 {
            site.query_on(
                node,
                &format!(
                    "INSERT INTO {{db}}.sharded_events (uuid, team_id, event, distinct_id, timestamp) VALUES \
                     ('00000000-0000-0000-0000-00000000000{number}', 99, '{event}', '{id}', '2026-11-0{day} 00:00:00')"
                ),
            )?;
            event = if changed.contains("event") { "b" } else { event };
            id = if changed.contains("distinct_id") { "b" } else { id };
            day = if changed.contains("timestamp") { "2" } else { day };
        }
    }
    ensure!(site.query(&kinds)? == "4\t8\t2\t2\t1", "{}", site.query(&kinds)?);
    surplus_events_are_removed(&site, &kinds)?;
    for node in 0..2 {
        site.query_on(
            node,
            "ALTER TABLE {db}.sharded_events DELETE WHERE team_id = 99 SETTINGS mutations_sync = 2",
        )?;
    }

    // WHEN weights change THEN the plan names the rows that move, by the rule of the table's own
    // key
    let moves = "SELECT countIf(moves), sumIf(rows, moves), min(bytes) > 100 FROM {db}.reshard_plan";
    let same = site.query(&format!("{moves}(old_weights = [1, 3], new_weights = [1, 3], {ALWAYS})"))?;
    ensure!(same == "0\t0\t1", "{same}");
    let moved = site.query(&format!("{moves}(old_weights = [1, 3], new_weights = [1, 3, 2], {ALWAYS})"))?;
    let expected = site.query(
        "SELECT uniqExact(a, b), count(), 1 FROM (SELECT sipHash64(distinct_id) AS key, \
         if(key % 4 < 1, 1, 2) AS a, multiIf(key % 6 < 1, 1, key % 6 < 4, 2, 3) AS b FROM {db}.events WHERE a != b)",
    )?;
    ensure!(moved == expected, "{moved}, by key {expected}");
    plans_leave_the_work_to_the_shards(&site)
}

/// Fails unless the statements of `duplicate_removal` remove the surplus events of team 99, which
/// `kinds` counts, and no other row.
fn surplus_events_are_removed(site: &Site<'_>, kinds: &str) -> anyhow::Result<()> {
    // The second event has forms with older and newer messages, one of them stored twice.
    let second = "00000000-0000-0000-0000-000000000002";
    for (node, event, timestamp, offset) in
        [(0, "it\\'s", 5, 1), (0, "it\\'s", 5, 0), (1, "new", 7, 3), (1, "same second", 7, 2)]
    {
        site.query_on(
            node,
            &format!(
                "INSERT INTO {{db}}.sharded_events (uuid, team_id, event, distinct_id, timestamp, _timestamp, _offset) \
                 VALUES ('{second}', 99, '{event}', 'a', '2026-11-01 00:00:00', {timestamp}, {offset})"
            ),
        )?;
    }
    let count = "SELECT count(), countIf(team_id = 99) FROM {db}.events";
    let before: Vec<u64> = numbers(&site.query(count)?)?;
    let removal = format!("FROM {{db}}.duplicate_removal({ALWAYS})");
    let surplus: u64 = site.query(&format!("SELECT sum(rows) {removal}"))?.parse()?;
    for shard in [1, 2] {
        let statements =
            site.query(&format!("SELECT statement {removal} WHERE shard = {shard} FORMAT TSVRaw"))?;
        for statement in statements.lines() {
            site.query_on(shard - 1, statement)?;
        }
    }
    let after: Vec<u64> = numbers(&site.query(count)?)?;
    ensure!(
        after == [before[0] - surplus, before[1] - surplus] && surplus == 8,
        "{before:?} less {surplus} is {after:?}"
    );
    // The first event has one form, whose copies are left to merges.
    let left = site.query("SELECT count(), uniqExact(uuid) FROM {db}.events WHERE team_id = 99")?;
    ensure!(left == "6\t5", "{left}");
    let newest = site.query(&format!(
        "SELECT event, _offset FROM {{db}}.events WHERE uuid = '{second}' AND team_id = 99"
    ))?;
    ensure!(newest == "new\t3", "{newest}");
    ensure!(site.query(kinds)? == "0\t0\t0\t0\t0", "{}", site.query(kinds)?);
    ensure!(site.query(&format!("SELECT count() {removal}"))? == "0", "statements are left");
    Ok(())
}

fn numbers(row: &str) -> anyhow::Result<Vec<u64>> {
    Ok(row.split('\t').map(str::parse).collect::<Result<_, _>>()?)
}

/// Fails unless shards aggregate their own rows, and the initiating node only merges.
fn plans_leave_the_work_to_the_shards(site: &Site<'_>) -> anyhow::Result<()> {
    let weights = "weights = [1, 3]";
    let calls = [
        ("shard_rows", weights),
        ("wrong_shard_rows", weights),
        ("duplicate_events", ""),
        ("duplicate_uuids", ""),
        ("reshard_plan", "old_weights = [1, 3], new_weights = [3, 1]"),
    ];
    for (view, parameters) in calls {
        let comma = if parameters.is_empty() { "" } else { ", " };
        let plan =
            site.query(&format!("EXPLAIN SELECT * FROM {{db}}.{view}({parameters}{comma}{ALWAYS})"))?;
        let remote = plan.find("ReadFromRemote").with_context(|| format!("{view}: {plan}"))?;
        let merging = plan.find("MergingAggregated").with_context(|| format!("{view}: {plan}"))?;
        ensure!(merging < remote, "{view}: {plan}");
    }
    Ok(())
}
