//! Valid messages: each event is stored field by field.
//!
//! Every documented and tolerated notation is covered.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use posthouse_tests::events::{Generator, Profile};
use posthouse_tests::site::Site;
use serde_json::{Map, Value, json};

use crate::produce::{Place, consumed, produce};
use crate::seed;

tests! {
    Shared generated_events_arrive_field_by_field,
    Shared every_way_to_write_a_sound_event_is_understood,
}

/// 2026-11-10 12:00:00 UTC in µs.
const NOON: i64 = 1_794_312_000_000_000;

/// Events only, spread over months and persons.
pub(crate) const PROFILE: Profile =
    Profile { teams: 20, people: 5_000, days: 90, until: NOON, again: 0, broken: 0 };

/// Every event by its uuid, with the columns as the server formats them.
fn rows(site: &Site<'_>) -> anyhow::Result<HashMap<String, Value>> {
    let rows = site.query(
        "SELECT * REPLACE (toString(timestamp) AS timestamp, toString(created_at) AS created_at, \
         toUnixTimestamp(_timestamp) AS _timestamp) FROM {db}.events FORMAT JSONEachRow \
         SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_escape_forward_slashes = 0",
    )?;
    let mut by_uuid = HashMap::new();
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row)?;
        let uuid = row["uuid"].as_str().context("no uuid")?.to_owned();
        ensure!(by_uuid.insert(uuid, row).is_none(), "an event is there twice");
    }
    Ok(by_uuid)
}

/// The expected row for a message with every field in the documented form.
fn wanted(message: &[u8], place: Place) -> anyhow::Result<Value> {
    let sent: Value = serde_json::from_slice(message)?;
    let properties: Value = serde_json::from_str(sent["properties"].as_str().context("no properties")?)?;
    Ok(json!({
        "uuid": sent["uuid"], "event": sent["event"], "properties": sent["properties"],
        "timestamp": sent["timestamp"], "team_id": sent["team_id"], "distinct_id": sent["distinct_id"],
        "elements_hash": "", "created_at": sent["created_at"], "_timestamp": place.second,
        "_offset": place.offset, "elements_chain": sent["elements_chain"],
        "mat_$current_url": properties["$current_url"],
        "mat_$browser_version": properties["$browser_version"].to_string(),
        "mat_$absent": "",
    }))
}

fn generated_events_arrive_field_by_field(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema with a string, a number and an absent property as columns
    site.materialize(&["$current_url", "$browser_version", "$absent"]);
    site.apply()?;
    // WHEN generated events are produced
    let messages: Vec<_> = Generator::new(PROFILE, seed(site.name())?).take(5_000).collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.payload.as_slice())).collect();
    let places = produce(site, &values)?;
    consumed(site)?;
    // THEN each is stored once, every column as sent, and no other row is
    let found = rows(site)?;
    ensure!(found.len() == messages.len(), "{} of {} events", found.len(), messages.len());
    for (message, place) in messages.iter().zip(places) {
        let wanted = wanted(&message.payload, place)?;
        let row = found.get(&message.key).with_context(|| format!("{} is missing", message.key))?;
        ensure!(*row == wanted, "{row:#} is not {wanted:#}");
    }
    let stored = site.stored()?;
    ensure!(stored.dead_rows == 0, "{stored:?}");
    // THEN every row is on its distinct_id's shard, and both shards have some
    let shards = site.query(
        "SELECT uniqExact(_shard_num), \
         countIf(_shard_num != if(sipHash64(distinct_id) % 4 < 1, 1, 2)) FROM {db}.events",
    )?;
    ensure!(shards == "2\t0", "{shards}");
    Ok(())
}

/// An event with every field. Its uuid ends with `number`.
pub(crate) fn event(number: usize) -> Map<String, Value> {
    let event = json!({
        "uuid": format!("018f5a7e-0000-4000-8000-{number:012}"),
        "event": "$pageview",
        "properties": "{\"$browser\": \"Firefox\"}",
        "timestamp": "2026-11-01 10:42:06.502000",
        "team_id": 7,
        "distinct_id": "user-1",
        "elements_chain": "a:href=\"/\"",
        "created_at": "2026-11-01 10:42:07.000001",
    });
    event.as_object().cloned().unwrap_or_default()
}

