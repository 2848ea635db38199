//! Lag of consumer groups, and resets of their offsets.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::events::Generator;
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::events::PROFILE;
use crate::produce::{LIMIT, consumed, produce};
use crate::seed;

tests! {
    Shared lag_is_what_lies_between_the_group_and_the_end,
    Alone keepers_offsets_count_where_a_node_can_read_them,
    Server a_server_tells_keepers_offsets,
    Single a_group_that_nobody_is_in_goes_on_where_it_is_told,
    Single a_group_with_a_member_is_refused_and_the_member_named,
    Single tables_with_offsets_in_keeper_read_again_from_there_on_and_nothing_else,
    Single tables_with_offsets_in_the_group_read_again_from_there_on_and_nothing_else,
    Single a_reset_that_was_killed_is_done_by_the_same_command,
    Single partitions_that_stay_are_read_once_while_messages_flow,
    Single a_node_that_does_not_answer_stands_against_it_and_nothing_is_dropped,
}

/// For one response of a broker.
const ANSWER: Duration = Duration::from_secs(10);
/// Partitions of a site's topic.
const PARTITIONS: i32 = 4;

fn consumer_config(site: &Site<'_>, group: &str, client: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", site.brokers()).set("group.id", group).set("client.id", client);
    config.set("enable.auto.commit", "false");
    config
}

pub(crate) fn consumer(site: &Site<'_>, group: &str, client: &str) -> anyhow::Result<BaseConsumer> {
    Ok(consumer_config(site, group, client).create()?)
}

/// Commits the same offset for every partition of the site's topic. Retries until consumers that
/// have just ended have left the group.
pub(crate) fn commit(site: &Site<'_>, group: &str, offset: i64) -> anyhow::Result<()> {
    let mut offsets = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        offsets.add_partition_offset(site.name(), partition, Offset::Offset(offset))?;
    }
    let consumer = consumer(site, group, "committer")?;
    wait_until("the offsets to be committed", LIMIT, || match consumer.commit(&offsets, CommitMode::Sync) {
        Ok(()) => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Continue(error.into()),
    })
}

/// The group's committed offsets on the site's topic, by partition.
fn committed(site: &Site<'_>, group: &str) -> anyhow::Result<Vec<Option<i64>>> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(site.name(), 0, PARTITIONS - 1);
    let found = consumer(site, group, "reader")?.committed_offsets(asked, ANSWER)?;
    Ok(found
        .elements()
        .iter()
        .map(|element| element.offset().to_raw().filter(|offset| *offset >= 0))
        .collect())
}

/// Produces messages with this timestamp into every partition of the site's topic.
pub(crate) fn fill(site: &Site<'_>, each: usize, time: i64) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
    for partition in 0..PARTITIONS {
        for number in 0..each {
            let payload = number.to_string();
            let record = BaseRecord::<str, str>::to(site.name()).payload(&payload);
            let record = record.partition(partition).timestamp(time);
            producer.send(record).map_err(|(error, _)| error)?;
        }
    }
    Ok(producer.flush(ANSWER)?)
}

pub(crate) fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// The lag on the site's topic from `topics groups GROUP --json`.
fn shown(site: &Site<'_>, group: &str) -> anyhow::Result<Value> {
    let outcome = site.must(&["topics", "groups", group, "--json"])?;
    let mut shown: Value = serde_json::from_str(&outcome.stdout)?;
    let groups = shown["groups"].as_array_mut().context("no groups")?;
    groups.retain(|lag| lag["topic"] == site.name());
    groups.pop().with_context(|| format!("not shown: {outcome}"))
}

