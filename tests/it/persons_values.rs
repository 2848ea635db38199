//! Extreme values: frequent moves, many distinct ids, large properties.

use anyhow::ensure;
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::Rules;
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::persons_source::{follows, person_database, same};
use crate::seed;

tests! {
    Shared a_distinct_id_that_moves_a_thousand_times_is_where_it_went_last,
    Shared a_person_with_a_hundred_thousand_distinct_ids_is_merged,
    Shared properties_that_were_not_sent_are_looked_up,
    Shared a_megabyte_of_odd_properties_waits_for_its_topic_and_arrives_byte_for_byte,
}

fn a_distinct_id_that_moves_a_thousand_times_is_where_it_went_last(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN two persons and a distinct id
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        "INSERT INTO posthog_person (id, uuid, team_id) VALUES (1, gen_random_uuid(), 1), (2, gen_random_uuid(), 1);
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id, version) VALUES (1, 'restless', 1, 0);",
    )?;
    // WHEN it moves back and forth, in separate transactions and many times within one
    let moves = "UPDATE posthog_persondistinctid SET person_id = 3 - person_id, version = version + 1";
    for _ in 0..500 {
        client.batch_execute(moves)?;
    }
    let mut tx = client.transaction()?;
    for _ in 0..501 {
        tx.batch_execute(moves)?;
    }
    tx.commit()?;
    // THEN it belongs to the second one everywhere
    let last = client.query_one("SELECT person_id, version FROM posthog_persondistinctid", &[])?;
    ensure!((last.get::<_, i64>(0), last.get::<_, i64>(1)) == (2, 1001), "{last:?}");
    same(site, &person_db, &daemon)
}

fn a_person_with_a_hundred_thousand_distinct_ids_is_merged(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a person with a hundred thousand distinct ids, inserted at once while posthouse streams
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        "INSERT INTO posthog_person (id, uuid, team_id) VALUES (1, gen_random_uuid(), 1), (2, gen_random_uuid(), 1);
         INSERT INTO posthog_persondistinctid (team_id, distinct_id, person_id, version)
            SELECT 1, 'id ' || n, 1, 0 FROM generate_series(1, 100000) AS n;",
    )?;
    // WHEN it is merged into another THEN all belong to the other one
    client.batch_execute(
        "BEGIN;
         UPDATE posthog_persondistinctid SET person_id = 2, version = version + 1;
         DELETE FROM posthog_person WHERE id = 1;
         COMMIT;",
    )?;
    same(site, &person_db, &daemon)
}

fn properties_that_were_not_sent_are_looked_up(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN properties in TOAST storage, because they do not compress
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    let mut client = person_db.admin()?;
    client.batch_execute(
        "INSERT INTO posthog_person (id, uuid, team_id, properties)
            SELECT n, gen_random_uuid(), 1, jsonb_build_object('large',
                (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 400) AS m))
            FROM generate_series(1, 20) AS n",
    )?;
    follows(site, &person_db, &daemon)?;
    // WHEN other columns change, once and several times within a transaction, one before its person
    // goes
    client.batch_execute(
        "UPDATE posthog_person SET is_identified = true;
         BEGIN;
         UPDATE posthog_person SET is_identified = false WHERE id <= 10;
         UPDATE posthog_person SET properties = '{}' WHERE id = 3;
         UPDATE posthog_person SET is_identified = true WHERE id <= 5;
         DELETE FROM posthog_person WHERE id = 2;
         COMMIT;
         DELETE FROM posthog_person WHERE id = 7;",
    )?;
    // THEN the properties are unchanged
    same(site, &person_db, &daemon)
}

/// Every character that JSON escapes, and some that parsers often break. A NUL is text in jsonb
/// only when its backslash is. The rest is random, because a topic's limit counts compressed bytes.
fn odd(length: usize, random: &mut StdRng) -> String {
    let odd = "\u{1}\u{1f}\u{7f}\"\\\\u0001\\u0000/\n\r\t\u{2028}\u{feff}\u{fffd}\u{10ffff}e\u{301}👩🏽\u{200d}🚀'$${}";
    let random = (0..length).map(|_| char::from(random.random_range(b' '..=b'~')));
    odd.chars().chain(random).chain(odd.chars()).collect()
}

fn a_megabyte_of_odd_properties_waits_for_its_topic_and_arrives_byte_for_byte(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a posthouse that streams into topics with a limit of a megabyte
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    let (topic, _) = site.person_topics();
    // WHEN a person has more
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let properties =
        json!({ "odd": odd(1_500_000, &mut random), "key \u{1} \"": [null, 1e300, -0.1] }).to_string();
    let uuid = "018f5a7e-0000-4000-8000-000000000001";
    let noise = "INSERT INTO posthog_person (uuid, team_id) VALUES (gen_random_uuid(), 1)";
    let mut client = person_db.admin()?;
    client.batch_execute(noise)?;
    client.execute(
        "INSERT INTO posthog_person (uuid, team_id, properties) VALUES ($1::text::uuid, 1, $2::text::jsonb)",
        &[&uuid, &properties],
    )?;
    client.batch_execute(noise)?;
    // THEN the person, the topic and the setting are named
    let log = daemon.says("raise max.message.bytes of the topic")?;
    ensure!(log.contains(&format!("1:{uuid}")) && log.contains(&topic), "{log}");
    // WHEN the topic's limit is raised THEN streaming continues without a restart
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("topics.toml");
    let room = "partitions = 2\nreplication_factor = 1\nconfig = { \"max.message.bytes\" = 8000000 }\n";
    std::fs::write(&file, format!("[topics.{topic}]\n{room}"))?;
    site.set("kafka", "topics_file", file.display().to_string());
    site.must(&["topics", "apply"])?;
    same(site, &person_db, &daemon)
}
