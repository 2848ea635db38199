//! Backfills of columns beyond the core: values, defaults, rejected rows and proofs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int8Array, Int32Array, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use posthouse_tests::site::Site;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use toml::Table;
use uuid::Uuid;

use crate::schema::json;
use crate::seed;

tests! {
    Shared every_value_of_a_file_is_stored_proven_or_rejected,
    Shared a_mapping_names_columns_defaults_and_constants,
}

const ROWS: usize = 3_000;
/// Rows of a file without any column beyond the core.
const PLAIN_ROWS: usize = 200;
/// 2026-01-01 00:00:00 UTC in µs.
const SINCE: i64 = 1_767_225_600_000_000;
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Own columns of every type that a backfill fills, and one that it does not. Some have the name of
/// an alias in the verification's query.
const OWN: &str = r#"columns = [
    { name = 'person', type = 'UUID' },
    { name = 'perhaps', type = 'Nullable(UUID)' },
    { name = 'small', type = 'Int8' },
    { name = 'large', type = 'Nullable(UInt64)' },
    { name = 'month', type = 'UInt16' },
    { name = 'score', type = 'Float64', path = ['context', 'score'] },
    { name = 'is paid', type = 'Bool' },
    { name = 'seen_at', type = "DateTime64(3, 'UTC')" },
    { name = 'exactly_at', type = "Nullable(DateTime64(9, 'UTC'))" },
    { name = 'second', type = "DateTime('UTC')" },
    { name = 'mode', type = "Enum8('full' = 0, 'x y' = -3)" },
    { name = 'perhaps_mode', type = "Nullable(Enum8('a', 'b'))" },
    { name = 'tags', type = 'Array(String)' },
    { name = 'more_tags', type = 'Array(String)' },
    { name = 'labels', type = 'Map(String, String)' },
    { name = 'word', type = 'LowCardinality(String)', field = 'wort' },
    { name = 'perhaps_word', type = 'LowCardinality(Nullable(String))' },
    { name = 'lenient', type = 'Int32', invalid = 'default' },
    { name = 'price', type = 'Decimal(9, 2)' },
]"#;