fn lag_is_what_lies_between_the_group_and_the_end(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables that have read every message
    site.apply()?;
    let messages: Vec<_> =
        Generator::new(PROFILE, seed(site.name())?).take(100).map(|message| message.payload).collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_slice())).collect();
    produce(site, &values[..60])?;
    consumed(site)?;
    let name = site.name().to_owned();
    let shown_now = shown(site, &name)?;
    ensure!(shown_now["lag"] == 0 && shown_now["oldest_unread"].is_null(), "{shown_now}");
    // THEN they are named with their nodes, although the group has no member
    ensure!(
        shown_now["tables"][format!("{name}.kafka_events")].as_array().map(Vec::len) == Some(2),
        "{shown_now}"
    );
    ensure!(shown_now["members"] == 0, "{shown_now}");
    // WHEN they are detached while more messages are produced
    for node in 0..2 {
        site.query_on(node, "DETACH TABLE {db}.kafka_events SYNC")?;
    }
    let places = produce(site, &values[60..])?;
    // THEN these messages are the lag, by partition, with the timestamp of the oldest
    let away = shown(site, &name)?;
    ensure!(away["lag"] == 40, "{away}");
    for partition in away["partitions"].as_array().context("no partitions")? {
        let here = places.iter().filter(|place| partition["partition"] == place.partition);
        ensure!(partition["lag"] == here.count(), "{away}");
    }
    let first = places.iter().map(|place| place.second * 1000 + 999).min();
    ensure!(away["oldest_unread"].as_u64() == first, "{away}, wanted {first:?}");
    let table = site.must(&["topics", "groups"])?;
    ensure!(table.stdout.lines().any(|line| line.starts_with(&format!("{name} "))), "{table}");
    // WHEN the tables are attached THEN the lag disappears
    for node in 0..2 {
        site.query_on(node, "ATTACH TABLE {db}.kafka_events")?;
    }
    wait_until("no lag", LIMIT, || match shown(site, &name) {
        Ok(lag) if lag["lag"] == 0 => ControlFlow::Break(Ok(())),
        Ok(lag) => ControlFlow::Continue(anyhow!("{lag}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })
}

/// Creates a stand-in for a server's `system.zookeeper` with Keeper's offsets, on a node that lacks
/// this table.
pub(crate) fn show_keeper(site: &Site<'_>, node: usize) -> anyhow::Result<()> {
    site.query_on(
        node,
        "CREATE TABLE system.zookeeper (path String, name String, value String) ENGINE = Memory",
    )?;
    let path = format!("/posthouse/{}/kafka_events", site.name());
    let partition = format!("{path}/topics/{}/partitions/1", site.name());
    site.query_on(
        node,
        &format!(
            "INSERT INTO system.zookeeper VALUES ('{partition}', 'committed', '3'), ('{partition}', 'intent', '9'), \
             ('{path}/replicas', 'gone', '')"
        ),
    )?;
    Ok(())
}

fn a_server_tells_keepers_offsets() -> anyhow::Result<()> {
    // GIVEN tables on servers, which can read Keeper, that have read every message
    let stack = Stack::start(StackSpec::default(), &Progress::Lines)?;
    let site = Site::new(&stack, "groups_server")?;
    site.apply()?;
    fill(&site, 5, now()?)?;
    consumed(&site)?;
    // THEN Keeper's offsets count, and the lag is zero
    let shown = shown(&site, site.name())?;
    ensure!(shown["offsets"] == "keeper" && shown["lag"] == 0, "{shown}");
    Ok(())
}

fn keepers_offsets_count_where_a_node_can_read_them(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables that have read every message, by the group's offsets
    site.apply()?;
    fill(site, 5, now()?)?;
    consumed(site)?;
    let name = site.name().to_owned();
    ensure!(shown(site, &name)?["lag"] == 0);
    if site.query("EXISTS TABLE system.zookeeper")? == "1" {
        eprintln!("NOT RUN: the stand-in for system.zookeeper, since the server has the real one");
        return Ok(());
    }
    // WHEN Keeper, readable on one node, has a lower offset in one partition
    let shown_there = show_keeper(site, 0).and_then(|()| {
        let shown = shown(site, &name)?;
        let checked = site.posthouse(&["topics", "check"])?;
        Ok((shown, site.posthouse(&["topics", "reset", &name, "--to", "latest"])?, checked))
    });
    site.query_on(0, "DROP TABLE IF EXISTS system.zookeeper SYNC")?;
    let (shown, refused, checked) = shown_there?;
    // THEN Keeper's offset counts
    ensure!(shown["offsets"] == "keeper" && shown["lag"] == 2, "{shown}");
    ensure!(shown["partitions"][1]["committed"] == 3, "{shown}");
    // THEN a replica that no node has blocks a reset, because its offsets would win
    ensure!(refused.code == 1 && refused.stderr.contains("kafka_events/replicas/gone"), "{refused}");
    // THEN a check names it too, because the engine leaves partitions to it
    let stale = format!("keeper path /posthouse/{name}/kafka_events: Keeper knows gone there");
    ensure!(checked.code == 3 && checked.stdout.contains(&stale), "{checked}");
    Ok(())
}

fn a_group_that_nobody_is_in_goes_on_where_it_is_told(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a group at the end of old and new messages
    site.must(&["topics", "apply"])?;
    let (group, time) = (format!("{}_plain", site.name()), now()? - 3_600_000);
    fill(site, 6, time)?;
    fill(site, 4, time + 1_800_000)?;
    commit(site, &group, 10)?;
    let between = jiff::Timestamp::from_millisecond(time + 60_000)?.to_string();
    let reset = |to: &str, rest: &[&str]| {
        let line = [&["topics", "reset", &group, "--to", to, "--json"], rest].concat();
        site.posthouse(&line)
    };
    // WHEN a reset is planned only THEN no offset changes
    let planned = reset("earliest", &[])?;
    ensure!(planned.code == 3 && planned.stdout.contains("40 messages are replayed"), "{planned}");
    ensure!(committed(site, &group)? == vec![Some(10); 4], "changed by a look");
    // WHEN it is executed THEN the group is at these offsets, and a second reset has no change
    for (to, wanted) in [
        ("earliest", [0; 4]),
        (between.as_str(), [6; 4]),
        ("latest", [10; 4]),
        ("45m", [6; 4]),
        ("1:3,3:9", [6, 3, 6, 9]),
        ("1s", [10; 4]),
    ] {
        let done = reset(to, &["--execute"])?;
        ensure!(done.code == 0, "{to}: {done}");
        let found = committed(site, &group)?;
        ensure!(found == wanted.map(Some), "{to}: {found:?}");
        ensure!(reset(to, &[])?.code == 0, "{to} differs again");
    }
    // WHEN the offsets don't exist THEN every error is named and no offset changes
    let refused = reset("0:11,1:3,9:1", &["--execute"])?;
    ensure!(refused.code == 1, "{refused}");
    for part in ["partition 0 has the offsets 0 to 10, not 11", "has no partition 9"] {
        ensure!(refused.stderr.contains(part), "no {part:?}: {refused}");
    }
    ensure!(committed(site, &group)? == vec![Some(10); 4], "changed by a refusal");
    Ok(())
}

fn a_group_with_a_member_is_refused_and_the_member_named(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.must(&["topics", "apply"])?;
    fill(site, 5, now()?)?;
    // The second one is KIP-848's.
    ["classic", "consumer"].into_iter().try_for_each(|protocol| a_member_is_named(site, protocol))
}

fn a_member_is_named(site: &Site<'_>, protocol: &str) -> anyhow::Result<()> {
    // GIVEN a group with a member that has the topic assigned
    let group = format!("{}_{protocol}_app", site.name());
    commit(site, &group, 2)?;
    let member: BaseConsumer =
        consumer_config(site, &group, "the-app").set("group.protocol", protocol).create()?;
    member.subscribe(&[site.name()])?;
    wait_until("the member to have its partitions", LIMIT, || {
        member.poll(Duration::from_millis(100));
        match member.assignment() {
            Ok(assigned) if assigned.count() == 4 => ControlFlow::Break(Ok(())),
            assigned => ControlFlow::Continue(anyhow!("{assigned:?}")),
        }
    })?;
    // THEN every partition shows this member, and the offsets before the first unread message
    let lag = shown(site, &group)?;
    ensure!(lag["state"] == "Stable" && lag["members"] == 1 && lag["lag"] == 12, "{lag}");
    let partitions = lag["partitions"].as_array().context("no partitions")?;
    ensure!(partitions.iter().all(|partition| partition["member"] == "the-app"), "{lag}");
    // WHEN the group is to be reset THEN this is refused, and its offsets stay
    let refused = site.posthouse(&["topics", "reset", &group, "--to", "earliest", "--execute"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("the-app at 127.0.0.1"), "{refused}");
    ensure!(committed(site, &group)? == vec![Some(2); 4], "changed by a refusal");
    // WHEN the member has left THEN the reset succeeds
    member.unsubscribe();
    drop(member);
    site.must(&["topics", "reset", &group, "--to", "earliest", "--execute"])?;
    ensure!(committed(site, &group)? == vec![Some(0); 4], "not done");
    Ok(())
}

/// Makes a table beside the schema's that keeps partition and offset of every row, because merges
/// and time windows don't remove rows from it.
fn keep_every_row(site: &Site<'_>) -> anyhow::Result<()> {
    for node in 0..2 {
        site.query_on(
            node,
            "CREATE TABLE {db}.probe (part Int32, place Int64) ENGINE = MergeTree ORDER BY tuple()",
        )?;
        site.query_on(
            node,
            "CREATE MATERIALIZED VIEW {db}.probe_mv TO {db}.probe \
             AS SELECT _partition AS part, _offset AS place FROM {db}.kafka_events",
        )?;
    }
    // A poll that began before its view existed would be stored in neither table. So every consumer
    // restarts with the view.
    for node in 0..2 {
        site.query_on(node, "DROP TABLE {db}.kafka_events SYNC")?;
    }
    site.must(&["schema", "apply"])?;
    Ok(())
}

/// How often each message arrived, by partition and offset.
fn arrived(site: &Site<'_>) -> anyhow::Result<BTreeMap<(i32, i64), u64>> {
    let mut arrived = BTreeMap::new();
    for node in 0..2 {
        let rows =
            site.query_on(node, "SELECT part, place, count() FROM {db}.probe GROUP BY ALL FORMAT TSV")?;
        for row in rows.lines() {
            let mut cells = row.split('\t');
            let mut cell = || cells.next().context("a cell is missing");
            let place = (cell()?.parse()?, cell()?.parse()?);
            *arrived.entry(place).or_default() += cell()?.parse::<u64>()?;
        }
    }
    Ok(arrived)
}

/// The offset store of a test's tables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offsets {
    Keeper,
    Group,
}

fn reads_again_from_there_on_and_nothing_else(site: &Site<'_>, offsets: Offsets) -> anyhow::Result<()> {
    // GIVEN tables that have read every message, and a second copy of each row beside the schema
    site.apply()?;
    keep_every_row(site)?;
    fill(site, 50, now()?)?;
    consumed(site)?;
    ensure!(arrived(site)?.len() == 200, "{:?}", arrived(site)?);
    let name = site.name();
    // WHEN the group is set back by hand THEN tables with offsets in Keeper don't follow, and the
    // plan has a change
    if offsets == Offsets::Keeper {
        commit(site, name, 0)?;
        let planned = site.posthouse(&["topics", "reset", name, "--to", "earliest"])?;
        ensure!(planned.code == 3, "{planned}");
        commit(site, name, 50)?;
    }
    // WHEN a reset is planned THEN the plan names the tables and their nodes, and changes none
    let planned = site.posthouse(&["topics", "reset", name, "--to", "0:30,2:45"])?;
    let wanted = format!("drops and recreates {name}.kafka_events on ch1, ch2\n");
    ensure!(planned.code == 3 && planned.stdout.contains(&wanted), "{planned}");
    // WHEN it is reset to the middle of two partitions
    let done = site.must(&["topics", "reset", name, "--to", "0:30,2:45", "--execute"])?;
    ensure!(done.stdout.contains("25 messages are replayed"), "{done}");
    consumed(site)?;
    // THEN messages after these offsets have arrived twice, and all others once
    let again = |&(partition, offset): &(i32, i64)| {
        (partition == 0 && offset >= 30) || (partition == 2 && offset >= 45)
    };
    let found = arrived(site)?;
    let wrong: Vec<_> =
        found.iter().filter(|(place, count)| **count != 1 + u64::from(again(place))).collect();
    ensure!(found.len() == 200 && wrong.is_empty(), "{} places, wrong: {wrong:?}", found.len());
    // GIVEN a reset that was killed between its drops
    site.query_on(0, "DROP TABLE {db}.kafka_events SYNC")?;
    // WHEN it is repeated THEN it completes, and the schema is whole
    site.must(&["topics", "reset", name, "--to", "earliest", "--execute"])?;
    consumed(site)?;
    let found = arrived(site)?;
    let wrong: Vec<_> =
        found.iter().filter(|(place, count)| **count != 2 + u64::from(again(place))).collect();
    ensure!(found.len() == 200 && wrong.is_empty(), "{} places, wrong: {wrong:?}", found.len());
    site.must(&["schema", "check"])?;
    // GIVEN one that was killed before it created the tables
    for node in 0..2 {
        site.query_on(node, "DROP TABLE {db}.kafka_events SYNC")?;
    }
    commit(site, name, 40)?;
    // WHEN it is repeated THEN it creates them, at the committed offsets
    let resumed =
        site.must(&["topics", "reset", name, "--to", "0:40,1:40,2:40,3:40", "--execute", "--json"])?;
    ensure!(resumed.stdout.contains("\"moves\""), "{resumed}");
    consumed(site)?;
    let wrong = arrived(site)?;
    let wrong: Vec<_> = wrong
        .iter()
        .filter(|(place, count)| **count != 2 + u64::from(again(place)) + u64::from(place.1 >= 40))
        .collect();
    ensure!(wrong.is_empty(), "wrong: {wrong:?}");
    // THEN another table of the group isn't dropped, and blocks the reset
    site.query_on(
        1,
        &format!(
            "CREATE TABLE {{db}}.other (message String) ENGINE = Kafka SETTINGS kafka_broker_list = '{}', \
             kafka_topic_list = '{name}', kafka_group_name = '{name}', kafka_format = 'RawBLOB'",
            site.brokers()
        ),
    )?;
    let refused = site.posthouse(&["topics", "reset", name, "--to", "earliest", "--execute"])?;
    ensure!(refused.code == 1 && refused.stderr.contains(&format!("{name}.other on ch2")), "{refused}");
    site.must(&["schema", "check"])?;
    Ok(())
}

fn tables_with_offsets_in_keeper_read_again_from_there_on_and_nothing_else(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    reads_again_from_there_on_and_nothing_else(site, Offsets::Keeper)
}

fn tables_with_offsets_in_the_group_read_again_from_there_on_and_nothing_else(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    site.set("events", "offsets", "group");
    reads_again_from_there_on_and_nothing_else(site, Offsets::Group)
}

fn a_reset_that_was_killed_is_done_by_the_same_command(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables that have read every message, and a second copy of each row beside the schema
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    site.apply()?;
    keep_every_row(site)?;
    fill(site, 50, now()?)?;
    consumed(site)?;
    let line = ["topics", "reset", site.name(), "--to", "0:30,1:50,2:0,3:45", "--execute"];
    let again = |&(partition, offset): &(i32, i64)| match partition {
        0 => offset >= 30,
        2 => true,
        3 => offset >= 45,
        _ => false,
    };
    let start = Instant::now();
    site.must(&line)?;
    let whole = start.elapsed();
    consumed(site)?;
    for _ in 0..4 {
        let before = arrived(site)?;
        // WHEN a reset is killed at a random time, and repeated once its lock has expired
        let mut killed = site.spawn(&line)?;
        std::thread::sleep(whole.mul_f64(random.random()));
        killed.kill()?;
        killed.wait()?;
        let stands = site.query("EXISTS TABLE {db}.kafka_events")? == "1";
        eprintln!("{}: killed, kafka_events stands on ch1: {stands}", site.name());
        site.must(&line)?;
        consumed(site)?;
        site.must(&["schema", "check"])?;
        // THEN messages after the offsets have arrived once or twice more, and no others have
        let after = arrived(site)?;
        let wrong: Vec<_> = after
            .iter()
            .map(|(place, count)| (place, count - before.get(place).copied().unwrap_or_default()))
            .filter(|(place, more)| if again(place) { !(1..=2).contains(more) } else { *more != 0 })
            .collect();
        ensure!(after.len() == 200 && wrong.is_empty(), "{} places, wrong: {wrong:?}", after.len());
    }
    Ok(())
}

fn partitions_that_stay_are_read_once_while_messages_flow(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN tables that read a steady flow of messages
    site.apply()?;
    keep_every_row(site)?;
    let load = Load::start(&site.brokers(), site.name(), PROFILE, seed(site.name())?, 4_000, 60_000)?;
    wait_until("the message to have arrived", LIMIT, || match arrived(site) {
        Ok(arrived) if arrived.contains_key(&(0, 100)) => ControlFlow::Break(Ok(())),
        Ok(arrived) => ControlFlow::Continue(anyhow!("{} others", arrived.len())),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    // WHEN one partition is reset to its 100th message, in the middle of the flow
    site.must(&["topics", "reset", site.name(), "--to", "0:100", "--execute"])?;
    let produced = load.wait()?;
    consumed(site)?;
    // THEN every message has arrived: messages of this partition that were read before the reset
    // twice, all others once
    let arrived = arrived(site)?;
    let wrong = |&(&(partition, offset), count): &(&(i32, i64), &u64)| match (partition, offset) {
        (0, 100) => *count != 2,
        (0, 101..) => !(1..=2).contains(count),
        _ => *count != 1,
    };
    let wrong: Vec<_> = arrived.iter().filter(wrong).take(10).collect();
    ensure!(wrong.is_empty(), "wrong, among others: {wrong:?}");
    ensure!(arrived.len() as u64 == produced.messages(), "{} of {produced:?}", arrived.len());
    Ok(())
}

fn a_node_that_does_not_answer_stands_against_it_and_nothing_is_dropped(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN tables that have read some messages, and a config with one unreachable node
    site.apply()?;
    fill(site, 5, now()?)?;
    consumed(site)?;
    let before = committed(site, site.name())?;
    let node = site.config_mut()["shards"][1]["replicas"][0].as_table_mut().context("no replica")?;
    let url = node.insert("url".to_owned(), "http://127.0.0.1:1".into()).context("no url")?;
    // WHEN their group is to be reset THEN this is refused, and no table is dropped and no offset
    // committed
    let refused = site.posthouse(&["topics", "reset", site.name(), "--to", "earliest", "--execute"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("node ch2 is unreachable"), "{refused}");
    ensure!(committed(site, site.name())? == before, "changed by a refusal");
    // THEN the lag is shown nonetheless, with a note about the unknown tables
    let shown = site.must(&["topics", "groups"])?;
    ensure!(shown.stdout.contains("note: ch2's tables are not known"), "{shown}");
    let node = site.config_mut()["shards"][1]["replicas"][0].as_table_mut().context("no replica")?;
    node.insert("url".to_owned(), url);
    site.must(&["schema", "check"])?;
    // WHEN a table of the group is detached THEN the reset is refused too, because its offsets stay
    // in Keeper
    site.query_on(1, "DETACH TABLE {db}.kafka_events SYNC")?;
    let refused = site.posthouse(&["topics", "reset", site.name(), "--to", "earliest", "--execute"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("kafka_events on ch2 is detached"), "{refused}");
    site.query_on(1, "ATTACH TABLE {db}.kafka_events")?;
    Ok(())
}