/// Variants of a valid message, with their fields and the resulting columns.
fn ways() -> Vec<(&'static str, Value, Value)> {
    let big = format!("{{\"text\":\"{}\"}}", "x".repeat(1_000_000));
    let noon = "2026-11-01 12:00:00.000000";
    vec![
        (
            "unknown fields",
            json!({"person_mode": "full", "nested": {"a": [1, {}]}, "n": 1.5, "x": null}),
            json!({}),
        ),
        ("a T", json!({"timestamp": "2026-11-01T12:00:00"}), json!({"timestamp": noon})),
        ("a T and a Z", json!({"timestamp": "2026-11-01T12:00:00.000Z"}), json!({"timestamp": noon})),
        ("an offset", json!({"timestamp": "2026-11-01T14:30:00+02:30"}), json!({"timestamp": noon})),
        (
            "an offset without a colon",
            json!({"timestamp": "2026-11-01 07:00:00-0500"}),
            json!({"timestamp": noon}),
        ),
        (
            "nanoseconds",
            json!({"timestamp": "2026-11-01 12:00:00.123456789"}),
            json!({"timestamp": "2026-11-01 12:00:00.123456"}),
        ),
        (
            "the first day",
            json!({"timestamp": "1970-01-01 00:00:00"}),
            json!({"timestamp": "1970-01-01 00:00:00.000000"}),
        ),
        (
            "a leap day",
            json!({"timestamp": "2024-02-29 23:59:59.999999"}),
            json!({"timestamp": "2024-02-29 23:59:59.999999"}),
        ),
        (
            "the year 2299",
            json!({"timestamp": "2299-12-31 23:59:59"}),
            json!({"timestamp": "2299-12-31 23:59:59.000000"}),
        ),
        (
            "the year 1900",
            json!({"timestamp": "1900-01-01 00:00:00"}),
            json!({"timestamp": "1900-01-01 00:00:00.000000"}),
        ),
        (
            "created_at with a Z",
            json!({"created_at": "2026-11-01T12:00:00.5Z"}),
            json!({"created_at": "2026-11-01 12:00:00.500000"}),
        ),
        ("no properties", json!({"properties": null}), json!({"properties": "", "mat_$browser": ""})),
        ("no elements_chain", json!({"elements_chain": null}), json!({"elements_chain": ""})),
        (
            "properties as an object",
            json!({"properties": {"$browser": "Edge", "n": [1, 2.5]}}),
            json!({"properties": "{\"$browser\":\"Edge\",\"n\":[1,2.5]}", "mat_$browser": "Edge"}),
        ),
        (
            "properties that are no JSON",
            json!({"properties": "not json"}),
            json!({"properties": "not json", "mat_$browser": ""}),
        ),
        ("a large team", json!({"team_id": i64::MAX}), json!({"team_id": i64::MAX})),
        ("a negative team", json!({"team_id": i64::MIN}), json!({"team_id": i64::MIN})),
        (
            "unicode",
            json!({"distinct_id": "użytkownik-漢字-🦔", "event": "zażółć"}),
            json!({"distinct_id": "użytkownik-漢字-🦔"}),
        ),
        ("an escaped NUL", json!({"distinct_id": "a\u{0}b"}), json!({"distinct_id": "a\u{0}b"})),
        ("quotes and breaks", json!({"distinct_id": "a\"\\\n\t'b"}), json!({"distinct_id": "a\"\\\n\t'b"})),
        ("an empty distinct_id", json!({"distinct_id": ""}), json!({"distinct_id": ""})),
        ("a megabyte of properties", json!({"properties": big}), json!({"properties": big})),
    ]
}

fn every_way_to_write_a_sound_event_is_understood(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events in unusual notations
    site.materialize(&["$browser"]);
    site.apply()?;
    let mut cases = Vec::new();
    for (number, (name, sent, changed)) in ways().into_iter().enumerate() {
        let (mut message, mut wanted) = (event(number), event(number));
        for (key, value) in sent.as_object().context("an object")? {
            message.insert(key.clone(), value.clone());
            wanted.entry(key.clone()).and_modify(|wanted| *wanted = value.clone());
        }
        wanted
            .entry("mat_$browser")
            .or_insert_with(|| if sent["properties"].is_null() { "Firefox".into() } else { "".into() });
        for (key, value) in changed.as_object().context("an object")? {
            wanted.insert(key.clone(), value.clone());
        }
        cases.push((name, serde_json::to_string(&message)?, wanted));
    }
    // The same without some fields, and with white space around everything.
    let number = cases.len();
    let mut message = event(number);
    for field in ["properties", "elements_chain", "created_at"] {
        message.remove(field);
    }
    let bare = json!({"properties": "", "elements_chain": "", "elements_hash": ""});
    cases.push((
        "absent fields",
        serde_json::to_string(&message)?,
        bare.as_object().cloned().unwrap_or_default(),
    ));
    let spaced = serde_json::to_string_pretty(&event(number + 1))?;
    cases.push(("white space", format!(" \t\r\n {spaced} \n"), event(number + 1)));
    // WHEN they are produced
    let values: Vec<_> = cases.iter().map(|(_, text, _)| Some(text.as_bytes())).collect();
    let places = produce(site, &values)?;
    consumed(site)?;
    // THEN each is an event with the expected columns
    let found = rows(site)?;
    let letters = site.query("SELECT error, left(raw_message, 300) FROM {db}.events_dead_letter")?;
    ensure!(letters.is_empty(), "dead letters: {letters}");
    for (number, ((name, _, wanted), place)) in cases.iter().zip(places).enumerate() {
        let uuid = &event(number)["uuid"];
        let row =
            found.get(uuid.as_str().unwrap_or_default()).with_context(|| format!("{name} is missing"))?;
        for (column, wanted) in wanted {
            ensure!(row[column] == *wanted, "{name}: {column} is {:#}, not {wanted:#}", row[column]);
        }
        ensure!(
            (&row["_offset"], &row["_timestamp"]) == (&json!(place.offset), &json!(place.second)),
            "{name}: {row}"
        );
        if *name == "absent fields" {
            let moment = site.query(&format!("SELECT toString(toDateTime64({}, 6, 'UTC'))", place.second))?;
            ensure!(row["created_at"] == moment, "{name}: created_at is {}, not {moment}", row["created_at"]);
        }
    }
    ensure!(found.len() == cases.len(), "{} rows of {} messages", found.len(), cases.len());
    Ok(())
}
