//! Tests of broken files.
//!
//! A broken file gives an error with file and position, or all of its rows. It never causes a
//! panic, and never silently loses rows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, LargeStringArray};
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::file::metadata::{FileMetaData, ParquetMetaDataBuilder, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{FILE, MIB, MemoryBounds, ReadError, footer, read_all, relabelled, rows, written};

/// Bytes changed in each of the files; `FLIPS` overrides it for manual runs.
const FLIPS: usize = 100;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parquet");

fn fixtures() -> Vec<(String, Bytes)> {
    let mut files: Vec<(String, Bytes)> = std::fs::read_dir(FOLDER)
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("readable").into()))
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn bounds() -> MemoryBounds {
    MemoryBounds::within(16 * MIB)
}

fn numbers(rows: i64) -> Bytes {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(60))
        .set_dictionary_enabled(false)
        .build();
    let texts = (0..rows).map(|row| format!("text {row}"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int64Array::from_iter_values(0..rows))),
        ("text", Arc::new(LargeStringArray::from_iter_values(texts))),
    ];
    written(columns, properties)
}

#[test]
fn what_is_no_parquet_is_said_to_be_none() {
    let file = numbers(10);
    let mut encrypted = file.to_vec();
    let end = encrypted.len();
    encrypted[end - 4..].copy_from_slice(b"PARE");
    for (bytes, problem) in [
        (Vec::new(), "0 bytes are too few"),
        (b"PAR1".to_vec(), "4 bytes are too few"),
        (b"PAR1PAR1".to_vec(), "8 bytes are too few"),
        (b"team,event\n1,signup\n".to_vec(), "does not end with PAR1"),
        (b"PAR1\xff\xff\xff\x7fPAR1".to_vec(), "claims 2147483647 bytes in a file of 12"),
        (encrypted, "is encrypted"),
    ] {
        let error = footer(FILE, &Bytes::from(bytes)).expect_err("no footer").to_string();
        assert!(error.contains(FILE) && error.contains(problem), "{error}");
    }
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_refused() {
    for (name, file) in fixtures() {
        for length in (0..file.len()).step_by(7) {
            let cut = file.slice(..length);
            let error =
                read_all(&cut, bounds()).err().unwrap_or_else(|| panic!("{name} cut to {length} was read"));
            assert!(matches!(error, ReadError::Footer { .. }), "{name}: {error}");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_leaves_all_rows() {
    let seed =
        std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a whole number"));
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let flips = std::env::var("FLIPS").map_or(FLIPS, |flips| flips.parse().expect("a whole number"));
    let mut failed = None;
    for (name, file) in fixtures() {
        let wanted = rows(&read_all(&file, bounds()).expect("a good file"));
        for _ in 0..flips {
            let (place, change) = (random.random_range(0..file.len()), random.random_range(1..=255));
            let mut changed = file.to_vec();
            changed[place] ^= change;
            let read = catch_unwind(AssertUnwindSafe(|| read_all(&changed.into(), bounds())));
            let good = match &read {
                Ok(Ok(batches)) => rows(batches) == wanted,
                Ok(Err(error)) => error.to_string().contains(FILE),
                Err(_) => false,
            };
            if !good {
                failed.get_or_insert(format!(
                    "{name}, byte {place} xor {change}: {:?}",
                    read.map(|read| read.map(|batches| rows(&batches)))
                ));
            }
        }
    }
    assert_eq!(failed, None);
}

/// Claims that the second row group has `rows` rows, with a matching total for the file.
fn with_rows(file: &Bytes, rows: i64) -> Bytes {
    relabelled(file, |metadata| {
        let file = metadata.file_metadata();
        let (version, schema) = (file.version(), file.schema_descr_ptr());
        let mut groups = metadata.into_builder().take_row_groups();
        let lying = groups.remove(1).into_builder().set_num_rows(rows).build().expect("a row group");
        groups.insert(1, lying);
        let all = groups.iter().map(RowGroupMetaData::num_rows).fold(0, i64::wrapping_add);
        let lying = FileMetaData::new(version, all, None, None, schema, None);
        ParquetMetaDataBuilder::new(lying).set_row_groups(groups).build()
    })
}

#[test]
fn row_counts_that_lie_are_found_out() {
    let file = numbers(180);
    assert_eq!(rows(&read_all(&with_rows(&file, 60), bounds()).expect("the truth")), 180);
    for said in [0, 1, 59, 61, 100, i64::from(i32::MAX), 1 << 50] {
        let error = read_all(&with_rows(&file, said), bounds()).expect_err("a lie").to_string();
        let place = format!("row group 1 of {FILE} has");
        assert!(error.starts_with(&place) && error.contains(&format!("says {said}:")), "{said}: {error}");
    }
    for said in [-1, i64::MIN] {
        let error = read_all(&with_rows(&file, said), bounds()).expect_err("a lie");
        assert!(matches!(error, ReadError::Footer { .. }), "{said}: {error}");
    }
}

#[test]
fn a_row_group_that_is_not_there_is_named() {
    let file = Arc::new(numbers(100));
    let footer = footer(FILE, &*file).expect("a footer");
    let mut read = super::batches(file, &footer, [7], &[0], bounds());
    let error = read.next().expect("an answer").expect_err("no such group").to_string();
    assert!(error.contains("has no row group 7: it has 2"), "{error}");
    assert!(read.next().is_none());
}
