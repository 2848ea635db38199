//! Batches of every accepted type, compared with row-by-row decoding.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Float64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::columns::{team_column, text_column, uuid_column};
use super::moments::moment_column;
use super::{Event, events, parse};

/// Rounds of a test. Every round picks new types for the columns.
const ROUNDS: usize = 400;
/// Maximum rows of a batch. Some batches are empty.
const MAX_ROWS: usize = 40;
const MICROS: i64 = 1_000_000;

fn random() -> StdRng {
    let seed =
        std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a whole number"));
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

#[test]
fn every_row_becomes_what_a_reading_of_it_alone_says() {
    let mut random = random();
    for round in 0..ROUNDS {
        let rows = random.random_range(0..MAX_ROWS);
        let (uuid, uuids) = uuid_column(&mut random, rows);
        let (event, event_names) = text_column(&mut random, rows);
        let (properties, property_texts) = text_column(&mut random, rows);
        let property_nulls = properties.logical_nulls();
        let (stamp, stamps, unit) = moment_column(&mut random, rows);
        let (team, teams) = team_column(&mut random, rows);
        let (distinct_id, distinct_ids) = text_column(&mut random, rows);
        let types =
            [&uuid, &event, &properties, &stamp, &team, &distinct_id].map(|array| array.data_type().clone());
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("distinct_id", distinct_id, true),
            ("team_id", team, true),
            ("timestamp", stamp, true),
            ("properties", properties, true),
            ("event", event, true),
            ("uuid", uuid, true),
        ])
        .expect("equal lengths");
        let mapping = parse(&format!(
            "uuid = \"uuid\"\nevent = \"event\"\nproperties = \"properties\"\nteam_id = \"team_id\"\n\
             timestamp = {{ column = \"timestamp\", unit = \"{unit}\" }}\ndistinct_id = \"distinct_id\"\n"
        ))
        .expect("good");
        let mapper = mapping.bind(&batch.schema(), None).unwrap_or_else(|error| panic!("{types:?}: {error}"));
        let mapped = mapper.map(&batch);

        let mut good = Vec::new();
        let mut bad = Vec::new();
        for row in 0..rows {
            let is_null = property_nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            let properties = if is_null { Some(String::new()) } else { property_texts[row].clone() };
            let read = (|| {
                Some(Event {
                    uuid: uuids[row]?,
                    event: event_names[row].clone()?,
                    properties: properties.clone()?,
                    timestamp: stamps[row]?,
                    team_id: teams[row]?,
                    distinct_id: distinct_ids[row].clone()?,
                    elements_hash: String::new(),
                    created_at: stamps[row]?,
                    ingested_at: 0,
                    elements_chain: String::new(),
                })
            })();
            let faults = [
                uuids[row].is_none(),
                event_names[row].is_none(),
                properties.is_none(),
                stamps[row].is_none(),
                teams[row].is_none(),
                distinct_ids[row].is_none(),
            ];
            match read {
                Some(event) => good.push(event),
                None => bad.push((row, faults.iter().filter(|fault| **fault).count())),
            }
        }
        let rejects: Vec<(usize, usize)> =
            mapped.rejects.iter().map(|reject| (reject.row, reject.reason.split("; ").count())).collect();
        assert_eq!(rejects, bad, "round {round}, {types:?}: {:#?}", mapped.rejects);
        assert_eq!(events(&mapped), good, "round {round}, {types:?}");
    }
}

#[test]
fn the_first_value_of_several_columns_is_what_a_reading_by_row_says() {
    let mut random = random();
    for round in 0..ROUNDS {
        let rows = random.random_range(0..MAX_ROWS);
        let columns: Vec<_> = (0..3).map(|_| text_column(&mut random, rows)).collect();
        let ids = StringArray::from_iter_values((0..rows).map(|row| format!("{row:032x}")));
        let arrays =
            ["a", "b", "c"].into_iter().zip(&columns).map(|(name, (array, _))| (name, array.clone()));
        let arrays = arrays.chain([("id", Arc::new(ids) as ArrayRef)]);
        let batch = RecordBatch::try_from_iter_with_nullable(arrays.map(|(name, array)| (name, array, true)))
            .expect("equal lengths");
        let mapping = parse(
            "uuid = \"id\"\nevent = \"id\"\ntimestamp = { constant = 2026-11-01T10:42:06Z }\n\
             distinct_id = [\"a\", \"b\", \"c\"]",
        );
        let mapper = mapping.expect("good").bind(&batch.schema(), Some(1));
        let mapped = mapper.unwrap_or_else(|error| panic!("{error}")).map(&batch);
        let first = |row: usize| {
            let has_value = |array: &ArrayRef| !array.logical_nulls().is_some_and(|nulls| nulls.is_null(row));
            columns.iter().find(|(array, _)| has_value(array)).and_then(|(_, texts)| texts[row].clone())
        };
        let wanted: Vec<String> = (0..rows).filter_map(first).collect();
        let read: Vec<String> = events(&mapped).into_iter().map(|event| event.distinct_id).collect();
        assert_eq!(read, wanted, "round {round}, {:?}: {:?}", batch.schema(), mapped.rejects);
        assert_eq!(mapped.rejects.len(), rows - wanted.len(), "round {round}: {:?}", mapped.rejects);
    }
}