/// The columns of a file, with the stored value of each row, or `None` if the row is rejected.
#[derive(Default)]
struct Columns {
    arrays: Vec<(&'static str, ArrayRef)>,
    wanted: BTreeMap<&'static str, Vec<Option<Value>>>,
}

impl Columns {
    /// Adds the file's column `source` for `column`. A null becomes `default`.
    fn add<T: Clone>(
        &mut self,
        random: &mut StdRng,
        (source, column): (&'static str, &'static str),
        default: Value,
        wrong: &[T],
        valid: impl Fn(&mut StdRng) -> (T, Value),
        array: impl Fn(Vec<Option<T>>) -> ArrayRef,
    ) {
        let rows: Vec<(Option<T>, Option<Value>)> = (0..ROWS)
            .map(|_| match random.random_range(0..100) {
                0..20 => (None, Some(default.clone())),
                20 if !wrong.is_empty() => (wrong.choose(random).cloned(), None),
                _ => {
                    let (value, stored) = valid(random);
                    (Some(value), Some(stored))
                }
            })
            .collect();
        let (values, wanted) = rows.into_iter().unzip();
        self.arrays.push((source, array(values)));
        self.wanted.insert(column, wanted);
    }
}

fn texts(values: Vec<Option<String>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn word(random: &mut StdRng) -> String {
    let letters = ["a", "ü", "\"", "\n", " ", "\\", "☃", "{"];
    (0..random.random_range(0..20)).filter_map(|_| letters.choose(random).copied()).collect()
}

/// A timestamp of the next 30 days in nanoseconds, as `digits` digits show it.
fn instant(random: &mut StdRng, digits: usize) -> (i64, Value) {
    let unit = 10_i64.pow(9 - digits as u32);
    let nanos = SINCE * 1_000 + random.random_range(0..30 * 86_400 * 1_000_000_000_i64) / unit * unit;
    let timestamp = Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let fraction =
        if digits > 0 { format!(".{:0digits$}", nanos % 1_000_000_000 / unit) } else { String::new() };
    (nanos, json!(format!("{}{fraction}", timestamp.strftime("%F %T"))))
}

fn id(random: &mut StdRng) -> Uuid {
    Uuid::from_u128(random.random())
}

fn add_scalars(columns: &mut Columns, random: &mut StdRng) {
    let no_uuids = owned(&["x", "", "0123456789abcdef"]);
    for name in ["person", "person_id"] {
        columns.add(random, (name, name), json!(NOBODY), &no_uuids, uuid_text, texts);
    }
    let raw = |random: &mut StdRng| {
        let id = id(random);
        (id.into_bytes(), json!(id.to_string()))
    };
    columns.add(random, ("perhaps", "perhaps"), Value::Null, &[], raw, |values| {
        let mut bytes = FixedSizeBinaryBuilder::new(16);
        for value in values {
            match value {
                Some(value) => bytes.append_value(value).expect("16 bytes"),
                None => bytes.append_null(),
            }
        }
        Arc::new(bytes.finish())
    });
    let small = |random: &mut StdRng| {
        let number = random.random_range(-128..=127);
        (number, json!(number))
    };
    let integers = |values: Vec<Option<i32>>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
    columns.add(random, ("small", "small"), json!(0), &[128, -129], small, integers);
    let large = |random: &mut StdRng| {
        let number = random.random::<u64>();
        (number, json!(number))
    };
    columns.add(random, ("large", "large"), Value::Null, &[], large, |values| {
        Arc::new(UInt64Array::from(values))
    });
    let month = |random: &mut StdRng| {
        let number = random.random::<u16>();
        (number.to_string(), json!(number))
    };
    let no_months = owned(&["-0", "65536", "1.0", " 1", "", "x"]);
    columns.add(random, ("month", "month"), json!(0), &no_months, month, texts);
    let score = |random: &mut StdRng| {
        let number = f64::from(random.random_range(-1_000_000..1_000_000)) + 0.5;
        (number, json!(number))
    };
    columns.add(random, ("context", "score"), json!(0), &[f64::NAN, f64::INFINITY], score, |values| {
        let scores: ArrayRef = Arc::new(Float64Array::from(values));
        let other: ArrayRef = Arc::new(Int8Array::from(vec![1; scores.len()]));
        let fields =
            RecordBatch::try_from_iter_with_nullable([("score", scores, true), ("other", other, true)]);
        Arc::new(StructArray::from(fields.expect("equal lengths")))
    });
    let truth = |random: &mut StdRng| {
        let truth = random.random();
        (truth, json!(truth))
    };
    columns.add(random, ("is paid", "is paid"), json!(false), &[], truth, |values| {
        Arc::new(BooleanArray::from(values))
    });
}

fn uuid_text(random: &mut StdRng) -> (String, Value) {
    let id = id(random);
    let text = if random.random() { id.simple().to_string().to_uppercase() } else { id.to_string() };
    (text, json!(id.to_string()))
}

fn add_timestamps(columns: &mut Columns, random: &mut StdRng) {
    let epoch = "1970-01-01 00:00:00";
    let millis = |random: &mut StdRng| {
        let (nanos, shown) = instant(random, 3);
        // Digits beyond the type's are cut off.
        (nanos / 1_000 + random.random_range(0..1_000), shown)
    };
    let micros = |values: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    };
    columns.add(random, ("seen_at", "seen_at"), json!(format!("{epoch}.000")), &[i64::MAX], millis, micros);
    columns.add(
        random,
        ("person_created_at", "person_created_at"),
        json!(format!("{epoch}.000")),
        &[],
        |random| {
            let (nanos, shown) = instant(random, 3);
            (nanos / 1_000_000, shown)
        },
        |values| Arc::new(TimestampMillisecondArray::from(values)),
    );
    columns.add(
        random,
        ("exactly_at", "exactly_at"),
        Value::Null,
        &[],
        |random| instant(random, 9),
        |values| Arc::new(TimestampNanosecondArray::from(values)),
    );
    let second = |random: &mut StdRng| {
        let (_, shown) = instant(random, 0);
        (format!("{}.25Z", shown.as_str().unwrap_or_default()), shown)
    };
    let no_seconds = owned(&["10:42", "1969-12-31 23:59:59", "2106-02-07 06:28:16", "7"]);
    columns.add(random, ("second", "second"), json!(epoch), &no_seconds, second, texts);
}

fn add_texts(columns: &mut Columns, random: &mut StdRng) {
    let same = |random: &mut StdRng| {
        let text = word(random);
        (text.clone(), json!(text))
    };
    columns.add(random, ("wort", "word"), json!(""), &[], same, texts);
    columns.add(random, ("perhaps_word", "perhaps_word"), Value::Null, &[], same, texts);
    columns.add(random, ("person_properties", "person_properties"), json!(""), &[], same, texts);
    let mode = |random: &mut StdRng| {
        let name = ["full", "x y"].choose(random).copied().unwrap_or_default();
        (name.to_owned(), json!(name))
    };
    columns.add(random, ("mode", "mode"), json!("x y"), &owned(&["", "0", "none"]), mode, texts);
    // The numbers of an enumeration, as ClickHouse itself may write them.
    let numbers = |values: Vec<Option<i8>>| -> ArrayRef { Arc::new(Int8Array::from(values)) };
    let number =
        |random: &mut StdRng| [(1, json!("a")), (2, json!("b"))].choose(random).cloned().unwrap_or_default();
    columns.add(random, ("perhaps_mode", "perhaps_mode"), Value::Null, &[0, 3], number, numbers);
    let lenient = |random: &mut StdRng| {
        [("7", 7), ("x", 0), ("", 0)].choose(random).map(|(text, value)| ((*text).to_owned(), json!(value)))
    };
    let lenient = |random: &mut StdRng| lenient(random).unwrap_or_default();
    columns.add(random, ("lenient", "lenient"), json!(0), &[], lenient, texts);
    // A struct as JSON.
    let name = |random: &mut StdRng| {
        let name = word(random);
        (name.clone(), json!(json!({ "name": name }).to_string()))
    };
    columns.add(
        random,
        ("group0_properties", "group0_properties"),
        json!("{\"name\":null}"),
        &[],
        name,
        |values| {
            let fields = RecordBatch::try_from_iter_with_nullable([("name", texts(values), true)]);
            Arc::new(StructArray::from(fields.expect("one column")))
        },
    );
}

fn add_lists(columns: &mut Columns, random: &mut StdRng) {
    let list = |random: &mut StdRng| {
        let items: Vec<String> = (0..random.random_range(0..4)).map(|_| word(random)).collect();
        (items.clone(), json!(items))
    };
    columns.add(random, ("tags", "tags"), json!([]), &[], list, |values| {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for value in values {
            lists.append_option(value.map(|items| items.into_iter().map(Some)));
        }
        Arc::new(lists.finish())
    });
    let json_list = |random: &mut StdRng| {
        let (items, _) = list(random);
        let mut wanted = items.clone();
        let mut items: Vec<Value> = items.into_iter().map(Value::from).collect();
        items.extend([json!(5), json!(null), json!({"a": [1]})]);
        wanted.extend(owned(&["5", "", "{\"a\":[1]}"]));
        (json!(items).to_string(), json!(wanted))
    };
    let no_lists = owned(&["", "a", "{}", "[1", "[1] x"]);
    columns.add(random, ("more_tags", "more_tags"), json!([]), &no_lists, json_list, texts);
    let map = |random: &mut StdRng| {
        let pairs: Vec<(String, String)> =
            (0..random.random_range(0..4)).map(|key| (format!("{key}ü"), word(random))).collect();
        let wanted: Map<String, Value> =
            pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        (pairs, Value::Object(wanted))
    };
    columns.add(random, ("labels", "labels"), json!({}), &[], map, |values| {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for value in values {
            let is_some = value.is_some();
            for (key, value) in value.into_iter().flatten() {
                maps.keys().append_value(key);
                maps.values().append_value(value);
            }
            maps.append(is_some).expect("as many values as keys");
        }
        Arc::new(maps.finish())
    });
}

/// Writes a file with `more` columns, and returns the ids of its rows.
fn write(
    path: &Path,
    random: &mut StdRng,
    rows: usize,
    more: Vec<(&'static str, ArrayRef)>,
) -> anyhow::Result<Vec<String>> {
    let ids: Vec<String> = (0..rows).map(|_| id(random).to_string()).collect();
    let people: Vec<String> = (0..rows).map(|_| format!("user-{}", random.random_range(0..500))).collect();
    let stamps: Vec<i64> = (0..rows).map(|_| SINCE + random.random_range(0..60 * 86_400_000_000)).collect();
    let repeated = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("uuid", Arc::new(StringArray::from(ids.clone()))),
        ("event", repeated("e")),
        ("properties", repeated("{}")),
        ("distinct_id", Arc::new(StringArray::from(people))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(stamps).with_timezone("UTC"))),
    ];
    columns.extend(more);
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), None)?;
    for from in (0..rows).step_by(1_000) {
        writer.write(&batch.slice(from, 1_000.min(rows - from)))?;
        writer.flush()?;
    }
    writer.close()?;
    Ok(ids)
}

