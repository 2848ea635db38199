//! Sources beyond a single column: alternatives, paths, derived UUIDs, ids and objects.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array,
    Int64Array, NullArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use uuid::Uuid;

use super::{Event, events, parse};
use crate::backfill::map::mapper::{Mapped, Mapper};
use crate::backfill::map::{Mapping, MappingError};
use crate::backfill::read::DeclaredType;

const NAMESPACE: Uuid = Uuid::from_u128(0x5ec2_a1c4_8f0e_4c8f_9a57_3f8f_6f5a_7a10);

/// Constants for all core columns but the ones of `lines`.
fn mapping(lines: &str) -> Mapping {
    let mut text = lines.to_owned();
    for (key, line) in [
        ("uuid", "uuid = \"id\""),
        ("event", "event = { constant = \"e\" }"),
        ("timestamp", "timestamp = { constant = 2026-11-01T10:42:06Z }"),
        ("team_id", "team_id = { constant = 7 }"),
        ("distinct_id", "distinct_id = { constant = \"d\" }"),
    ] {
        if !lines.lines().any(|given| given.starts_with(&format!("{key} "))) {
            text = format!("{line}\n{text}");
        }
    }
    parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A batch with UUIDs in `id` beside `columns`.
fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let rows = columns.first().map_or(1, |(_, array)| array.len());
    let ids = (0..rows).map(|row| format!("{row:032x}"));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let columns = columns.into_iter().chain([("id", ids)]);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .expect("equal lengths")
}

fn bind(mapping: &Mapping, batch: &RecordBatch, location: &str) -> Result<Mapper, Vec<String>> {
    mapping.bind_at(location, &batch.schema(), None).map_err(|error| match error {
        MappingError::Unfit { faults, hints, .. } => [faults, hints].concat(),
        other => panic!("{other}"),
    })
}

fn map(lines: &str, columns: Vec<(&str, ArrayRef)>) -> Mapped {
    let batch = batch(columns);
    bind(&mapping(lines), &batch, "x").unwrap_or_else(|faults| panic!("{faults:?}")).map(&batch)
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn distinct_ids(mapped: &Mapped) -> Vec<String> {
    events(mapped).into_iter().map(|event| event.distinct_id).collect()
}

fn properties(mapped: &Mapped) -> Vec<String> {
    events(mapped).into_iter().map(|event| event.properties).collect()
}

fn reasons(mapped: &Mapped) -> Vec<(usize, &str)> {
    mapped.rejects.iter().map(|reject| (reject.row, reject.reason.as_str())).collect()
}

#[test]
fn takes_the_first_column_with_a_value() {
    let user = texts(&[Some("user with a long name"), None, Some(""), None]);
    let anonymous = texts(&[Some("a"), Some("b with a long name"), Some("c"), None]);
    let number: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1), None, Some(-4)]));
    let columns =
        || vec![("user", user.clone()), ("anonymous", anonymous.clone()), ("number", number.clone())];
    let mapped = map("distinct_id = [\"user\", \"anonymous\"]", columns());
    assert_eq!(distinct_ids(&mapped), ["user with a long name", "b with a long name", ""]);
    assert_eq!(reasons(&mapped), [(3, "distinct_id is null (column user, anonymous)")]);
    // Whole numbers and text mix, and absent columns have no values.
    let mapped = map("distinct_id = [\"gone\", \"number\", \"user\"]", columns());
    assert_eq!(distinct_ids(&mapped), ["user with a long name", "1", "", "-4"]);
    let mapped = map("distinct_id = { column = [\"gone\", \"user\"], default = \"?\" }", columns());
    assert_eq!(distinct_ids(&mapped), ["user with a long name", "?", "", "?"]);
    let mapped = map("team_id = { column = [\"number\"], default = 9 }", columns());
    assert_eq!(events(&mapped).iter().map(|event| event.team_id).collect::<Vec<_>>(), [9, 1, 9, -4]);

    let early: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]));
    let late: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(5), Some(6)]));
    let other: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(5), Some(6)]));
    let mapped = map("timestamp = [\"early\", \"late\"]", vec![("early", early.clone()), ("late", late)]);
    assert_eq!(events(&mapped).iter().map(|event| event.timestamp).collect::<Vec<_>>(), [1, 6]);
    let mixed = batch(vec![("early", early), ("late", other)]);
    let faults = bind(&mapping("timestamp = [\"early\", \"late\"]"), &mixed, "x").expect_err("two types");
    assert_eq!(
        faults,
        [
            "timestamp ← early, late: the columns are of several types (early Timestamp(µs), late Timestamp(ms)): \
          give columns of one"
        ]
    );
    let faults = bind(&mapping("distinct_id = [\"a\", \"b\"]"), &mixed, "x").expect_err("absent");
    assert_eq!(
        faults,
        ["distinct_id ← a, b: the file has none of these columns", "the file has: early, late, id"]
    );
}

