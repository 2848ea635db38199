//! Tests of footers, row groups and pages of odd writers.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Int32Array, LargeStringArray, RecordBatch, StringArray,
    StructArray, new_null_array,
};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{FileMetaData, ParquetMetaDataBuilder};
use parquet::file::properties::WriterProperties;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::{FILE, MIB, MemoryBounds, ReadError, footer, read_all, relabelled, rows, written};
use crate::backfill::read::nested::json_bytes;
use crate::backfill::read::{open_pages, row_group_bytes};

fn fixture(name: &str) -> Bytes {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parquet");
    std::fs::read(format!("{folder}/{name}.parquet")).expect("a fixture").into()
}

#[test]
fn empty_row_groups_are_no_damage() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let file = written(vec![("text", text)], WriterProperties::builder().build());
    // pyarrow gives a row group without rows a page at byte 0.
    let with_empty = relabelled(&file, |metadata| {
        let mut builder = metadata.into_builder();
        let full = builder.take_row_groups().remove(0);
        let column = full.column(0).clone().into_builder();
        let column = column.set_num_values(0).set_data_page_offset(0).set_dictionary_page_offset(None);
        let column =
            column.set_total_compressed_size(0).set_total_uncompressed_size(0).build().expect("a column");
        let empty = full.clone().into_builder().set_num_rows(0).set_column_metadata(vec![column]);
        let empty = empty.build().expect("a row group");
        builder.set_row_groups(vec![empty.clone(), full, empty]).build()
    });
    let read = read_all(&with_empty, MemoryBounds::within(MIB)).expect("good");
    assert_eq!((rows(&read), read[0].row_group), (2, 1));
}

/// A file of one column by `message`, with its converted type replaced by `to`.
fn with_converted_type(message: &str, array: ArrayRef, from: u8, to: u8) -> Bytes {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", array, true)]).expect("one column");
    let message = parse_message_type(message).expect("a schema");
    let options = ArrowWriterOptions::new()
        .with_skip_arrow_metadata(true)
        .with_parquet_schema(SchemaDescriptor::new(Arc::new(message)));
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut file, batch.schema(), options).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    // The type is field 6 behind the name, field 4. Numbers are doubled.
    let place = file.windows(2).rposition(|bytes| bytes == [0x25, from << 1]).expect("the converted type");
    file[place + 1] = to << 1;
    file.into()
}

#[track_caller]
fn is_read_as(file: &Bytes, expected: &DataType, expected_rows: usize) {
    let types = footer(FILE, file).unwrap_or_else(|error| panic!("{error}")).schema().clone();
    assert_eq!(types.field(0).data_type(), expected);
    assert_eq!(rows(&read_all(file, MemoryBounds::within(MIB)).expect("good")), expected_rows);
}

#[test]
fn footers_of_fastparquet_are_repaired() {
    is_read_as(&fixture("fastparquet-empty"), &DataType::BinaryView, 0);
    // INTERVAL, 21, becomes UTF8, 0.
    let texts = FixedSizeBinaryArray::try_from_iter([b"abcdefghijkl"].into_iter()).expect("equal lengths");
    let message = "message m { optional fixed_len_byte_array(12) x (INTERVAL); }";
    let file = with_converted_type(message, Arc::new(texts), 21, 0);
    is_read_as(&file, &DataType::FixedSizeBinary(12), 1);
}

#[test]
fn columns_of_nulls_of_old_pyarrow_are_of_that_type() {
    let nulls: ArrayRef = Arc::new(Int32Array::from(vec![None, None]));
    let file = with_converted_type("message m { optional int32 x (INT_32); }", nulls, 17, 24);
    is_read_as(&file, &DataType::Null, 2);
}

#[test]
fn chunks_of_old_pyarrow_are_longer_than_they_say() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
    let file = written(vec![("text", text)], WriterProperties::builder().build());
    let without_header = |created_by: &str| {
        relabelled(&file, |metadata| {
            let schema = metadata.file_metadata().schema_descr_ptr();
            let group = metadata.into_builder().take_row_groups().remove(0);
            let column = group.column(0).clone();
            let bytes = column.compressed_size() - 15;
            let column = column.into_builder().set_total_compressed_size(bytes).build().expect("a column");
            let group = group.into_builder().set_column_metadata(vec![column]).build().expect("a row group");
            let file = FileMetaData::new(1, 3, Some(created_by.to_owned()), None, schema, None);
            ParquetMetaDataBuilder::new(file).set_row_groups(vec![group]).build()
        })
    };
    let read = |created_by| read_all(&without_header(created_by), MemoryBounds::within(MIB));
    for created_by in ["parquet-cpp version 1.0.0", "parquet-cpp version 1.2.8-SNAPSHOT"] {
        assert_eq!(rows(&read(created_by).expect("good")), 3, "{created_by}");
    }
    for created_by in ["parquet-cpp version 1.2.9", "parquet-mr version 1.0", ""] {
        assert!(matches!(read(created_by), Err(ReadError::Damaged { .. })), "{created_by}");
    }
}