/// Stored rows by their uuid.
fn stored(site: &Site<'_>) -> anyhow::Result<BTreeMap<String, Map<String, Value>>> {
    let rows = site.query(
        "SELECT * FROM {db}.events FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0, \
         output_format_json_escape_forward_slashes = 0",
    )?;
    let rows = rows.lines().map(|row| -> anyhow::Result<_> {
        let row: Map<String, Value> = serde_json::from_str(row)?;
        Ok((row["uuid"].as_str().context("a uuid")?.to_owned(), row))
    });
    rows.collect()
}

/// Applies a schema with the profile `posthog` and own columns.
fn apply(site: &mut Site<'_>, own: &str) -> anyhow::Result<()> {
    site.set("events", "profile", "posthog");
    let events = site.config_mut()["events"].as_table_mut().context("a table")?;
    events.extend(own.parse::<Table>()?);
    site.apply()
}

fn every_value_of_a_file_is_stored_proven_or_rejected(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema with columns of every type, a file with random values of them, and one without
    apply(site, OWN)?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let mut columns = Columns::default();
    add_scalars(&mut columns, &mut random);
    add_timestamps(&mut columns, &mut random);
    add_texts(&mut columns, &mut random);
    add_lists(&mut columns, &mut random);
    let folder = tempfile::tempdir()?;
    let mut more = columns.arrays.clone();
    more.push(("price", texts(vec![Some("1.25".to_owned()); ROWS])));
    let ids = write(&folder.path().join("full.parquet"), &mut random, ROWS, more)?;
    let plain = write(&folder.path().join("plain.parquet"), &mut random, PLAIN_ROWS, Vec::new())?;
    let (path, quarantine) = (folder.path().to_string_lossy(), tempfile::tempdir()?);
    let source = [&*path, "--mapping", "posthog-export", "--team-id", "7", "--json"];
    // WHEN the load is planned THEN the plan names columns that are filled, defaulted and left out
    let plan = json(&site.must(&[&["backfill", "plan"], &source[..]].concat())?)?;
    let files = |list: &str, name: &str| {
        let list = plan[list].as_array().into_iter().flatten();
        list.filter(|column| column["column"] == name).find_map(|column| column["files"].as_u64())
    };
    for column in columns.wanted.keys() {
        ensure!(files("filled", column) == Some(1) && files("defaulted", column) == Some(1), "{plan:#}");
    }
    for column in ["group4_properties", "inserted_at", "price"] {
        ensure!(files("filled", column).is_none() && files("defaulted", column) == Some(2), "{plan:#}");
    }
    ensure!(
        files("not_loaded", "price") == Some(1) && files("not_loaded", "context.other") == Some(1),
        "{plan:#}"
    );
    // WHEN it is run
    let aside = quarantine.path().to_string_lossy();
    let more = ["--max-rejects", "100%", "--quarantine", &aside, "--slice", "1"];
    let done = json(&site.must(&[&["backfill", "run"], &source[..], &more].concat())?)?;
    // THEN every row is stored with the file's values, or rejected with a reason for each wrong one
    let (stored, reasons) = (stored(site)?, reasons(site, &aside)?);
    ensure!(stored.len() + reasons.len() == ROWS + PLAIN_ROWS, "{done:#}");
    for (row, id) in ids.iter().enumerate() {
        let wrong = columns.wanted.iter().filter(|(_, wanted)| wanted[row].is_none());
        let mut wrong: Vec<&str> = wrong.map(|(column, _)| *column).collect();
        if wrong.is_empty() {
            let stored = stored.get(id).with_context(|| format!("{id}: {:?}", reasons.get(id)))?;
            for (column, wanted) in &columns.wanted {
                ensure!(
                    stored.get(*column) == wanted[row].as_ref(),
                    "{column} of {id}: {:?} is not {:?}",
                    stored.get(*column),
                    wanted[row]
                );
            }
        } else {
            let reason = reasons.get(id).with_context(|| format!("{wrong:?} of {id} are stored"))?;
            let mut named: Vec<&str> = reason
                .split("; ")
                .filter_map(|part| wrong.iter().find(|name| part.starts_with(&format!("{name} "))).copied())
                .collect();
            named.sort_unstable();
            wrong.sort_unstable();
            ensure!(named == wrong && reason.split("; ").count() == wrong.len(), "{wrong:?}: {reason}");
        }
    }
    ensure!(!reasons.is_empty() && reasons.len() < ROWS / 2, "{} of {ROWS} are rejected", reasons.len());
    // THEN rows of the other file have the types' defaults, and so have columns without a source
    for id in &plain {
        let stored = stored.get(id).with_context(|| format!("{id} is not stored"))?;
        let found = (&stored["person"], &stored["large"], &stored["mode"], &stored["tags"], &stored["word"]);
        let wanted = (&json!(NOBODY), &Value::Null, &json!("x y"), &json!([]), &json!(""));
        ensure!(found == wanted && stored["inserted_at"].is_null() && stored["price"] == 0, "{stored:?}");
    }
    // THEN the rows are proven, on both shards
    let rows = ROWS + PLAIN_ROWS - reasons.len();
    ensure!(done["stored"] == rows && done["proof"]["found"] == rows, "{done:#}");
    let job = done["job"].as_str().context("a job")?;
    let misplaced = "SELECT countIf(_shard_num != if(sipHash64(distinct_id) % 4 < 1, 1, 2)), uniqExact(_shard_num) FROM {db}.events";
    ensure!(site.query(misplaced)? == "0\t2");
    proves_what_is_stored(site, job)?;
    // WHEN it is run again, also by the other route, THEN nothing is stored
    for route in [&[][..], &["--route", "distributed"]] {
        let again = json(&site.must(&[&["backfill", "run"], &source[..], &more, route].concat())?)?;
        ensure!(again["stored"] == 0 && again["before"] == rows && again["job"] == job, "{again:#}");
    }
    a_column_that_came_later(site, job, &source)
}