#[test]
fn bytes_are_not_copied_where_nothing_is_wrong() {
    let text = BinaryViewArray::from_iter_values([b"longer than a view is".as_slice(), b"b"]);
    let stamps = TimestampMicrosecondArray::from(vec![1, 2]);
    let ids = StringArray::from(vec!["018f3e5a7b1c7def8abc000000000000"; 2]);
    let batch = RecordBatch::try_from_iter([
        ("uuid", Arc::new(ids) as ArrayRef),
        ("event", Arc::new(text.clone())),
        ("timestamp", Arc::new(stamps)),
        ("distinct_id", Arc::new(text.clone())),
    ])
    .expect("equal lengths");
    let mapping =
        parse("uuid = \"uuid\"\nevent = \"event\"\ntimestamp = \"timestamp\"\ndistinct_id = \"distinct_id\"")
            .expect("good");
    let mapped = mapping.bind(&batch.schema(), Some(1)).expect("fits").map(&batch);
    assert_eq!(mapped.events.event.value(0).as_ptr(), text.value(0).as_ptr());
}

#[test]
fn local_times_follow_their_zone() {
    let read = |zone: &str, local: &str| {
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(StringArray::from(vec!["018f3e5a7b1c7def8abc000000000000"])) as ArrayRef),
            ("at", Arc::new(StringArray::from(vec![local]))),
        ])
        .expect("equal lengths");
        let mapping = parse(&format!(
            "uuid = \"id\"\nevent = \"id\"\ndistinct_id = \"id\"\ntimestamp = {{ column = \"at\", {zone} }}"
        ))
        .unwrap_or_else(|error| panic!("{error}"));
        let mapped = mapping.bind(&batch.schema(), Some(1)).expect("fits").map(&batch);
        mapped
            .rejects
            .first()
            .map_or(Ok(()), |reject| Err(reject.reason.clone()))
            .map(|()| mapped.events.timestamp[0])
    };
    let hour = 3600 * MICROS;
    let autumn = 1_792_886_400 * MICROS; // 2026-10-25 00:00 in UTC; clocks go back one hour later.
    let berlin = "zone = \"Europe/Berlin\"";
    assert_eq!(read(berlin, "2026-10-25 01:59:59.5"), Ok(autumn - 500_000));
    assert_eq!(read(berlin, "2026-10-25 03:00:00"), Ok(autumn + 2 * hour));
    assert_eq!(read(berlin, "2026-10-25 02:30:00Z"), Ok(autumn + 5 * hour / 2));
    let twice = "2026-10-25 02:30:00";
    assert_eq!(read(&format!("{berlin}, ambiguous = \"earlier\""), twice), Ok(autumn + hour / 2));
    assert_eq!(read(&format!("{berlin}, ambiguous = \"later\""), twice), Ok(autumn + 3 * hour / 2));
    let reason = read(berlin, twice).expect_err("ambiguous");
    assert!(
        reason.contains("occurs twice in Europe/Berlin") && reason.contains("ambiguous = \"earlier\""),
        "{reason}"
    );
    let reason = read(berlin, "2026-03-29 02:30:00").expect_err("no such time");
    assert!(reason.contains("does not exist in Europe/Berlin"), "{reason}");
    assert_eq!(read("zone = \"+02:00\"", "2026-10-25 02:00:00"), Ok(autumn));
}

#[test]
fn a_struct_becomes_json_and_a_date_beyond_the_calendar_a_reject() {
    let stamps =
        TimestampMicrosecondArray::from(vec![Some(1_793_529_726_502_000), Some(i64::MAX), None, Some(0)]);
    let texts = StringArray::from(vec!["a\"b", "", "☃", ""]);
    let floats = Float64Array::from(vec![0.5, 1.0, f64::NAN, -1e300]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("at", Arc::new(stamps) as ArrayRef, true),
        ("text", Arc::new(texts), true),
        ("float", Arc::new(floats), true),
    ])
    .expect("equal lengths");
    let props: ArrayRef = Arc::new(StructArray::from(batch));
    let id: ArrayRef = Arc::new(StringArray::from(vec!["018f3e5a7b1c7def8abc000000000000"; 4]));
    let batch = RecordBatch::try_from_iter([("id", id), ("props", props)]).expect("equal lengths");
    let mapping = parse(
        "uuid = \"id\"\nevent = \"id\"\ndistinct_id = \"id\"\nproperties = \"props\"\n\
         timestamp = { constant = 2026-11-01T10:42:06Z }\nelements_hash = \"props.text\"",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let mapper = mapping.bind(&batch.schema(), Some(1)).expect("fits");
    assert_eq!(mapper.projection(), [0, 1, 2, 3]);
    let mapped = mapper.map(&batch);
    let properties: Vec<String> = events(&mapped).into_iter().map(|event| event.properties).collect();
    assert_eq!(
        properties,
        [
            r#"{"at":"2026-11-01T10:42:06.502","text":"a\"b","float":0.5}"#,
            r#"{"at":null,"text":"☃","float":null}"#,
            r#"{"at":"1970-01-01T00:00:00","text":"","float":-1.0e300}"#,
        ]
    );
    let rejects: Vec<(usize, &str)> =
        mapped.rejects.iter().map(|reject| (reject.row, reject.reason.as_str())).collect();
    assert_eq!(rejects, [(1, "properties has a timestamp in column props that is out of range")]);
}
