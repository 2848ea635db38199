//! Tests of batch sizes, projection and column types.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, LargeStringArray};
use arrow_schema::DataType;
use parquet::file::properties::WriterProperties;

use super::{FILE, MIB, MemoryBounds, batches, footer, read_all, rows, written};

#[test]
fn batches_have_about_the_bytes_that_were_asked_for() {
    let text = "e".repeat(395);
    let texts = LargeStringArray::from_iter_values((0..50_000).map(|row| format!("{text}{row:05}")));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(30_000)).build();
    let file = written(vec![("properties", Arc::new(texts))], properties);
    let bounds = MemoryBounds::within(64 * MIB);
    let read = read_all(&file, bounds).expect("good");
    assert_eq!(rows(&read), 50_000);
    // Without the last batch of each row group, which holds the remainder.
    let inner = read.iter().filter(|batch| batch.first_row + (batch.rows.num_rows() as u64) < 20_000);
    for batch in inner {
        let bytes = batch.rows.num_rows() * 408;
        assert!((bounds.batch / 2..=bounds.batch * 2).contains(&bytes), "{bytes}");
    }
    let places: Vec<(usize, u64)> = read.iter().map(|batch| (batch.row_group, batch.first_row)).collect();
    assert!(places.is_sorted() && places.contains(&(1, 0)), "{places:?}");
}

#[test]
fn only_the_projected_columns_are_read() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Int64Array::from_iter_values(0..100))),
        ("b", Arc::new(LargeStringArray::from_iter_values((0..100).map(|row| row.to_string())))),
        ("c", Arc::new(Int64Array::from_iter_values(0..100))),
    ];
    let file = written(columns, WriterProperties::builder().build());
    let mut broken = file.to_vec();
    let metadata = footer(FILE, &file).expect("a footer");
    // The pages of the unprojected column are overwritten, without any effect on the others.
    let (begin, length) = metadata.metadata().row_group(0).column(1).byte_range();
    let (begin, length) = (usize::try_from(begin).expect("small"), usize::try_from(length).expect("small"));
    broken[begin..begin + length].fill(0xff);
    let input = Arc::new(bytes::Bytes::from(broken));
    let read: Result<Vec<_>, _> =
        batches(input, &metadata, [0], &[0, 2], MemoryBounds::within(MIB)).collect();
    let read = read.expect("good columns");
    assert_eq!(rows(&read), 100);
    assert_eq!(
        read[0].rows.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn texts_are_bytes_and_what_the_writer_embedded_is_not_believed() {
    let file = written(
        vec![("text", Arc::new(arrow_array::StringViewArray::from_iter_values(["x"])))],
        WriterProperties::builder().build(),
    );
    let footer = footer(FILE, &file).expect("a footer");
    assert_eq!(footer.schema().field(0).data_type(), &DataType::BinaryView);
    assert_eq!(footer.declared().field(0).data_type(), &DataType::Utf8);
    // The embedded schema of another writer may be arbitrary.
    let with_nonsense = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![parquet::file::metadata::KeyValue::new(
            "ARROW:schema".to_owned(),
            "bm9uc2Vuc2U=".to_owned(),
        )]))
        .build();
    let text: ArrayRef = Arc::new(arrow_array::StringArray::from_iter_values(["x"]));
    let batch = arrow_array::RecordBatch::try_from_iter([("text", text)]).expect("one column");
    let mut file = Vec::new();
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(with_nonsense)
        .with_skip_arrow_metadata(true);
    let mut writer = parquet::arrow::ArrowWriter::try_new_with_options(&mut file, batch.schema(), options)
        .expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    assert_eq!(rows(&read_all(&file.into(), MemoryBounds::within(MIB)).expect("good")), 1);
}
