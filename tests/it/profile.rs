//! Event columns of the config and of profiles: conversion, dead letters, materialized columns.

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use toml::Table;

use crate::hostile_events::{apply, outcomes, with};
use crate::seed;

tests! {
    Shared every_type_of_an_own_column_takes_its_values_and_names_all_others,
    Shared the_posthog_profile_stores_what_its_messages_have,
}

/// Messages of the first test: every value of every column, several times.
const MESSAGES: usize = 600;

/// An own column with values that it takes, each with its stored form, and values that make a dead
/// letter. The first stored form is that of a missing field.
struct OwnColumn {
    name: &'static str,
    keys: &'static str,
    default: Value,
    valid: Vec<(Value, Value)>,
    wrong: Vec<Value>,
}

/// Values that are stored as they are.
fn same(values: &[Value]) -> Vec<(Value, Value)> {
    values.iter().map(|value| (value.clone(), value.clone())).collect()
}

fn own_columns() -> Vec<OwnColumn> {
    let zero = "00000000-0000-0000-0000-000000000000";
    let id = "0190a5c2-6f2a-7000-8000-1234567890ab";
    let column = |name, keys, default: Value, valid, wrong: &[Value]| OwnColumn {
        name,
        keys,
        default,
        valid,
        wrong: wrong.to_vec(),
    };
    let no_uuid = [json!("x"), json!(5), json!(""), json!({"a": 1}), json!(true)];
    let no_enum = [json!("none"), json!(""), json!(0), json!([])];
    vec![
        column("person", "type = 'UUID'", json!(zero), same(&[json!(id)]), &no_uuid),
        column("perhaps", "type = 'Nullable(UUID)'", Value::Null, same(&[json!(id)]), &no_uuid),
        column(
            "small",
            "type = 'Int8'",
            json!(0),
            vec![(json!(5), json!(5)), (json!("-7"), json!(-7)), (json!(-128), json!(-128))],
            &[json!(300), json!(-129), json!(1.5), json!("x"), json!(""), json!(true), json!([1])],
        ),
        column(
            "large",
            "type = 'Nullable(UInt64)'",
            Value::Null,
            same(&[json!(u64::MAX), json!(0)]),
            &[json!(-1), json!("18446744073709551616"), json!("1e3")],
        ),
        column(
            "score",
            "type = 'Float64', path = ['context', 'score']",
            json!(0),
            vec![(json!(1.5), json!(1.5)), (json!("2e3"), json!(2000)), (json!(7), json!(7))],
            &[json!("nan"), json!("-inf"), json!("x"), json!(false), json!({})],
        ),
        column(
            "is paid",
            "type = 'Bool', path = ['context', 'is paid'], index = 'minmax'",
            json!(false),
            vec![(json!(true), json!(true)), (json!(1), json!(true)), (json!("false"), json!(false))],
            &[json!("yes"), json!(2), json!(""), json!([true])],
        ),
        column(
            "seen_at",
            "type = \"DateTime64(3, 'UTC')\"",
            json!("1970-01-01 00:00:00.000"),
            vec![(json!("2026-01-02T03:04:05.678+01:00"), json!("2026-01-02 02:04:05.678"))],
            &[json!("yesterday"), json!(1_767_000_000), json!("2026-13-01 00:00:00"), json!("")],
        ),
        column(
            "exactly_at",
            "type = \"Nullable(DateTime64(9, 'UTC'))\"",
            Value::Null,
            same(&[json!("2026-01-02 03:04:05.123456789"), json!("2261-12-31 23:59:59.000000000")]),
            &[json!("10:42"), json!("2299-01-01 00:00:00"), json!("2262-04-12 00:00:00")],
        ),
        column(
            "whole_at",
            "type = \"DateTime64(0, 'UTC')\"",
            json!("1970-01-01 00:00:00"),
            same(&[json!("1900-01-01 00:00:00"), json!("2299-12-31 23:59:59")]),
            &[json!("1899-12-31 23:59:59"), json!("10:42")],
        ),
        column(
            "second",
            "type = \"DateTime('UTC')\"",
            json!("1970-01-01 00:00:00"),
            same(&[json!("2026-01-02 03:04:05"), json!("2106-02-07 06:28:15")]),
            &[json!("10:42"), json!("1969-12-31 23:59:59"), json!("2106-02-07 06:28:16"), json!(7)],
        ),
        column(
            "mode",
            "type = \"Enum8('full' = 0, 'x y' = -3)\"",
            json!("x y"),
            same(&[json!("full"), json!("x y")]),
            &no_enum,
        ),
        column(
            "perhaps_mode",
            "type = \"Nullable(Enum8('a', 'b'))\"",
            Value::Null,
            same(&[json!("a"), json!("b")]),
            &no_enum,
        ),
        column(
            "tags",
            "type = 'Array(String)', codec = 'ZSTD(3)'",
            json!([]),
            vec![
                (json!(["a", "b\n\"ü"]), json!(["a", "b\n\"ü"])),
                (json!([]), json!([])),
                (json!("[\"in a text\"]"), json!(["in a text"])),
            ],
            &[json!("a"), json!({"a": 1}), json!(5)],
        ),
        column(
            "labels",
            "type = 'Map(String, String)'",
            json!({}),
            same(&[json!({"a": "b", "": "c"}), json!({})]),
            &[json!([1]), json!("x"), json!(true)],
        ),
        column(
            "word",
            "type = 'LowCardinality(String)', field = 'wort'",
            json!(""),
            vec![
                (json!("wörd"), json!("wörd")),
                (json!(5), json!("5")),
                (json!({"a": 1}), json!("{\"a\":1}")),
            ],
            &[],
        ),
        column(
            "lenient",
            "type = 'Int32', invalid = 'default'",
            json!(0),
            vec![(json!(7), json!(7)), (json!("x"), json!(0)), (json!({}), json!(0))],
            &[],
        ),
        column(
            "price",
            "type = 'Decimal(9, 2)'",
            json!(0),
            vec![(json!("1.25"), json!(1.25)), (json!("x"), json!(0))],
            &[],
        ),
    ]
}

