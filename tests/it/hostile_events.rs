//! Hostile messages: each becomes an event or a dead letter.
//!
//! The messages behind a hostile one always arrive.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Map, Value, json};

use self::Lands::{DeadLetter, Event};
use crate::events::event;
use crate::produce::{LIMIT, consumed, produce};

tests! {
    Shared sorts_hostile_messages_into_events_and_dead_letters,
    Shared stores_events_of_190_months_in_one_poll,
    Shared stores_or_rejects_messages_of_extreme_shape,
    Shared stores_an_event_of_more_than_100_mb_that_zstd_made_small,
}

/// Texts with their timestamp in UTC, or null. The tests of the backfill's reader use the same
/// list.
const TIMESTAMPS: &str = include_str!("../fixtures/timestamps.json");
/// The end of the reason that rejects a timestamp.
const RANGE: &str = "not a date and time from 1900-01-01 00:00:00 to 2299-12-31 23:59:59.999999 UTC";
/// Of the 192 months that `sharded_events` has partitions for.
const MONTHS: usize = 190;
/// The default limit of topics for one message, less its envelope.
const LONG: usize = 900_000;
/// More than librdkafka unpacks by default (`receive.message.max.bytes`, 100 MB).
const HUGE: usize = 110_000_000;

/// The destination of a message.
#[derive(Debug)]
enum Lands {
    /// An event, with this text in this column.
    Event(&'static str, String),
    /// A dead letter, with a reason that contains this.
    DeadLetter(String),
}

/// The row of a message, or the reason of its dead letter.
pub(crate) type Outcome = Result<Map<String, Value>, String>;

/// A valid event as compact JSON, with `fields` replaced.
pub(crate) fn with(number: usize, fields: Value) -> String {
    let mut message = event(number);
    if let Value::Object(fields) = fields {
        message.extend(fields);
    }
    Value::Object(message).to_string()
}

/// Applies a schema for a topic of one partition, so that an offset identifies a message.
pub(crate) fn apply(site: &Site<'_>) -> anyhow::Result<()> {
    site.write_topics(1)?;
    site.apply()
}

/// Produces messages at once and waits until all are consumed. Returns the outcome of each, in
/// their order.
pub(crate) fn outcomes(site: &Site<'_>, messages: &[Vec<u8>]) -> anyhow::Result<Vec<Outcome>> {
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_slice())).collect();
    let places = produce(site, &values)?;
    consumed(site)?;
    let mut by_offset = BTreeMap::new();
    let rows = site.query(
        "SELECT * REPLACE (toString(timestamp) AS timestamp, toString(created_at) AS created_at) FROM {db}.events \
         FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0, \
         output_format_json_escape_forward_slashes = 0",
    )?;
    for row in rows.lines() {
        let row: Map<String, Value> = serde_json::from_str(row)?;
        let offset = row["_offset"].as_i64().context("no offset")?;
        ensure!(by_offset.insert(offset, Ok(row)).is_none(), "{offset} is there twice");
    }
    let reasons = site.query(
        "SELECT offset, error FROM {db}.events_dead_letter FORMAT JSONCompactEachRow \
         SETTINGS output_format_json_quote_64bit_integers = 0",
    )?;
    for line in reasons.lines() {
        let (offset, reason): (i64, String) = serde_json::from_str(line)?;
        ensure!(by_offset.insert(offset, Err(reason)).is_none(), "{offset} is there twice");
    }
    ensure!(by_offset.len() == messages.len(), "{} outcomes of {} messages", by_offset.len(), messages.len());
    let outcome = |offset| by_offset.remove(&offset).with_context(|| format!("nothing of offset {offset}"));
    places.iter().map(|place| place.offset).map(outcome).collect()
}

/// Timestamps at the limits, with every kind of UTC offset.
fn timestamps() -> anyhow::Result<Vec<(Vec<u8>, Lands)>> {
    let listed: Vec<(String, Option<String>)> = serde_json::from_str(TIMESTAMPS)?;
    let mut cases = Vec::new();
    for (text, utc) in listed {
        for field in ["timestamp", "created_at"] {
            let lands = utc.clone().map_or_else(|| DeadLetter(RANGE.to_owned()), |utc| Event(field, utc));
            cases.push((with(1_000 + cases.len(), json!({field: text})).into_bytes(), lands));
        }
    }
    Ok(cases)
}