#[test]
fn a_fault_of_the_decoder_names_its_column() {
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..50));
    let texts = BinaryArray::from_iter_values((0..50).map(|row| format!("text {row}")));
    let plain = WriterProperties::builder().set_dictionary_enabled(false).build();
    let file = written(vec![("number", numbers), ("text", Arc::new(texts))], plain);
    let place = file.windows(7).position(|bytes| bytes == b"text 20").expect("its value");
    let mut broken = file.to_vec();
    broken[place - 1] = 0x7f;
    match read_all(&broken.into(), MemoryBounds::within(MIB)) {
        Err(ReadError::Damaged { row_group: 0, column: Some(column), .. }) => assert_eq!(column, "text"),
        other => panic!("{other:?}"),
    }
}

/// Fails if the values of a batch, or their JSON, are much larger than asked for.
#[track_caller]
fn batches_are_short(file: &Bytes, memory: usize, expected: usize) {
    let bounds = MemoryBounds::within(memory);
    let read = read_all(file, bounds).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&read), expected);
    let mut first_row = 0;
    for batch in &read {
        assert_eq!(batch.first_row, first_row);
        let count = batch.rows.num_rows();
        first_row += count as u64;
        let json = json_bytes(&batch.rows, 0..count);
        assert!(count == 1 || json <= 2 * bounds.batch as u64, "{json} bytes of JSON in {count} rows");
        let values: usize = batch.rows.columns().iter().map(|column| column.get_array_memory_size()).sum();
        assert!(values <= 8 * bounds.batch + MIB, "{values} bytes of values in {count} rows");
    }
}

#[test]
fn a_long_text_in_a_dictionary_does_not_count_for_every_value_of_a_map() {
    let long = "u".repeat(250);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..20_000 {
        for key in 0..12 {
            map.keys().append_value(format!("key{key}"));
            map.values().append_value(if (row, key) == (0, 0) { &long } else { "v" });
        }
        map.append(true).expect("pairs");
    }
    let file = written(vec![("p", Arc::new(map.finish()))], WriterProperties::builder().build());
    assert!(file.len() < MIB / 2, "{}", file.len());
    batches_are_short(&file, 96 * MIB, 20_000);
    // With the long text in every value the same batch is cut by its real lengths.
    let mut list = ListBuilder::new(StringBuilder::new());
    for _ in 0..3_000 {
        list.append_value(vec![Some(&long); 12]);
    }
    let file = written(vec![("p", Arc::new(list.finish()))], WriterProperties::builder().build());
    batches_are_short(&file, 16 * MIB, 3_000);
}

#[test]
fn texts_that_repeat_the_one_before_are_weighed_by_their_lengths() {
    let delta = || {
        let properties = WriterProperties::builder().set_dictionary_enabled(false);
        properties.set_encoding(Encoding::DELTA_BYTE_ARRAY).build()
    };
    let text = |row| format!("https://example.com/{row}");
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..100_000).map(text)));
    let file = written(vec![("p", texts)], delta());
    let read = read_all(&file, MemoryBounds::within(64 * MIB)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&read), 100_000);
    assert!(read.len() < 20, "{} batches", read.len());
    let mut list = ListBuilder::new(StringBuilder::new());
    for row in 0..10_000 {
        list.append_value((0..12).map(|item| Some(text(row + item))));
    }
    let file = written(vec![("p", Arc::new(list.finish()))], delta());
    batches_are_short(&file, 64 * MIB, 10_000);
}

#[test]
fn nulls_count_as_values_in_memory() {
    let fields: Vec<Field> =
        (0..300).map(|field| Field::new(format!("field_{field}"), DataType::Utf8, true)).collect();
    let sparse = new_null_array(&DataType::Struct(fields.into()), 1).as_ref().to_data();
    let sparse =
        arrow_select::take::take(&StructArray::from(sparse), &Int32Array::from(vec![0; 10_000]), None);
    let file = written(vec![("p", sparse.expect("rows"))], WriterProperties::builder().build());
    batches_are_short(&file, 64 * MIB, 10_000);
    let mut list = ListBuilder::new(StringBuilder::new());
    for row in 0..20_000 {
        list.append_value(vec![None::<&str>; if row == 9_000 { 200_000 } else { 50 }]);
    }
    let file = written(vec![("p", Arc::new(list.finish()))], WriterProperties::builder().build());
    batches_are_short(&file, 64 * MIB, 20_000);
}

#[test]
fn one_page_takes_most_of_the_memory_and_is_found_in_the_plan() {
    let text = "e".repeat(MIB / 2);
    let texts = || LargeStringArray::from_iter_values((0..60).map(|row| format!("{text}{row}")));
    let properties = |page| {
        WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(false)
            .set_data_page_size_limit(page)
            .set_write_batch_size(1)
            .build()
    };
    let open = |page| {
        let file = written(vec![("p", Arc::new(texts()))], properties(page));
        let footer = footer(FILE, &file).expect("a footer");
        let all = row_group_bytes(&footer, &[0]) as usize;
        assert!((30 * MIB..36 * MIB).contains(&all), "{all}");
        (open_pages(Arc::new(file.clone()), &footer, &[0], 1 << 20) as usize, file)
    };
    let (one, file) = open(64 * MIB);
    assert!((30 * MIB..34 * MIB).contains(&one), "{one}");
    assert_eq!(rows(&read_all(&file, MemoryBounds::within(48 * MIB)).expect("it fits")), 60);
    match read_all(&file, MemoryBounds::within(32 * MIB)) {
        Err(error @ ReadError::TooLarge { .. }) => {
            let text = error.to_string();
            assert!(text.contains("of column p at byte ") && text.contains("give --memory "), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let (many, _) = open(MIB);
    assert!(many < 4 * MIB, "{many}");
}
