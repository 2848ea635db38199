//! Tests of small files that decompress to more than the memory.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, LargeStringArray, ListArray, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{FILE, MIB, MemoryBounds, ReadError, footer, read_all, relabelled, rows, written};

/// A megabyte of one letter, eight times.
fn long_texts() -> Vec<(&'static str, ArrayRef)> {
    let long = "a".repeat(MIB);
    vec![("properties", Arc::new(LargeStringArray::from_iter_values((0..8).map(|_| &long))))]
}

fn in_one_page(compression: Compression) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(64 * MIB)
        .set_write_page_header_statistics(false)
        .build()
}

fn codecs() -> [Compression; 6] {
    [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ]
}

#[test]
fn a_page_larger_than_the_bound_is_refused_before_it_is_unfolded() {
    for codec in codecs() {
        let file = written(long_texts(), in_one_page(codec));
        assert!(file.len() < MIB, "{codec}: {} bytes", file.len());
        assert_eq!(rows(&read_all(&file, MemoryBounds::within(64 * MIB)).expect("within bounds")), 8);
        match read_all(&file, MemoryBounds::within(8 * MIB)) {
            Err(ReadError::TooLarge { file, row_group: 0, column, bytes, bound, .. }) => {
                assert_eq!((file.as_str(), column.as_str()), (FILE, "properties"));
                assert!(bytes > 8 * MIB as u64 && bound == 6 * MIB as u64, "{bytes} {bound}");
            }
            other => panic!("{codec}: {other:?}"),
        }
    }
}

#[test]
fn a_page_that_unfolds_to_more_than_it_says_is_refused() {
    for codec in codecs() {
        let file = written(long_texts(), in_one_page(codec));
        let begin =
            footer(FILE, &file).expect("a footer").metadata().row_group(0).column(0).data_page_offset();
        let begin = usize::try_from(begin).expect("small");
        // Page type, then the uncompressed size as a varint. Another last digit makes it smaller by
        // far.
        assert_eq!(file[begin + 2], 0x15, "a number of 32 bits");
        let last = (begin + 3..).find(|place| file[*place] < 0x80).expect("an end");
        let mut lying = file.to_vec();
        lying[last] = 1;
        match read_all(&Bytes::from(lying), MemoryBounds::within(64 * MIB)) {
            Err(ReadError::Damaged { file, row_group: 0, column: Some(column), offset: Some(_), .. }) => {
                assert_eq!((file.as_str(), column.as_str()), (FILE, "properties"));
            }
            other => panic!("{codec}: {other:?}"),
        }
    }
}

/// Fails if a batch is larger than the budget, however far a dictionary or prefix expands a few
/// bytes.
#[track_caller]
fn all_batches_are_bounded(file: &Bytes, wanted: usize) {
    let bounds = MemoryBounds::within(32 * MIB);
    let read = read_all(file, bounds).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&read), wanted);
    let mut first_row = 0;
    for batch in &read {
        assert_eq!(batch.first_row, first_row);
        first_row += batch.rows.num_rows() as u64;
        let bytes: usize = batch
            .rows
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().expect("a size"))
            .sum();
        assert!(bytes <= bounds.decoded + MIB, "{bytes} bytes in a batch");
    }
}

#[test]
fn a_long_value_in_a_dictionary_makes_short_batches() {
    let long = "b".repeat(MIB / 2);
    let texts =
        LargeStringArray::from_iter_values((0..200).map(|row| if row == 7 { "short" } else { &long }));
    let properties = WriterProperties::builder().set_dictionary_page_size_limit(4 * MIB).build();
    let file = written(vec![("properties", Arc::new(texts))], properties);
    assert!(file.len() < 2 * MIB);
    all_batches_are_bounded(&file, 200);
    // Other writers don't record the size of the values without their dictionary.
    let silent = relabelled(&file, |metadata| {
        let mut builder = metadata.into_builder();
        let group = builder.take_row_groups().remove(0);
        let column = group.column(0).clone().into_builder().set_unencoded_byte_array_data_bytes(None);
        let column = column.build().expect("a column");
        let group = group.into_builder().set_column_metadata(vec![column]).build().expect("a row group");
        builder.set_row_groups(vec![group]).build()
    });
    all_batches_are_bounded(&silent, 200);
}

#[test]
fn values_that_repeat_the_one_before_make_short_batches() {
    let long = "c".repeat(MIB / 2);
    let texts = LargeStringArray::from_iter_values((0..200).map(|row| format!("{long}{row}")));
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BYTE_ARRAY)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .build();
    let file = written(vec![("properties", Arc::new(texts))], properties);
    assert!(file.len() < 4 * MIB, "{}", file.len());
    all_batches_are_bounded(&file, 200);
}

#[test]
fn a_few_long_rows_among_many_short_ones_make_shorter_batches_on_the_way() {
    let long = "d".repeat(MIB);
    let text = |row| if row >= 3000 { long.as_str() } else { "short" };
    let texts = LargeStringArray::from_iter_values((0..3030).map(text));
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(MIB / 2)
        .set_write_batch_size(1)
        .build();
    let numbers = StringArray::from_iter_values((0..3030).map(|row| row.to_string()));
    let file = written(vec![("properties", Arc::new(texts)), ("number", Arc::new(numbers))], properties);
    all_batches_are_bounded(&file, 3030);
    let read = read_all(&file, MemoryBounds::within(32 * MIB)).expect("good");
    let numbers = read.iter().flat_map(|batch| {
        let numbers = arrow_array::cast::AsArray::as_binary_view(&batch.rows["number"]);
        numbers
            .iter()
            .map(|number| String::from_utf8_lossy(number.expect("not null")).into_owned())
            .collect::<Vec<_>>()
    });
    assert!(
        numbers.eq((0..3030).map(|row| row.to_string())),
        "no row is lost or read twice where batches begin again"
    );
}

#[test]
fn a_list_of_many_repetitions_is_bounded_too() {
    // One row: two million times the same number, a few hundred bytes in the file.
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(7); 2_000_000])]);
    let file = written(vec![("properties", Arc::new(list))], WriterProperties::builder().build());
    assert!(file.len() < MIB, "{}", file.len());
    assert!(matches!(read_all(&file, MemoryBounds::within(MIB)), Err(ReadError::TooLarge { .. })));
    assert_eq!(rows(&read_all(&file, MemoryBounds::within(256 * MIB)).expect("within bounds")), 1);
}

#[test]
fn a_schema_nested_without_end_is_refused() {
    let mut inner: ArrayRef = Arc::new(StringArray::from_iter_values(["x"]));
    for _ in 0..80 {
        let batch = RecordBatch::try_from_iter([("a", inner)]).expect("one column");
        inner = Arc::new(arrow_array::StructArray::from(batch));
    }
    let file = written(vec![("a", inner)], WriterProperties::builder().build());
    let error = footer(FILE, &file).expect_err("too deep").to_string();
    assert!(error.contains("nested more than"), "{error}");
}