#[test]
fn a_column_of_nulls_has_the_type_of_the_others() {
    let nulls: ArrayRef = Arc::new(NullArray::new(2));
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(5), Some(6)]));
    for line in ["timestamp = [\"none\", \"at\"]", "timestamp = [\"at\", \"none\"]"] {
        let mapped = map(line, vec![("none", nulls.clone()), ("at", at.clone())]);
        assert_eq!(events(&mapped).iter().map(|event| event.timestamp).collect::<Vec<_>>(), [5, 6]);
    }
    let mapped = map("distinct_id = { column = [\"none\", \"none2\"], default = \"d\" }", {
        vec![("none", nulls.clone()), ("none2", nulls.clone())]
    });
    assert_eq!(distinct_ids(&mapped), ["d", "d"]);
    let mapped = map("properties = { columns = [\"*\"] }", vec![("none", nulls)]);
    assert_eq!(properties(&mapped), ["{}", "{}"]);
}

#[test]
fn a_text_of_sixteen_letters_is_no_uuid_beside_bytes() {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"sixteen letters!"), None]));
    let text = texts(&[None, Some("sixteen letters!")]);
    let columns = || vec![("bytes", bytes.clone()), ("text", text.clone())];
    for line in ["uuid = [\"text\", \"bytes\"]", "uuid = [\"bytes\", \"text\"]"] {
        assert!(map(line, columns()).rejects.iter().any(|reject| reject.row == 1), "{line}");
    }
    assert_eq!(map("uuid = [\"bytes\"]", columns()).rejects.len(), 1);
}