/// Writes the value where the column reads it.
fn put(message: &mut Map<String, Value>, column: &OwnColumn, value: Value) {
    let (place, key) = match column.name {
        "score" | "is paid" => {
            let context = message.entry("context").or_insert_with(|| json!({}));
            (context.as_object_mut().expect("an object"), column.name)
        }
        "word" => (message, "wort"),
        name => (message, name),
    };
    place.insert(key.to_owned(), value);
}

/// A message, the values that it is stored with, and the columns that make it a dead letter.
fn message(
    random: &mut StdRng,
    columns: &[OwnColumn],
    number: usize,
) -> (Vec<u8>, Map<String, Value>, Vec<String>) {
    let surplus = json!({"surplus": "x", "context": {"surplus": [1]}});
    let mut fields = surplus.as_object().expect("an object").clone();
    let (mut stored, mut wrong) = (Map::new(), Vec::new());
    for column in columns {
        stored.insert(column.name.to_owned(), column.default.clone());
        match random.random_range(0..100) {
            0..30 => {}
            30..40 => put(&mut fields, column, Value::Null),
            40..44 if !column.wrong.is_empty() => {
                wrong.push(column.name.to_owned());
                put(&mut fields, column, column.wrong.choose(random).expect("one").clone());
            }
            _ => {
                let (sent, kept) = column.valid.choose(random).expect("one").clone();
                put(&mut fields, column, sent);
                stored.insert(column.name.to_owned(), kept);
            }
        }
    }
    (with(number, Value::Object(fields)).into_bytes(), stored, wrong)
}

fn every_type_of_an_own_column_takes_its_values_and_names_all_others(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN own columns of every type, and a column that is computed from them
    let columns = own_columns();
    let lines: Vec<String> =
        columns.iter().map(|column| format!("{{ name = '{}', {} }}", column.name, column.keys)).collect();
    let computed = "{ name = 'tag_count', type = 'UInt64', expression = 'length(tags)', index = 'minmax' }";
    let text = format!("columns = [{}]\nmaterialized = [{computed}]", lines.join(", "));
    let events = site.config_mut()["events"].as_table_mut().context("a table")?;
    events.extend(text.parse::<Table>()?);
    apply(site)?;
    // THEN the schema is as desired
    site.must(&["schema", "plan"])?;
    // WHEN messages have every kind of value
    let mut random = StdRng::seed_from_u64(seed("own_columns")?);
    let cases: Vec<_> = (0..MESSAGES).map(|number| message(&mut random, &columns, number)).collect();
    let messages: Vec<Vec<u8>> = cases.iter().map(|(message, _, _)| message.clone()).collect();
    let outcomes = outcomes(site, &messages)?;
    // THEN only fields that no column stores are reported as unused
    let unused = site.posthouse(&["schema", "unused-fields"])?;
    ensure!(unused.code == 3 && !unused.stdout.contains("perhaps"), "{unused}");
    ensure!(unused.stdout.contains("surplus") && unused.stdout.contains("context.surplus"), "{unused}");
    // THEN each is stored with its values, or kept with a reason for each wrong one
    let mut dead = 0;
    for ((message, stored, wrong), outcome) in cases.iter().zip(outcomes) {
        let message = String::from_utf8_lossy(message);
        match outcome {
            Ok(row) => {
                ensure!(wrong.is_empty(), "stored in spite of {wrong:?}: {message}");
                for (name, value) in stored {
                    ensure!(row.get(name) == Some(value), "{name}: {:?} of {message}", row.get(name));
                }
                let tags = stored["tags"].as_array().context("a list")?.len();
                ensure!(row["tag_count"] == json!(tags), "{row:?}");
            }
            Err(reason) => {
                dead += 1;
                let named: Vec<&str> = reason
                    .split("; ")
                    .filter_map(|part| part.split_once(": not "))
                    .map(|(name, _)| name)
                    .collect();
                let mut expected: Vec<&str> = wrong.iter().map(String::as_str).collect();
                let mut named = named;
                expected.sort_unstable();
                named.sort_unstable();
                ensure!(named == expected, "{reason:?} for {expected:?}: {message}");
            }
        }
    }
    ensure!(dead > MESSAGES / 10 && dead < MESSAGES * 9 / 10, "{dead} dead letters of {MESSAGES}");
    Ok(())
}