/// Reasons of rejected rows by their uuid.
fn reasons(site: &Site<'_>, quarantine: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let rows = site.query(&format!(
        "SELECT uuid, _reason FROM file('{quarantine}/*/*.parquet') FORMAT JSONCompactEachRow"
    ))?;
    rows.lines().map(|row| Ok(serde_json::from_str(row)?)).collect()
}

/// Changes of one value, of each layout, and how to undo them.
const CHANGES: [(&str, &str); 4] = [
    ("month = month + 1", "month = month - 1"),
    ("tags = arrayConcat(tags, [''])", "tags = arrayPopBack(tags)"),
    (
        "perhaps_word = concat(perhaps_word, '!')",
        "perhaps_word = substring(perhaps_word, 1, length(perhaps_word) - 1)",
    ),
    ("labels = mapConcat(labels, map('x', ''))", "labels = mapFilter((key, value) -> key != 'x', labels)"),
];

/// A value that is changed by hand is found.
fn proves_what_is_stored(site: &Site<'_>, job: &str) -> anyhow::Result<()> {
    let verify = || -> anyhow::Result<(i32, Value)> {
        let outcome = site.posthouse(&["backfill", "verify", job, "--json"])?;
        Ok((outcome.code, json(&outcome)?))
    };
    // GIVEN one row of each of four partitions
    let rows = site.query(
        "SELECT _shard_num, toYYYYMM(timestamp) AS partition, min(uuid) FROM {db}.events WHERE isNotNull(perhaps_word) \
         GROUP BY _shard_num, partition ORDER BY _shard_num, partition LIMIT 4 FORMAT JSONCompactEachRow",
    )?;
    let rows = rows.lines().map(|row| Ok(serde_json::from_str(row)?));
    let rows: Vec<(usize, u32, Uuid)> = rows.collect::<anyhow::Result<_>>()?;
    let update = |(shard, _, id): &(usize, u32, Uuid), change: &str| {
        let update = format!("ALTER TABLE {{db}}.sharded_events UPDATE {change} WHERE uuid = '{id}'");
        site.query_on(shard - 1, &format!("{update} SETTINGS mutations_sync = 1"))
    };
    // WHEN a value of each is changed, each in another column THEN verification finds each of them
    for (row, (change, _)) in rows.iter().zip(CHANGES) {
        update(row, change)?;
    }
    let (code, proof) = verify()?;
    let changed = proof["differences"].as_array().into_iter().flatten();
    let changed: Vec<_> =
        changed.map(|one| (&one["shard"], &one["month"], &one["changed_blocks"], &one["missing"])).collect();
    let wanted: Vec<_> =
        rows.iter().map(|(shard, month, _)| [json!(shard), json!(month), json!(1), json!(0)]).collect();
    let wanted: Vec<_> = wanted.iter().map(|[shard, month, one, none]| (shard, month, one, none)).collect();
    ensure!(code == 3 && wanted.len() == 4 && changed == wanted, "{proof:#}");
    // WHEN the values are as before THEN the load is proven
    for (row, (_, back)) in rows.iter().zip(CHANGES) {
        update(row, back)?;
    }
    let (code, proof) = verify()?;
    ensure!(code == 0, "{proof:#}");
    Ok(())
}