#[test]
fn objects_follow_the_types_that_the_file_declares() {
    let inner: ArrayRef = Arc::new(BinaryArray::from(vec![b"\xff".as_slice(), b"x"]));
    let field = Arc::new(Field::new("b", DataType::Binary, true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, inner)]));
    let mapped = map("properties = { columns = [\"*\"] }", vec![("n", nested.clone())]);
    assert_eq!(properties(&mapped), [r#"{"n":{"b":"x"}}"#]);
    assert_eq!(mapped.rejects.len(), 1);
    assert!(mapped.rejects[0].reason.ends_with("in column n is not UTF-8"), "{:?}", mapped.rejects);
    let mapped = map("properties = { object = \"n\" }", vec![("n", nested)]);
    assert_eq!(
        (properties(&mapped).as_slice(), mapped.rejects.len()),
        ([r#"{"b":"x"}"#.to_owned()].as_slice(), 1)
    );

    let variant = |name: &str| Field::new(name, DataType::BinaryView, true);
    let bson = DeclaredType::Bson.mark(variant("a"));
    let schema = Schema::new(vec![Field::new("id", DataType::Utf8, true), bson]);
    for line in ["properties = { columns = [\"*\"] }", "distinct_id = [\"a\", \"id\"]"] {
        let error = mapping(line).bind(&schema, None).expect_err("BSON").to_string();
        assert!(error.contains("a is BSON, which can't be loaded"), "{error}");
    }
    let excepted = mapping("properties = { columns = [\"*\"], except = [\"a\"] }");
    assert!(excepted.bind(&schema, None).is_ok());
}

#[test]
fn derives_the_same_uuid_from_the_same_value() {
    let uuid = |name: &[u8]| Uuid::new_v5(&NAMESPACE, name).as_u128();
    let derived = format!("uuid = {{ column = \"key\", namespace = \"{NAMESPACE}\" }}");
    let uuids = |mapped: &Mapped| events(mapped).iter().map(|event| event.uuid).collect::<Vec<_>>();
    let seven = uuid(b"7");
    assert_eq!(seven, 0x7727_3df5_d521_5e18_b717_5a2e_5388_cc35, "as in every version");
    let numbers: [ArrayRef; 4] = [
        texts(&[Some("7")]),
        Arc::new(Int64Array::from(vec![7])),
        Arc::new(Float64Array::from(vec![7.0])),
        Arc::new(Decimal128Array::from(vec![7]).with_precision_and_scale(38, 0).expect("fits")),
    ];
    for array in numbers {
        assert_eq!(uuids(&map(&derived, vec![("key", array)])), [seven]);
    }
    let mapped = map(&derived, vec![("key", texts(&[Some("a"), None, Some("")]))]);
    assert_eq!(uuids(&mapped), [uuid(b"a")]);
    assert_eq!(
        reasons(&mapped),
        [(1, "uuid is null (column key)"), (2, "uuid has an empty name (column key)")]
    );

    let joined = format!("uuid = {{ joined = [\"a\", \"b\", \"at\"], namespace = \"{NAMESPACE}\" }}");
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1000), None, None]));
    let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, None]));
    let columns = |at: ArrayRef| {
        vec![
            ("a", texts(&[Some("x\""), Some(""), None])),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None, None])) as ArrayRef),
            ("at", at),
        ]
    };
    let mapped = map(&joined, columns(micros));
    assert_eq!(uuids(&mapped), [uuid(br#"["x\"","true","1000000"]"#), uuid(br#"["",null,null]"#)]);
    assert_eq!(reasons(&mapped), [(2, "uuid is null (columns a, b, at)")]);
    assert_eq!(uuids(&map(&joined, columns(millis))), uuids(&mapped));
}

#[test]
fn reads_values_of_the_path_as_columns() {
    let named = mapping("team_id = \"team_id\"\ntimestamp = \"date\"\ndistinct_id = [\"who\", \"team_id\"]");
    let rows = batch(vec![("who", texts(&[Some("a"), None]))]);
    let location = "s3://b/team_id=7/date=2026-11-01 10%3A42%3A06/x.parquet";
    let mapper = bind(&named, &rows, location).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(mapper.reads_path());
    assert!(mapper.is_same_at(&location.replace("x.p", "hour=3/y.p")) && !mapper.is_same_at("x"));
    let wanted = |row: usize, distinct_id: &str| Event {
        uuid: row as u128,
        event: "e".to_owned(),
        properties: String::new(),
        timestamp: 1_793_529_726_000_000,
        team_id: 7,
        distinct_id: distinct_id.to_owned(),
        elements_hash: String::new(),
        created_at: 1_793_529_726_000_000,
        ingested_at: 0,
        elements_chain: String::new(),
    };
    assert_eq!(events(&mapper.map(&rows)), [wanted(0, "a"), wanted(1, "7")]);

    // Every value that decides on rows is in the fingerprint, and no other.
    let fingerprint = |location: &str, rows: &RecordBatch| {
        let bound = bind(&named, rows, location).unwrap_or_else(|faults| panic!("{faults:?}"));
        bound.fingerprint().to_owned()
    };
    assert_eq!(fingerprint(&location.replace("x.p", "hour=3/y.p"), &rows), mapper.fingerprint());
    assert_ne!(fingerprint(&location.replace("=7", "=8"), &rows), mapper.fingerprint());

    // A column of the file has precedence, and then the path is not read.
    let team: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let date: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 0]));
    let whole = batch(vec![("who", texts(&[None, None])), ("team_id", team), ("date", date)]);
    let mapper = bind(&named, &whole, location).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(!mapper.reads_path() && mapper.is_same_at("x"));
    assert_eq!(mapper.fingerprint(), fingerprint("x.parquet", &whole));
    assert_eq!(distinct_ids(&mapper.map(&whole)), ["1", "2"]);

    // Faults are found before the first row.
    let faults = bind(&named, &rows, "team_id=x/date=__HIVE_DEFAULT_PARTITION__/x").expect_err("two");
    assert_eq!(
        faults,
        [
            "timestamp ← date (of the path): timestamp is null (column date (of the path))",
            "team_id ← team_id (of the path): team_id \"x\" in column team_id (of the path) is not a 64-bit integer",
        ]
    );
    let faults = bind(&named, &rows, "team=7/x").expect_err("absent");
    assert!(faults.contains(&"the file has: who, id; its path has: team".to_owned()), "{faults:?}");
    // A default replaces a null of the path and for a name that it lacks.
    let default = mapping("team_id = { column = \"team_id\", default = 3 }");
    for location in ["team_id=__HIVE_DEFAULT_PARTITION__/x", "x"] {
        let mapper = bind(&default, &rows, location).unwrap_or_else(|faults| panic!("{faults:?}"));
        assert_eq!(events(&mapper.map(&rows))[0].team_id, 3);
        assert!(mapper.is_same_at(location) && !mapper.is_same_at("team_id=4/x"));
    }
    // UUIDs are never of the path.
    let faults = bind(&mapping("uuid = \"key\""), &rows, "key=a/x").expect_err("absent");
    assert!(faults[0].starts_with("uuid ← key: the file has no column"), "{faults:?}");
}

