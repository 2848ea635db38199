//! Tests of footers, row groups and pages of odd writers.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, Int32Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::properties::WriterProperties;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::{FILE, MIB, MemoryBounds, ReadError, footer, read_all, relabelled, rows, written};

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
