//! Types and values that writers use beside the usual ones.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, Int64Array, NullArray, RecordBatch, StringArray,
    StructArray,
};
use arrow_schema::extension::Uuid;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::{Event, Mapped, Mapping, events, map_file, parse};
use crate::backfill::map::{MappingError, Quarantine};
use crate::backfill::read::{self, Batch};

const ID: &str = "018f3e5a-7b1c-7def-8abc-000000000000";

/// Writes columns with the types of `message`, or else with those of the arrays.
fn write(path: &Path, columns: &[(FieldRef, ArrayRef)], message: Option<&str>) {
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = columns.iter().cloned().unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).expect("equal lengths");
    let mut options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    if let Some(message) = message {
        let parsed = parse_message_type(message).expect("a schema");
        options = options.with_parquet_schema(SchemaDescriptor::new(Arc::new(parsed)));
    }
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new_with_options(file, schema, options).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn field(name: &str, array: &ArrayRef) -> FieldRef {
    Arc::new(Field::new(name, array.data_type().clone(), true))
}

fn ids(rows: usize) -> (FieldRef, ArrayRef) {
    let ids: ArrayRef = Arc::new(StringArray::from(vec![ID; rows]));
    (field("id", &ids), ids)
}

fn of_struct(fields: Vec<(FieldRef, ArrayRef)>) -> ArrayRef {
    Arc::new(StructArray::from(fields))
}

fn mapping(entries: &str) -> Mapping {
    let others = "event = { constant = \"e\" }\ndistinct_id = { constant = \"d\" }\n\
                  timestamp = { constant = 2026-11-01T10:42:06Z }\nteam_id = { constant = 7 }\n";
    parse(&format!("{others}{entries}")).unwrap_or_else(|error| panic!("{error}"))
}

/// Events and rejected rows of `columns`.
fn mapped(
    columns: &[(FieldRef, ArrayRef)],
    message: Option<&str>,
    entries: &str,
) -> (Vec<Event>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    write(&path, columns, message);
    both(&map_file(&path, &mapping(entries), None))
}

fn both(batches: &[(Batch, Mapped)]) -> (Vec<Event>, Vec<String>) {
    let mapped = || batches.iter().map(|(_, mapped)| mapped);
    let rejects = mapped().flat_map(|mapped| &mapped.rejects);
    let rejects = rejects.map(|reject| format!("{}: {}", reject.row, reject.reason)).collect();
    (mapped().flat_map(events).collect(), rejects)
}

/// The properties of every row, none of which is rejected.
fn properties(column: ArrayRef) -> Vec<String> {
    let columns = [ids(column.len()), (field("p", &column), column)];
    let (events, rejects) = mapped(&columns, None, "uuid = \"id\"\nproperties = \"p\"");
    assert_eq!(rejects, [""; 0]);
    events.into_iter().map(|event| event.properties).collect()
}

#[test]
fn sixteen_letters_are_a_uuid_only_as_bytes() {
    let letters = ["4bf92f3577b34da6", ID];
    let text: ArrayRef = Arc::new(StringArray::from(letters.to_vec()));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(letters));
    let first = FixedSizeBinaryArray::try_from_iter([letters[0]].into_iter()).expect("equal lengths");
    let fixed: ArrayRef = Arc::new(first);
    let read = |array: ArrayRef| mapped(&[(field("id", &array), array)], None, "uuid = \"id\"");
    let (events, rejects) = read(text);
    assert_eq!(events.len(), 1);
    assert_eq!(rejects, ["0: uuid \"4bf92f3577b34da6\" in column id is not a UUID"]);
    let raw = u128::from_be_bytes(*b"4bf92f3577b34da6");
    for array in [bytes, fixed] {
        let (events, rejects) = read(array);
        assert_eq!((events[0].uuid, rejects.len()), (raw, 0));
    }
}

