//! Invalid messages of events, and their dead letters.
//!
//! Each has the message's bytes, its partition and offset, and the reason. An invalid message never
//! becomes an event.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::events::Generator;
use posthouse_tests::load::Load;
use posthouse_tests::site::Site;
use posthouse_tests::stack::wait_until;
use serde_json::{Value, json};

use crate::events::{PROFILE, event};
use crate::produce::{LIMIT, Place, consumed, produce};
use crate::seed;

tests! {
    Shared every_broken_message_is_a_dead_letter_and_no_event,
    Alone messages_without_a_byte_are_dropped_by_the_engine_and_hold_nothing_up,
    Shared generated_messages_of_all_kinds_land_in_exactly_one_place,
}

/// The reason for text that is not JSON.
const NOT_JSON: &str = "not valid JSON";
/// The reason for JSON that is no object.
const NO_OBJECT: &str = "not a JSON object";

/// A valid event's text with one field replaced.
fn with(field: &str, value: Value) -> String {
    let mut event = event(1);
    event.insert(field.to_owned(), value);
    Value::Object(event).to_string()
}

fn without(field: &str) -> String {
    let mut event = event(1);
    event.remove(field);
    Value::Object(event).to_string()
}

fn sound() -> String {
    Value::Object(event(1)).to_string()
}