fn the_posthog_profile_stores_what_its_messages_have(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN the profile
    site.with_persons()?.set("events", "profile", "posthog");
    apply(site)?;
    site.must(&["schema", "plan"])?;
    // WHEN an autocaptured event arrives, and one without any of the profile's fields
    let chain = r#"a.btn.primary:attr__href="/no"attr_id="buy"href="/a;b"nth-child="2"text="Say \"hi\"; now";span:nth-child="1"text="span";form.x:attr_id="f""#;
    let person = "0190a5c2-6f2a-7000-8000-1234567890ab";
    let full = json!({
        "properties": json!({"$session_id": "s1", "$group_0": "acme", "$window_id": 5}).to_string(),
        "elements_chain": chain,
        "person_id": person,
        "person_created_at": "2025-01-02 03:04:05",
        "person_properties": json!({"email": "a@b"}).to_string(),
        "group0_properties": json!({"name": "Acme"}).to_string(),
        "group0_created_at": "2025-01-02 03:04:05.678",
        "person_mode": "propertyless",
    });
    let messages = [with(1, full).into_bytes(), with(2, json!({})).into_bytes()];
    let stored: Vec<Map<String, Value>> = outcomes(site, &messages)?
        .into_iter()
        .collect::<Result<_, String>>()
        .map_err(|reason| anyhow::anyhow!("{reason}"))?;
    // THEN every field is in its column
    for (name, value) in [
        ("person_id", json!(person)),
        ("person_created_at", json!("2025-01-02 03:04:05.000")),
        ("person_properties", json!("{\"email\":\"a@b\"}")),
        ("group0_properties", json!("{\"name\":\"Acme\"}")),
        ("group0_created_at", json!("2025-01-02 03:04:05.678")),
        ("group4_properties", json!("")),
        ("person_mode", json!("propertyless")),
        ("$session_id", json!("s1")),
        ("$group_0", json!("acme")),
        ("$group_1", json!("")),
        ("$window_id", json!("5")),
        ("elements_chain_href", json!("/a;b")),
        ("elements_chain_texts", json!(["Say \"hi\"; now", "span"])),
        ("elements_chain_ids", json!(["buy", "f"])),
        ("elements_chain_elements", json!(["a", "form"])),
    ] {
        ensure!(stored[0].get(name) == Some(&value), "{name}: {:?}", stored[0].get(name));
    }
    // THEN the time of the insert is that of the message
    let other =
        site.query("SELECT countIf(inserted_at != _timestamp OR inserted_at IS NULL) FROM {db}.events")?;
    ensure!(other == "0", "{other} rows have another time");
    ensure!(stored[1]["person_mode"] == json!("full"), "{:?}", stored[1]);
    // THEN the view of events with persons has the current person, not that of the message
    let now = "0190a5c2-6f2a-7000-8000-00000000cafe";
    let distinct_id = stored[0]["distinct_id"].as_str().context("a text")?;
    for node in 0..2 {
        site.query_on(
            node,
            &format!(
                "INSERT INTO {{db}}.person_distinct_id2 (team_id, distinct_id, person_id, is_deleted, version) \
                 SELECT team_id, distinct_id, '{now}', 0, 1 FROM {{db}}.events WHERE distinct_id = '{distinct_id}'"
            ),
        )?;
    }
    let person = site.query(&format!(
        "SELECT person_id, person_mode FROM {{db}}.events_with_person(team_id = {}, since = '2000-01-01', until = '2200-01-01') \
         WHERE person_mode = 'propertyless'",
        stored[0]["team_id"]
    ))?;
    ensure!(person == format!("{now}\tpropertyless"), "{person}");
    // THEN the app finds the materialized columns by their comments
    let found = site.query(
        "SELECT count() FROM system.columns WHERE database = '{db}' AND table IN ('events', 'sharded_events') \
         AND comment = concat('column_materializer::', name)",
    )?;
    ensure!(found == "14", "{found} columns are found");
    Ok(())
}