#[test]
fn a_team_of_the_path_is_read_unless_the_command_line_has_another() {
    let export = parse(
        "uuid = \"id\"\nevent = { constant = \"e\" }\ntimestamp = \"timestamp\"\ndistinct_id = \"user_id\"",
    )
    .expect("good");
    let rows = batch(vec![
        ("user_id", texts(&[Some("a")])),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(vec![1])) as ArrayRef),
    ]);
    let bind = |location: &str, team| export.bind_at(location, &rows.schema(), team);
    let of_path = bind("team_id=7/x", None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(events(&of_path.map(&rows))[0].team_id, 7);
    let given = bind("x", Some(7)).unwrap_or_else(|error| panic!("{error}"));
    let both = bind("team_id=7/x", Some(7)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(both.fingerprint(), given.fingerprint());
    assert!(both.is_same_at("team_id=7/y") && !both.is_same_at("team_id=8/y"));
    assert_ne!(both.fingerprint(), of_path.fingerprint());
    let error = bind("team_id=8/x", Some(7)).expect_err("two teams").to_string();
    assert!(error.contains("team_id: the path has team_id=8, and the command line --team-id 7:"), "{error}");
    let error = bind("x", None).expect_err("no team").to_string();
    assert!(error.contains("team_id: missing in the mapping and on the command line"), "{error}");

    // A column of the file has precedence over the path.
    let named = batch(vec![
        ("user_id", texts(&[Some("a")])),
        ("timestamp", { Arc::new(TimestampMicrosecondArray::from(vec![1])) as ArrayRef }),
        ("teamId", Arc::new(Int64Array::from(vec![5]))),
    ]);
    let error = export.bind_at("team_id=7/x", &named.schema(), Some(7)).expect_err("a column").to_string();
    assert!(error.contains("the file has the column teamId, and --team-id 7"), "{error}");
    let error = export.bind_at("team_id=7/x", &named.schema(), None).expect_err("a column").to_string();
    assert!(error.contains("add team_id = \"teamId\", which the file has"), "{error}");
}

#[test]
fn ids_are_texts_whole_numbers_uuids_and_bytes() {
    let id = |array: ArrayRef| map("distinct_id = \"who\"", vec![("who", array)]);
    let decimal = |scale| {
        let array = Decimal128Array::from(vec![12_345_678_901_234_567_890_123_456_789_012_345_678, -7]);
        Arc::new(array.with_precision_and_scale(38, scale).expect("fits")) as ArrayRef
    };
    assert_eq!(distinct_ids(&id(decimal(0))), ["12345678901234567890123456789012345678", "-7"]);
    let fixed = FixedSizeBinaryArray::try_from_iter(["abcd", "efgh"].iter()).expect("four bytes");
    assert_eq!(distinct_ids(&id(Arc::new(fixed))), ["abcd", "efgh"]);
    let floats =
        id(Arc::new(Float64Array::from(vec![Some(-3.0), None, Some(0.5), Some(1e17), Some(f64::NAN)])));
    assert_eq!(distinct_ids(&floats), ["-3"]);
    let reason = "distinct_id 0.5 in column who is not a whole number that a float holds exactly";
    assert_eq!(reasons(&floats)[..2], [(1, "distinct_id is null (column who)"), (2, reason)]);
    assert_eq!(floats.rejects.len(), 4);
    let two = batch(vec![("who", decimal(2))]);
    let faults = bind(&mapping("distinct_id = \"who\""), &two, "x").expect_err("a fraction");
    assert_eq!(
        faults,
        ["distinct_id ← who: Decimal128(38, 2) is not text: give a column of text or whole numbers"]
    );

    let uuid = Uuid::from_u128(0x018f_3e5a_7b1c_7def_8abc_0000_0000_0001);
    let raw: ArrayRef =
        Arc::new(FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].iter()).expect("sixteen bytes"));
    let metadata = HashMap::from([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())]);
    let field = Field::new("who", raw.data_type().clone(), true).with_metadata(metadata);
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![raw]).expect("one column");
    let both = mapping("uuid = \"who\"\ndistinct_id = \"who\"");
    let mapper = bind(&both, &rows, "x").unwrap_or_else(|faults| panic!("{faults:?}"));
    let read = events(&mapper.map(&rows));
    assert_eq!((read[0].uuid, &read[0].distinct_id), (uuid.as_u128(), &uuid.to_string()));

    let char36 = FixedSizeBinaryArray::try_from_iter([uuid.to_string()].iter()).expect("36 bytes");
    let mapped = map("uuid = \"key\"", vec![("key", Arc::new(char36))]);
    assert_eq!(events(&mapped)[0].uuid, uuid.as_u128());
}