/// Every invalid message with the text that its reason must have.
fn broken() -> Vec<(Vec<u8>, String)> {
    let sound = sound();
    let mut broken: Vec<(Vec<u8>, String)> = [
        ("not JSON".to_owned(), NOT_JSON),
        (sound[..sound.len() / 2].to_owned(), NOT_JSON),
        (sound[..sound.len() - 1].to_owned(), NOT_JSON),
        (format!("{sound}{sound}"), NOT_JSON),
        (format!("{sound}\n{sound}"), NOT_JSON),
        (format!("{sound} and more"), NOT_JSON),
        (" ".to_owned(), NOT_JSON),
        ("\0".to_owned(), NOT_JSON),
        ("[]".to_owned(), NO_OBJECT),
        (format!("[{sound}]"), NO_OBJECT),
        ("null".to_owned(), NO_OBJECT),
        ("42".to_owned(), NO_OBJECT),
        ("true".to_owned(), NO_OBJECT),
        ("\"text\"".to_owned(), NO_OBJECT),
        (Value::String(sound.clone()).to_string(), NO_OBJECT),
        (format!("[\n{{\"a\":1}},\n{sound}]"), NO_OBJECT),
        (
            "{}".to_owned(),
            "uuid: missing or not a UUID; event: missing; distinct_id: missing; team_id: missing",
        ),
        (with("uuid", json!("not-a-uuid")), "uuid: "),
        (with("uuid", json!("")), "uuid: "),
        (with("uuid", json!(7)), "uuid: "),
        (sound.replace(":7,", ":1000000000000000000000000000000,"), "64-bit"),
        (with("team_id", json!(1e30)), "team_id: "),
        (with("team_id", json!(1_u64 << 63)), "team_id: "),
        (with("team_id", json!(1.5)), "team_id: "),
        (with("team_id", json!(true)), "team_id: "),
        (with("team_id", json!("abc")), "team_id: "),
        (with("team_id", json!("")), "team_id: "),
        (with("team_id", json!([7])), "team_id: "),
    ]
    .map(|(message, reason)| (message.into_bytes(), reason.to_owned()))
    .into();
    for field in ["uuid", "event", "timestamp", "team_id", "distinct_id"] {
        broken.push((without(field).into_bytes(), format!("{field}: missing")));
        broken.push((with(field, Value::Null).into_bytes(), format!("{field}: missing")));
    }
    for moment in [
        json!("2026-13-01 10:42:06"),
        json!("2026-00-01 10:42:06"),
        json!("2026-02-30 10:42:06"),
        json!("2025-02-29 10:42:06"),
        json!("2026-04-31 10:42:06"),
        json!("2026-11-01 25:42:06"),
        json!("2026-11-01 10:60:06"),
        json!("2026-11-01"),
        json!("10:42"),
        json!(""),
        json!("0000-00-00 00:00:00"),
        json!("9999-01-01 00:00:00"),
        json!("yesterday"),
        json!(1_793_529_726),
        json!(true),
        json!({"at": "2026-11-01 10:42:06"}),
    ] {
        for field in ["timestamp", "created_at"] {
            broken.push((with(field, moment.clone()).into_bytes(), format!("{field}: ")));
        }
    }
    // Bytes that are not UTF-8, after an event and in the middle of one.
    broken.push(([sound.as_bytes(), b"\xff\xfe"].concat(), NOT_JSON.to_owned()));
    let (before, after) = sound.split_once("user-1").unwrap_or_default();
    broken.push(([before.as_bytes(), b"us\xc3\x28er", after.as_bytes()].concat(), NOT_JSON.to_owned()));
    broken
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn every_broken_message_is_a_dead_letter_and_no_event(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site
    site.apply()?;
    // WHEN invalid messages are produced, each between two valid ones
    let (broken, seed) = (broken(), seed(site.name())?);
    let good: Vec<_> =
        Generator::new(PROFILE, seed).take(broken.len() + 1).map(|message| message.payload).collect();
    let mut values = Vec::new();
    for (good, (bad, _)) in good.iter().zip(&broken) {
        values.extend([Some(good.as_slice()), Some(bad.as_slice())]);
    }
    values.push(good.last().map(Vec::as_slice));
    let places = produce(site, &values)?;
    consumed(site)?;
    // THEN every invalid one is a dead letter, with its position, the reason and its bytes
    let letters = site.query(
        "SELECT partition, offset, topic, toUnixTimestamp(_timestamp), hex(raw_message), error \
         FROM {db}.events_dead_letter FORMAT JSONCompactEachRow \
         SETTINGS output_format_json_quote_64bit_integers = 0",
    )?;
    let mut found = BTreeMap::new();
    for line in letters.lines() {
        let (partition, offset, topic, second, raw, error): (i32, i64, String, u64, String, String) =
            serde_json::from_str(line)?;
        let twice = found.insert((partition, offset), (topic, second, raw, error)).is_some();
        ensure!(!twice, "two dead letters at {partition}, {offset}");
    }
    for ((bad, reason), place) in broken.iter().zip(places.iter().skip(1).step_by(2)) {
        let Place { partition, offset, second } = *place;
        let text = String::from_utf8_lossy(bad);
        let letter =
            found.remove(&(partition, offset)).with_context(|| format!("no dead letter of {text}"))?;
        ensure!(letter.3.contains(reason), "{text}: {:?} does not say {reason:?}", letter.3);
        // A reason for one field must not name another.
        let others =
            ["uuid", "event", "timestamp", "team_id", "distinct_id", "created_at"].iter().filter(|other| {
                reason.split(": ").next() != Some(other) && letter.3.contains(&format!("{other}: "))
            });
        ensure!(bad == b"{}" || others.count() == 0, "{text}: {:?} blames more than {reason:?}", letter.3);
        ensure!((letter.0.as_str(), letter.1) == (site.name(), second), "{text}: {letter:?}");
        ensure!(letter.2 == hex(bad), "{text}: its bytes are {}", letter.2);
    }
    ensure!(found.is_empty(), "dead letters of messages that are none: {found:?}");
    // THEN the valid ones are events, and no others are
    let stored = site.stored()?;
    let wanted = good.len() as u64;
    ensure!((stored.rows, stored.events) == (wanted, wanted), "{stored:?} of {wanted} good messages");
    Ok(())
}

/// Messages that the engine polled without a row, on all nodes together.
fn without_a_row(site: &Site<'_>) -> anyhow::Result<i64> {
    (0..site.stack.nodes().len()).try_fold(0, |sum, node| {
        let count = site.query_on(
            node,
            "SELECT sumIf(toInt64(value), event = 'KafkaMessagesPolled') \
             - sumIf(toInt64(value), event = 'KafkaRowsRead') \
             FROM system.events",
        )?;
        Ok(sum + count.parse::<i64>()?)
    })
}

fn messages_without_a_byte_are_dropped_by_the_engine_and_hold_nothing_up(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN a site whose consumers have read some messages
    site.apply()?;
    let messages: Vec<_> =
        Generator::new(PROFILE, seed(site.name())?).take(400).map(|message| message.payload).collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_slice())).collect();
    produce(site, &values[..100])?;
    site.answers("SELECT count() FROM {db}.events", "100", LIMIT)?;
    consumed(site)?;
    let before = without_a_row(site)?;
    // WHEN empty values and tombstones are produced, some alone and some among events
    produce(site, &[Some(b"".as_slice()), None, None])?;
    let mut mixed = Vec::new();
    for value in &values[100..] {
        mixed.extend([*value, None, Some(b"".as_slice())]);
    }
    produce(site, &mixed)?;
    // THEN the events among them arrive
    site.answers("SELECT count() FROM {db}.events", "400", LIMIT)?;
    // THEN the engine has polled the others and passed no row of them to a view. Only its counters
    // show them
    wait_until("the engine to count 603 messages without a row", LIMIT, || match without_a_row(site) {
        Ok(count) if count - before == 603 => ControlFlow::Break(Ok(())),
        Ok(count) => ControlFlow::Continue(anyhow!("{}", count - before)),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    let stored = site.stored()?;
    ensure!((stored.rows, stored.dead_rows) == (400, 0), "{stored:?}");
    Ok(())
}

fn generated_messages_of_all_kinds_land_in_exactly_one_place(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a site
    site.apply()?;
    // WHEN 40,000 messages are produced, one in ten of them invalid
    let profile = posthouse_tests::events::Profile { broken: 1_000, ..PROFILE };
    let load = Load::start(&site.brokers(), site.name(), profile, seed(site.name())?, 20_000, 40_000)?;
    let produced = load.wait()?;
    ensure!(produced.messages() == 40_000 && produced.broken > 3_000, "{produced:?}");
    consumed(site)?;
    // THEN every event is an event and every invalid message a dead letter, each once
    let stored = site.stored()?;
    ensure!((stored.rows, stored.events) == (produced.events, produced.events), "{stored:?} of {produced:?}");
    ensure!(
        (stored.dead_rows, stored.dead) == (produced.broken, produced.broken),
        "{stored:?} of {produced:?}"
    );
    Ok(())
}
