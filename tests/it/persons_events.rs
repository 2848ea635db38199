//! Events with their persons, joined on each shard with local distinct ids.

use std::collections::BTreeMap;

use anyhow::ensure;
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::events::event;
use crate::persons::{put, rows, stop_merges, uuid};
use crate::produce::{consumed, produce};
use crate::seed;

tests! {
    Shared events_get_the_person_of_now_from_the_copy_of_their_own_shard,
}

/// The person of an event whose distinct id has none.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

fn events_get_the_person_of_now_from_the_copy_of_their_own_shard(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events of many distinct ids on both shards, and versions of most of these distinct ids
    site.materialize(&["$browser"]);
    site.with_persons()?.apply()?;
    stop_merges(site)?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let mut events = BTreeMap::new();
    let mut messages = Vec::new();
    for number in 0..400 {
        let distinct_id = format!("user-{}", random.random_range(0..60));
        let mut event = event(number);
        event.insert("distinct_id".to_owned(), distinct_id.clone().into());
        events.insert(event["uuid"].as_str().unwrap_or_default().to_owned(), distinct_id);
        messages.push(Value::Object(event).to_string());
    }
    let mut latest: BTreeMap<String, (u64, bool, String)> = BTreeMap::new();
    let mut versions = Vec::new();
    for number in 0..50 {
        let distinct_id = format!("user-{number}");
        for version in 0..random.random_range(1_u64..5) {
            let (person, deleted) = (uuid(&mut random), random.random_bool(0.2));
            let message = |team| json!({"distinct_id": distinct_id, "person_id": person, "team_id": team, "version": version, "is_deleted": u8::from(deleted)});
            versions.push(message(7).to_string().into_bytes());
            latest.insert(distinct_id.clone(), (version, deleted, person.clone()));
        }
        // Another team's person of the same distinct id must not show.
        let other = json!({"distinct_id": distinct_id, "person_id": uuid(&mut random), "team_id": 8, "version": 99, "is_deleted": 0});
        versions.push(other.to_string().into_bytes());
    }
    versions.shuffle(&mut random);
    // Of equal versions a deletion counts.
    for deleted in [0, 1] {
        let tie = json!({"distinct_id": "user-0", "person_id": uuid(&mut random), "team_id": 7, "version": 50, "is_deleted": deleted});
        put(site, true, &[tie.to_string().into_bytes()])?;
    }
    latest.insert("user-0".to_owned(), (50, true, String::new()));
    // WHEN all messages are consumed
    put(site, true, &versions)?;
    produce(site, &messages.iter().map(|message| Some(message.as_bytes())).collect::<Vec<_>>())?;
    consumed(site)?;
    // THEN every node gives every event the same person as a model, or none
    let always = "team_id = 7, since = '2026-01-01', until = '2027-01-01'";
    let person = |distinct_id: &String| match latest.get(distinct_id) {
        Some((_, false, person)) => person.clone(),
        _ => NOBODY.to_owned(),
    };
    let wanted: Vec<Value> =
        events.iter().map(|(uuid, distinct_id)| json!([uuid, "Firefox", person(distinct_id)])).collect();
    let joined = format!(
        "SELECT toString(uuid) AS event_uuid, `mat_$browser`, toString(person_id) FROM {{db}}.events_with_person({always}) ORDER BY event_uuid"
    );
    for node in 0..site.stack.nodes().len() {
        let found = rows(site, node, &joined)?;
        ensure!(found == wanted, "on node {node}: {found:?} are not {wanted:?}");
    }
    let ids: Vec<Value> = latest
        .iter()
        .filter(|(_, (_, deleted, _))| !deleted)
        .map(|(id, (_, _, person))| json!([id, person]))
        .collect();
    let found = rows(
        site,
        1,
        "SELECT distinct_id, toString(person_id) FROM {db}.person_distinct_ids(team_id = 7) ORDER BY distinct_id",
    )?;
    ensure!(found == ids, "{found:?} are not {ids:?}");
    // WHEN the distinct ids of one node alone are changed THEN on any initiating node only that
    // shard's events change
    let somebody = uuid(&mut random);
    site.query_on(1, &format!("INSERT INTO {{db}}.person_distinct_id (team_id, distinct_id, person_id, version) SELECT 7, 'user-' || toString(number), '{somebody}', 1000 FROM numbers(60)"))?;
    for node in 0..site.stack.nodes().len() {
        let changed = site.query_on(node, &format!(
            "SELECT count() > 0, sum((person_id = '{somebody}') != (sipHash64(distinct_id) % 4 >= 1)) FROM {{db}}.events_with_person({always})"
        ))?;
        ensure!(changed == "1\t0", "on node {node}: {changed}");
    }
    Ok(())
}