#[test]
fn an_object_has_a_field_for_each_value() {
    let tags = {
        let mut tags = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        for value in ["x", "y"] {
            tags.keys().append_value(-1);
            tags.values().append_value(value);
            tags.append(true).expect("one pair");
        }
        tags.append(false).expect("null");
        tags.finish()
    };
    let nested = StructArray::from(batch(vec![("n", Arc::new(Int64Array::from(vec![Some(1), None, None])))]));
    let columns = || {
        vec![
            ("context_ip", texts(&[Some("::1"), None, Some("a\"b")])),
            (
                "plan",
                Arc::new(BinaryArray::from_opt_vec(vec![Some(b"pro"), Some(b"\xff"), None])) as ArrayRef,
            ),
            ("paid", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            ("price", Arc::new(Float64Array::from(vec![Some(0.5), Some(1.0), Some(f64::NAN)]))),
            ("tags", Arc::new(tags.clone())),
            ("nested", Arc::new(nested.clone())),
            ("json", texts(&[Some("{\"a\": [1, null]}"), Some("null"), Some("")])),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_793_529_726_502_000), None, None]))),
        ]
    };
    let all = map(
        "timestamp = { column = \"at\", default = 2026-01-01T00:00:00Z }\n\
         properties = { columns = [\"*\", \"at\"], json = [\"js*\"], except = [\"nested\"], \
         rename = { context_ip = \"$ip\" } }",
        columns(),
    );
    assert_eq!(
        properties(&all),
        [
            r#"{"$ip":"::1","plan":"pro","paid":true,"price":0.5,"tags":{"-1":"x"},"json":{"a": [1, null]},"at":"2026-11-01T10:42:06.502"}"#,
            r#"{"$ip":"a\"b","paid":false}"#,
        ]
    );
    assert_eq!(reasons(&all), [(1, "properties \"\u{fffd}\" in column plan is not UTF-8")]);

    let some = map("properties = { columns = [\"context_*\", \"nested.n\", \"nested\"] }", columns());
    assert_eq!(
        properties(&some),
        [
            r#"{"context_ip":"::1","nested":{"n":1,"id":"00000000000000000000000000000000"},"n":1}"#,
            r#"{"nested":{"n":null,"id":"00000000000000000000000000000001"}}"#,
            r#"{"context_ip":"a\"b","nested":{"n":null,"id":"00000000000000000000000000000002"}}"#,
        ]
    );
    // Keys of maps are text in a plain column too.
    let map_alone = map("properties = \"tags\"", columns());
    assert_eq!(properties(&map_alone), [r#"{"-1":"x"}"#, r#"{"-1":"y"}"#, ""]);
}

#[test]
fn an_object_counts_the_bytes_of_its_keys() {
    let rows = batch(vec![("plan", texts(&[None])), ("price", texts(&[None]))]);
    let added = |lines: &str| {
        let mapper = bind(&mapping(lines), &rows, "x").unwrap_or_else(|faults| panic!("{faults:?}"));
        mapper.added_row_bytes()
    };
    assert_eq!(added("properties = \"plan\""), 0);
    let one = added("properties = { columns = [\"plan\"] }");
    assert!((5..50).contains(&one), "{one}");
    assert_eq!(added("properties = { columns = [\"*\"] }"), 2 * one + 1);
}

#[test]
fn fields_of_an_object_have_precedence() {
    let columns = || {
        vec![
            ("o", texts(&[Some("{\"a\":1,\"b\":null,\"c\":\"ü\"}"), None, Some(""), Some("[1]"), Some("{")])),
            ("a", Arc::new(Int64Array::from(vec![5; 5])) as ArrayRef),
            ("b", Arc::new(Int64Array::from(vec![6; 5]))),
        ]
    };
    let mapped = map("properties = { object = \"o\", columns = [\"*\"] }", columns());
    let plain = r#"{"a":5,"b":6}"#;
    assert_eq!(properties(&mapped), [r#"{"a":1,"c":"ü","b":6}"#, plain, plain]);
    assert_eq!(
        reasons(&mapped),
        [
            (3, "properties \"[1]\" in column o is not a JSON object"),
            (4, "properties \"{\" in column o is not a JSON object"),
        ]
    );
    let own = StructArray::from(batch(vec![("n", Arc::new(Int64Array::from(vec![Some(1), None])))]));
    let mapped = map("properties = { object = \"o\" }", vec![("o", Arc::new(own))]);
    let ids = ["00000000000000000000000000000000", "00000000000000000000000000000001"];
    assert_eq!(
        properties(&mapped),
        [format!(r#"{{"n":1,"id":"{}"}}"#, ids[0]), format!(r#"{{"id":"{}"}}"#, ids[1])]
    );
}

#[test]
fn faults_of_an_object_are_found_before_the_first_row() {
    let rows = batch(vec![("a", texts(&[None])), ("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let faults = |lines: &str| bind(&mapping(lines), &rows, "x").expect_err("a fault");
    assert_eq!(
        faults("properties = { columns = [\"a\", \"gone\"], object = \"n\" }"),
        ["properties ← n: Int64 is not an object: give a column of JSON, or a struct or map"]
    );
    assert_eq!(
        faults("properties = { columns = [\"a\", \"gone\"] }"),
        ["properties ← gone: the file has no column \"gone\": name another one", "the file has: a, n, id"]
    );
    assert_eq!(
        faults("properties = { columns = [\"*\"], rename = { a = \"n\" } }"),
        ["properties ← n: the column a has the key \"n\" too: rename or except one"]
    );
}

#[test]
fn a_quarantine_file_is_mapped_like_its_source() {
    let place: [(&str, ArrayRef); 4] = [
        ("_file", texts(&[Some("f")])),
        ("_row_group", Arc::new(Int64Array::from(vec![0]))),
        ("_row", Arc::new(Int64Array::from(vec![0]))),
        ("_reason", texts(&[Some("r")])),
    ];
    let columns: Vec<(&str, ArrayRef)> = [("id", texts(&[Some("00000000000000000000000000000000")]))]
        .into_iter()
        .chain([("a", texts(&[Some("b")]))])
        .chain(place)
        .collect();
    let rows = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("equal lengths");
    let mapper = bind(&mapping("properties = { columns = [\"*\"] }"), &rows, "x");
    let mapper = mapper.unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(properties(&mapper.map(&rows)), [r#"{"a":"b"}"#]);
    assert_eq!(mapper.projection(), [0, 1]);
    assert_eq!(rows.schema().field(0).data_type(), &DataType::Utf8);
}
