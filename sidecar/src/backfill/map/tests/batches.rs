//! Random batches of every accepted type, against a row by row reading of the same values.

use std::sync::Arc;

use arrow_array::BinaryArray;
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array,
    DictionaryArray, FixedSizeBinaryArray, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeBinaryArray, LargeStringArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow_buffer::i256;
use chrono::DateTime;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{Event, events};
use crate::backfill::map::Mapping;

/// Rounds of a test; each has another type for every column.
const ROUNDS: usize = 400;
/// Rows of a batch: some batches have none.
const MOST_ROWS: usize = 40;
const MICROS: i64 = 1_000_000;
/// 1900 and 2300 in seconds since 1970.
const YEARS: std::ops::Range<i64> = -2_208_988_800..10_413_792_000;

/// A column, and what each of its rows should be: `None` for a reject.
type Column<T> = (ArrayRef, Vec<Option<T>>);

fn random() -> StdRng {
    let seed =
        std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a whole number"));
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// One value in eight is null.
fn null(random: &mut StdRng) -> bool {
    random.random_ratio(1, 8)
}

fn texts(random: &mut StdRng, rows: usize) -> Vec<Option<Vec<u8>>> {
    let words: [&[u8]; 6] =
        [b"", b"$pageview", "ünï☃".as_bytes(), b"a longer text than a view holds", b"{\"a\":1}", b"\0\n\""];
    (0..rows).map(|_| (!null(random)).then(|| words.choose(random).expect("some").to_vec())).collect()
}

/// Any text type. Invalid UTF-8 only where the type allows it.
fn text_column(random: &mut StdRng, rows: usize) -> Column<String> {
    let mut values = texts(random, rows);
    let kind = random.random_range(0..9);
    if kind >= 4 {
        for value in values.iter_mut().flatten() {
            if random.random_ratio(1, 10) {
                *value = [b"\xff\xfe".as_slice(), b"half a \xe2\x98"].choose(random).expect("some").to_vec();
            }
        }
    }
    let strings: Vec<Option<String>> =
        values.iter().map(|value| value.clone().and_then(|bytes| String::from_utf8(bytes).ok())).collect();
    let bytes = values.iter().map(Option::as_deref);
    let array: ArrayRef = match kind {
        0 => Arc::new(StringArray::from(strings.clone())),
        1 => Arc::new(LargeStringArray::from(strings.clone())),
        2 => Arc::new(strings.iter().map(Option::as_deref).collect::<StringViewArray>()),
        3 => Arc::new(strings.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>()),
        4 => Arc::new(bytes.collect::<BinaryArray>()),
        5 => Arc::new(bytes.collect::<LargeBinaryArray>()),
        6 => Arc::new(bytes.collect::<BinaryViewArray>()),
        7 => {
            // Sliced, so that offsets do not begin at zero.
            let padded = std::iter::once(Some(b"\xff".as_slice())).chain(bytes).collect::<LargeBinaryArray>();
            Arc::new(padded.slice(1, rows))
        }
        _ => {
            let keys = (0..rows).map(|row| i8::try_from(row).ok().filter(|_| values[row].is_some()));
            let plain = bytes.map(Option::unwrap_or_default).map(Some).collect::<BinaryArray>();
            Arc::new(DictionaryArray::<Int8Type>::new(keys.collect::<Int8Array>(), Arc::new(plain)))
        }
    };
    (array, strings)
}

fn uuid_column(random: &mut StdRng, rows: usize) -> Column<u128> {
    let values: Vec<Option<u128>> = (0..rows).map(|_| (!null(random)).then(|| random.random())).collect();
    let raw = values.iter().map(|value| value.map(u128::to_be_bytes));
    match random.random_range(0..4) {
        0 => {
            let fixed =
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(raw, 16).expect("sixteen bytes each");
            (Arc::new(fixed), values)
        }
        1 => (Arc::new(raw.collect::<BinaryArray>()), values),
        _ => {
            let mut wanted = values.clone();
            let texts: Vec<Option<String>> =
                wanted.iter_mut().map(|value| uuid_text(random, value)).collect();
            let array: ArrayRef = if random.random() {
                Arc::new(LargeStringArray::from(texts))
            } else {
                Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
            };
            (array, wanted)
        }
    }
}

/// A text of the UUID, or one that is none.
fn uuid_text(random: &mut StdRng, value: &mut Option<u128>) -> Option<String> {
    let plain = format!("{:032x}", (*value)?);
    let hyphens = [&plain[..8], &plain[8..12], &plain[12..16], &plain[16..20], &plain[20..]].join("-");
    Some(match random.random_range(0..6) {
        0 => plain,
        1 => hyphens.to_uppercase(),
        2 => {
            *value = None;
            let bad =
                [&hyphens[1..], "", "no uuid", &hyphens.replace('-', "_"), &plain.replace(&plain[5..6], "g")];
            bad.choose(random).expect("some").to_string()
        }
        _ => hyphens,
    })
}

fn team_column(random: &mut StdRng, rows: usize) -> Column<i64> {
    let small: Vec<Option<i64>> =
        (0..rows).map(|_| (!null(random)).then(|| random.random_range(0..=127))).collect();
    macro_rules! narrow {
        ($array:ty, $number:ty) => {
            Arc::new(
                small
                    .iter()
                    .map(|team| team.map(|team| <$number>::try_from(team).expect("small")))
                    .collect::<$array>(),
            )
        };
    }
    let array: ArrayRef = match random.random_range(0..12) {
        0 => narrow!(Int8Array, i8),
        1 => narrow!(Int16Array, i16),
        2 => narrow!(Int32Array, i32),
        3 => narrow!(Int64Array, i64),
        4 => narrow!(UInt8Array, u8),
        5 => narrow!(UInt16Array, u16),
        6 => narrow!(UInt32Array, u32),
        7 => {
            let wide: Vec<Option<u64>> =
                small.iter().map(|team| team.map(|_| random.random_range(0..=u64::MAX))).collect();
            let wanted = wide.iter().map(|team| team.and_then(|team| i64::try_from(team).ok())).collect();
            return (Arc::new(UInt64Array::from(wide)), wanted);
        }
        8 => return decimal_team(random, &small),
        9 => {
            let halves: Vec<Option<f64>> = small
                .iter()
                .map(|team| {
                    team.map(|team| team as f64 + *[0.0, 0.0, 0.5, f64::NAN].choose(random).expect("some"))
                })
                .collect();
            let wanted = halves
                .iter()
                .zip(&small)
                .map(|(half, team)| half.filter(|half| half.fract() == 0.0).and(*team));
            let wanted = wanted.collect();
            return (Arc::new(Float64Array::from(halves)), wanted);
        }
        10 => {
            let wide = small.iter().map(|team| team.map(|team| i256::from(team) * i256::from(100)));
            let array = wide.collect::<Decimal256Array>().with_precision_and_scale(60, 2).expect("fits");
            Arc::new(array)
        }
        _ => {
            let mut wanted = small.clone();
            let texts = wanted.iter_mut().map(|team| {
                let text = (*team)?.to_string();
                if random.random_ratio(1, 5) {
                    *team = None;
                    return Some(
                        [" 1", "+1", "1.0", "", "-", "99999999999999999999", "x"].choose(random)?.to_string(),
                    );
                }
                Some(text)
            });
            let texts: Vec<Option<String>> = texts.collect();
            return (Arc::new(StringArray::from(texts)), wanted);
        }
    };
    (array, small)
}

fn decimal_team(random: &mut StdRng, teams: &[Option<i64>]) -> Column<i64> {
    let mut wanted = teams.to_vec();
    let digits: Vec<Option<i128>> = wanted
        .iter_mut()
        .map(|team| {
            let digits = i128::from((*team)?) * 100;
            if random.random_ratio(1, 5) {
                *team = None;
                return Some(digits + 1);
            }
            Some(digits)
        })
        .collect();
    (Arc::new(Decimal128Array::from(digits).with_precision_and_scale(20, 2).expect("fits")), wanted)
}

/// Moments in every unit; `unit` is what numbers count.
fn moment_column(random: &mut StdRng, rows: usize) -> (ArrayRef, Vec<Option<i64>>, &'static str) {
    // Some are outside the years that fit.
    let span = YEARS.start - 1000..YEARS.end + 1000;
    let edges = [YEARS.start, YEARS.start - 1, YEARS.end, YEARS.end - 1, 0, -1];
    let seconds: Vec<Option<i64>> = (0..rows)
        .map(|_| {
            let any = random.random_range(span.clone());
            let second = if random.random_ratio(1, 5) { *edges.choose(random).expect("some") } else { any };
            (!null(random)).then_some(second)
        })
        .collect();
    let within = |micros: i64| (YEARS.start * MICROS..YEARS.end * MICROS).contains(&micros).then_some(micros);
    let wanted =
        |micros: &[Option<i64>]| micros.iter().map(|micros| micros.and_then(within)).collect::<Vec<_>>();
    let micros: Vec<Option<i64>> = seconds
        .iter()
        .map(|second| second.map(|second| second * MICROS + random.random_range(0..MICROS)))
        .collect();
    let whole: Vec<Option<i64>> = seconds.iter().map(|second| second.map(|second| second * MICROS)).collect();
    let millis: Vec<Option<i64>> =
        micros.iter().map(|micro| micro.map(|micro| micro.div_euclid(1000))).collect();
    let in_millis = millis.iter().map(|milli| milli.map(|milli| milli * 1000)).collect::<Vec<_>>();
    let zone = *[None, Some("UTC"), Some("Asia/Tokyo")].choose(random).expect("some");
    let (array, instants, unit): (ArrayRef, Vec<Option<i64>>, _) = match random.random_range(0..12) {
        0 => (Arc::new(TimestampSecondArray::from(seconds).with_timezone_opt(zone)), whole, "s"),
        1 => (Arc::new(TimestampMillisecondArray::from(millis).with_timezone_opt(zone)), in_millis, "s"),
        2 => (Arc::new(TimestampMicrosecondArray::from(micros.clone()).with_timezone_opt(zone)), micros, "s"),
        3 => {
            // Nanoseconds reach from 1677 to 2262 only.
            let nanos: Vec<Option<i64>> =
                (0..rows).map(|_| (!null(random)).then(|| random.random())).collect();
            let micros = nanos.iter().map(|nano| nano.map(|nano| nano.div_euclid(1000))).collect();
            (Arc::new(TimestampNanosecondArray::from(nanos).with_timezone_opt(zone)), micros, "s")
        }
        4 => (Arc::new(Int64Array::from(seconds)), whole, "s"),
        5 => (Arc::new(Int64Array::from(millis)), in_millis, "ms"),
        6 => (Arc::new(Int64Array::from(micros.clone())), micros, "us"),
        7 => {
            let digits = micros.iter().map(|micro| micro.map(i128::from)).collect::<Decimal128Array>();
            (Arc::new(digits.with_precision_and_scale(30, 6).expect("fits")), micros, "s")
        }
        8 => {
            // Up to 2106 a float of seconds tells microseconds apart.
            let near = |milli: &Option<i64>| milli.filter(|milli| milli.abs() < 1000 << 32);
            let near: Vec<Option<i64>> = millis.iter().map(near).collect();
            let floats = near.iter().map(|milli| milli.map(|milli| milli as f64 / 1000.0));
            let exact = near.iter().map(|milli| milli.map(|milli| milli * 1000)).collect();
            (Arc::new(floats.collect::<Float64Array>()), exact, "s")
        }
        9 => {
            let days = seconds.iter().map(|second| second.map(|second| second.div_euclid(86_400)));
            let days: Vec<Option<i64>> = days.collect();
            let midnights = days.iter().map(|day| day.map(|day| day * 86_400 * MICROS)).collect();
            if random.random() {
                let days = days.iter().map(|day| day.map(|day| i32::try_from(day).expect("small")));
                (Arc::new(days.collect::<Date32Array>()), midnights, "s")
            } else {
                let millis = days.iter().map(|day| day.map(|day| day * 86_400_000));
                (Arc::new(millis.collect::<Date64Array>()), midnights, "s")
            }
        }
        _ => {
            let mut instants = micros;
            let texts: Vec<Option<String>> = instants.iter_mut().map(|micro| iso(random, micro)).collect();
            (Arc::new(StringArray::from(texts)), instants, "s")
        }
    };
    let wanted = wanted(&instants);
    (array, wanted, unit)
}

/// A text of the moment, or one that is none.
fn iso(random: &mut StdRng, micros: &mut Option<i64>) -> Option<String> {
    let value = (*micros)?;
    let moment = DateTime::from_timestamp_micros(value)?;
    if random.random_ratio(1, 5) {
        *micros = None;
        return Some(
            [
                "",
                "10:42",
                "2026-02-30 00:00:00",
                "2026-1-1 00:00:00",
                "2026-01-01",
                "2026-01-01 24:00:00",
                "2026-01-01 00:00:60",
                "2026-01-01 00:00:00.",
                "2026-01-01 00:00:00.1234567890",
                "2026-01-01 00:00:00 UTC",
                "2026-01-01T00:00:00+25:00",
                "1899-12-31 23:59:59",
                "2300-01-01 00:00:00",
                "2023-02-29 00:00:00",
                "0000-00-00 00:00:00",
                "2026-01-01 00:00:00\n",
            ]
            .choose(random)?
            .to_string(),
        );
    }
    // The years of the text itself are checked too, whatever its offset makes of it.
    let year = |text: &str| text[..4].parse::<i64>().is_ok_and(|year| (1900..2300).contains(&year));
    let text = match random.random_range(0..5) {
        0 => moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        1 => moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        2 => format!("{}789", moment.format("%Y-%m-%dT%H:%M:%S%.6f")),
        3 => {
            let east = chrono::FixedOffset::east_opt(random.random_range(-12 * 60..=14 * 60) * 60)?;
            let shape = if random.random() { "%Y-%m-%dT%H:%M:%S%.6f%:z" } else { "%Y-%m-%d %H:%M:%S%.9f%z" };
            moment.with_timezone(&east).format(shape).to_string()
        }
        _ => {
            *micros = Some(value.div_euclid(100_000) * 100_000);
            let tenth = value.rem_euclid(MICROS) / 100_000;
            format!("{}.{tenth}", moment.format("%Y-%m-%d %H:%M:%S"))
        }
    };
    if !year(&text) {
        *micros = None;
    }
    Some(text)
}

#[test]
fn every_row_becomes_what_a_reading_of_it_alone_says() {
    let mut random = random();
    for round in 0..ROUNDS {
        let rows = random.random_range(0..MOST_ROWS);
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
        let mapping = Mapping::parse(&format!(
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
fn bytes_are_not_copied_where_nothing_is_wrong() {
    let text = LargeBinaryArray::from_iter_values([b"a".as_slice(), b"b"]);
    let stamps = TimestampMicrosecondArray::from(vec![1, 2]);
    let ids = StringArray::from(vec!["018f3e5a7b1c7def8abc000000000000"; 2]);
    let batch = RecordBatch::try_from_iter([
        ("uuid", Arc::new(ids) as ArrayRef),
        ("event", Arc::new(text.clone())),
        ("timestamp", Arc::new(stamps)),
        ("distinct_id", Arc::new(text.clone())),
    ])
    .expect("equal lengths");
    let mapping = Mapping::parse(
        "uuid = \"uuid\"\nevent = \"event\"\ntimestamp = \"timestamp\"\ndistinct_id = \"distinct_id\"",
    )
    .expect("good");
    let mapped = mapping.bind(&batch.schema(), Some(1)).expect("fits").map(&batch);
    assert_eq!(mapped.events.event.value_data().as_ptr(), text.value_data().as_ptr());
}

#[test]
fn local_times_follow_their_zone() {
    let read = |zone: &str, local: &str| {
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(StringArray::from(vec!["018f3e5a7b1c7def8abc000000000000"])) as ArrayRef),
            ("at", Arc::new(StringArray::from(vec![local]))),
        ])
        .expect("equal lengths");
        let mapping = Mapping::parse(&format!(
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
    let autumn = 1_792_886_400 * MICROS; // 2026-10-25 00:00 in UTC; clocks go back an hour later.
    let berlin = "zone = \"Europe/Berlin\"";
    assert_eq!(read(berlin, "2026-10-25 01:59:59.5"), Ok(autumn - 500_000));
    assert_eq!(read(berlin, "2026-10-25 03:00:00"), Ok(autumn + 2 * hour));
    assert_eq!(read(berlin, "2026-10-25 02:30:00Z"), Ok(autumn + 5 * hour / 2));
    let twice = "2026-10-25 02:30:00";
    assert_eq!(read(&format!("{berlin}, ambiguous = \"earlier\""), twice), Ok(autumn + hour / 2));
    assert_eq!(read(&format!("{berlin}, ambiguous = \"later\""), twice), Ok(autumn + 3 * hour / 2));
    let reason = read(berlin, twice).expect_err("ambiguous");
    assert!(
        reason.contains("comes twice in Europe/Berlin") && reason.contains("ambiguous = \"earlier\""),
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
    let props: ArrayRef = Arc::new(arrow_array::StructArray::from(batch));
    let id: ArrayRef = Arc::new(StringArray::from(vec!["018f3e5a7b1c7def8abc000000000000"; 4]));
    let batch = RecordBatch::try_from_iter([("id", id), ("props", props)]).expect("equal lengths");
    let mapping = Mapping::parse(
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
    assert_eq!(rejects, [(1, "properties has a timestamp in column props that is outside every calendar")]);
}