/// A column that the config gains after a load changes nothing about the load.
fn a_column_that_came_later(site: &mut Site<'_>, job: &str, source: &[&str]) -> anyhow::Result<()> {
    // GIVEN a load, and a column that its file has and the config gains
    let events = site.config_mut()["events"].as_table_mut().context("a table")?;
    let columns = events.get_mut("columns").and_then(toml::Value::as_array_mut).context("columns")?;
    columns.push(toml::Value::Table("name = 'later'\ntype = 'UInt8'\npath = ['context', 'other']".parse()?));
    // WHEN another load would fill it before the schema has it THEN it is refused
    let reload = [&["backfill", "plan", "--allow-reload"], source].concat();
    let refused = site.posthouse(&reload)?;
    let reason = "the load fills: later: run posthouse schema apply";
    ensure!(refused.code == 1 && refused.stderr.contains(reason), "{refused}");
    // WHEN the schema has it, and another row has replaced one of the load
    site.must(&["schema", "apply", "--yes-drop", "events_mv", "--yes-drop", "events_dead_letter_mv"])?;
    let id = site.query("SELECT min(uuid) FROM {db}.sharded_events")?;
    site.query(&format!(
        "INSERT INTO {{db}}.sharded_events SELECT * REPLACE (1 AS _offset, toUInt32(_timestamp) + 1 AS _timestamp) FROM \
         {{db}}.sharded_events WHERE uuid = '{id}'"
    ))?;
    site.query("OPTIMIZE TABLE {db}.sharded_events FINAL")?;
    // THEN the load is proven, and the replaced row is known to be merged
    let proof = json(&site.must(&["backfill", "verify", job, "--json"])?)?;
    ensure!(proof["merged"] == 1, "{proof:#}");
    // THEN the same command finds it done, without the column
    let later = |plan: &Value, list: &str| {
        let list = plan[list].as_array().into_iter().flatten();
        list.filter(|column| column["column"] == "later").find_map(|column| column["files"].as_u64())
    };
    let again = json(&site.must(&[&["backfill", "run", "--max-rejects", "100%"], source].concat())?)?;
    ensure!(again["stored"] == 0 && again["job"] == job && again["proof"]["merged"] == 1, "{again:#}");
    ensure!(later(&again, "filled").is_none() && later(&again, "defaulted") == Some(2), "{again:#}");
    // THEN a load in addition would fill it
    let plan = json(&site.must(&reload)?)?;
    ensure!(later(&plan, "filled") == Some(1) && plan["job"] != job, "{plan:#}");
    Ok(())
}