/// Properties that are not strings. They are stored as sent.
fn properties() -> Vec<(Vec<u8>, Lands)> {
    let quoted = r#""{\"$browser\": \"Firefox\"}""#;
    let mut cases = Vec::new();
    for text in [
        r#"{"a":1.0,"b":1e2,"c":0.12345678901234567890123,"d":"\u00e9\/"}"#,
        "{ \"a\" : [ 1.50, 1E+5 ],\n\t\"b\": \"}\\\"{\" }",
        r#"{"properties":{"properties":1.0}}"#,
        "[1.0, 2]",
        "1.0",
        "true",
        "{}",
    ] {
        // White space around the value is not part of it.
        for (old, new) in
            [(quoted.to_owned(), text.to_owned()), (format!(":{quoted}"), format!(" :\n {text} "))]
        {
            let message = with(2_000 + cases.len(), json!({})).replace(&old, &new);
            cases.push((message.into_bytes(), Event("properties", text.to_owned())));
        }
    }
    // Behind a deeper field of the same name they are stored as the parser writes them.
    let nested = with(2_999, json!({})).replacen('{', r#"{"person":{"properties":{"x":1}},"#, 1);
    let nested = nested.replace(quoted, r#"{"a": 1.0}"#);
    cases.push((nested.into_bytes(), Event("properties", r#"{"a":1}"#.to_owned())));
    cases
}

/// Messages that are invalid events.
fn rejected() -> Vec<(Vec<u8>, Lands)> {
    let valid = with(1, json!({}));
    let open = &valid[..valid.len() - 1];
    let mut cases: Vec<(Vec<u8>, Lands)> = [
        (format!("\u{feff}{valid}"), "begins with a byte order mark"),
        (format!(r#"{open},"x":"\ud800"}}"#), "half of a surrogate pair"),
        (format!(r#"{open},"x":"\ude00\ud83d"}}"#), "half of a surrogate pair"),
        (format!(r#"{open},"x":12345678901234567890123}}"#), "a number that no 64-bit type holds"),
        (format!(r#"{open},"x":-1e999}}"#), "a number that no 64-bit type holds"),
        (format!(r#"{open},"x":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000)), "deeper than 1,024 levels"),
        (format!(r#"{{"uuid":"z",{}"#, &valid[1..]), "uuid: there more than once, the first counts"),
        (format!("{open},}}"), "not valid JSON"),
    ]
    .map(|(message, reason)| (message.into_bytes(), DeadLetter(reason.to_owned())))
    .into();
    let not_utf8 = [open.as_bytes(), b",\"x\":\"\xff\"}"].concat();
    cases.push((not_utf8, DeadLetter("not valid JSON: not UTF-8".to_owned())));
    for field in ["event", "distinct_id", "elements_hash", "elements_chain"] {
        for value in [json!({"a": 1}), json!({}), json!([1]), json!([])] {
            let reason = format!("{field}: an object or a list");
            cases.push((with(1, json!({field: value})).into_bytes(), DeadLetter(reason)));
        }
    }
    cases
}

/// Events with texts that look like objects, and with numbers and booleans as texts.
fn accepted() -> Vec<(Vec<u8>, Lands)> {
    let mut cases = Vec::new();
    for (field, value, stored) in [
        ("distinct_id", "\"{\\\"a\\\": 1.0}\"", "{\"a\": 1.0}"),
        ("event", "\"[x]\"", "[x]"),
        ("elements_chain", "\"{\"", "{"),
        ("event", "true", "true"),
        ("distinct_id", "12345678901234567890", "12345678901234567890"),
        ("distinct_id", "1.0", "1"),
        ("distinct_id", "1e2", "100"),
        ("distinct_id", r#""\\ud800""#, r"\ud800"),
        ("distinct_id", r#""\ud83e\udd94""#, "🦔"),
        ("distinct_id", r#""first","distinct_id":"second""#, "first"),
    ] {
        let message = with(3_000 + cases.len(), json!({field: "VALUE"})).replace("\"VALUE\"", value);
        cases.push((message.into_bytes(), Event(field, stored.to_owned())));
    }
    cases
}

fn sorts_hostile_messages_into_events_and_dead_letters(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site
    apply(site)?;
    // WHEN hostile messages are produced
    let groups = [timestamps()?, properties(), rejected(), accepted()];
    let cases: Vec<(Vec<u8>, Lands)> = groups.into_iter().flatten().collect();
    let messages: Vec<Vec<u8>> = cases.iter().map(|(message, _)| message.clone()).collect();
    let outcomes = outcomes(site, &messages)?;
    // THEN each is an event with its text, or a dead letter with its reason
    for ((message, lands), outcome) in cases.iter().zip(outcomes) {
        let shown = String::from_utf8_lossy(&message[..message.len().min(400)]);
        let is_right = match (lands, &outcome) {
            (Event(field, text), Ok(row)) => row[*field] == **text,
            (DeadLetter(part), Err(reason)) => reason.contains(part),
            _ => false,
        };
        ensure!(is_right, "{shown}\nis {outcome:?},\nnot {lands:?}");
    }
    Ok(())
}

fn stores_events_of_190_months_in_one_poll(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site, and one event for each of 190 months, all in partitions of one person's shard
    apply(site)?;
    let mut messages = Vec::new();
    for month in 0..MONTHS {
        let timestamp = format!("{}-{:02}-01 00:00:00", 2020 + month / 12, month % 12 + 1);
        messages.push(with(month, json!({"timestamp": timestamp})).into_bytes());
    }
    // WHEN they are produced at once, and one more event behind them
    messages.push(with(MONTHS, json!({})).into_bytes());
    let outcomes = outcomes(site, &messages)?;
    // THEN all are stored
    ensure!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    Ok(())
}

fn stores_or_rejects_messages_of_extreme_shape(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site with a materialized column, and messages of every extreme shape within a topic's
    // default limits
    site.materialize(&["a"]);
    apply(site)?;
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let long = "x".repeat(LONG);
    let fields = [
        json!({"distinct_id": long}),
        json!({"event": long}),
        json!({"elements_chain": long}),
        json!({"properties": format!("{{\"a\":\"{long}\"}}")}),
        json!({"properties": format!("{{\"a\":{}}}", nested(100_000))}),
        json!({"properties": "{\"a\":".repeat(100_000)}),
        json!({"properties": "\"".repeat(400_000)}),
        json!({"properties": format!("{{\"a\":\"{}\"}}", "\\\"".repeat(200_000))}),
        json!({"properties": "{\"a\":\"\\u0000\\ud800\"}"}),
        json!({"properties": format!("{{\"a\":{}}}", "9".repeat(100_000))}),
        json!({"properties": {"properties": {"properties": vec![1.5; 100_000]}}}),
        json!({"properties": (0..50_000).map(|key| (key.to_string(), json!(1))).collect::<Map<_, _>>()}),
        json!({"x": vec![json!({}); 200_000]}),
    ];
    let mut messages: Vec<Vec<u8>> =
        fields.into_iter().enumerate().map(|(number, fields)| with(number, fields).into_bytes()).collect();
    for before in [format!("\"x\":{},", nested(1_000)), "\"properties\":{\"a\":1},".repeat(30_000)] {
        let message = with(messages.len(), json!({})).replacen('{', &format!("{{{before}"), 1);
        messages.push(message.into_bytes());
    }
    let events = messages.len();
    messages.extend([vec![0; LONG], b"[".repeat(LONG), b"{\"a\":".repeat(LONG / 5)]);
    messages.extend([b"\"\\ud800".repeat(LONG / 7), b"9".repeat(LONG)]);
    // WHEN they are produced, with an ordinary event behind them
    let last = messages.len();
    messages.push(with(last, json!({})).into_bytes());
    let outcomes = outcomes(site, &messages)?;
    // THEN events are stored as events, the others as dead letters, and the last one arrives
    for (number, (message, outcome)) in messages.iter().zip(outcomes).enumerate() {
        let shown = String::from_utf8_lossy(&message[..80]);
        let is_event = number < events || number == last;
        ensure!(outcome.is_ok() == is_event, "{shown} (message {number}): {:?}", outcome.err());
    }
    Ok(())
}

fn stores_an_event_of_more_than_100_mb_that_zstd_made_small(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site, and an event that is large uncompressed and small for the broker
    apply(site)?;
    let properties = format!("{{\"a\":\"{}\"}}", "x".repeat(HUGE));
    let message = with(0, json!({"properties": properties}));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("compression.type", "zstd")
        .set("message.max.bytes", "1000000000")
        .create()?;
    let record = BaseRecord::<str, str>::to(site.name()).payload(&message);
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(LIMIT)?;
    // WHEN an ordinary event follows
    produce(site, &[Some(with(1, json!({})).as_bytes())])?;
    consumed(site)?;
    // THEN both are stored, complete
    let lengths = site.query("SELECT length(properties) FROM {db}.events ORDER BY _offset")?;
    let (huge, ordinary) = lengths.split_once('\n').with_context(|| lengths.clone())?;
    ensure!(huge == properties.len().to_string() && ordinary.len() < 4, "{lengths}");
    Ok(())
}