#[test]
fn bytes_in_structs_lists_and_maps_are_text() {
    let bytes: ArrayRef =
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"pro\"\n"), None, Some("☃".as_bytes())]));
    let raw = FixedSizeBinaryArray::try_from_iter([[7; 16]; 3].into_iter()).expect("equal lengths");
    let raw: ArrayRef = Arc::new(raw);
    let uuid = Field::new("u", DataType::FixedSizeBinary(16), true).with_extension_type(Uuid);
    let inner = of_struct(vec![(field("b", &bytes), bytes.clone()), (Arc::new(uuid), raw)]);
    let expected = [
        r#"{"b":"pro\"\n","u":"07070707-0707-0707-0707-070707070707"}"#,
        r#"{"b":null,"u":"07070707-0707-0707-0707-070707070707"}"#,
        r#"{"b":"☃","u":"07070707-0707-0707-0707-070707070707"}"#,
    ];
    assert_eq!(properties(inner), expected);
    let mut list = ListBuilder::new(arrow_array::builder::BinaryBuilder::new());
    list.append_value([Some(b"a"), None, Some(b"b")]);
    assert_eq!(properties(Arc::new(list.finish())), [r#"["a",null,"b"]"#]);
}

#[test]
fn files_with_nested_bytes_have_another_fingerprint() {
    let fingerprint = |inner: DataType| {
        let inner = DataType::Struct(vec![Field::new("b", inner, true)].into());
        let fields = vec![Field::new("id", DataType::Utf8, true), Field::new("p", inner, true)];
        let mapper = mapping("uuid = \"id\"\nproperties = \"p\"").bind(&Schema::new(fields), None);
        mapper.unwrap_or_else(|error| panic!("{error}")).fingerprint().to_owned()
    };
    assert_ne!(fingerprint(DataType::Utf8), fingerprint(DataType::Binary));
    assert_eq!(fingerprint(DataType::Utf8), fingerprint(DataType::Int64));
}

#[test]
fn a_repeated_key_of_a_map_has_its_last_value() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (key, value) in [("k", Some("1")), ("j", Some("2")), ("k", None), ("", Some("3"))] {
        map.keys().append_value(key);
        map.values().append_option(value);
    }
    map.append(true).expect("pairs");
    assert_eq!(properties(Arc::new(map.finish())), [r#"{"j":"2","k":null,"":"3"}"#]);
    let mut map = MapBuilder::new(None, arrow_array::builder::Int64Builder::new(), StringBuilder::new());
    map.keys().append_value(-5);
    map.values().append_value("x");
    map.append(true).expect("a pair");
    assert_eq!(properties(Arc::new(map.finish())), [r#"{"-5":"x"}"#]);
}

#[test]
fn a_nested_text_that_is_not_utf8_rejects_its_row_alone() {
    let texts: ArrayRef = Arc::new(BinaryArray::from_iter_values([b"ok".as_slice(), b"no\xff", b"yes"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let inner = of_struct(vec![(field("s", &texts), texts), (field("i", &numbers), numbers)]);
    let columns = [ids(3), (field("p", &inner), inner)];
    let message = "message m { optional binary id (STRING); optional group p { optional binary s (STRING); optional int64 i; } }";
    let folder = tempfile::tempdir().expect("a folder");
    let (path, kept) = (folder.path().join("a.parquet"), folder.path().join("kept.parquet"));
    write(&path, &columns, Some(message));
    let batches = map_file(&path, &mapping("uuid = \"id\"\nproperties = \"p\""), None);
    let (events, rejects) = both(&batches);
    let properties: Vec<&str> = events.iter().map(|event| event.properties.as_str()).collect();
    assert_eq!(properties, [r#"{"s":"ok","i":1}"#, r#"{"s":"yes","i":3}"#]);
    assert_eq!(rejects.len(), 1);
    assert!(
        rejects[0].starts_with("1: properties ") && rejects[0].ends_with("in column p is not UTF-8"),
        "{rejects:?}"
    );

    // The quarantine has the row with the source's types.
    let footer = read::footer("a", &File::open(&path).expect("there")).expect("a footer");
    let (batch, mapped) = &batches[0];
    let mut quarantine = Quarantine::create(&kept, batch.rows.schema_ref()).expect("a quarantine");
    quarantine.add("a", batch, &mapped.rejects).expect("kept");
    quarantine.finish().expect("in its place");
    let kept_footer = read::footer("kept", &File::open(&kept).expect("there")).expect("a footer");
    assert_eq!(kept_footer.declared().field(1).data_type(), footer.declared().field(1).data_type());
    let (events, again) = both(&map_file(&kept, &mapping("uuid = \"id\"\nproperties = \"p\""), None));
    assert_eq!((events.len(), again[0].replacen('0', "1", 1)), (0, rejects[0].clone()));
}

#[test]
fn columns_of_nulls_have_the_default_of_each_row() {
    let nulls: ArrayRef = Arc::new(NullArray::new(2));
    let names = ["p", "chain", "made", "seen"];
    let columns: Vec<(FieldRef, ArrayRef)> =
        [ids(2)].into_iter().chain(names.map(|name| (field(name, &nulls), nulls.clone()))).collect();
    let entries = "uuid = \"id\"\nproperties = \"p\"\nelements_chain = { column = \"chain\", default = \"c\" }\n\
                   created_at = \"made\"\n_timestamp = { column = \"seen\", default = 5 }";
    let (events, rejects) = mapped(&columns, None, entries);
    assert_eq!((events.len(), rejects.len()), (2, 0), "{rejects:?}");
    for event in events {
        assert_eq!((event.properties.as_str(), event.elements_chain.as_str()), ("", "c"));
        assert_eq!((event.created_at, event.ingested_at), (event.timestamp, 5));
    }
    let inner = of_struct(vec![(field("a", &nulls), nulls.clone())]);
    assert_eq!(properties(inner), [r#"{"a":null}"#; 2]);
    let without = mapping("uuid = \"id\"").bind(&Schema::new([field("id", &nulls)].to_vec()), None);
    let batch = RecordBatch::try_from_iter_with_nullable([("id", nulls, true)]).expect("one column");
    let rejects = without.unwrap_or_else(|error| panic!("{error}")).map(&batch).rejects;
    assert_eq!(rejects[1].reason, "uuid is null (column id)");
}

#[test]
fn types_without_a_text_are_refused_with_the_next_step() {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values([b"\x01\0\0"]));
    let bytes_of = |name: &str| (field(name, &bytes), bytes.clone());
    let group = of_struct(vec![bytes_of("metadata"), bytes_of("value")]);
    let outer = of_struct(vec![bytes_of("x"), (field("v", &group), group.clone())]);
    let variant = "optional binary metadata; optional binary value;";
    for (column, message, expected) in [
        (bytes.clone(), "optional binary p (BSON);".to_owned(), "p is BSON"),
        (group.clone(), format!("optional group p (VARIANT) {{ {variant} }}"), "p is VARIANT"),
        (group, format!("optional group p {{ {variant} }}"), "p is VARIANT"),
        (
            outer,
            format!("optional group p {{ optional binary x; optional group v {{ {variant} }} }}"),
            "v is VARIANT",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let message = format!("message m {{ optional binary id (STRING); {message} }}");
        write(&path, &[ids(1), (field("p", &column), column)], Some(&message));
        let footer = read::footer("a", &File::open(&path).expect("there")).expect("a footer");
        let bound = mapping("uuid = \"id\"\nproperties = \"p\"").bind(footer.schema(), None);
        let Err(MappingError::Unfit { faults, .. }) = bound else { panic!("{message} was not refused") };
        let fault = &faults[0];
        let (place, next) = ("properties ← p: ", "which can't be loaded: write it as JSON text");
        assert!(fault.starts_with(&format!("{place}{expected}")) && fault.contains(next), "{fault}");
    }
}
