//! Invalid messages of persons, and their dead letters on every node.
//!
//! A dead letter has the message's bytes, its topic, partition and offset, and the reason. Valid
//! messages never become dead letters.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use serde_json::{Value, json};

use crate::produce::{Place, consumed_by, produce_into};

tests! {
    Shared every_broken_message_of_persons_is_a_dead_letter_on_every_node,
    Shared whatever_json_can_say_of_a_person_arrives_byte_for_byte,
}

/// An invalid message, the text that its reason must have, and its second in Kafka.
type Letter = (Vec<u8>, String, u64);

const ID: &str = "018f5a7e-0000-4000-8000-000000000001";

fn person() -> Value {
    json!({"id": ID, "created_at": "2026-11-01 10:42:06.502000", "team_id": 7, "properties": "{\"a\": 1}",
        "is_identified": 0, "is_deleted": 0, "version": 3})
}

fn distinct_id() -> Value {
    json!({"distinct_id": "user-1", "person_id": ID, "team_id": 7, "version": 3, "is_deleted": 0})
}

/// `message` with one field replaced or removed.
fn with(mut message: Value, field: &str, value: Option<&Value>) -> String {
    match (message.as_object_mut(), value) {
        (Some(fields), Some(value)) => drop(fields.insert(field.to_owned(), value.clone())),
        (Some(fields), None) => drop(fields.remove(field)),
        (None, _) => {}
    }
    message.to_string()
}

/// Invalid values for this field.
fn never(field: &str) -> Vec<Value> {
    let numbers = vec![json!(1.5), json!(1e30), json!("abc"), json!(""), json!([7]), json!(true), json!({})];
    match field {
        "id" | "person_id" => vec![json!("not-a-uuid"), json!(""), json!(7), json!({"a": 1})],
        "version" => [numbers, vec![json!(-1), json!(1_u64 << 63), json!(u64::MAX)]].concat(),
        "team_id" => [numbers, vec![json!(1_u64 << 63)]].concat(),
        "is_deleted" | "is_identified" => {
            let flags = vec![json!(2), json!(-1), json!("01"), json!(" 1"), json!("TRUE")];
            [numbers, flags].concat().into_iter().filter(|value| *value != json!(true)).collect()
        }
        "created_at" => [
            "2026-13-01 10:42:06",
            "2026-02-30 10:42:06",
            "10:42",
            "",
            "0000-00-00 00:00:00",
            "9999-01-01 00:00:00",
        ]
        .map(|text| json!(text))
        .into_iter()
        .chain([json!(1_793_529_726), json!(true)])
        .collect(),
        _ => Vec::new(),
    }
}