fn a_mapping_names_columns_defaults_and_constants(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a schema, a file with other names, and a mapping for it
    apply(
        site,
        "columns = [{ name = 'plan', type = 'LowCardinality(String)' }, { name = 'seats', type = 'Nullable(UInt16)' }, \
         { name = 'price', type = 'Decimal(9, 2)' }]",
    )?;
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (file, mapping) = (place("a.parquet"), place("mapping.toml"));
    site.query(&format!(
        "INSERT INTO FUNCTION file('{file}', Parquet) SELECT generateUUIDv4() AS id, 'e' AS event, toString(number) AS who, \
         now64(6, 'UTC') AS at, if(number < 50, NULL, toUInt32(number)) AS count, toInt64(1767225600) + number AS created, \
         '{NOBODY}' AS someone FROM numbers(100)"
    ))?;
    let core = "uuid = 'id'\nevent = 'event'\ntimestamp = 'at'\ndistinct_id = 'who'\n";
    let source = [&*file, "--mapping", &mapping, "--team-id", "7", "--json"];
    // WHEN the mapping has wrong entries THEN all are reported before the first row
    let wrong = "person_mode = { constant = 'none' }\nseats = { column = 'count', default = -1 }\nprice = 'count'\n\
                 '$session_id' = 'who'\ngroup0_properties = { column = 'no', default = '{}' }\nnone = 'who'\n";
    std::fs::write(&mapping, format!("{core}{wrong}"))?;
    let refused = site.posthouse(&[&["backfill", "plan"], &source[..]].concat())?;
    for problem in [
        "is not one of full, propertyless, force_upgrade",
        "is not an integer of type UInt16",
        "a backfill can't fill this column of type Decimal(9, 2)",
        "the shards compute this column",
        "none: is an unknown key",
    ] {
        ensure!(refused.code == 2 && refused.stderr.contains(problem), "no {problem:?} in {refused}");
    }
    // WHEN it is right THEN rows have the columns' values, the defaults and the constants
    let right = "person_mode = { constant = 'propertyless' }\nseats = { column = 'count', default = 5 }\n\
                 plan = { column = 'no such', default = 'free' }\nperson_created_at = { column = 'created', unit = 's' }\n\
                 person_id = 'someone'\n";
    std::fs::write(&mapping, format!("{core}{right}"))?;
    let done = json(&site.must(&[&["backfill", "run"], &source[..], &["--route", "distributed"]].concat())?)?;
    ensure!(done["stored"] == 100 && done["proof"]["found"] == 100, "{done:#}");
    let wrong = site.query(
        "SELECT countIf(person_mode != 'propertyless'), countIf(seats != if(toUInt16(distinct_id) < 50, 5, toUInt16(distinct_id))), \
         countIf(plan != 'free'), countIf(toUnixTimestamp(person_created_at) != 1767225600 + toUInt16(distinct_id)), \
         countIf(group0_properties != '') FROM {db}.events",
    )?;
    ensure!(wrong == "0\t0\t0\t0\t0", "{wrong}");
    Ok(())
}