/// Every invalid message of a topic with the one field that its reason names, or the whole reason.
fn broken(sound: &Value) -> Vec<(Vec<u8>, String)> {
    let text = sound.to_string();
    let mut broken: Vec<(Vec<u8>, String)> = Vec::new();
    for bad in [
        "not JSON",
        &text[..text.len() / 2],
        &format!("{text}{text}"),
        " ",
        "\0",
        &text.replace(":7,", ":1000000000000000000000000,"),
    ] {
        broken.push((bad.as_bytes().to_vec(), "not valid JSON".to_owned()));
    }
    broken.push(([text.as_bytes(), b"\xff\xfe"].concat(), "not valid JSON".to_owned()));
    for bad in ["[]", "null", "42", &format!("[{text}]"), &Value::String(text.clone()).to_string()] {
        broken.push((bad.as_bytes().to_vec(), "not a JSON object".to_owned()));
    }
    broken.push((b"{}".to_vec(), "team_id: missing or not a 64-bit integer; ".to_owned()));
    for field in sound.as_object().into_iter().flat_map(|fields| fields.keys()) {
        // Applications send null as a version of 0.
        let null = (field != "version").then_some(Some(Value::Null));
        let values = never(field).into_iter().map(Some).chain([None]).chain(null);
        broken.extend(values.map(|value| {
            (with(sound.clone(), field, value.as_ref()).into_bytes(), format!("{field}: missing"))
        }));
    }
    broken
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Waits until every node has written all messages of persons, by all of its views.
pub(crate) fn everywhere_consumed(site: &Site<'_>) -> anyhow::Result<()> {
    let (person, distinct_id) = site.person_topics();
    for node in site.stack.nodes() {
        consumed_by(site, &format!("{}_persons_{}", site.name(), node.name()), &person)?;
        consumed_by(site, &format!("{}_persons_distinct_id_{}", site.name(), node.name()), &distinct_id)?;
    }
    Ok(())
}

fn every_broken_message_of_persons_is_a_dead_letter_on_every_node(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site with persons
    site.with_persons()?.apply()?;
    // WHEN invalid messages are produced into both topics, each before a valid one
    let (person_topic, distinct_id_topic) = site.person_topics();
    let mut wanted: BTreeMap<(String, i32, i64), Letter> = BTreeMap::new();
    let mut good = Vec::new();
    for (topic, sound) in [(person_topic, person()), (distinct_id_topic, distinct_id())] {
        let broken = broken(&sound);
        let versions: Vec<String> =
            (0..broken.len()).map(|number| with(sound.clone(), "version", Some(&json!(number)))).collect();
        let values: Vec<_> = broken
            .iter()
            .zip(&versions)
            .flat_map(|((bad, _), good)| [Some(bad.as_slice()), Some(good.as_bytes())])
            .collect();
        let places = produce_into(site, &topic, &values)?;
        good.push(broken.len());
        for ((bad, reason), place) in broken.into_iter().zip(places.iter().step_by(2)) {
            let Place { partition, offset, second } = *place;
            wanted.insert((topic.clone(), partition, offset), (bad, reason, second));
        }
    }
    everywhere_consumed(site)?;
    for node in 0..site.stack.nodes().len() {
        // THEN every invalid one is a dead letter once, with its position, the reason and its bytes
        let letters = site.query_on(
            node,
            "SELECT topic, partition, offset, toUnixTimestamp(_timestamp), hex(raw_message), error \
             FROM {db}.person_dead_letter FORMAT JSONCompactEachRow SETTINGS output_format_json_quote_64bit_integers = 0",
        )?;
        let mut left = wanted.clone();
        for line in letters.lines() {
            let (topic, partition, offset, second, raw, error): (String, i32, i64, u64, String, String) =
                serde_json::from_str(line)?;
            let (bad, reason, at) = left
                .remove(&(topic, partition, offset))
                .with_context(|| format!("a dead letter of no broken message, or a second one: {line}"))?;
            let text = String::from_utf8_lossy(&bad).into_owned();
            ensure!(raw == hex(&bad) && second == at, "{text}: {line}");
            ensure!(error.contains(&reason), "{text}: {error:?} does not say {reason:?}");
            ensure!(bad == b"{}" || !error.contains("; "), "{text}: {error:?} blames more than {reason:?}");
        }
        ensure!(left.is_empty(), "no dead letters on node {node} of {left:?}");
        // THEN the valid ones are stored, in every version, and no others
        let stored = site.query_on(
            node,
            "SELECT (SELECT max(version) + 1 FROM {db}.person), (SELECT max(version) + 1 FROM {db}.person_distinct_id), \
             (SELECT uniqExact(team_id, id) FROM {db}.person), (SELECT uniqExact(team_id, distinct_id) FROM {db}.person_distinct_id)",
        )?;
        ensure!(
            stored == format!("{}\t{}\t1\t1", good[0], good[1]),
            "{stored} of {good:?} good messages on node {node}"
        );
    }
    flags_may_be_booleans_and_versions_null(site)
}

fn flags_may_be_booleans_and_versions_null(site: &Site<'_>) -> anyhow::Result<()> {
    // WHEN another producer sends flags as booleans, and null as the version
    let (person_topic, distinct_id_topic) = site.person_topics();
    let id = ID.replace('0', "9");
    let mut sent = person();
    for (field, value) in [
        ("id", json!(id)),
        ("is_identified", json!(true)),
        ("is_deleted", json!(false)),
        ("version", json!(null)),
    ] {
        sent[field] = value;
    }
    let mut mapping = distinct_id();
    for (field, value) in
        [("distinct_id", json!("other")), ("is_deleted", json!(true)), ("version", json!(null))]
    {
        mapping[field] = value;
    }
    produce_into(site, &person_topic, &[Some(sent.to_string().as_bytes())])?;
    produce_into(site, &distinct_id_topic, &[Some(mapping.to_string().as_bytes())])?;
    everywhere_consumed(site)?;
    // THEN they are stored as 1, 0 and version 0
    let stored = format!(
        "SELECT (SELECT (is_identified, is_deleted, version) FROM {{db}}.person WHERE id = '{id}'), \
         (SELECT (is_deleted, version) FROM {{db}}.person_distinct_id WHERE distinct_id = 'other')"
    );
    for node in 0..site.stack.nodes().len() {
        let stored = site.query_on(node, &stored)?;
        ensure!(stored == "(1,0,0)\t(1,0)", "{stored} on node {node}");
    }
    Ok(())
}

/// Properties within the limits of JSON, as in the message's string.
fn properties() -> Vec<String> {
    let big = format!("{{\"text\": \"{}\"}}", "é".repeat(500_000));
    [
        r#"{"a": "\u0000", "b": "\ud800", "c": "\udc00\ud800"}"#,
        "{}",
        "",
        "not JSON at all",
        "[1, 1e400]",
        "{\"\u{0}\": \"\u{1f994}\u{301}\u{202e}\"}",
        "{\"a\": 1, \"a\": 2}",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([big])
    .collect()
}

fn whatever_json_can_say_of_a_person_arrives_byte_for_byte(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site with persons
    site.with_persons()?.apply()?;
    let (person_topic, distinct_id_topic) = site.person_topics();
    // WHEN persons with all kinds of properties and distinct ids with all kinds of texts are
    // produced
    let id = |number: usize| format!("018f5a7e-0000-4000-8000-{number:012}");
    let properties = properties();
    let mut messages: Vec<String> = Vec::new();
    for (number, properties) in properties.iter().enumerate() {
        let mut message = person();
        message["id"] = id(number).into();
        message["properties"] = properties.clone().into();
        message["unknown"] = json!({"nested": [1, null]});
        messages.push(message.to_string());
    }
    // A deletion is valid whatever its other fields are, or without them.
    for (number, more) in [
        json!({}),
        json!({"created_at": null, "properties": null}),
        json!({"created_at": "never", "is_identified": 7}),
    ]
    .iter()
    .enumerate()
    {
        let mut message = json!({"id": id(100 + number), "team_id": 7, "is_deleted": 1, "version": i64::MAX});
        for (key, value) in more.as_object().into_iter().flatten() {
            message[key] = value.clone();
        }
        messages.push(message.to_string());
    }
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_bytes())).collect();
    produce_into(site, &person_topic, &values)?;
    let texts = [
        "",
        " ",
        "\u{0}",
        "a\u{0}b",
        "日本語 🦔",
        "'\"\\`;--",
        "\u{feff}\u{202e}",
        "{\"a\": 1}",
        "null",
        &"x".repeat(400),
    ];
    let messages: Vec<String> =
        texts.iter().map(|text| with(distinct_id(), "distinct_id", Some(&json!(text)))).collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_bytes())).collect();
    produce_into(site, &distinct_id_topic, &values)?;
    everywhere_consumed(site)?;
    for node in 0..site.stack.nodes().len() {
        // THEN every node has them to the byte, and no dead letter
        let letters =
            site.query_on(node, "SELECT error, left(raw_message, 300) FROM {db}.person_dead_letter")?;
        ensure!(letters.is_empty(), "dead letters: {letters}");
        let found = site.query_on(
            node,
            "SELECT hex(properties) FROM {db}.persons(team_id = 7) ORDER BY toString(id) FORMAT TSVRaw",
        )?;
        let wanted: Vec<String> = properties.iter().map(|properties| hex(properties.as_bytes())).collect();
        ensure!(
            found == wanted.join("\n"),
            "properties on node {node} differ: {} bytes, not {}",
            found.len(),
            wanted.join("\n").len()
        );
        let found = site.query_on(node, "SELECT hex(distinct_id) AS text FROM {db}.person_distinct_ids(team_id = 7) ORDER BY text FORMAT JSONCompactEachRow")?;
        let found: Vec<[String; 1]> = found.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut wanted: Vec<[String; 1]> = texts.iter().map(|text| [hex(text.as_bytes())]).collect();
        wanted.sort();
        ensure!(found == wanted, "distinct ids on node {node}: {found:?} are not {wanted:?}");
        let deleted = site.query_on(node, "SELECT uniqExact(id), any(version), any(created_at), any(is_identified) FROM {db}.person WHERE is_deleted = 1 AND created_at = toDateTime64(0, 3)")?;
        ensure!(deleted.starts_with("3\t9223372036854775807\t1970-01-01 00:00:00.000"), "{deleted}");
    }
    Ok(())
}
